//! Why frames could not be listed or written: every variant names the file, what was expected and what was found.

use std::io;
use std::path::PathBuf;

use crate::benchmark::BenchmarkError;

/// Why frames could not be listed or written.
#[derive(Debug, thiserror::Error)]
pub enum FramesError {
    /// A list of times that cannot be read.
    #[error("{}: cannot be read as a table: {why}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What its reader said.
        why: String,
    },
    /// A list of times without a column that it needs.
    #[error("{}: expected {expected}, found the columns {found}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What is missing.
        expected: &'static str,
        /// The header.
        found: String,
    },
    /// A line of such a list that names no frame.
    #[error("{}: line {line}: expected {expected}, found {found:?}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: u64,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// Annotations that cannot be read.
    #[error(transparent)]
    Annotations(#[from] BenchmarkError),
    /// Annotations that name none of the frames that were asked for.
    #[error("{}: expected fho_main, fho_oscc-pnr, fho_scod, fho_hands or fho_sta annotations with {asked}, found no such frame", path.display())]
    NoFrames {
        /// The file.
        path: PathBuf,
        /// The kinds of frames.
        asked: String,
    },
    /// An image that could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An image that could not be made.
    #[error("cannot make {}: {why}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder said.
        why: String,
    },
    /// A file of another origin.
    #[error("{} exists already and is {found}; --force replaces it", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
}
