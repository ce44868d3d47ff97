//! One run: epochs over the samples, validations, checkpoints, and an end.
//!
//! Not for several runs, see `sweep`, nor for printing. A run that was stopped and goes on from its last checkpoint
//! computes the same numbers as one that never stopped: whatever is drawn is drawn from the seed and the step.

pub mod context;
mod epoch;
mod keeping;
mod log;
pub mod lr_range;
mod resume;
mod speed;
mod steps;
mod validation;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tch::Tensor;
use tch::nn::VarStore;

use crate::checkpoint::{self, Best, Progress, Tensors, prefixed};
use crate::distributed::Gradients;
use crate::error::TrainError;
use crate::experiment::{Experiment, Member};
use crate::learner::{Batch, Dataset, Model, Task, network, weights};
use crate::loader::{self, Waited};
use crate::loss_sums::add;
use crate::metrics_log::MetricsLog;
use crate::optimizer::Optimizer;
use crate::sources::Fold;

use context::{Event, Surroundings};
use epoch::Epoch;
use speed::{Made, Speed};

/// The checkpoint of the best validation.
pub const BEST_FILE: &str = "best.safetensors";
/// The checkpoint of the last epoch.
pub const LAST_FILE: &str = "last.safetensors";

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The best validation.
    pub best: Option<Best>,
    /// Scores of the last validation.
    pub last: Vec<(String, f64)>,
    /// Epochs that were made.
    pub epochs: u64,
    /// How long the epochs of this process took and waited for batches.
    pub waited: Waited,
    /// Samples that were learnt from in this process.
    pub samples: usize,
}

/// A run of model `M`.
pub struct Run<'r, M: Model> {
    surroundings: &'r Surroundings<'r>,
    experiment: &'r Experiment,
    data: &'r Dataset<M>,
    fold: &'r Fold<<M::Task as Task>::Sample>,
    folder: PathBuf,
    seed: u64,
    variables: VarStore,
    model: M,
    optimizer: Optimizer,
    gradients: Gradients<'r>,
    /// Running means of the weights, by their names.
    means: Option<Tensors>,
    progress: Progress,
    /// Files of checkpoints that are to be removed.
    dropped: Vec<String>,
    last: Vec<(String, f64)>,
    made: Made,
    speed: Speed,
    waited: Waited,
    samples: usize,
}

