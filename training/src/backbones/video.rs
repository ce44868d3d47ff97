//! The video tower of EgoVLP and EgoVLPv2: the space-time transformer of "Frozen in Time" (Bain et al., 2021).
//!
//! Not for projections. Invariant: space attention's output is added to a block's input, not to time attention's sum,
//! so that a block whose time attention is zero is a ViT's.

use tch::Tensor;
use tch::nn::{self, Init, Module};

use super::divided::{Divided, Groups, Wanted};
use super::layers::{self, First, Fusion, Mlp, Shared, first, linear, norm, patches, run_one};
use super::settings::{TimeInit, VideoSettings};

/// The words that a fused block attends to.
#[derive(Debug)]
pub(super) struct Words<'t> {
    /// `[B, L, W]`, of the layer before.
    pub tokens: &'t Tensor,
    /// `[B, 1, 1, L]`, true for words.
    pub mask: &'t Tensor,
}

/// What a block computes beside its tokens' own affairs.
#[derive(Debug)]
pub(super) struct Scene<'t> {
    /// Patches of a frame.
    pub patches: i64,
    /// The words that cross-attention looks at, if it is to look.
    pub words: Option<Words<'t>>,
    /// Added to the scores of tokens as keys of space attention, `[B, N]`.
    pub keys: Option<&'t Tensor>,
    /// Which tokens are computed.
    pub wanted: Wanted,
}

impl Scene<'_> {
    /// Of a video alone, all tokens.
    pub fn plain(patches: i64) -> Self {
        Self { patches, words: None, keys: None, wanted: Wanted::All }
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
    cross: Option<Cross>,
}

impl Block {
    /// Time attention that starts with zeros lets nothing through: its output's map of ones meets values of zero. `gate` is
    /// what cross-attention is multiplied with at first, if there is any.
    pub fn new(path: &nn::Path, settings: &VideoSettings, eps: f64, gate: Option<f64>) -> Self {
        let (width, heads, uniform) = (settings.width, settings.heads, First::Uniform);
        let time = match settings.time_init {
            TimeInit::Zeros => [First::Zeros, First::Ones],
            TimeInit::Rand => [uniform, uniform],
        };
        let mlp = path / "mlp";
        Self {
            norm1: norm(path / "norm1", width, eps),
            norm2: norm(path / "norm2", width, eps),
            norm3: norm(path / "norm3", width, eps),
            attn: Divided::new(&(path / "attn"), width, heads, [uniform, uniform]),
            timeattn: Divided::new(&(path / "timeattn"), width, heads, time),
            mlp: Mlp::new([&mlp / "fc1", &mlp / "fc2"], [width, settings.hidden], uniform),
            cross: gate.map(|gate| Cross::new(&(path / "attn"), [width, heads], eps, gate)),
        }
    }

    /// `x` `[B, N, W]` after the block; `[B, 1, W]` if only the class token is wanted.
    pub fn forward(&self, x: &Tensor, scene: &Scene) -> Tensor {
        let space = self.attn.forward(
            &self.before_space(x, scene.patches),
            Groups::Space,
            scene.patches,
            scene.keys,
            scene.wanted,
        );
        let space = match (&self.cross, &scene.words) {
            (Some(cross), Some(words)) => cross.forward(&space, words),
            _ => space,
        };
        let y = match scene.wanted {
            Wanted::All => x + space,
            Wanted::Class => x.narrow(1, 0, 1) + space,
        };
        &y + self.mlp.forward(&self.norm2.forward(&y))
    }

    /// The class token's scores in space attention, `[B, N]`; see [`Divided::class_scores`].
    pub fn class_scores(&self, x: &Tensor, patches: i64) -> Tensor {
        self.attn.class_scores(&self.before_space(x, patches))
    }

    /// What space attention sees: `x` with time attention's output added, after a norm.
    fn before_space(&self, x: &Tensor, patches: i64) -> Tensor {
        let time = self.timeattn.forward(&self.norm3.forward(x), Groups::Time, patches, None, Wanted::All);
        self.norm1.forward(&(x + time))
    }
}

/// A video's attention to words (EgoVLPv2).
#[derive(Debug)]
struct Cross {
    norm: nn::LayerNorm,
    query: nn::Linear,
    keys_values: nn::Linear,
    proj: nn::Linear,
    alpha: Tensor,
    heads: i64,
}

impl Cross {
    fn new(path: &nn::Path, [width, heads]: [i64; 2], eps: f64, gate: f64) -> Self {
        Self {
            norm: norm(path / "norm_i2t_i", width, eps),
            query: linear(path / "qkv_i2t", width, width, First::Uniform),
            keys_values: linear(path / "qkv_text_i2t", width, 2 * width, First::Uniform),
            proj: linear(path / "proj_i2t", width, width, First::Uniform),
            alpha: path.var("alpha_i2t", &[1], Init::Const(gate)),
            heads,
        }
    }

