//! The feed-forward part of a transformer block.

use tch::Tensor;
use tch::nn::{self, Module};

use super::init::WeightInit;
use super::linear::linear;

/// Two linear maps with the exact GELU (of erf) between.
#[derive(Debug)]
pub struct Mlp {
    fc1: nn::Linear,
    fc2: nn::Linear,
}

impl Mlp {
    /// Of the maps at the two paths, from `dim` to `mlp_dim` and back.
    pub fn new([fc1, fc2]: [nn::Path; 2], [dim, mlp_dim]: [i64; 2], init: WeightInit) -> Self {
        Self { fc1: linear(fc1, dim, mlp_dim, init), fc2: linear(fc2, mlp_dim, dim, init) }
    }

    /// `[.., dim]` to `[.., dim]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.fc2.forward(&self.fc1.forward(x).gelu("none"))
    }
}
