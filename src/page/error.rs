//! Why there is nothing to show.

use std::path::PathBuf;

use crate::metric::MetricError;
use crate::store::StoreError;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Predictions cannot be read or scored.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// There is no store.
    #[error("{}: no feature set here or one folder below", .0.display())]
    NoStore(PathBuf),
}
