//! The batches of an epoch, and the parts in which a rank computes them.
//!
//! Not for learning from them. Invariant: what is in a batch depends on the seed, the epoch and its number alone.

use crate::distributed::Place;
use crate::error::TrainError;
use crate::evaluate::batches;
use crate::experiment::Train;
use crate::learner::{Dataset, Model};
use crate::rng::{self, Generator, Purpose};

/// An epoch.
pub(super) struct Epoch<'r, M: Model> {
    data: &'r Dataset<M>,
    order: Vec<usize>,
    batches: Vec<Vec<usize>>,
    parts: usize,
    place: Place,
    seed: u64,
    epoch: u64,
}

impl<'r, M: Model> Epoch<'r, M> {
    /// Number `epoch`, from 0, over `samples`.
    pub fn new(
        data: &'r Dataset<M>,
        samples: &[usize],
        train: &Train,
        place: Place,
        (seed, epoch): (u64, u64),
    ) -> Self {
        let mut order = samples.to_vec();
        rng::shuffle(&mut order, &mut rng::generator(seed, Purpose::Order { epoch }));
        let batches = batches(&order, train.batch, train.drop_last);
        Self { data, order, batches, parts: train.grad_accum_steps.unwrap_or(1), place, seed, epoch }
    }

    /// How many steps it has.
    pub fn steps(&self) -> usize {
        self.batches.len()
    }

    /// Into how many parts a rank divides its samples of a step.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Samples of a step, those of all ranks.
    pub fn samples(&self, step: usize) -> usize {
        self.batches[step].len()
    }

    /// A part of this rank's samples of a step, read.
    pub fn part(&self, step: usize, part: usize) -> Result<M::TrainBatch, TrainError> {
        let share = self.place.share(&self.batches[step], &self.order);
        let each = share.len().div_ceil(self.parts);
        let samples = share.chunks(each).nth(part).unwrap_or(&share);
        let purpose = Purpose::Batch { epoch: self.epoch, number: step as u64 };
        let mut draw: Generator = rng::generator(self.seed, purpose);
        M::train_batch(&self.data.task, &self.data.settings, samples, &mut draw)
    }
}
