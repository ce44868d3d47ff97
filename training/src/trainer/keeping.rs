//! Checkpoints of a run: the last, the best, and those that are kept beside these.
//!
//! Not for their content, see `checkpoint`. Rank 0 writes; the others wait, so that none goes on from a checkpoint that is not
//! there yet. Invariants: what is removed was kept by this run and is not among the best any more; it is removed after
//! `last.safetensors` was written, never before, so that a run that goes on makes it again.

use std::io::ErrorKind;
use std::path::Path;

use egofx::stop::Cause;
use tch::Tensor;

use super::context::Surroundings;
use super::{BEST_FILE, LAST_FILE, Run};
use crate::checkpoint::{self, Best, Kept, Progress};
use crate::error::TrainError;
use crate::learner::Model;
use crate::scores::lower_is_better;

/// The name of a checkpoint that is kept: made in an epoch, from 1, after so many steps of the run.
fn kept_file(epoch: u64, step: u64) -> String {
    format!("epoch-{epoch}-step-{step}.safetensors")
}

impl<M: Model> Run<'_, M> {
    fn save(&self, file: &str) -> Result<(), TrainError> {
        let buffers: Vec<Tensor> = self.model.buffers().into_values().collect();
        self.surroundings.world.broadcast(&buffers)?;
        let save = || checkpoint::save(&self.folder.join(file), &self.state(), self.experiment, &self.progress);
        self.surroundings.world.on_rank0(save)
    }

    /// Writes the last checkpoint, and removes those that this process kept and that are not among the best any more.
    fn save_last(&mut self) -> Result<(), TrainError> {
        self.save(LAST_FILE)?;
        let dropped = std::mem::take(&mut self.dropped);
        self.surroundings.world.on_rank0(|| dropped.iter().try_for_each(|file| remove(&self.folder.join(file))))
    }

    /// Keeps the end of an epoch.
    pub(super) fn save_epoch(&mut self) -> Result<(), TrainError> {
        let Progress { epoch, step, .. } = self.progress;
        if self.experiment.train.save_every_n_epochs.is_some_and(|every| epoch.is_multiple_of(every)) {
            let file = kept_file(epoch, step);
            self.dropped.retain(|dropped| *dropped != file);
            self.progress.epoch_ends.push(file.clone());
            self.save(&file)?;
        }
        self.save_last()
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
            let most = top.len().min(most as usize);
            let dropped = top.split_off(most).into_iter().map(|dropped| dropped.file);
            let epoch_ends = &self.progress.epoch_ends;
            self.dropped.extend(dropped.filter(|file| *file != kept.file && !epoch_ends.contains(file)));
            place < most
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
            self.save_last()?;
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

/// Removes a checkpoint; one that somebody else has removed is none.
fn remove(path: &Path) -> Result<(), TrainError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(TrainError::io("remove", path)(error)),
        _ => Ok(()),
    }
}
