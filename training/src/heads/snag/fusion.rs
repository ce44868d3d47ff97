//! Where SnAG's clips meet queries: every level by itself, scaled and shifted by what its steps find among the words.
//!
//! Not for the encoders. The levels share the weights.

use tch::Tensor;
use tch::nn;

use super::attention::{CrossAttention, Words};
use super::layers::{FeedForward, NORM_EPS, norm};
use super::settings::Settings;
use super::video::Features;
use crate::nn::{ChannelNorm, DropPath, Dropout};

#[derive(Debug)]
struct Layer {
    query_norm: ChannelNorm,
    word_norm: ChannelNorm,
    attention: CrossAttention,
    mixing_norm: ChannelNorm,
    mixing: FeedForward,
    drop_path: DropPath,
    dropout: Dropout,
}

impl Layer {
    fn new(path: &nn::Path, settings: &Settings) -> Self {
        let channels = settings.embed_dim;
        Self {
            query_norm: norm(&(path / "ln_xattn_q"), channels),
            word_norm: norm(&(path / "ln_xattn_kv"), settings.text_embed_dim),
            attention: CrossAttention::new(&(path / "xattn"), settings),
            mixing_norm: norm(&(path / "ln_ffn"), channels),
            mixing: FeedForward::new(&(path / "ffn"), channels, settings.dropout),
            drop_path: DropPath::new(&(path / "drop_path_ffn"), channels, settings.drop_path),
            dropout: Dropout { probability: settings.dropout },
        }
    }

    /// `owners` says which clip each query is about, `[N]`; nothing where the clips have been repeated for them.
    fn forward(&self, clips: &Features, words: &Words, owners: Option<&Tensor>, train: bool) -> Features {
        let for_each = |x: Tensor| owners.map_or_else(|| x.shallow_clone(), |owners| x.index_select(0, owners));
        let x = &clips.values * &clips.mask;
        let queries = for_each(self.attention.queries(&self.query_norm.forward(&x), &clips.mask));
        let words = Words { values: self.word_norm.forward(&words.values), mask: words.mask.shallow_clone() };
        let found = self.dropout.forward(&self.attention.forward(&queries, &words), train);
        let [scale, shift] = [0, 1].map(|half| found.narrow(1, half * x.size()[1], x.size()[1]));
        let (plain, mask) = (for_each(plain_norm(&x)), for_each(clips.mask.shallow_clone()));
        let x = plain * scale + shift;
        let mixed = self.mixing.forward(&self.mixing_norm.forward(&x), train) * &mask;
        Features { values: self.drop_path.add(&x, &mixed, train), mask }
    }
}

/// A layer norm over channels without weight and bias.
fn plain_norm(x: &Tensor) -> Tensor {
    let rows = x.transpose(1, 2);
    rows.layer_norm([x.size()[1]], None::<&Tensor>, None::<&Tensor>, NORM_EPS, true).transpose(1, 2)
}

#[derive(Debug)]
pub(super) struct Fusion {
    first: Layer,
    others: Vec<Layer>,
    norm: ChannelNorm,
}

impl Fusion {
    pub fn new(path: &nn::Path, settings: &Settings) -> Self {
        let layer = |index: i64| Layer::new(&(path / "layers" / index), settings);
        Self {
            first: layer(0),
            others: (1..settings.fusion_layers).map(layer).collect(),
            norm: norm(&(path / "ln_out"), settings.embed_dim),
        }
    }

    /// A level as each query sees it: `[N, C, T]`.
    pub fn forward(&self, level: &Features, words: &Words, owners: &Tensor, train: bool) -> Features {
        let first = self.first(level, words, owners, train);
        let fused = self.others.iter().fold(first, |clips, layer| layer.forward(&clips, words, None, train));
        Features { values: self.norm.forward(&fused.values), mask: fused.mask }
    }

    /// The same behind the first layer alone.
    pub fn first(&self, level: &Features, words: &Words, owners: &Tensor, train: bool) -> Features {
        self.first.forward(level, words, Some(owners), train)
    }
}
