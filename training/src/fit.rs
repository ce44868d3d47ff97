//! One run: epochs over the samples, validations, checkpoints, and an end.
//!
//! Not for several runs, see `sweep`, nor for printing. A run that was stopped and goes on from its last checkpoint
//! computes the same numbers as one that never stopped: whatever is drawn is drawn from the seed and the step.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tch::nn::VarStore;
use tch::{Device, no_grad};

use crate::checkpoint::{self, Best, Progress, Tensors, prefixed};
use crate::draws::{self, Purpose};
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::heads::{Draw, Fold, Head, network, weights};
use crate::journal::{Entry, Journal};
use crate::loader::{self, Waited};
use crate::measure::{LOSS, Sum, batches, predict, values};
use crate::optimizer::Optimizer;

/// The checkpoint of the best validation.
pub const BEST_FILE: &str = "best.safetensors";
/// The checkpoint of the last epoch.
pub const LAST_FILE: &str = "last.safetensors";

/// Where a run computes and who watches.
pub struct Surroundings<'s> {
    /// The device.
    pub device: Device,
    /// Threads that make batches.
    pub threads: usize,
    /// Set by Ctrl-C.
    pub interrupted: &'s AtomicBool,
    /// Called as the run goes.
    pub watch: &'s dyn Fn(&Event),
}

/// What a person watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A run begins, or goes on.
    Started {
        /// Samples to learn from.
        train: usize,
        /// Samples to validate on.
        validation: usize,
        /// Numbers among the weights.
        parameters: i64,
        /// Epochs that are done already.
        epoch: u64,
    },
    /// A step was made.
    Stepped {
        /// In its epoch, from 1.
        step: u64,
        /// Steps of an epoch.
        steps: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Epochs of the run.
        epochs: u64,
        /// The loss.
        loss: f64,
    },
    /// A validation was made.
    Validated {
        /// When, in epochs.
        epoch: f64,
        /// Its scores.
        scores: Vec<(String, f64)>,
        /// Whether it is the best so far.
        is_best: bool,
    },
    /// An epoch is over.
    Epoch {
        /// Its number, from 1.
        epoch: u64,
        /// Mean loss.
        loss: f64,
        /// How long it took and waited for batches.
        waited: Waited,
        /// Samples that were learnt from in it.
        samples: usize,
    },
}

/// What a run came to.
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

/// A run of head `H`.
pub struct Run<'r, H: Head> {
    surroundings: &'r Surroundings<'r>,
    experiment: &'r Experiment,
    data: &'r H::Data,
    fold: &'r Fold,
    folder: PathBuf,
    seed: u64,
    variables: VarStore,
    head: H,
    optimizer: Optimizer,
    /// Running means of the weights, by their names.
    means: Option<Tensors>,
    progress: Progress,
    last: Vec<(String, f64)>,
    waited: Waited,
    samples: usize,
}

