//! The sizes of the summary head: its `[model]` table.

use serde::{Deserialize, Serialize};

/// What the head looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Features per shot (768).
    pub width: i64,
    /// Attention heads (2); they share the width.
    pub heads: i64,
    /// Layers of the encoder (2).
    pub layers: usize,
    /// Width of the feed-forward part of a layer (2048).
    pub feed_forward: i64,
    /// Share of values dropped in the encoder (0.1). Never with `Compat::AsReleased`.
    pub dropout: f64,
    /// Share of values dropped before the score (0.2). Never with `Compat::AsReleased`.
    pub head_dropout: f64,
}
