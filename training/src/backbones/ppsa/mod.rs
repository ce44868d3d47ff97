//! PPSA (Zhang et al., "Patch Partition, Selection, and Aggregation for Egocentric Video Question Answering"), later
//! MFAS (ICML 2024): EgoVLPv2 with a coarse stream beside the video tower's lower half, and with patches selected and
//! then pooled in its fused half.
//!
//! Not for plain EgoVLPv2. Invariant: with both streams' factors and the table of coarse places zero, the lower half
//! computes what EgoVLPv2's computes. What the publication says nothing of is named here: coarse blocks are
//! `video_model.coarse_blocks.*`, coarse places `video_model.coarse_embed`, the factors `video_model.alpha` and
//! `.beta`; scores are those of space attention, scaled as its softmax has them, and a pooled video is pooled for both
//! towers.

mod pyramid;
mod selection;

use std::path::Path;

use tch::nn::{self, Module};
use tch::{Tensor, no_grad};

use crate::behaviour::Behaviour;
use crate::checkpoint::Tensors;
use crate::error::TrainError;

use super::divided::Wanted;
use super::egovlpv2::{EPS, EgoVlpV2};
use super::error::BackboneError;
use super::heads::AnswerHead;
use super::layers::{Shared, first, keys_that_count, run_one};
use super::load::{EGOVLPV2, Loaded, load};
use super::settings::{EgoVlpV2Settings, expect, positive};
use super::video::{Block, Scene};
use pyramid::{doubled, halved, of_clip, of_frames, spread};
use selection::{Selection, keys};

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
    /// `[1, P / 4, W]`, of coarse places.
    places: Tensor,
    /// How much of the coarse stream the fine one takes, and the other way round; `[1]` each.
    factors: [Tensor; 2],
    selection: Selection,
}

/// A clip on its way through the fused blocks.
struct Clip {
    /// `[B, N, W]`.
    tokens: Tensor,
    /// What is added to the scores of tokens, `[B, N]`.
    keys: Tensor,
    /// Tokens of a frame.
    patches: i64,
}

impl Ppsa {
    /// A network with fresh weights at `path`; see [`EgoVlpV2::new`].
    ///
    /// # Errors
    /// [`BackboneError::Setting`] for settings that no network has: the patches of a frame's side are even, three blocks
    /// at least are fused, and one at least is not.
    pub fn new(
        path: &nn::Path,
        settings: &EgoVlpV2Settings,
        answers: i64,
        behaviour: Behaviour,
        recompute: bool,
    ) -> Result<Self, BackboneError> {
        settings.check()?;
        positive([("answers", answers)])?;
        let (side, fused, depth) = (settings.video.side(), settings.fused, settings.video.depth);
        expect(side % 2 == 0, "video.patch", settings.video.patch as f64, "an even number of patches on a side")?;
        let fits = (POOLED as i64..depth).contains(&fused);
        expect(fits, "fused", fused as f64, "3 or more, and less than the number of layers")?;
        let (width, video) = (settings.video.width, path / "video_model");
        let block = |i| Shared::new(Block::new(&(&video / "coarse_blocks" / i), &settings.video, EPS, None));
        Ok(Self {
            model: EgoVlpV2::new(path, settings, recompute)?,
            head: AnswerHead::new(path, width, answers),
            coarse: (0..depth - fused).map(block).collect(),
            places: video.randn("coarse_embed", &[1, side * side / 4, width], 0.0, settings.video.initializer_range),
            factors: ["alpha", "beta"].map(|name| video.zeros(name, &[1])),
            selection: Selection { side, behaviour },
        })
    }

    /// Starts `into`, the variables of such a network, from a checkpoint of EgoVLPv2. The public code makes the coarse
    /// blocks before it loads the checkpoint, which leaves them at random; so does `compat`. In `fixed` they begin as
    /// copies of the trained ones.
    ///
    /// # Errors
    /// Those of [`load`].
    pub fn start(path: &Path, behaviour: Behaviour, into: &Tensors) -> Result<Loaded, TrainError> {
        let loaded = load(path, &EGOVLPV2, &FRESH, into)?;
        if behaviour == Behaviour::Fixed {
            for (name, twin) in into.iter().filter(|(name, _)| name.contains(".coarse_blocks.")) {
                let fine = &into[&name.replace(".coarse_blocks.", ".blocks.")];
                no_grad(|| twin.shallow_clone().f_copy_(fine))?;
            }
        }
        Ok(loaded)
    }

    /// Logits `[B, A]` of the answers to questions about clips; see [`EgoVlpV2::fused`] for the arguments.
    pub fn answers(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        let mask = keys_that_count(mask);
        let unfused = self.coarse.len();
        let mut text = self.model.lower_text(ids, &mask, 0..unfused, train);
        let (tokens, kept) = self.partition(frames, train);
        let mut clip = Clip { tokens, keys: keys(&kept), patches: self.model.video_model.patches() };
        for i in unfused..self.model.video_model.blocks().len() {
            clip = self.aggregate(clip, i);
            [clip.tokens, text] =
                self.model.step(i, [&clip.tokens, &text, &mask], clip.patches, Some(&clip.keys), train);
        }
        self.head.forward(&self.model.norm.forward(&first(&clip.tokens)), train)
    }

    /// Which patches of clips are selected: 1 or 0, `[B, F, P]`.
    pub fn selected(&self, frames: &Tensor) -> Tensor {
        no_grad(|| self.partition(frames, false).1)
    }

    /// The fine stream `[B, N, W]` after the blocks that are not fused, and which patches are selected, `[B, F, P]`.
    fn partition(&self, frames: &Tensor, train: bool) -> (Tensor, Tensor) {
        let side = self.selection.side;
        let places = spread(&self.places, side);
        let fine = self.model.video_model.embed(frames, &self.model.class, Some(&places));
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
        let fine = self.model.video_model.alone(i, fine, Wanted::All, recompute);
        let quarter = side * side / 4;
        let coarse =
            run_one(recompute, &[coarse], move |x| twin.with(|block| block.forward(&x[0], &Scene::plain(quarter))));
        let [alpha, beta] = &self.factors;
        [&fine + alpha * doubled(&coarse, side), &coarse + beta * halved(&fine, side)]
    }

    /// Scores `[B, F, P]` of patches by both streams' class tokens in block `i`.
    fn scores(&self, i: usize, [fine, coarse]: &[Tensor; 2]) -> Tensor {
        let patches = self.model.video_model.patches();
        let fine = self.model.video_model.blocks()[i].with(|block| block.class_scores(fine, patches));
        let coarse = self.coarse[i].with(|block| block.class_scores(coarse, patches / 4));
        self.selection.scores(&fine, &coarse)
    }

    /// `clip` as fused block `i` takes it, pooled before the last three. Masks are pooled like tokens: a patch is kept
    /// if one of those that it covers is. Tokens are pooled without regard to masks.
    fn aggregate(&self, clip: Clip, i: usize) -> Clip {
        let Clip { tokens, keys, patches } = clip;
        let pooled = |pool: &dyn Fn(&Tensor) -> Tensor, patches: i64| Clip {
            tokens: pool(&tokens),
            keys: pool(&keys.unsqueeze(2)).squeeze_dim(2),
            patches,
        };
        match self.model.video_model.blocks().len() - i {
            3 => pooled(&|x| halved(x, self.selection.side), patches / 4),
            2 => pooled(&|x| of_frames(x, patches), 1),
            1 => pooled(&of_clip, 1),
            _ => Clip { tokens, keys, patches },
        }
    }
}

#[cfg(test)]
mod tests;