    /// Space attention's output `space` with what its tokens find among the words: `space + alpha * found`. The query
    /// is that output without a residual, and words have no norm, which is how the code differs from the paper's
    /// equation 2.
    fn forward(&self, space: &Tensor, words: &Words) -> Tensor {
        let query = self.query.forward(&self.norm.forward(space));
        let keys_values = self.keys_values.forward(words.tokens).chunk(2, -1);
        let found = layers::attend([&query, &keys_values[0], &keys_values[1]], self.heads, Some(words.mask), 0.0);
        space + &self.alpha * self.proj.forward(&found)
    }
}

/// The tower.
#[derive(Debug)]
pub(super) struct VideoTower {
    convolution: nn::Conv2D,
    class: Tensor,
    /// `[1, 1 + P, W]`.
    positions: Tensor,
    /// `[1, rows, W]`.
    times: Tensor,
    blocks: Vec<Shared<Block>>,
    norm: nn::LayerNorm,
    patches: i64,
}

impl VideoTower {
    /// Its last blocks have cross-attention, as `fusion` says. First weights are PyTorch's own, tables normal with a spread of
    /// 0.02, times zero.
    pub fn new(path: &nn::Path, settings: &VideoSettings, eps: f64, fusion: Fusion) -> Self {
        let VideoSettings { width, depth, initializer_range: spread, .. } = *settings;
        let block = |i| Block::new(&(path / "blocks" / i), settings, eps, fusion.gate_of(i, depth));
        Self {
            convolution: patches(path / "patch_embed" / "proj", 3, width, settings.patch),
            class: path.randn("cls_token", &[1, 1, width], 0.0, spread),
            positions: path.randn("pos_embed", &[1, 1 + settings.patches(), width], 0.0, spread),
            times: match settings.time_init {
                TimeInit::Zeros => path.zeros("temporal_embed", &[1, settings.frames, width]),
                TimeInit::Rand => path.randn("temporal_embed", &[1, settings.frames, width], 0.0, spread),
            },
            blocks: (0..depth).map(|i| Shared::new(block(i))).collect(),
            norm: norm(path / "norm", width, eps),
            patches: settings.patches(),
        }
    }

    /// Patches of a frame.
    pub fn patches(&self) -> i64 {
        self.patches
    }

    pub fn blocks(&self) -> &[Shared<Block>] {
        &self.blocks
    }

    /// Tokens `[B, 1 + F * P, W]` of `frames` `[B, F, 3, image, image]`, led by `class` `[1, 1, W]`. `places` `[1, P,
    /// W]` is added to the patches of each frame.
    pub fn embed(&self, frames: &Tensor, class: &Tensor, places: Option<&Tensor>) -> Tensor {
        let (batch, count, width) = (frames.size()[0], frames.size()[1], class.size()[2]);
        let patches = self.convolution.forward(&frames.flatten(0, 1)).flatten(2, 3).transpose(1, 2);
        let patches = patches.reshape([batch, count, self.patches, width]);
        let own = self.positions.narrow(1, 1, self.patches);
        let own = places.map_or(own.shallow_clone(), |places| own + places);
        let marks = own.unsqueeze(1) + self.times.narrow(1, 0, count).unsqueeze(2);
        let class = (class + self.positions.narrow(1, 0, 1)).expand([batch, 1, width], false);
        Tensor::cat(&[class, (patches + marks).flatten(1, 2)], 1)
    }

    /// The class token `[B, W]` of a clip that meets no text.
    pub fn class(&self, frames: &Tensor, recompute: bool) -> Tensor {
        let tokens = self.embed(frames, &self.class, None);
        let out = (0..self.blocks.len()).fold(tokens, |x, i| self.alone(i, &x, self.wanted(i), recompute));
        self.norm.forward(&first(&out))
    }

    /// Block `i` without words.
    pub fn alone(&self, i: usize, x: &Tensor, wanted: Wanted, recompute: bool) -> Tensor {
        let (block, patches) = (self.blocks[i].clone(), self.patches);
        run_one(recompute, &[x], move |x| {
            block.with(|block| block.forward(&x[0], &Scene { wanted, ..Scene::plain(patches) }))
        })
    }

    /// What is read of block `i`'s tokens.
    pub fn wanted(&self, i: usize) -> Wanted {
        if i + 1 == self.blocks.len() { Wanted::Class } else { Wanted::All }
    }

    /// The embedded tokens and those after each block, `[B, N, W]`, of a clip that meets no text.
    pub fn states(&self, frames: &Tensor) -> Vec<Tensor> {
        let mut states = vec![self.embed(frames, &self.class, None)];
        for i in 0..self.blocks.len() {
            states.push(self.alone(i, &states[i], Wanted::All, false));
        }
        states
    }
}
