//! What batches come to: a head's predictions, and the means of its losses.
//!
//! Not for changing weights. Invariant: every sample that was asked for is predicted once, in the order asked for.

use std::time::Duration;

use tch::{Device, Tensor, no_grad};

use crate::error::TrainError;
use crate::fit::Surroundings;
use crate::heads::{Head, Losses};
use crate::loader;

/// Numbers of the samples of each batch.
pub(crate) fn batches(samples: &[usize], size: usize, drop_last: bool) -> Vec<Vec<usize>> {
    let whole = |batch: &&[usize]| !drop_last || batch.len() == size;
    samples.chunks(size).filter(whole).map(<[usize]>::to_vec).collect()
}

/// The name of the loss among the scores.
pub const LOSS: &str = "loss";

/// Predictions for `samples`, in their order; `see` is shown each output.
///
/// # Errors
/// Features that cannot be read.
pub fn predict<H: Head>(
    head: &H,
    data: &H::Data,
    samples: &[usize],
    size: usize,
    surroundings: &Surroundings,
    mut see: impl FnMut(&H, &H::Output, &H::Batch),
) -> Result<Vec<(usize, H::Prediction)>, TrainError> {
    let batches = batches(samples, size, false);
    let mut predictions = Vec::with_capacity(samples.len());
    let make = |number: usize| H::batch(data, &batches[number], None);
    loader::each(batches.len(), surroundings.threads, make, |_, batch| {
        let batch = H::to_device(batch, surroundings.device);
        no_grad(|| {
            let output = head.forward(&batch, false)?;
            see(head, &output, &batch);
            predictions.extend(head.predictions(&output, &batch));
            Ok(())
        })
    })?;
    Ok(predictions)
}

/// Total and parts of a loss as numbers, the total first.
pub(crate) fn values(losses: &Losses) -> Vec<(String, f64)> {
    let parts = losses.parts.iter().map(|(name, part)| ((*name).to_owned(), part));
    // One transfer from the device for all of them.
    let (names, tensors): (Vec<String>, Vec<&Tensor>) =
        [(LOSS.to_owned(), &losses.total)].into_iter().chain(parts).unzip();
    let flat: Vec<Tensor> = tensors.iter().map(|tensor| tensor.detach().to_kind(tch::Kind::Double)).collect();
    let numbers = Vec::<f64>::try_from(Tensor::stack(&flat, 0).to_device(Device::Cpu)).unwrap_or_default();
    names.into_iter().zip(numbers).collect()
}

/// Sums of losses over steps.
#[derive(Default)]
pub(crate) struct Sum {
    pub(crate) total: f64,
    since_last: Vec<(String, f64)>,
    steps_since_last: usize,
    pub(crate) validating: Duration,
}

impl Sum {
    pub(crate) fn add(&mut self, values: &[(String, f64)]) {
        self.total += values.first().map_or(0.0, |(_, loss)| *loss);
        if self.since_last.is_empty() {
            self.since_last = values.to_vec();
        } else {
            self.since_last.iter_mut().zip(values).for_each(|((_, sum), (_, value))| *sum += value);
        }
        self.steps_since_last += 1;
    }

    /// Means since this was last asked.
    pub(crate) fn means_since_last(&mut self) -> Vec<(String, f64)> {
        let steps = std::mem::take(&mut self.steps_since_last) as f64;
        std::mem::take(&mut self.since_last).into_iter().map(|(name, sum)| (name, sum / steps)).collect()
    }
}
