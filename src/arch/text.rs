//! The sizes of a text tower, under `text_model.`: DistilBERT's and RoBERTa's are the same keys.
//!
//! Their tensors are in [`distilbert`](super::distilbert) and [`roberta`](super::roberta).

use serde::{Deserialize, Serialize};

use super::error::ConfigError;

/// A text tower. Published: a DistilBERT of 30522 tokens, 512 positions and 6 layers, a RoBERTa of 50265 tokens, 514
/// positions and 12 layers; both with tokens of 768 dims, 12 heads, MLPs of 3072 and a dropout of 0.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Token ids.
    #[serde(alias = "vocabulary")]
    pub vocab_size: usize,
    /// Rows of the positional embedding: tokens of the longest text, and for a RoBERTa two more.
    #[serde(alias = "positions")]
    pub max_position_embeddings: usize,
    /// Rows of a RoBERTa's table of segment types, of which only the first is used; a DistilBERT has none.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub type_vocab_size: usize,
    /// Dims of a token.
    #[serde(alias = "width")]
    pub embed_dim: usize,
    /// Layers.
    #[serde(alias = "layers")]
    pub depth: usize,
    /// Attention heads; they divide `embed_dim`.
    #[serde(alias = "heads")]
    pub num_heads: usize,
    /// Dims of an MLP's inner state.
    #[serde(alias = "hidden")]
    pub mlp_dim: usize,
    /// Probability of dropout, everywhere.
    pub dropout: f64,
    /// Standard deviation of the first weights, and of those of the heads above. BERT's 0.02 suits tokens of 768 dims;
    /// through narrower layers it lets next to nothing pass.
    pub initializer_range: f64,
}

fn one() -> usize {
    1
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(size: &usize) -> bool {
    *size == 1
}

impl TextConfig {
    /// A tower of BERT's base size, with these tables and layers.
    pub fn base(vocab_size: usize, max_position_embeddings: usize, depth: usize) -> Self {
        let (type_vocab_size, embed_dim, num_heads, mlp_dim) = (1, 768, 12, 3072);
        let (dropout, initializer_range) = (0.1, 0.02);
        Self {
            vocab_size,
            max_position_embeddings,
            type_vocab_size,
            embed_dim,
            depth,
            num_heads,
            mlp_dim,
            dropout,
            initializer_range,
        }
    }

    /// The same with tokens of 32 dims, 2 heads and MLPs of 64.
    pub fn into_tiny(self) -> Self {
        Self { embed_dim: 32, num_heads: 2, mlp_dim: 64, ..self }
    }

    /// Whether a tower has such sizes.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self { vocab_size, embed_dim, num_heads, dropout, initializer_range: range, .. } = *self;
        ConfigError::unless_positive([
            ("text.vocab_size", vocab_size),
            ("text.max_position_embeddings", self.max_position_embeddings),
            ("text.type_vocab_size", self.type_vocab_size),
            ("text.embed_dim", embed_dim),
            ("text.depth", self.depth),
            ("text.num_heads", num_heads),
            ("text.mlp_dim", self.mlp_dim),
        ])?;
        ConfigError::unless(vocab_size > 1, "text.vocab_size", vocab_size as f64, "2 or more")?;
        let divides = embed_dim.is_multiple_of(num_heads);
        ConfigError::unless(divides, "text.num_heads", num_heads as f64, "a divisor of embed_dim")?;
        ConfigError::unless((0.0..1.0).contains(&dropout), "text.dropout", dropout, "0 or more and less than 1")?;
        ConfigError::unless(range.is_finite() && range > 0.0, "text.initializer_range", range, "more than 0")
    }
}
