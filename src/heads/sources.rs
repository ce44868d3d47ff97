//! What a head reads: stores of features, files of annotations, and how much of the features may stay in memory.
//!
//! Not for what a benchmark makes of them. A store is only used if it holds what the head takes: the contract is compared before
//! anything is read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::error::HeadError;
use crate::features::{Joined, RowRule, Source};
use crate::store::{Contract, RowKind};

/// Stores and files that a benchmark's samples are read from.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// The store of the videos' features.
    pub features: Option<PathBuf>,
    /// Stores that are joined to it.
    pub joined: Joined,
    /// The store of the queries' tokens.
    pub tokens: Option<PathBuf>,
    /// The store by whose rows videos are cut into segments.
    pub shots: Option<PathBuf>,
    /// Annotations by the split that they are.
    pub annotations: Vec<(Split, PathBuf)>,
    /// Names and numbers of the classes.
    pub classes: Option<PathBuf>,
    /// The concepts of each shot.
    pub tags: Option<PathBuf>,
    /// Leave out clips and queries without features.
    pub allow_missing: bool,
    /// Bytes of features that stay in memory.
    pub memory_bytes: u64,
}

impl Files {
    /// The annotations of a split, if they were given.
    pub fn split(&self, split: Split) -> Option<&Path> {
        self.annotations.iter().find(|(found, _)| *found == split).map(|(_, path)| path.as_path())
    }

    /// What was given under `name`, or an error that says what it should be.
    ///
    /// # Errors
    /// [`HeadError::Needed`].
    pub fn needed<'p>(
        path: Option<&'p PathBuf>,
        name: &'static str,
        about: &'static str,
    ) -> Result<&'p Path, HeadError> {
        path.map(PathBuf::as_path).ok_or(HeadError::Needed { name, about })
    }
}

/// What samples are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// To learn from.
    Train,
    /// To validate on.
    Validation,
    /// Neither: annotations that are predicted on, or that the benchmark does not divide.
    Whole,
}

/// What a store must hold: a `[features]` or `[tokens]` table. Keys that are left out are not compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Numbers in a row.
    pub dim: usize,
    /// Rows per second; of stores whose rows follow one another in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_per_sec: Option<f64>,
    /// The rule of the frames, as `egofx inspect` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
}

/// Why a store does not hold what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field in which they differ.
    pub field: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl Expected {
    /// The first field in which a store of that contract is another one.
    pub fn difference(&self, contract: &Contract) -> Option<Difference> {
        let differs = |field, expected: String, found: String| Some(Difference { field, expected, found });
        if contract.dim != self.dim {
            return differs("dim", self.dim.to_string(), contract.dim.to_string());
        }
        if let Some(rate) = self.rows_per_sec.filter(|rate| (rate - contract.rows_per_sec).abs() > 1e-6) {
            return differs("rows_per_sec", rate.to_string(), contract.rows_per_sec.to_string());
        }
        let grid = self.grid.as_ref().filter(|grid| **grid != contract.grid)?;
        differs("grid", format!("{grid:?}"), format!("{:?}", contract.grid))
    }
}

/// Opens the store at `path`, which must hold what is `expected`.
///
/// # Errors
/// [`HeadError::Contract`] with both values, [`HeadError::Features`] if it is no store.
pub fn open(path: &Path, expected: &Expected) -> Result<Source, HeadError> {
    open_joined(path, &Joined::default(), expected)
}

/// Opens the store at `path` and those that are `joined` to it, which together must hold what is `expected`.
///
/// # Errors
/// As for [`open`], and [`HeadError::Features`] if they cannot be joined.
pub fn open_joined(path: &Path, joined: &Joined, expected: &Expected) -> Result<Source, HeadError> {
    let source = Source::open_joined(path, joined, RowRule::default())?;
    source.notes().iter().for_each(|note| log::warn!("{}: joined: {note}", path.display()));
    match expected.difference(source.contract()) {
        Some(Difference { field, expected, found }) => {
            Err(HeadError::Contract { store: source.path().to_owned(), field, expected, found })
        }
        None => Ok(source),
    }
}

