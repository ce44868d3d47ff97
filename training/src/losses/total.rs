//! The loss of a step of pretraining: a weighted sum.
//!
//! Not for the parts. A part that is switched off is neither computed nor weighed.

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// What each part weighs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossWeights {
    /// EgoNCE or InfoNCE.
    pub egonce: f64,
    /// Masked language modelling.
    pub mlm: f64,
    /// Video-text matching with hard negatives.
    pub vtm: f64,
}

impl LossWeights {
    /// Of EgoVLPv2's code.
    pub const CODE: Self = Self { egonce: 1.0, mlm: 1.0, vtm: 2.0 };
    /// Of its paper (equation 7 with γ = 0.25 and δ = 0.5), a quarter of the code's: only Adam's eps tells them apart.
    pub const PAPER: Self = Self { egonce: 0.25, mlm: 0.25, vtm: 0.5 };
}

/// The parts of a step, scalars; `None` is switched off.
#[derive(Debug, Default)]
pub struct LossTerms {
    /// EgoNCE or InfoNCE.
    pub egonce: Option<Tensor>,
    /// Masked language modelling.
    pub mlm: Option<Tensor>,
    /// Video-text matching with hard negatives.
    pub vtm: Option<Tensor>,
}

impl LossTerms {
    /// The one that is minimised; `None` if all are switched off.
    pub fn total(&self, weights: LossWeights) -> Option<Tensor> {
        let parts = [(&self.egonce, weights.egonce), (&self.mlm, weights.mlm), (&self.vtm, weights.vtm)];
        let weighed = parts.into_iter().filter_map(|(loss, weight)| loss.as_ref().map(|loss| loss * weight));
        weighed.reduce(|sum, loss| sum + loss)
    }
}
