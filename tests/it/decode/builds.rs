//! Two builds of ffmpeg, setup's and the machine's: of the same file both give the same frames at the same times, and of 8 bits
//! the same red, green and blue.
//!
//! On bundled files alone. Not for what they should give: the other modules know that, and `make test-videos` runs them by the
//! machine's build.

use std::path::{Path, PathBuf};

use egofx::decode::{FfmpegSource, Filter, Frame, FrameSource, HwAccel, Reader, Tools, Transform, VideoInfo};

use crate::support::checkout;
use crate::support::programs::machines;
use crate::support::videos::{data, split};

/// Whole frames by every arithmetic, and squares scaled by every filter of ffmpeg's.
const TRANSFORMS: [Transform; 7] = [
    Transform::whole(Reader::Exact),
    Transform::whole(Reader::Decord),
    Transform::whole(Reader::Opencv),
    Transform::whole(Reader::Pyav),
    Transform::centred(96, 80, Filter::Bilinear),
    Transform::centred(96, 80, Filter::Bicubic),
    Transform::centred(96, 80, Filter::Area),
];

fn source(tools: Tools) -> FfmpegSource {
    FfmpegSource { tools, threads: 1, hwaccel: HwAccel::None }
}

/// Videos in a folder below `tests/data`.
fn videos(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data(folder)).unwrap().map(|entry| entry.unwrap().path());
    let is_video = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default().to_str().unwrap();
        ["mp4", "mkv", "m4v", "avi", "ts", "webm", "h264"].contains(&ending)
    };
    let mut found: Vec<PathBuf> = entries.filter(is_video).collect();
    found.sort();
    found
}

/// What the builds have to agree on before a frame is decoded.
fn assert_listed_alike(ours: &VideoInfo, theirs: &VideoInfo) {
    let about = |v: &VideoInfo| (v.stream, v.codec.clone(), v.width, v.height, v.rotation, v.color_space, v.counted);
    let name = ours.path.display();
    assert_eq!(about(ours), about(theirs), "{name}");
    assert_eq!(ours.timeline.frames(), theirs.timeline.frames(), "{name}");
    // By the second: an elementary stream's ticks are counted in other units.
    let sec = |v: &VideoInfo, index| [v.timeline.sec(index), v.timeline.container_sec(index)];
    for index in 0..ours.timeline.frames() {
        let apart = sec(ours, index).into_iter().zip(sec(theirs, index)).map(|(a, b)| (a - b).abs());
        assert!(
            apart.fold(0.0, f64::max) < 1e-9,
            "{name}: frame {index}, {:?}",
            [sec(ours, index), sec(theirs, index)]
        );
    }
    assert_eq!((&ours.keyframes, &ours.lost), (&theirs.keyframes, &theirs.lost), "{name}");
}

/// The first frames, one in the middle and the last.
fn some(video: &VideoInfo) -> Vec<u64> {
    let count = video.timeline.frames();
    let mut chosen = vec![0, 1, 2, count / 2, count - 1];
    chosen.retain(|index| *index < count);
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn pixels(tools: &Tools, video: &VideoInfo) -> Vec<Frame> {
    let (frames, faults) = split(source(tools.clone()).open(video, &some(video), &TRANSFORMS));
    assert!(faults.is_empty(), "{}: {faults:?}", video.path.display());
    frames
}

fn is_of_8_bits(path: &Path) -> bool {
    !path.file_name().unwrap().to_str().unwrap().contains("10bit")
}

#[test]
fn of_the_same_file_both_give_the_same_frames_and_colours() {
    let Some(theirs) = machines() else { return };
    // Also where the other tests use the machine's.
    let ours = Tools::find(None, None, &[checkout().to_owned()]).unwrap();
    println!("{} and {}", ours.version, theirs.version);
    let [mut listed, mut compared] = [0, 0];
    for path in ["media", "media/odd", "readers", "sampling"].into_iter().flat_map(videos) {
        let [here, there] = [&ours, &theirs].map(|tools| source(tools.clone()).probe(&path, None).unwrap());
        assert_listed_alike(&here, &there);
        listed += 1;
        if !is_of_8_bits(&path) || here.damage.is_some() {
            continue;
        }
        for (a, b) in pixels(&ours, &here).iter().zip(&pixels(&theirs, &there)) {
            assert_eq!(a.index, b.index);
            for (transform, (a, b)) in TRANSFORMS.iter().zip(a.pixels.iter().zip(&b.pixels)) {
                let equal = a.levels() == b.levels();
                assert!(equal, "{}: {transform:?} differs in {} and {}", path.display(), ours.version, theirs.version);
            }
        }
        compared += 1;
    }
    println!("{listed} lists of frames, {compared} files by pixels");
    assert!(listed >= 35 && compared >= 28, "{listed} lists of frames, {compared} files by pixels");
}