impl<'r, M: Model> Run<'r, M> {
    /// A run in `folder`, from its last checkpoint with `resume`, else from the beginning, with the weights in the files
    /// `init`, the later over the earlier.
    ///
    /// # Errors
    /// Files that cannot be read, or are of another experiment.
    pub fn open(
        surroundings: &'r Surroundings<'r>,
        member: &'r Member,
        data: &'r Dataset<M>,
        fold: &'r Fold<<M::Task as Task>::Sample>,
        folder: &Path,
        resume: bool,
        init: &[PathBuf],
    ) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let why = |why| TrainError::Experiment { path: folder.to_owned(), why };
        let Member { experiment, seed, .. } = member;
        let (variables, model) = network::<M>(experiment, *seed, surroundings.device).map_err(why)?;
        init.iter().try_for_each(|path| M::start(path, experiment.compat, &weights(&variables)))?;
        let optimizer = Optimizer::new(&variables, &experiment.train.optimizer, M::param_group);
        let copies = || weights(&variables).into_iter().map(|(name, weight)| (name, weight.detach().copy())).collect();
        let mut run = Self {
            means: experiment.train.ema.map(|_| copies()),
            progress: Progress { fold: fold.name.clone(), ..Progress::default() },
            folder: folder.to_owned(),
            seed: *seed,
            last: vec![],
            dropped: vec![],
            made: Made::default(),
            speed: Speed::begin(),
            waited: Waited::default(),
            samples: 0,
            surroundings,
            experiment,
            data,
            fold,
            variables,
            model,
            gradients: surroundings.world.gradients(&optimizer.weights())?,
            optimizer,
        };
        if resume {
            run.restore()?;
        }
        let state: Vec<Tensor> = run.state().into_values().collect();
        surroundings.world.broadcast(&state)?;
        Ok(run)
    }

    /// Goes on from the last checkpoint, if there is one.
    fn restore(&mut self) -> Result<(), TrainError> {
        let path = self.folder.join(LAST_FILE);
        if !path.is_file() {
            return Ok(());
        }
        let saved = checkpoint::open(&path)?;
        resume::expect_same(&path, &saved.experiment, self.experiment)?;
        saved.restore(&path, &self.state())?;
        self.optimizer.restored();
        self.progress = saved.progress;
        Ok(())
    }

    /// Everything that a checkpoint holds; the tensors are the run's own.
    fn state(&self) -> Tensors {
        let mut state = prefixed("model", weights(&self.variables));
        state.append(&mut prefixed("optimizer", self.optimizer.state()));
        state.append(&mut prefixed("buffer", self.model.buffers()));
        let means = self.means.iter().flatten().map(|(name, mean)| (name.clone(), mean.shallow_clone()));
        state.append(&mut prefixed("ema", means));
        state
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], [`TrainError::Interrupted`], or what reading and writing say. The last checkpoint is
    /// whole in any case.
    pub fn train(mut self) -> Result<Outcome, TrainError> {
        let world = self.surroundings.world;
        let mut metrics_log =
            world.is_rank0().then(|| MetricsLog::open(&self.folder, self.progress.step)).transpose()?;
        (self.surroundings.watch)(&Event::Started {
            train: self.fold.train.len(),
            validation: self.fold.validation.len(),
            parameters: weights(&self.variables).values().map(|weight| weight.numel() as i64).sum(),
            epoch: self.progress.epoch,
            remarks: self.data.task.remarks(),
        });
        self.validate_on_start(&mut metrics_log)?;
        while self.progress.epoch < self.experiment.train.epochs && !self.has_stalled() {
            self.epoch(&mut metrics_log)?;
        }
        if self.last.is_empty() {
            self.last = self.progress.best.as_ref().map(|best| best.scores.clone()).unwrap_or_default();
        }
        let Progress { best, epoch: epochs, .. } = self.progress;
        Ok(Outcome { best, last: self.last, epochs, waited: self.waited, samples: self.samples })
    }

    fn has_stalled(&self) -> bool {
        let best = self.progress.best.as_ref().map_or(0.0, |best| best.epoch);
        self.experiment.train.patience.is_some_and(|patience| self.progress.epoch as f64 - best >= patience as f64)
    }

    fn epoch(&mut self, metrics_log: &mut Option<MetricsLog>) -> Result<(), TrainError> {
        let epoch = self.epoch_of(self.progress.epoch)?;
        let (count, parts, done) = (epoch.steps(), epoch.parts(), self.progress.step_in_epoch as usize);
        let device = self.surroundings.device;
        let make = |number: usize| Ok(epoch.part(done + number / parts, number % parts)?.pinned_for(device));
        let mut values = vec![];
        self.speed = Speed::begin();
        loader::each((count - done) * parts, self.surroundings.threads, make, |number, batch, waiting| {
            self.speed.waited(waiting);
            add(&mut values, &self.part(batch, number % parts, parts)?);
            if number % parts + 1 < parts {
                return Ok(ControlFlow::Continue(()));
            }
            let made = done + number / parts;
            self.step(count as u64, epoch.samples(made), std::mem::take(&mut values))?;
            self.after_step(made + 1, count, metrics_log).map(ControlFlow::Continue)
        })?;
        self.end_epoch()
    }

    /// The epoch of that number, from 0.
    fn epoch_of(&self, number: u64) -> Result<Epoch<'r, M>, TrainError> {
        let place = self.surroundings.world.place();
        let epoch = Epoch::new(self.data, &self.fold.train, &self.experiment.train, place, (self.seed, number));
        if epoch.steps() == 0 { Err(self.no_batch()) } else { Ok(epoch) }
    }

    /// What is noted and kept after a step: `done` of `count` of the epoch.
    fn after_step(
        &mut self,
        done: usize,
        count: usize,
        metrics_log: &mut Option<MetricsLog>,
    ) -> Result<(), TrainError> {
        self.log_after(count as u64, metrics_log)?;
        // Validations are within the loop and are no learning.
        let start = Instant::now();
        self.validate_after(done, count, metrics_log)?;
        self.speed.left_out(start);
        self.keep(count as u64)
    }

    fn end_epoch(&mut self) -> Result<(), TrainError> {
        let loss = std::mem::take(&mut self.progress.sum).mean();
        self.progress.epoch += 1;
        self.progress.step_in_epoch = 0;
        self.save_epoch()?;
        let pace = self.speed.of_epoch();
        self.waited.total += pace.waited.total;
        self.waited.waiting += pace.waited.waiting;
        self.samples += pace.samples as usize;
        let (epoch, remarks) = (self.progress.epoch, self.data.task.remarks());
        (self.surroundings.watch)(&Event::Epoch { epoch, loss, pace, remarks });
        Ok(())
    }

    fn no_batch(&self) -> TrainError {
        let (samples, size) = (self.fold.train.len(), self.experiment.train.batch);
        let why = format!("there are {samples} samples to learn from, fewer than train.batch = {size}");
        TrainError::Experiment { path: self.folder.clone(), why }
    }
}
