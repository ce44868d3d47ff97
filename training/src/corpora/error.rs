//! Why a clip was not read: because of what it is, or because of a moment's trouble.
//!
//! Not for what becomes of it then. Invariant: trouble that says nothing of a clip is a crash, and never an error of the clip.

use std::path::{Path, PathBuf};

use egofx::decode::ProbeError;
use egofx::grid::egoclip::EgoclipError;

/// Why a clip has no frames.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Its video cannot be read.
    #[error("{}: {why}", .path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Its video was not read, through no fault of its own: ffmpeg crashed, and again when it was tried once more.
    #[error("{}: {why}; nothing is wrong with the clip, so that none takes its place", .path.display())]
    Crashed {
        /// The file.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// It is too short, or lies outside of its video.
    #[error("{}: {why}", .path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What is wrong with the place.
        why: EgoclipError,
    },
}

impl ClipError {
    /// Whether it says nothing of the clip: then no other may take its place, and it may not be left out.
    pub fn is_crash(&self) -> bool {
        matches!(self, Self::Crashed { .. })
    }
}

/// Why a video was not probed.
pub(super) fn of_probe(path: &Path, error: &ProbeError) -> ClipError {
    let (path, why) = (path.to_owned(), error.to_string());
    if error.is_crash() { ClipError::Crashed { path, why } } else { ClipError::Video { path, why } }
}
