//! The space-time video tower of Frozen in Time, EgoVLP, EgoVLPv2 and LaViLa: a ViT whose blocks attend over time and over
//! space in turn, with cross-attention to a text in its last blocks (EgoVLPv2).
//!
//! Names and shapes are those of `model/video_transformer.py` in `showlab/EgoVLP` and `facebookresearch/EgoVLPv2`, and of
//! `lavila/models/timesformer.py` in `facebookresearch/LaViLa`. What tells these apart is a [`VideoForm`].

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, ShapeError};
use super::params::ParamList;
use super::shapes::Shapes;

/// What becomes of a temporal positional embedding `[1, rows, embed_dim]` where there are more frames than rows. Where there
/// are fewer frames, the first rows are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemporalRule {
    /// Further frames have no temporal embedding: zeros (EgoVLP).
    ZeroPad,
    /// The table is resized by linear interpolation, `align_corners=True` (EgoVLPv2).
    Interpolate,
    /// The table is resized by linear interpolation between the middles of its rows, `align_corners=False` (LaViLa).
    InterpolateHalfPixel,
}

/// What stands between the two linear maps of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// The exact GELU, by erf.
    Gelu,
    /// CLIP's approximation of it, `x * sigmoid(1.702 x)`.
    QuickGelu,
}

/// What tells the towers of several models apart beside their sizes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoForm {
    /// What the names of its tensors begin with, before a dot.
    pub name: &'static str,
    /// Epsilon of the LayerNorms in and behind the blocks.
    pub layer_norm_eps: f64,
    /// What becomes of the temporal table.
    pub temporal: TemporalRule,
    /// Epsilon of the LayerNorm `ln_pre` of all tokens before the first block, if there is one (CLIP's). Patches are then
    /// embedded without a bias.
    pub pre_norm_eps: Option<f64>,
    /// Whether blocks weigh their attention over time by `tanh(alpha_timeattn)`.
    pub is_gated: bool,
    /// What stands in the MLPs.
    pub activation: Activation,
}

impl VideoForm {
    /// EgoVLP's and EgoVLPv2's tower, but for its epsilon and temporal rule.
    pub const fn egovlp(layer_norm_eps: f64, temporal: TemporalRule) -> Self {
        let (name, activation) = ("video_model", Activation::Gelu);
        Self { name, layer_norm_eps, temporal, pre_norm_eps: None, is_gated: false, activation }
    }

    /// The name of block `i`, with which the names of its tensors begin.
    pub fn block_name(&self, i: usize) -> String {
        format!("{}.blocks.{i}", self.name)
    }
}

/// How time attention starts in a network whose weights are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeInit {
    /// It gives nothing: `qkv` 0, `proj` 1 everywhere. As the originals pretrain, so that a ViT's weights start as they
    /// were; its first gradients are the same for all values, so that from scratch it stays weak.
    Zeros,
    /// Like all other attention: for towers that are trained from scratch.
    Rand,
}

/// A video tower. Published: images of 224, patches of 16, tokens of 768, 12 blocks of 12 heads, MLPs of 3072.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoConfig {
    /// Height and width of a frame, in pixels; patches divide it.
    #[serde(alias = "image")]
    pub image_size: usize,
    /// Height and width of a patch, in pixels.
    #[serde(alias = "patch")]
    pub patch_size: usize,
    /// Dims of a token.
    #[serde(alias = "width")]
    pub embed_dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads; they divide `embed_dim`.
    #[serde(alias = "heads")]
    pub num_heads: usize,
    /// Dims of an MLP's inner state.
    #[serde(alias = "hidden")]
    pub mlp_dim: usize,
    /// Rows of the temporal table: the most frames of a clip (EgoVLP, published with 16), or their exact number
    /// (EgoVLPv2, published with 4).
    #[serde(alias = "frames")]
    pub num_frames: usize,
    /// How time attention starts.
    pub time_init: TimeInit,
    /// Standard deviation of the first class token and positional embeddings, and of the temporal table where it does not start
    /// with zeros. timm's 0.02 is far below what patches are embedded to; from scratch, positions that count for so
    /// little are learnt late.
    pub initializer_range: f64,
}

impl VideoConfig {
    /// ViT-B/16 at 224 pixels, with `num_frames` rows in the temporal table.
    pub fn base(num_frames: usize) -> Self {
        let (image_size, patch_size, embed_dim, depth, num_heads, mlp_dim) = (224, 16, 768, 12, 12, 3072);
        let (time_init, initializer_range) = (TimeInit::Zeros, 0.02);
        Self { image_size, patch_size, embed_dim, depth, num_heads, mlp_dim, num_frames, time_init, initializer_range }
    }

    /// [`base`](Self::base) with tokens of 32 dims, 2 heads and MLPs of 64.
    pub fn tiny(num_frames: usize) -> Self {
        Self { embed_dim: 32, num_heads: 2, mlp_dim: 64, ..Self::base(num_frames) }
    }

