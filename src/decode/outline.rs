//! What a file's header says of its video: size and length, without a look at the frames.
//!
//! Not for which frames there are, see `probe`. Invariant: what is said may be wrong, and nothing rests on it but plans and pictures.

use std::path::Path;

use super::probe::check_file;
use super::{ProbeError, Tools, chunk_files, header};
use crate::time::TimeBase;

/// How long the header says that the video is, in seconds, if it says so: for plans, without a look at its frames.
pub fn declared_sec(tools: &Tools, path: &Path) -> Option<f64> {
    if let Some(files) = chunk_files::files(path) {
        return files.iter().map(|file| declared_sec(tools, file)).sum();
    }
    let header = header::read(tools, path).ok()?;
    header.best_stream(path).ok()?.duration_sec().or(header.duration_sec())
}

/// What a header says of the video that would be read, without a look at its frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outline {
    /// Width in pixels as shown, after rotation.
    pub width: u32,
    /// Height in pixels as shown, after rotation.
    pub height: u32,
    /// Length in seconds, if it is said.
    pub duration_sec: Option<f64>,
    /// Index of the chosen stream in the container.
    pub stream: u32,
    /// Second of the container's own clock that counts as 0.
    pub origin_sec: f64,
    /// Whether the container has no index, so that seeks land up to a key frame late.
    pub seeks_late: bool,
}

/// Reads a file's header.
///
/// # Errors
/// [`ProbeError`], but for what only frames show.
pub fn outline(tools: &Tools, path: &Path) -> Result<Outline, ProbeError> {
    check_file(path)?;
    let header = header::read(tools, path)?;
    let stream = header.best_stream(path)?;
    let (width, height) = stream.shown_size();
    let micro = TimeBase { num: 1, den: 1_000_000 };
    let origin_sec = header.origin(micro) as f64 / f64::from(micro.den);
    let duration_sec = stream.duration_sec().or(header.duration_sec());
    let seeks_late = header.is_open_ended();
    Ok(Outline { width, height, duration_sec, stream: stream.index, origin_sec, seeks_late })
}
