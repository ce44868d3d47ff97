//! Layers as PyTorch has them: linear maps, norms, convolutions, embeddings, attention, dropout, with the first weights that the
//! caller chooses ([`WeightInit`]).
//!
//! tch's own layers start otherwise than PyTorch's, and some official state dicts store a layer under other names or
//! shapes than tch gives it. Layers that one network alone has stay with that network.

mod affine;
mod attention;
mod conv;
mod drop_path;
mod dropout;
mod embedding;
mod init;
mod linear;
mod mlp;
mod norm;
mod window;

pub use affine::Affine;
pub use attention::{attention, attn_weights, key_mask, split_heads};
pub use conv::{Conv, DepthwiseConv, conv_transpose1d, conv1d, on_images, patch_embed, pointwise};
pub use drop_path::DropPath;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use init::{WeightInit, xavier};
pub use linear::{PointwiseLinear, linear, linear_no_bias};
pub use mlp::Mlp;
pub use norm::{ChannelNorm, layer_norm};
pub use window::{EXCLUDED, WindowAttention};