    /// Patches along a frame's height, and along its width.
    pub fn grid_size(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Patches of a frame.
    pub fn num_patches(&self) -> usize {
        self.grid_size() * self.grid_size()
    }

    /// Tokens of a window of `frames` frames: the class token, then patches frame by frame.
    pub fn num_tokens(&self, frames: usize) -> usize {
        1 + frames * self.num_patches()
    }

    /// Whether a tower has such sizes.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self { image_size, patch_size, embed_dim, depth, num_heads, mlp_dim, num_frames, .. } = *self;
        ConfigError::unless_positive([
            ("video.image_size", image_size),
            ("video.patch_size", patch_size),
            ("video.embed_dim", embed_dim),
            ("video.depth", depth),
            ("video.num_heads", num_heads),
            ("video.mlp_dim", mlp_dim),
            ("video.num_frames", num_frames),
        ])?;
        let divides = |of: usize, by: usize| of.is_multiple_of(by);
        let (patch, heads) = (patch_size as f64, num_heads as f64);
        ConfigError::unless(divides(image_size, patch_size), "video.patch_size", patch, "a divisor of image_size")?;
        ConfigError::unless(divides(embed_dim, num_heads), "video.num_heads", heads, "a divisor of embed_dim")?;
        let range = self.initializer_range;
        ConfigError::unless(range.is_finite() && range > 0.0, "video.initializer_range", range, "more than 0")
    }

    /// The sizes of the tensors under `name`, which is that of a [`VideoForm`], and how many of the last blocks have
    /// cross-attention.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub fn from_shapes(name: &str, shapes: &Shapes, head_dim: usize) -> Result<(Self, usize), ShapeError> {
        let [embed_dim, _, patch_size, _] = shapes.of(&format!("{name}.patch_embed.proj.weight"))?;
        let [_, positions, _] = shapes.of(&format!("{name}.pos_embed"))?;
        let [_, num_frames, _] = shapes.of(&format!("{name}.temporal_embed"))?;
        let [mlp_dim, _] = shapes.of(&format!("{name}.blocks.0.mlp.fc1.weight"))?;
        let depth = shapes.count(|i| format!("{name}.blocks.{i}.norm1.weight"));
        let first_fused = shapes.first(depth, |i| format!("{name}.blocks.{i}.attn.alpha_i2t"));
        let grid_size = (positions - 1).isqrt();
        if grid_size * grid_size + 1 != positions {
            let why = format!("{name}.pos_embed has {positions} rows, 1 + a square number was expected");
            return Err(shapes.error(why));
        }
        let (num_heads, image_size) = (shapes.num_heads(embed_dim, head_dim)?, grid_size * patch_size);
        let sizes = Self { image_size, patch_size, embed_dim, depth, num_heads, mlp_dim, ..Self::base(num_frames) };
        Ok((sizes, depth - first_fused))
    }

    /// Every tensor of a tower of this form whose last `num_fused_layers` blocks have cross-attention.
    pub fn parameters(&self, form: &VideoForm, num_fused_layers: usize, list: &mut ParamList) {
        let (&Self { embed_dim, patch_size, .. }, name) = (self, form.name);
        list.embedding(&format!("{name}.cls_token"), &[1, 1, embed_dim]);
        // Positional embeddings: of the class token and the patches, and of the frames.
        list.embedding(&format!("{name}.pos_embed"), &[1, self.num_patches() + 1, embed_dim]);
        list.embedding(&format!("{name}.temporal_embed"), &[1, self.num_frames, embed_dim]);
        list.weight(&format!("{name}.patch_embed.proj.weight"), &[embed_dim, 3, patch_size, patch_size]);
        if form.pre_norm_eps.is_some() {
            list.layer_norm(&format!("{name}.ln_pre"), embed_dim);
        } else {
            list.bias(&format!("{name}.patch_embed.proj"), embed_dim);
        }
        (0..self.depth).for_each(|i| self.block_parameters(form, i, i + num_fused_layers >= self.depth, list));
        list.layer_norm(&format!("{name}.norm"), embed_dim);
    }

    fn block_parameters(&self, form: &VideoForm, i: usize, is_fused: bool, list: &mut ParamList) {
        let (block, dim) = (form.block_name(i), self.embed_dim);
        if form.is_gated {
            list.gate(&format!("{block}.alpha_timeattn"), &[]);
        }
        for norm in ["norm1", "norm2", "norm3"] {
            list.layer_norm(&format!("{block}.{norm}"), dim);
        }
        for attention in ["attn", "timeattn"] {
            list.linear(&format!("{block}.{attention}.qkv"), 3 * dim, dim);
            list.linear(&format!("{block}.{attention}.proj"), dim, dim);
        }
        list.linear(&format!("{block}.mlp.fc1"), self.mlp_dim, dim);
        list.linear(&format!("{block}.mlp.fc2"), dim, self.mlp_dim);
        if is_fused {
            list.linear(&format!("{block}.attn.qkv_text_i2t"), 2 * dim, dim);
            list.linear(&format!("{block}.attn.qkv_i2t"), dim, dim);
            list.linear(&format!("{block}.attn.proj_i2t"), dim, dim);
            list.gate(&format!("{block}.attn.alpha_i2t"), &[1]);
            list.layer_norm(&format!("{block}.attn.norm_i2t_i"), dim);
        }
    }
}
