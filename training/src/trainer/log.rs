//! The lines of a run between its validations: losses, rates, speed and memory every so many steps.
//!
//! Not for files, see `metrics_log`. What is learnt does not depend on it. Losses are means over the steps since the last line, the
//! others are of the last step.

use std::time::{Duration, Instant};

use super::Run;
use super::context::Pace;
use crate::error::TrainError;
use crate::learner::Model;
use crate::memory;
use crate::metrics_log::{Entry, MetricsLog};

/// Steps between two lines where the experiment does not say.
const LOG_STEPS: u64 = 50;
/// Shorter epochs have no lines then: what is noted with their validations is as fine.
const LONG_EPOCH: u64 = 200;

/// What a line says of the last step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Made {
    /// Of the learning rate.
    pub factor: f64,
    /// Before gradients were clipped.
    pub grad_norm: f64,
}

/// Reckons how fast steps are made, in the epoch at hand and since the last line.
pub(super) struct Speed {
    epoch: Pace,
    line: Pace,
    since: Instant,
}

impl Speed {
    /// An epoch begins.
    pub fn begin() -> Self {
        Self { epoch: Pace::default(), line: Pace::default(), since: Instant::now() }
    }

    /// A batch was waited for.
    pub fn waited(&mut self, waiting: Duration) {
        self.epoch.waited.waiting += waiting;
        self.line.waited.waiting += waiting;
    }

    /// A step was made; how fast it went in this epoch so far.
    pub fn stepped(&mut self, samples: usize) -> Pace {
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.since, now);
        for pace in [&mut self.epoch, &mut self.line] {
            pace.steps += 1;
            pace.samples += samples as u64;
            pace.waited.total += took;
        }
        self.epoch
    }

    /// The time from `start` to now was no learning.
    pub fn left_out(&mut self, start: Instant) {
        self.since += start.elapsed();
    }

    /// How fast it went in this epoch so far.
    pub fn of_epoch(&self) -> Pace {
        self.epoch
    }
}

impl<M: Model> Run<'_, M> {
    /// Notes a line in an epoch of so many `steps`, where it is time to.
    pub(super) fn log_after(&mut self, steps: u64, metrics_log: &mut Option<MetricsLog>) -> Result<(), TrainError> {
        let default = (steps >= LONG_EPOCH).then_some(LOG_STEPS);
        let every = self.experiment.train.log_steps.or(default);
        let step = self.progress.step;
        if !every.is_some_and(|every| step.is_multiple_of(every)) {
            return Ok(());
        }
        let mut values = self.progress.sum.means_since_last();
        let pace = std::mem::take(&mut self.speed.line);
        let Some(metrics_log) = metrics_log else { return Ok(()) };
        values.extend(self.optimizer.learning_rates(self.made.factor));
        values.push(("grad_norm".to_owned(), self.made.grad_norm));
        let skipped = self.progress.scaler.skipped_steps(self.experiment.train.precision);
        values.extend(skipped.map(|skipped| ("skipped_steps".to_owned(), skipped as f64)));
        values.push(("samples_per_sec".to_owned(), pace.samples_per_sec()));
        values.push(("waiting_share".to_owned(), pace.waited.share()));
        values.extend(memory::taken(self.surroundings.device));
        let epoch = self.progress.epoch as f64 + self.progress.step_in_epoch as f64 / steps as f64;
        metrics_log.note(&Entry::new(epoch, step, "train", &values))
    }
}
