//! What travels between the stages.
//!
//! Not for doing anything. Invariant: a message owns its data, except for what the plan holds for the whole run.

use std::sync::Arc;

use ndarray::Array2;

use crate::backbone::{ClipBatch, Sentence};
use crate::ids::{SetId, TaskId};
use crate::store::{RowMeta, UnitHeader};

/// The stage behind was closed: whoever closed it says why.
pub struct Closed;

/// A window's address: the task, and the window within it.
pub type WindowKey = (TaskId, u64);

/// A unit's address: the task, and the unit's place in [`Task::units`](crate::plan::Task::units).
pub type UnitKey = (TaskId, usize);

/// A row's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey {
    /// The task.
    pub task: TaskId,
    /// Position of the unit in the task.
    pub unit: usize,
    /// The row within the unit.
    pub row: u64,
}

/// A model input and what it is of.
pub struct Batch {
    /// The feature set that its rows belong to.
    pub set: SetId,
    /// The input.
    pub content: Content,
}

/// A model input.
pub enum Content {
    /// `keys[i]` is window `i` of the input.
    Windows {
        /// The windows.
        keys: Vec<WindowKey>,
        /// Their frames.
        input: ClipBatch,
    },
    /// Sentences of equal length; `keys` are their rows behind one another.
    Sentences {
        /// The rows.
        keys: Vec<RowKey>,
        /// The sentences.
        input: Vec<Arc<Sentence>>,
    },
}

/// What the writer is told. `Begin` comes before everything else of its task.
pub enum Write {
    /// A task is about to be computed.
    Begin {
        /// The task.
        task: TaskId,
        /// What the file of each of its units is to say.
        headers: Vec<UnitHeader>,
        /// The rows of each of its units, those marked as missing included.
        rows: Vec<RowMeta>,
        /// How many of the last rows are zeros; nobody computes them.
        zeros: u64,
    },
    /// Features: `features[i]` belongs to `keys[i]`.
    Rows {
        /// The rows.
        keys: Vec<RowKey>,
        /// Shape `[keys.len(), dim]`.
        features: Array2<f32>,
    },
    /// Windows that cannot be computed, and whose rows are to be kept as missing.
    Missing {
        /// The windows.
        keys: Vec<WindowKey>,
    },
    /// A task that cannot be finished.
    Fail {
        /// The task.
        task: TaskId,
        /// Why, for people.
        why: String,
    },
}
