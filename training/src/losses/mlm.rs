//! Masked language modelling (MLM): which tokens are masked, as transformers' `DataCollatorForLanguageModeling` does it, and the
//! loss of predicting them.
//!
//! Not for tokenizers. A special token, padding and `<unk>` included, is never masked.

use rand_xoshiro::rand_core::Rng;
use tch::{Reduction, Tensor};

use crate::rng::{below, unit};

/// The label of a token that is not predicted: `ignore_index`.
pub const IGNORED: i64 = -100;
/// Of the tokens to predict, the share that is replaced by the mask token.
const MASK_SHARE: f64 = 0.8;
/// Of the others, the share that is replaced by a random token. What is left stays as it is.
const RANDOM_SHARE: f64 = 0.5;

/// How tokens are masked.
#[derive(Debug, Clone, PartialEq)]
pub struct Masking {
    /// Ids that are never masked: the special tokens of the tokenizer, its mask among them.
    pub specials: Vec<i64>,
    /// The id of the mask token.
    pub mask: i64,
    /// How many ids there are; random tokens are any of them, special ones too.
    pub vocabulary: usize,
    /// The share of tokens to predict: `mlm_probability`.
    pub probability: f64,
}

/// What was drawn for each token, all `[B, L]` on the device of the ids.
#[derive(Debug)]
pub struct Picked {
    /// Whether it is to be predicted, if it is not special.
    pub selected: Tensor,
    /// Whether the mask token replaces it then.
    pub masked: Tensor,
    /// Whether else a random token does.
    pub random: Tensor,
    /// That token.
    pub random_tokens: Tensor,
}

/// Sentences with masked tokens, `[B, L]` both, 64-bit integers. The attention mask stays that of the whole sentence.
#[derive(Debug)]
pub struct Masked {
    /// What the model reads.
    pub ids: Tensor,
    /// The id to predict, or [`IGNORED`].
    pub labels: Tensor,
}

impl Masking {
    /// Masks tokens of `ids` (`[B, L]`, 64-bit integers).
    pub fn mask_tokens(&self, ids: &Tensor, draw: &mut impl Rng) -> Masked {
        self.apply(ids, &self.pick(ids, draw))
    }

    /// Draws for each token, special or not, so that what is drawn for one does not depend on the others.
    pub fn pick(&self, ids: &Tensor, draw: &mut impl Rng) -> Picked {
        let tensor = |values: Tensor| values.view_as(ids).to_device(ids.device());
        let mut happens = |probability: f64| {
            let drawn: Vec<bool> = (0..ids.numel()).map(|_| unit(draw) < probability).collect();
            tensor(Tensor::from_slice(&drawn))
        };
        let [selected, masked, random] = [self.probability, MASK_SHARE, RANDOM_SHARE].map(&mut happens);
        let random_tokens: Vec<i64> = (0..ids.numel()).map(|_| below(draw, self.vocabulary) as i64).collect();
        Picked { selected, masked, random, random_tokens: tensor(Tensor::from_slice(&random_tokens)) }
    }

    /// Masks what was picked.
    pub fn apply(&self, ids: &Tensor, picked: &Picked) -> Masked {
        let specials = Tensor::from_slice(&self.specials).to_device(ids.device());
        let selected = picked.selected.logical_and(&Tensor::isin(ids, &specials, false, true));
        let masked = selected.logical_and(&picked.masked);
        let random = selected.logical_and(&picked.random).logical_and(&picked.masked.logical_not());
        Masked {
            ids: picked.random_tokens.where_self(&random, &ids.masked_fill(&masked, self.mask)),
            labels: ids.masked_fill(&selected.logical_not(), IGNORED),
        }
    }
}

/// The mean cross-entropy of logits `[..., V]` over the tokens whose label (`[...]`) is not [`IGNORED`]; gathered from
/// all ranks it is the mean over all of their tokens. A sentence may have nothing to predict. If no sentence of the batch
/// has, the loss is 0 and so is its gradient, where the original's is NaN.
pub fn mlm_loss(logits: &Tensor, labels: &Tensor) -> Tensor {
    let words = logits.size().last().copied().unwrap_or_default();
    let (logits, labels) = (logits.reshape([-1, words]), labels.reshape([-1]));
    let sum = logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Sum, IGNORED, 0.0);
    sum / labels.ne(IGNORED).sum(logits.kind()).clamp_min(1.0)
}
