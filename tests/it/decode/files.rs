//! Files as people have them: every frame that ffmpeg's decoder gives is a frame of ours, under its own number, whether it
//! is asked for alone or with all others; and what is odd about a file is no damage.

use std::fs;
use std::path::{Path, PathBuf};

use egofx::decode::{Fault, FfmpegSource, Filter, Frame, FrameSource, HwAccel, Transform, VideoInfo};

use crate::support;
use crate::support::fuzz::script::write_executable;
use crate::support::videos::{all, data, ffmpeg, indices, make, split, tools, url};
use crate::support::{Workshop, json};

const SMALL: Transform = Transform::centred(64, 64, Filter::Bilinear);

/// How much nearer, in levels, a neighbour may be to a frame than the frame itself is, made into RGB in another way: how YUV
/// becomes RGB is not tested here.
const NEAR_LEVELS: f64 = 0.3;

fn source() -> FfmpegSource {
    FfmpegSource { tools: tools(), threads: 2, hwaccel: HwAccel::None }
}

fn odd(name: &str) -> PathBuf {
    data("media/odd").join(name)
}

fn probe(path: &Path) -> VideoInfo {
    source().probe(path, None).unwrap()
}

fn open(video: &VideoInfo, wanted: &[u64]) -> (Vec<Frame>, Vec<Fault>) {
    split(source().open(video, wanted, &[SMALL]).filter(|next| !matches!(next, Err(Fault::Restarted { .. }))))
}

/// The middle of every frame that comes out of a plain `ffmpeg -i FILE`, in order.
fn plain(video: &VideoInfo) -> Vec<Vec<u8>> {
    let (short, path) = ("64:64:force_original_aspect_ratio=increase", url(&video.path).into_string().unwrap());
    // The muxer of raw frames is to have no opinion on their times.
    let filter = format!("scale={short}:flags=bilinear,crop=64:64,format=rgb24,settb=1/1000,setpts=N");
    let map = format!("0:{}", video.stream);
    let args = ["-v", "quiet", "-i", &path, "-map", &map, "-fps_mode", "passthrough", "-vf", &filter];
    let bytes = ffmpeg(args.into_iter().chain(["-enc_time_base", "1:1000", "-f", "rawvideo", "-"]));
    bytes.chunks(64 * 64 * 3).map(<[u8]>::to_vec).collect()
}

