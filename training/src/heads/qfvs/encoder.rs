//! The transformer of the summary head: `torch.nn.TransformerEncoder` with the norm behind each part, and its
//! positions.
//!
//! Not for scores. Invariant: in a network of [`Compat::Fixed`] a place without a shot changes nothing elsewhere.

use egofx::compat::Compat;
use tch::nn;
use tch::{Kind, Tensor};

use super::mask::is_shot;
use super::settings::Settings;
use crate::nn::{Affine, Dropout, WeightInit, attention};

/// `eps` of `torch.nn.LayerNorm`.
pub(super) const NORM_EPS: f64 = 1e-5;

/// One layer: attention, feed-forward, each added to its input and normalised.
#[derive(Debug)]
struct Layer {
    num_heads: i64,
    dropout: f64,
    qkv: Affine,
    out: Affine,
    wide: Affine,
    narrow: Affine,
    norms: [Affine; 2],
}

impl Layer {
    /// First values as in `torch.nn.MultiheadAttention` and `torch.nn.Linear`.
    fn new(path: &nn::Path, settings: &Settings, trainable: bool) -> Self {
        let &Settings { embed_dim, num_heads, mlp_dim, dropout, .. } = settings;
        let self_attn = path / "self_attn";
        let qkv_init = WeightInit::Xavier.of(embed_dim, 3 * embed_dim);
        let (qkv_names, out_init, pytorch) =
            (["in_proj_weight", "in_proj_bias"], WeightInit::PyTorchWithBias(0.0), WeightInit::PyTorch);
        Self {
            num_heads,
            dropout,
            qkv: Affine::new(&self_attn, qkv_names, &[3 * embed_dim, embed_dim], qkv_init, trainable),
            out: Affine::linear(&(self_attn / "out_proj"), [embed_dim, embed_dim], out_init, trainable),
            wide: Affine::linear(&(path / "linear1"), [mlp_dim, embed_dim], pytorch, trainable),
            narrow: Affine::linear(&(path / "linear2"), [embed_dim, mlp_dim], pytorch, trainable),
            norms: ["norm1", "norm2"].map(|name| Affine::layer_norm(&(path / name), embed_dim, trainable)),
        }
    }

    fn parts(&self) -> [&Affine; 6] {
        let [first, second] = &self.norms;
        [&self.qkv, &self.out, &self.wide, &self.narrow, first, second]
    }

    fn copy(&self, from: &Self) {
        self.parts().into_iter().zip(from.parts()).for_each(|(to, from)| to.copy(from));
    }

    /// `xs` `[N, L, embed_dim]`, `mask` `[N, 1, 1, L]`.
    fn forward(&self, xs: &Tensor, mask: &Tensor, drop: bool) -> Tensor {
        let dropped = |xs: Tensor| Dropout { probability: self.dropout }.forward(&xs, drop);
        let xs = self.norms[0].normalise(&(xs + dropped(self.attend(xs, mask, drop))), NORM_EPS);
        let wide = dropped(self.wide.apply(&xs).relu());
        self.norms[1].normalise(&(&xs + dropped(self.narrow.apply(&wide))), NORM_EPS)
    }

    fn attend(&self, xs: &Tensor, mask: &Tensor, drop: bool) -> Tensor {
        let qkv = self.qkv.apply(xs).chunk(3, -1);
        let dropout = if drop { self.dropout } else { 0.0 };
        self.out.apply(&attention([&qkv[0], &qkv[1], &qkv[2]], self.num_heads, Some(mask), dropout))
    }
}

/// All layers.
#[derive(Debug)]
pub(super) struct Encoder {
    layers: Vec<Layer>,
}

impl Encoder {
    /// torch copies one layer for all: they begin equal, and the one that was copied stays in the state dict, unused.
    pub(super) fn new(path: &nn::Path, settings: &Settings) -> Self {
        let copied = Layer::new(&(path / "encoder_layer"), settings, false);
        let layers = path / "transformer_encoder" / "layers";
        let layer = |number: usize| {
            let layer = Layer::new(&(&layers / number), settings, true);
            layer.copy(&copied);
            layer
        };
        Self { layers: (0..settings.depth).map(layer).collect() }
    }

    /// `[N, L, embed_dim]` to the same, with a [`mask`].
    pub(super) fn forward(&self, xs: Tensor, mask: &Tensor, drop: bool) -> Tensor {
        self.layers.iter().fold(xs, |xs, layer| layer.forward(&xs, mask, drop))
    }
}

/// What attention is told of places without a shot, `[N, 1, 1, L]` for lengths `[N]`: to add one to their logits, in
/// numbers of `kind`, or (as booleans) to leave them out. A segment without any shot sees all its places, for the
/// softmax over nothing has no value.
pub(super) fn mask(seg_len: &Tensor, shots: i64, compat: Compat, kind: Kind) -> Tensor {
    let is_shot = is_shot(seg_len, shots);
    let mask = match compat {
        // The original hands a float mask to torch, which adds such a mask instead of applying it.
        Compat::AsReleased => is_shot.logical_not().to_kind(kind),
        Compat::Fixed => is_shot.logical_or(&seg_len.le(0).unsqueeze(-1)),
    };
    mask.unsqueeze(1).unsqueeze(1)
}

/// The table of positions `[shots, embed_dim]`: sines in even, cosines in odd channels.
///
/// Channel `2k` of the standard table and its neighbour have the frequency `10000^(-2k / width)` (Vaswani et al.,
/// 2017). The original takes the channel for the pair, so that channel `c` has `10000^(-2c / width)`, the cosines
/// included.
pub fn positions(shots: i64, embed_dim: i64, compat: Compat) -> Tensor {
    Tensor::from_slice(&position_values(shots, embed_dim, compat)).view([shots, embed_dim])
}

/// [`positions`], row by row.
pub(super) fn position_values(shots: i64, embed_dim: i64, compat: Compat) -> Vec<f32> {
    let exponent = |channel: i64| match compat {
        Compat::AsReleased => 2 * channel,
        Compat::Fixed => channel - channel % 2,
    };
    let value = |place: i64, channel: i64| {
        let angle = place as f64 / 10_000f64.powf(exponent(channel) as f64 / embed_dim as f64);
        (if channel % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
    };
    (0..shots).flat_map(|place| (0..embed_dim).map(move |channel| value(place, channel))).collect()
}
