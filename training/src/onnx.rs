//! Trained heads as graphs that `egofx predict` runs without libtorch.
//!
//! Not for what a network computes, which its `graph` says. Invariant: the weights of a graph were loaded into the network of
//! their experiment first, all of them and no others.

use std::collections::BTreeMap;
use std::path::Path;

use egofx::backbone::{Card, HeadCard};
use egofx::checkpoint::Checkpoint;
use egofx::digest;
use egofx::export::{HeadPlan, HeadWeights, Validator, export_head};
use tch::Device;

use crate::checkpoint;
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::learner::{self, Model, Task};
use crate::predict::{self, Weights};

/// What is to become a graph.
pub struct Request<'r> {
    /// What the head was trained with.
    pub experiment: &'r Experiment,
    /// Its weights.
    pub weights: &'r Weights,
    /// Names of the classes by number, background first; of heads that have some.
    pub classes: Vec<String>,
    /// Licence of the weights, for the card.
    pub licence: String,
    /// Runs the graph on its golden input.
    pub validator: &'r Validator<'r>,
    /// Where graph, weights and card go.
    pub folder: &'r Path,
}

/// Writes the graph of a head of model `M`.
///
/// # Errors
/// [`TrainError::Experiment`] for a model that has no graph, weights of another head, files that cannot be written.
pub fn run<M: Model>(request: &Request) -> Result<Card, TrainError> {
    let Request { experiment, weights, .. } = request;
    let why = |why| TrainError::Experiment { path: weights.path.clone(), why };
    let settings: M::Settings = experiment.settings().map_err(why)?;
    let graph = M::graph(&settings, experiment.compat).ok_or_else(|| why(without_graph::<M>()))?;
    let (variables, _model) = learner::network::<M>(experiment, 0, Device::Cpu).map_err(why)?;
    let loaded = learner::weights(&variables);
    predict::load::<M>(&weights.path, &loaded, &checkpoint::Tensors::new())?;
    let private = tempfile::tempdir().map_err(TrainError::io("write", request.folder))?;
    let plain = private.path().join("weights.safetensors");
    checkpoint::write(&plain, &loaded, &BTreeMap::new())?;
    let (_, sha256) = digest::file(&weights.path).map_err(TrainError::io("read", &weights.path))?;
    let head = HeadCard {
        learner: M::NAME.to_owned(),
        compat: experiment.compat,
        fold: weights.fold.clone(),
        batch: experiment.train.validation_batch.unwrap_or(experiment.train.batch),
        classes: request.classes.clone(),
        settings: graph.settings,
    };
    let about = format!("{} for {}", M::ABOUT, M::Task::NAME);
    let plan = HeadPlan { about, build: graph.build, dims: graph.dims, outside: graph.outside, head };
    let from = HeadWeights {
        weights: &Checkpoint::open(&plain)?,
        checkpoint: weights.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        checkpoint_sha256: sha256,
        licence: request.licence.clone(),
    };
    let name = if weights.fold.is_empty() { M::NAME.to_owned() } else { format!("{}_{}", M::NAME, weights.fold) };
    Ok(export_head(&plan, &from, request.validator, (request.folder, &name), false)?)
}

/// What to do with a model that has no graph.
fn without_graph<M: Model>() -> String {
    if M::Task::READS.contains(&"features") {
        return format!(
            "{} has no ONNX graph, so that `egofx predict` cannot run it: `egofx-train predict` predicts with its weights; \
             `egofx-train export` without --onnx writes them alone",
            M::NAME
        );
    }
    format!("{} is no head on features: `egofx export` makes graphs of the weights of a backbone", M::NAME)
}
