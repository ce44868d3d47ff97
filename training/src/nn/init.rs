//! The distributions that first weights are drawn from.
//!
//! Not for the order in which they are drawn, which the layers keep: a seed gives a network the same weights in every
//! release.

use tch::Tensor;
use tch::nn::{self, Init};

/// The first weight and bias of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WeightInit {
    /// PyTorch's own (`kaiming_uniform_` with `a = sqrt(5)`): weight and bias uniform in `±1 / sqrt(fan_in)`.
    PyTorch,
    /// The weight as PyTorch's own, the bias this constant.
    PyTorchWithBias(f64),
    /// BERT's: the weight normal with this standard deviation, the bias 0.
    Normal(f64),
    /// Glorot and Bengio, 2010: the weight uniform in `±sqrt(6 / (fan_in + fan_out))`, the bias 0.
    Xavier,
    /// This constant, the bias 0.
    Const(f64),
}

impl WeightInit {
    /// For weight and bias of a layer in which an output is a sum of `fan_in` products, and an input is in `fan_out` of
    /// them.
    pub fn of(self, fan_in: i64, fan_out: i64) -> [Init; 2] {
        let pytorch = within((fan_in as f64).sqrt().recip());
        match self {
            Self::PyTorch => [pytorch, pytorch],
            Self::PyTorchWithBias(bias) => [pytorch, Init::Const(bias)],
            Self::Normal(stdev) => [Init::Randn { mean: 0.0, stdev }, Init::Const(0.0)],
            Self::Xavier => [within((6.0 / (fan_in + fan_out) as f64).sqrt()), Init::Const(0.0)],
            Self::Const(weight) => [Init::Const(weight), Init::Const(0.0)],
        }
    }
}

fn within(bound: f64) -> Init {
    Init::Uniform { lo: -bound, up: bound }
}

/// A weight `name` of shape `dims` `[out, in, ..]` by itself, drawn as [`WeightInit::Xavier`].
pub fn xavier(path: &nn::Path, name: &str, dims: &[i64]) -> Tensor {
    let receptive: i64 = dims[2..].iter().product();
    let [weight, _] = WeightInit::Xavier.of(dims[1] * receptive, dims[0] * receptive);
    path.var(name, dims, weight)
}
