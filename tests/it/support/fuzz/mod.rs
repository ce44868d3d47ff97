//! Mutated files for every parser of foreign bytes: what `make fuzz` runs for as long as one likes, and the tests for a
//! moment.
//!
//! A target may say what it likes of a file, but not panic, crash, loop, or use more than a file of that length is worth.
//! Files that C code reads are read by another process, which the caller makes known by `egofx::foreign::isolate`.
//! Not for what a file means. Invariant: an input is known by target, seed and number.

#![allow(dead_code, reason = "the tests and the program use their own part of this")]

mod mutate;
pub mod script;
mod targets;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use mutate::{Rng, mutated};
pub use targets::TARGETS;

/// A parser, and files for it.
pub struct Target {
    pub name: &'static str,
    /// The name of the file that it reads, its extension above all.
    pub file: &'static str,
    /// Healthy files, and those that once did harm.
    pub seeds: fn(&Path) -> Vec<Vec<u8>>,
    pub read: fn(&Input),
}

/// A file to read, in a folder of its own.
pub struct Input<'i> {
    pub path: &'i Path,
    /// `tests/data` of the checkout.
    pub data: &'i Path,
    pub number: u64,
}

impl Target {
    /// The files of a target that is to be mutated, out of `tests/data`.
    pub fn seeds(&self, data: &Path) -> Vec<Vec<u8>> {
        let seeds = (self.seeds)(data);
        assert!(!seeds.is_empty() && seeds.iter().all(|seed| !seed.is_empty()), "{}: no seeds", self.name);
        seeds
    }

    /// Writes the input `number` of `seed` into `folder`; the first ones are the seeds as they are.
    pub fn write(&self, seeds: &[Vec<u8>], folder: &Path, seed: u64, number: u64) -> PathBuf {
        let name = self.name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let mut rng = Rng::new(name.wrapping_add(number.wrapping_mul(0x2545_f491_4f6c_dd1d)));
        let path = folder.join(self.file);
        let bytes = match seeds.get(number as usize) {
            Some(seed) => seed.clone(),
            None => mutated(&mut rng, seeds),
        };
        fs::write(&path, bytes).unwrap();
        path
    }
}
