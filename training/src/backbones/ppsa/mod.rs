//! PPSA (Zhang et al., "Patch Partition, Selection, and Aggregation for Egocentric Video Question Answering"), later
//! MFAS (ICML 2024): EgoVLPv2 with a coarse stream beside the video tower's lower half, and with patches selected and
//! then pooled in its fused half.
//!
//! Not for plain EgoVLPv2. Invariant: with both streams' factors and the coarse position table zero, the lower half
//! computes what EgoVLPv2's computes. What the publication says nothing of is named here: coarse blocks are
//! `video_model.coarse_blocks.*`, their position table `video_model.coarse_embed`, the factors `video_model.alpha` and
//! `.beta`; scores are those of space attention, scaled as its softmax has them, and a pooled video is pooled for both
//! towers.

mod pyramid;
mod selection;

use std::path::Path;

use egofx::arch::{Architecture, ConfigError, EgoVlpV2Config};
use egofx::compat::Compat;
use tch::nn::{self, Module};
use tch::{Tensor, no_grad};

use crate::checkpoint::Tensors;
use crate::error::TrainError;
use crate::nn::key_mask;

use super::blocks::{Shared, class_token, run_one};
use super::divided::Wanted;
use super::egovlpv2::{EPS, EgoVlpV2};
use super::error::BackboneError;
use super::heads::AnswerHead;
use super::load::{EGOVLPV2, Loaded, load};
use super::video::{Block, BlockInput};
use pyramid::{doubled, halved, of_clip, of_frames, spread};
use selection::{Selection, key_bias};

/// Fused blocks before which the video is pooled: two by two, then each frame, then all frames.
const POOLED: usize = 3;
/// Names of what EgoVLPv2's checkpoints do not have.
const FRESH: [&str; 5] =
    ["projector_", "video_model.coarse_blocks.", "video_model.coarse_embed", "video_model.alpha", "video_model.beta"];

/// PPSA.
#[derive(Debug)]
pub struct Ppsa {
    /// What it is built on.
    pub model: EgoVlpV2,
    head: AnswerHead,
    /// The twins of the blocks that are not fused.
    coarse: Vec<Shared<Block>>,
    /// `[1, P / 4, D]`, the position table of coarse patches.
    coarse_embed: Tensor,
    /// How much of the coarse stream the fine one takes, and the other way round; `[1]` each.
    factors: [Tensor; 2],
    selection: Selection,
}

/// A clip on its way through the fused blocks.
struct Clip {
    /// `[B, N, D]`.
    tokens: Tensor,
    /// Added to the scores of tokens as keys, `[B, N]`.
    key_bias: Tensor,
    /// Tokens of a frame.
    num_patches: i64,
}

impl Ppsa {
    /// A network with fresh weights at `path`; see [`EgoVlpV2::new`].
    ///
    /// # Errors
    /// [`BackboneError::Config`] for sizes that no network has: the patches of a frame's side are even, three blocks
    /// at least are fused, and one at least is not.
    pub fn new(
        path: &nn::Path,
        config: &EgoVlpV2Config,
        answers: i64,
        compat: Compat,
        recompute: bool,
    ) -> Result<Self, BackboneError> {
        check(config, answers)?;
        let (side, dim, std) =
            (config.video.grid_size() as i64, config.video.embed_dim, config.video.initializer_range);
        let video = path / "video_model";
        let block = |i| Shared::new(Block::new(&(&video / "coarse_blocks" / i), &config.video, EPS, None));
        Ok(Self {
            model: EgoVlpV2::new(path, config, recompute)?,
            head: AnswerHead::new(path, dim, answers),
            coarse: (0..config.first_fused()).map(block).collect(),
            coarse_embed: video.randn("coarse_embed", &[1, side * side / 4, dim as i64], 0.0, std),
            factors: ["alpha", "beta"].map(|name| video.zeros(name, &[1])),
            selection: Selection { side, compat },
        })
    }

    /// Starts `into`, the variables of such a network, from a checkpoint of EgoVLPv2. The public code makes the coarse
    /// blocks before it loads the checkpoint, which leaves them at random; so does `as-released`. In `fixed` they begin as
    /// copies of the trained ones.
    ///
    /// # Errors
    /// Those of [`load`].
    pub fn start(path: &Path, compat: Compat, into: &Tensors) -> Result<Loaded, TrainError> {
        let loaded = load(path, &EGOVLPV2, &FRESH, into)?;
        if compat == Compat::Fixed {
            for (name, twin) in into.iter().filter(|(name, _)| name.contains(".coarse_blocks.")) {
                let fine = &into[&name.replace(".coarse_blocks.", ".blocks.")];
                no_grad(|| twin.shallow_clone().f_copy_(fine))?;
            }
        }
        Ok(loaded)
    }

