//! Predictions of trained weights for samples that they need not have seen, and what these are worth where the truths are known.
//!
//! Not for scores of files: `egofx eval` reads what is written here, and the note beside it that says how it is to be scored, so
//! that it gives the scores of the validation. Invariant: on the samples of a validation, losses and scores are those that the
//! validation had.

use std::path::{Path, PathBuf};

pub use egofx::heads::{Prediction, Written};
use tch::Device;

use crate::checkpoint::{self, Tensors};
use crate::error::TrainError;
use crate::evaluate;
use crate::experiment::Experiment;
use crate::learner::{self, Dataset, Model, Predictions, Task};
use crate::loss_sums::LossSums;
use crate::sources::{Sources, Split};
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

/// What was predicted.
#[derive(Debug)]
pub struct Predicted {
    /// It, as it is handed in.
    pub prediction: Prediction,
    /// Its scores, where the truths are known; what hinders them is no reason to lose the predictions.
    pub scores: Option<Result<Vec<(String, f64)>, TrainError>>,
}

/// Losses and scores of weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The weights.
    pub weights: Weights,
    /// Samples that were predicted.
    pub samples: usize,
    /// The mean losses of the batches, and the scores, as a validation has them.
    pub scores: Vec<(String, f64)>,
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
pub fn run<M: Model>(request: &Request) -> Result<Predicted, TrainError> {
    let Request { experiment, weights, sources, .. } = *request;
    let data = open::<M>(request)?;
    let mut predictions = Vec::new();
    for one in weights {
        predictions.extend(with_weights(request, &data, one, None)?);
    }
    let scores = data.task.has_truths().then(|| data.task.score(&predictions));
    let prediction = Prediction {
        submission: data.task.submission(&predictions)?,
        samples: predictions.len(),
        evaluator: M::Task::EVALUATOR,
        compat: experiment.compat,
        truths: M::Task::truths(sources),
        is_partial: sources.allow_missing || predictions.len() < data.task.samples().len(),
    };
    Ok(Predicted { prediction, scores })
}

/// Losses and scores of model `M` with each of the weights.
///
/// # Errors
/// As for [`run`]; annotations without truths.
pub fn evaluate<M: Model>(request: &Request) -> Result<Vec<Evaluated>, TrainError> {
    let data = open::<M>(request)?;
    data.task.expect_truths()?;
    if !data.task.has_truths() {
        let path = request.sources.split(Split::Whole).unwrap_or(Path::new("the annotations"));
        return Err(TrainError::unexpected(path, "samples with their truths, which scores need", "none that has any"));
    }
    let one = |weights: &Weights| {
        let mut losses = LossSums::default();
        let predictions = with_weights(request, &data, weights, Some(&mut losses))?;
        let mut scores = losses.means_since_last();
        scores.extend(data.task.score(&predictions)?);
        Ok(Evaluated { weights: weights.clone(), samples: predictions.len(), scores })
    };
    request.weights.iter().map(one).collect()
}

fn open<M: Model>(request: &Request) -> Result<Dataset<M>, TrainError> {
    let path = Path::new("the experiment");
    let why = |why| TrainError::Experiment { path: path.to_owned(), why };
    // Settings that no network has are found before anything is read.
    learner::network::<M>(request.experiment, 0, Device::Cpu).map_err(why)?;
    Dataset::<M>::open(path, request.experiment, request.sources)
}

fn with_weights<M: Model>(
    request: &Request,
    data: &Dataset<M>,
    weights: &Weights,
    losses: Option<&mut LossSums>,
) -> Result<Predictions<M::Task>, TrainError> {
    let Request { experiment, surroundings, .. } = *request;
    let why = |why| TrainError::Experiment { path: weights.path.clone(), why };
    let (variables, model) = learner::network::<M>(experiment, 0, surroundings.device).map_err(why)?;
    load::<M>(&weights.path, &learner::weights(&variables), &model.buffers())?;
    let samples = if weights.fold.is_empty() {
        data.task.samples()
    } else {
        let absent = || why(format!("the annotations have no fold {:?}", weights.fold));
        data.task.folds().into_iter().find(|fold| fold.name == weights.fold).ok_or_else(absent)?.validation
    };
    evaluate::predict(&model, data, &samples, &experiment.train, surroundings, losses)
}

/// Running means where the checkpoint has them, as in validation; the weights else. `buffers` are filled if it is one of ours.
pub(crate) fn load<M: Model>(path: &Path, into: &Tensors, buffers: &Tensors) -> Result<(), TrainError> {
    let named = |prefix: &str, tensors: &Tensors| {
        checkpoint::prefixed(prefix, tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())))
    };
    let Ok(saved) = checkpoint::open(path) else { return M::load(path, into) };
    saved.restore(path, &named("buffer", buffers))?;
    if saved.experiment.train.ema.is_some() { saved.restore(path, &named("ema", into)) } else { M::load(path, into) }
}
