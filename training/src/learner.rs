//! The trait of whatever is trained: a network with its samples, its loss and what its output means.
//!
//! A learner is a head on features, or a backbone on videos. Everything else (epochs, checkpoints, seeds, grids, ranks, curves)
//! is the same for all and knows none of them; [`registry`](crate::registry) lists them.

use std::path::{Path, PathBuf};

use egofx::compat::Compat;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Device;
use tch::nn::{self, VarStore};

use crate::checkpoint::{self, Tensors};
use crate::corpora::choice::Choice;
use crate::corpora::frames::Clips;
use crate::corpora::listed::ClipRef;
use crate::distributed::World;
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::loss_sums::Losses;
use crate::optimizer::ParamGroup;
use crate::rng::{self, Generator, Purpose};
use crate::sources::{Fold, Sources, Split};
use crate::submission::Submission;

/// What a loss may depend on beside its batch.
#[derive(Clone, Copy)]
pub struct Context<'m> {
    /// Whether the loss is learnt from; else it is only measured, by each rank for batches of its own.
    pub train: bool,
    /// Those who compute the same step on other samples; a world of one where nothing is learnt.
    pub world: &'m World,
    /// What this step draws is drawn from this, the same on all ranks.
    pub seed: u64,
}

/// What every learner is.
pub trait Learner: Sized + 'static {
    /// Its name in experiment files.
    const NAME: &'static str;
    /// The benchmark that it is for.
    const TASK: &'static str;
    /// The benchmark's name among the evaluators of `egofx eval`.
    const EVALUATOR: &'static str = Self::TASK;
    /// One line for people.
    const ABOUT: &'static str;
    /// Whether the samples that it is validated on have a loss.
    const VALIDATION_LOSS: bool = true;

    /// Its tables in an experiment file.
    type Settings: Serialize + DeserializeOwned + Clone + Sync;
    /// Its samples, by number from 0.
    type Data: Sync;
    /// Samples that are computed together.
    type Batch: Send;
    /// What the network makes of a batch.
    type Output;
    /// What is predicted for one sample.
    type Prediction: Send + Serialize + DeserializeOwned;

    /// Opens what it learns from, or what it predicts on.
    ///
    /// # Errors
    /// Files or stores that are missing, damaged, or not what the settings say.
    fn open(settings: &Self::Settings, compat: Compat, sources: &Sources) -> Result<Self::Data, TrainError>;

    /// Whether the samples can be learnt from: looks for what predictions do without.
    ///
    /// # Errors
    /// Truths that were not given, or are none.
    fn expect_truths(_data: &Self::Data) -> Result<(), TrainError> {
        Ok(())
    }

    /// Writes what a prediction needs beside the weights into the folder of the experiment.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    fn keep(_data: &Self::Data, _folder: &Path) -> Result<(), TrainError> {
        Ok(())
    }

    /// What a person should know of the data that was opened, or read since this was last asked.
    fn remarks(_data: &Self::Data) -> Vec<String> {
        vec![]
    }

    /// The folds of a benchmark; the usual one trains on one split and validates on another.
    fn folds(data: &Self::Data) -> Vec<Fold>;

    /// All samples of [`Split::Whole`](crate::sources::Split), to predict on.
    fn samples(data: &Self::Data) -> Vec<usize>;

    /// The network, its weights below `path` under their official names.
    ///
    /// # Errors
    /// Settings that no network has, in words.
    fn new(path: &nn::Path, settings: &Self::Settings, compat: Compat) -> Result<Self, String>;

    /// Starts from the weights in a file, which may be those of another task: by default [`Self::load`].
    ///
    /// # Errors
    /// As for [`Self::load`].
    fn start(path: &Path, _compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        Self::load(path, into)
    }

    /// Loads weights that were trained for this task: by default all of the network's, by their official names.
    ///
    /// # Errors
    /// [`TrainError::Weights`] with what is missing, unknown or of another shape; [`TrainError::Checkpoint`].
    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        checkpoint::load_weights(path, Self::NAME, into)
    }

    /// What reads its clips, by which rule, and all of its clips; `None` if they cannot be decoded beforehand.
    fn clips(_data: &Self::Data) -> Option<(&Clips, Choice, Vec<ClipRef<'_>>)> {
        None
    }

    /// How the optimiser treats a parameter.
    fn param_group(name: &str, shape: &[i64]) -> ParamGroup;

    /// Makes a batch of these samples, on the CPU; `draw` only while training.
    ///
    /// # Errors
    /// Features that cannot be read.
    fn batch(data: &Self::Data, samples: &[usize], draw: Option<&mut Generator>) -> Result<Self::Batch, TrainError>;

    /// The batch on a device.
    fn to_device(batch: Self::Batch, device: Device) -> Self::Batch;

    /// The network's output; `train` switches dropout and what is like it.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    fn forward(&self, batch: &Self::Batch, train: bool) -> Result<Self::Output, TrainError>;

    /// The loss of an output. Samples without a truth are never asked for one.
    ///
    /// # Errors
    /// Another rank that has gone.
    fn losses(&self, output: &Self::Output, batch: &Self::Batch, context: &Context) -> Result<Losses, TrainError>;

    /// What the output says of each sample, with the sample's number.
    fn predictions(&self, output: &Self::Output, batch: &Self::Batch) -> Vec<(usize, Self::Prediction)>;

    /// The official scores of predictions for all samples of a split, by the names that `egofx eval` gives them.
    ///
    /// # Errors
    /// Predictions that do not fit the truths.
    fn score(data: &Self::Data, predictions: &[(usize, Self::Prediction)]) -> Result<Vec<(String, f64)>, TrainError>;

    /// What predictions on these sources are scored with, by the names of the evaluator's inputs.
    fn truths(sources: &Sources) -> Vec<(&'static str, PathBuf)> {
        sources.split(Split::Whole).map(|path| ("annotations", path.to_owned())).into_iter().collect()
    }

    /// The predictions as the benchmark's server or evaluator takes them.
    ///
    /// # Errors
    /// Samples that cannot be named.
    fn submission(data: &Self::Data, predictions: &[(usize, Self::Prediction)]) -> Result<Submission, TrainError>;

    /// Numbers that training moves and that are no weights; saved and restored with them.
    fn buffers(&self) -> Tensors {
        Tensors::new()
    }
}

/// The network of an experiment with its first weights, drawn from `seed`; where others are loaded over them, any seed will do.
///
/// # Errors
/// Settings that are none of the learner's.
pub fn network<H: Learner>(experiment: &Experiment, seed: u64, device: Device) -> Result<(VarStore, H), String> {
    let settings: H::Settings = experiment.settings()?;
    rng::seed_torch(seed, Purpose::Weights);
    let build = |device| {
        let variables = VarStore::new(device);
        // libtorch panics where there is no memory for a network of absurd size.
        let built = egofx::foreign::parse(|| H::new(&variables.root(), &settings, experiment.compat));
        built
            .map_err(|panicked| format!("no network can be made of these settings: {}", panicked.words()))?
            .map(|head| (variables, head))
    };
    let (drawn, head) = build(Device::Cpu)?;
    if device == Device::Cpu {
        return Ok((drawn, head));
    }
    // Weights are drawn on the CPU, so that they are the same on every device.
    let (mut variables, head) = build(device)?;
    variables.copy(&drawn).map_err(|error| error.to_string())?;
    Ok((variables, head))
}

/// The network's weights by name.
pub fn weights(variables: &VarStore) -> Tensors {
    variables.variables().into_iter().collect()
}
