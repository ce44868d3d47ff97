//! Why features could not be converted.
//!
//! Every variant says what was expected and what was found. Not for odd things that do no harm, which are notes of the
//! outcome. After an error nothing of the output is left.

use std::io;
use std::path::{Path, PathBuf};

use crate::features::FeatureError;
use crate::ids::{ClipUid, IdError, UnitUid};
use crate::labels::LabelError;
use crate::store::RowKind;

/// Why features could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// Features could not be read.
    #[error("{0}")]
    Features(#[from] FeatureError),
    /// The table of queries does not say what the format needs.
    #[error("{0}")]
    Labels(#[from] LabelError),
    /// No consumer bears this name.
    #[error("no format is called {found:?}, expected one of {known}")]
    Unknown {
        /// The name given.
        found: String,
        /// The names in use.
        known: String,
    },
    /// An input that the format cannot do without.
    #[error("{format} needs {what}")]
    Needs {
        /// The format.
        format: &'static str,
        /// The input, and how it is given.
        what: &'static str,
    },
    /// Stores that are to be joined for a format without features.
    #[error("{format} takes no features, so there is nothing to join: leave --join out")]
    NothingToJoin {
        /// The format.
        format: &'static str,
    },
    /// A store whose rows stand for something else.
    #[error("{}: {format} takes a store whose rows are of kind {expected}, found {}", path.display(), found.name())]
    WrongRows {
        /// The folder of the store.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// What rows it takes.
        expected: String,
        /// What rows there are.
        found: RowKind,
    },
    /// A clip whose place in its video nobody gives.
    #[error("clip {clip_uid}: expected its start and end in the video, found none in {}", looked.join(" or "))]
    NoSpan {
        /// The clip.
        clip_uid: ClipUid,
        /// Where they were looked for.
        looked: Vec<String>,
    },
    /// A split that would become a file's name and is not fit for one.
    #[error("split {split:?} cannot be the name of a file: {cause}")]
    Split {
        /// The split.
        split: String,
        /// Why not.
        cause: IdError,
    },
    /// A part of a video where whole ones are wanted.
    #[error("{}: {format} takes whole videos, unit {unit} is a part of one", path.display())]
    NotWhole {
        /// The folder of the store.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// The unit.
        unit: UnitUid,
    },
    /// A clip that lies behind the rows of its video.
    #[error("clip {clip_uid}: expected rows {from} to {to} of video {video_uid}, which has {rows}")]
    Outside {
        /// The clip.
        clip_uid: ClipUid,
        /// Its video.
        video_uid: String,
        /// First row.
        from: usize,
        /// Last row.
        to: usize,
        /// Rows of the video.
        rows: usize,
    },
    /// Something is there already.
    #[error("{} exists already; --force replaces what `egofx convert` wrote there", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// Something is there that is not a conversion's to replace.
    #[error("{} exists and holds no {}, so that --force does not replace it", path.display(), super::METADATA_FILE)]
    NotOurs {
        /// The output.
        path: PathBuf,
    },
    /// The classes do not list a label.
    #[error("{}: no class is called {label:?}", path.display())]
    NoClass {
        /// The file of classes.
        path: PathBuf,
        /// The label.
        label: String,
    },
    /// The file of classes cannot be used.
    #[error("{}: expected an object of class names and numbers: {why}", path.display())]
    Classes {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A video whose name has no number, by which the QFVS code knows it.
    #[error("video {video}: expected a name with a number, such as P01")]
    NoNumber {
        /// The video.
        video: ClipUid,
    },
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A library could not write a file.
    #[error("cannot write {}: {why}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the library said.
        why: String,
    },
}

impl ConvertError {
    /// For `map_err`: [`ConvertError::Io`] that waits for its error.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// For `map_err`: [`ConvertError::Write`] in the words of a library.
    pub(super) fn write<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |error| Self::Write { path: path.to_owned(), why: error.to_string() }
    }
}
