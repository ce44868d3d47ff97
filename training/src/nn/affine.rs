//! A weight and a bias under names of their own, which need not learn: what `torch.nn.TransformerEncoder` keeps.

use tch::Tensor;
use tch::nn::{self, Init};

use super::init::WeightInit;

/// A weight and a bias: of a linear map, or of a layer norm. The weight is drawn before the bias.
#[derive(Debug)]
pub struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    /// Tensors `names` (weight, bias) of a weight of `shape` `[outputs, inputs]`, or `[dim]` for a norm, and as many
    /// biases as its first axis has, with the first values `init`. One that is not `trainable` is in the state dict and
    /// not with the optimiser.
    pub fn new(path: &nn::Path, names: [&str; 2], shape: &[i64], init: [Init; 2], trainable: bool) -> Self {
        let add = |name: &str, shape: &[i64], init| path.add(name, nn::init(init, shape, path.device()), trainable);
        Self { weight: add(names[0], shape, init[0]), bias: add(names[1], &shape[..1], init[1]) }
    }

    /// `nn.Linear` of a weight of `shape` `[outputs, inputs]`.
    pub fn linear(path: &nn::Path, shape: [i64; 2], init: WeightInit, trainable: bool) -> Self {
        Self::new(path, ["weight", "bias"], &shape, init.of(shape[1], shape[0]), trainable)
    }

    /// `nn.LayerNorm(dim)`.
    pub fn layer_norm(path: &nn::Path, dim: i64, trainable: bool) -> Self {
        Self::new(path, ["weight", "bias"], &[dim], [Init::Const(1.0), Init::Const(0.0)], trainable)
    }

    /// As a linear map: `[.., inputs]` to `[.., outputs]`.
    pub fn apply(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }

    /// As a layer norm over the last dim, with `eps` beside the variance.
    pub fn normalise(&self, x: &Tensor, eps: f64) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), eps, true)
    }

    /// Overwrites its values with those of `from`, outside of gradients.
    pub fn copy(&self, from: &Self) {
        tch::no_grad(|| {
            self.weight.shallow_clone().copy_(&from.weight);
            self.bias.shallow_clone().copy_(&from.bias);
        });
    }
}
