//! The head of query-focused summaries: a score for each shot of a video that has met a prompt.
//!
//! After `QFVS/` of [EgoVLPv2](https://github.com/facebookresearch/EgoVLPv2). Not for cutting videos into segments, see
//! `egofx::qfvs`, nor for tags and matching, see `egofx::metric::qfvs`. Invariant: what a sample is scored does not
//! depend on the batch it is in. (The original runs with one sample for each GPU only.)

mod encoder;
pub mod head;
pub mod loss;
mod mask;
mod onnx;
mod settings;
pub mod summary;

use egofx::compat::Compat;
use egofx::export::Graph;
pub use egofx::heads::summariser::places;
use egofx::qfvs::SHOTS;
use tch::Tensor;
use tch::nn::{self, Init};

use crate::nn::{Affine, Dropout, WeightInit};
use encoder::Encoder;

pub use encoder::positions;
pub use settings::Settings;

/// Width between the encoder and the score.
const PROJECTED: i64 = 8;
/// The score that all shots begin with: about one shot of eight is relevant.
const FIRST_BIAS: f64 = -1.91;
/// Spread of the first weights of the score.
const FIRST_DEVIATION: f64 = 0.1;

/// A network that cannot be made, or was given something else than it takes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QfvsError {
    /// Heads of attention do not share the embedding evenly, or it has no pairs of sine and cosine.
    #[error("embed_dim is {embed_dim} with num_heads = {num_heads}, expected an even multiple of these")]
    EmbedDim {
        /// [`Settings::embed_dim`].
        embed_dim: i64,
        /// [`Settings::num_heads`].
        num_heads: i64,
    },
    /// A tensor has another shape.
    #[error("{what}: expected shape {expected}, found {found:?}")]
    Shape {
        /// Which tensor.
        what: &'static str,
        /// What the shape should be, as text.
        expected: String,
        /// Its shape.
        found: Vec<i64>,
    },
}

/// The head.
#[derive(Debug)]
pub struct Summariser {
    settings: Settings,
    compat: Compat,
    positions: Tensor,
    encoder: Encoder,
    projector: Affine,
    score: Affine,
}

impl Summariser {
    /// A new head with weights below `path`, drawn as the original draws them.
    ///
    /// With [`Compat::AsReleased`], places without a shot get one added to their attention logits instead of being left
    /// out, the exponents of the sinusoids are doubled, and nothing is ever dropped, for the original leaves the
    /// network in evaluation mode before it trains.
    ///
    /// # Errors
    /// [`QfvsError::EmbedDim`].
    pub fn new(path: &nn::Path, settings: &Settings, compat: Compat) -> Result<Self, QfvsError> {
        let &Settings { embed_dim, num_heads, .. } = settings;
        if num_heads < 1 || embed_dim < 2 || embed_dim % num_heads != 0 || embed_dim % 2 != 0 {
            return Err(QfvsError::EmbedDim { embed_dim, num_heads });
        }
        let first = [Init::Randn { mean: 0.0, stdev: FIRST_DEVIATION }, Init::Const(FIRST_BIAS)];
        Ok(Self {
            settings: settings.clone(),
            compat,
            positions: positions(SHOTS as i64, embed_dim, compat).to_device(path.device()),
            encoder: Encoder::new(path, settings),
            projector: Affine::linear(&(path / "projector_1"), [PROJECTED, embed_dim], WeightInit::PyTorch, true),
            score: Affine::new(&(path / "summ_head"), ["weight", "bias"], &[1, PROJECTED], first, true),
        })
    }

    /// Scores (logits) `[B, S, L]` of the shots `features` `[B, S, L, embed_dim]`, of which the first `seg_len` `[B, S]` of
    /// each segment are there; scores of the other places mean nothing. `L` is what [`places`] says.
    ///
    /// # Errors
    /// [`QfvsError::Shape`].
    pub fn forward(&self, features: &Tensor, seg_len: &Tensor, train: bool) -> Result<Tensor, QfvsError> {
        let encoded = self.encode(features, seg_len, train)?;
        let hidden = self.projector.apply(&encoded).relu();
        let hidden = Dropout { probability: self.settings.head_dropout }.forward(&hidden, self.drops(train));
        Ok(self.score.apply(&hidden).squeeze_dim(-1))
    }

    /// The output of the encoder `[B, S, L, embed_dim]`; the rest as for [`forward`](Self::forward).
    ///
    /// # Errors
    /// [`QfvsError::Shape`].
    pub fn encode(&self, features: &Tensor, seg_len: &Tensor, train: bool) -> Result<Tensor, QfvsError> {
        let shape = self.shape(features)?;
        expect("seg_len", seg_len, &shape[..2])?;
        let segments = features.flatten(0, 1) + self.positions.narrow(0, 0, shape[2]);
        let mask = encoder::mask(&seg_len.flatten(0, 1), shape[2], self.compat, features.kind());
        let encoded = self.encoder.forward(segments, &mask, self.drops(train));
        Ok(encoded.view(shape))
    }

    fn drops(&self, train: bool) -> bool {
        train && self.compat == Compat::Fixed
    }

    fn shape(&self, features: &Tensor) -> Result<[i64; 4], QfvsError> {
        let (embed_dim, most, found) = (self.settings.embed_dim, SHOTS as i64, features.size());
        let (least, words) = match self.compat {
            Compat::AsReleased => (most, ""),
            Compat::Fixed => (1, "at most "),
        };
        match found[..] {
            [b, s, shots, dim] if (least..=most).contains(&shots) && dim == embed_dim => Ok([b, s, shots, dim]),
            _ => {
                let expected = format!("[batch, segments, {words}{most}, {embed_dim}]");
                Err(QfvsError::Shape { what: "features", expected, found })
            }
        }
    }
}

/// The network as a graph, which is computed as [`Summariser::forward`] does without training; see `onnx`.
pub fn graph(settings: &Settings, compat: Compat) -> impl Fn(&mut Graph) + use<> {
    let settings = settings.clone();
    move |g| onnx::build(g, &settings, compat)
}

fn expect(what: &'static str, tensor: &Tensor, shape: &[i64]) -> Result<(), QfvsError> {
    let found = tensor.size();
    if found == shape { Ok(()) } else { Err(QfvsError::Shape { what, expected: format!("{shape:?}"), found }) }
}

/// What the original multiplies the learning rate of a parameter of that shape with: 0.2 for weights, and 0.0048 for
/// what has one axis, biases and norms.
pub fn lr_scale(shape: &[i64]) -> f64 {
    if shape.len() == 1 { 0.0048 } else { 0.2 }
}
