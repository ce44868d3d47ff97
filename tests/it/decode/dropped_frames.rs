//! Frames that nobody wants and no other frame refers to do not come to the decoder, and everything else is as if they did.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egofx::decode::{Fault, FfmpegSource, Filter, Frame, FrameSet, FrameSource, HwAccel, Tools, Transform, VideoInfo};
use egofx::pixels::Pixels;

use crate::support::videos::{all, data, ffprobe, indices, make, split, tools, url};

const SMALL: Transform = Transform::centred(48, 48, Filter::Bilinear);

/// Moving, noisy images, so that no two frames are alike.
const IMAGES: &str = "-f lavfi -i testsrc2=s=96x64:r=30,noise=alls=12:allf=t -frames:v 150 -pix_fmt yuv420p";

/// Whether frames of a video can be left out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    Some,
    None,
}

use Expected::{None as Nothing, Some as Dropped};

/// Name, how ffmpeg makes it, and what is expected.
const CLIPS: [(&str, &str, Expected); 19] = [
    ("default.mp4", "-c:v libx264", Dropped),
    ("default.mkv", "-c:v libx264", Dropped),
    ("fragmented.mp4", "-c:v libx264 -g 50 -movflags frag_keyframe+empty_moov", Dropped),
    ("strict_pyramid.mp4", "-c:v libx264 -bf 7 -b_strategy 0 -x264-params b-pyramid=strict:ref=6", Dropped),
    ("no_pyramid.mp4", "-c:v libx264 -bf 3 -x264-params b-pyramid=none:direct=temporal:weightp=2:slices=3", Dropped),
    (
        "open_gop.mp4",
        "-c:v libx264 -x264-params open-gop=1:keyint=40:bframes=3:aud=1:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900",
        Dropped,
    ),
    ("cavlc_10bit.mov", "-c:v libx264 -pix_fmt yuv420p10 -x264-params cabac=0:scenecut=0", Dropped),
    ("edited.mp4", "-ss 1.3 -i default.mp4 -c copy", Dropped),
    ("remuxed.mp4", "-i default.ts -c copy -bsf:v dump_extra=freq=keyframe", Dropped),
    ("uneven.mkv", "-c:v libx264 -vf select='gt(mod(n\\,7)\\,0)*gt(mod(n\\,5)\\,0)' -fps_mode vfr", Dropped),
    ("hevc.mp4", "-c:v libx265 -x265-params log-level=none:keyint=50", Dropped),
    ("hevc.mkv", "-c:v libx265 -x265-params log-level=none:b-pyramid=0:open-gop=0:hash=1", Dropped),
    ("layers.mp4", "-c:v libx265 -x265-params log-level=none:temporal-layers=3", Dropped),
    ("no_b.mp4", "-c:v libx264 -bf 0", Nothing),
    ("interlaced.mp4", "-c:v libx264 -flags +ilme+ildct -x264-params tff=1", Nothing),
    ("default.ts", "-c:v libx264", Nothing),
    ("default.flv", "-c:v libx264", Nothing),
    ("mpeg4.mp4", "-c:v mpeg4 -bf 2 -q:v 4", Nothing),
    ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8", Nothing),
];

fn source() -> FfmpegSource {
    FfmpegSource { tools: tools(), threads: 1, hwaccel: HwAccel::None }
}

fn drops_packets() -> bool {
    tools().major() >= 7
}

fn probe(path: &Path) -> VideoInfo {
    source().probe(path, None).unwrap()
}

/// The usual grid: 4 of 16 frames.
fn grid(video: &VideoInfo) -> Vec<u64> {
    (0..video.timeline.frames()).step_by(4).collect()
}

fn whole(video: &VideoInfo) -> VideoInfo {
    VideoInfo { disposable: FrameSet::default(), ..video.clone() }
}

fn open(video: &VideoInfo, wanted: &[u64]) -> (Vec<Frame>, Vec<Fault>) {
    split(source().open(video, wanted, &[SMALL]))
}

/// What is told of a video: not that packets should not have been dropped.
fn told(faults: Vec<Fault>) -> Vec<Fault> {
    faults.into_iter().filter(|fault| !matches!(fault, Fault::Undropped { .. })).collect()
}

