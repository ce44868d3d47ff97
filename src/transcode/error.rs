//! Why a video was not transcoded.

use std::path::{Path, PathBuf};

use crate::claims::ClaimError;
use crate::decode::{Crash, ProbeError};
use crate::ids::VideoUid;
use crate::store::StoreError;

/// Why a video was not transcoded. Each names the file, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// The run was to end, and there was no time left to finish this one.
    #[error("abandoned because the run was to end")]
    Abandoned,
    /// The output folder is not fit for claims.
    #[error(transparent)]
    Claims(#[from] ClaimError),
    /// Neither the manifest nor a search gave a file.
    #[error("no file of this name is in the folders searched, and the manifest gives no path")]
    NotLocated,
    /// The source is no video, or what was made of it is none.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The source holds less than its header says. A copy would look whole.
    #[error(
        "{}: truncated: its header says that it ends at {declared_sec:.2} s, its frames end at {end_sec:.2} s",
        path.display()
    )]
    Truncated {
        /// The source.
        path: PathBuf,
        /// Where the header says that it ends.
        declared_sec: f64,
        /// Where it ends.
        end_sec: f64,
    },
    /// Frames of the source are gone.
    #[error("{}: the container is damaged, {lost} frames are lost, the first at {first_sec:.2} s", path.display())]
    Lost {
        /// The source.
        path: PathBuf,
        /// How many.
        lost: usize,
        /// When the first one should be shown.
        first_sec: f64,
    },
    /// Somebody else's file has the name of the output.
    #[error("{} exists already and no record says that it was made here; --force overwrites it", .0.display())]
    Exists(PathBuf),
    /// The output would take the place of its source.
    #[error("{}: the output would overwrite its source; choose another folder", .0.display())]
    OwnSource(PathBuf),
    /// The output was made with other settings.
    #[error(
        "{video_uid} was made here with {field} = {stored}, this run would make it with {field} = {wanted}; \
         use another output folder, or --force to make it anew"
    )]
    Settings {
        /// The video.
        video_uid: VideoUid,
        /// The first setting that differs.
        field: String,
        /// As recorded.
        stored: String,
        /// As asked for.
        wanted: String,
    },
    /// A record that cannot be read.
    #[error("{}: not a record of an output: {why}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// The parser's words.
        why: String,
    },
    /// ffmpeg crashed, and again when it was tried once more.
    #[error("{}: {crash}; tried twice", path.display())]
    Crashed {
        /// The source.
        path: PathBuf,
        /// How.
        crash: Crash,
    },
    /// ffmpeg ended badly or complained.
    #[error("{}: ffmpeg ended ({status}) with {complaints} complaints, the first: {first}", path.display())]
    Ffmpeg {
        /// The source.
        path: PathBuf,
        /// Exit status.
        status: String,
        /// Error lines.
        complaints: usize,
        /// The first one.
        first: String,
    },
    /// The output has other frames than the source.
    #[error("{}: chunk {chunk} has {found} frames, expected {expected}", path.display())]
    Frames {
        /// The source.
        path: PathBuf,
        /// Number of the chunk; 0 for a whole video.
        chunk: u64,
        /// Frames of the source there.
        expected: u64,
        /// Frames of the output.
        found: u64,
    },
    /// A frame of the output is shown at another time than in the source.
    #[error(
        "{}: frame {frame} of chunk {chunk} is shown at {found_sec:.4} s, expected {expected_sec:.4} s",
        path.display()
    )]
    Time {
        /// The source.
        path: PathBuf,
        /// Number of the chunk; 0 for a whole video.
        chunk: u64,
        /// The frame, counted within the chunk.
        frame: u64,
        /// When it should be shown.
        expected_sec: f64,
        /// When it is.
        found_sec: f64,
    },
    /// The output's image has another size than asked for.
    #[error(
        "{}: the output is {}x{}, turned by {rotation} degrees, expected {}x{} upright",
        path.display(), found.0, found.1, expected.0, expected.1
    )]
    Image {
        /// The source.
        path: PathBuf,
        /// Width and height asked for.
        expected: (u32, u32),
        /// Width and height found.
        found: (u32, u32),
        /// Rotation that players apply, in degrees.
        rotation: i32,
    },
    /// A file operation failed.
    #[error("{0}")]
    File(#[from] StoreError),
}

impl TranscodeError {
    pub(super) fn crashed(path: &Path, crash: Crash) -> Self {
        Self::Crashed { path: path.to_owned(), crash }
    }

    /// Whether no space is left: then the next video would fail as well.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::File(error) => matches!(error, StoreError::DiskFull { .. }),
            Self::Ffmpeg { first, .. } => first.contains("No space left on device"),
            _ => false,
        }
    }
}
