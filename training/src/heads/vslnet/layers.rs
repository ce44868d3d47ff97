//! What VSLNet's parts share, on `[B, L, C]`: the epsilon of its norms, dropout, masks of padding.
//!
//! Not for attention; see `encoder` and `fusion`. A layer's output lies in memory as `[B, L, C]`, so that the next one
//! copies nothing.

use tch::nn;
use tch::{Device, Kind, Tensor};

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

/// Dropout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    /// Of a value's becoming zero.
    pub probability: f64,
}

impl Dropout {
    /// `x`, in training with values dropped and the others scaled up.
    pub fn forward(self, x: &Tensor, train: bool) -> Tensor {
        if !self.is_on(train) {
            return x.shallow_clone();
        }
        if x.device() == Device::Cpu { x * self.mask(x) } else { x.dropout(self.probability, true) }
    }

    /// `residual` plus what [`Self::forward`] makes of `x`, in one pass.
    pub fn add(self, residual: &Tensor, x: &Tensor, train: bool) -> Tensor {
        if self.is_on(train) && x.device() == Device::Cpu {
            residual.addcmul(x, &self.mask(x))
        } else {
            residual + self.forward(x, train)
        }
    }

    fn is_on(self, train: bool) -> bool {
        train && self.probability > 0.0
    }

    /// Zeros with the probability, else 1 / (1 - probability), in the shape of `x`.
    ///
    /// On the CPU libtorch draws one number at a time and its own dropout takes a third of a training step. Here 64
    /// random bits make two values: 32 bits as an integer become 0 or 1 by comparison, then 0 or the bits of the scale.
    fn mask(self, x: &Tensor) -> Tensor {
        let threshold = f64::from(i32::MIN) + self.probability * 2f64.powi(32);
        let scale = (1.0 / (1.0 - self.probability)) as f32;
        let values = x.numel() as i64;
        let mut words = Tensor::empty([(values + 1) / 2], (Kind::Int64, Device::Cpu));
        let mut bits = words.random_from_(i64::MIN, None).view_dtype(Kind::Int);
        let _ = bits.ge_(threshold as i64).g_mul_scalar_(i64::from(scale.to_bits()));
        bits.view_dtype(Kind::Float).narrow(0, 0, values).view(x.size().as_slice())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Odd, so that the last word of random bits is used by half.
    const VALUES: i64 = 1_000_001;

    #[test]
    fn dropout_keeps_and_scales_the_part_that_it_should() {
        let (dropout, x) = (Dropout { probability: 0.2 }, Tensor::full([VALUES], 4.0, (Kind::Float, Device::Cpu)));
        let out = dropout.forward(&x, true);
        let (dropped, kept) = (out.eq(0.0).sum(Kind::Float), out.eq(5.0).sum(Kind::Float));
        assert_eq!(dropped.double_value(&[]) + kept.double_value(&[]), VALUES as f64);
        // Six standard deviations of a binomial share.
        assert!((dropped.double_value(&[]) / VALUES as f64 - 0.2).abs() < 6.0 * (0.16 / VALUES as f64).sqrt());
        let again = dropout.forward(&x, true);
        assert!(out.ne_tensor(&again).any().int64_value(&[]) == 1, "the mask is drawn anew");
    }

    #[test]
    fn neighbours_are_dropped_independently() {
        let x = Tensor::ones([VALUES - 1], (Kind::Float, Device::Cpu));
        let pairs = Dropout { probability: 0.5 }.forward(&x, true).view([-1, 2]).ne(0.0);
        let both = pairs.all_dim(1, false).to_kind(Kind::Float).mean(None).double_value(&[]);
        assert!((both - 0.25).abs() < 6.0 * (0.1875 / (VALUES / 2) as f64).sqrt(), "{both}");
    }

    #[test]
    fn dropout_adds_to_a_residual_and_passes_gradients_of_what_it_kept() {
        let x = Tensor::full([1000], 3.0, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let residual = Tensor::ones([1000], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let out = Dropout { probability: 0.25 }.add(&residual, &x, true);
        out.sum(None).backward();
        let expected = (&out - 1.0) / 3.0;
        assert!((x.grad() - expected).abs().max().double_value(&[]) < 1e-6);
        assert_eq!(residual.grad().sum(None).double_value(&[]), 1000.0);
    }

    #[test]
    fn without_training_nothing_is_dropped() {
        let x = Tensor::ones([7], (Kind::Float, Device::Cpu));
        let dropout = Dropout { probability: 0.9 };
        assert_eq!(dropout.forward(&x, false), x);
        assert_eq!(dropout.add(&x, &x, false), &x * 2.0);
    }
}
