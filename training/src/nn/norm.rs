//! Layer norms (Ba et al., 2016). The epsilon is that of each network: PyTorch's default is 1e-5.

use tch::Tensor;
use tch::nn::{self, Init};

/// `nn.LayerNorm(dim, eps)` over the last dim; weight 1 and bias 0 at first.
pub fn layer_norm(path: nn::Path, dim: i64, eps: f64) -> nn::LayerNorm {
    nn::layer_norm(path, vec![dim], nn::LayerNormConfig { eps, ..Default::default() })
}

/// A layer norm over the channels of `[B, C, T]`, its weight and bias `[1, C, 1]`, or of another shape of `C` numbers.
#[derive(Debug)]
pub struct ChannelNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl ChannelNorm {
    /// Over `channels`; weight 1 and bias 0 at first.
    pub fn new(path: &nn::Path, channels: i64, eps: f64) -> Self {
        Self::of_shape(path, &[1, channels, 1], eps)
    }

    /// The same with weight and bias of that shape, of which all but one number is 1.
    pub fn of_shape(path: &nn::Path, shape: &[i64], eps: f64) -> Self {
        let tensor = |name, value| path.var(name, shape, Init::Const(value));
        Self { weight: tensor("weight", 1.0), bias: tensor("bias", 0.0), eps }
    }

    /// `[B, C, T]` to `[B, C, T]`, which lies in memory with its channels last, as libtorch's own norm takes them: one pass where means,
    /// squares and quotients would be a pass each.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let [weight, bias] = [&self.weight, &self.bias].map(|tensor| tensor.view([-1]));
        let shape = [weight.size()[0]];
        x.transpose(1, 2).layer_norm(shape, Some(&weight), Some(&bias), self.eps, true).transpose(1, 2)
    }
}
