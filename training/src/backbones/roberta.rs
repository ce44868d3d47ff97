//! EgoVLPv2's text tower: RoBERTa (Liu et al., 2019), its upper layers with cross-attention to a video's tokens.
//!
//! Not for tokenizing. Invariant: cross-attention asks with self-attention's output before residual and norm, as the
//! code does (the paper's equation 3 has it after).

use tch::nn::{self, Init, Module};
use tch::{Kind, Tensor};

use super::layers::{First, Fusion, Mlp, Shared, Table, attend, linear, norm, run_one, split};
use super::settings::TextSettings;

/// Of every layer norm.
const EPS: f64 = 1e-5;
/// The token that fills up; positions are counted without it.
const PAD: i64 = 1;

#[derive(Debug)]
pub(super) struct Roberta {
    words: Table,
    positions: Table,
    types: Table,
    norm: nn::LayerNorm,
    layers: Vec<Shared<Layer>>,
    dropout: f64,
}

impl Roberta {
    /// Its last `fused` layers have cross-attention.
    pub fn new(path: &nn::Path, settings: &TextSettings, fusion: Fusion) -> Self {
        let (embeddings, width, spread) = (path / "embeddings", settings.width, settings.initializer_range);
        let gate = |i| fusion.gate_of(i, settings.layers);
        let layer = |i| Shared::new(Layer::new(&(path / "encoder" / "layer" / i), settings, gate(i)));
        Self {
            words: Table::new(&(&embeddings / "word_embeddings"), [settings.vocabulary, width], spread, Some(PAD)),
            positions: Table::new(
                &(&embeddings / "position_embeddings"),
                [settings.positions, width],
                spread,
                Some(PAD),
            ),
            types: Table::new(&(&embeddings / "token_type_embeddings"), [1, width], spread, None),
            norm: norm(&embeddings / "LayerNorm", width, EPS),
            layers: (0..settings.layers).map(layer).collect(),
            dropout: settings.dropout,
        }
    }

    pub fn layers(&self) -> &[Shared<Layer>] {
        &self.layers
    }

    /// Embedded tokens `[B, L, W]` of `ids` `[B, L]`.
    pub fn embed(&self, ids: &Tensor, train: bool) -> Tensor {
        let sum = self.words.rows(ids) + self.types.first(1) + self.positions.rows(&position_ids(ids));
        self.norm.forward(&sum).dropout(self.dropout, train)
    }

    /// Layer `i` without a video; `mask` `[B, 1, 1, L]` is true for words.
    pub fn alone(&self, i: usize, x: &Tensor, mask: &Tensor, train: bool, recompute: bool) -> Tensor {
        let layer = self.layers[i].clone();
        run_one(recompute, &[x, mask], move |x| layer.with(|layer| layer.forward(&x[0], &x[1], None, train)))
    }
}

/// 2, 3, ... for words, 1 for padding: the count of words so far, behind the padding's own id.
fn position_ids(ids: &Tensor) -> Tensor {
    let words = ids.ne(PAD).to_kind(Kind::Int64);
    words.cumsum(1, Kind::Int64) * words + PAD
}

/// A layer.
#[derive(Debug)]
pub(super) struct Layer {
    attention: Attention,
    attention_norm: nn::LayerNorm,
    cross: Option<(Attention, Tensor)>,
    mlp: Mlp,
    norm: nn::LayerNorm,
    dropout: f64,
}

impl Layer {
    fn new(path: &nn::Path, settings: &TextSettings, gate: Option<f64>) -> Self {
        let TextSettings { width, hidden, dropout, .. } = *settings;
        let (attention, output) = (path / "attention", path / "output");
        let cross = |gate| {
            let attention = Attention::new(&(path / "crossattention_t2i"), settings);
            (attention, path.var("alpha_t2i", &[1], Init::Const(gate)))
        };
        Self {
            attention_norm: norm(&attention / "output" / "LayerNorm", width, EPS),
            attention: Attention::new(&attention, settings),
            cross: gate.map(cross),
            mlp: Mlp::new(
                [path / "intermediate" / "dense", &output / "dense"],
                [width, hidden],
                First::Normal(settings.initializer_range),
            ),
            norm: norm(&output / "LayerNorm", width, EPS),
            dropout,
        }
    }

    /// `x` `[B, L, W]` after the layer; it attends to `video` `[B, N, W]`, the tokens of the block before, if there is
    /// one.
    pub fn forward(&self, x: &Tensor, mask: &Tensor, video: Option<&Tensor>, train: bool) -> Tensor {
        let mixed = self.attention.forward(x, x, Some(mask), train);
        let sum = match (&self.cross, video) {
            (Some((cross, alpha)), Some(video)) => x + &mixed + alpha * cross.forward(&mixed, video, None, train),
            _ => x + &mixed,
        };
        let x = self.attention_norm.forward(&sum);
        self.norm.forward(&(&x + self.mlp.forward(&x).dropout(self.dropout, train)))
    }

    /// How much each word of `x` looks at each token of `video`, `[B, heads, L, N]`; `None` in a layer without
    /// cross-attention.
    pub fn looks(&self, x: &Tensor, mask: &Tensor, video: &Tensor) -> Option<Tensor> {
        let (cross, _) = self.cross.as_ref()?;
        Some(cross.weights(&self.attention.forward(x, x, Some(mask), false), video))
    }
}

/// Attention with its four maps.
#[derive(Debug)]
struct Attention {
    /// Of queries, keys and values.
    maps: [nn::Linear; 3],
    out: nn::Linear,
    heads: i64,
    dropout: f64,
}

impl Attention {
    fn new(path: &nn::Path, settings: &TextSettings) -> Self {
        let (own, width) = (path / "self", settings.width);
        let map = |path: nn::Path| linear(path, width, width, First::Normal(settings.initializer_range));
        Self {
            maps: ["query", "key", "value"].map(|name| map(&own / name)),
            out: map(path / "output" / "dense"),
            heads: settings.heads,
            dropout: settings.dropout,
        }
    }

    fn forward(&self, of: &Tensor, to: &Tensor, mask: Option<&Tensor>, train: bool) -> Tensor {
        let [q, k, v] = [(0, of), (1, to), (2, to)].map(|(i, x)| self.maps[i].forward(x));
        let dropout = if train { self.dropout } else { 0.0 };
        self.out.forward(&attend([&q, &k, &v], self.heads, mask, dropout)).dropout(self.dropout, train)
    }

    fn weights(&self, of: &Tensor, to: &Tensor) -> Tensor {
        let [q, k] = [(0, of), (1, to)].map(|(i, x)| split(&self.maps[i].forward(x), self.heads));
        let scale = (q.size()[3] as f64).powf(-0.5);
        (q * scale).matmul(&k.transpose(2, 3)).softmax(-1, None)
    }
}
