//! What VSLNet's parts share, on `[B, L, C]`: the epsilon of its norms, masks of padding.
//!
//! Not for attention; see `encoder` and `fusion`. A layer's output lies in memory as `[B, L, C]`, so that the next one
//! copies nothing.

use tch::Tensor;
use tch::nn;

use crate::nn::layer_norm;

/// What is added to the scores of padded positions.
pub(super) const PADDED: f64 = -1e30;
/// Of all of VSLNet's layer norms; PyTorch's default is another.
pub(super) const NORM_EPS: f64 = 1e-6;
/// Positions that a depthwise convolution sees.
pub(super) const KERNEL: i64 = 7;

/// A layer norm over the last dim.
pub(super) fn norm(path: nn::Path, embed_dim: i64) -> nn::LayerNorm {
    layer_norm(path, embed_dim, NORM_EPS)
}

/// Which positions of a batch are not padding, in the forms that the layers take.
#[derive(Debug)]
pub(super) struct Mask {
    /// `[B, L]`, 1 at positions that are there and 0 at padding.
    pub valid: Tensor,
    /// `[B, L]`, 0 at positions that are there and -1e30 at padding.
    pub bias: Tensor,
}

impl Mask {
    pub fn new(valid: Tensor) -> Self {
        let bias = valid.rsub_scalar(1.0) * PADDED;
        Self { valid, bias }
    }

    /// The bias for the scores of `heads` heads, `[B * heads, 1, L]`.
    pub fn of_heads(&self, heads: i64) -> Tensor {
        let (batch, length) = (self.bias.size()[0], self.bias.size()[1]);
        self.bias.view([batch, 1, 1, length]).expand([batch, heads, 1, length], false).reshape([-1, 1, length])
    }
}
