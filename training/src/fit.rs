//! One run: epochs over the samples, validations, checkpoints, and an end.
//!
//! Not for several runs, see `sweep`, nor for printing. A run that was stopped and goes on from its last checkpoint
//! computes the same numbers as one that never stopped: whatever is drawn is drawn from the seed and the step.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tch::nn::VarStore;
use tch::{Device, Tensor, no_grad};

use crate::checkpoint::{self, Best, Progress, Tensors, prefixed};
use crate::draws::{self, Purpose};
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::journal::{Entry, Journal};
use crate::learner::{Context, Draw, Fold, Learner, network, weights};
use crate::loader::{self, Waited};
use crate::measure::{Sum, add, batches, falls, predict, values};
use crate::native;
use crate::optimizer::Optimizer;
use crate::precision::{self, Precision};
use crate::ranks::World;

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
    /// Those who train the same weights on other samples.
    pub world: &'s World,
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
        /// What a person should know of the data.
        remarks: Vec<String>,
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
        /// What a person should know of the data that was read in it.
        remarks: Vec<String>,
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

/// A run of learner `L`.
pub struct Run<'r, L: Learner> {
    surroundings: &'r Surroundings<'r>,
    experiment: &'r Experiment,
    data: &'r L::Data,
    fold: &'r Fold,
    folder: PathBuf,
    seed: u64,
    variables: VarStore,
    learner: L,
    optimizer: Optimizer,
    /// Running means of the weights, by their names.
    means: Option<Tensors>,
    progress: Progress,
    last: Vec<(String, f64)>,
    waited: Waited,
    samples: usize,
}

impl<'r, L: Learner> Run<'r, L> {
    /// A run in `folder`, from its last checkpoint with `resume`, else from the beginning, with the weights in the files
    /// `init`, the later over the earlier.
    ///
    /// # Errors
    /// Files that cannot be read, or are of another experiment.
    pub fn open(
        surroundings: &'r Surroundings<'r>,
        experiment: &'r Experiment,
        data: &'r L::Data,
        fold: &'r Fold,
        folder: &Path,
        resume: bool,
        init: &[PathBuf],
    ) -> Result<Self, TrainError> {
        std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        let why = |why| TrainError::Experiment { path: folder.to_owned(), why };
        let (variables, learner) = network::<L>(experiment, surroundings.device).map_err(why)?;
        init.iter().try_for_each(|path| L::load(path, &weights(&variables)))?;
        let optimizer = Optimizer::new(&variables, &experiment.train.optimizer, L::treatment);
        let copies = || weights(&variables).into_iter().map(|(name, weight)| (name, weight.detach().copy())).collect();
        let mut run = Self {
            means: experiment.train.ema.map(|_| copies()),
            progress: Progress { fold: fold.name.clone(), ..Progress::default() },
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
            learner,
            optimizer,
        };
        if resume {
            run.restore()?;
        }
        let state: Vec<Tensor> = run.state().into_values().collect();
        surroundings.world.spread(&state)?;
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
        state.append(&mut prefixed("buffer", self.learner.buffers()));
        let means = self.means.iter().flatten().map(|(name, mean)| (name.clone(), mean.shallow_clone()));
        state.append(&mut prefixed("ema", means));
        state
    }