fn distance(a: &[u8], b: &[u8]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

/// Asserts that a file has `frames` frames from `start_sec` on, that all of them come and are those of a plain decode, and
/// that some asked for alone are the same.
fn assert_whole(path: &Path, frames: usize, start_sec: f64) -> VideoInfo {
    let (video, name) = (probe(path), path.display());
    let plain = plain(&video);
    assert_eq!((video.timeline.frames(), plain.len()), (frames as u64, frames), "{name}: {:?}", video.notes);
    assert!((video.timeline.sec(0) - start_sec).abs() < 1e-3, "{name}: begins at {}", video.timeline.sec(0));
    assert_eq!((video.declared_end_sec, &video.lost[..], &video.damage), (None, &[][..], &None), "{name}");
    let (whole, faults) = open(&video, &all(&video));
    assert_eq!((indices(&whole), faults), (all(&video), vec![]), "{name}");
    for frame in &whole {
        let at = frame.index as usize;
        let neighbours = &plain[at.saturating_sub(3)..(at + 4).min(plain.len())];
        let nearest =
            neighbours.iter().map(|other| distance(&frame.pixels[0].levels(), other)).fold(f64::INFINITY, f64::min);
        let off = distance(&frame.pixels[0].levels(), &plain[at]);
        assert!(off <= nearest + NEAR_LEVELS, "{name}: frame {at} is {off} levels off, another one {nearest}");
    }
    let last = frames as u64 - 1;
    for wanted in [vec![last], vec![last / 2, last / 2 + 1], vec![last * 2 / 3], vec![0, last]] {
        let wanted: Vec<u64> = wanted.into_iter().filter(|&index| index <= last).collect();
        let (some, faults) = open(&video, &wanted);
        assert_eq!((indices(&some), faults), (wanted, vec![]), "{name}");
        for frame in some {
            assert!(frame.pixels[0] == whole[frame.index as usize].pixels[0], "{name}: frame {} alone", frame.index);
        }
    }
    video
}

#[test]
fn frames_may_be_closer_than_the_rate_says() {
    assert_whole(&odd("cfr_30.05.mp4"), 320, 0.0);
    assert_whole(&odd("two_close.mp4"), 5, 0.0);
    let folder = tempfile::tempdir().unwrap();
    let images = "-f lavfi -i testsrc2=s=96x64:r=30 -frames:v 90 -pix_fmt yuv420p";
    let uneven = "-vf settb=1/90000,setpts='(N/30+0.004*mod(N\\,3)-0.02*eq(mod(N\\,7)\\,3))/TB' -fps_mode passthrough -enc_time_base 1:90000";
    for name in ["a.mp4", "a.mov", "a.mkv"] {
        let codec = "-c:v libx264 -preset veryfast -bf 2 -g 20 -video_track_timescale 90000";
        let codec =
            if name.ends_with("mkv") { codec.replace(" -video_track_timescale 90000", "") } else { codec.into() };
        let video = assert_whole(&make(folder.path(), name, &format!("{images} {uneven} {codec}")), 90, 0.0);
        assert!(!video.timeline.is_constant() && !video.counted, "{name}");
    }
    let fast = "-f lavfi -i testsrc2=s=96x64:r=2500 -frames:v 60 -pix_fmt yuv420p -fps_mode passthrough";
    let video = assert_whole(&make(folder.path(), "ms.mkv", &format!("{fast} -c:v libx264 -bf 0 -g 20")), 60, 0.0);
    assert!(video.counted, "several frames share a millisecond");
}

#[test]
fn frames_without_a_time_of_their_own_are_counted() {
    for (name, rate) in [("h264_bframes.avi", 10.0), ("mpeg4_bframes.avi", 10.0)] {
        let video = assert_whole(&odd(name), 10, 0.0);
        assert!(video.counted && (video.timeline.mean_fps() - rate).abs() < 1e-6, "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let images = "-f lavfi -i testsrc2=s=96x64:r=25 -frames:v 60 -pix_fmt yuv420p";
    let x264 = "-c:v libx264 -preset veryfast -bf 3 -g 15";
    for (name, codec, is_counted) in [
        ("a.avi", x264, true),
        ("a.asf", x264, true),
        ("m.avi", "-c:v mpeg4 -bf 2 -g 15", true),
        ("p.avi", "-c:v mpeg4 -g 15", false),
        ("w.wmv", "-c:v wmv2 -g 15", false),
        ("a.h264", x264, true),
        ("a.hevc", "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=15", true),
        ("a.m4v", "-c:v mpeg4 -bf 2 -g 15 -f m4v", true),
        ("a.m2v", "-c:v mpeg2video -bf 2 -g 15", true),
        ("a.mjpeg", "-c:v mjpeg -strict unofficial", true),
        ("a.gif", "-pix_fmt rgb8", true),
    ] {
        let video = assert_whole(&make(folder.path(), name, &format!("{images} {codec}")), 60, 0.0);
        assert_eq!(video.counted, is_counted, "{name}");
        assert!((video.timeline.mean_fps() - 25.0).abs() < 0.05, "{name}: {} fps", video.timeline.mean_fps());
    }
}

#[test]
fn a_seek_in_an_elementary_stream_is_not_believed() {
    let video = assert_whole(&odd("count_video.m4v"), 250, 0.0);
    assert!(video.counted && video.start_before(100) == 0);
    let (whole, _) = open(&video, &all(&video));
    for first in [75, 150] {
        let wanted: Vec<u64> = (first..first + 50).collect();
        let (clip, faults) = open(&video, &wanted);
        assert_eq!((indices(&clip), faults), (wanted, vec![]));
        assert!(clip.iter().all(|frame| frame.pixels == whole[frame.index as usize].pixels));
    }
    let raw = assert_whole(&odd("raw.h264"), 5, 0.0);
    assert_eq!(raw.timeline.mean_fps(), 10.0);
}

#[test]
fn frames_are_counted_on_where_images_change_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, size: &str| {
        let args = format!("-f lavfi -i testsrc2=s={size}:r=25 -frames:v 20 -pix_fmt yuv420p -c:v libx264 -bf 2 -g 10");
        fs::read(make(folder.path(), name, &args)).unwrap()
    };
    let path = folder.path().join("both.h264");
    fs::write(&path, [part("a.h264", "96x64"), part("b.h264", "144x96")].concat()).unwrap();
    let video = probe(&path);
    let (whole, faults) = open(&video, &all(&video));
    assert_eq!((whole.len(), faults), (40, vec![]));
    let (some, faults) = open(&video, &[3, 29, 39]);
    assert_eq!((indices(&some), faults), (vec![3, 29, 39], vec![]));
    assert!(some.iter().all(|frame| frame.pixels == whole[frame.index as usize].pixels));
}

#[test]
fn packets_that_are_never_shown_are_no_frames() {
    let video = assert_whole(&odd("roadtrip-vp92-10bit.webm"), 72, 0.0);
    assert!((video.timeline.mean_fps() - 24_000.0 / 1001.0).abs() < 0.02 && !video.counted);
    let video = assert_whole(&odd("vp8_altref_own_time.webm"), 45, 0.0);
    assert!((video.timeline.mean_fps() - 30.0).abs() < 0.05 && !video.counted);
}

#[test]
fn streams_may_begin_between_key_frames() {
    assert_whole(&odd("open_gop_cut.mp4"), 52, 0.0);
    let video = assert_whole(&odd("mid_gop.ts"), 60, 1.5);
    assert!((video.timeline.end_sec() - 3.5).abs() < 1e-3);
    let folder = tempfile::tempdir().unwrap();
    let images = "-f lavfi -i testsrc2=s=96x64:r=30 -frames:v 150 -pix_fmt yuv420p";
    for (codec, name) in [
        ("-c:v libx264 -preset veryfast -bf 3 -g 30 -keyint_min 30 -sc_threshold 0 -x264-params open-gop=1", "h264"),
        ("-c:v mpeg2video -bf 2 -g 15 -q:v 4", "mpeg2"),
        ("-c:v libx265 -preset ultrafast -x265-params log-level=error:bframes=3:keyint=30:scenecut=0", "hevc"),
    ] {
        let whole = make(folder.path(), &format!("{name}.mp4"), &format!("{images} {codec}"));
        for end in ["mp4", "mov", "mkv"] {
            let cut =
                make(folder.path(), &format!("cut-{name}.{end}"), &format!("-ss 1.25 -i {} -c copy", whole.display()));
            let frames = plain(&probe(&cut)).len();
            assert!(frames > 100, "{name}.{end}: {frames}");
            assert_whole(&cut, frames, 0.0);
        }
    }
}

#[test]
fn a_duration_of_all_ones_is_unknown() {
    let video = assert_whole(&odd("unknown_duration.mp4"), 30, 1.0 / 15.0);
    assert!((video.timeline.end_sec() - 1.0 - 1.0 / 15.0).abs() < 1e-3);
    let declared = egofx::decode::declared_sec(&tools(), &odd("unknown_duration.mp4"));
    // Later ffmpegs take it from the list of packets.
    assert!(declared.is_none() || (declared == Some(1.0) && !(1..6).contains(&tools().major())), "{declared:?}");
}

/// One byte of the table that says how long after its decoding a frame is shown: frame 25 is told to be shown as the 90th.
#[test]
fn a_wrong_timestamp_costs_the_frames_that_nothing_proves() {
    let folder = tempfile::tempdir().unwrap();
    let sound = probe(&data("media/nasa_13013.mp4"));
    let (whole, _) = open(&sound, &all(&sound));
    let mut bytes = fs::read(&sound.path).unwrap();
    assert_eq!(std::mem::replace(&mut bytes[663_444], 0xFF), 0);
    let path = folder.path().join("shifted.mp4");
    fs::write(&path, bytes).unwrap();
    let video = probe(&path);
    let (frames, faults) = open(&video, &all(&video));
    for frame in &frames {
        assert!(frame.pixels == whole[frame.index as usize].pixels, "frame {}", frame.index);
    }
    assert!(matches!(faults[0], Fault::Disorder { due: 25, .. }), "{faults:?}");
    assert!(frames.len() > 320 && frames.len() < 390, "{}", frames.len());
    let (later, faults) = open(&video, &[250, 251]);
    assert_eq!((indices(&later), faults), (vec![250, 251], vec![]));
    assert!(later.iter().all(|frame| frame.pixels == whole[frame.index as usize].pixels));
}

/// A program that prints what ffprobe would and then dies is not believed.
#[test]
fn a_list_that_broke_off_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("ffprobe");
    let real = tools().ffprobe.display().to_string();
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *packet=*) {real} \"$@\" | head -n 50; kill -9 $$;; *) exec {real} \"$@\";; esac\n"
    );
    write_executable(&script, &text);
    let dying = FfmpegSource { tools: egofx::decode::Tools { ffprobe: script, ..tools() }, ..source() };
    let error = dying.probe(&data("media/nasa_13013.mp4"), None).unwrap_err().to_string();
    assert!(error.contains("ffprobe was killed by signal 9 (out of memory?); tried twice"), "{error}");
}

