//! Steps of a run: gradients of batches, and the change of the weights.
//!
//! Not for epochs. All ranks make the same steps, on samples of their own.

use tch::no_grad;

use super::Run;
use super::context::{Event, Surroundings};
use super::speed::Made;
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

    /// One of the `steps` of an epoch by the gradients that there are, of so many samples; `values` are its loss and the parts of it.
    pub(super) fn step(&mut self, steps: u64, samples: usize, values: Vec<(String, f64)>) -> Result<(), TrainError> {
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
        let factor = train.schedule.factor(step, steps, steps * train.schedule_epochs.unwrap_or(train.epochs));
        self.made = Made { factor, grad_norm: self.apply(factor)? };
        self.progress.step += 1;
        self.progress.step_in_epoch += 1;
        self.progress.sum.add(&values);
        let pace = self.speed.stepped(samples);
        let (loss, step, lr) = (values[0].1, self.progress.step_in_epoch, train.optimizer.lr * factor);
        (surroundings.watch)(&Event::Stepped { step, steps, epoch, epochs: train.epochs, loss, lr, pace });
        Ok(())
    }

    /// Changes the weights by the gradients that there are, at `factor` times the learning rate; the norm of the gradients before
    /// they were clipped.
    pub(super) fn apply(&mut self, factor: f64) -> Result<f64, TrainError> {
        let train = &self.experiment.train;
        let scale = self.progress.scaler.factor(train.precision);
        if scale != 1.0 {
            native::scale(&self.optimizer.gradients(), 1.0 / scale)?;
        }
        let grad_norm = self.optimizer.clip_grad_norm(train.max_grad_norm)?;
        // Only half precision overflows without the loss being none: that step is left out, and the next has smaller numbers.
        if grad_norm.is_finite() || train.precision != Some(Precision::Fp16) {
            self.optimizer.step(factor)?;
        }
        self.progress.scaler.note(grad_norm.is_finite());
        self.optimizer.zero_grad()?;
        self.follow();
        Ok(grad_norm)
    }

    fn mean_over_ranks(&self, values: Vec<(String, f64)>) -> Result<Vec<(String, f64)>, TrainError> {
        let world = self.surroundings.world;
        let sums = world.all_reduce_sum(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>())?;
        Ok(values.into_iter().zip(sums).map(|((name, _), sum)| (name, sum / world.place().size as f64)).collect())
    }

    /// Moves the running means towards the weights.
    fn follow(&self) {
        let Some((decay, means)) = self.experiment.train.ema.zip(self.means.as_ref()) else { return };
        let weights = weights(&self.variables);
        no_grad(|| means.iter().for_each(|(name, mean)| drop(mean.shallow_clone().lerp_(&weights[name], 1.0 - decay))));
    }
}
