//! How VSLNet is built: the `[model]` table, and the dimensions of the features.

use serde::{Deserialize, Serialize};

use crate::nn::Dropout;

/// How the head is built. In comments: the official settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Dimension of everything behind the projections (128).
    pub embed_dim: i64,
    /// Heads of attention (8); they divide `embed_dim`.
    pub num_heads: i64,
    /// Most positions of a video or query (128 or 256).
    pub max_position_embeddings: i64,
    /// Probability of dropout (0.2).
    pub dropout: f64,
    /// What predicts the ends.
    pub predictor: PredictorKind,
    /// Whether it is EgoVLPv2's small head, which has no context-query attention.
    pub small: bool,
}

/// What predicts the ends of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PredictorKind {
    /// An encoder used twice: the one of all settings with contextual query features.
    Transformer,
    /// Two recurrent networks.
    Rnn,
}

impl Settings {
    pub(super) fn dropout(&self) -> Dropout {
        Dropout { probability: self.dropout }
    }
}

/// Dimensions of the features, which the data say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    /// Of a video's rows.
    pub video: i64,
    /// Of a query's tokens.
    pub query: i64,
}
