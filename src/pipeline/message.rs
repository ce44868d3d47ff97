//! What travels between the stages.
//!
//! Not for doing anything. Invariant: a message owns its data, except for what the plan holds for the whole run.

use ndarray::Array2;

use crate::backbone::ClipBatch;
use crate::store::{RowMeta, UnitHeader};

/// A row's address: position of the unit in the plan, and the row within it.
pub type RowKey = (usize, u64);

/// A model input and whose rows it makes.
pub struct Batch {
    /// Which backbone, by position of its recipe.
    pub recipe: usize,
    /// `keys[i]` is the row of window `i`.
    pub keys: Vec<RowKey>,
    /// The input.
    pub input: ClipBatch,
}

/// What the writer is told. `Begin` comes before everything else of its unit.
pub enum Write {
    /// A unit is about to be computed.
    Begin {
        /// The unit.
        unit: usize,
        /// What its file is to say of it.
        header: Box<UnitHeader>,
        /// Its rows, those marked as missing included.
        rows: Vec<RowMeta>,
    },
    /// Features: `features[i]` belongs to `keys[i]`.
    Rows {
        /// The rows.
        keys: Vec<RowKey>,
        /// Shape `[keys.len(), dim]`.
        features: Array2<f32>,
    },
    /// Rows that cannot be computed and are to be kept as missing.
    Missing {
        /// The rows.
        keys: Vec<RowKey>,
    },
    /// A unit that cannot be finished.
    Fail {
        /// The unit.
        unit: usize,
        /// Why, for people.
        why: String,
    },
}
