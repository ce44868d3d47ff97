//! The layers that VSLNet is made of, on `[B, L, C]`.
//!
//! Not for attention; see `encoder` and `fusion`. Invariant: a layer's output lies in memory as `[B, L, C]`, so that the
//! next one copies nothing.

use tch::nn::{self, Init};
use tch::{Device, Kind, Tensor};

/// What is added to the scores of padded positions.
const PADDED: f64 = -1e30;
/// Of all of VSLNet's layer norms; PyTorch's default is another.
const NORM_EPS: f64 = 1e-6;
/// Positions that a depthwise convolution sees.
const KERNEL: i64 = 7;

/// A weight of shape `dims`, uniform in ±√(6 / (fan in + fan out)) (Glorot and Bengio, 2010).
pub(super) fn xavier(path: &nn::Path, name: &str, dims: &[i64]) -> Tensor {
    let receptive: i64 = dims[2..].iter().product();
    let bound = (6.0 / ((dims[0] + dims[1]) * receptive) as f64).sqrt();
    path.var(name, dims, Init::Uniform { lo: -bound, up: bound })
}

/// A layer norm over the last dimension.
pub(super) fn norm(path: nn::Path, width: i64) -> nn::LayerNorm {
    nn::layer_norm(path, vec![width], nn::LayerNormConfig { eps: NORM_EPS, ..Default::default() })
}

/// A linear map of the last dimension; a 1×1 convolution is one.
#[derive(Debug)]
pub(super) struct Linear {
    /// `[out, in]`, or `[out, in, 1]`.
    weight: Tensor,
    /// `[out]`.
    bias: Tensor,
}

impl Linear {
    /// Of a weight `[out, in]`.
    pub fn dense(path: &nn::Path, input: i64, output: i64) -> Self {
        Self { weight: xavier(path, "weight", &[output, input]), bias: path.zeros("bias", &[output]) }
    }

    /// Of a weight `[out, in, 1]`, as a 1×1 convolution has it.
    pub fn pointwise(path: &nn::Path, input: i64, output: i64) -> Self {
        Self { weight: xavier(path, "weight", &[output, input, 1]), bias: path.zeros("bias", &[output]) }
    }

    /// `[..., in]` to `[..., out]`. A matrix product on rows, where a convolution would first bring channels to the front.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight.flatten(1, -1), Some(&self.bias))
    }

    /// The map of `[x, row]`, where `row` `[B, 1, R]` is the same at all positions of `x` `[B, L, in - R]`: what it adds
    /// is computed once, not at each position.
    pub fn forward_with_row(&self, x: &Tensor, row: &Tensor) -> Tensor {
        let width = x.size()[2];
        let parts = self.weight.flatten(1, -1).split_with_sizes([width, row.size()[2]], 1);
        x.linear(&parts[0], None::<Tensor>) + row.linear(&parts[1], Some(&self.bias))
    }
}

/// A convolution of each channel by itself, without bias, that keeps the length.
#[derive(Debug)]
pub(super) struct Depthwise {
    /// `[C, 1, 7]`.
    weight: Tensor,
}

impl Depthwise {
    pub fn new(path: &nn::Path, width: i64) -> Self {
        Self { weight: xavier(path, "weight", &[width, 1, KERNEL]) }
    }

    /// `[B, L, C]` to `[B, L, C]`. As a convolution of `[B, C, 1, L]`, whose kernels take channels last as they lie;
    /// one of `[B, C, L]` would copy channels to the front and back.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let picture = x.transpose(1, 2).unsqueeze(2);
        let weight = self.weight.unsqueeze(2);
        let padding = [0, KERNEL / 2];
        let out = picture.conv2d(&weight, None::<Tensor>, [1, 1], padding, [1, 1], self.weight.size()[0]);
        out.squeeze_dim(2).transpose(1, 2)
    }
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
