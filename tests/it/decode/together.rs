//! Clips that are decoded by one ffmpeg are those that come of each alone, and one that is damaged is nobody else's harm.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use egofx::decode::{Clip, FfmpegSource, Frame, FrameSource, HwAccel, Place, Reader, Tools, Transform, VideoInfo};

use crate::support::videos::{data, ffprobe, indices, make, split, tools, url};

/// Moving, noisy images, so that no two frames are alike.
const IMAGES: &str = "-f lavfi -i testsrc2=s=96x64:r=30,noise=alls=12:allf=t -frames:v 150 -pix_fmt yuv420p";

fn source() -> FfmpegSource {
    FfmpegSource { tools: tools(), threads: 1, hwaccel: HwAccel::None }
}

/// An ffmpeg that writes a letter into `folder/started` whenever it decodes.
fn counted(folder: &Path) -> FfmpegSource {
    let (script, real) = (folder.join("ffmpeg.sh"), tools().ffmpeg);
    let started = folder.join("started");
    fs::write(&started, "").unwrap();
    let text = format!("#!/bin/sh\nprintf x >> {}\nexec {} \"$@\"\n", started.display(), real.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    FfmpegSource { tools: Tools { ffmpeg: script, ..tools() }, ..source() }
}

/// A few frames here and there, out of several groups of images.
fn choices(video: &VideoInfo) -> Vec<Vec<u64>> {
    let last = video.timeline.frames() - 1;
    let choices =
        [vec![0, 1, 2], vec![37, 44, 51, 58], vec![90], vec![3, 70, last], vec![last - 4, last - 1], vec![29, 30]];
    choices.into_iter().filter(|wanted| wanted.iter().all(|&index| index <= last)).collect()
}

/// What comes of the clips together; those that do come are compared with what comes of each alone.
fn compared(clips: &[Clip], reader: Reader) -> Vec<bool> {
    let whole = Transform::whole(reader);
    let found = source().together(clips, &whole);
    for (clip, frames) in clips.iter().zip(&found) {
        let Some(frames) = frames else { continue };
        let (alone, faults) = split(source().open(clip.video, clip.wanted, &[whole]));
        assert_eq!(faults, vec![]);
        assert_eq!((indices(frames), indices(&alone)), (clip.wanted.to_vec(), clip.wanted.to_vec()));
        let is_same = |(one, other): (&Frame, &Frame)| one.pixels == other.pixels;
        assert!(frames.iter().zip(&alone).all(is_same), "{}", clip.video.path.display());
    }
    found.iter().map(Option::is_some).collect()
}

#[test]
fn frames_are_the_same_to_the_bit_whoever_the_reader_is() {
    let folder = tempfile::tempdir().unwrap();
    let made = [
        ("a.mp4", "-c:v libx264 -g 30"),
        ("b.mp4", "-c:v libx264 -g 30 -bf 3 -x264-params b-pyramid=strict"),
        (
            "c.mp4",
            "-c:v libx264 -g 250 -colorspace bt709 -color_range tv -color_primaries bt709 -color_trc bt709 -movflags +faststart",
        ),
        ("d.mp4", "-c:v libx265 -x265-params log-level=none:keyint=40:open-gop=0"),
        ("e.mp4", "-c:v libx264 -bf 0 -f mov -movflags write_colr"),
        ("f.mp4", "-c:v libx264 -vf select='gt(mod(n\\,7)\\,0)' -fps_mode vfr"),
    ];
    let videos: Vec<VideoInfo> = made
        .iter()
        .map(|(name, args)| source().probe(&make(folder.path(), name, &format!("{IMAGES} {args}")), None).unwrap())
        .collect();
    let wanted: Vec<Vec<Vec<u64>>> = videos.iter().map(choices).collect();
    let of = |(video, wanted)| -> Vec<Clip> {
        let wanted: &Vec<Vec<u64>> = wanted;
        wanted.iter().map(|wanted| Clip { video, wanted }).collect()
    };
    // One video after the other and back again, so that no two neighbours are of one.
    let mut clips: Vec<Clip> = videos.iter().zip(&wanted).flat_map(of).collect();
    clips.sort_by_key(|clip| clip.wanted[0] % 7);
    for reader in [Reader::Opencv, Reader::Decord] {
        let together = compared(&clips, reader);
        assert!(together.iter().all(|&is| is), "{together:?}");
    }
}

#[test]
fn one_ffmpeg_is_started_for_all_clips_of_one_kind() {
    let folder = tempfile::tempdir().unwrap();
    let source = counted(folder.path());
    let path = make(folder.path(), "a.mp4", &format!("{IMAGES} -c:v libx264 -g 30"));
    let video = source.probe(&path, None).unwrap();
    let wanted: Vec<[u64; 2]> = (0..40).map(|clip| [3 * clip, 3 * clip + 7]).collect();
    let clips: Vec<Clip> = wanted.iter().map(|wanted| Clip { video: &video, wanted }).collect();
    let found = source.together(&clips, &Transform::whole(Reader::Opencv));
    assert!(found.iter().all(|frames| frames.as_ref().is_some_and(|frames| frames.len() == 2)));
    assert_eq!(fs::read_to_string(folder.path().join("started")).unwrap(), "x");
}

#[test]
fn chunks_are_one_video_and_a_clip_may_lie_in_two() {
    let folder = tempfile::tempdir().unwrap();
    for k in 0..2 {
        make(folder.path(), &format!("{k}.mp4"), &format!("{IMAGES} -c:v libx264 -g 30"));
    }
    let video = source().probe(folder.path(), None).unwrap();
    let wanted = [vec![10, 20], vec![140, 149, 150, 165], vec![290, 299]];
    let clips: Vec<Clip> = wanted.iter().map(|wanted| Clip { video: &video, wanted }).collect();
    assert_eq!(compared(&clips, Reader::Opencv), [true; 3]);
}

#[test]
fn what_is_not_understood_for_certain_is_left_to_be_decoded_alone() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, args: &str| make(folder.path(), name, &format!("{IMAGES} {args}"));
    let mut paths = vec![
        make("open.mp4", "-c:v libx264 -x264-params open-gop=1:keyint=30:bframes=3"),
        make("fragments.mp4", "-c:v libx264 -g 50 -movflags frag_keyframe+empty_moov"),
        make("other.mkv", "-c:v libx264 -g 50"),
        make("other.mp4", "-c:v mpeg4"),
        make("inband.mp4", "-c:v libx264 -g 30 -bsf:v dump_extra=freq=keyframe"),
        make("444.mp4", "-c:v libx264 -pix_fmt yuv444p"),
        data("media").join("nasa_13013_rotated.mp4"),
    ];
    paths.push(folder.path().join("shifted.mp4"));
    let open = &paths[0];
    let cut = ["-ss", "1.3", "-i", open.to_str().unwrap(), "-c", "copy", paths[7].to_str().unwrap()];
    crate::support::videos::ffmpeg(cut);
    for path in &paths {
        let video = source().probe(path, None).unwrap();
        let wanted = [video.timeline.frames() / 2];
        assert_eq!(compared(&[Clip { video: &video, wanted: &wanted }], Reader::Opencv), [false], "{}", path.display());
    }
}

