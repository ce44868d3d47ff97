//! The video tower of EgoVLP and EgoVLPv2: the space-time transformer of "Frozen in Time" (Bain et al., 2021).
//!
//! Not for projections. Invariant: space attention's output is added to a block's input, not to time attention's sum,
//! so that a block whose time attention is zero is a ViT's.

use egofx::arch::{TimeInit, VideoConfig};
use tch::Tensor;
use tch::nn::{self, Init, Module};

use super::blocks::{Fusion, Shared, class_token, run_one};
use super::divided::{Divided, Groups, Wanted};
use crate::nn::{Mlp, WeightInit, attention, layer_norm, linear, patch_embed};

/// The text that a fused block attends to.
#[derive(Debug)]
pub(super) struct TextInput<'t> {
    /// `[B, L, D]`, the output of the layer before.
    pub tokens: &'t Tensor,
    /// `[B, 1, 1, L]`, true for tokens that are no padding.
    pub mask: &'t Tensor,
}

/// What a block is given beside its own tokens.
#[derive(Debug)]
pub(super) struct BlockInput<'t> {
    /// Patches of a frame.
    pub num_patches: i64,
    /// The text that cross-attention attends to; without one it is left out.
    pub text: Option<TextInput<'t>>,
    /// Added to the scores of tokens as keys of space attention, `[B, N]`.
    pub key_bias: Option<&'t Tensor>,
    /// Which tokens are computed.
    pub wanted: Wanted,
}

impl BlockInput<'_> {
    /// Of a block without cross-attention, all tokens.
    pub fn unimodal(num_patches: i64) -> Self {
        Self { num_patches, text: None, key_bias: None, wanted: Wanted::All }
    }
}

/// A block.
#[derive(Debug)]
pub(super) struct Block {
    norm1: nn::LayerNorm,
    norm2: nn::LayerNorm,
    norm3: nn::LayerNorm,
    attn: Divided,
    timeattn: Divided,
    mlp: Mlp,
    cross_attn: Option<CrossAttention>,
}

impl Block {
    /// Time attention that starts with zeros lets nothing through: its output projection of ones meets values of zero.
    /// `gate_init` is the first value of the factor of cross-attention, if there is any.
    pub fn new(path: &nn::Path, config: &VideoConfig, eps: f64, gate_init: Option<f64>) -> Self {
        let (dim, num_heads) = (config.embed_dim as i64, config.num_heads as i64);
        let pytorch = WeightInit::PyTorch;
        let time = match config.time_init {
            TimeInit::Zeros => [WeightInit::Const(0.0), WeightInit::Const(1.0)],
            TimeInit::Rand => [pytorch, pytorch],
        };
        let mlp = path / "mlp";
        Self {
            norm1: layer_norm(path / "norm1", dim, eps),
            norm2: layer_norm(path / "norm2", dim, eps),
            norm3: layer_norm(path / "norm3", dim, eps),
            attn: Divided::new(&(path / "attn"), dim, num_heads, [pytorch, pytorch]),
            timeattn: Divided::new(&(path / "timeattn"), dim, num_heads, time),
            mlp: Mlp::new([&mlp / "fc1", &mlp / "fc2"], [dim, config.mlp_dim as i64], pytorch),
            cross_attn: gate_init
                .map(|gate_init| CrossAttention::new(&(path / "attn"), [dim, num_heads], eps, gate_init)),
        }
    }

    /// `x` `[B, N, D]` after the block; `[B, 1, D]` if only the class token is wanted.
    pub fn forward(&self, x: &Tensor, input: &BlockInput) -> Tensor {
        let &BlockInput { num_patches, key_bias, wanted, .. } = input;
        let r = self.before_space(x, num_patches);
        let space = self.attn.forward(&r, Groups::Space, num_patches, key_bias, wanted);
        let space = match (&self.cross_attn, &input.text) {
            (Some(cross_attn), Some(text)) => cross_attn.forward(&space, text),
            _ => space,
        };
        // The residual starts at the block's input, not at `r`.
        let y = match wanted {
            Wanted::All => x + space,
            Wanted::Class => x.narrow(1, 0, 1) + space,
        };
        &y + self.mlp.forward(&self.norm2.forward(&y))
    }

    /// The class token's scores in space attention, `[B, N]`; see [`Divided::class_scores`].
    pub fn class_scores(&self, x: &Tensor, num_patches: i64) -> Tensor {
        self.attn.class_scores(&self.before_space(x, num_patches))
    }

    /// The input of space attention: `norm1(x + timeattn(norm3(x)))`.
    fn before_space(&self, x: &Tensor, num_patches: i64) -> Tensor {
        let time = self.timeattn.forward(&self.norm3.forward(x), Groups::Time, num_patches, None, Wanted::All);
        self.norm1.forward(&(x + time))
    }
}

/// Cross-attention of a video to a text (EgoVLPv2).
#[derive(Debug)]
struct CrossAttention {
    norm: nn::LayerNorm,
    query: nn::Linear,
    key_value: nn::Linear,
    proj: nn::Linear,
    alpha: Tensor,
    num_heads: i64,
}

impl CrossAttention {
    fn new(path: &nn::Path, [dim, num_heads]: [i64; 2], eps: f64, gate_init: f64) -> Self {
        Self {
            norm: layer_norm(path / "norm_i2t_i", dim, eps),
            query: linear(path / "qkv_i2t", dim, dim, WeightInit::PyTorch),
            key_value: linear(path / "qkv_text_i2t", dim, 2 * dim, WeightInit::PyTorch),
            proj: linear(path / "proj_i2t", dim, dim, WeightInit::PyTorch),
            alpha: path.var("alpha_i2t", &[1], Init::Const(gate_init)),
            num_heads,
        }
    }

