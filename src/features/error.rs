//! Why features could not be read: every variant names the store or the unit, what was expected, and what was found.

use std::path::PathBuf;

use crate::ids::UnitUid;
use crate::store::{RowKind, StoreError};

/// Why features could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// The store could not be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A folder that holds no feature set, or several.
    #[error("{}: expected one feature set, found {}; name its folder", path.display(), if found.is_empty() { "none" } else { found })]
    NotOneStore {
        /// The folder.
        path: PathBuf,
        /// The feature sets in it.
        found: String,
    },
    /// A rate at which rows of a unit would be copied over and over.
    #[error("unit {unit}: {wanted} rows per second make {rows} rows of {found}; give a lower --resample-rows-per-sec")]
    TooMany {
        /// The unit.
        unit: UnitUid,
        /// Its rows.
        found: usize,
        /// What they would become.
        rows: usize,
        /// Rows per second that were asked for.
        wanted: f64,
    },
    /// A store without units.
    #[error("{}: no unit is committed", path.display())]
    NoUnits {
        /// The folder of the store.
        path: PathBuf,
    },
    /// A query that has no features.
    #[error("{}: no features of query {query_id:?}", path.display())]
    NoQuery {
        /// The folder of the store.
        path: PathBuf,
        /// The query.
        query_id: String,
    },
    /// Rows without features, and nothing said of what should become of them.
    #[error(
        "unit {unit}: {missing} of {rows} rows have no features (the first is row {first}); say what becomes of them: --missing zero, nan or drop"
    )]
    Missing {
        /// The unit.
        unit: UnitUid,
        /// Its rows.
        rows: usize,
        /// Rows without features.
        missing: usize,
        /// The first of them.
        first: usize,
    },
    /// A row that is not where its reader will look for it.
    #[error(
        "unit {unit}: row {row} begins at {found_sec:.2} s, and {rows_per_sec} rows a second put it at {expected_sec:.2} s, which is \
         more than a row off: who reads it is told no times. --resample-rows-per-sec {rows_per_sec} puts rows where they \
         belong by their times, --allow-drift leaves them as they are"
    )]
    Drift {
        /// The unit.
        unit: UnitUid,
        /// The first such row.
        row: usize,
        /// Second at which it begins.
        found_sec: f64,
        /// Second at which it should begin.
        expected_sec: f64,
        /// Rows per second by the contract.
        rows_per_sec: f64,
    },
    /// Nothing is left of a unit.
    #[error("unit {unit}: none of its {rows} rows has features")]
    NothingLeft {
        /// The unit.
        unit: UnitUid,
        /// Its rows.
        rows: usize,
    },
    /// Rows that are no windows side by side cannot be put on another grid.
    #[error("{}: only windows can be resampled, its rows are of kind {}", path.display(), found.name())]
    NoGrid {
        /// The folder of the store.
        path: PathBuf,
        /// What rows there are.
        found: RowKind,
    },
    /// Stores that differ in what the rule for joining them does not cover.
    #[error("cannot join {stores}:{differences}")]
    Joining {
        /// Their folders.
        stores: String,
        /// A line for each difference.
        differences: String,
    },
    /// A unit whose rows do not belong beside one another.
    #[error("unit {unit} of {} and {}: {why}", stores[0].display(), stores[1].display())]
    JoinUnit {
        /// The unit.
        unit: UnitUid,
        /// The folders of the stores.
        stores: Box<[PathBuf; 2]>,
        /// In what they differ.
        why: String,
    },
}
