//! Checkpoints of a run: the last, the best, and those that are kept beside these.
//!
//! Not for their content, see `checkpoint`. Rank 0 writes; the others wait, so that none goes on from a checkpoint that is not
//! there yet. Invariant: `last.safetensors` says which of the others there are to be; what it does not say is removed after it
//! was written, never before.

use std::path::Path;

use egofx::stop::Cause;
use tch::Tensor;

use super::context::Surroundings;
use super::{BEST_FILE, LAST_FILE, Run};
use crate::checkpoint::{self, Best, Kept};
use crate::error::TrainError;
use crate::learner::Model;
use crate::scores::lower_is_better;

/// The name of a checkpoint that is kept: made in an epoch, from 1, after so many steps of the run.
fn kept_file(epoch: u64, step: u64) -> String {
    format!("epoch-{epoch}-step-{step}.safetensors")
}

/// Epoch and step out of such a name.
fn kept_at(name: &str) -> Option<(u64, u64)> {
    let (epoch, step) = name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.split_once("-step-")?;
    let found = (epoch.parse().ok()?, step.parse().ok()?);
    (kept_file(found.0, found.1) == name).then_some(found)
}

impl<M: Model> Run<'_, M> {
    fn save(&self, file: &str) -> Result<(), TrainError> {
        let buffers: Vec<Tensor> = self.model.buffers().into_values().collect();
        self.surroundings.world.broadcast(&buffers)?;
        let save = || checkpoint::save(&self.folder.join(file), &self.state(), self.experiment, &self.progress);
        self.surroundings.world.on_rank0(save)
    }

    /// Writes the last checkpoint, and removes those that are not to be kept any more.
    fn save_last(&self, steps: u64) -> Result<(), TrainError> {
        self.save(LAST_FILE)?;
        let train = &self.experiment.train;
        if train.save_top_k.is_none() && train.save_every_n_epochs.is_none() {
            return Ok(());
        }
        let is_kept = |name: &str, epoch: u64, step: u64| {
            let ends = step == epoch * steps && self.is_every(epoch);
            ends || self.progress.top.iter().any(|kept| kept.file == name)
        };
        self.surroundings.world.on_rank0(|| remove_others(&self.folder, is_kept))
    }

    fn is_every(&self, epoch: u64) -> bool {
        self.experiment.train.save_every_n_epochs.is_some_and(|every| epoch.is_multiple_of(every))
    }

    /// Keeps the end of an epoch of so many `steps`.
    pub(super) fn save_epoch(&self, steps: u64) -> Result<(), TrainError> {
        if self.is_every(self.progress.epoch) {
            self.save(&kept_file(self.progress.epoch, self.progress.step))?;
        }
        self.save_last(steps)
    }

    /// Keeps checkpoints of a validation's scores if these are among the best; whether they are the best so far.
    pub(super) fn judge(&mut self, epoch: f64, scores: &[(String, f64)]) -> Result<bool, TrainError> {
        let select = &self.experiment.train.monitor;
        let score = scores.iter().find(|(name, _)| name == select).map_or(f64::NAN, |(_, score)| *score);
        if score.is_nan() {
            return Ok(false);
        }
        let better = |best: &Best| is_better(select, score, best.score);
        let is_best = self.progress.best.as_ref().is_none_or(better);
        let step = self.progress.step;
        if is_best {
            self.progress.best = Some(Best { score, epoch, step, scores: scores.to_vec() });
        }
        let kept = Kept { score, file: kept_file(self.progress.epoch + 1, step) };
        let is_kept = self.experiment.train.save_top_k.is_some_and(|most| {
            let top = &mut self.progress.top;
            // Of equal scores the first stays.
            let place = top.iter().position(|other| is_better(select, score, other.score)).unwrap_or(top.len());
            top.insert(place, kept.clone());
            top.truncate(most as usize);
            place < top.len()
        });
        if is_best {
            self.save(BEST_FILE)?;
        }
        if is_kept {
            self.save(&kept.file)?;
        }
        Ok(is_best)
    }

    /// Saves the run within an epoch of so many `steps` where it is time to, or where it was interrupted: on any rank, for a
    /// signal reaches them at different steps.
    pub(super) fn keep(&mut self, steps: u64) -> Result<(), TrainError> {
        let stopped = self.stopped()?;
        let every = self.experiment.train.checkpoint_steps;
        let is_time = every.is_some_and(|every| self.progress.step.is_multiple_of(every));
        // The end of an epoch is saved as such.
        let ends = self.progress.step_in_epoch == steps;
        if (is_time && !ends) || stopped.is_some() {
            self.save_last(steps)?;
        }
        let (epoch, step) = (self.progress.epoch + 1, self.progress.step_in_epoch);
        stopped.map_or(Ok(()), |cause| Err(TrainError::Interrupted { cause, epoch, step }))
    }

    /// Who asked for the end, on any rank; a person before the cluster.
    fn stopped(&self) -> Result<Option<Cause>, TrainError> {
        let Surroundings { stop, world, .. } = *self.surroundings;
        let causes = [Cause::Interrupted, Cause::Preempted];
        let asked = world.all_reduce_sum(&causes.map(|cause| f64::from(u8::from(stop.cause() == Some(cause)))))?;
        Ok(causes.into_iter().zip(asked).find(|(_, ranks)| *ranks > 0.0).map(|(cause, _)| cause))
    }
}

fn is_better(select: &str, score: f64, than: f64) -> bool {
    if lower_is_better(select) { score < than } else { score > than }
}

/// Removes the checkpoints of `folder` that are called as those that are kept and are none.
fn remove_others(folder: &Path, is_kept: impl Fn(&str, u64, u64) -> bool) -> Result<(), TrainError> {
    for entry in std::fs::read_dir(folder).map_err(TrainError::io("read", folder))? {
        let entry = entry.map_err(TrainError::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if kept_at(&name).is_some_and(|(epoch, step)| !is_kept(&name, epoch, step)) {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(TrainError::io("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_called_as_a_kept_checkpoint_is_taken_for_one() {
        assert_eq!(kept_at(&kept_file(3, 1200)), Some((3, 1200)));
        for other in ["last.safetensors", "epoch-3.safetensors", "epoch-03-step-7.safetensors", "epoch-3-step-7.bak"] {
            assert_eq!(kept_at(other), None, "{other}");
        }
    }
}
