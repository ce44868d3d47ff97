//! Decoding of real files: every frame that comes is the frame of its index, bit for bit, or it does not come.
//!
//! The reference is a plain ffmpeg command that decodes a whole file from its first byte: without seeking, without
//! choosing frames, and with its frames counted, not named by timestamps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use egofx::decode::{
    Crash, Fault, FfmpegSource, Filter, Frame, FrameSource, Geometry, HwAccel, ProbeError, Transform, VideoInfo,
    hwaccel_fault,
};

use crate::support::fuzz::script::write_executable;
use crate::support::videos::{all, data, ffmpeg, ffprobe, indices, make, split, tools, url};

/// Most fixtures are 96x64 and shown as they are, the middle of them.
const SMALL: Transform = Transform::centred(64, 64, Filter::Bilinear);
const EGOVLP: Transform = Transform::centred(256, 256, Filter::Bilinear);

/// Moving, noisy images, so that no two frames are alike and no image is a few bytes.
fn images(size: &str, rate: &str, frames: u64) -> String {
    format!("-f lavfi -i testsrc2=s={size}:r={rate},noise=alls=12:allf=t -frames:v {frames}")
}

fn source() -> FfmpegSource {
    FfmpegSource { tools: tools(), threads: 2, hwaccel: HwAccel::None }
}

fn probe(path: &Path) -> VideoInfo {
    source().probe(path, None).unwrap()
}

