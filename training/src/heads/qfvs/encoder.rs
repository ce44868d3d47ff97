//! The transformer of the summary head: `torch.nn.TransformerEncoder` with the norm behind each part, and its
//! positions.
//!
//! Not for scores. Invariant: in a network of [`Behaviour::Fixed`] a place without a shot changes nothing elsewhere.

use tch::nn::{self, Init};
use tch::{Kind, Tensor};

use super::mask::is_shot;
use super::settings::Settings;
use crate::behaviour::Behaviour;

/// `eps` of `torch.nn.LayerNorm`.
const NORM_EPS: f64 = 1e-5;

/// A weight and a bias: of a linear map, or of a norm.
#[derive(Debug)]
pub(super) struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    /// Weights of `shape` `[out, in]`, or `[width]` for a norm, and as many biases as the first axis has.
    pub(super) fn new(
        path: &nn::Path,
        [weight, bias]: [&str; 2],
        shape: &[i64],
        init: (Init, Init),
        trainable: bool,
    ) -> Self {
        let add = |name: &str, shape: &[i64], init| path.add(name, nn::init(init, shape, path.device()), trainable);
        Self { weight: add(weight, shape, init.0), bias: add(bias, &shape[..1], init.1) }
    }

    /// A linear map `[out, in]` with the first values of `torch.nn.Linear`: all uniform within `1 / sqrt(in)`.
    pub(super) fn linear(path: &nn::Path, shape: [i64; 2], trainable: bool) -> Self {
        let init = within(1.0 / (shape[1] as f64).sqrt());
        Self::new(path, ["weight", "bias"], &shape, (init, init), trainable)
    }

    fn norm(path: &nn::Path, width: i64, trainable: bool) -> Self {
        Self::new(path, ["weight", "bias"], &[width], (Init::Const(1.0), Init::Const(0.0)), trainable)
    }

    /// As a linear map.
    pub(super) fn apply(&self, xs: &Tensor) -> Tensor {
        xs.linear(&self.weight, Some(&self.bias))
    }

    fn normalise(&self, xs: &Tensor) -> Tensor {
        xs.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), NORM_EPS, true)
    }
}

fn within(bound: f64) -> Init {
    Init::Uniform { lo: -bound, up: bound }
}

/// One layer: attention, feed-forward, each added to its input and normalised.
#[derive(Debug)]
struct Layer {
    heads: i64,
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
        let &Settings { width, heads, feed_forward, dropout, .. } = settings;
        let attention = path / "self_attn";
        let xavier = within((6.0 / (4 * width) as f64).sqrt());
        let qkv_names = ["in_proj_weight", "in_proj_bias"];
        let out_init = (within(1.0 / (width as f64).sqrt()), Init::Const(0.0));
        Self {
            heads,
            dropout,
            qkv: Affine::new(&attention, qkv_names, &[3 * width, width], (xavier, Init::Const(0.0)), trainable),
            out: Affine::new(&(attention / "out_proj"), ["weight", "bias"], &[width, width], out_init, trainable),
            wide: Affine::linear(&(path / "linear1"), [feed_forward, width], trainable),
            narrow: Affine::linear(&(path / "linear2"), [width, feed_forward], trainable),
            norms: ["norm1", "norm2"].map(|name| Affine::norm(&(path / name), width, trainable)),
        }
    }

    fn parts(&self) -> [&Affine; 6] {
        let [first, second] = &self.norms;
        [&self.qkv, &self.out, &self.wide, &self.narrow, first, second]
    }

    fn copy(&mut self, from: &Self) {
        let copy = |to: &Tensor, from: &Tensor| to.shallow_clone().copy_(from);
        for (to, from) in self.parts().into_iter().zip(from.parts()) {
            copy(&to.weight, &from.weight);
            copy(&to.bias, &from.bias);
        }
    }

    /// `xs` `[N, L, width]`, `mask` `[N, 1, 1, L]`.
    fn forward(&self, xs: &Tensor, mask: &Tensor, drop: bool) -> Tensor {
        let dropped = |xs: Tensor| xs.dropout(self.dropout, drop);
        let xs = self.norms[0].normalise(&(xs + dropped(self.attend(xs, mask, drop))));
        let wide = dropped(self.wide.apply(&xs).relu());
        self.norms[1].normalise(&(&xs + dropped(self.narrow.apply(&wide))))
    }

    fn attend(&self, xs: &Tensor, mask: &Tensor, drop: bool) -> Tensor {
        let (n, shots, width) = (xs.size()[0], xs.size()[1], xs.size()[2]);
        let qkv = self.qkv.apply(xs).view([n, shots, 3, self.heads, width / self.heads]).permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|part| qkv.select(0, part));
        let dropout = if drop { self.dropout } else { 0.0 };
        let met = Tensor::scaled_dot_product_attention(&q, &k, &v, Some(mask), dropout, false, None, false);
        self.out.apply(&met.transpose(1, 2).reshape([n, shots, width]))
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
            let mut layer = Layer::new(&(&layers / number), settings, true);
            tch::no_grad(|| layer.copy(&copied));
            layer
        };
        Self { layers: (0..settings.layers).map(layer).collect() }
    }

    /// `[N, L, width]` to the same, with a [`mask`].
    pub(super) fn forward(&self, xs: Tensor, mask: &Tensor, drop: bool) -> Tensor {
        self.layers.iter().fold(xs, |xs, layer| layer.forward(&xs, mask, drop))
    }
}

/// What attention is told of places without a shot, `[N, 1, 1, L]` for lengths `[N]`: to add one to their logits, in
/// numbers of `kind`, or (as booleans) to leave them out. A segment without any shot sees all its places, for the
/// softmax over nothing has no value.
pub(super) fn mask(seg_len: &Tensor, shots: i64, behaviour: Behaviour, kind: Kind) -> Tensor {
    let is_shot = is_shot(seg_len, shots);
    let mask = match behaviour {
        // The original hands a float mask to torch, which adds such a mask instead of applying it.
        Behaviour::Compat => is_shot.logical_not().to_kind(kind),
        Behaviour::Fixed => is_shot.logical_or(&seg_len.le(0).unsqueeze(-1)),
    };
    mask.unsqueeze(1).unsqueeze(1)
}

/// The table of positions `[shots, width]`: sines in even, cosines in odd channels.
///
/// Channel `2k` of the standard table and its neighbour have the frequency `10000^(-2k / width)` (Vaswani et al.,
/// 2017). The original takes the channel for the pair, so that channel `c` has `10000^(-2c / width)`, the cosines
/// included.
pub fn positions(shots: i64, width: i64, behaviour: Behaviour) -> Tensor {
    let exponent = |channel: i64| match behaviour {
        Behaviour::Compat => 2 * channel,
        Behaviour::Fixed => channel - channel % 2,
    };
    let value = |place: i64, channel: i64| {
        let angle = place as f64 / 10_000f64.powf(exponent(channel) as f64 / width as f64);
        (if channel % 2 == 0 { angle.sin() } else { angle.cos() }) as f32
    };
    let values: Vec<f32> = (0..shots).flat_map(|place| (0..width).map(move |channel| value(place, channel))).collect();
    Tensor::from_slice(&values).view([shots, width])
}