/// What follows the last packet is a sixth of the file.
#[test]
fn a_list_that_ends_long_before_the_file_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        "-f lavfi -i testsrc2=s=640x480:r=30,noise=alls=40:allf=t -frames:v 90 -pix_fmt yuv420p -c:v mpeg2video -q:v 2";
    let path = make(folder.path(), "a.ts", args);
    let mut bytes = fs::read(&path).unwrap();
    assert_eq!(probe(&path).timeline.frames(), 90);
    assert!(bytes.len() > 2_000_000, "{}", bytes.len());
    let from = bytes.len() * 5 / 6;
    bytes[from..].fill(0);
    fs::write(&path, bytes).unwrap();
    let error = source().probe(&path, None).unwrap_err().to_string();
    assert!(error.contains("the list of its frames broke off: its last packet ends at byte"), "{error}");
}

/// One image's bytes are overwritten. The decoder notices some images later, and conceals what it does not understand.
#[test]
fn harm_is_taken_to_begin_at_the_key_frame_before_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let args = "-f lavfi -i testsrc2=s=192x128:r=30,noise=alls=12:allf=t -frames:v 120 -pix_fmt yuv420p \
                -c:v libx264 -preset veryfast -bf 2 -g 40 -keyint_min 40 -sc_threshold 0";
    let path = make(folder.path(), "a.mp4", args);
    let (sound, _) = open(&probe(&path), &(0..120).collect::<Vec<_>>());
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 12_000].fill(0x55);
    fs::write(&path, bytes).unwrap();
    let video = probe(&path);
    let (frames, faults) = open(&video, &all(&video));
    let Some(Fault::Damage { near, .. }) = faults.first() else { panic!("{faults:?}") };
    let key = video.keyframe_before(*near);
    assert!(*near > key && !indices(&frames).iter().any(|index| (key..=*near).contains(index)), "{near} {key}");
    assert!(frames.len() >= 40 && frames.iter().all(|frame| frame.pixels == sound[frame.index as usize].pixels));
}