fn open(video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> (Vec<Frame>, Vec<Fault>) {
    split(source().open(video, wanted, transforms))
}

/// Every frame of a file, through `transform`:
/// `ffmpeg -i FILE -map 0:N -fps_mode passthrough -vf scale=...,format=rgb24,crop=... -f rawvideo -`.
fn reference(video: &VideoInfo, transform: Transform) -> Vec<Vec<u8>> {
    let g = Geometry::of(transform, video.width, video.height);
    let flags = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact";
    let filter = format!(
        "scale={}:{}:flags={}+{flags},format=rgb24,crop={side}:{side}:{}:{}:exact=1",
        g.width,
        g.height,
        transform.filter.flag(),
        g.x,
        g.y,
        side = g.cut_width
    );
    raw(video, &filter, g.bytes())
}

fn raw(video: &VideoInfo, filter: &str, bytes: usize) -> Vec<Vec<u8>> {
    let path = url(&video.path).into_string().unwrap();
    let map = format!("0:{}", video.stream);
    let bits = ffmpeg([
        "-i",
        &path,
        "-map",
        &map,
        "-fps_mode",
        "passthrough",
        "-vf",
        filter,
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]);
    assert_eq!(bits.len() % bytes, 0);
    bits.chunks(bytes).map(<[u8]>::to_vec).collect()
}

/// Asserts that `wanted` come in order, without a fault, and equal to the reference. How often decoding began again.
fn assert_exact(video: &VideoInfo, wanted: &[u64], reference: &[Vec<u8>], transform: Transform) -> usize {
    let name = video.path.file_name().unwrap().to_string_lossy();
    let (frames, faults) = open(video, wanted, &[transform]);
    let (restarts, faults): (Vec<_>, Vec<_>) = faults.into_iter().partition(|f| matches!(f, Fault::Restarted { .. }));
    assert_eq!(faults, [], "{name} {wanted:?}");
    assert_eq!(indices(&frames), wanted, "{name}");
    for frame in &frames {
        assert!(*frame.pixels[0].levels() == reference[frame.index as usize], "{name}: frame {} differs", frame.index);
    }
    restarts.len()
}

/// Probes `path`, and asserts that all its frames come, equal to the reference.
fn assert_whole(path: &Path, frames: usize, transform: Transform) -> VideoInfo {
    let video = probe(path);
    let reference = reference(&video, transform);
    assert_eq!((reference.len(), video.timeline.frames()), (frames, frames as u64), "{}", path.display());
    assert_exact(&video, &all(&video), &reference, transform);
    video
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

// Which frames.

/// The number that a frame of `clip_*.mp4` shows, as far as the middle square shows it: bits 2 to 5 and 8 to 11.
const SHOWN_BITS: u64 = 0b1111_0011_1100;

fn shown(pixels: &[u8]) -> u64 {
    let bit = |row: usize, column: usize| u64::from(pixels[((8 * row + 4) * 32 + 8 * column + 4) * 3] > 127);
    (0..4).map(|c| bit(0, c) << (c + 2) | bit(1, c) << (c + 8)).sum()
}

#[test]
fn frames_are_those_that_the_original_decoder_gives() {
    let golden: serde_json::Value =
        serde_json::from_slice(&fs::read(data("sampling/real_decoder.json")).unwrap()).unwrap();
    let middle = Transform::centred(32, 32, Filter::Bilinear);
    for case in golden["cases"].as_array().unwrap() {
        let video = probe(&data("sampling").join(case["file"].as_str().unwrap()));
        assert_eq!(Some(video.timeline.frames()), case["decord_length"].as_u64());
        let numbers = |key: &str| -> Vec<u64> {
            case["decord_random_order"][key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
        };
        let decord: BTreeMap<u64, u64> = numbers("asked").into_iter().zip(numbers("got")).collect();
        let wanted: Vec<u64> = decord.keys().copied().collect();
        let (frames, faults) = open(&video, &wanted, &[middle]);
        assert_eq!((indices(&frames), faults), (wanted, vec![]));
        for frame in frames {
            assert_eq!(shown(&frame.pixels[0].levels()), decord[&frame.index] & SHOWN_BITS, "frame {}", frame.index);
        }
    }
}

#[test]
fn any_set_of_indices_comes_in_order_and_exact() {
    let middle = Transform::centred(32, 32, Filter::Bilinear);
    for name in ["clip_b_frames.mp4", "clip_no_b.mp4", "clip_2997.mp4"] {
        let video = probe(&data("sampling").join(name));
        let (reference, n) = (reference(&video, middle), video.timeline.frames());
        assert_eq!(reference.len() as u64, n);
        let jump: Vec<u64> = (0..n).filter(|i| i * i % 7 == 2).collect();
        for wanted in
            [all(&video), vec![0], vec![n - 1], vec![n / 2], vec![0, n - 1], jump, (3..n).step_by(4).collect()]
        {
            assert_exact(&video, &wanted, &reference, middle);
        }
    }
}

#[test]
fn no_wanted_frames_or_sizes_are_no_frames_and_no_faults() {
    let video = probe(&data("sampling/clip_no_b.mp4"));
    assert_eq!(open(&video, &[], &[SMALL]).1, []);
    assert!(open(&video, &[3], &[]).0.is_empty());
}

/// 600 frames with a key frame every 30, in one codec and container: a frame that was sought equals that of a full
/// decode. Where there is an index and GOPs are closed, the first seek finds it.
fn assert_seeks(name: &str, codec: &str) {
    let folder = folder();
    let path = make(folder.path(), name, &format!("{} -pix_fmt yuv420p {codec}", images("96x64", "30", 600)));
    let video = probe(&path);
    assert!(video.keyframes.len() >= 20, "{name}: {:?}", video.keyframes);
    let reference = reference(&video, SMALL);
    assert_eq!(reference.len() as u64, video.timeline.frames(), "{name}");
    for first in [0, 1, 28, 29, 30, 31, 58, 89, 118, 299, 300, 301, 317, 569, 598] {
        let wanted: Vec<u64> = [first, first + 1, first + 7, first + 40].into_iter().filter(|&i| i < 600).collect();
        let restarts = assert_exact(&video, &wanted, &reference, SMALL);
        assert!(restarts == 0 || name.starts_with("open") || name.ends_with(".ts"), "{name} {wanted:?}: {restarts}");
    }
}

const X264: &str = "-c:v libx264 -preset veryfast -bf 3 -g 30 -keyint_min 30 -sc_threshold 0";
const OPEN_GOP: &str =
    "-c:v libx264 -preset veryfast -bf 3 -g 30 -keyint_min 30 -sc_threshold 0 -x264-params open-gop=1";
const HEVC: &str =
    "-c:v libx265 -preset ultrafast -x265-params log-level=error:bframes=3:keyint=30:min-keyint=30:scenecut=0";
const MPEG4: &str = "-c:v mpeg4 -q:v 5 -bf 2 -g 30";

#[test]
fn sought_frames_are_exact_in_h264_mp4() {
    assert_seeks("closed.mp4", X264);
    assert_seeks("open.mp4", OPEN_GOP);
}

#[test]
fn sought_frames_are_exact_in_h264_mkv() {
    assert_seeks("closed.mkv", X264);
    assert_seeks("open.mkv", OPEN_GOP);
}

#[test]
fn sought_frames_are_exact_in_h264_ts() {
    assert_seeks("closed.ts", X264);
    assert_seeks("open.ts", OPEN_GOP);
}

#[test]
fn sought_frames_are_exact_in_hevc() {
    assert_seeks("open.mp4", HEVC);
    assert_seeks("open.mkv", HEVC);
}

#[test]
fn sought_frames_are_exact_in_mpeg4_and_vp9() {
    assert_seeks("mpeg4.mp4", MPEG4);
    assert_seeks("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 300k -g 30");
}

#[test]
fn a_stream_that_refreshes_without_key_frames_is_exact() {
    let folder = folder();
    let codec = "-pix_fmt yuv420p -c:v libx264 -preset veryfast -bf 0 -g 30 -x264-params intra-refresh=1";
    for name in ["refresh.mp4", "refresh.mkv", "refresh.ts"] {
        let video = probe(&make(folder.path(), name, &format!("{} {codec}", images("96x64", "30", 200))));
        let reference = reference(&video, SMALL);
        for first in [31, 61, 100] {
            let (frames, _) = open(&video, &[first, first + 5], &[SMALL]);
            assert_eq!(indices(&frames), [first, first + 5], "{name}");
            for frame in frames {
                assert!(*frame.pixels[0].levels() == reference[frame.index as usize], "{name}: frame {}", frame.index);
            }
        }
    }
}

#[test]
fn threads_do_not_change_frames() {
    let video = probe(&data("media/nasa_13013.mp4"));
    let wanted: Vec<u64> = (100..200).step_by(3).collect();
    let with = |threads| split(FfmpegSource { threads, ..source() }.open(&video, &wanted, &[EGOVLP]));
    let ((one, faults), (four, more)) = (with(1), with(4));
    assert_eq!((indices(&one), faults, more), (wanted.clone(), vec![], vec![]));
    assert_eq!(indices(&four), wanted);
    assert!(one.iter().zip(&four).all(|(a, b)| a.pixels == b.pixels));
}

// When frames are shown.

/// Timestamps as ffprobe tells them: `ffprobe -select_streams v:0 -show_entries frame=pts_time`.
fn times(path: &Path) -> Vec<f64> {
    let path = url(path).into_string().unwrap();
    let lines = ffprobe(["-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0", &path]);
    lines
        .iter()
        .map(|line| line.trim_end_matches(','))
        .filter(|line| !line.is_empty())
        .map(|l| l.parse().unwrap())
        .collect()
}

#[test]
fn a_variable_rate_keeps_each_frame_and_its_time() {
    let folder = folder();
    let uneven = "-vf select='gt(mod(n\\,7)\\,2)',setpts='PTS+random(0)*0.4/30/TB' -fps_mode vfr -pix_fmt yuv420p";
    for (name, codec) in [("v.mp4", X264), ("v.mkv", X264), ("v2.mkv", MPEG4)] {
        let path = make(folder.path(), name, &format!("{} {uneven} {codec}", images("96x64", "30", 150)));
        let video = probe(&path);
        let times = times(&path);
        assert_whole(&path, times.len(), SMALL);
        assert!(!video.timeline.is_constant());
        for (index, &sec) in times.iter().enumerate() {
            // ffprobe prints microseconds.
            assert!((video.timeline.sec(index as u64) - sec).abs() < 2e-6, "{name}: frame {index} at {sec} s");
        }
        assert_exact(&video, &[70, 75, 110], &reference(&video, SMALL), SMALL);
    }
}

#[test]
fn broadcast_streams_start_at_second_0() {
    let folder = folder();
    let args = format!("{} -pix_fmt yuv420p {X264} -output_ts_offset 36000", images("96x64", "25", 200));
    let video = assert_whole(&make(folder.path(), "late.ts", &args), 200, SMALL);
    assert!(video.timeline.container_sec(0) > 36_000.0);
    assert!((video.timeline.sec(0), video.timeline.sec(100)) == (0.0, 4.0), "{}", video.timeline.sec(0));
    assert_exact(&video, &[150, 151], &reference(&video, SMALL), SMALL);
}

#[test]
fn a_late_start_and_an_edit_list_are_kept() {
    let folder = folder();
    let whole = make(folder.path(), "whole.mp4", &format!("{} -pix_fmt yuv420p {X264}", images("96x64", "30", 300)));
    let whole = whole.display();
    let late = make(folder.path(), "late.mp4", &format!("-itsoffset 1.5 -i {whole} -c copy"));
    let video = assert_whole(&late, 300, SMALL);
    assert!((video.timeline.start_sec() - 1.5).abs() < 1e-6, "{}", video.timeline.start_sec());
    // Copied from second 3.5: it begins at the key frame before, and an edit list hides what comes before 3.5.
    let cut = make(folder.path(), "cut.mp4", &format!("-ss 3.5 -i {whole} -c copy"));
    let frames = times(&cut).len();
    let video = assert_whole(&cut, frames, SMALL);
    assert!(video.timeline.frames() < 210, "{}", video.timeline.frames());
    assert_exact(&video, &[150, 151], &reference(&video, SMALL), SMALL);
}

// Kinds of files.

#[test]
fn the_best_stream_is_chosen_as_players_do() {
    let video = assert_whole(&data("media/nasa_13013.mp4"), 390, SMALL);
    assert_eq!((video.stream, video.width, video.height), (3, 480, 270));
    assert_eq!(video.codec, "h264");
    assert!((video.timeline.mean_fps() - 30_000.0 / 1001.0).abs() < 1e-3);
    assert_exact(&video, &[200, 389], &reference(&video, SMALL), SMALL);
}

#[test]
fn hevc_and_av1_are_decoded() {
    assert_whole(&data("media/h265_video.mp4"), 10, SMALL);
    let video = probe(&data("media/av1_video.mkv"));
    assert_eq!((video.width, video.height, video.codec.as_str()), (640, 360, "av1"));
    assert_whole(&data("media/av1_video.mkv"), video.timeline.frames() as usize, SMALL);
}

#[test]
fn rotated_videos_are_shown_upright() {
    let video = assert_whole(&data("media/nasa_13013_rotated.mp4"), 17, EGOVLP);
    assert_eq!((video.width, video.height), (270, 480));
    assert_eq!(video.rotation % 180, 90);
    let folder = folder();
    let plain = make(folder.path(), "plain.mp4", &format!("{} -pix_fmt yuv420p {X264}", images("96x64", "30", 10)));
    for degrees in [90, 180, 270] {
        let args = if (1..6).contains(&tools().major()) {
            format!("-i {} -c copy -metadata:s:v:0 rotate={degrees}", plain.display())
        } else {
            format!("-display_rotation:v:0 {degrees} -i {} -c copy", plain.display())
        };
        let video = assert_whole(&make(folder.path(), &format!("r{degrees}.mp4"), &args), 10, SMALL);
        assert_eq!(video.width < video.height, degrees % 180 == 90, "{degrees}");
    }
}

#[test]
fn portrait_and_odd_sizes_are_decoded() {
    let folder = folder();
    for (size, pixels) in [("61x37", "yuv444p"), ("37x61", "yuv444p"), ("64x96", "yuv420p"), ("98x66", "yuv422p")] {
        let args = format!("{} -pix_fmt {pixels} {X264}", images(size, "30", 12));
        let path = make(folder.path(), &format!("{size}.mp4"), &args);
        for transform in [SMALL, EGOVLP, Transform::centred(20, 17, Filter::Area)] {
            assert_whole(&path, 12, transform);
        }
    }
}

#[test]
fn ten_bit_videos_are_decoded() {
    let folder = folder();
    for (name, codec) in
        [("a.mp4", format!("-pix_fmt yuv420p10 {X264}")), ("b.mov", "-pix_fmt yuv422p10 -c:v prores_ks".to_owned())]
    {
        assert_whole(&make(folder.path(), name, &format!("{} {codec}", images("96x64", "30", 12))), 12, SMALL);
    }
}

#[test]
fn other_codecs_and_containers_are_decoded() {
    let folder = folder();
    for (name, codec) in [
        ("a.avi", "-c:v mpeg4 -q:v 5"),
        ("c.avi", "-c:v mjpeg -q:v 3 -strict unofficial"),
        ("d.mkv", "-c:v ffv1"),
        ("e.mpg", "-c:v mpeg2video -bf 2 -q:v 4"),
        ("f.ogv", "-c:v libtheora -q:v 6"),
        ("g.flv", "-c:v flv -q:v 4"),
        ("h.mp4", "-c:v libaom-av1 -usage realtime -cpu-used 8 -g 30"),
    ] {
        let args = format!("{} -pix_fmt yuv420p {codec}", images("96x64", "30", 100));
        let video = assert_whole(&make(folder.path(), name, &args), 100, SMALL);
        assert_exact(&video, &[66, 67, 99], &reference(&video, SMALL), SMALL);
    }
}

#[test]
fn packets_without_times_are_listed_by_decoding() {
    let folder = folder();
    let path = make(folder.path(), "b.avi", &format!("{} {MPEG4}", images("96x64", "30", 100)));
    let video = probe(&path);
    let reference = reference(&video, SMALL);
    // The last frame comes out of the decoder's delay, without a time even there: frames are counted.
    assert_eq!((reference.len(), video.timeline.frames(), video.counted), (100, 100, true));
    assert!(video.notes.iter().any(|note| note.contains("without a timestamp")), "{:?}", video.notes);
    assert_exact(&video, &all(&video), &reference, SMALL);
    assert_exact(&video, &[98, 99], &reference, SMALL);
}

#[test]
fn a_cover_image_is_no_video() {
    let folder = folder();
    let cover = make(folder.path(), "cover.png", "-f lavfi -i color=red:s=800x600 -frames:v 1");
    let plain = make(folder.path(), "plain.mp4", &format!("{} -pix_fmt yuv420p {X264}", images("96x64", "30", 10)));
    let args = format!(
        "-i {} -i {} -map 1 -map 0 -c copy -c:v:0 png -disposition:v:0 attached_pic",
        plain.display(),
        cover.display()
    );
    let video = assert_whole(&make(folder.path(), "covered.mp4", &args), 10, SMALL);
    assert_eq!((video.width, video.height), (96, 64));
}

#[test]
fn names_may_hold_any_character() {
    let folder = folder();
    for name in ["-a 'b\": %d%04d [c],;é\\日本.mp4", "%03d.mp4", "http:x.mp4", "a\nb.mp4"] {
        let path = folder.path().join(name);
        fs::copy(data("sampling/clip_no_b.mp4"), &path).unwrap();
        let (frames, faults) = open(&probe(&path), &[0, 50], &[SMALL]);
        assert_eq!((indices(&frames), faults), (vec![0, 50], vec![]), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn names_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.mp4"));
    fs::copy(data("sampling/clip_no_b.mp4"), &path).unwrap();
    assert_eq!(indices(&open(&probe(&path), &[5], &[SMALL]).0), [5]);
}

#[test]
fn files_that_are_no_video_are_told_apart() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let error = |path: &Path| source().probe(path, None).unwrap_err();
    assert!(matches!(error(&at("none.mp4")), ProbeError::Missing(_)));
    fs::write(at("empty.mp4"), "").unwrap();
    assert!(matches!(error(&at("empty.mp4")), ProbeError::Empty(_)));
    assert!(matches!(error(folder.path()), ProbeError::Folder { .. }));
    fs::write(at("text.mp4"), "This is no video.\n".repeat(100)).unwrap();
    assert!(matches!(error(&at("text.mp4")), ProbeError::NotMedia { .. }));
    let sound = make(folder.path(), "sound.mp4", "-f lavfi -i sine=d=1 -c:a aac");
    let ProbeError::NoVideo { found, .. } = error(&sound) else { panic!("sound") };
    assert_eq!(found, "audio aac");
    fs::write(at("words.srt"), "1\n00:00:00,000 --> 00:00:01,000\nwords\n").unwrap();
    fs::rename(at("words.srt"), at("words.mp4")).unwrap();
    assert!(matches!(error(&at("words.mp4")), ProbeError::Format { format, .. } if format == "srt"));
    let bytes = fs::read(data("media/nasa_13013.mp4")).unwrap();
    fs::write(at("noise.mp4"), noise(1, 50_000)).unwrap();
    assert!(matches!(error(&at("noise.mp4")), ProbeError::NotMedia { .. } | ProbeError::Format { .. }));
    // The index is at the end of this file: without it nothing can be read.
    let tail = make(folder.path(), "tail.mp4", &format!("{} -pix_fmt yuv420p {X264}", images("96x64", "30", 60)));
    let whole = fs::read(&tail).unwrap();
    fs::write(&tail, &whole[..whole.len() / 2]).unwrap();
    let ProbeError::NotMedia { why, .. } = error(&tail) else { panic!("no index") };
    assert!(why.contains("moov atom not found"), "{why}");
    fs::write(at("head.mp4"), &bytes[..200]).unwrap();
    assert!(matches!(error(&at("head.mp4")), ProbeError::NotMedia { .. } | ProbeError::NoVideo { .. }));
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let path = folder.path().join("secret.mp4");
    fs::copy(data("sampling/clip_no_b.mp4"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    if fs::File::open(&path).is_err() {
        assert!(matches!(source().probe(&path, None), Err(ProbeError::Unreadable { .. })));
    }
}

// Damage.

/// Bytes that look like nothing, the same for the same seed (splitmix64).
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Decodes a whole file, damaged or not, by the timestamps of its frames.
fn by_pts(path: &Path) -> (BTreeMap<i64, Frame>, Vec<Fault>) {
    let Ok(video) = source().probe(path, None) else { return Default::default() };
    let (frames, faults) = open(&video, &all(&video), &[SMALL]);
    let timed = frames.into_iter().map(|frame| (video.timeline.pts(frame.index).unwrap(), frame)).collect();
    (timed, faults)
}

/// Overwrites `bytes` bytes in the middle of a file, at several places by turns, and asserts that not one frame comes that
/// differs from the undamaged file's; and that damage does not cost everything.
fn assert_unharmed(name: &str, codec: &str, sizes: &[usize]) {
    let folder = folder();
    let path = make(folder.path(), name, &format!("{} -pix_fmt yuv420p {codec}", images("192x128", "30", 240)));
    let (sound, faults) = by_pts(&path);
    assert_eq!((sound.len(), faults), (240, vec![]), "{name}");
    let bytes = fs::read(&path).unwrap();
    let mut kept = 0;
    for seed in 0..DAMAGES {
        let size = sizes[seed as usize % sizes.len()];
        let at = bytes.len() / 10 + (bytes.len() * 7 / 10) * seed as usize / DAMAGES as usize + 37 * seed as usize;
        let mut damaged = bytes.clone();
        damaged[at..at + size].copy_from_slice(&noise(seed, size));
        let harmed = folder.path().join(format!("harmed-{name}"));
        fs::write(&harmed, damaged).unwrap();
        let (frames, faults) = by_pts(&harmed);
        for (pts, frame) in &frames {
            let same = sound.get(pts).is_some_and(|sound| sound.pixels == frame.pixels);
            assert!(same, "{name}: {size} bytes at {at}: frame {} is harmed, {faults:?}", frame.index);
        }
        assert!(frames.len() == 240 || !faults.is_empty() || name.ends_with("mkv"), "{name}: {size} bytes at {at}");
        kept += frames.len();
    }
    assert!(kept as u64 > 240 * DAMAGES / 3, "{name}: {kept} frames are left");
}

/// Places of damage per file.
const DAMAGES: u64 = 10;

/// Bytes of damage that H.264 and HEVC decoders notice: more than one coded picture. Within an image, other bytes of an
/// arithmetic code are often the valid code of another image, and these formats have no checksums that would tell.
const NOTICED: &[usize] = &[8192, 20_000];

#[test]
fn no_harmed_frame_is_delivered_of_h264() {
    let x264 = format!("{X264} -crf 30");
    assert_unharmed("b.mp4", &x264, NOTICED);
    assert_unharmed("b.mkv", &x264, NOTICED);
}

#[test]
fn no_harmed_frame_is_delivered_of_open_gops_in_ts() {
    assert_unharmed("open.ts", &format!("{OPEN_GOP} -crf 30"), NOTICED);
}

#[test]
fn no_harmed_frame_is_delivered_of_mpeg4() {
    assert_unharmed("m.mp4", MPEG4, &[16, 512, 4096]);
}

#[test]
fn no_harmed_frame_is_delivered_of_hevc() {
    assert_unharmed("h.mp4", HEVC, NOTICED);
    assert_unharmed("h.mkv", HEVC, NOTICED);
}

#[test]
fn a_truncated_file_gives_what_it_holds() {
    let folder = folder();
    for (name, flags) in [("cut.mp4", "-movflags +faststart"), ("cut.mkv", ""), ("cut.ts", "")] {
        let args = format!("{} -pix_fmt yuv420p {X264} {flags}", images("96x64", "30", 240));
        let path = make(folder.path(), name, &args);
        let sound = by_pts(&path).0;
        let bytes = fs::read(&path).unwrap();
        for tenths in [3, 6, 9] {
            fs::write(&path, &bytes[..bytes.len() * tenths / 10 + 13]).unwrap();
            let video = probe(&path);
            let (frames, _) = by_pts(&path);
            assert!(frames.iter().all(|(pts, frame)| sound[pts].pixels == frame.pixels), "{name} {tenths}");
            assert!(frames.len() * 10 + 600 > 240 * tenths && frames.len() < 240, "{name} {tenths}: {}", frames.len());
            if !name.ends_with("ts") && tenths < 9 {
                let end = video.declared_end_sec.unwrap();
                assert!((end - 8.0).abs() < 0.2, "{name}: {end}");
            }
        }
    }
}

// Sizes.

#[test]
fn several_sizes_at_once_equal_each_alone() {
    let video = probe(&data("media/nasa_13013.mp4"));
    let sizes = [EGOVLP, Transform::centred(120, 97, Filter::Bicubic), Transform::centred(300, 288, Filter::Area)];
    let wanted = [0, 7, 50];
    let (three, _) = open(&video, &wanted, &sizes);
    let (two, _) = open(&video, &wanted, &sizes[..2]);
    for (i, &transform) in sizes.iter().enumerate() {
        let (alone, faults) = open(&video, &wanted, &[transform]);
        assert_eq!((alone.len(), faults), (3, vec![]));
        for (k, frame) in alone.iter().enumerate() {
            assert!(frame.pixels[0] == three[k].pixels[i], "size {i} of three, frame {k}");
            assert!(i == 2 || frame.pixels[0] == two[k].pixels[i], "size {i} of two, frame {k}");
        }
    }
}

/// swscale's weights have 14 bits and its sums are rounded once per direction; torch computes in floating point and
/// rounds once. Measured: see the assertion's message; a shift by a quarter of a pixel would differ by several levels.
const SCALING_MEAN_LEVELS: f64 = 1.0;
const SCALING_MAX_LEVELS: f64 = 24.0;

#[test]
fn scaling_is_bilinear_with_half_pixel_centres() {
    let video = probe(&data("media/nasa_13013.mp4"));
    let (width, height) = (video.width as usize, video.height as usize);
    let native = raw(
        &video,
        "scale=flags=accurate_rnd+full_chroma_int+full_chroma_inp+bitexact,format=rgb24",
        width * height * 3,
    );
    let large = Transform::centred(540, 512, Filter::Bilinear);
    let g = Geometry::of(large, video.width, video.height);
    let (frames, _) = open(&video, &[120], &[large]);
    let axis = |i: u32, from: usize, to: u32| {
        let at = ((f64::from(i) + 0.5) * from as f64 / f64::from(to) - 0.5).clamp(0.0, (from - 1) as f64);
        (at as usize, (at as usize + 1).min(from - 1), at.fract())
    };
    let (mut sum, mut worst) = (0.0, 0.0_f64);
    for y in 0..g.cut_width {
        let (y0, y1, fy) = axis(y + g.y, height, g.height);
        for x in 0..g.cut_width {
            let (x0, x1, fx) = axis(x + g.x, width, g.width);
            for c in 0..3 {
                let p = |x: usize, y: usize| f64::from(native[120][(y * width + x) * 3 + c]);
                let upper = p(x0, y0) * (1.0 - fx) + p(x1, y0) * fx;
                let lower = p(x0, y1) * (1.0 - fx) + p(x1, y1) * fx;
                let ideal = upper * (1.0 - fy) + lower * fy;
                let ours = f64::from(frames[0].pixels[0].levels()[((y * g.cut_width + x) * 3) as usize + c]);
                sum += (ours - ideal).abs();
                worst = worst.max((ours - ideal).abs());
            }
        }
    }
    let mean = sum / g.bytes() as f64;
    println!("mean {mean:.4} levels, at most {worst:.1}");
    assert!(mean < SCALING_MEAN_LEVELS && worst < SCALING_MAX_LEVELS, "mean {mean}, at most {worst}");
}

// Processes.

#[test]
fn thousands_of_unevenly_timed_frames_are_chosen() {
    let folder = folder();
    let args = "-f lavfi -i testsrc2=s=64x64:r=30000/1001 -frames:v 20000 -c:v mpeg4 -q:v 9 -g 60";
    let video = probe(&make(folder.path(), "long.mkv", args));
    let wanted: Vec<u64> = (0..video.timeline.frames()).step_by(3).collect();
    let (frames, faults) = open(&video, &wanted, &[Transform::centred(16, 16, Filter::Area)]);
    assert_eq!((indices(&frames), faults), (wanted, vec![]));
}

/// Processes whose parent is this one, with their groups (`/proc/PID/stat`, after the name in parentheses).
fn children(path: &Path) -> Vec<(u32, i32)> {
    let me = std::process::id();
    let mine = |entry: fs::DirEntry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let name = path.to_str()?;
        let ours = fields[1] == me.to_string() && String::from_utf8_lossy(&line).contains(name);
        ours.then(|| {
            (entry.file_name().to_str().and_then(|pid| pid.parse().ok()).unwrap_or(0), fields[2].parse().unwrap())
        })
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| mine(entry.ok()?)).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_stream_that_is_let_go_leaves_no_process() {
    let folder = folder();
    let path = folder.path().join("let-go.mp4");
    fs::copy(data("media/nasa_13013.mp4"), &path).unwrap();
    let video = probe(&path);
    let mut stream = source().open(&video, &all(&video), &[EGOVLP]);
    assert!(children(&path).is_empty(), "nothing runs before a frame is asked for");
    assert!(stream.next().unwrap().is_ok());
    let running = children(&path);
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].0 as i32, running[0].1, "it leads a process group of its own, so Ctrl-C does not reach it");
    drop(stream);
    assert!(children(&path).is_empty() && !Path::new(&format!("/proc/{}", running[0].0)).exists());
}

#[test]
fn without_a_gpu_software_decodes_and_says_so() {
    if Path::new("/dev/nvidia0").exists() {
        return;
    }
    let why = hwaccel_fault(&tools(), HwAccel::Cuda(0)).unwrap();
    assert!(!why.is_empty());
    assert_eq!(hwaccel_fault(&tools(), HwAccel::None), None);
    let video = probe(&data("media/nasa_13013.mp4"));
    let cuda = FfmpegSource { hwaccel: HwAccel::Cuda(0), ..source() };
    let (frames, faults) = split(cuda.open(&video, &[0, 1], &[SMALL]));
    // ffmpeg gives up when there is no device at all; with a device that cannot decode this codec it falls back.
    match &faults[..] {
        [Fault::Short { got: 0, wanted: 2, line, .. }] => assert!(frames.is_empty() && !line.is_empty()),
        [Fault::Crashed(Crash::System { .. })] => assert!(frames.is_empty()),
        [Fault::Fallback { .. }] => assert_eq!(indices(&frames), [0, 1]),
        _ => panic!("{faults:?}"),
    }
}

#[test]
fn an_ffmpeg_without_cuda_is_told_from_a_machine_without_a_gpu() {
    let folder = folder();
    let ffmpeg = folder.path().join("ffmpeg");
    let fault = |listed: &str| {
        let script = format!("case \"$*\" in *-hwaccels*) echo {listed};; *) echo No device >&2; exit 1;; esac");
        write_executable(&ffmpeg, &format!("#!/bin/sh\n{script}\n"));
        hwaccel_fault(&egofx::decode::Tools { ffmpeg: ffmpeg.clone(), ..tools() }, HwAccel::Cuda(0)).unwrap()
    };
    assert_eq!(fault("cuda"), "No device");
    let why = fault("vdpau");
    assert!(
        why.starts_with(&format!("{} is built without CUDA", ffmpeg.display())) && why.contains("--ffmpeg"),
        "{why}"
    );
}

#[test]
fn a_program_that_vanishes_is_a_fault() {
    let video = probe(&data("sampling/clip_no_b.mp4"));
    let gone = FfmpegSource {
        tools: egofx::decode::Tools { ffmpeg: "/nonexistent/ffmpeg".into(), ..tools() },
        threads: 1,
        hwaccel: HwAccel::None,
    };
    let (frames, faults) = split(gone.open(&video, &[0], &[SMALL]));
    assert!(frames.is_empty() && matches!(faults[..], [Fault::Crashed(Crash::Start { .. })]), "{faults:?}");
}
