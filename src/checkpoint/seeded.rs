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

/// A tensor of random f32, uniform within `mean ± sqrt(3) * std`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name of the tensor.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Centre of its values.
    pub mean: f32,
    /// Standard deviation of its values.
    pub std: f32,
}

/// The values of `parameter` under `seed`.
pub(super) fn tensor(parameter: &Parameter, seed: u64) -> Tensor {
    let key = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(&parameter.name).finalize();
    let mut generator = Xoshiro256PlusPlus::from_seed(key.into());
    let elements: usize = parameter.shape.iter().product();
    let reach = SQRT_3 * parameter.std;
    let mut values = Vec::with_capacity(elements + 1);
    while values.len() < elements {
        let bits = generator.next_u64();
        values.extend([bits as u32, (bits >> 32) as u32].map(|half| parameter.mean + reach * unit(half)));
    }
    values.truncate(elements);
    Tensor::from_f32(parameter.shape.clone(), &values)
}

/// `[-1, 1)` in steps of 2^-23, each of which an f32 holds exactly.
fn unit(bits: u32) -> f32 {
    (bits as i32 >> 8) as f32 / (1 << 23) as f32
}

/// Identity of a set of random weights.
pub(super) fn identity<'a>(label: &str, seed: u64, parameters: impl Iterator<Item = &'a Parameter>) -> String {
    let line = |p: &Parameter| format!("{:?} {:?} {:08x} {:08x}\n", p.name, p.shape, p.mean.to_bits(), p.std.to_bits());
    let lines: String = parameters.map(line).collect();
    digest::text(&format!("seeded {label:?} {seed}\n{lines}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, elements: usize) -> Parameter {
        Parameter { name: name.to_owned(), shape: vec![elements], mean: 0.5, std: 0.02 }
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
