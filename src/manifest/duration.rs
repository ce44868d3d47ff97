//! How long a video is, as far as its manifest and the length of its file tell, without opening it.
//!
//! Estimates for plans and warnings, never for rows: those are computed from the decoder's timestamps.

use std::path::Path;

use super::{Clip, Video};
use crate::time::{Fps, TimeSpan};

/// What is assumed of a video that says nothing of its length: seconds per byte at half a megabyte a second.
const SEC_PER_BYTE: f64 = 1.0 / 500_000.0;
/// No video is taken to last longer, in seconds: a month.
const LONGEST_SEC: f64 = 31.0 * 86_400.0;
/// Length of a video in seconds, as far as it can be known without opening it.
pub fn duration_sec(video: &Video) -> f64 {
    let by_bytes = || Some(bytes(video.path.as_ref()?)? as f64 * SEC_PER_BYTE);
    told_sec(video).or_else(by_bytes).unwrap_or(0.0).min(LONGEST_SEC)
}

/// Length of a video in seconds, if the manifest tells.
fn told_sec(video: &Video) -> Option<f64> {
    let by_frames = || Some(video.num_frames? as f64 / video.fps.map_or(30.0, Fps::as_f64));
    video.duration_sec.or_else(by_frames)
}

/// The last second of a video that clips can mean, in a manifest that may be wrong by a factor of two, or a minute.
fn latest_sec(video: &Video) -> f64 {
    told_sec(video).map_or(LONGEST_SEC, |sec| (2.0 * sec + 60.0).min(LONGEST_SEC))
}

/// Whether a clip ends so long after its video that its times can be no seconds.
pub fn ends_far_beyond(clip: &Clip, video: &Video) -> bool {
    clip.span.is_some_and(|span| span.end_sec > latest_sec(video))
}

/// The part of `span` that can be: one wrong time must not outweigh all other work in a plan.
pub fn bounded(span: TimeSpan, video: &Video) -> TimeSpan {
    let latest = latest_sec(video);
    TimeSpan { start_sec: span.start_sec.min(latest), end_sec: span.end_sec.min(latest) }
}

/// Length of a file, or of all files of a folder.
fn bytes(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_dir() {
        return Some(metadata.len());
    }
    let lengths = std::fs::read_dir(path).ok()?.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len()));
    Some(lengths.sum())
}