/// A row for each frame.
fn shop(manifest: &str) -> Workshop {
    let shop = Workshop::new();
    shop.recipe("rows", "kind = \"ego4d\"\nframes = 1\nstride = 1", "hdf5", "f32");
    shop.write("all.csv", manifest);
    shop
}

#[test]
fn units_of_odd_files_are_whole_and_sound() {
    let files = [("cfr_30.05.mp4", 320), ("h264_bframes.avi", 10), ("open_gop_cut.mp4", 52), ("mid_gop.ts", 60)];
    let line = |(name, _): &(&str, u64)| format!("{},{}\n", name.replace('.', "_"), odd(name).display());
    let shop = shop(&format!("video_uid,path\n{}", files.iter().map(line).collect::<String>()));
    shop.extract("out", "").ends_with(0);
    for (name, rows) in files {
        let unit = shop.unit("out/rows", &name.replace('.', "_"));
        assert_eq!(unit.meta.len(), rows as usize, "{name}");
        assert!(unit.meta.iter().all(|row| !row.missing), "{name}");
    }
    shop.egofx("verify out/rows").ends_with(0);
    // Two recipes share a decode: what one of them asks for is no damage to the other.
    shop.recipe("dense", "kind = \"ego4d\"\nframes = 32\nstride = 16", "parquet", "f32");
    shop.recipe("sparse", support::EGOVLP, "hdf5", "f32");
    shop.write("one.csv", format!("video_uid,path\n{}", line(&files[0])));
    shop.egofx("extract -m one.csv -p dense.toml -p sparse.toml -o two").ends_with(0);
    shop.egofx("resize -m all.csv -o small --short-side 48 --preset ultrafast").ends_with(0).says(&["4 videos made"]);
    let small = probe(&shop.path("small/h264_bframes_avi.mp4"));
    assert_eq!((small.timeline.frames(), small.timeline.mean_fps().round()), (10, 10.0));
}

