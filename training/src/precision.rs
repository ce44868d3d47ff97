//! Computing in half precision where that is safe: autocast, and the scaling that keeps small gradients from vanishing.
//!
//! Not for weights, which stay in single precision. Source of the scaling: Micikevicius et al., "Mixed Precision Training",
//! 2018, with the constants of torch's `GradScaler`.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::error::TrainError;
use crate::native;

/// A type of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16: the range of single precision, for which nothing is scaled.
    Bf16,
    /// IEEE half precision: gradients are scaled, and a step is left out where they overflow.
    Fp16,
}

impl Precision {
    fn kind(self) -> Kind {
        match self {
            Self::Bf16 => Kind::BFloat16,
            Self::Fp16 => Kind::Half,
        }
    }
}

/// Runs `compute` on `device` in `precision`.
///
/// # Errors
/// What `compute` says.
pub fn within<T>(
    precision: Option<Precision>,
    device: Device,
    compute: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    let Some(precision) = precision else { return compute() };
    native::autocast(device, Some(precision.kind()))?;
    let computed = compute();
    native::autocast(device, None)?;
    computed
}

/// The factor of the loss, and how it has done.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    scale: f64,
    steps_since_change: u32,
    /// Steps that were left out so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    skipped_steps: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Default for Scaler {
    fn default() -> Self {
        Self { scale: 65536.0, steps_since_change: 0, skipped_steps: 0 }
    }
}

/// Steps without an overflow after which the factor doubles.
const STEPS_TO_GROW: u32 = 2000;

impl Scaler {
    /// What the loss is multiplied with and the gradients are divided by.
    pub fn factor(&self, precision: Option<Precision>) -> f64 {
        if precision == Some(Precision::Fp16) { self.scale } else { 1.0 }
    }

    /// Steps that were left out so far, in half precision, which is the only one that leaves any out.
    pub fn skipped_steps(&self, precision: Option<Precision>) -> Option<u64> {
        (precision == Some(Precision::Fp16)).then_some(self.skipped_steps)
    }

    /// Notes whether the gradients of a step were all finite.
    pub fn note(&mut self, finite: bool) {
        if !finite {
            *self = Self { scale: self.scale / 2.0, steps_since_change: 0, skipped_steps: self.skipped_steps + 1 };
        } else if self.steps_since_change + 1 == STEPS_TO_GROW {
            *self = Self { scale: self.scale * 2.0, steps_since_change: 0, ..*self };
        } else {
            self.steps_since_change += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn operators_that_gain_compute_in_the_type_asked_for_and_the_others_do_not() {
        let x = Tensor::ones([4, 4], (Kind::Float, Device::Cpu));
        for (precision, kind) in [(Some(Precision::Bf16), Kind::BFloat16), (Some(Precision::Fp16), Kind::Half)] {
            let product = within(precision, Device::Cpu, || Ok(x.matmul(&x))).unwrap();
            assert_eq!(product.kind(), kind);
        }
        assert_eq!(within(None, Device::Cpu, || Ok(x.matmul(&x))).unwrap().kind(), Kind::Float);
        let failed =
            within(Some(Precision::Bf16), Device::Cpu, || Err::<(), _>(TrainError::Needed { name: "x", about: "y" }));
        assert!(failed.is_err());
        assert_eq!(x.matmul(&x).kind(), Kind::Float, "an error switches it off as well");
    }

    #[test]
    fn the_factor_halves_on_an_overflow_and_doubles_after_two_thousand_steps() {
        let mut scaler = Scaler::default();
        assert_eq!(scaler.factor(Some(Precision::Bf16)), 1.0);
        scaler.note(false);
        assert_eq!(scaler.factor(Some(Precision::Fp16)), 32768.0);
        (0..1999).for_each(|_| scaler.note(true));
        assert_eq!(scaler.factor(Some(Precision::Fp16)), 32768.0);
        scaler.note(true);
        assert_eq!(scaler.factor(Some(Precision::Fp16)), 65536.0);
        let skipped = [None, Some(Precision::Bf16), Some(Precision::Fp16)].map(|kind| scaler.skipped_steps(kind));
        assert_eq!(skipped, [None, None, Some(1)]);
    }
}
