//! The small layers of ActionFormer: masked convolution, the epsilons of its channel norms, stochastic depth.
//!
//! Not for attention. All take `[B, C, T]`, and all start with the weights that the original starts with. Norms leave channels last in
//! memory; layers here keep them there, so that nothing is copied from one order to the other and back.

use tch::Tensor;
use tch::nn::{self, Init};

use super::settings::Settings;
use crate::nn::{ChannelNorm, Conv, WeightInit, conv1d};

/// Added to the variance in the norms of blocks.
pub(super) const NORM_EPS: f64 = 1e-5;
/// What a residual branch under stochastic depth is multiplied by at first.
const FIRST_RESIDUAL_SCALE: f64 = 1e-4;

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

    /// `mask` is that of the output, `[B, 1, T / stride]`. As a convolution of images `[B, C, 1, T]`, whose kernels take channels last.
    pub fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        let Conv { stride, padding, groups, .. } = self.shape;
        let (image, weight) = (x.unsqueeze(2), self.conv.ws.unsqueeze(2));
        let out = image.conv2d(&weight, self.conv.bs.as_ref(), [1, stride], [0, padding], [1, 1], groups);
        out.squeeze_dim(2) * mask
    }
}

/// A convolution of one step by a matrix product on rows, for `x` whose channels lie last.
pub(super) fn on_rows(conv: &nn::Conv1D, x: &Tensor) -> Tensor {
    x.transpose(1, 2).linear(&conv.ws.squeeze_dim(2), conv.bs.as_ref()).transpose(1, 2)
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

/// Stochastic depth by clip (Huang et al., 2016) with a learned scale by channel (Touvron et al., 2021, section 2).
#[derive(Debug)]
pub(super) struct DropPath {
    scale: Tensor,
    rate: f64,
}

impl DropPath {
    /// `None` at a rate of zero, at which the original has no scale either.
    pub fn new(path: &nn::Path, channels: i64, rate: f64) -> Option<Self> {
        (rate > 0.0)
            .then(|| Self { scale: path.var("scale", &[1, channels, 1], Init::Const(FIRST_RESIDUAL_SCALE)), rate })
    }

    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let scaled = x * &self.scale;
        if !train {
            return scaled;
        }
        let kept_share = 1.0 - self.rate;
        let kept = (Tensor::rand([x.size()[0], 1, 1], (x.kind(), x.device())) + kept_share).floor();
        scaled / kept_share * kept
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn dropped_paths_are_whole_clips_and_the_others_are_scaled_up() {
        let store = nn::VarStore::new(Device::Cpu);
        let path = DropPath::new(&store.root(), 3, 0.25).unwrap();
        let x = Tensor::ones([400, 3, 2], (Kind::Float, Device::Cpu));
        let found = tch::no_grad(|| path.forward(&x, true) / FIRST_RESIDUAL_SCALE).reshape([400, 6]);
        let (least, most) = (found.amin([1_i64].as_slice(), false), found.amax([1_i64].as_slice(), false));
        assert!(least.allclose(&most, 1e-6, 1e-6, false), "a clip is dropped or kept as a whole");
        let kept = found.gt(0.0).to_kind(Kind::Float);
        assert!(found.allclose(&(&kept / 0.75), 1e-5, 1e-5, false), "what is kept makes up for what is dropped");
        let share = kept.mean(Kind::Float).double_value(&[]);
        assert!((share - 0.75).abs() < 0.1, "{share} of the clips are kept");
        let still = tch::no_grad(|| path.forward(&x, false));
        assert!(still.allclose(&(&x * FIRST_RESIDUAL_SCALE), 1e-9, 1e-9, false), "nothing is dropped at test time");
    }

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
