//! Attention of every step to its neighbours within a window, or to all of the clip, after depthwise convolutions of queries, keys
//! and values.
//!
//! `LocalMaskedMHCA` and `MaskedMHCA` of the original. Within a window, blocks of queries meet only the keys that they can reach,
//! so that time and memory grow with the length, not with its square; over the whole clip they do, which is for coarse levels.

use tch::nn::{self, Module};
use tch::{Device, Kind, Tensor};

use super::layers::{MaskedConv, NORM_EPS, POINT, THREE, conv, on_rows};
use super::settings::Settings;
use crate::nn::{ChannelNorm, Conv};

/// Added to the scores of keys that the mask excludes.
pub(super) const EXCLUDED: f64 = -1e4;

/// Depthwise convolution, norm and projection of the queries, the keys or the values.
#[derive(Debug)]
struct Projection {
    depthwise: MaskedConv,
    norm: ChannelNorm,
    point: nn::Conv1D,
}

impl Projection {
    fn new(path: &nn::Path, name: &str, embed_dim: i64, stride: i64) -> Self {
        let depthwise = Conv { stride, groups: embed_dim, ..THREE };
        Self {
            depthwise: MaskedConv::new(&(path / format!("{name}_conv")), embed_dim, embed_dim, depthwise, 0.0),
            norm: ChannelNorm::new(&(path / format!("{name}_norm")), embed_dim, NORM_EPS),
            point: conv(path / name, embed_dim, embed_dim, POINT, 0.0),
        }
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        on_rows(&self.point, &self.norm.forward(&self.depthwise.forward(x, mask)))
    }
}

/// Attention that divides the length by its stride.
#[derive(Debug)]
pub(super) struct Attention {
    query: Projection,
    key: Projection,
    value: Projection,
    output: nn::Conv1D,
    /// 0 within the window of a query, minus infinity elsewhere: `[block, 2 * block]`; `None` where all of the clip is within.
    band: Option<Tensor>,
    num_heads: i64,
    dropout: f64,
}

impl Attention {
    /// Within a `window`, or over the whole clip.
    pub fn new(path: &nn::Path, settings: &Settings, stride: i64, window: Option<i64>) -> Self {
        let projection = |name| Projection::new(path, name, settings.embed_dim, stride);
        Self {
            query: projection("query"),
            key: projection("key"),
            value: projection("value"),
            output: conv(path / "proj", settings.embed_dim, settings.embed_dim, POINT, 0.0),
            band: window.map(|window| band(window / 2, path.device())),
            num_heads: settings.num_heads,
            dropout: settings.dropout,
        }
    }

    /// `x`: `[B, C, stride * T]`; `mask`: that of the output, `[B, 1, T]`; gives `[B, C, T]`. `T` is a multiple of the
    /// window less one, where there is a window.
    pub fn forward(&self, x: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|part| part.forward(x, mask));
        let context = match &self.band {
            Some(band) => windowed(&query, &key, &value, mask, band, self.num_heads),
            None => over_clip(&query, &key, &value, mask, self.num_heads),
        };
        // What queries outside the mask collect never leaves: the projection is pointwise, and the mask follows.
        self.output.forward(&context).dropout(self.dropout, train) * mask
    }
}

/// For queries in blocks of `2 * radius`, each with the keys from `radius` before the block to `radius` behind it: 0
/// where a key is at most `radius` away from the query, minus infinity elsewhere.
fn band(radius: i64, device: Device) -> Tensor {
    let block = 2 * radius;
    let near = Tensor::ones([block, 2 * block], (Kind::Float, device)).triu(0).tril(2 * radius);
    near.zeros_like().masked_fill(&near.eq(0.0), f64::NEG_INFINITY)
}

