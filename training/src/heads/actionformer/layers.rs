//! The small layers of ActionFormer: masked convolution, norm over channels, stochastic depth.
//!
//! Not for attention. All take `[B, C, T]`, and all start with the weights that the original starts with.

use tch::nn::{self, Init, Module};
use tch::{Kind, Tensor};

/// Added to the variance in [`ChannelNorm`].
const NORM_EPS: f64 = 1e-5;
/// What a residual branch under stochastic depth is multiplied by at first.
const FIRST_RESIDUAL_SCALE: f64 = 1e-4;

/// What a convolution has besides its channels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub kernel: i64,
    pub stride: i64,
    pub groups: i64,
    /// The first value of the bias; `None` for a convolution without one.
    pub bias: Option<f64>,
}

impl Shape {
    /// One step wide, with a bias that starts at zero.
    pub const POINT: Self = Self { kernel: 1, stride: 1, groups: 1, bias: Some(0.0) };
    /// Three steps wide, without a bias because a norm follows.
    pub const THREE: Self = Self { kernel: 3, stride: 1, groups: 1, bias: None };
}

/// `nn.Conv1d`, padded to keep the length (over the stride), with PyTorch's first weights:
/// uniform within `1 / sqrt(fan_in)`.
pub(super) fn conv(path: &nn::Path, channels_in: i64, channels_out: i64, shape: Shape) -> nn::Conv1D {
    let bound = 1.0 / ((channels_in / shape.groups * shape.kernel) as f64).sqrt();
    let config = nn::ConvConfig {
        stride: shape.stride,
        padding: shape.kernel / 2,
        groups: shape.groups,
        bias: shape.bias.is_some(),
        ws_init: Init::Uniform { lo: -bound, up: bound },
        bs_init: Init::Const(shape.bias.unwrap_or(0.0)),
        ..nn::ConvConfig::default()
    };
    nn::conv1d(path, channels_in, channels_out, shape.kernel, config)
}

/// A convolution whose output is zero outside a mask. Its weights lie under `conv`.
#[derive(Debug)]
pub(super) struct MaskedConv(nn::Conv1D);

impl MaskedConv {
    pub fn new(path: &nn::Path, channels_in: i64, channels_out: i64, shape: Shape) -> Self {
        Self(conv(&(path / "conv"), channels_in, channels_out, shape))
    }

    /// `mask` is that of the output, `[B, 1, T / stride]`.
    pub fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        self.0.forward(x) * mask
    }
}

/// Layer norm over the channels of `[B, C, T]`.
#[derive(Debug)]
pub(super) struct ChannelNorm {
    weight: Tensor,
    bias: Tensor,
}

impl ChannelNorm {
    pub fn new(path: &nn::Path, channels: i64) -> Self {
        let shape = [1, channels, 1];
        Self { weight: path.var("weight", &shape, Init::Const(1.0)), bias: path.var("bias", &shape, Init::Const(0.0)) }
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        let centred = x - x.mean_dim([1_i64].as_slice(), true, None::<Kind>);
        let variance = centred.square().mean_dim([1_i64].as_slice(), true, None::<Kind>);
        centred / (variance + NORM_EPS).sqrt() * &self.weight + &self.bias
    }
}

/// Masked convolutions of three steps, each with norm and ReLU: the embedding, and the towers of the heads.
#[derive(Debug)]
pub(super) struct Tower(Vec<(MaskedConv, ChannelNorm)>);

impl Tower {
    pub fn new(convs: &nn::Path, norms: &nn::Path, channels_in: i64, width: i64, layers: i64) -> Self {
        let layer = |index: i64| {
            let from = if index == 0 { channels_in } else { width };
            (MaskedConv::new(&(convs / index), from, width, Shape::THREE), ChannelNorm::new(&(norms / index), width))
        };
        Self((0..layers).map(layer).collect())
    }

    /// Outside the mask the result is ReLU of the last bias, not zero, as in the original.
    pub fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        let layer = |x: Tensor, (conv, norm): &(MaskedConv, ChannelNorm)| norm.forward(&conv.forward(&x, mask)).relu();
        self.0.iter().fold(x.shallow_clone(), layer)
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
    use tch::Device;

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
        let layer = conv(&store.root(), 16, 64, Shape { bias: Some(-2.0), ..Shape::THREE });
        let bound = 1.0 / 48_f64.sqrt();
        let most = layer.ws.abs().max().double_value(&[]);
        assert!(most <= bound && most > 0.95 * bound, "{most} of {bound}");
        assert_eq!(layer.bs.unwrap().mean(Kind::Float).double_value(&[]), -2.0);
    }
}
