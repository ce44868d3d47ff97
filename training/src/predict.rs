//! Predictions of a trained head for samples that it need not have seen.
//!
//! Not for scores of a whole benchmark: `egofx eval` reads what is written here.

use std::path::{Path, PathBuf};

use tch::Device;

use crate::checkpoint::{self, Tensors};
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::fit::Surroundings;
use crate::learner::{self, Learner};
use crate::measure;
use crate::sources::Sources;
use crate::submission::Submission;
use crate::sweep::EXPERIMENT_FILE;
use crate::tasks::mq::CLASSES_FILE;

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

/// What came out.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// A submission in the official form.
    pub submission: Submission,
    /// Samples that were predicted.
    pub samples: usize,
}

/// The classes that training kept for weights, a file or the folder of a run: beside them, or in a folder above, up to
/// that of their experiment.
pub fn kept_classes(weights: &Path) -> Option<PathBuf> {
    let weights = weights.canonicalize().ok()?;
    let folders: Vec<&Path> = weights.ancestors().skip(usize::from(weights.is_file())).collect();
    let top = folders.iter().position(|folder| folder.join(EXPERIMENT_FILE).is_file()).unwrap_or(0);
    folders[..=top].iter().map(|folder| folder.join(CLASSES_FILE)).find(|path| path.is_file())
}

/// Predicts with learner `L`.
///
/// # Errors
/// Weights of another head, stores of other features, annotations that cannot be read.
pub fn run<L: Learner>(request: &Request) -> Result<Prediction, TrainError> {
    let Request { experiment, weights, sources, .. } = *request;
    let why = |why| TrainError::Experiment { path: PathBuf::from("the experiment"), why };
    let settings: L::Settings = experiment.settings().map_err(why)?;
    // Settings that no network has are found before anything is read.
    learner::network::<L>(experiment, Device::Cpu).map_err(why)?;
    let data = L::open(&settings, experiment.behaviour, sources)?;
    let mut predictions = Vec::new();
    for one in weights {
        predictions.extend(with_weights::<L>(request, &data, one)?);
    }
    Ok(Prediction { submission: L::submission(&data, &predictions)?, samples: predictions.len() })
}

fn with_weights<L: Learner>(
    request: &Request,
    data: &L::Data,
    weights: &Weights,
) -> Result<Vec<(usize, L::Prediction)>, TrainError> {
    let Request { experiment, surroundings, .. } = *request;
    let why = |why| TrainError::Experiment { path: weights.path.clone(), why };
    let (variables, head) = learner::network::<L>(experiment, surroundings.device).map_err(why)?;
    load::<L>(&weights.path, &learner::weights(&variables))?;
    let samples = if weights.fold.is_empty() {
        L::samples(data)
    } else {
        let absent = || why(format!("the annotations have no fold {:?}", weights.fold));
        L::folds(data).into_iter().find(|fold| fold.name == weights.fold).ok_or_else(absent)?.validation
    };
    measure::predict(&head, data, &samples, &experiment.train, surroundings, |_, _, _| Ok(()))
}

/// Running means where the checkpoint has them, as in validation; the weights else.
fn load<L: Learner>(path: &Path, into: &Tensors) -> Result<(), TrainError> {
    match checkpoint::open(path) {
        Ok(saved) if saved.experiment.train.ema.is_some() => {
            let means = checkpoint::prefixed("ema", into.iter().map(|(name, t)| (name.clone(), t.shallow_clone())));
            saved.restore(path, &means)
        }
        _ => L::load(path, into),
    }
}
