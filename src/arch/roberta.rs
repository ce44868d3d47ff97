//! The tensors of a RoBERTa (Liu et al., 2019) under `text_model.`, its last layers with cross-attention to video
//! tokens, as in `model/roberta.py` of `facebookresearch/EgoVLPv2`.

use super::error::ShapeError;
use super::params::ParamList;
use super::shapes::Shapes;
use super::text::TextConfig;

/// Epsilon of every LayerNorm.
pub const LAYER_NORM_EPS: f64 = 1e-5;
/// The id of `<pad>`; positions of other tokens are counted from the next number.
pub const PAD_ID: i64 = 1;
/// The published vocabulary, that of `roberta-base`.
pub const VOCAB_SIZE: usize = 50265;

/// The sizes of the tensors under `text_model.`, and how many of the last layers have cross-attention.
///
/// # Errors
/// [`ShapeError`].
pub fn from_shapes(shapes: &Shapes, head_dim: usize) -> Result<(TextConfig, usize), ShapeError> {
    let [vocab_size, embed_dim] = shapes.of("text_model.embeddings.word_embeddings.weight")?;
    let [positions, _] = shapes.of("text_model.embeddings.position_embeddings.weight")?;
    let [type_vocab_size, _] = shapes.of("text_model.embeddings.token_type_embeddings.weight")?;
    let [mlp_dim, _] = shapes.of("text_model.encoder.layer.0.intermediate.dense.weight")?;
    let depth = shapes.count(|i| format!("{}.output.dense.weight", layer_name(i)));
    let first_fused = shapes.first(depth, |i| format!("{}.alpha_t2i", layer_name(i)));
    let num_heads = shapes.num_heads(embed_dim, head_dim)?;
    let base = TextConfig::base(vocab_size, positions, depth);
    Ok((TextConfig { type_vocab_size, embed_dim, num_heads, mlp_dim, ..base }, depth - first_fused))
}

/// Every tensor of a tower whose last `num_fused_layers` layers have cross-attention.
pub fn parameters(config: &TextConfig, num_fused_layers: usize, list: &mut ParamList) {
    let dim = config.embed_dim;
    list.embedding("text_model.embeddings.word_embeddings.weight", &[config.vocab_size, dim]);
    list.embedding("text_model.embeddings.position_embeddings.weight", &[config.max_position_embeddings, dim]);
    list.embedding("text_model.embeddings.token_type_embeddings.weight", &[config.type_vocab_size, dim]);
    list.layer_norm("text_model.embeddings.LayerNorm", dim);
    (0..config.depth).for_each(|i| layer_parameters(config, i, i + num_fused_layers >= config.depth, list));
}

fn layer_parameters(config: &TextConfig, i: usize, is_fused: bool, list: &mut ParamList) {
    let (layer, dim) = (layer_name(i), config.embed_dim);
    let attention = |name: &str, list: &mut ParamList| {
        for linear in ["self.query", "self.key", "self.value", "output.dense"] {
            list.linear(&format!("{layer}.{name}.{linear}"), dim, dim);
        }
    };
    attention("attention", list);
    list.layer_norm(&format!("{layer}.attention.output.LayerNorm"), dim);
    list.linear(&format!("{layer}.intermediate.dense"), config.mlp_dim, dim);
    list.linear(&format!("{layer}.output.dense"), dim, config.mlp_dim);
    list.layer_norm(&format!("{layer}.output.LayerNorm"), dim);
    if is_fused {
        attention("crossattention_t2i", list);
        list.gate(&format!("{layer}.alpha_t2i"), &[1]);
    }
}

/// The name of layer `i`, with which the names of its tensors begin.
pub fn layer_name(i: usize) -> String {
    format!("text_model.encoder.layer.{i}")
}
