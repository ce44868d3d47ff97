//! VSLNet's conditioned predictor: a start from the features, an end from the features of the start.
//!
//! Not for spans; see `decode`. Invariant: the logits of padding are below all others.

use tch::nn::{self, Init};
use tch::{Kind, Tensor};

use super::encoder::Encoder;
use super::layers::{Mask, norm};
use super::settings::{PredictorKind, Settings};
use crate::nn::PointwiseLinear;

/// The predictor.
#[derive(Debug)]
pub(super) struct Predictor {
    conditioner: Conditioner,
    start: Block,
    end: Block,
}

impl Predictor {
    pub fn new(path: &nn::Path, settings: &Settings) -> Self {
        Self {
            conditioner: Conditioner::new(path, settings),
            start: Block::new(&(path / "start_block"), settings.embed_dim),
            end: Block::new(&(path / "end_block"), settings.embed_dim),
        }
    }

    /// Logits of start and end, each `[B, L]`.
    pub fn forward(&self, x: &Tensor, mask: &Mask, train: bool) -> [Tensor; 2] {
        let [start, end] = self.conditioner.forward(x, mask, train);
        [self.start.forward(&start, x) + &mask.bias, self.end.forward(&end, x) + &mask.bias]
    }
}

/// What makes features of the start, and of these features of the end.
#[derive(Debug)]
enum Conditioner {
    /// One encoder used twice, then a layer norm for each end.
    Transformer { encoder: Box<Encoder>, norms: [nn::LayerNorm; 2] },
    /// Two recurrent networks, the second on the first one's output.
    Rnn([Lstm; 2]),
}

impl Conditioner {
    fn new(path: &nn::Path, settings: &Settings) -> Self {
        let embed_dim = settings.embed_dim;
        match settings.predictor {
            PredictorKind::Transformer => Self::Transformer {
                encoder: Box::new(Encoder::new(&(path / "encoder"), settings)),
                norms: ["start_layer_norm", "end_layer_norm"].map(|name| norm(path / name, embed_dim)),
            },
            PredictorKind::Rnn => {
                Self::Rnn(["start_encoder", "end_encoder"].map(|name| Lstm::new(&(path / name / "lstm"), embed_dim)))
            }
        }
    }

    /// Features of start and end, each `[B, L, C]`.
    fn forward(&self, x: &Tensor, mask: &Mask, train: bool) -> [Tensor; 2] {
        match self {
            Self::Transformer { encoder, norms } => {
                let start = encoder.forward(x, mask, train).encoded;
                let end = encoder.forward(&start, mask, train).encoded;
                [start.apply(&norms[0]), end.apply(&norms[1])]
            }
            Self::Rnn(networks) => {
                let valid = mask.valid.unsqueeze(2);
                let start = networks[0].forward(x) * &valid;
                let end = networks[1].forward(&start) * valid;
                [start, end]
            }
        }
    }
}

/// A recurrent network of one layer and one direction, of equal widths in and out.
#[derive(Debug)]
struct Lstm {
    /// Weights of input and state, `[4 C, C]` each, then their biases, `[4 C]` each.
    weights: [Tensor; 4],
}

impl Lstm {
    /// Uniform in ±1/√C, biases too, as PyTorch's own.
    fn new(path: &nn::Path, embed_dim: i64) -> Self {
        let bound = (embed_dim as f64).sqrt().recip();
        let init = Init::Uniform { lo: -bound, up: bound };
        let matrix = |name: &str| path.var(name, &[4 * embed_dim, embed_dim], init);
        let vector = |name: &str| path.var(name, &[4 * embed_dim], init);
        let biases = ["bias_ih_l0", "bias_hh_l0"].map(vector);
        let [input, state] = ["weight_ih_l0", "weight_hh_l0"].map(matrix);
        let [of_input, of_state] = biases;
        Self { weights: [input, state, of_input, of_state] }
    }

    /// `[B, L, C]` to `[B, L, C]`.
    fn forward(&self, x: &Tensor) -> Tensor {
        let state = Tensor::zeros([1, x.size()[0], x.size()[2]], (Kind::Float, x.device()));
        // Always as in training: with one layer the only difference is that there are gradients.
        x.lstm(&[&state, &state], &self.weights.each_ref(), true, 1, 0.0, true, false, true).0
    }
}

/// Two layers that make logits of the features of one end and those of the video.
#[derive(Debug)]
struct Block([PointwiseLinear; 2]);

impl Block {
    fn new(path: &nn::Path, embed_dim: i64) -> Self {
        let linear = |layer: i64, input, output| PointwiseLinear::new(&(path / layer / "conv1d"), input, output);
        Self([linear(0, 2 * embed_dim, embed_dim), linear(2, embed_dim, 1)])
    }

    /// `[B, L]`.
    fn forward(&self, end: &Tensor, x: &Tensor) -> Tensor {
        let hidden = self.0[0].forward(&Tensor::cat(&[end, x], 2)).relu();
        self.0[1].forward(&hidden).squeeze_dim(2)
    }
}