fn by_index(frames: Vec<Frame>) -> BTreeMap<u64, Vec<Arc<Pixels>>> {
    frames.into_iter().map(|frame| (frame.index, frame.pixels)).collect()
}

/// Asserts that the frames of some choices come as they do without dropping, and how many are dropped for the grid.
fn assert_same(path: &Path) -> u64 {
    let video = probe(path);
    let (every, faults) = open(&whole(&video), &all(&video));
    assert_eq!((every.len() as u64, faults), (video.timeline.frames(), vec![]), "{}", path.display());
    let grid = grid(&video);
    let (late, odd): (Vec<u64>, Vec<u64>) =
        (grid.iter().copied().filter(|index| *index > 90).collect(), grid.iter().map(|index| index | 1).collect());
    let odd: Vec<u64> = odd.into_iter().filter(|&index| index < video.timeline.frames()).collect();
    for wanted in [&grid, &late, &odd] {
        let (frames, faults) = open(&video, wanted);
        assert_eq!(faults, open(&whole(&video), wanted).1, "{}", path.display());
        assert_eq!(indices(&frames), *wanted, "{}", path.display());
        for frame in frames {
            assert!(frame.pixels == every[frame.index as usize].pixels, "{}: {}", path.display(), frame.index);
        }
    }
    source().dropped(&video, &grid)
}

#[test]
fn frames_are_the_same_whether_others_are_dropped_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str, args: &str| {
        if !args.contains("-i ") {
            return make(folder.path(), name, &format!("{IMAGES} {args}"));
        }
        let (before, after) = args.split_once("-i default").unwrap();
        let (of, options) = after.split_once(' ').unwrap();
        let from = folder.path().join(format!("default{of}"));
        make(folder.path(), name, &format!("{before}-i {} {options}", from.display()))
    };
    make(folder.path(), "default.ts", &format!("{IMAGES} -c:v libx264"));
    for (name, args, expected) in CLIPS {
        let dropped = assert_same(&made(name, args));
        println!("{name}: {dropped} of 150 frames are dropped");
        assert_eq!(dropped > 15, expected == Dropped && drops_packets(), "{name}: {dropped} frames are dropped");
        assert!(expected == Dropped || dropped == 0, "{name}: {dropped}");
    }
}

#[test]
fn frames_of_the_bundled_videos_are_the_same_too() {
    for name in
        ["nasa_13013.mp4", "nasa_13013_rotated.mp4", "h265_video.mp4", "av1_video.mkv", "d15_30.mp4", "pause.mp4"]
    {
        println!("{name}: {} frames are dropped", assert_same(&data("media").join(name)));
    }
}

