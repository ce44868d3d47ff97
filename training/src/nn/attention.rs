//! Scaled dot-product attention over heads (Vaswani et al., 2017, equation 1).
//!
//! Not for the linear maps around it, nor for attention within windows or groups, which belongs to the networks that
//! have it.

use tch::{Kind, Tensor};

/// `x` `[B, L, D]` as `[B, num_heads, L, D / num_heads]`; nothing is copied.
pub fn split_heads(x: &Tensor, num_heads: i64) -> Tensor {
    let size = x.size();
    x.view([size[0], size[1], num_heads, size[2] / num_heads]).transpose(1, 2)
}

/// Attention of `q` `[B, L, D]` to `k` and `v` `[B, M, D]`: `[B, L, D]`. `mask` `[B, 1, 1, M]` is true for keys that
/// count, or is added to the scores if it is of floats; `dropout` is the probability with which an attention weight is
/// dropped.
pub fn attention([q, k, v]: [&Tensor; 3], num_heads: i64, mask: Option<&Tensor>, dropout: f64) -> Tensor {
    let [q, k, v] = [q, k, v].map(|x| split_heads(x, num_heads));
    let context = Tensor::scaled_dot_product_attention(&q, &k, &v, mask, dropout, false, None, false);
    context.transpose(1, 2).flatten(2, 3)
}

/// The weights of that attention, without mask or dropout: `[B, num_heads, L, M]` of `q` `[B, L, D]` and `k` `[B, M,
/// D]`; rows sum to 1.
pub fn attn_weights([q, k]: [&Tensor; 2], num_heads: i64) -> Tensor {
    let [q, k] = [q, k].map(|x| split_heads(x, num_heads));
    let scale = (q.size()[3] as f64).powf(-0.5);
    (q * scale).matmul(&k.transpose(2, 3)).softmax(-1, None::<Kind>)
}

/// A mask `[B, L]` of zeros (padding) and ones as [`attention`] takes it, `[B, 1, 1, L]` of booleans.
pub fn key_mask(mask: &Tensor) -> Tensor {
    mask.ne(0).unsqueeze(1).unsqueeze(1)
}
