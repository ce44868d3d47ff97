//! What integration tests share: the bundled data, and fixtures made by ffmpeg.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use egofx::decode::{Fault, Frame, VideoInfo};

use super::checkout;
pub use super::programs::tools;

/// A bundled file, by its path below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    checkout().join("tests/data").join(name)
}

/// Runs `ffmpeg -v error -y ARGS` and gives its stdout.
pub fn ffmpeg<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Vec<u8> {
    output(tools().ffmpeg().args(["-v", "error", "-y"]).args(args))
}

/// Runs `ffprobe -v error ARGS` and gives the lines of its stdout.
pub fn ffprobe<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Vec<String> {
    let bytes = output(tools().ffprobe().args(["-v", "error"]).args(args));
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// `file:PATH`, which no character in a name can turn into something else.
pub fn url(path: &Path) -> std::ffi::OsString {
    let mut url = std::ffi::OsString::from("file:");
    url.push(path);
    url
}

/// Makes `folder/name` with the words of `args`, which are the options between `ffmpeg` and the name of the output.
pub fn make(folder: &Path, name: &str, args: &str) -> PathBuf {
    let path = folder.join(name);
    let words = args.split_whitespace().map(OsStr::new).map(OsStr::to_owned);
    ffmpeg(words.chain([url(&path)]));
    path
}

/// What a source gave: its frames, and its faults, each in order.
pub fn split(stream: impl Iterator<Item = Result<Frame, Fault>>) -> (Vec<Frame>, Vec<Fault>) {
    let (mut frames, mut faults) = (Vec::new(), Vec::new());
    for next in stream {
        match next {
            Ok(frame) => frames.push(frame),
            Err(fault) => faults.push(fault),
        }
    }
    (frames, faults)
}

/// The indices of every frame.
pub fn all(video: &VideoInfo) -> Vec<u64> {
    (0..video.timeline.frames()).collect()
}

/// The indices of these.
pub fn indices(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.index).collect()
}
