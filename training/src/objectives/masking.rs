//! Hidden words and their guessing: masked language modelling as transformers' collator does it.
//!
//! Not for tokenizers. A special token, padding and `<unk>` included, is never hidden.

use rand_xoshiro::rand_core::Rng;
use tch::{Reduction, Tensor};

use crate::draws::{below, unit};

/// The label of a token that nobody has to guess.
pub const IGNORED: i64 = -100;
/// Of the words that are to be guessed, the share that the mask stands for.
const MASK_SHARE: f64 = 0.8;
/// Of the others, the share that any word stands for. What is left stays as it is.
const RANDOM_SHARE: f64 = 0.5;

/// How words are hidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Masking {
    /// Ids that are never hidden: the special tokens of the tokenizer, its mask among them.
    pub specials: Vec<i64>,
    /// The id that stands for a hidden word.
    pub mask: i64,
    /// How many ids there are; random words are any of them, special ones too.
    pub vocabulary: usize,
    /// The share of words that is to be guessed.
    pub probability: f64,
}

/// What was drawn for each token, all `[B, L]` on the device of the ids.
#[derive(Debug)]
pub struct Picked {
    /// Whether it is to be guessed, if it is not special.
    pub selected: Tensor,
    /// Whether the mask stands for it then.
    pub masked: Tensor,
    /// Whether else a random word does.
    pub random: Tensor,
    /// That word.
    pub words: Tensor,
}

/// Sentences with hidden words, `[B, L]` both, 64-bit integers. The attention mask stays that of the whole sentence.
#[derive(Debug)]
pub struct Masked {
    /// What the model reads.
    pub ids: Tensor,
    /// The hidden word, or [`IGNORED`].
    pub labels: Tensor,
}

impl Masking {
    /// Hides words of `ids` (`[B, L]`, 64-bit integers).
    pub fn mask_words(&self, ids: &Tensor, draw: &mut impl Rng) -> Masked {
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
        let words: Vec<i64> = (0..ids.numel()).map(|_| below(draw, self.vocabulary) as i64).collect();
        Picked { selected, masked, random, words: tensor(Tensor::from_slice(&words)) }
    }

    /// Hides what was picked.
    pub fn apply(&self, ids: &Tensor, picked: &Picked) -> Masked {
        let specials = Tensor::from_slice(&self.specials).to_device(ids.device());
        let selected = picked.selected.logical_and(&Tensor::isin(ids, &specials, false, true));
        let masked = selected.logical_and(&picked.masked);
        let random = selected.logical_and(&picked.random).logical_and(&picked.masked.logical_not());
        Masked {
            ids: picked.words.where_self(&random, &ids.masked_fill(&masked, self.mask)),
            labels: ids.masked_fill(&selected.logical_not(), IGNORED),
        }
    }
}

/// The mean cross-entropy of logits `[..., V]` over the tokens whose label (`[...]`) is not [`IGNORED`]; gathered from
/// all ranks it is the mean over all of their tokens. A sentence may have nothing to guess. If no sentence of the batch
/// has, the loss is 0 and so is its gradient, where the original's is NaN.
pub fn mlm_loss(logits: &Tensor, labels: &Tensor) -> Tensor {
    let words = logits.size().last().copied().unwrap_or_default();
    let (logits, labels) = (logits.reshape([-1, words]), labels.reshape([-1]));
    let sum = logits.cross_entropy_loss::<Tensor>(&labels, None, Reduction::Sum, IGNORED, 0.0);
    sum / labels.ne(IGNORED).sum(logits.kind()).clamp_min(1.0)
}
