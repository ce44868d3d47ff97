//! Validations of a run: when, and by which weights.
//!
//! Not for scores themselves, which the task has.

use tch::no_grad;

use super::Run;
use super::context::Event;
use crate::error::TrainError;
use crate::evaluate::predict;
use crate::learner::{Model, Task, weights};
use crate::loss_sums::LossSums;
use crate::metrics_log::{Entry, MetricsLog};

impl<M: Model> Run<'_, M> {
    /// Validates if the steps made so far are a whole share of the epoch, or so many that it is time to.
    pub(super) fn validate_after(
        &mut self,
        done: usize,
        count: usize,
        metrics_log: &mut Option<MetricsLog>,
    ) -> Result<(), TrainError> {
        let (train, step) = (&self.experiment.train, self.progress.step);
        let shares = train.validations_per_epoch as usize;
        let is_share = (1..=shares).any(|share| count * share / shares == done);
        if !is_share && !train.validation_steps.is_some_and(|every| step.is_multiple_of(every)) {
            return Ok(());
        }
        let epoch = self.progress.epoch as f64 + done as f64 / count as f64;
        let losses = self.progress.sum.means_since_last();
        // There are none where a line was logged after this very step.
        if !losses.is_empty() {
            note(metrics_log, &Entry::new(epoch, step, "train", &losses))?;
        }
        let scores = self.validate()?;
        note(metrics_log, &Entry::new(epoch, step, "val", &scores))?;
        let is_best = self.judge(epoch, &scores)?;
        self.last.clone_from(&scores);
        (self.surroundings.watch)(&Event::Validated { epoch, scores, is_best });
        Ok(())
    }

    /// Validates before the first step, if that was asked for. The scores pick no checkpoint.
    pub(super) fn validate_on_start(&mut self, metrics_log: &mut Option<MetricsLog>) -> Result<(), TrainError> {
        if !self.experiment.train.eval_on_start || self.progress.step > 0 {
            return Ok(());
        }
        let scores = self.validate()?;
        note(metrics_log, &Entry::new(0.0, 0, "val", &scores))?;
        (self.surroundings.watch)(&Event::Validated { epoch: 0.0, scores, is_best: false });
        Ok(())
    }

    /// Loss and scores of the validation samples, by the means of the weights where those are kept.
    fn validate(&mut self) -> Result<Vec<(String, f64)>, TrainError> {
        self.exchange_means();
        let validated = self.validate_weights();
        self.exchange_means();
        validated
    }

    fn validate_weights(&self) -> Result<Vec<(String, f64)>, TrainError> {
        let (samples, train, surroundings) = (&self.fold.validation, &self.experiment.train, self.surroundings);
        let mut losses = LossSums::default();
        let predictions = predict(&self.model, self.data, samples, train, surroundings, Some(&mut losses))?;
        let mut scores = losses.of_all(surroundings.world)?.means_since_last();
        scores.extend(self.data.task.score(&predictions)?);
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

/// Notes a measurement, on the rank that does.
fn note(metrics_log: &mut Option<MetricsLog>, entry: &Entry) -> Result<(), TrainError> {
    metrics_log.as_mut().map_or(Ok(()), |metrics_log| metrics_log.note(entry))
}
