//! Why a head cannot predict: every variant names the file, what was expected and what was found.

use std::io;
use std::path::{Path, PathBuf};

use crate::backbone::BackboneError;
use crate::benchmark::BenchmarkError;
use crate::features::FeatureError;
use crate::labels::LabelError;
use crate::metric::MetricError;

/// Why a head cannot predict.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// Something that the head needs was not given.
    #[error("--{name} is needed: {about}")]
    Needed {
        /// Its name, as typed.
        name: &'static str,
        /// What it should hold.
        about: &'static str,
    },
    /// A store holds other features than the head takes.
    #[error("{}: {field} is {found}, the head takes {expected}", .store.display())]
    Contract {
        /// The store.
        store: PathBuf,
        /// The field in which they differ.
        field: &'static str,
        /// What the head takes.
        expected: String,
        /// What the store says.
        found: String,
    },
    /// Clips or queries without features.
    #[error(
        "{}: no features for {missing} of {total} {what} ({examples}); --allow-missing leaves them out",
        .store.display()
    )]
    NoFeatures {
        /// The store.
        store: PathBuf,
        /// What is missing, in the plural.
        what: &'static str,
        /// How many have none.
        missing: usize,
        /// How many there are.
        total: usize,
        /// The first of them.
        examples: String,
    },
    /// Files that do not hold what they should.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Unexpected {
        /// The file or folder.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Samples that do not fit the network.
    #[error("{head}: {why}")]
    Batch {
        /// The head.
        head: &'static str,
        /// What does not fit.
        why: String,
    },
    /// The operating system refuses.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Features or tokens that cannot be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// Queries that no labels can be made of.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// Annotations that cannot be read.
    #[error(transparent)]
    Annotations(#[from] BenchmarkError),
    /// Predictions or annotations that cannot be scored.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A graph that cannot be read or run.
    #[error(transparent)]
    Graph(#[from] BackboneError),
}

impl HeadError {
    /// For `map_err`: the operating system refused to do `action` to `path`.
    pub fn io<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Self + 'p {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// Something else in a file.
    pub fn unexpected(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }
}
