//! What batches come to: a learner's predictions, and the means of its losses.
//!
//! Not for changing weights. Invariant: every sample that was asked for is predicted once, in the order asked for.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, no_grad};

use crate::error::TrainError;
use crate::experiment::Train;
use crate::fit::{Event, Surroundings};
use crate::learner::{Learner, Losses};
use crate::loader;
use crate::precision;
use crate::ranks::World;

/// Numbers of the samples of each batch.
pub(crate) fn batches(samples: &[usize], size: usize, drop_last: bool) -> Vec<Vec<usize>> {
    let whole = |batch: &&[usize]| !drop_last || batch.len() == size;
    samples.chunks(size).filter(whole).map(<[usize]>::to_vec).collect()
}

/// The name of the loss among the scores.
pub const LOSS: &str = "loss";

/// Whether the lower of two scores of that name is the better: losses, and PNR's error in seconds.
pub fn falls(name: &str) -> bool {
    name.contains(LOSS) || name == KEYFRAME_DISTANCE
}

/// The name of PNR's error, as `egofx eval` has it.
pub const KEYFRAME_DISTANCE: &str = "keyframe distance";

/// Predictions for `samples`, in their order; `see` is shown each output. Ranks take turns with the batches, and all of them
/// get all predictions.
///
/// # Errors
/// Features that cannot be read, another rank that has gone.
pub fn predict<L: Learner>(
    learner: &L,
    data: &L::Data,
    samples: &[usize],
    train: &Train,
    surroundings: &Surroundings,
    mut see: impl FnMut(&L, &L::Output, &L::Batch) -> Result<(), TrainError>,
) -> Result<Vec<(usize, L::Prediction)>, TrainError> {
    let place = surroundings.world.place();
    let batches: Vec<_> = batches(samples, train.validation_batch.unwrap_or(train.batch), false)
        .into_iter()
        .skip(place.rank)
        .step_by(place.size)
        .collect();
    let mut predictions = Vec::with_capacity(samples.len());
    let total = batches.iter().map(Vec::len).sum::<usize>() as u64;
    let mut done = 0;
    let make = |number: usize| L::batch(data, &batches[number], None);
    loader::each(batches.len(), surroundings.threads, make, |number, batch| {
        let batch = L::to_device(batch, surroundings.device);
        no_grad(|| {
            precision::within(train.precision, surroundings.device, || {
                let output = learner.forward(&batch, false)?;
                see(learner, &output, &batch)?;
                predictions.extend(learner.predictions(&output, &batch));
                Ok(())
            })
        })?;
        done += batches[number].len() as u64;
        (surroundings.watch)(&Event::Predicted { done, total });
        Ok(())
    })?;
    let of_ranks = surroundings.world.collect(predictions)?;
    let mut by_sample: HashMap<usize, L::Prediction> = of_ranks.into_iter().flatten().collect();
    Ok(samples.iter().filter_map(|&sample| Some((sample, by_sample.remove(&sample)?))).collect())
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    total: f64,
    steps: u64,
    since_last: Vec<(String, f64)>,
    steps_since_last: u64,
}

impl Sum {
    /// Adds the losses of a step.
    pub(crate) fn add(&mut self, values: &[(String, f64)]) {
        self.total += values.first().map_or(0.0, |(_, loss)| *loss);
        self.steps += 1;
        add(&mut self.since_last, values);
        self.steps_since_last += 1;
    }

    /// The mean loss.
    pub(crate) fn mean(&self) -> f64 {
        self.total / self.steps as f64
    }

    /// Means since this was last asked.
    pub(crate) fn means_since_last(&mut self) -> Vec<(String, f64)> {
        let steps = std::mem::take(&mut self.steps_since_last) as f64;
        std::mem::take(&mut self.since_last).into_iter().map(|(name, sum)| (name, sum / steps)).collect()
    }

    /// The sum over all ranks, each of which may have seen other batches or none.
    pub(crate) fn of_all(self, world: &World) -> Result<Self, TrainError> {
        let mut all = Self::default();
        for part in world.collect(vec![self])?.into_iter().flatten() {
            all.total += part.total;
            all.steps += part.steps;
            add(&mut all.since_last, &part.since_last);
            all.steps_since_last += part.steps_since_last;
        }
        Ok(all)
    }
}

/// Adds values of the same names.
pub(crate) fn add(sums: &mut Vec<(String, f64)>, values: &[(String, f64)]) {
    if sums.is_empty() {
        *sums = values.to_vec();
    } else {
        sums.iter_mut().zip(values).for_each(|((_, sum), (_, value))| *sum += value);
    }
}
