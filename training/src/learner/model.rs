//! The trait of a model: a network with its weights, its batches, its losses and its predictions.
//!
//! Not for samples and scores, which the [`Task`] has.

use std::path::Path;

use egofx::compat::Compat;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::nn::{self, VarStore};
use tch::{Device, Tensor};

use super::graph::NetworkGraph;
use super::task::{Predictions, Task};
use crate::checkpoint::{self, Tensors};
use crate::device;
use crate::distributed::World;
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::loss_sums::Losses;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::{self, Generator, Purpose};

/// What a training step depends on beside its batch.
#[derive(Clone, Copy)]
pub struct Context<'m> {
    /// Those who compute the same step on other samples.
    pub world: &'m World,
    /// What this step draws is drawn from this, the same on all ranks.
    pub seed: u64,
}

/// Samples that are computed together.
pub trait Batch: Send + Sized {
    /// The batch with `of` each tensor that a device computes with in its place.
    #[must_use]
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self;

    /// The batch in memory that gets to `device` soonest: [`device::pinned`].
    #[must_use]
    fn pinned_for(self, device: Device) -> Self {
        self.map(&|tensor| device::pinned(tensor, device))
    }

    /// The batch on a device: [`device::sent`].
    #[must_use]
    fn to_device(self, device: Device) -> Self {
        self.map(&|tensor| device::sent(&tensor, device))
    }
}

/// The result for a batch that is not learnt from.
pub struct Predicted<T: Task> {
    /// Of each sample that could be read.
    pub predictions: Predictions<T>,
    /// `None` if they were not asked for, or the samples have none.
    pub losses: Option<Losses>,
}

impl<T: Task> Predicted<T> {
    /// Of a batch none of whose samples could be read: no predictions, and no loss of anything.
    pub fn nothing(with_losses: bool) -> Self {
        let losses = with_losses.then(|| Losses { total: Tensor::from(0f32), parts: vec![] });
        Self { predictions: vec![], losses }
    }
}

/// A network that learns a task.
pub trait Model: Sized + 'static {
    /// Its name in experiment files.
    const NAME: &'static str;
    /// One line for people.
    const ABOUT: &'static str;

    /// What it learns.
    type Task: Task;
    /// Its tables in an experiment file.
    type Settings: Serialize + DeserializeOwned + Clone + Sync;
    /// Samples to learn from.
    type TrainBatch: Batch;
    /// Samples to predict on.
    type EvalBatch: Batch;

    /// What of the settings says what is opened.
    fn task(settings: &Self::Settings) -> <Self::Task as Task>::Settings;

    /// The network, its weights below `path` under their official names.
    ///
    /// # Errors
    /// Settings that no network has, as text.
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

    /// The network as a graph that predicts without libtorch; by default there is none.
    fn graph(_settings: &Self::Settings, _compat: Compat) -> Option<NetworkGraph> {
        None
    }

    /// How the optimiser treats a parameter: by default all decay, norms and biases included, at the base rate.
    fn param_group(_name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: true, lr_mult: LrMult::Base }
    }

    /// Values that training changes and that are no weights; saved and restored with them.
    fn buffers(&self) -> Tensors {
        Tensors::new()
    }

    /// Makes a batch of these samples to learn from, on the CPU; what is random in it comes out of `draw`.
    ///
    /// # Errors
    /// Features or videos that cannot be read.
    fn train_batch(
        task: &Self::Task,
        settings: &Self::Settings,
        samples: &[usize],
        draw: &mut Generator,
    ) -> Result<Self::TrainBatch, TrainError>;

    /// Makes a batch of these samples to predict on, on the CPU.
    ///
    /// # Errors
    /// Features or videos that cannot be read.
    fn eval_batch(
        task: &Self::Task,
        settings: &Self::Settings,
        samples: &[<Self::Task as Task>::Sample],
    ) -> Result<Self::EvalBatch, TrainError>;

    /// The losses of a batch, with dropout and what is like it; the caller differentiates the total.
    ///
    /// # Errors
    /// A batch that does not fit the network; another rank that has gone.
    fn training_step(&self, batch: &Self::TrainBatch, context: &Context) -> Result<Losses, TrainError>;

    /// Predictions for a batch, and its losses if they are asked for, which needs truths.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    fn predict(&self, batch: &Self::EvalBatch, with_losses: bool) -> Result<Predicted<Self::Task>, TrainError>;
}

/// The network of an experiment with its first weights, drawn from `seed`; where others are loaded over them, any seed will do.
///
/// # Errors
/// Settings that are none of the model's.
pub fn network<M: Model>(experiment: &Experiment, seed: u64, device: Device) -> Result<(VarStore, M), String> {
    let settings: M::Settings = experiment.settings()?;
    rng::seed_torch(seed, Purpose::Weights);
    let build = |device| {
        let variables = VarStore::new(device);
        // libtorch panics where there is no memory for a network of absurd size.
        let built = egofx::foreign::parse(|| M::new(&variables.root(), &settings, experiment.compat));
        built
            .map_err(|panicked| format!("no network can be made of these settings: {}", panicked.words()))?
            .map(|model| (variables, model))
    };
    let (drawn, model) = build(Device::Cpu)?;
    if device == Device::Cpu {
        return Ok((drawn, model));
    }
    // Weights are drawn on the CPU, so that they are the same on every device.
    let (mut variables, model) = build(device)?;
    variables.copy(&drawn).map_err(|error| error.to_string())?;
    Ok((variables, model))
}

/// The network's weights by name.
pub fn weights(variables: &VarStore) -> Tensors {
    variables.variables().into_iter().collect()
}