#[test]
fn a_damaged_clip_harms_no_other_and_is_told_of_when_it_is_decoded_alone() {
    let folder = tempfile::tempdir().unwrap();
    let sound = source().probe(&make(folder.path(), "a.mp4", &format!("{IMAGES} -c:v libx264 -g 30")), None).unwrap();
    let path = url(&sound.path).into_string().unwrap();
    let lines = ffprobe(["-select_streams", "v", "-show_entries", "packet=pts,size,pos", "-of", "csv=p=0", &path]);
    let fields: Vec<Vec<usize>> =
        lines.iter().map(|line| line.split(',').map_while(|field| field.parse().ok()).collect()).collect();
    let key = fields.iter().find(|field| sound.timeline.index_of(field[0] as i64) == Some(60)).unwrap();
    let mut bytes = fs::read(&sound.path).unwrap();
    let (at, size) = (key[2], key[1]);
    bytes[at + 40..at + size].iter_mut().enumerate().for_each(|(k, byte)| *byte ^= (k * 73 % 251) as u8 | 1);
    let path = folder.path().join("b.mp4");
    fs::write(&path, bytes).unwrap();
    let harmed = source().probe(&path, None).unwrap();
    let wanted = [[10, 20], [70, 80], [100, 110]];
    let clips = [&sound, &harmed, &sound].into_iter().zip(&wanted).map(|(video, wanted)| Clip { video, wanted });
    let clips: Vec<Clip> = clips.collect();
    assert_eq!(compared(&clips, Reader::Opencv), [false; 3], "none is handed on");
    let (_, faults) = split(source().open(&harmed, &wanted[1], &[Transform::whole(Reader::Opencv)]));
    assert!(!faults.is_empty());
    assert_eq!(compared(&[clips[0], clips[2]], Reader::Opencv), [true; 2]);

    // A file that was cut off after it was probed.
    let length = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    assert_eq!(compared(&[clips[1], clips[0]], Reader::Opencv), [false, true]);
}

/// Each video has draws of its own.
#[test]
fn random_crops_are_of_each_video_alone() {
    let folder = tempfile::tempdir().unwrap();
    let videos: Vec<VideoInfo> = ["a.mp4", "b.mp4"]
        .map(|name| {
            let path = make(folder.path(), name, &format!("{IMAGES} -c:v libx264 -g 30"));
            source().probe(&path, None).unwrap()
        })
        .into();
    let clips: Vec<Clip> = videos.iter().map(|video| Clip { video, wanted: &[3, 4] }).collect();
    let whole = Transform::whole(Reader::Opencv);
    assert!(source().together(&clips, &whole).iter().all(Option::is_some));
    let random = Transform { place: Place::Random { seed: 7 }, crop: 32, ..whole };
    assert!(source().together(&clips, &random).iter().all(Option::is_none));
}
