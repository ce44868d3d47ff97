//! Linear maps of the last dim.

use tch::Tensor;
use tch::nn;

use super::init::{WeightInit, xavier};

/// `nn.Linear(inputs, outputs)`: `[.., inputs]` to `[.., outputs]`. The bias is drawn before the weight.
pub fn linear(path: nn::Path, inputs: i64, outputs: i64, init: WeightInit) -> nn::Linear {
    let [ws_init, bs_init] = init.of(inputs, outputs);
    nn::linear(path, inputs, outputs, nn::LinearConfig { ws_init, bs_init: Some(bs_init), bias: true })
}

/// `nn.Linear(inputs, outputs, bias=False)`.
pub fn linear_no_bias(path: nn::Path, inputs: i64, outputs: i64, init: WeightInit) -> nn::Linear {
    let [ws_init, _] = init.of(inputs, outputs);
    nn::linear(path, inputs, outputs, nn::LinearConfig { ws_init, bs_init: None, bias: false })
}

/// A linear map whose weight is stored as that of a convolution with a kernel of 1, drawn as [`WeightInit::Xavier`].
#[derive(Debug)]
pub struct PointwiseLinear {
    /// `[outputs, inputs, 1]`.
    weight: Tensor,
    /// `[outputs]`.
    bias: Tensor,
}

impl PointwiseLinear {
    /// Of a weight `[outputs, inputs, 1]`.
    pub fn new(path: &nn::Path, inputs: i64, outputs: i64) -> Self {
        Self { weight: xavier(path, "weight", &[outputs, inputs, 1]), bias: path.zeros("bias", &[outputs]) }
    }

    /// `[.., inputs]` to `[.., outputs]`. A matrix product on rows, where a convolution would first bring channels to
    /// the front.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight.squeeze_dim(2), Some(&self.bias))
    }

    /// The map of `[x, row]`, where `row` `[B, 1, R]` is the same at all positions of `x` `[B, L, inputs - R]`: what it
    /// adds is computed once, not at each position.
    pub fn forward_with_row(&self, x: &Tensor, row: &Tensor) -> Tensor {
        let parts = self.weight.squeeze_dim(2).split_with_sizes([x.size()[2], row.size()[2]], 1);
        x.linear(&parts[0], None::<Tensor>) + row.linear(&parts[1], Some(&self.bias))
    }
}