    /// Written by rank 0; the others wait, so that none goes on from a checkpoint that is not there yet.
    fn save(&self, file: &str) -> Result<(), TrainError> {
        let buffers: Vec<Tensor> = self.learner.buffers().into_values().collect();
        self.surroundings.world.spread(&buffers)?;
        let save = || checkpoint::save(&self.folder.join(file), &self.state(), self.experiment, &self.progress);
        self.surroundings.world.lead(save)
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], [`TrainError::Interrupted`], or what reading and writing say. The last checkpoint is
    /// whole in any case.
    pub fn train(mut self) -> Result<Outcome, TrainError> {
        let world = self.surroundings.world;
        let mut journal = world.leads().then(|| Journal::open(&self.folder, self.progress.step)).transpose()?;
        (self.surroundings.watch)(&Event::Started {
            train: self.fold.train.len(),
            validation: self.fold.validation.len(),
            parameters: weights(&self.variables).values().map(|weight| weight.numel() as i64).sum(),
            epoch: self.progress.epoch,
            remarks: L::remarks(self.data),
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

    fn epoch(&mut self, journal: &mut Option<Journal>) -> Result<(), TrainError> {
        let (epoch, data, train) = (self.progress.epoch, self.data, &self.experiment.train);
        let Surroundings { threads, world, .. } = *self.surroundings;
        let place = world.place();
        let mut order = self.fold.train.clone();
        draws::shuffle(&mut order, &mut draws::generator(self.seed, Purpose::Order { epoch }));
        let batches = batches(&order, train.batch, train.drop_last);
        if batches.is_empty() {
            return Err(self.no_batch());
        }
        let (seed, parts, done) = (self.seed, train.accumulate.unwrap_or(1), self.progress.step_in_epoch as usize);
        let make = |number: usize| {
            let (number, part) = (done + number / parts, number % parts);
            let share = place.share(&batches[number], &order);
            let each = share.len().div_ceil(parts);
            let part = share.chunks(each).nth(part).unwrap_or(&share);
            let mut draw: Draw = draws::generator(seed, Purpose::Batch { epoch, number: number as u64 });
            L::batch(data, part, Some(&mut draw))
        };
        let count = batches.len();
        let (mut values, mut validating) = (vec![], Duration::ZERO);
        let mut waited = loader::each((count - done) * parts, threads, make, |number, batch| {
            add(&mut values, &self.part(batch, number % parts, parts)?);
            if number % parts + 1 < parts {
                return Ok(());
            }
            self.step(count as u64, std::mem::take(&mut values))?;
            let start = Instant::now();
            self.validate_after(done + number / parts + 1, count, journal)?;
            validating += start.elapsed();
            self.keep(count as u64)
        })?;
        // Validations are within the loop and are no learning.
        waited.total = waited.total.saturating_sub(validating);
        let loss = std::mem::take(&mut self.progress.sum).mean();
        self.progress.epoch += 1;
        self.progress.step_in_epoch = 0;
        self.save(LAST_FILE)?;
        self.waited.total += waited.total;
        self.waited.waiting += waited.waiting;
        let samples = batches[done..].iter().map(Vec::len).sum();
        self.samples += samples;
        let remarks = L::remarks(data);
        (self.surroundings.watch)(&Event::Epoch { epoch: epoch + 1, loss, waited, samples, remarks });
        Ok(())
    }

    fn no_batch(&self) -> TrainError {
        let (samples, size) = (self.fold.train.len(), self.experiment.train.batch);
        let why = format!("there are {samples} samples to learn from, fewer than train.batch = {size}");
        TrainError::Experiment { path: self.folder.clone(), why }
    }

    /// The gradients of one of `parts` parts of a step, added to those of the parts before; its losses.
    fn part(&mut self, batch: L::Batch, part: usize, parts: usize) -> Result<Vec<(String, f64)>, TrainError> {
        let Surroundings { device, world, .. } = *self.surroundings;
        let precision = self.experiment.train.precision;
        let step = self.progress.step * parts as u64 + part as u64;
        draws::seed_torch(self.seed, Purpose::Step { number: step, rank: world.place().rank as u64 });
        let seed = draws::seed(self.seed, Purpose::Loss { number: step });
        let batch = L::to_device(batch, device);
        let losses = precision::within(precision, device, || {
            let output = self.learner.forward(&batch, true)?;
            self.learner.losses(&output, &batch, &Context { train: true, world, seed })
        })?;
        let share = 1.0 / parts as f64;
        (&losses.total * (share * self.progress.scaler.factor(precision))).f_backward()?;
        let values = values(&losses);
        Ok(values.into_iter().map(|(name, value)| (name, value * share)).collect())
    }

    /// One step by the gradients that there are; `values` are its loss and the parts of it.
    fn step(&mut self, steps: u64, values: Vec<(String, f64)>) -> Result<(), TrainError> {
        let (surroundings, train) = (self.surroundings, &self.experiment.train);
        let (epoch, step) = (self.progress.epoch + 1, self.progress.step);
        let values = self.mean_over_ranks(values)?;
        if !values[0].1.is_finite() {
            let parts =
                values[1..].iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
            let step = self.progress.step_in_epoch + 1;
            return Err(TrainError::Diverged { loss: values[0].1, epoch, step, parts });
        }
        let gradients = self.optimizer.gradients();
        surroundings.world.average(&gradients)?;
        let factor = self.progress.scaler.factor(train.precision);
        if factor != 1.0 {
            native::scale(&gradients, 1.0 / factor)?;
        }
        drop(gradients);
        let finite = self.optimizer.clip(train.clip)?.is_finite();
        // Only half precision overflows without the loss being none: that step is left out, and the next has smaller numbers.
        if finite || train.precision != Some(Precision::Fp16) {
            self.optimizer.step(train.schedule.factor(step, steps, steps * train.epochs))?;
        }
        self.progress.scaler.note(finite);
        self.optimizer.forget_gradients()?;
        self.follow();
        self.progress.step += 1;
        self.progress.step_in_epoch += 1;
        self.progress.sum.add(&values);
        let (loss, step) = (values[0].1, self.progress.step_in_epoch);
        (surroundings.watch)(&Event::Stepped { step, steps, epoch, epochs: train.epochs, loss });
        Ok(())
    }

    fn mean_over_ranks(&self, values: Vec<(String, f64)>) -> Result<Vec<(String, f64)>, TrainError> {
        let world = self.surroundings.world;
        let sums = world.sum(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>())?;
        Ok(values.into_iter().zip(sums).map(|((name, _), sum)| (name, sum / world.place().size as f64)).collect())
    }

    /// Saves the run within an epoch where it is time to, or where it was interrupted: on any rank, for a signal reaches
    /// them at different steps.
    fn keep(&mut self, steps: u64) -> Result<(), TrainError> {
        let Surroundings { interrupted, world, .. } = *self.surroundings;
        let interrupted = world.sum(&[f64::from(u8::from(interrupted.load(Ordering::SeqCst)))])?[0] > 0.0;
        let every = self.experiment.train.checkpoint_steps;
        let is_time = every.is_some_and(|every| self.progress.step.is_multiple_of(every));
        // The end of an epoch is saved as such.
        let ends = self.progress.step_in_epoch == steps;
        if (is_time && !ends) || interrupted {
            self.save(LAST_FILE)?;
        }
        if interrupted {
            let (epoch, step) = (self.progress.epoch + 1, self.progress.step_in_epoch);
            return Err(TrainError::Interrupted { epoch, step });
        }
        Ok(())
    }

    /// Moves the running means towards the weights.
    fn follow(&self) {
        let Some((decay, means)) = self.experiment.train.ema.zip(self.means.as_ref()) else { return };
        let weights = weights(&self.variables);
        no_grad(|| means.iter().for_each(|(name, mean)| drop(mean.shallow_clone().lerp_(&weights[name], 1.0 - decay))));
    }

    /// Validates if the steps made so far are a whole share of the epoch.
    fn validate_after(&mut self, done: usize, count: usize, journal: &mut Option<Journal>) -> Result<(), TrainError> {
        let shares = self.experiment.train.validations_per_epoch as usize;
        if !(1..=shares).any(|share| count * share / shares == done) {
            return Ok(());
        }
        let epoch = self.progress.epoch as f64 + done as f64 / count as f64;
        let step = self.progress.step;
        let mut note = |split, scores: &[(String, f64)]| match journal {
            Some(journal) => journal.note(&Entry::new(epoch, step, split, scores)),
            None => Ok(()),
        };
        note("train", &self.progress.sum.means_since_last())?;
        let scores = self.validate()?;
        note("val", &scores)?;
        let is_best = self.judge(epoch, &scores)?;
        self.last.clone_from(&scores);
        (self.surroundings.watch)(&Event::Validated { epoch, scores, is_best });
        Ok(())
    }

    /// Keeps a checkpoint if the scores are the best so far.
    fn judge(&mut self, epoch: f64, scores: &[(String, f64)]) -> Result<bool, TrainError> {
        let select = &self.experiment.train.select;
        let score = scores.iter().find(|(name, _)| name == select).map_or(f64::NAN, |(_, score)| *score);
        let better = |best: &Best| if falls(select) { score < best.score } else { score > best.score };
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
        let (mut sum, alone) = (Sum::default(), World::single());
        let context = Context { train: false, world: &alone, seed: 0 };
        let (samples, train, surroundings) = (&self.fold.validation, &self.experiment.train, self.surroundings);
        let predictions = predict(&self.learner, self.data, samples, train, surroundings, |learner, output, batch| {
            sum.add(&values(&learner.losses(output, batch, &context)?));
            Ok(())
        })?;
        let mut scores = sum.of_all(surroundings.world)?.means_since_last();
        scores.extend(L::score(self.data, &predictions)?);
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
