//! The sizes of the summary head: its `[model]` table.

use serde::{Deserialize, Serialize};

/// What the head looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Dimension of a shot's features and of all layers (768).
    pub embed_dim: i64,
    /// Heads of attention (2); they divide `embed_dim`.
    pub num_heads: i64,
    /// Layers of the encoder (2).
    pub depth: usize,
    /// Dimension between the two linear maps of a layer (2048).
    pub mlp_dim: i64,
    /// Share of values dropped in the encoder (0.1). Never with `Compat::AsReleased`.
    pub dropout: f64,
    /// Share of values dropped before the score (0.2). Never with `Compat::AsReleased`.
    pub head_dropout: f64,
}
