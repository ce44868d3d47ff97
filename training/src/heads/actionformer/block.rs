//! A transformer block of ActionFormer: norm, attention, residual; norm, two pointwise layers, residual.
//!
//! Not for the pyramid, which stacks them. A block of stride two halves the length by attention and by its skip path.

use tch::Tensor;
use tch::nn;

use super::attention::Attention;
use super::layers::{NORM_EPS, POINT, conv};
use super::settings::Settings;
use crate::nn::{ChannelNorm, DropPath, Dropout, pointwise};

/// The hidden layer is this many times as wide as the block.
const EXPANSION: i64 = 4;

#[derive(Debug)]
pub(super) struct Block {
    norms: [ChannelNorm; 2],
    attention: Attention,
    hidden: nn::Conv1D,
    output: nn::Conv1D,
    drop_paths: [Option<DropPath>; 2],
    dropout: Dropout,
    stride: i64,
}

impl Block {
    /// Of the stem at level 0, else the one that makes the `level`.
    pub fn new(path: &nn::Path, settings: &Settings, level: usize) -> Self {
        let (embed_dim, stride) = (settings.embed_dim, if level == 0 { 1 } else { 2 });
        Self {
            norms: ["ln1", "ln2"].map(|name| ChannelNorm::new(&(path / name), embed_dim, NORM_EPS)),
            attention: Attention::new(&(path / "attn"), settings, stride, settings.window_at(level)),
            hidden: conv(path / "mlp" / 0, embed_dim, EXPANSION * embed_dim, POINT, 0.0),
            output: conv(path / "mlp" / 3, EXPANSION * embed_dim, embed_dim, POINT, 0.0),
            drop_paths: ["drop_path_attn", "drop_path_mlp"].map(|name| {
                // At a rate of zero the original has no scale either.
                (settings.drop_path > 0.0).then(|| DropPath::new(&(path / name), embed_dim, settings.drop_path))
            }),
            dropout: Dropout { probability: settings.dropout },
            stride,
        }
    }

    /// `x`: `[B, C, T]`; `mask`: `[B, 1, T]`; gives both at `T / stride`.
    pub fn forward(&self, x: &Tensor, mask: &Tensor, train: bool) -> (Tensor, Tensor) {
        // Every second step, which is what the original's nearest interpolation takes.
        let mask = mask.slice(2, 0, None, self.stride);
        let attended = self.attention.forward(&self.norms[0].forward(x), &mask, train);
        // The original masks branches and skip path one by one, which gives the same.
        let x = added(&self.skip(x), &self.drop_paths[0], &attended, train) * &mask;
        let mixed = self.dropout.forward(&pointwise(&self.hidden, &self.norms[1].forward(&x)).gelu("none"), train);
        let mixed = self.dropout.forward(&pointwise(&self.output, &mixed), train);
        (added(&x, &self.drop_paths[1], &mixed, train) * &mask, mask)
    }

    fn skip(&self, x: &Tensor) -> Tensor {
        if self.stride == 1 {
            return x.shallow_clone();
        }
        // Images of one line, whose channels may lie last.
        x.unsqueeze(2).max_pool2d([1, 3], [1, self.stride], [0, 1], [1, 1], false).squeeze_dim(2)
    }
}

fn added(residual: &Tensor, path: &Option<DropPath>, x: &Tensor, train: bool) -> Tensor {
    match path {
        Some(path) => path.add(residual, x, train),
        None => residual + x,
    }
}
