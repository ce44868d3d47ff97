//! Attention of every step to its neighbours within a window, of queries, keys and values that are there.
//!
//! Not for what makes them, and not for attention over whole clips. Blocks of queries meet only the keys that they can
//! reach, so that time and memory grow with the length, not with its square.

use tch::{Device, Kind, Tensor};

/// Added to the scores of keys that the mask excludes.
pub const EXCLUDED: f64 = -1e4;

/// Attention within a window of an odd number of steps.
#[derive(Debug)]
pub struct WindowAttention {
    /// 0 within the window of a query, minus infinity elsewhere: `[block, 2 * block]`.
    band: Tensor,
    num_heads: i64,
}

impl WindowAttention {
    /// Of `window` steps, the query itself in the middle.
    pub fn new(window: i64, num_heads: i64, device: Device) -> Self {
        Self { band: band(window / 2, device), num_heads }
    }

    /// All of `query`, `key`, `value` and the result are `[B, C, T]`, `mask` is `[B, 1, T]`; `T` is a multiple of the
    /// window less one. Channels of the result lie last in memory. What a query outside the mask collects is of no use.
    pub fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor, mask: &Tensor) -> Tensor {
        let (batch, channels, length) = (query.size()[0], query.size()[1], query.size()[2]);
        let (block, reach, heads) = (self.band.size()[0], self.band.size()[1], self.num_heads);
        let (radius, blocks) = (block / 2, length / block);
        // Steps before channels throughout, so that what is copied are the channels of a head, which lie together.
        let steps = |x: &Tensor| x.transpose(1, 2);
        // [B, blocks, C, reach] of [B, T, C], with `outside` beyond both ends.
        let around =
            |x: &Tensor, outside: f64| x.pad([0, 0, radius, radius], "constant", outside).unfold(1, reach, block);
        let by_head = |x: Tensor| x.unflatten(2, [heads, channels / heads]).transpose(3, 4).contiguous();
        let query = steps(query).reshape([batch, blocks, block, heads, channels / heads]).transpose(2, 3);
        let [key, value] = [key, value].map(|x| by_head(around(&steps(x), 0.0)));
        let excluded = steps(&mask.logical_not()).to_kind(query.kind()) * EXCLUDED;
        let bias = around(&excluded, f64::NEG_INFINITY).unsqueeze(3) + &self.band;
        let scale = 1.0 / ((channels / heads) as f64).sqrt();
        let attn_weights = (query.matmul(&key.transpose(3, 4)) * scale + bias).softmax(-1, None::<Kind>);
        attn_weights.matmul(&value).transpose(2, 3).reshape([batch, length, channels]).transpose(1, 2)
    }
}

/// For queries in blocks of `2 * radius`, each with the keys from `radius` before the block to `radius` behind it: 0
/// where a key is at most `radius` away from the query, minus infinity elsewhere.
fn band(radius: i64, device: Device) -> Tensor {
    let block = 2 * radius;
    let near = Tensor::ones([block, 2 * block], (Kind::Float, device)).triu(0).tril(2 * radius);
    near.zeros_like().masked_fill(&near.eq(0.0), f64::NEG_INFINITY)
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
            let attention = WindowAttention::new(2 * radius + 1, 2, Device::Cpu);
            let found = attention.forward(&query, &key, &value, &mask);
            let expected = by_full_matrix([&query, &key, &value], &mask, radius, 2);
            let largest = (found - expected).abs().max().double_value(&[]);
            assert!(largest < 1e-5, "radius {radius}, length {length}: {largest}");
        }
    }
}
