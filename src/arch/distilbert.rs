//! The tensors of a DistilBERT (Sanh et al., 2019), as in `modeling_distilbert.py` of transformers 4.2; before their names
//! stands that of the tower.

use super::error::ShapeError;
use super::params::ParamList;
use super::shapes::Shapes;
use super::text::TextConfig;

/// Epsilon of every LayerNorm.
pub const LAYER_NORM_EPS: f64 = 1e-12;
/// The id of `[PAD]`.
pub const PAD_ID: i64 = 0;
/// The published vocabulary, that of `distilbert-base-uncased`.
pub const VOCAB_SIZE: usize = 30522;

/// The sizes of the tensors under `tower`.
///
/// # Errors
/// [`ShapeError`].
pub fn from_shapes(tower: &str, shapes: &Shapes, head_dim: usize) -> Result<TextConfig, ShapeError> {
    let [vocab_size, embed_dim] = shapes.of(&format!("{tower}.embeddings.word_embeddings.weight"))?;
    let [positions, _] = shapes.of(&format!("{tower}.embeddings.position_embeddings.weight"))?;
    let [mlp_dim, _] = shapes.of(&format!("{tower}.transformer.layer.0.ffn.lin1.weight"))?;
    let depth = shapes.count(|i| format!("{}.sa_layer_norm.weight", layer_name(tower, i)));
    let num_heads = shapes.num_heads(embed_dim, head_dim)?;
    Ok(TextConfig { embed_dim, num_heads, mlp_dim, ..TextConfig::base(vocab_size, positions, depth) })
}

/// Every tensor of the tower of that name.
pub fn parameters(tower: &str, config: &TextConfig, list: &mut ParamList) {
    let dim = config.embed_dim;
    list.embedding(&format!("{tower}.embeddings.word_embeddings.weight"), &[config.vocab_size, dim]);
    list.embedding(&format!("{tower}.embeddings.position_embeddings.weight"), &[config.max_position_embeddings, dim]);
    list.layer_norm(&format!("{tower}.embeddings.LayerNorm"), dim);
    for layer in (0..config.depth).map(|i| layer_name(tower, i)) {
        for linear in ["q_lin", "k_lin", "v_lin", "out_lin"] {
            list.linear(&format!("{layer}.attention.{linear}"), dim, dim);
        }
        list.layer_norm(&format!("{layer}.sa_layer_norm"), dim);
        list.linear(&format!("{layer}.ffn.lin1"), config.mlp_dim, dim);
        list.linear(&format!("{layer}.ffn.lin2"), dim, config.mlp_dim);
        list.layer_norm(&format!("{layer}.output_layer_norm"), dim);
    }
}

/// The name of layer `i` of a tower, with which the names of its tensors begin.
pub fn layer_name(tower: &str, i: usize) -> String {
    format!("{tower}.transformer.layer.{i}")
}
