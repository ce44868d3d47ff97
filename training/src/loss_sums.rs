//! Losses of a step, and their sums over steps and ranks.
//!
//! Not for what is minimised: see `losses`. Values are doubles on the host, tensors are scalars on the device.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::distributed::World;
use crate::error::TrainError;
use crate::scores::LOSS;
use crate::tensors::doubles;

/// A loss and its parts, scalars on the device of the network.
#[derive(Debug)]
pub struct Losses {
    /// What is differentiated.
    pub total: Tensor,
    /// What it is made of, before weighting.
    pub parts: Vec<(&'static str, Tensor)>,
}

/// Total and parts of a loss as numbers, the total first.
pub(crate) fn values(losses: &Losses) -> Vec<(String, f64)> {
    let parts = losses.parts.iter().map(|(name, part)| ((*name).to_owned(), part));
    // One transfer from the device for all of them.
    let (names, tensors): (Vec<String>, Vec<&Tensor>) =
        [(LOSS.to_owned(), &losses.total)].into_iter().chain(parts).unzip();
    let flat: Vec<Tensor> = tensors.iter().map(|tensor| tensor.detach().to_kind(tch::Kind::Double)).collect();
    let numbers = doubles(&Tensor::stack(&flat, 0));
    names.into_iter().zip(numbers).collect()
}

/// Sums of losses over steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LossSums {
    total: f64,
    steps: u64,
    since_last: Vec<(String, f64)>,
    steps_since_last: u64,
}

impl LossSums {
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
        for part in world.all_gather_object(vec![self])?.into_iter().flatten() {
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
