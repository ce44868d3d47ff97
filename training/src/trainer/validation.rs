//! Validations of a run: scores, and the checkpoint of the best.
//!
//! Not for scores themselves, which the task has.

use tch::no_grad;

use super::context::Event;
use super::{BEST_FILE, Run};
use crate::checkpoint::Best;
use crate::error::TrainError;
use crate::evaluate::predict;
use crate::learner::{Model, Task, weights};
use crate::loss_sums::LossSums;
use crate::metrics_log::{Entry, MetricsLog};
use crate::scores::lower_is_better;

impl<M: Model> Run<'_, M> {
    /// Validates if the steps made so far are a whole share of the epoch.
    pub(super) fn validate_after(
        &mut self,
        done: usize,
        count: usize,
        metrics_log: &mut Option<MetricsLog>,
    ) -> Result<(), TrainError> {
        let shares = self.experiment.train.validations_per_epoch as usize;
        if !(1..=shares).any(|share| count * share / shares == done) {
            return Ok(());
        }
        let epoch = self.progress.epoch as f64 + done as f64 / count as f64;
        let step = self.progress.step;
        let mut note = |split, scores: &[(String, f64)]| match metrics_log {
            Some(metrics_log) => metrics_log.note(&Entry::new(epoch, step, split, scores)),
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
        let select = &self.experiment.train.monitor;
        let score = scores.iter().find(|(name, _)| name == select).map_or(f64::NAN, |(_, score)| *score);
        let better = |best: &Best| if lower_is_better(select) { score < best.score } else { score > best.score };
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
