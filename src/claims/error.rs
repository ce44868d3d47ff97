//! Why there are no claims.
//!
//! Each error names the folder or file, what was found and the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why there are no claims in a folder.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The file system refuses something.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system does not do what claims stand on.
    #[error(
        "{}: this file system {what}, so workers on it could not agree who does what. Use another folder, or have each worker do its \
         part alone (--steal never)",
        folder.display()
    )]
    NotAtomic {
        /// The folder.
        folder: PathBuf,
        /// What was found.
        what: String,
    },
}

/// The error of `doing` something to `path`.
pub(super) fn of(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClaimError {
    move |source| ClaimError::Io { doing, path: path.to_owned(), source }
}