    /// `space + alpha * proj(attention(norm(space), text))`, where `space` `[B, N, D]` is the output of space
    /// attention. The query is that output without a residual, and the text has no norm, which is how the code differs
    /// from the paper's equation 2.
    fn forward(&self, space: &Tensor, text: &TextInput) -> Tensor {
        let query = self.query.forward(&self.norm.forward(space));
        let key_value = self.key_value.forward(text.tokens).chunk(2, -1);
        let cross = attention([&query, &key_value[0], &key_value[1]], self.num_heads, Some(text.mask), 0.0);
        space + &self.alpha * self.proj.forward(&cross)
    }
}

/// The tower.
#[derive(Debug)]
pub(super) struct VideoTower {
    patch_embed: nn::Conv2D,
    /// `[1, 1, D]`.
    cls_token: Tensor,
    /// `[1, 1 + P, D]`.
    pos_embed: Tensor,
    /// `[1, rows, D]`.
    temporal_embed: Tensor,
    blocks: Vec<Shared<Block>>,
    norm: nn::LayerNorm,
    num_patches: i64,
}

impl VideoTower {
    /// Its last blocks have cross-attention, as `fusion` says. First weights are PyTorch's own; the class token and
    /// `pos_embed` are normal with the standard deviation `initializer_range`, `temporal_embed` is 0 or likewise.
    pub fn new(path: &nn::Path, config: &VideoConfig, eps: f64, fusion: Fusion) -> Self {
        let VideoConfig { depth, time_init, initializer_range: std, .. } = *config;
        let [dim, rows, patch_size] = [config.embed_dim, config.num_frames, config.patch_size].map(|size| size as i64);
        let num_patches = config.num_patches() as i64;
        let block = |i| Block::new(&(path / "blocks" / i), config, eps, fusion.gate_init_of(i, depth));
        Self {
            patch_embed: patch_embed(path / "patch_embed" / "proj", 3, dim, patch_size),
            cls_token: path.randn("cls_token", &[1, 1, dim], 0.0, std),
            pos_embed: path.randn("pos_embed", &[1, 1 + num_patches, dim], 0.0, std),
            temporal_embed: match time_init {
                TimeInit::Zeros => path.zeros("temporal_embed", &[1, rows, dim]),
                TimeInit::Rand => path.randn("temporal_embed", &[1, rows, dim], 0.0, std),
            },
            blocks: (0..depth).map(|i| Shared::new(block(i))).collect(),
            norm: layer_norm(path / "norm", dim, eps),
            num_patches,
        }
    }

    /// Patches of a frame.
    pub fn num_patches(&self) -> i64 {
        self.num_patches
    }

    pub fn blocks(&self) -> &[Shared<Block>] {
        &self.blocks
    }

    /// Tokens `[B, 1 + F * P, D]` of `frames` `[B, F, 3, image_size, image_size]`, led by `cls_token` `[1, 1, D]`.
    /// `pos_embed` `[1, P, D]` is added to the patches of each frame, beside the tower's own.
    pub fn embed(&self, frames: &Tensor, cls_token: &Tensor, pos_embed: Option<&Tensor>) -> Tensor {
        let (batch, count, dim) = (frames.size()[0], frames.size()[1], cls_token.size()[2]);
        let patches = self.patch_embed.forward(&frames.flatten(0, 1)).flatten(2, 3).transpose(1, 2);
        let patches = patches.reshape([batch, count, self.num_patches, dim]);
        let own = self.pos_embed.narrow(1, 1, self.num_patches);
        let pos_embed = pos_embed.map_or(own.shallow_clone(), |pos_embed| own + pos_embed);
        let embed = pos_embed.unsqueeze(1) + self.temporal_embed.narrow(1, 0, count).unsqueeze(2);
        let class = (cls_token + self.pos_embed.narrow(1, 0, 1)).expand([batch, 1, dim], false);
        Tensor::cat(&[class, (patches + embed).flatten(1, 2)], 1)
    }

    /// The class token `[B, D]` of a clip in dual mode.
    pub fn class(&self, frames: &Tensor, recompute: bool) -> Tensor {
        let tokens = self.embed(frames, &self.cls_token, None);
        let out = (0..self.blocks.len()).fold(tokens, |x, i| self.forward_unimodal(i, &x, self.wanted(i), recompute));
        self.norm.forward(&class_token(&out))
    }

    /// Block `i` on `x` `[B, N, D]` without cross-attention.
    pub fn forward_unimodal(&self, i: usize, x: &Tensor, wanted: Wanted, recompute: bool) -> Tensor {
        let (block, num_patches) = (self.blocks[i].clone(), self.num_patches);
        run_one(recompute, &[x], move |x| {
            block.with(|block| block.forward(&x[0], &BlockInput { wanted, ..BlockInput::unimodal(num_patches) }))
        })
    }

    /// Which of block `i`'s tokens are read.
    pub fn wanted(&self, i: usize) -> Wanted {
        if i + 1 == self.blocks.len() { Wanted::Class } else { Wanted::All }
    }

    /// The embedded tokens and those after each block, `[B, N, D]`, of a clip in dual mode.
    pub fn states(&self, frames: &Tensor) -> Vec<Tensor> {
        let mut states = vec![self.embed(frames, &self.cls_token, None)];
        for i in 0..self.blocks.len() {
            states.push(self.forward_unimodal(i, &states[i], Wanted::All, false));
        }
        states
    }
}
