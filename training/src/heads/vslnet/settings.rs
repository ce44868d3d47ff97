//! How VSLNet is built: the `[model]` table, and the widths of the features.

use serde::{Deserialize, Serialize};

use super::layers::Dropout;

/// How the head is built. The official settings are a width of 128, 8 heads, 128 or 256 positions, a dropout of 0.2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Channels of everything behind the projections.
    pub width: i64,
    /// Heads of attention; they divide the width.
    pub heads: i64,
    /// Most positions of a video or query.
    pub positions: i64,
    /// Probability of dropout.
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

/// Widths of the features, which the data say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    /// Of a video's rows.
    pub video: i64,
    /// Of a query's tokens.
    pub query: i64,
}
