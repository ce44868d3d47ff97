//! Predictions of a learner over samples: the loop of validations and of submissions.
//!
//! Not for changing weights. Invariant: every sample that was asked for is predicted once, in the order asked for.

use std::collections::HashMap;

use tch::no_grad;

use crate::error::TrainError;
use crate::experiment::Train;
use crate::learner::Learner;
use crate::loader;
use crate::precision;
use crate::trainer::context::{Event, Surroundings};

/// Numbers of the samples of each batch.
pub(crate) fn batches(samples: &[usize], size: usize, drop_last: bool) -> Vec<Vec<usize>> {
    let whole = |batch: &&[usize]| !drop_last || batch.len() == size;
    samples.chunks(size).filter(whole).map(<[usize]>::to_vec).collect()
}

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
    let of_ranks = surroundings.world.all_gather_object(predictions)?;
    let mut by_sample: HashMap<usize, L::Prediction> = of_ranks.into_iter().flatten().collect();
    Ok(samples.iter().filter_map(|&sample| Some((sample, by_sample.remove(&sample)?))).collect())
}