#[test]
fn the_last_frame_of_a_clip_may_be_shown_longer_than_the_clip() {
    let shop =
        shop(&format!("video_uid,path,clip_uid,start_sec,end_sec\nv,{},c,0,0.5\n", odd("long_frame.mp4").display()));
    shop.extract("out", "").ends_with(0);
    shop.egofx("verify out/rows").ends_with(0);
    let rows = shop.unit("out/rows", "c").meta;
    assert!(rows.last().is_some_and(|row| (row.start_sec, row.end_sec) == (0.3, 0.9)), "{rows:?}");
}

#[test]
fn audit_tells_of_damage_before_a_gpu_is_booked() {
    let shop =
        shop(&format!("video_uid,path\nv,{}\nw,{}\n", odd("corrupted.mp4").display(), odd("mid_gop.ts").display()));
    let run = shop.egofx("audit -m all.csv --json").ends_with(1);
    let report = json(&run.stdout);
    assert_eq!(report["videos_with_errors"], 1, "{run}");
    let found = report["findings"].as_array().unwrap().iter().find(|row| row["severity"] == "error").unwrap();
    assert_eq!((&found["video_uid"], &found["kind"]), (&"v".into(), &"damaged".into()));
    assert!(found["what"].as_str().unwrap().contains("Invalid NAL unit size"), "{found}");
}

#[test]
fn chapters_of_a_recording_are_one_video() {
    let shop = Workshop::new();
    fs::create_dir(shop.path("videos")).unwrap();
    // Cameras begin a chapter by size: the second one may be of any length.
    for (name, frames) in [("GX010123.MP4", 30), ("GX020123.MP4", 20)] {
        shop.encode(&format!("videos/{name}"), "64x48", frames, support::H264);
    }
    let pattern = shop.path("videos/GX%02d0123.MP4");
    let (video, second) = (probe(&pattern), probe(&shop.path("videos/GX020123.MP4")));
    assert_eq!((video.timeline.frames(), video.files().len()), (50, 2));
    assert!((video.timeline.sec(30) - 1.2).abs() < 1e-3);
    let ((frames, faults), (of_second, _)) = (open(&video, &all(&video)), open(&second, &all(&second)));
    assert_eq!((indices(&frames), faults), (all(&video), vec![]));
    assert!(frames[30..].iter().zip(&of_second).all(|(a, b)| a.pixels == b.pixels) && of_second.len() == 20);

    shop.egofx("manifest folder --videos videos -o all.csv").ends_with(0);
    shop.recipe("rows", support::DENSE, "hdf5", "f32");
    shop.extract("out", "").ends_with(0);
    assert_eq!(shop.unit("out/rows", "GX0123").meta.len(), 7);
    shop.write("all.csv", "video_uid\nGX0123\n");
    shop.extract("located", "--videos videos").ends_with(0);
    fs::rename(shop.path("videos/GX020123.MP4"), shop.path("videos/GX030123.MP4")).unwrap();
    let error = source().probe(&pattern, None).unwrap_err().to_string();
    assert!(error.ends_with("GX020123.MP4 is missing, there is GX030123.MP4"), "{error}");
}

#[test]
fn chunked_videos_are_found_by_their_folders() {
    let shop = Workshop::new();
    fs::create_dir(shop.path("videos")).unwrap();
    for name in ["a", "b c"] {
        let path = shop.encode("made.mp4", "64x48", 60, support::H264);
        fs::rename(path, shop.path(&format!("videos/{name}.mp4"))).unwrap();
    }
    shop.egofx("chunk --videos videos -o pieces --length 1 --preset ultrafast").ends_with(0);
    shop.egofx("manifest folder --videos pieces -o all.csv").ends_with(0);
    let text = fs::read_to_string(shop.path("all.csv")).unwrap();
    let uids: Vec<&str> = text.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert!(uids.len() == 2 && uids[0] == "a" && uids[1].starts_with("b_c-"), "{text}");
    shop.recipe("rows", support::DENSE, "hdf5", "f32");
    shop.extract("out", "").ends_with(0);
    assert_eq!(shop.unit("out/rows", "a").meta.len(), 8);
}
