//! The small layers of ActionFormer: masked convolution, the epsilons of its channel norms.
//!
//! Not for attention. All take `[B, C, T]`, and all start with the weights that the original starts with. Norms leave channels last in
//! memory; layers here keep them there, so that nothing is copied from one order to the other and back.

use tch::Tensor;
use tch::nn;

use super::settings::Settings;
use crate::nn::{ChannelNorm, Conv, WeightInit, conv1d, on_images};

/// Added to the variance in the norms of blocks.
pub(super) const NORM_EPS: f64 = 1e-5;

/// One step wide, with a bias.
pub(super) const POINT: Conv = Conv::same(1);
/// Three steps wide, without a bias because a norm follows.
pub(super) const THREE: Conv = Conv { has_bias: false, ..Conv::same(3) };

/// `nn.Conv1d` with PyTorch's own first weights and a bias that starts at `bias`.
pub(super) fn conv(path: nn::Path, inputs: i64, outputs: i64, conv: Conv, bias: f64) -> nn::Conv1D {
    conv1d(path, inputs, outputs, conv, WeightInit::PyTorchWithBias(bias))
}

/// A convolution whose output is zero outside a mask. Its weights lie under `conv`.
#[derive(Debug)]
pub(super) struct MaskedConv {
    conv: nn::Conv1D,
    shape: Conv,
}

impl MaskedConv {
    /// Its bias, if `shape` has one, starts at `bias`.
    pub fn new(path: &nn::Path, channels_in: i64, channels_out: i64, shape: Conv, bias: f64) -> Self {
        Self { conv: conv(path / "conv", channels_in, channels_out, shape, bias), shape }
    }

    /// `mask` is that of the output, `[B, 1, T / stride]`.
    pub fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        self.unmasked(x) * mask
    }

    /// The same without the mask.
    pub fn unmasked(&self, x: &Tensor) -> Tensor {
        on_images(&self.conv, self.shape, x)
    }
}

/// Added to the variance in the norms of embedding, pyramid and heads.
pub(super) fn outer_eps(settings: &Settings) -> f64 {
    settings.variant.norm_eps.unwrap_or(NORM_EPS)
}

/// A layer norm outside of blocks, over the channels of `[B, embed_dim, T]`.
pub(super) fn outer_norm(path: &nn::Path, settings: &Settings) -> ChannelNorm {
    ChannelNorm::new(path, settings.embed_dim, outer_eps(settings))
}

/// Masked convolutions of three steps, each with norm and ReLU: the embedding, and the towers of the heads.
#[derive(Debug)]
pub(super) struct Tower {
    layers: Vec<(MaskedConv, ChannelNorm)>,
    remask: bool,
}

impl Tower {
    pub fn new(convs: &nn::Path, norms: &nn::Path, channels_in: i64, settings: &Settings, layers: i64) -> Self {
        let layer = |index: i64| {
            let from = if index == 0 { channels_in } else { settings.embed_dim };
            let conv = MaskedConv::new(&(convs / index), from, settings.embed_dim, THREE, 0.0);
            (conv, outer_norm(&(norms / index), settings))
        };
        Self { layers: (0..layers).map(layer).collect(), remask: settings.variant.remask }
    }

    /// Outside the mask the result is ReLU of the last bias, not zero, as in the original, unless it is masked again.
    pub fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        let layer = |x: Tensor, (conv, norm): &(MaskedConv, ChannelNorm)| {
            let hidden = norm.forward(&conv.forward(&x, mask)).relu();
            if self.remask { hidden * mask } else { hidden }
        };
        self.layers.iter().fold(x.shallow_clone(), layer)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn first_weights_are_pytorchs() {
        let store = nn::VarStore::new(Device::Cpu);
        let layer = conv(store.root(), 16, 64, Conv::same(3), -2.0);
        let bound = 1.0 / 48_f64.sqrt();
        let most = layer.ws.abs().max().double_value(&[]);
        assert!(most <= bound && most > 0.95 * bound, "{most} of {bound}");
        assert_eq!(layer.bs.unwrap().mean(Kind::Float).double_value(&[]), -2.0);
    }
}