impl<'r, H: Head> Run<'r, H> {
    /// A run in `folder`, from its last checkpoint with `resume`, else from the beginning, with the weights in `init` if
    /// there are any.
    ///
    /// # Errors
    /// Files that cannot be read, or are of another experiment.
    pub fn open(
        surroundings: &'r Surroundings<'r>,
        experiment: &'r Experiment,
        data: &'r H::Data,
        fold: &'r Fold,
        folder: &Path,
        resume: bool,
        init: Option<&Path>,
    ) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let why = |why| TrainError::Experiment { path: folder.to_owned(), why };
        let (variables, head) = network::<H>(experiment, surroundings.device).map_err(why)?;
        if let Some(path) = init {
            checkpoint::load_weights(path, H::NAME, &weights(&variables))?;
        }
        let optimizer = Optimizer::new(&variables, &experiment.train.optimizer, H::treatment);
        let copies = || weights(&variables).into_iter().map(|(name, weight)| (name, weight.detach().copy())).collect();
        let mut run = Self {
            means: experiment.train.ema.map(|_| copies()),
            progress: Progress { epoch: 0, step: 0, best: None, fold: fold.name.clone() },
            folder: folder.to_owned(),
            seed: experiment.seeds[0],
            last: vec![],
            waited: Waited::default(),
            samples: 0,
            surroundings,
            experiment,
            data,
            fold,
            variables,
            head,
            optimizer,
        };
        if resume {
            run.restore()?;
        }
        Ok(run)
    }

    /// Goes on from the last checkpoint, if there is one.
    fn restore(&mut self) -> Result<(), TrainError> {
        let path = self.folder.join(LAST_FILE);
        if !path.is_file() {
            return Ok(());
        }
        let saved = checkpoint::open(&path)?;
        let (found, wanted) = (saved.experiment.to_toml(), self.experiment.to_toml());
        if let Some((found, wanted)) = found.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted) {
            let why = format!("it is of another experiment: it has `{found}`, the experiment file `{wanted}`");
            return Err(TrainError::Resume { path, why });
        }
        saved.restore(&path, &self.state())?;
        self.optimizer.restored();
        self.progress = saved.progress;
        Ok(())
    }

    /// Everything that a checkpoint holds; the tensors are the run's own.
    fn state(&self) -> Tensors {
        let mut state = prefixed("model", weights(&self.variables));
        state.append(&mut prefixed("optimizer", self.optimizer.state()));
        state.append(&mut prefixed("buffer", self.head.buffers()));
        let means = self.means.iter().flatten().map(|(name, mean)| (name.clone(), mean.shallow_clone()));
        state.append(&mut prefixed("ema", means));
        state
    }

    fn save(&self, file: &str) -> Result<(), TrainError> {
        checkpoint::save(&self.folder.join(file), &self.state(), self.experiment, &self.progress)
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], [`TrainError::Interrupted`], or what reading and writing say. The last checkpoint is
    /// whole in any case.
    pub fn train(mut self) -> Result<Outcome, TrainError> {
        let mut journal = Journal::open(&self.folder, self.progress.step)?;
        (self.surroundings.watch)(&Event::Started {
            train: self.fold.train.len(),
            validation: self.fold.validation.len(),
            parameters: weights(&self.variables).values().map(|weight| weight.numel() as i64).sum(),
            epoch: self.progress.epoch,
        });
        while self.progress.epoch < self.experiment.train.epochs && !self.has_stalled() {
            self.epoch(&mut journal)?;
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

    fn epoch(&mut self, journal: &mut Journal) -> Result<(), TrainError> {
        let (epoch, data, threads) = (self.progress.epoch, self.data, self.surroundings.threads);
        let mut order = self.fold.train.clone();
        draws::shuffle(&mut order, &mut draws::generator(self.seed, Purpose::Order { epoch }));
        let batches = batches(&order, self.experiment.train.batch, self.experiment.train.drop_last);
        if batches.is_empty() {
            return Err(self.no_batch());
        }
        let seed = self.seed;
        let make = |number: usize| {
            let mut draw: Draw = draws::generator(seed, Purpose::Batch { epoch, number: number as u64 });
            H::batch(data, &batches[number], Some(&mut draw))
        };
        let (count, mut sum) = (batches.len(), Sum::default());
        let mut waited = loader::each(count, threads, make, |number, batch| {
            sum.add(&self.step(number as u64, count as u64, batch)?);
            self.validate_after(number + 1, count, &mut sum, journal)
        })?;
        // Validations are within the loop and are no learning.
        waited.total = waited.total.saturating_sub(sum.validating);
        self.progress.epoch += 1;
        self.save(LAST_FILE)?;
        self.waited.total += waited.total;
        self.waited.waiting += waited.waiting;
        let samples = batches.iter().map(Vec::len).sum();
        self.samples += samples;
        let loss = sum.total / count as f64;
        (self.surroundings.watch)(&Event::Epoch { epoch: epoch + 1, loss, waited, samples });
        Ok(())
    }

    fn no_batch(&self) -> TrainError {
        let (samples, size) = (self.fold.train.len(), self.experiment.train.batch);
        let why = format!("there are {samples} samples to learn from, fewer than train.batch = {size}");
        TrainError::Experiment { path: self.folder.clone(), why }
    }

    /// One step; its loss and the parts of it.
    fn step(&mut self, number: u64, steps: u64, batch: H::Batch) -> Result<Vec<(String, f64)>, TrainError> {
        let (surroundings, train) = (self.surroundings, &self.experiment.train);
        let (epoch, step) = (self.progress.epoch + 1, self.progress.step);
        if surroundings.interrupted.load(Ordering::SeqCst) {
            return Err(self.interrupted());
        }
        draws::seed_torch(self.seed, Purpose::Step { number: step });
        let batch = H::to_device(batch, surroundings.device);
        let output = self.head.forward(&batch, true)?;
        let losses = self.head.losses(&output, &batch, true);
        let values = values(&losses);
        if !values[0].1.is_finite() {
            let parts =
                values[1..].iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
            return Err(TrainError::Diverged { loss: values[0].1, epoch, step: number + 1, parts });
        }
        losses.total.f_backward()?;
        self.optimizer.clip(train.clip)?;
        self.optimizer.step(train.schedule.factor(step, steps, steps * train.epochs))?;
        self.optimizer.forget_gradients()?;
        self.follow();
        self.progress.step += 1;
        let loss = values[0].1;
        (surroundings.watch)(&Event::Stepped { step: number + 1, steps, epoch, epochs: train.epochs, loss });
        Ok(values)
    }

    fn interrupted(&self) -> TrainError {
        let done = self.progress.epoch;
        let saved = if self.folder.join(LAST_FILE).is_file() {
            format!("the last checkpoint is of epoch {done}")
        } else {
            "no epoch was finished, so that nothing is saved yet".to_owned()
        };
        TrainError::Interrupted { epoch: done + 1, checkpoint: saved }
    }

    /// Moves the running means towards the weights.
    fn follow(&self) {
        let Some((decay, means)) = self.experiment.train.ema.zip(self.means.as_ref()) else { return };
        let weights = weights(&self.variables);
        no_grad(|| means.iter().for_each(|(name, mean)| drop(mean.shallow_clone().lerp_(&weights[name], 1.0 - decay))));
    }

    /// Validates if the steps made so far are a whole share of the epoch.
    fn validate_after(
        &mut self,
        done: usize,
        count: usize,
        sum: &mut Sum,
        journal: &mut Journal,
    ) -> Result<(), TrainError> {
        let shares = self.experiment.train.validations_per_epoch as usize;
        if !(1..=shares).any(|share| count * share / shares == done) {
            return Ok(());
        }
        let start = std::time::Instant::now();
        let epoch = self.progress.epoch as f64 + done as f64 / count as f64;
        journal.note(&Entry::new(epoch, self.progress.step, "train", &sum.means_since_last()))?;
        let scores = self.validate()?;
        journal.note(&Entry::new(epoch, self.progress.step, "val", &scores))?;
        let is_best = self.judge(epoch, &scores)?;
        self.last.clone_from(&scores);
        (self.surroundings.watch)(&Event::Validated { epoch, scores, is_best });
        sum.validating += start.elapsed();
        Ok(())
    }

    /// Keeps a checkpoint if the scores are the best so far.
    fn judge(&mut self, epoch: f64, scores: &[(String, f64)]) -> Result<bool, TrainError> {
        let select = &self.experiment.train.select;
        let score = scores.iter().find(|(name, _)| name == select).map_or(f64::NAN, |(_, score)| *score);
        let better = |best: &Best| if select == LOSS { score < best.score } else { score > best.score };
        if score.is_nan() || !self.progress.best.as_ref().is_none_or(better) {
            return Ok(false);
        }
        let step = self.progress.step;
        self.progress.best = Some(Best { score, epoch, step, scores: scores.to_vec() });
        self.save(BEST_FILE)?;
        Ok(true)
    }

    /// Loss and scores of the validation samples, by the means of the weights where those are kept.
    fn validate(&mut self) -> Result<Vec<(String, f64)>, TrainError> {
        self.exchange_means();
        let validated = self.validate_weights();
        self.exchange_means();
        validated
    }

    fn validate_weights(&self) -> Result<Vec<(String, f64)>, TrainError> {
        let mut sum = Sum::default();
        let predictions = predict(
            &self.head,
            self.data,
            &self.fold.validation,
            self.experiment.train.batch,
            self.surroundings,
            |head, output, batch| sum.add(&values(&head.losses(output, batch, false))),
        )?;
        let mut scores = sum.means_since_last();
        scores.extend(H::score(self.data, &predictions)?);
        Ok(scores)
    }

    /// Swaps weights and running means.
    fn exchange_means(&self) {
        let Some(means) = &self.means else { return };
        let weights = weights(&self.variables);
        no_grad(|| {
            for (name, mean) in means {
                let weight = weights[name].copy();
                weights[name].shallow_clone().copy_(mean);
                mean.shallow_clone().copy_(&weight);
            }
        });
    }
}
