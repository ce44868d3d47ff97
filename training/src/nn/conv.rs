//! Convolutions.

use tch::Tensor;
use tch::nn;

use super::init::{WeightInit, xavier};

/// What a convolution over time has besides its channels.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Steps that an output sees.
    pub kernel: i64,
    /// Steps from one output to the next.
    pub stride: i64,
    /// Zeros at each end.
    pub padding: i64,
    /// Groups of channels that do not see each other.
    pub groups: i64,
    /// Whether there is a bias.
    pub has_bias: bool,
}

impl Conv {
    /// `kernel` steps (an odd number) at a stride of 1, padded so that the length stays; with a bias.
    pub const fn same(kernel: i64) -> Self {
        Self { kernel, stride: 1, padding: kernel / 2, groups: 1, has_bias: true }
    }
}

/// `nn.Conv1d`: `[B, inputs, T]` to `[B, outputs, T']`. The bias is drawn before the weight.
pub fn conv1d(path: nn::Path, inputs: i64, outputs: i64, conv: Conv, init: WeightInit) -> nn::Conv1D {
    let Conv { kernel, stride, padding, groups, has_bias: bias } = conv;
    let [ws_init, bs_init] = init.of(inputs / groups * kernel, outputs / groups * kernel);
    let config = nn::ConvConfig { stride, padding, groups, bias, ws_init, bs_init, ..Default::default() };
    nn::conv1d(path, inputs, outputs, kernel, config)
}

/// A convolution of `shape` over `x` `[B, C, T]` as one of images `[B, C, 1, T]`, whose kernels take channels last as they lie.
pub fn on_images(conv: &nn::Conv1D, shape: Conv, x: &Tensor) -> Tensor {
    let Conv { stride, padding, groups, .. } = shape;
    let (image, weight) = (x.unsqueeze(2), conv.ws.unsqueeze(2));
    image.conv2d(&weight, conv.bs.as_ref(), [1, stride], [0, padding], [1, 1], groups).squeeze_dim(2)
}

/// A convolution of one step, as [`on_images`].
pub fn pointwise(conv: &nn::Conv1D, x: &Tensor) -> Tensor {
    on_images(conv, Conv::same(1), x)
}

/// `nn.ConvTranspose1d(channels, channels, 3, stride=2, padding=1, output_padding=1)`: `[B, C, T]` to `[B, C, 2 T]`,
/// with PyTorch's own first weights.
pub fn conv_transpose1d(path: nn::Path, channels: i64) -> nn::ConvTranspose1D {
    let [ws_init, bs_init] = WeightInit::PyTorch.of(channels * 3, channels * 3);
    let (stride, padding, output_padding) = (2, 1, 1);
    let config = nn::ConvTransposeConfig { stride, padding, output_padding, ws_init, bs_init, ..Default::default() };
    nn::conv_transpose1d(path, channels, channels, 3, config)
}

/// A convolution of images `[B, channels, H, W]` to patches `[B, embed_dim, H / patch_size, W / patch_size]` that
/// neither overlap nor leave gaps, with PyTorch's own first weights.
pub fn patch_embed(path: nn::Path, channels: i64, embed_dim: i64, patch_size: i64) -> nn::Conv2D {
    let [ws_init, bs_init] = WeightInit::PyTorch.of(channels * patch_size * patch_size, embed_dim);
    let config = nn::ConvConfig { stride: patch_size, ws_init, bs_init, ..Default::default() };
    nn::conv2d(path, channels, embed_dim, patch_size, config)
}

/// A convolution of each channel by itself, without bias, that keeps the length; its weight is drawn as
/// [`WeightInit::Xavier`].
#[derive(Debug)]
pub struct DepthwiseConv {
    /// `[C, 1, kernel]`.
    weight: Tensor,
}

impl DepthwiseConv {
    /// Of `kernel` positions, an odd number.
    pub fn new(path: &nn::Path, channels: i64, kernel: i64) -> Self {
        Self { weight: xavier(path, "weight", &[channels, 1, kernel]) }
    }

    /// `[B, L, C]` to `[B, L, C]`. As a convolution of `[B, C, 1, L]`, whose kernels take channels last as they lie;
    /// one of `[B, C, L]` would copy channels to the front and back.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let image = x.transpose(1, 2).unsqueeze(2);
        let weight = self.weight.unsqueeze(2);
        let padding = [0, self.weight.size()[2] / 2];
        let out = image.conv2d(&weight, None::<Tensor>, [1, 1], padding, [1, 1], self.weight.size()[0]);
        out.squeeze_dim(2).transpose(1, 2)
    }
}
