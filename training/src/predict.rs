//! Predictions of a trained head for samples that it need not have seen.
//!
//! Not for scores of a whole benchmark: `egofx eval` reads what is written here, and the note beside it that says how it is to
//! be scored, so that it gives the scores of the validation.

use std::path::{Path, PathBuf};

pub use egofx::heads::{Prediction, Written};
use tch::Device;

use crate::checkpoint::{self, Tensors};
use crate::error::TrainError;
use crate::evaluate;
use crate::experiment::Experiment;
use crate::learner::{self, Dataset, Model, Predictions, Task};
use crate::sources::Sources;
use crate::sweep::EXPERIMENT_FILE;
use crate::tasks::mq::CLASSES_FILE;
use crate::trainer::context::Surroundings;

/// What is asked for.
pub struct Request<'r> {
    /// What the head was trained with.
    pub experiment: &'r Experiment,
    /// Its weights: a checkpoint of ours, or somebody else's state dict under the official names. Of a benchmark with
    /// folds one checkpoint for each, which predicts what it was not trained on.
    pub weights: &'r [Weights],
    /// What it predicts on.
    pub sources: &'r Sources,
    /// Where it computes.
    pub surroundings: &'r Surroundings<'r>,
}

/// Trained weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// The file.
    pub path: PathBuf,
    /// The fold that they were not trained on; empty: all samples are predicted.
    pub fold: String,
}

/// The classes that training kept for weights, a file or the folder of a run: beside them, or in a folder above, up to
/// that of their experiment.
pub fn kept_classes(weights: &Path) -> Option<PathBuf> {
    let weights = weights.canonicalize().ok()?;
    let folders: Vec<&Path> = weights.ancestors().skip(usize::from(weights.is_file())).collect();
    let top = folders.iter().position(|folder| folder.join(EXPERIMENT_FILE).is_file()).unwrap_or(0);
    folders[..=top].iter().map(|folder| folder.join(CLASSES_FILE)).find(|path| path.is_file())
}

/// Predicts with model `M`.
///
/// # Errors
/// Weights of another head, stores of other features, annotations that cannot be read.
pub fn run<M: Model>(request: &Request) -> Result<Prediction, TrainError> {
    let Request { experiment, weights, sources, .. } = *request;
    let path = Path::new("the experiment");
    let why = |why| TrainError::Experiment { path: path.to_owned(), why };
    // Settings that no network has are found before anything is read.
    learner::network::<M>(experiment, 0, Device::Cpu).map_err(why)?;
    let data = Dataset::<M>::open(path, experiment, sources)?;
    let mut predictions = Vec::new();
    for one in weights {
        predictions.extend(with_weights(request, &data, one)?);
    }
    Ok(Prediction {
        submission: data.task.submission(&predictions)?,
        samples: predictions.len(),
        evaluator: M::Task::EVALUATOR,
        compat: experiment.compat,
        truths: M::Task::truths(sources),
        is_partial: sources.allow_missing || predictions.len() < data.task.samples().len(),
    })
}

fn with_weights<M: Model>(
    request: &Request,
    data: &Dataset<M>,
    weights: &Weights,
) -> Result<Predictions<M::Task>, TrainError> {
    let Request { experiment, surroundings, .. } = *request;
    let why = |why| TrainError::Experiment { path: weights.path.clone(), why };
    let (variables, model) = learner::network::<M>(experiment, 0, surroundings.device).map_err(why)?;
    load::<M>(&weights.path, &learner::weights(&variables))?;
    let samples = if weights.fold.is_empty() {
        data.task.samples()
    } else {
        let absent = || why(format!("the annotations have no fold {:?}", weights.fold));
        data.task.folds().into_iter().find(|fold| fold.name == weights.fold).ok_or_else(absent)?.validation
    };
    evaluate::predict(&model, data, &samples, &experiment.train, surroundings, None)
}

/// Running means where the checkpoint has them, as in validation; the weights else.
pub(crate) fn load<M: Model>(path: &Path, into: &Tensors) -> Result<(), TrainError> {
    match checkpoint::open(path) {
        Ok(saved) if saved.experiment.train.ema.is_some() => {
            let means = checkpoint::prefixed("ema", into.iter().map(|(name, t)| (name.clone(), t.shallow_clone())));
            saved.restore(path, &means)
        }
        _ => M::load(path, into),
    }
}
