//! Why a store cannot be indexed or searched: every variant names the store, what was expected and what was found.

use std::io;
use std::path::{Path, PathBuf};

use crate::backbone::BackboneError;
use crate::queries::QueriesError;
use crate::store::StoreError;
use crate::text::TextError;

/// Why a store cannot be indexed or searched.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The store cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A model or its card cannot be had.
    #[error("{0}")]
    Backbone(#[from] BackboneError),
    /// A vocabulary cannot be had, or no tokens be made.
    #[error("{0}")]
    Text(#[from] TextError),
    /// A table of queries cannot be read.
    #[error("{0}")]
    Queries(#[from] QueriesError),
    /// The index cannot be read or written.
    #[error("cannot {doing} the index {}: {source}{}", path.display(), elsewhere(source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index is none, or not whole.
    #[error("the index {} is damaged: {why}; `egofx index` writes it anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        why: String,
    },
    /// Rows that are no moments of videos.
    #[error("{}: its rows are of the kind {found}, expected window or clip: {why}", path.display())]
    Kind {
        /// The store.
        path: PathBuf,
        /// What its rows stand for.
        found: &'static str,
        /// What is wrong with that.
        why: &'static str,
    },
    /// Rows that no sentence can be compared with.
    #[error("{}: no sentence can be compared with its rows: {why}; {remedy}", path.display())]
    NotOfText {
        /// The store.
        path: PathBuf,
        /// What its rows are.
        why: String,
        /// What would do.
        remedy: String,
    },
    /// No text tower of the checkpoint that made a store.
    #[error(
        "{}: its rows come from the checkpoint {checkpoint} (sha256 {}), and no text tower in {} does (found: {}); \
         `egofx export CHECKPOINT --out DIR` makes one of that checkpoint, and --models DIR names its folder",
        path.display(), short(sha256), models.display(), if found.is_empty() { "none" } else { found }
    )]
    OtherCheckpoint {
        /// The store.
        path: PathBuf,
        /// Its checkpoint.
        checkpoint: String,
        /// The checkpoint's hash.
        sha256: String,
        /// The folder of models.
        models: PathBuf,
        /// Text towers in it, with their checkpoints.
        found: String,
    },
    /// Stores whose rows cannot be ranked together.
    #[error("{} has {one}, {} has {another}: their scores cannot be compared; search them one at a time", first.display(), second.display())]
    Spaces {
        /// A store.
        first: PathBuf,
        /// Its rows.
        one: String,
        /// The other store.
        second: PathBuf,
        /// Its rows.
        another: String,
    },
    /// Nothing to search.
    #[error("{}: no row is committed that has features", path.display())]
    Empty {
        /// The store.
        path: PathBuf,
    },
    /// A sentence without words.
    #[error("{what} is empty: expected a sentence")]
    NoSentence {
        /// Which one.
        what: String,
    },
    /// A moment that is in no store.
    #[error("no window covers {video}@{sec}: {found}")]
    NoMoment {
        /// The video that was asked for.
        video: String,
        /// The second.
        sec: f64,
        /// What there is.
        found: String,
    },
}

/// What to do about a folder that may not be written.
fn elsewhere(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; --index-dir names another folder for it"
        }
        _ => "",
    }
}

/// The first digits of a hash.
pub(super) fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// Makes an error of the system's.
pub(super) fn io_error<'p>(doing: &'static str, path: &'p Path) -> impl Fn(io::Error) -> SearchError + 'p {
    move |source| SearchError::Io { doing, path: path.to_owned(), source }
}
