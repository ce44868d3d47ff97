//! The small layers of SnAG: convolutions of what a mask leaves, norms, the feed-forward part.
//!
//! Not for attention. All take `[B, C, T]`, and masks `[B, 1, T]` of booleans.

use tch::Tensor;
use tch::nn;

use crate::nn::{ChannelNorm, Conv, Dropout, WeightInit, conv1d, on_images, pointwise};

/// Added to the variance in all norms.
pub(super) const NORM_EPS: f64 = 1e-5;
/// The hidden layer of the feed-forward part is this many times as wide as its input.
const EXPANSION: i64 = 4;
/// Three steps wide, without a bias because a norm follows.
pub(super) const THREE: Conv = Conv { has_bias: false, ..Conv::same(3) };

/// A convolution one step wide, its bias zero at first.
pub(super) fn point(path: nn::Path, inputs: i64, outputs: i64) -> nn::Conv1D {
    conv1d(path, inputs, outputs, Conv::same(1), WeightInit::PyTorchWithBias(0.0))
}

/// A layer norm over channels, its weight and bias `[C, 1]`.
pub(super) fn norm(path: &nn::Path, channels: i64) -> ChannelNorm {
    ChannelNorm::of_shape(path, &[channels, 1], NORM_EPS)
}

/// A convolution of what a mask leaves of its input. Its weights lie under `conv`.
#[derive(Debug)]
pub(super) struct MaskedConv {
    conv: nn::Conv1D,
    shape: Conv,
}

impl MaskedConv {
    pub fn new(path: &nn::Path, inputs: i64, outputs: i64, shape: Conv) -> Self {
        Self { conv: conv1d(path / "conv", inputs, outputs, shape, WeightInit::PyTorchWithBias(0.0)), shape }
    }

    /// `mask` is that of the input. Outside of the clip the result is what the kernel sees there.
    pub fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        self.of_masked(&(x * mask))
    }

    /// The same of what is masked already.
    pub fn of_masked(&self, x: &Tensor) -> Tensor {
        on_images(&self.conv, self.shape, x)
    }
}

/// Convolutions of three steps, each with norm and ReLU: the embedding, and the towers of the heads.
#[derive(Debug)]
pub(super) struct Tower(Vec<(MaskedConv, ChannelNorm)>);

impl Tower {
    pub fn new(convs: &nn::Path, norms: &nn::Path, channels: i64, layers: i64) -> Self {
        let layer = |index: i64| {
            (MaskedConv::new(&(convs / index), channels, channels, THREE), norm(&(norms / index), channels))
        };
        Self((0..layers).map(layer).collect())
    }

    pub fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        let layer = |x: Tensor, (conv, norm): &(MaskedConv, ChannelNorm)| norm.forward(&conv.forward(&x, mask)).relu();
        self.0.iter().fold(x.shallow_clone(), layer)
    }
}

/// Two pointwise layers with the exact GELU between.
#[derive(Debug)]
pub(super) struct FeedForward {
    hidden: nn::Conv1D,
    output: nn::Conv1D,
    dropout: Dropout,
}

impl FeedForward {
    pub fn new(path: &nn::Path, channels: i64, probability: f64) -> Self {
        let hidden = point(path / "fc", channels, EXPANSION * channels);
        Self { hidden, output: point(path / "proj", EXPANSION * channels, channels), dropout: Dropout { probability } }
    }

    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let hidden = self.dropout.forward(&pointwise(&self.hidden, x).gelu("none"), train);
        self.dropout.forward(&pointwise(&self.output, &hidden), train)
    }
}
