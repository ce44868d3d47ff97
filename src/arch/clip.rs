//! The tensors of CLIP's text tower (Radford et al., 2021), as in `model.py` of `openai/CLIP`, whose names stand at the top of
//! a state dict.

use super::error::ShapeError;
use super::params::ParamList;
use super::shapes::Shapes;
use super::text::TextConfig;

/// Epsilon of every LayerNorm.
pub const LAYER_NORM_EPS: f64 = 1e-5;
/// The id that rows are filled up with. No computation reads what stands there.
pub const PAD_ID: i64 = 0;
/// The published vocabulary: 256 bytes, the same at the end of a word, 48894 merges, and two marks.
pub const VOCAB_SIZE: usize = 49408;
/// Tokens of the longest text, both marks counted.
pub const CONTEXT_LENGTH: usize = 77;

/// The published tower with tokens of `embed_dim` values: 12 layers, heads of 64.
pub fn published(embed_dim: usize) -> TextConfig {
    let (num_heads, mlp_dim) = (embed_dim / 64, 4 * embed_dim);
    TextConfig { embed_dim, num_heads, mlp_dim, ..TextConfig::base(VOCAB_SIZE, CONTEXT_LENGTH, 12) }
}

/// The sizes of the tower's tensors.
///
/// # Errors
/// [`ShapeError`].
pub fn from_shapes(shapes: &Shapes, head_dim: usize) -> Result<TextConfig, ShapeError> {
    let [vocab_size, embed_dim] = shapes.of("token_embedding.weight")?;
    let [positions, _] = shapes.of("positional_embedding")?;
    let [mlp_dim, _] = shapes.of("transformer.resblocks.0.mlp.c_fc.weight")?;
    let depth = shapes.count(|i| format!("{}.ln_1.weight", layer_name(i)));
    let num_heads = shapes.num_heads(embed_dim, head_dim)?;
    Ok(TextConfig { embed_dim, num_heads, mlp_dim, ..TextConfig::base(vocab_size, positions, depth) })
}

/// Every tensor.
pub fn parameters(config: &TextConfig, list: &mut ParamList) {
    let dim = config.embed_dim;
    list.embedding("token_embedding.weight", &[config.vocab_size, dim]);
    list.embedding("positional_embedding", &[config.max_position_embeddings, dim]);
    for layer in (0..config.depth).map(layer_name) {
        list.layer_norm(&format!("{layer}.ln_1"), dim);
        list.weight(&format!("{layer}.attn.in_proj_weight"), &[3 * dim, dim]);
        list.push(&format!("{layer}.attn.in_proj_bias"), &[3 * dim], 0.0, 0.02);
        list.linear(&format!("{layer}.attn.out_proj"), dim, dim);
        list.layer_norm(&format!("{layer}.ln_2"), dim);
        list.linear(&format!("{layer}.mlp.c_fc"), config.mlp_dim, dim);
        list.linear(&format!("{layer}.mlp.c_proj"), dim, config.mlp_dim);
    }
    list.layer_norm("ln_final", dim);
}

/// The name of layer `i`, with which the names of its tensors begin.
pub fn layer_name(i: usize) -> String {
    format!("transformer.resblocks.{i}")
}
