//! What is trained: a [`Task`], which has samples and scores, and a [`Model`], which learns it.
//!
//! A model is a head on features or a backbone on videos, and names its task; models of one task share its type. Everything else
//! (epochs, checkpoints, seeds, grids, ranks, curves) is the same for all and knows none of them;
//! [`registry`](crate::registry) lists them.

mod graph;
mod model;
mod task;

use std::path::Path;

use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::sources::Sources;

pub use self::graph::NetworkGraph;
pub use self::model::{Batch, Context, Model, Predicted, network, weights};
pub use self::task::{Predictions, Task};

/// The samples of a task, and the settings by which a model makes batches of them.
pub struct Dataset<M: Model> {
    /// The model's tables of the experiment.
    pub settings: M::Settings,
    /// What was opened.
    pub task: M::Task,
}

impl<M: Model> Dataset<M> {
    /// Opens what an experiment, which `path` stands for in errors, learns from or predicts on.
    ///
    /// # Errors
    /// [`TrainError::Experiment`] for tables that are not the model's; else as [`Task::open`].
    pub fn open(path: &Path, experiment: &Experiment, sources: &Sources) -> Result<Self, TrainError> {
        let why = |why| TrainError::Experiment { path: path.to_owned(), why };
        let settings: M::Settings = experiment.settings().map_err(why)?;
        let task = M::Task::open(&M::task(&settings), experiment.compat, sources)?;
        Ok(Self { settings, task })
    }
}
