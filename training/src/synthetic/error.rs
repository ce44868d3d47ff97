//! What can go wrong while a synthetic benchmark is written.

use std::io;
use std::path::PathBuf;

use egofx::benchmark::BenchmarkError;
use egofx::ids::IdError;
use egofx::manifest::ManifestError;
use egofx::queries::QueriesError;
use egofx::store::StoreError;

/// Why a benchmark could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// Sizes that hold nothing.
    #[error("a synthetic benchmark with {what} {found}: expected {expected}")]
    Size {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: usize,
        /// What it can be.
        expected: String,
    },
    /// A file or folder refused.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A video could not be made.
    #[error("cannot encode {}: ffmpeg says {why:?}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What ffmpeg said.
        why: String,
    },
    /// A synthetic name is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The annotations do not read back.
    #[error(transparent)]
    Benchmark(#[from] BenchmarkError),
    /// The manifest refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The table of queries refused.
    #[error(transparent)]
    Queries(#[from] QueriesError),
}

pub(super) fn at_least(least: usize, what: &'static str, found: usize) -> Result<(), SyntheticError> {
    let expected = || format!("at least {least}");
    if found >= least { Ok(()) } else { Err(SyntheticError::Size { what, found, expected: expected() }) }
}