/// Refuses a store whose rows are of none of these `kinds`; the error says what is `expected`.
///
/// # Errors
/// [`HeadError::Unexpected`].
pub fn expect_rows(source: &Source, kinds: &[RowKind], expected: &str) -> Result<(), HeadError> {
    if kinds.contains(&source.rows()) {
        return Ok(());
    }
    Err(HeadError::unexpected(source.path(), expected, format!("rows that are each a {}", source.rows().name())))
}

/// Rows that were read once and stay in memory as long as there is room. Samples are drawn evenly, so what came first is
/// as good to keep as what came last.
pub struct Cache {
    room_bytes: Mutex<u64>,
    kept: Mutex<HashMap<String, Arc<Array2<f32>>>>,
}

impl Cache {
    /// With room for so many bytes.
    pub fn new(room_bytes: u64) -> Self {
        Self { room_bytes: Mutex::new(room_bytes), kept: Mutex::default() }
    }

    /// The rows called `name`, read by `read` unless they are kept.
    ///
    /// # Errors
    /// What `read` says.
    pub fn get<E>(&self, name: &str, read: impl FnOnce() -> Result<Array2<f32>, E>) -> Result<Arc<Array2<f32>>, E> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = kept().get(name) {
            return Ok(rows.clone());
        }
        let rows = Arc::new(read()?);
        let mut room = self.room_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = rows.len() as u64 * 4;
        if let Some(left) = room.checked_sub(bytes) {
            *room = left;
            kept().insert(name.to_owned(), rows.clone());
        }
        Ok(rows)
    }
}

/// Names things without features in one error, or leaves them out where that is allowed.
///
/// # Errors
/// [`HeadError::NoFeatures`].
pub fn complete<T>(
    store: &Path,
    what: &'static str,
    items: Vec<T>,
    name: impl Fn(&T) -> String,
    has: impl Fn(&T) -> bool,
    allow_missing: bool,
) -> Result<Vec<T>, HeadError> {
    let total = items.len();
    let (there, absent): (Vec<T>, Vec<T>) = items.into_iter().partition(has);
    if absent.is_empty() || (allow_missing && !there.is_empty()) {
        return Ok(there);
    }
    let mut examples: Vec<String> = absent.iter().take(3).map(name).collect();
    if absent.len() > examples.len() {
        examples.push("...".to_owned());
    }
    let (missing, examples) = (absent.len(), examples.join(", "));
    Err(HeadError::NoFeatures { store: store.to_owned(), what, missing, total, examples })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_once_as_long_as_there_is_room() {
        let cache = Cache::new(2 * 4 * 3);
        let mut reads = 0;
        for name in ["a", "b", "a", "b", "c", "a"] {
            let rows = cache.get(name, || {
                reads += 1;
                Ok::<_, HeadError>(Array2::from_elem((2, if name == "a" { 2 } else { 3 }), 1.0))
            });
            assert_eq!(rows.unwrap().nrows(), 2);
        }
        // "a" is kept with 16 of 24 bytes; "b" and "c" need 24 each.
        assert_eq!(reads, 1 + 2 + 1);
    }

    #[test]
    fn what_has_no_features_is_counted_and_named() {
        let has = |item: &u32| item.is_multiple_of(2);
        let of = |allow| complete(Path::new("s"), "clips", (0..9).collect(), u32::to_string, has, allow);
        let text = of(false).unwrap_err().to_string();
        assert_eq!(text, "s: no features for 4 of 9 clips (1, 3, 5, ...); --allow-missing leaves them out");
        assert_eq!(of(true).unwrap(), [0, 2, 4, 6, 8]);
        assert!(complete(Path::new("s"), "clips", vec![1], u32::to_string, has, true).is_err(), "nothing is left");
    }
}
