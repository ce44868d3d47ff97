//! What ends an evaluation.
//!
//! Not for predictions that are merely wrong: those score zero. Every message names the file, what was expected and
//! what was found.

use std::io;
use std::path::{Path, PathBuf};

use super::report::Coverage;
use crate::benchmark::BenchmarkError;

/// Files that cannot be scored.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    /// A file that the evaluator cannot do without was not given.
    #[error("--{name} is needed: {about}")]
    Missing {
        /// Its name, as typed.
        name: &'static str,
        /// What it should hold.
        about: &'static str,
    },
    /// JSON or a table that cannot be used.
    #[error(transparent)]
    Malformed(BenchmarkError),
    /// A file could not be opened or read.
    #[error("{}: cannot be read: {cause}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A matrix could not be read.
    #[error("{}: no .npy matrix of floats: {cause}", .path.display())]
    Npy {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        cause: String,
    },
    /// A MATLAB file could not be read.
    #[error("{}: no MATLAB file of version 5 to 7: {cause}", .path.display())]
    Matlab {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        cause: String,
    },
    /// The file can be read but holds something else.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What should be there, and where.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Predictions leave something out, name something unknown, or name something twice.
    #[error("{}: {coverage}; --allow-missing scores what is there", .path.display())]
    Incomplete {
        /// The file of predictions.
        path: PathBuf,
        /// What is missing, unknown and repeated.
        coverage: Box<Coverage>,
    },
    /// Numbers of the caller do not belong together.
    #[error("{what}: expected {expected}, found {found}")]
    Mismatch {
        /// Which.
        what: &'static str,
        /// The number or shape that the other operands ask for.
        expected: String,
        /// The number or shape that was given.
        found: String,
    },
    /// A shot or an answer that there is not.
    #[error("{what} {found} is out of range, expected less than {end}")]
    OutOfRange {
        /// What is counted.
        what: &'static str,
        /// The number, from 0.
        found: usize,
        /// How many there are.
        end: usize,
    },
    /// Shots are described by so many concepts that their overlaps cannot be compared exactly.
    #[error("shots with up to {concepts} concepts: overlaps can be compared exactly up to about 80")]
    TooManyConcepts {
        /// The most concepts that two shots have together.
        concepts: usize,
    },
}

impl From<BenchmarkError> for MetricError {
    /// What could not be opened is not always annotations.
    fn from(error: BenchmarkError) -> Self {
        match error {
            BenchmarkError::Read { path, cause } => Self::Read { path, cause },
            other => Self::Malformed(other),
        }
    }
}

impl MetricError {
    /// Something else in a file.
    pub(crate) fn unexpected(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }
}
