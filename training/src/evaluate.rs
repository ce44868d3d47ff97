//! Predictions of a model over samples: the loop of validations and of submissions.
//!
//! Not for changing weights. Invariant: every sample that was asked for is predicted once, in the order asked for.

use std::collections::HashMap;
use std::ops::ControlFlow;

use tch::no_grad;

use crate::error::TrainError;
use crate::experiment::Train;
use crate::learner::{Batch, Dataset, Model, Predictions, Task};
use crate::loader;
use crate::loss_sums::{LossSums, values};
use crate::precision;
use crate::trainer::context::{Event, Surroundings};

/// The samples of each batch.
pub(crate) fn batches<S: Clone>(samples: &[S], size: usize, drop_last: bool) -> Vec<Vec<S>> {
    let whole = |batch: &&[S]| !drop_last || batch.len() == size;
    samples.chunks(size).filter(whole).map(<[S]>::to_vec).collect()
}

/// Predictions for `samples`, in their order; the losses of this rank's batches are added to `losses`. Ranks take turns with the
/// batches, and all of them get all predictions.
///
/// # Errors
/// Features that cannot be read, another rank that has gone.
pub fn predict<M: Model>(
    model: &M,
    data: &Dataset<M>,
    samples: &[<M::Task as Task>::Sample],
    train: &Train,
    surroundings: &Surroundings,
    mut losses: Option<&mut LossSums>,
) -> Result<Predictions<M::Task>, TrainError> {
    let place = surroundings.world.place();
    let batches: Vec<_> = batches(samples, train.validation_batch.unwrap_or(train.batch), false)
        .into_iter()
        .skip(place.rank)
        .step_by(place.size)
        .collect();
    let mut predictions = Vec::with_capacity(samples.len());
    let total = batches.iter().map(Vec::len).sum::<usize>() as u64;
    let mut done = 0;
    let device = surroundings.device;
    let make = |number: usize| Ok(M::eval_batch(&data.task, &data.settings, &batches[number])?.pinned_for(device));
    loader::each(batches.len(), surroundings.threads, make, |number, batch, _| {
        let batch = batch.to_device(device);
        no_grad(|| {
            precision::within(train.precision, device, || {
                let predicted = model.predict(&batch, losses.is_some())?;
                if let Some((sums, losses)) = losses.as_mut().zip(predicted.losses) {
                    sums.add(&values(&losses));
                }
                predictions.extend(predicted.predictions);
                Ok(())
            })
        })?;
        done += batches[number].len() as u64;
        (surroundings.watch)(&Event::Predicted { done, total });
        Ok(ControlFlow::Continue(()))
    })?;
    let of_ranks = surroundings.world.all_gather_object(predictions)?;
    let mut by_sample: HashMap<_, _> = of_ranks.into_iter().flatten().collect();
    Ok(samples.iter().filter_map(|&sample| Some((sample, by_sample.remove(&sample)?))).collect())
}
