//! The learning-rate range test: steps as in training, at rates that rise from one to the next.
//!
//! Not for what is made of the curve, nor for keeping weights: the run that is tested is spent. Source: Smith, "Cyclical Learning
//! Rates for Training Neural Networks", 2017, with the smoothing and the end of Lightning's `lr_find`.

use std::ops::ControlFlow;

use super::Run;
use super::context::Event;
use crate::error::TrainError;
use crate::learner::{Batch, Model};
use crate::loader;
use crate::loss_sums::add;

/// The rates that are tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LrRange {
    /// The first.
    pub min_lr: f64,
    /// The last.
    pub max_lr: f64,
    /// How many.
    pub num_training: u64,
}

/// A step of the test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LrPoint {
    /// The learning rate of the step.
    pub lr: f64,
    /// The loss before it.
    pub loss: f64,
    /// A running mean of the losses, without the bias of its beginning.
    pub smoothed_loss: f64,
}

/// How much of the running mean stays in each step.
const BETA: f64 = 0.98;
/// The test ends where the smoothed loss is as many times its least value.
const STOP: f64 = 4.0;

impl LrRange {
    /// The rate of a step, from 0.
    fn lr(&self, step: u64) -> f64 {
        let share = step as f64 / (self.num_training.max(2) - 1) as f64;
        self.min_lr * (self.max_lr / self.min_lr).powf(share)
    }
}

/// The points so far.
#[derive(Default)]
struct Curve {
    points: Vec<LrPoint>,
    mean: f64,
}

impl Curve {
    /// Adds a loss; whether the test goes on.
    fn add(&mut self, lr: f64, loss: f64) -> bool {
        if !loss.is_finite() {
            return false;
        }
        self.mean = BETA * self.mean + (1.0 - BETA) * loss;
        let smoothed_loss = self.mean / (1.0 - BETA.powi(self.points.len() as i32 + 1));
        self.points.push(LrPoint { lr, loss, smoothed_loss });
        let least = self.points.iter().map(|point| point.smoothed_loss).fold(f64::INFINITY, f64::min);
        self.points.len() < 2 || smoothed_loss <= STOP * least
    }
}

impl<M: Model> Run<'_, M> {
    /// Makes the steps, as many epochs as they take; fewer where the loss rises too far.
    ///
    /// # Errors
    /// Samples that cannot be read.
    pub fn lr_range(mut self, range: &LrRange) -> Result<Vec<LrPoint>, TrainError> {
        let mut curve = Curve::default();
        while self.progress.step < range.num_training && self.range_epoch(range, &mut curve)? {
            self.progress.epoch += 1;
        }
        Ok(curve.points)
    }

    /// The steps of one epoch; whether the test goes on.
    fn range_epoch(&mut self, range: &LrRange, curve: &mut Curve) -> Result<bool, TrainError> {
        let epoch = self.epoch_of(self.progress.epoch)?;
        let parts = epoch.parts();
        let steps = epoch.steps().min((range.num_training - self.progress.step) as usize);
        let device = self.surroundings.device;
        let make = |number: usize| Ok(epoch.part(number / parts, number % parts)?.pinned_for(device));
        let (mut values, mut goes_on) = (vec![], true);
        loader::each(steps * parts, self.surroundings.threads, make, |number, batch, waiting| {
            self.speed.waited(waiting);
            add(&mut values, &self.part(batch, number % parts, parts)?);
            if number % parts + 1 == parts {
                let loss = std::mem::take(&mut values).first().map_or(f64::NAN, |(_, loss)| *loss);
                goes_on = self.range_step(range, epoch.samples(number / parts), loss, curve)?;
            }
            Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(goes_on)
    }

    fn range_step(
        &mut self,
        range: &LrRange,
        samples: usize,
        loss: f64,
        curve: &mut Curve,
    ) -> Result<bool, TrainError> {
        let lr = range.lr(self.progress.step);
        let goes_on = curve.add(lr, loss);
        self.apply(lr / self.experiment.train.optimizer.lr)?;
        self.progress.step += 1;
        let (step, steps, pace) = (self.progress.step, range.num_training, self.speed.stepped(samples));
        (self.surroundings.watch)(&Event::Stepped { step, steps, epoch: 1, epochs: 1, loss, lr, pace });
        Ok(goes_on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_by_one_factor_and_a_loss_that_rises_too_far_ends_the_test() {
        let range = LrRange { min_lr: 1e-4, max_lr: 1.0, num_training: 5 };
        let rates: Vec<f64> = (0..5).map(|step| range.lr(step)).collect();
        for (rate, expected) in rates.iter().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            assert!((rate / expected - 1.0).abs() < 1e-9, "{rates:?}");
        }
        let mut curve = Curve::default();
        assert!(curve.add(1e-4, 2.0) && curve.add(1e-3, 1.0));
        // Without the bias, the mean of both with nearly equal shares.
        assert!((curve.points[1].smoothed_loss - (0.98 * 2.0 + 1.0) / 1.98).abs() < 1e-9);
        assert!(curve.add(1e-2, 1.0) && !curve.add(1e-1, 100.0));
        assert!(!curve.add(1.0, f64::NAN));
        assert_eq!(curve.points.len(), 4);
    }
}
