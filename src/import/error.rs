//! Why other people's features could not be read or taken over.
//!
//! Every variant names the file, what was expected and what was found.

use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::ids::{ClipUid, IdError};
use crate::store::StoreError;

/// Extensions of files that are looked at.
pub const EXTENSIONS: [&str; 6] = ["pt", "pth", "npy", "npz", "h5", "hdf5"];

/// Why features could not be read or taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file of PyTorch's that cannot be used.
    #[error(transparent)]
    Torch(#[from] CheckpointError),
    /// The store could not be written.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A file whose features the store does not take.
    #[error("{}: {source}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the store said.
        source: StoreError,
    },
    /// Neither a file of features nor a folder with some.
    #[error("{}: expected {} or a folder with such, found {found}", path.display(), EXTENSIONS.map(|ext| format!(".{ext}")).join(", "))]
    NoFeatures {
        /// The file or folder.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// A file whose name cannot be a clip's.
    #[error("{}: its name cannot be a clip's: {cause}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: IdError,
    },
    /// Two files of one clip.
    #[error("clip {clip_uid} lies in {} and in {}", first.display(), second.display())]
    Twice {
        /// The clip.
        clip_uid: ClipUid,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Arrays of clips beside arrays of queries.
    #[error("{} holds windows that have met a query, {} holds windows alone: a feature set has one kind", query.display(), clip.display())]
    Mixed {
        /// A file of a query.
        query: PathBuf,
        /// A file of a clip.
        clip: PathBuf,
    },
    /// An array of another shape.
    #[error("{}: expected an array [rows, dim] with at least one row, found shape {found:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its shape.
        found: Vec<usize>,
    },
    /// Features of another width than the ones before.
    #[error("{}: expected {expected} features per row, as in {}, found {found}", path.display(), first.display())]
    Dim {
        /// The file.
        path: PathBuf,
        /// The file that was read first.
        first: PathBuf,
        /// Features per row of that.
        expected: usize,
        /// Features per row of this one.
        found: usize,
    },
    /// More rows than the clip has time for.
    #[error("{}: {rows} rows, expected at most {most}: clip {clip_uid} lasts {duration_sec} s", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The clip.
        clip_uid: ClipUid,
        /// Its rows.
        rows: usize,
        /// Rows that begin before its end.
        most: usize,
        /// Its length by the manifest.
        duration_sec: f64,
    },
    /// A clip that the manifest does not list.
    #[error("{}: clip {clip_uid} is not in the manifest", path.display())]
    NotListed {
        /// The file.
        path: PathBuf,
        /// The clip.
        clip_uid: ClipUid,
    },
    /// An array that cannot be read.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What the library said.
        found: String,
    },
    /// A store is there already.
    #[error("{} exists already; --force replaces it if it was imported", path.display())]
    Exists {
        /// The folder of the store.
        path: PathBuf,
    },
    /// A store is there whose features were computed here.
    #[error("{} was not imported, so that --force does not replace it", path.display())]
    NotImported {
        /// The folder of the store.
        path: PathBuf,
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
}

impl ImportError {
    /// For `map_err`: [`ImportError::Io`] that waits for its error.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}
