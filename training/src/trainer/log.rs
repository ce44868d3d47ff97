//! The lines of a run between its validations: losses, rates, speed and memory every so many steps.
//!
//! Not for files, see `metrics_log`. What is learnt does not depend on it. Losses are means over the steps since the last line, the
//! others are of the last step.

use super::Run;
use crate::error::TrainError;
use crate::learner::Model;
use crate::memory;
use crate::metrics_log::{Entry, MetricsLog};

/// Steps between two lines where the experiment does not say.
const LOG_STEPS: u64 = 50;
/// Shorter epochs have no lines then: what is noted with their validations is as fine.
const LONG_EPOCH: u64 = 200;

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
        let pace = self.speed.take_line();
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