/// A program that is ffmpeg, and writes down in `folder` what that says.
fn overheard(folder: &Path) -> Tools {
    let script = folder.join("ffmpeg.sh");
    let (real, said) = (tools().ffmpeg.display().to_string(), folder.join("said").display().to_string());
    let text = format!("#!/bin/sh\n{real} \"$@\" 2> {said}\ncode=$?\ncat {said} >&2\nexit $code\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    Tools { ffmpeg: script, ..tools() }
}

#[test]
fn dropped_frames_do_not_come_to_the_decoder() {
    let folder = tempfile::tempdir().unwrap();
    let video = probe(&make(folder.path(), "a.mp4", &format!("{IMAGES} -c:v libx264")));
    let source = FfmpegSource { tools: overheard(folder.path()), ..source() };
    let wanted = grid(&video);
    for video in [video.clone(), whole(&video)] {
        let (frames, faults) = split(source.open(&video, &wanted, &[SMALL]));
        assert_eq!((indices(&frames), faults), (wanted.clone(), vec![]));
        let said = fs::read_to_string(folder.path().join("said")).unwrap();
        let decoded = said.lines().filter(|line| line.ends_with(".000000") && line.contains("[info] 5")).count() as u64;
        let rest = (wanted[wanted.len() - 1] + 1..150).filter(|&index| video.disposable.contains(index)).count() as u64;
        assert_eq!(decoded, 150 - source.dropped(&video, &wanted) - rest);
    }
}

/// Where packets lie, with their frames: all but key frames.
fn packets(video: &VideoInfo) -> Vec<(u64, usize, usize)> {
    let path = url(&video.path).into_string().unwrap();
    let lines =
        ffprobe(["-select_streams", "v", "-show_entries", "packet=pts,size,pos,flags", "-of", "csv=p=0", &path]);
    let of_line = |line: &String| {
        let fields: Vec<&str> = line.split(',').collect();
        let index = video.timeline.index_of(fields[0].parse().ok()?)?;
        (!fields[3].contains('K')).then_some((index, fields[2].parse().ok()?, fields[1].parse().ok()?))
    };
    lines.iter().filter_map(of_line).collect()
}

/// `video`'s file with a packet's bytes overwritten, all but the length and the header of its unit.
fn harmed(video: &VideoInfo, at: usize, size: usize, seed: u8) -> PathBuf {
    let mut bytes = fs::read(&video.path).unwrap();
    let mut noise = seed;
    for byte in &mut bytes[at + 6..at + size] {
        noise = noise.wrapping_mul(73).wrapping_add(41);
        *byte ^= noise | 1;
    }
    let path = video.path.with_file_name(format!("harmed-{seed}.mp4"));
    fs::write(&path, bytes).unwrap();
    path
}

/// ffmpeg decodes and tells of frames by several threads, so that a complaint comes a frame sooner or later, and costs one more
/// or less; so it is not asked that two runs give the same frames, but the same bits, and something is told by both or neither.
#[test]
fn damage_is_told_of_as_without_dropping() {
    let folder = tempfile::tempdir().unwrap();
    for (name, codec) in [("h264.mp4", "libx264 -g 50"), ("hevc.mp4", "libx265 -x265-params log-level=none:keyint=50")]
    {
        let video = probe(&make(folder.path(), name, &format!("{IMAGES} -c:v {codec}")));
        let (wanted, sound) = (grid(&video), by_index(open(&video, &grid(&video)).0));
        let is_dropped = |index: u64| video.disposable.contains(index) && !wanted.contains(&index);
        let (dropped, kept): (Vec<_>, Vec<_>) = packets(&video).into_iter().partition(|(index, ..)| is_dropped(*index));
        let mut told_of = 0;
        // Before the first frame has come, complaints of references are taken for natural.
        for (seed, &(index, at, size)) in
            (1..).zip(kept.iter().filter(|(index, ..)| (20..100).contains(index)).step_by(6))
        {
            let harmed = probe(&harmed(&video, at, size, seed));
            let (frames, faults) = open(&harmed, &wanted);
            let (expected, reasons) = open(&whole(&harmed), &wanted);
            assert_eq!(told(faults).is_empty(), reasons.is_empty(), "{name}, frame {index}");
            assert!(!reasons.is_empty() || indices(&frames) == indices(&expected), "{name}, frame {index}");
            let expected = by_index(expected);
            for (number, pixels) in by_index(frames) {
                let known = [sound.get(&number), expected.get(&number)];
                assert!(known.contains(&Some(&pixels)), "{name}, frame {index}: {number} is nobody's");
            }
            told_of += u64::from(!reasons.is_empty());
        }
        assert!(told_of > 2, "{name}: {told_of}");
        for (seed, &(index, at, size)) in (100..).zip(dropped.iter().step_by(15)) {
            let harmed = probe(&harmed(&video, at, size, seed));
            let (frames, faults) = open(&harmed, &wanted);
            if drops_packets() {
                assert_eq!(faults, [], "{name}, frame {index}: nobody hears of it");
            }
            assert!(!faults.is_empty() || by_index(frames) == sound, "{name}, frame {index}: it harmed nothing else");
        }
    }
}

#[test]
fn a_program_that_cannot_drop_is_used_without() {
    let folder = tempfile::tempdir().unwrap();
    let video = probe(&make(folder.path(), "a.mp4", &format!("{IMAGES} -c:v libx264")));
    let script = folder.path().join("ffmpeg.sh");
    let real = tools().ffmpeg.display().to_string();
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *bsf*) echo '[fatal] Unknown bitstream filter noise' >&2; exit 1;; esac\nexec {real} \"$@\"\n"
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let source = FfmpegSource { tools: Tools { ffmpeg: script, ..tools() }, ..source() };
    let (frames, faults) = split(source.open(&video, &grid(&video), &[SMALL]));
    assert_eq!((indices(&frames), told(faults.clone())), (grid(&video), vec![]));
    assert_eq!(faults.len(), usize::from(drops_packets()), "{faults:?}");
}