    /// Logits `[B, A]` of the answers to questions about clips; see [`EgoVlpV2::fused`] for the arguments.
    pub fn answers(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        let mask = key_mask(mask);
        let unfused = self.coarse.len();
        let mut text = self.model.lower_text(ids, &mask, 0..unfused, train);
        let (tokens, kept) = self.partition(frames, train);
        let mut clip = Clip { tokens, key_bias: key_bias(&kept), num_patches: self.model.video_model.num_patches() };
        for i in unfused..self.model.video_model.blocks().len() {
            clip = self.aggregate(clip, i);
            let state = [&clip.tokens, &text, &mask];
            [clip.tokens, text] = self.model.forward_fused(i, state, clip.num_patches, Some(&clip.key_bias), train);
        }
        self.head.forward(&self.model.norm.forward(&class_token(&clip.tokens)), train)
    }

    /// Which patches of clips are selected: 1 or 0, `[B, F, P]`.
    pub fn selected(&self, frames: &Tensor) -> Tensor {
        no_grad(|| self.partition(frames, false).1)
    }

    /// The fine stream `[B, N, D]` after the blocks that are not fused, and which patches are selected, `[B, F, P]`.
    fn partition(&self, frames: &Tensor, train: bool) -> (Tensor, Tensor) {
        let side = self.selection.side;
        let pos_embed = spread(&self.coarse_embed, side);
        let fine = self.model.video_model.embed(frames, &self.model.cls_token, Some(&pos_embed));
        let coarse = halved(&fine, side);
        let last = self.coarse.len() - 1;
        let streams = (0..last).fold([fine, coarse], |streams, i| self.advance(i, &streams, train));
        let kept = no_grad(|| self.selection.kept(&self.scores(last, &streams)));
        let [fine, _] = self.advance(last, &streams, train);
        (fine, kept)
    }

    /// Both streams after block `i`, each with its part of what the other is after it.
    fn advance(&self, i: usize, [fine, coarse]: &[Tensor; 2], train: bool) -> [Tensor; 2] {
        let (side, recompute, twin) = (self.selection.side, self.model.recompute && train, self.coarse[i].clone());
        let fine = self.model.video_model.forward_unimodal(i, fine, Wanted::All, recompute);
        let quarter = side * side / 4;
        let coarse = run_one(recompute, &[coarse], move |x| {
            twin.with(|block| block.forward(&x[0], &BlockInput::unimodal(quarter)))
        });
        let [alpha, beta] = &self.factors;
        [&fine + alpha * doubled(&coarse, side), &coarse + beta * halved(&fine, side)]
    }

    /// Scores `[B, F, P]` of patches by both streams' class tokens in block `i`.
    fn scores(&self, i: usize, [fine, coarse]: &[Tensor; 2]) -> Tensor {
        let num_patches = self.model.video_model.num_patches();
        let fine = self.model.video_model.blocks()[i].with(|block| block.class_scores(fine, num_patches));
        let coarse = self.coarse[i].with(|block| block.class_scores(coarse, num_patches / 4));
        self.selection.scores(&fine, &coarse)
    }

    /// `clip` as fused block `i` takes it, pooled before the last three. Masks are pooled like tokens: a patch is kept
    /// if one of those that it covers is. Tokens are pooled without regard to masks.
    fn aggregate(&self, clip: Clip, i: usize) -> Clip {
        let Clip { tokens, key_bias, num_patches } = clip;
        let pooled = |pool: &dyn Fn(&Tensor) -> Tensor, num_patches: i64| Clip {
            tokens: pool(&tokens),
            key_bias: pool(&key_bias.unsqueeze(2)).squeeze_dim(2),
            num_patches,
        };
        match self.model.video_model.blocks().len() - i {
            3 => pooled(&|x| halved(x, self.selection.side), num_patches / 4),
            2 => pooled(&|x| of_frames(x, num_patches), 1),
            1 => pooled(&of_clip, 1),
            _ => Clip { tokens, key_bias, num_patches },
        }
    }
}

fn check(config: &EgoVlpV2Config, answers: i64) -> Result<(), BackboneError> {
    config.check()?;
    ConfigError::unless(answers > 0, "answers", answers as f64, "1 or more")?;
    let (is_even, patch) = (config.video.grid_size().is_multiple_of(2), config.video.patch_size as f64);
    ConfigError::unless(is_even, "video.patch_size", patch, "an even number of patches on a side")?;
    let fused = config.num_fused_layers;
    let fits = (POOLED..config.video.depth).contains(&fused);
    let expected = "3 or more, and less than the number of layers";
    Ok(ConfigError::unless(fits, "num_fused_layers", fused as f64, expected)?)
}

#[cfg(test)]
mod tests;
