//! Random weights that are the same on every machine: for tests, benchmarks and graphs whose weights do not matter.
//!
//! Not for training: a uniform distribution is nobody's initialisation. Invariant: the values of a tensor depend on the
//! seed, its name and its parameter alone, and use only operations that IEEE 754 rounds in one way.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::Tensor;
use crate::digest;

const SQRT_3: f32 = 1.732_050_8;

/// A tensor that a model has, f32, and how it is drawn where there is no checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// Its name in the state dict.
    pub name: String,
    /// Its dims, outermost first.
    pub shape: Vec<usize>,
    /// The distribution of its values.
    pub init: Init,
}

/// A uniform distribution within `mean ± sqrt(3) * std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Init {
    /// Mean of the values.
    pub mean: f32,
    /// Standard deviation of the values.
    pub std: f32,
}

impl ParamSpec {
    /// Whether it is a running statistic of a batch norm: it is computed with, and not learnt by gradients.
    pub fn is_buffer(&self) -> bool {
        is_running_statistic(&self.name)
    }

    /// Number of values; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Whether a tensor of this name is a running statistic of a batch norm: torch's layers call them so.
pub fn is_running_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}

/// The values of the parameter `spec` under `seed`.
pub(super) fn tensor(spec: &ParamSpec, seed: u64) -> Tensor {
    let key = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(&spec.name).finalize();
    let mut generator = Xoshiro256PlusPlus::from_seed(key.into());
    let (elements, Init { mean, std }) = (spec.elements(), spec.init);
    let reach = SQRT_3 * std;
    let mut values = Vec::with_capacity(elements + 1);
    while values.len() < elements {
        let bits = generator.next_u64();
        values.extend([bits as u32, (bits >> 32) as u32].map(|half| mean + reach * unit(half)));
    }
    values.truncate(elements);
    Tensor::from_f32(spec.shape.clone(), &values)
}

/// `[-1, 1)` in steps of 2^-23, each of which an f32 holds exactly.
fn unit(bits: u32) -> f32 {
    (bits as i32 >> 8) as f32 / (1 << 23) as f32
}

/// Identity of a set of random weights.
pub(super) fn identity<'a>(label: &str, seed: u64, parameters: impl Iterator<Item = &'a ParamSpec>) -> String {
    let line = |p: &ParamSpec| {
        let Init { mean, std } = p.init;
        format!("{:?} {:?} {:08x} {:08x}\n", p.name, p.shape, mean.to_bits(), std.to_bits())
    };
    let lines: String = parameters.map(line).collect();
    digest::text(&format!("seeded {label:?} {seed}\n{lines}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, elements: usize) -> ParamSpec {
        ParamSpec { name: name.to_owned(), shape: vec![elements], init: Init { mean: 0.5, std: 0.02 } }
    }

    /// The expected bits were computed by xoshiro256++ written anew in Python.
    #[test]
    fn values_are_promised_bit_for_bit() {
        let values = tensor(&parameter("blocks.0.attn.qkv.weight", 5), 7).to_f32().unwrap();
        let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        let expected = [0x3eef_36d7, 0x3f06_5f6b, 0x3ef1_e5af, 0x3f08_c189, 0x3f04_e80c];
        assert_eq!(bits, expected, "{values:?}");
    }

    #[test]
    fn values_have_the_mean_and_the_deviation_that_were_asked_for() {
        let values = tensor(&parameter("x", 100_001), 1).to_f32().unwrap();
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        assert!((mean - 0.5).abs() < 5e-4 && (variance.sqrt() - 0.02).abs() < 5e-4, "{mean} {}", variance.sqrt());
    }

    #[test]
    fn seed_and_name_decide_and_length_does_not() {
        let long = tensor(&parameter("x", 9), 1).bytes;
        assert_eq!(tensor(&parameter("x", 4), 1).bytes, long[..16]);
        assert_ne!(tensor(&parameter("x", 9), 2).bytes, long);
        assert_ne!(tensor(&parameter("y", 9), 1).bytes, long);
    }
}
