//! A batch norm with running statistics, folded into the convolution before it: `s * conv(x) + (bias - s * mean)` with
//! `s = weight / sqrt(var + eps)`.
//!
//! Not for writing weights. Invariant: what is folded is computed in double precision and rounded once.

use super::error::ExportError;
use crate::checkpoint::Checkpoint;

/// A batch norm, by the name of its tensors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchNorm {
    name: String,
    /// The epsilon's bits, which can be compared.
    eps: u64,
}

/// What it does to each channel.
pub struct Affine {
    /// The factor of a channel.
    scale: Vec<f64>,
    /// What is added to it.
    shift: Vec<f64>,
}

impl BatchNorm {
    /// The batch norm called `name`.
    pub fn new(name: &str, eps: f64) -> Self {
        Self { name: name.to_owned(), eps: eps.to_bits() }
    }

    /// The name of its tensors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does, by the statistics of `checkpoint`.
    ///
    /// # Errors
    /// If a tensor cannot be read, holds a number that is not finite, or a variance that is negative.
    pub fn read(&self, checkpoint: &Checkpoint) -> Result<Affine, ExportError> {
        let read = |part: &str| -> Result<Vec<f64>, ExportError> {
            let tensor = format!("{}.{part}", self.name);
            let values = checkpoint.read(&tensor)?.to_f32()?;
            match values.iter().position(|v| !v.is_finite() || part == "running_var" && *v < 0.0) {
                None => Ok(values.into_iter().map(f64::from).collect()),
                Some(position) if !values[position].is_finite() => {
                    Err(ExportError::NotFinite { tensor, position, value: values[position] })
                }
                Some(position) => Err(ExportError::NegativeVariance { tensor, position, value: values[position] }),
            }
        };
        let eps = f64::from_bits(self.eps);
        let scale = |(weight, var): (&f64, &f64)| weight / (var + eps).sqrt();
        let scale: Vec<f64> = read("weight")?.iter().zip(&read("running_var")?).map(scale).collect();
        let centre = read("running_mean")?.into_iter().zip(&scale).map(|(mean, scale)| mean * scale);
        let shift = read("bias")?.into_iter().zip(centre).map(|(bias, centre)| bias - centre).collect();
        Ok(Affine { scale, shift })
    }
}

impl Affine {
    /// The weights `[channels, ...]` of a convolution, multiplied.
    pub fn folded(&self, weights: &[f32]) -> Vec<f32> {
        let each = (weights.len() / self.scale.len().max(1)).max(1);
        let scaled = |(row, scale): (&[f32], &f64)| row.iter().map(|w| (f64::from(*w) * scale) as f32).collect();
        weights.chunks(each).zip(&self.scale).flat_map(|pair| -> Vec<f32> { scaled(pair) }).collect()
    }

    /// The bias `[channels]` that the convolution gets.
    pub fn bias(&self) -> Vec<f32> {
        self.shift.iter().map(|shift| *shift as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Init, ParamSpec};

    /// A filter of 40 taps for each of 6 channels behind a norm whose variances are about `var`.
    fn checkpoint(var: f32) -> Checkpoint {
        let spec = |name: &str, shape: &[usize], mean, std| ParamSpec {
            name: name.to_owned(),
            shape: shape.to_vec(),
            init: Init { mean, std },
        };
        let specs = vec![
            spec("conv.weight", &[6, 40], 0.0, 0.2),
            spec("norm.weight", &[6], 1.0, 0.3),
            spec("norm.bias", &[6], 0.0, 0.5),
            spec("norm.running_mean", &[6], 0.0, 0.7),
            spec("norm.running_var", &[6], var, var / 4.0),
        ];
        Checkpoint::seeded("norm", 5, specs)
    }

    /// The largest difference between both ways, over the largest value; the way without folding in double precision.
    fn distance(var: f32) -> f64 {
        let checkpoint = checkpoint(var);
        let read = |name: &str| checkpoint.read(name).unwrap().to_f32().unwrap();
        let filters = read("conv.weight");
        let affine = BatchNorm::new("norm", 1e-5).read(&checkpoint).unwrap();
        let (folded, bias) = (affine.folded(&filters), affine.bias());
        let input: Vec<f64> = (0..40).map(|i| f64::from((37 * i) % 101) / 50.0 - 1.0).collect();
        let dot = |row: &[f32]| row.iter().zip(&input).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        let [gain, shift, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(|part| {
            let values = read(&format!("norm.{part}"));
            values.into_iter().map(f64::from).collect::<Vec<f64>>()
        });
        let (mut off, mut peak) = (0.0_f64, 0.0_f64);
        for channel in 0..6 {
            let row = channel * 40..(channel + 1) * 40;
            let normal = (dot(&filters[row.clone()]) - mean[channel]) / (variance[channel] + 1e-5).sqrt();
            let expected = gain[channel] * normal + shift[channel];
            off = off.max((dot(&folded[row]) + f64::from(bias[channel]) - expected).abs());
            peak = peak.max(expected.abs());
        }
        off / peak
    }

    #[test]
    fn folding_keeps_a_millionth_whatever_the_variance() {
        for var in [1e-9, 1e-5, 0.01, 1.0, 1e4] {
            let off = distance(var);
            assert!(off <= 1e-6, "variance {var:e}: off by {off:e}");
        }
    }

    #[test]
    fn a_variance_below_zero_is_refused_by_its_name() {
        let error = BatchNorm::new("norm", 1e-5).read(&checkpoint(-1.0)).err().unwrap().to_string();
        assert!(error.starts_with("tensor norm.running_var holds -"), "{error}");
    }
}
