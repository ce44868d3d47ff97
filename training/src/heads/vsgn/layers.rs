//! Layers that start as PyTorch's do, which tch's own do not.
//!
//! Not for anything else. Weights and biases are uniform within `1 / sqrt(fan in)`: Kaiming's with a = sqrt(5).

use tch::nn::{self, Init};

/// Groups of every group norm of the head.
pub(super) const GROUPS: i64 = 32;

fn within(fan_in: i64) -> Init {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

/// `[B, from, L]` to `[B, to, L']`.
pub(super) fn conv(path: nn::Path, from: i64, to: i64, size: i64, stride: i64, padding: i64) -> nn::Conv1D {
    let init = within(from * size);
    let config = nn::ConvConfig { stride, padding, ws_init: init, bs_init: init, ..Default::default() };
    nn::conv1d(path, from, to, size, config)
}

/// Size 3 and as long as before: `[B, from, L]` to `[B, to, L]`.
pub(super) fn conv3(path: nn::Path, from: i64, to: i64) -> nn::Conv1D {
    conv(path, from, to, 3, 1, 1)
}

/// Twice as long as before: `[B, C, L]` to `[B, C, 2 L]`.
pub(super) fn upsampling(path: nn::Path, width: i64) -> nn::ConvTranspose1D {
    let init = within(width * 3);
    let config = nn::ConvTransposeConfig {
        stride: 2,
        padding: 1,
        output_padding: 1,
        ws_init: init,
        bs_init: init,
        ..Default::default()
    };
    nn::conv_transpose1d(path, width, width, 3, config)
}

/// `[..., from]` to `[..., to]`.
pub(super) fn linear(path: nn::Path, from: i64, to: i64) -> nn::Linear {
    let init = within(from);
    nn::linear(path, from, to, nn::LinearConfig { ws_init: init, bs_init: Some(init), bias: true })
}
