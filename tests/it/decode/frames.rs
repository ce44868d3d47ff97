//! Frames as the originals' readers give them, bit for bit: `tests/data/readers` holds small clips and images of every kind
//! and the digests of what decord, OpenCV, PyAV and Pillow made of them (its README says how).

use std::collections::BTreeMap;
use std::fs;

use egofx::decode::{
    Channels, FfmpegSource, Filter, Frame, FrameSource, HwAccel, Prepare, Reader, Transform, VideoInfo,
};
use egofx::pixels::Pixels;
use egofx::time::Fps;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::support::videos;

#[derive(Deserialize)]
struct Golden {
    files: BTreeMap<String, BTreeMap<String, Expected>>,
}

/// What a reader made of a file.
#[derive(Deserialize)]
struct Expected {
    width: u32,
    height: u32,
    /// The sha256 of each frame's red, green and blue.
    frames: Vec<String>,
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(videos::data("readers/expected.json")).unwrap()).unwrap()
}

fn source() -> FfmpegSource {
    FfmpegSource { tools: videos::tools(), threads: 1, hwaccel: HwAccel::None }
}

/// The transform of `decord` or `decord after video-resize`.
fn transform(name: &str) -> Transform {
    let (reader, prepare) = name.split_once(" after ").unwrap_or((name, "none"));
    let reader = match reader {
        "decord" => Reader::Decord,
        "opencv" => Reader::Opencv,
        "pyav" => Reader::Pyav,
        "pillow" => Reader::Pillow,
        _ => panic!("{reader}"),
    };
    Transform::whole(reader).prepared(if prepare == "none" { Prepare::None } else { Prepare::VideoResize })
}

fn is_video(name: &str) -> bool {
    name.ends_with(".mp4") || name.ends_with(".mkv")
}

/// Of more than 8 bits swscale computes otherwise since FFmpeg 8, as PyAV 16 does, which comes with it.
fn is_defined(name: &str) -> bool {
    !name.contains("10bit") || (1..8).contains(&videos::tools().major())
}

/// The file as a video: images lie in a folder of their own.
fn opened(name: &str, folder: &std::path::Path) -> VideoInfo {
    let path = videos::data("readers").join(name);
    if is_video(name) {
        return source().probe(&path, None).unwrap();
    }
    let own = folder.join(name.replace('.', "_"));
    fs::create_dir(&own).unwrap();
    fs::copy(&path, own.join(name)).unwrap();
    source().probe(&own, Fps::new(1, 1)).unwrap()
}

fn frames(video: &VideoInfo, transforms: &[Transform]) -> Vec<Frame> {
    let wanted: Vec<u64> = (0..video.timeline.frames()).collect();
    source().open(video, &wanted, transforms).map(Result::unwrap).collect()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_reader_is_met_bit_for_bit_alone_and_beside_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, mut compared) = (0, 0);
    for (name, readers) in golden().files {
        if !is_defined(&name) {
            println!("{name}: this ffmpeg converts more than 8 bits otherwise than the readers");
            continue;
        }
        let video = opened(&name, folder.path());
        let transforms: Vec<Transform> = readers.keys().map(|reader| transform(reader)).collect();
        let together = frames(&video, &transforms);
        for (place, (reader, expected)) in readers.iter().enumerate() {
            assert_eq!(video.size_for(&transforms[place]), (expected.width, expected.height), "{name}, {reader}");
            let alone = frames(&video, &transforms[place..=place]);
            for (frames, at) in [(&alone, 0), (&together, place)] {
                let found: Vec<String> = frames.iter().map(|frame| digest(&frame.pixels[at].levels())).collect();
                assert_eq!(found, expected.frames, "{name}, {reader}");
            }
            compared += 1;
        }
        files += 1;
    }
    println!("{files} files, {compared} times a reader");
    assert!(files >= 25 && compared >= 90, "{files} files, {compared} times a reader");
}

/// A file that is 256 high already is taken as it is, and its middle is cut out of what the reader gives.
#[test]
fn the_square_of_a_prepared_file_is_the_middle_of_the_readers_frame() {
    let square = Transform::centred(256, 256, Filter::Bilinear).read_by(Reader::Decord).prepared(Prepare::VideoResize);
    let video = source().probe(&videos::data("readers/420_bt709.mp4"), None).unwrap();
    for transform in [square, square.read_by(Reader::Opencv), square.read_by(Reader::Pyav)] {
        let bgr = Transform { channels: Channels::Bgr, ..transform };
        for frame in frames(&video, &[Transform::whole(transform.reader), transform, bgr]) {
            let [whole, square, bgr] = &frame.pixels[..] else { panic!("three sizes were asked for") };
            let [whole, square, bgr] = [whole, square, bgr].map(|pixels| pixels.levels());
            let row = |y: usize| &whole[(y * 454 + 99) * 3..(y * 454 + 99 + 256) * 3];
            assert!(*square == (0..256).flat_map(row).copied().collect::<Vec<u8>>(), "{transform:?}");
            assert!(bgr.chunks(3).zip(square.chunks(3)).all(|(b, r)| [b[2], b[1], b[0]] == *r), "{transform:?}");
        }
    }
}

/// What a reader gave is scaled in red, green and blue, whether it came out of a video or an image.
#[test]
fn frames_of_a_reader_are_scaled_by_the_same_arithmetic_as_images() {
    let folder = tempfile::tempdir().unwrap();
    let lossless = folder.path().join("lossless.mkv");
    let frames_of = folder.path().join("frames");
    fs::create_dir(&frames_of).unwrap();
    let args = "-c:v ffv1 -pix_fmt bgr0";
    let from = videos::data("readers/rgb.png").display().to_string();
    let args: Vec<String> = ["-i", &from].into_iter().chain(args.split(' ')).map(str::to_owned).collect();
    videos::ffmpeg(args.into_iter().map(Into::into).chain([videos::url(&lossless)]));
    fs::copy(videos::data("readers/rgb.png"), frames_of.join("1.png")).unwrap();
    let video = source().probe(&lossless, None).unwrap();
    let image = source().probe(&frames_of, Fps::new(1, 1)).unwrap();
    for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Area, Filter::BilinearAliased] {
        for side in [24, 80] {
            let transform = Transform::centred(side, side - 4, filter).read_by(Reader::Decord);
            let [a, b] = [&video, &image].map(|info| frames(info, &[transform]));
            assert_eq!(a[0].pixels[0], b[0].pixels[0], "{filter:?} {side}");
            let is_rounded = matches!(*a[0].pixels[0], Pixels::U8(_));
            assert_eq!(is_rounded, filter != Filter::BilinearAliased, "{filter:?}");
        }
    }
}