/// Attention within the window; all of `query`, `key`, `value` and the result are `[B, C, T]`, `mask` is `[B, 1, T]`.
fn windowed(query: &Tensor, key: &Tensor, value: &Tensor, mask: &Tensor, band: &Tensor, heads: i64) -> Tensor {
    let (batch, channels, length) = (query.size()[0], query.size()[1], query.size()[2]);
    let (block, reach) = (band.size()[0], band.size()[1]);
    let radius = block / 2;
    let by_head = |x: &Tensor| x.view([batch, heads, channels / heads, length]);
    // [B, heads, C / heads, blocks, reach], with `outside` beyond both ends.
    let around = |x: &Tensor, outside: f64| x.pad([radius, radius], "constant", outside).unfold(-1, reach, block);
    let scale = 1.0 / ((channels / heads) as f64).sqrt();
    let query = (by_head(query) * scale).unflatten(3, [length / block, block]).permute([0, 1, 3, 4, 2]);
    let key = around(&by_head(key), 0.0).permute([0, 1, 3, 2, 4]);
    let value = around(&by_head(value), 0.0).permute([0, 1, 3, 4, 2]);
    let excluded = mask.logical_not().to_kind(query.kind()) * EXCLUDED;
    let excluded = around(&excluded, f64::NEG_INFINITY).unsqueeze(3);
    let attn_weights = (query.matmul(&key) + band + excluded).softmax(-1, None::<Kind>);
    attn_weights.matmul(&value).permute([0, 1, 4, 2, 3]).reshape([batch, channels, length])
}

/// Attention of every query to all keys within the mask, of which each clip has one at least; shapes are those of [`windowed`].
fn over_clip(query: &Tensor, key: &Tensor, value: &Tensor, mask: &Tensor, heads: i64) -> Tensor {
    let (batch, channels, length) = (query.size()[0], query.size()[1], query.size()[2]);
    let by_head = |x: &Tensor| x.view([batch, heads, channels / heads, length]);
    let scale = 1.0 / ((channels / heads) as f64).sqrt();
    let scores = (by_head(query) * scale).transpose(2, 3).matmul(&by_head(key));
    let outside = mask.logical_not().unsqueeze(1);
    let attn_weights = scores.masked_fill(&outside, f64::NEG_INFINITY).softmax(-1, None::<Kind>);
    by_head(value).matmul(&attn_weights.transpose(2, 3)).reshape([batch, channels, length])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by a full matrix of scores.
    fn by_full_matrix(parts: [&Tensor; 3], mask: &Tensor, radius: i64, heads: i64) -> Tensor {
        let (batch, channels, length) = (parts[0].size()[0], parts[0].size()[1], parts[0].size()[2]);
        let [query, key, value] = parts.map(|x| x.view([batch, heads, channels / heads, length]).transpose(2, 3));
        let scores = query.matmul(&key.transpose(2, 3)) / ((channels / heads) as f64).sqrt();
        let scores = scores + (mask.logical_not().to_kind(Kind::Float) * EXCLUDED).unsqueeze(2);
        let near = Tensor::ones([length, length], (Kind::Float, Device::Cpu)).triu(-radius).tril(radius);
        let weights = scores.masked_fill(&near.eq(0.0), f64::NEG_INFINITY).softmax(-1, None::<Kind>);
        weights.matmul(&value).transpose(2, 3).reshape([batch, channels, length])
    }

    #[test]
    fn blocks_give_what_a_full_matrix_gives() {
        for (radius, length) in [(1, 2), (1, 10), (4, 8), (4, 16), (4, 64), (9, 36)] {
            let random = || Tensor::randn([2, 6, length], (Kind::Double, Device::Cpu));
            let (query, key, value) = (random() * 3.0, random() * 3.0, random());
            let ends = Tensor::from_slice(&[length, length / 2 + 1]).view([2, 1, 1]);
            let mask = Tensor::arange(length, (Kind::Int64, Device::Cpu)).lt_tensor(&ends);
            let found = windowed(&query, &key, &value, &mask, &band(radius, Device::Cpu), 2);
            let expected = by_full_matrix([&query, &key, &value], &mask, radius, 2);
            let largest = (found - expected).abs().max().double_value(&[]);
            assert!(largest < 1e-5, "radius {radius}, length {length}: {largest}");
        }
    }

    #[test]
    fn a_window_that_reaches_everything_is_the_whole_clip() {
        let random = || Tensor::randn([2, 6, 12], (Kind::Double, Device::Cpu));
        let (query, key, value) = (random() * 3.0, random() * 3.0, random());
        let mask =
            Tensor::arange(12, (Kind::Int64, Device::Cpu)).lt_tensor(&Tensor::from_slice(&[12, 7]).view([2, 1, 1]));
        let found = over_clip(&query, &key, &value, &mask, 2);
        let expected = by_full_matrix([&query, &key, &value], &mask, 12, 2);
        let largest = (found - expected).abs().max().double_value(&[]);
        assert!(largest < 1e-12, "{largest}");
    }
}
