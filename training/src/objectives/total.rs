//! The loss of a step of pretraining: a weighted sum.
//!
//! Not for the parts. A part that is switched off is neither computed nor weighed.

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// What each part weighs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotalWeights {
    /// EgoNCE or InfoNCE.
    pub contrastive: f64,
    /// Masked language modelling.
    pub words: f64,
    /// Matching with mined negatives.
    pub matching: f64,
}

impl TotalWeights {
    /// Of EgoVLPv2's code.
    pub const CODE: Self = Self { contrastive: 1.0, words: 1.0, matching: 2.0 };
    /// Of its paper (equation 7 with γ = 0.25 and δ = 0.5), a quarter of the code's: only Adam's eps tells them apart.
    pub const PAPER: Self = Self { contrastive: 0.25, words: 0.25, matching: 0.5 };
}

/// The parts of a step, scalars; `None` is switched off.
#[derive(Debug, Default)]
pub struct Losses {
    /// EgoNCE or InfoNCE.
    pub contrastive: Option<Tensor>,
    /// Masked language modelling.
    pub words: Option<Tensor>,
    /// Matching with mined negatives.
    pub matching: Option<Tensor>,
}

impl Losses {
    /// The one that is minimised; `None` if all are switched off.
    pub fn total(&self, weights: TotalWeights) -> Option<Tensor> {
        let parts = [
            (&self.contrastive, weights.contrastive),
            (&self.words, weights.words),
            (&self.matching, weights.matching),
        ];
        let weighed = parts.into_iter().filter_map(|(loss, weight)| loss.as_ref().map(|loss| loss * weight));
        weighed.reduce(|sum, loss| sum + loss)
    }
}
