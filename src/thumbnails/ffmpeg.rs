//! One ffmpeg that seeks to several places, and encodes a frame of each.
//!
//! Not for choosing places. Invariant: what it writes lies in a folder that is gone when it has been read.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Place;
use crate::child::{self, Crash};
use crate::decode::{Tools, read_video};

/// MJPEG's scale of quality, from 2 (best) to 31: about 3 kB for a thumbnail.
const QUALITY: &str = "6";

/// A thumbnail is at most so many times as wide as it is high.
const WIDEST: u32 = 4;

/// What came out of one ffmpeg.
pub(super) struct Images {
    /// One for each place.
    pub found: Vec<Option<Vec<u8>>>,
    /// Its first complaint.
    pub said: Option<String>,
}

/// The first frame at or after each place, `height` pixels high.
///
/// # Errors
/// [`Crash`], twice; it says nothing of the video.
pub(super) fn images(tools: &Tools, height: u32, places: &[&Place]) -> Result<Images, Crash> {
    let folder = tempfile::tempdir()
        .map_err(|error| Crash::System { program: "ffmpeg".into(), words: format!("no temporary folder: {error}") })?;
    let run = || child::output(&mut command(tools, height, places, folder.path()), tools.patience);
    let output = child::twice(run, |_| true)?;
    // A file without a frame is not written, or is empty.
    let image = |at: usize| fs::read(folder.path().join(name(at))).ok().filter(|bytes| !bytes.is_empty());
    let said = output.stderr.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
    Ok(Images { found: (0..places.len()).map(image).collect(), said })
}

fn name(at: usize) -> String {
    format!("{at}.jpg")
}

fn command(tools: &Tools, height: u32, places: &[&Place], folder: &Path) -> Command {
    let mut command = tools.ffmpeg();
    command.args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-y"]);
    for place in places {
        // Several decoders are at work already.
        command.args(["-threads", "1"]);
        if let Some(sec) = place.seek_sec {
            command.args(["-seek_timestamp", "1", "-ss", &format!("{sec:.6}")]);
        }
        read_video(&mut command, &place.file);
    }
    for (at, place) in places.iter().enumerate() {
        command.args([
            "-map",
            &format!("{at}:{}", place.stream),
            "-frames:v",
            "1",
            "-vf",
            &filters(height, place.skip_sec),
        ]);
        command.args(["-c:v", "mjpeg", "-q:v", QUALITY, "-threads", "1", "-f", "image2", "-update", "1"]);
        command.arg(folder.join(name(at)));
    }
    child::end_with_us(&mut command);
    command
}

/// The filters: what is not shown is dropped, a frame is as wide as it is shown, in the range of JPEG. ffmpeg has turned it before.
fn filters(height: u32, skip_sec: f64) -> String {
    let most = WIDEST * height;
    let trim = if skip_sec > 0.0 { format!("trim=start={skip_sec:.6},") } else { String::new() };
    let width = format!("max(2,min(trunc({height}*dar/2)*2,{most}))");
    format!("{trim}scale=w='{width}':h={height}:out_range=pc,setsar=1,format=yuvj420p")
}
