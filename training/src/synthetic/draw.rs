//! Seeded draws: normal numbers, windows, permutations.
//!
//! Not for cryptography. Invariant: what one stream gives does not depend on how much was taken from another.

use std::f64::consts::TAU;
use std::ops::Range;

use ndarray::{Array1, Array2};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// One stream of draws.
pub(super) struct Draws(Xoshiro256PlusPlus);

impl Draws {
    /// Stream number `stream` of a seed.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        // An odd factor keeps streams of one seed apart; the generator's own start spreads the bits.
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`; the bias of the product is below `n / 2^53`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// Standard normal, by Box and Muller (1958).
    pub(super) fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        (radius * (TAU * self.uniform()).cos()) as f32
    }

    /// A standard normal vector.
    pub(super) fn vector(&mut self, dim: usize) -> Array1<f32> {
        (0..dim).map(|_| self.normal()).collect()
    }

    /// A standard normal matrix.
    pub(super) fn matrix(&mut self, rows: usize, columns: usize) -> Array2<f32> {
        Array2::from_shape_simple_fn((rows, columns), || self.normal())
    }

    /// A linear map that makes standard normal numbers of such.
    pub(super) fn map(&mut self, to: usize, from: usize) -> Array2<f32> {
        self.matrix(to, from) / (from as f32).sqrt()
    }

    /// Windows of `rows` rows, one in each of `count` equal parts, half a part long or less: they never meet.
    pub(super) fn windows(&mut self, rows: usize, count: usize) -> Vec<Range<usize>> {
        let part = rows / count;
        let window = |number: usize| {
            let length = part / 4 + self.below(part / 4 + 1);
            let start = number * part + self.below(part - length + 1);
            start..start + length
        };
        let mut windows: Vec<Range<usize>> = (0..count).map(window).collect();
        self.shuffle(&mut windows);
        windows
    }

    /// A random order, by Fisher and Yates.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }

    /// Whose label each of `n` gets: its own, or where they are shuffled that of another, in one random cycle.
    pub(super) fn owners(&mut self, n: usize, shuffled: bool) -> Vec<usize> {
        let mut owners: Vec<usize> = (0..n).collect();
        if shuffled {
            let mut order = owners.clone();
            self.shuffle(&mut order);
            (0..n).for_each(|at| owners[order[at]] = order[(at + 1) % n]);
        }
        owners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_standard_normal() {
        let values = Draws::new(1, 0).vector(20_000);
        let mean = values.mean().unwrap();
        let variance = values.mapv(|value| (value - mean).powi(2)).mean().unwrap();
        // Four standard errors.
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
        assert_eq!(Draws::new(1, 0).vector(9), Draws::new(1, 0).vector(9));
        assert_ne!(Draws::new(1, 0).vector(9), Draws::new(1, 1).vector(9));
        assert_ne!(Draws::new(1, 0).vector(9), Draws::new(2, 0).vector(9));
    }

    #[test]
    fn windows_never_meet_and_hold_something() {
        let mut draws = Draws::new(3, 0);
        for count in 1..20 {
            let mut windows = draws.windows(80, count);
            windows.sort_by_key(|window| window.start);
            assert_eq!(windows.len(), count);
            assert!(windows.iter().all(|window| !window.is_empty() && window.end <= 80), "{windows:?}");
            assert!(windows.windows(2).all(|pair| pair[0].end <= pair[1].start), "{windows:?}");
        }
    }

    #[test]
    fn shuffled_nobody_keeps_a_label_and_none_is_lost() {
        let mut draws = Draws::new(4, 0);
        assert_eq!(draws.owners(5, false), [0, 1, 2, 3, 4]);
        for n in 2..30 {
            let mut owners = draws.owners(n, true);
            assert!(owners.iter().enumerate().all(|(at, &owner)| at != owner));
            owners.sort_unstable();
            assert_eq!(owners, (0..n).collect::<Vec<_>>());
        }
    }
}
