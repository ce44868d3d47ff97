//! The video side of SnAG: a pyramid of local transformers, each of whose blocks is a level.
//!
//! Not for queries: a clip is encoded once for all that are asked about it.

use tch::nn::{self, Module};
use tch::{Device, Kind, Tensor};

use super::attention::LocalAttention;
use super::layers::{FeedForward, Tower, norm, point};
use super::settings::Settings;
use crate::nn::{ChannelNorm, DropPath};

/// A level of the pyramid, or of what queries make of it.
#[derive(Debug)]
pub struct Features {
    /// `[B, C, T]`; of no meaning outside of the mask.
    pub values: Tensor,
    /// Which steps lie within the clip, `[B, 1, T]`, boolean.
    pub mask: Tensor,
}

/// A transformer block: norm, local attention, residual; norm, two pointwise layers, residual.
#[derive(Debug)]
struct Block {
    norms: [ChannelNorm; 2],
    attention: LocalAttention,
    mixing: FeedForward,
    drop_paths: [DropPath; 2],
    stride: i64,
}

impl Block {
    fn new(path: &nn::Path, settings: &Settings, stride: i64) -> Self {
        let channels = settings.embed_dim;
        let drop_path = |name| DropPath::new(&(path / name), channels, settings.drop_path);
        Self {
            norms: ["ln_attn", "ln_ffn"].map(|name| norm(&(path / name), channels)),
            attention: LocalAttention::new(&(path / "attn"), settings, stride),
            mixing: FeedForward::new(&(path / "ffn"), channels, settings.dropout),
            drop_paths: ["drop_path_attn", "drop_path_ffn"].map(drop_path),
            stride,
        }
    }

    fn forward(&self, Features { values, mask }: &Features, train: bool) -> Features {
        let x = values * mask;
        let out_mask = mask.slice(2, 0, None, self.stride);
        let attended = self.attention.forward(&self.norms[0].forward(&x), mask, &out_mask, train);
        let x = self.drop_paths[0].add(&self.skip(&x, mask, &out_mask), &attended, train);
        let mixed = self.mixing.forward(&self.norms[1].forward(&x), train) * &out_mask;
        Features { values: self.drop_paths[1].add(&x, &mixed, train), mask: out_mask }
    }

    /// The clip itself, or the greatest of every three steps, of which those outside of the clip are none.
    fn skip(&self, x: &Tensor, mask: &Tensor, out_mask: &Tensor) -> Tensor {
        if self.stride == 1 {
            return x.shallow_clone();
        }
        let within = x.masked_fill(&mask.logical_not(), f64::NEG_INFINITY);
        let pooled = within.unsqueeze(2).max_pool2d([1, 3], [1, self.stride], [0, 1], [1, 1], false).squeeze_dim(2);
        pooled.masked_fill(&out_mask.logical_not(), 0.0)
    }
}

#[derive(Debug)]
pub(super) struct VideoNet {
    projection: nn::Conv1D,
    embedding: Tower,
    /// `[1, embed_dim, max_length]`.
    positions: Tensor,
    blocks: Vec<Block>,
}

impl VideoNet {
    pub fn new(path: &nn::Path, input_dim: i64, settings: &Settings) -> Self {
        let channels = settings.embed_dim;
        let (convs, norms) = (path / "embd_convs", path / "embd_norms");
        let stride = |level: i64| if level == 0 { 1 } else { 2 };
        let block = |level| Block::new(&(path / "branch" / level), settings, stride(level));
        Self {
            projection: point(path / "embd_fc" / "conv", input_dim, channels),
            embedding: Tower::new(&convs, &norms, channels, settings.embedding_layers),
            positions: positions(settings.max_length, channels, path.device()),
            blocks: (0..settings.levels() as i64).map(block).collect(),
        }
    }

    /// `[B, input_dim, T]` and `[B, 1, T]` to all levels, finest first.
    pub fn forward(&self, features: &Tensor, mask: &Tensor, train: bool) -> Vec<Features> {
        let embedded = self.embedding.forward(&self.projection.forward(features), mask);
        let positions = positions_at(&self.positions, features.size()[2]);
        let input = Features { values: embedded + positions * mask, mask: mask.shallow_clone() };
        let mut levels: Vec<Features> = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let next = block.forward(levels.last().unwrap_or(&input), train);
            levels.push(next);
        }
        levels
    }
}

/// Sines in the first half of the channels, cosines of the same angles in the second, over the root of the width: `[1,
/// embed_dim, length]`.
fn positions(length: i64, embed_dim: i64, device: Device) -> Tensor {
    let (options, half) = ((Kind::Double, device), embed_dim / 2);
    let rates = (Tensor::arange(half, options) * (-(10_000_f64.ln()) / half as f64)).exp().unsqueeze(1);
    let angles = rates * Tensor::arange(length, options);
    let table = Tensor::cat(&[angles.sin(), angles.cos()], 0) / (embed_dim as f64).sqrt();
    table.to_kind(Kind::Float).unsqueeze(0)
}

/// The first `length` steps of a table, or all of it stretched to a length beyond its own (linear, its ends kept).
fn positions_at(table: &Tensor, length: i64) -> Tensor {
    if length <= table.size()[2] {
        return table.narrow(2, 0, length);
    }
    table.upsample_linear1d([length].as_slice(), true, None::<f64>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_sines_and_then_cosines() {
        let table = positions(8, 6, Device::Cpu);
        for (channel, step) in [(0, 0), (3, 0), (2, 3), (5, 3), (4, 7)] {
            let angle = step as f64 / 10_000_f64.powf(f64::from(channel % 3) / 3.0);
            let expected = if channel < 3 { angle.sin() } else { angle.cos() } / 6_f64.sqrt();
            assert!((table.double_value(&[0, channel.into(), step]) - expected).abs() < 1e-7);
        }
    }

    #[test]
    fn a_stretched_table_keeps_its_ends() {
        let table = positions(64, 6, Device::Cpu);
        assert_eq!(positions_at(&table, 32), table.narrow(2, 0, 32));
        let stretched = positions_at(&table, 127);
        for (step, of) in [(0, 0), (2, 1), (126, 63)] {
            let difference = stretched.double_value(&[0, 1, step]) - table.double_value(&[0, 1, of]);
            assert!(difference.abs() < 1e-6, "step {step}");
        }
    }
}
