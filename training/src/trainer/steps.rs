//! Steps of a run: gradients of batches, the change of the weights, and what is kept between them.
//!
//! Not for epochs. All ranks make the same steps, on samples of their own.

use egofx::stop::Cause;
use tch::no_grad;

use super::context::{Event, Surroundings};
use super::{LAST_FILE, Run};
use crate::error::TrainError;
use crate::learner::{Batch, Context, Model, weights};
use crate::loss_sums::values;
use crate::native;
use crate::precision::{self, Precision};
use crate::rng::{self, Purpose};

impl<M: Model> Run<'_, M> {
    /// The gradients of one of `parts` parts of a step, added to those of the parts before; its losses.
    pub(super) fn part(
        &mut self,
        batch: M::TrainBatch,
        part: usize,
        parts: usize,
    ) -> Result<Vec<(String, f64)>, TrainError> {
        let Surroundings { device, world, .. } = *self.surroundings;
        let precision = self.experiment.train.precision;
        let step = self.progress.step * parts as u64 + part as u64;
        rng::seed_torch(self.seed, Purpose::Step { number: step, rank: world.place().rank as u64 });
        let seed = rng::seed(self.seed, Purpose::Loss { number: step });
        let batch = batch.to_device(device);
        let step = || self.model.training_step(&batch, &Context { world, seed });
        let losses = precision::within(precision, device, step)?;
        if part + 1 == parts {
            self.gradients.begin()?;
        }
        let share = 1.0 / parts as f64;
        (&losses.total * (share * self.progress.scaler.factor(precision))).f_backward()?;
        let values = values(&losses);
        Ok(values.into_iter().map(|(name, value)| (name, value * share)).collect())
    }

    /// One step by the gradients that there are; `values` are its loss and the parts of it.
    pub(super) fn step(&mut self, steps: u64, values: Vec<(String, f64)>) -> Result<(), TrainError> {
        let (surroundings, train) = (self.surroundings, &self.experiment.train);
        let (epoch, step) = (self.progress.epoch + 1, self.progress.step);
        self.gradients.average()?;
        let values = self.mean_over_ranks(values)?;
        if !values[0].1.is_finite() {
            let parts =
                values[1..].iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ");
            let step = self.progress.step_in_epoch + 1;
            return Err(TrainError::Diverged { loss: values[0].1, epoch, step, parts });
        }
        let factor = self.progress.scaler.factor(train.precision);
        if factor != 1.0 {
            native::scale(&self.optimizer.gradients(), 1.0 / factor)?;
        }
        let finite = self.optimizer.clip_grad_norm(train.max_grad_norm)?.is_finite();
        // Only half precision overflows without the loss being none: that step is left out, and the next has smaller numbers.
        if finite || train.precision != Some(Precision::Fp16) {
            self.optimizer.step(train.schedule.factor(step, steps, steps * train.epochs))?;
        }
        self.progress.scaler.note(finite);
        self.optimizer.zero_grad()?;
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
        let sums = world.all_reduce_sum(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>())?;
        Ok(values.into_iter().zip(sums).map(|((name, _), sum)| (name, sum / world.place().size as f64)).collect())
    }

    /// Saves the run within an epoch where it is time to, or where it was interrupted: on any rank, for a signal reaches
    /// them at different steps.
    pub(super) fn keep(&mut self, steps: u64) -> Result<(), TrainError> {
        let stopped = self.stopped()?;
        let every = self.experiment.train.checkpoint_steps;
        let is_time = every.is_some_and(|every| self.progress.step.is_multiple_of(every));
        // The end of an epoch is saved as such.
        let ends = self.progress.step_in_epoch == steps;
        if (is_time && !ends) || stopped.is_some() {
            self.save(LAST_FILE)?;
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

    /// Moves the running means towards the weights.
    fn follow(&self) {
        let Some((decay, means)) = self.experiment.train.ema.zip(self.means.as_ref()) else { return };
        let weights = weights(&self.variables);
        no_grad(|| means.iter().for_each(|(name, mean)| drop(mean.shallow_clone().lerp_(&weights[name], 1.0 - decay))));
    }
}
