//! Films into H.264 files, by ffmpeg.
//!
//! Not for decoding, which is the root library's. Invariant: a file that bears its name is whole.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use egofx::decode::Tools;

use super::film::{FPS, Film};
use super::paint::Painter;
use crate::synthetic::error::SyntheticError;

/// Frames from one key frame to the next: clips last about a second, and are decoded one by one.
const KEY_FRAMES: u64 = 30;

/// A running ffmpeg, which does not outlive its owner.
struct Encoder(Child);

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a film of `side` pixels to `path`, 30 frames a second.
pub(super) fn write(film: &Film, seed: u64, side: usize, tools: &Tools, path: &Path) -> Result<(), SyntheticError> {
    let refused = |cause| SyntheticError::Write { path: path.to_owned(), cause };
    let part = path.with_extension("part");
    let mut encoder = Encoder(command(tools, side, &part).spawn().map_err(refused)?);
    let painter = Painter::new(film, seed, side);
    // An ffmpeg that dies early closes the pipe; what it says tells more than that.
    let fed = feed(&mut encoder.0, &painter);
    let said = finish(&mut encoder.0).map_err(refused)?;
    said.map_err(|why| SyntheticError::Encode { path: path.to_owned(), why })?;
    fed.and_then(|()| fs::rename(&part, path)).map_err(refused)
}

fn feed(child: &mut Child, painter: &Painter<'_>) -> io::Result<()> {
    let mut input = child.stdin.take().ok_or_else(|| io::Error::other("ffmpeg's stdin is missing"))?;
    painter.frames().try_for_each(|frame| input.write_all(&frame))
}

/// Waits for the end; what ffmpeg said where it failed.
fn finish(child: &mut Child) -> io::Result<Result<(), String>> {
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    Ok(if child.wait()?.success() { Ok(()) } else { Err(said.trim().to_owned()) })
}

fn command(tools: &Tools, side: usize, path: &Path) -> Command {
    let (size, fps, keys) = (format!("{side}x{side}"), FPS.to_string(), KEY_FRAMES.to_string());
    let mut command = tools.ffmpeg();
    command.args(["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size, "-r", &fps, "-i", "pipe:0"]);
    command.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-g", &keys, "-pix_fmt", "yuv420p"]);
    // One thread and no versions in the file, for the same bytes everywhere.
    command.args(["-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-f", "mp4"]);
    let mut url = OsString::from("file:");
    url.push(path);
    command.arg(url).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Of its own, so that Ctrl-C reaches us alone.
    command.process_group(0);
    command
}
