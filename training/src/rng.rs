//! Seeds for everything that is drawn, each from the run's seed and from what it is for.
//!
//! Nothing is drawn from a generator that lives longer than a step: a run that goes on from a checkpoint draws what it
//! would have drawn anyway, and has no generator's state to save.

use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// The generator of everything that is drawn outside of libtorch; one for each [`Purpose`].
pub type Generator = Xoshiro256PlusPlus;

/// What a draw is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The first weights.
    Weights,
    /// The order of the samples in an epoch.
    Order {
        /// From 0.
        epoch: u64,
    },
    /// A batch's crops and the like.
    Batch {
        /// From 0.
        epoch: u64,
        /// Its number in the epoch, from 0.
        number: u64,
    },
    /// Dropout in a step.
    Step {
        /// From 0, over all epochs.
        number: u64,
        /// The rank, from 0: each has other samples.
        rank: u64,
    },
    /// A sample of a batch: whoever makes it, on whichever rank.
    Sample {
        /// Its number.
        number: u64,
    },
    /// What a loss draws in a step, for all ranks alike.
    Loss {
        /// From 0, over all epochs.
        number: u64,
    },
}

/// The seed for a purpose.
pub fn seed(run: u64, purpose: Purpose) -> u64 {
    let parts = match purpose {
        Purpose::Weights => [0, 0, 0],
        Purpose::Order { epoch } => [1, epoch, 0],
        Purpose::Batch { epoch, number } => [2, epoch, number],
        Purpose::Step { number, rank } => [3, number, rank],
        Purpose::Loss { number } => [4, number, 0],
        Purpose::Sample { number } => [5, number, 0],
    };
    let mixed = |seed| SplitMix64::seed_from_u64(seed).next_u64();
    // Mixed before anything is added, since runs and parts are both small numbers.
    parts.iter().fold(mixed(run), |seed, part| mixed(seed ^ part))
}

/// A generator for a purpose.
pub fn generator(run: u64, purpose: Purpose) -> Generator {
    Generator::seed_from_u64(seed(run, purpose))
}

/// Seeds libtorch for a purpose, on all devices.
pub fn seed_torch(run: u64, purpose: Purpose) {
    tch::manual_seed(seed(run, purpose) as i64);
}

/// Puts `items` in a random order (Fisher and Yates).
pub fn shuffle<T>(items: &mut [T], draw: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(draw, last + 1));
    }
}

/// A number from 0 to `end - 1`; `end` is at least 1. Its bias is `end` in 2^64.
pub fn below(draw: &mut impl Rng, end: usize) -> usize {
    ((u128::from(draw.next_u64()) * end as u128) >> 64) as usize
}

/// A number of a range; its start if the range is empty.
pub fn within(draw: &mut impl Rng, range: std::ops::Range<i64>) -> i64 {
    range.start + below(draw, range.end.abs_diff(range.start).max(1) as usize) as i64
}

/// A number from 0 to 1, 1 excluded.
pub fn unit(draw: &mut impl Rng) -> f64 {
    (draw.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_purpose_has_a_seed_of_its_own() {
        let epochs = (0..20).flat_map(|epoch| {
            let batches = (0..20).map(move |number| Purpose::Batch { epoch, number });
            batches.chain([
                Purpose::Order { epoch },
                Purpose::Step { number: epoch, rank: 0 },
                Purpose::Loss { number: epoch },
            ])
        });
        let purposes: Vec<Purpose> = epochs.chain([Purpose::Weights]).collect();
        let seeds: BTreeSet<u64> = [1, 2].iter().flat_map(|&run| purposes.iter().map(move |&p| seed(run, p))).collect();
        assert_eq!(seeds.len(), 2 * purposes.len());
    }

    #[test]
    fn a_shuffle_loses_nothing_and_draws_are_spread_evenly() {
        let mut draw = generator(1, Purpose::Weights);
        let mut items: Vec<usize> = (0..100).collect();
        shuffle(&mut items, &mut draw);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        let mut counts = [0; 5];
        (0..5000).for_each(|_| counts[below(&mut draw, 5)] += 1);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        let mean = (0..5000).map(|_| unit(&mut draw)).sum::<f64>() / 5000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
    }
}
