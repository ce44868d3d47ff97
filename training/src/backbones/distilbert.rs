//! EgoVLP's text tower: DistilBERT (Sanh et al., 2019), as in transformers 4.2.
//!
//! Not for tokenizing. Invariant: norms come after the residual sums, with an epsilon of 1e-12.

use tch::Tensor;
use tch::nn::{self, Module};

use super::layers::{First, Mlp, Shared, Table, attend, keys_that_count, linear, norm, run_one};
use super::settings::TextSettings;

/// Of every layer norm.
const EPS: f64 = 1e-12;
/// The token that fills up.
const PAD: i64 = 0;

#[derive(Debug)]
pub(super) struct DistilBert {
    words: Table,
    positions: Table,
    norm: nn::LayerNorm,
    layers: Vec<Shared<Layer>>,
    dropout: f64,
}

impl DistilBert {
    pub fn new(path: &nn::Path, settings: &TextSettings) -> Self {
        let (embeddings, width, spread) = (path / "embeddings", settings.width, settings.initializer_range);
        let layer = |i| Shared::new(Layer::new(&(path / "transformer" / "layer" / i), settings));
        Self {
            words: Table::new(&(&embeddings / "word_embeddings"), [settings.vocabulary, width], spread, Some(PAD)),
            positions: Table::new(&(&embeddings / "position_embeddings"), [settings.positions, width], spread, None),
            norm: norm(&embeddings / "LayerNorm", width, EPS),
            layers: (0..settings.layers).map(layer).collect(),
            dropout: settings.dropout,
        }
    }

    /// The last hidden state `[B, L, W]` of `ids` and `mask` `[B, L]`.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor, train: bool, recompute: bool) -> Tensor {
        let mask = keys_that_count(mask);
        let layer = |x: Tensor, layer: &Shared<Layer>| {
            let layer = layer.clone();
            run_one(recompute, &[&x, &mask], move |x| layer.with(|layer| layer.forward(&x[0], &x[1], train)))
        };
        self.layers.iter().fold(self.embed(ids, train), layer)
    }

    fn embed(&self, ids: &Tensor, train: bool) -> Tensor {
        let sum = self.words.rows(ids) + self.positions.first(ids.size()[1]);
        self.norm.forward(&sum).dropout(self.dropout, train)
    }
}

#[derive(Debug)]
struct Layer {
    maps: [nn::Linear; 3],
    out: nn::Linear,
    attention_norm: nn::LayerNorm,
    mlp: Mlp,
    norm: nn::LayerNorm,
    heads: i64,
    dropout: f64,
}

impl Layer {
    fn new(path: &nn::Path, settings: &TextSettings) -> Self {
        let TextSettings { width, heads, hidden, dropout, .. } = *settings;
        let (attention, ffn) = (path / "attention", path / "ffn");
        let map = |name: &str| linear(&attention / name, width, width, First::Normal(settings.initializer_range));
        Self {
            maps: ["q_lin", "k_lin", "v_lin"].map(map),
            out: map("out_lin"),
            attention_norm: norm(path / "sa_layer_norm", width, EPS),
            mlp: Mlp::new([&ffn / "lin1", &ffn / "lin2"], [width, hidden], First::Normal(settings.initializer_range)),
            norm: norm(path / "output_layer_norm", width, EPS),
            heads,
            dropout,
        }
    }

    fn forward(&self, x: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        let [q, k, v] = [0, 1, 2].map(|i| self.maps[i].forward(x));
        let dropout = if train { self.dropout } else { 0.0 };
        let mixed = self.out.forward(&attend([&q, &k, &v], self.heads, Some(mask), dropout));
        let x = self.attention_norm.forward(&(x + mixed));
        self.norm.forward(&(&x + self.mlp.forward(&x).dropout(self.dropout, train)))
    }
}
