//! Small images of videos at given times: the right frames, turned as players turn them, and words where there are none.

use std::fs;
use std::path::{Path, PathBuf};

use egofx::thumbnails::{HEIGHT, Request, Strip, Thumbnailer};
use egofx::time::Fps;

use crate::support::videos::{data, ffmpeg, make, tools, url};

fn strip(path: &Path, secs: &[f64]) -> Strip {
    let request = Request { path: path.to_owned(), fps: Fps::new(4, 1), secs: secs.to_vec() };
    Thumbnailer { tools: tools(), height: HEIGHT }.strip(&request)
}

/// Width and height.
fn size(jpeg: &[u8]) -> (usize, usize) {
    let found = imagesize::blob_size(jpeg).unwrap();
    (found.width, found.height)
}

/// The mean brightness, from 0 to 255.
fn brightness(folder: &Path, jpeg: &[u8]) -> f64 {
    let path = folder.join("one.jpg");
    fs::write(&path, jpeg).unwrap();
    let grey = ffmpeg(["-i", path.to_str().unwrap(), "-f", "rawvideo", "-pix_fmt", "gray", "-"]);
    grey.iter().map(|&value| f64::from(value)).sum::<f64>() / grey.len() as f64
}

/// How bright the video below is at second `sec`, from 0 to 255.
fn expected(sec: f64) -> f64 {
    (20.0 + 12.0 * sec) * 255.0 / 219.0
}

/// A video that becomes brighter four times a second, a key frame every 3 seconds.
fn brightening(folder: &Path, name: &str, seconds: u32) -> PathBuf {
    let gray = "geq=lum='36+12*floor(T*4)/4':cb=128:cr=128";
    let source = format!("-f lavfi -i color=black:s=128x96:r=4,format=yuv420p,{gray} -t {seconds}");
    make(folder, name, &format!("{source} -c:v libx264 -preset ultrafast -qp 0 -g 12 -bf 2"))
}

#[test]
fn frames_are_those_of_their_times_in_any_order_and_more_than_one_ffmpeg_has_open() {
    let folder = tempfile::tempdir().unwrap();
    let secs: Vec<f64> = [5.0, 0.0, 14.0, 2.5].into_iter().chain((0..10).map(f64::from)).collect();
    for name in ["a name:1.mp4", "a.mkv", "a.ts"] {
        let path = brightening(folder.path(), name, 16);
        let strip = strip(&path, &secs);
        assert_eq!((strip.count(), &strip.why), (secs.len(), &None), "{name}");
        let found: Vec<f64> = strip.images.iter().flatten().map(|image| brightness(folder.path(), image)).collect();
        for (found, sec) in found.iter().zip(&secs) {
            assert!((found - expected(*sec)).abs() < 4.0, "{name}: {found} at {sec} s");
        }
        assert!(strip.images.iter().flatten().all(|image| size(image) == (128, 96)));
    }
}

#[test]
fn a_turned_video_is_shown_upright() {
    let lying = strip(&data("media/nasa_13013.mp4"), &[1.0]);
    let turned = strip(&data("media/nasa_13013_rotated.mp4"), &[0.1]);
    let of = |strip: &Strip| size(strip.images[0].as_ref().unwrap());
    let (lying, turned) = (of(&lying), of(&turned));
    assert!(lying.0 > lying.1 && turned.0 < turned.1 && turned.1 == 96, "{lying:?} {turned:?}");
}

#[test]
fn chunk_files_and_folders_of_images_are_videos_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("chunks")).unwrap();
    fs::create_dir_all(path("images")).unwrap();
    brightening(&path("chunks"), "0.mp4", 4);
    brightening(&path("chunks"), "1.mp4", 3);
    let whole = brightening(folder.path(), "whole.mp4", 6);
    let frames = path("images").join("%03d.jpg");
    ffmpeg(["-i".into(), url(&whole), "-q:v".into(), "2".into(), frames.into_os_string()]);
    let is_of = |strip: &Strip, at: usize, sec: f64| {
        (brightness(folder.path(), strip.images[at].as_ref().unwrap()) - expected(sec)).abs() < 4.0
    };
    let chunks = strip(&path("chunks"), &[1.0, 5.0]);
    assert!(is_of(&chunks, 0, 1.0) && is_of(&chunks, 1, 1.0), "second 1 of each chunk");
    let images = strip(&path("images"), &[5.0, 1.0]);
    assert!(is_of(&images, 0, 5.0) && is_of(&images, 1, 1.0));
}

#[test]
fn what_is_absent_broken_or_beyond_the_end_is_said_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.mp4");
    fs::write(&broken, "no video").unwrap();
    let (absent, whole) = (folder.path().join("absent.mp4"), brightening(folder.path(), "a.mp4", 2));
    for (path, words) in [
        (absent.as_path(), "no such file"),
        (&broken, "broken.mp4: not a readable video"),
        (Path::new("s3://bucket/a.mp4"), "expected a path of this machine"),
    ] {
        let strip = strip(path, &[0.0, 1.0]);
        assert_eq!(strip.images, [None, None]);
        assert!(strip.why.as_ref().unwrap().contains(words), "{:?}", strip.why);
    }
    let strip = strip(&whole, &[1.0, 100.0, f64::NAN]);
    assert_eq!(strip.images.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
    assert!(strip.why.unwrap().contains("a.mp4"));
}

#[test]
fn a_damaged_video_has_the_thumbnails_that_can_be_decoded() {
    let strip = strip(&data("media/odd/corrupted.mp4"), &[0.0, 0.2]);
    assert!(strip.count() > 0, "{:?}", strip.why);
}
