//! What backbones are trained for: EgoNCE, masked language modelling (MLM), video-text matching (VTM) with hard negatives, and
//! the losses of fine-tuning, as functions of tensors.
//!
//! After [EgoVLP](https://github.com/showlab/EgoVLP) and [EgoVLPv2](https://github.com/facebookresearch/EgoVLPv2). Not
//! for data, nor for ranks: who trains in several processes gathers rows first, and every loss is that of all rows.
//! Dual softmax, which is for test time only, is `egofx::metric::mir::dual_softmax`. Invariant: losses are scalars in
//! the kind of what they are given, so that callers leave autocast before, and nothing is fetched from the device but
//! the weights of [`mine_hard_negatives`].

mod classification;
mod egonce;
mod max_margin;
mod mlm;
mod similarity;
mod total;
mod vtm;

pub use classification::{classification, key_frame};
pub use egonce::{egonce, infonce};
pub use max_margin::{adaptive_max_margin, max_margin};
pub use mlm::{IGNORED, Masked, Masking, Picked, mlm_loss};
pub use similarity::{NOUNS, Rule, VERBS, cosine, multi_hot, positives};
pub use total::{LossTerms, LossWeights};
pub use vtm::{HardNegative, NegativeWeights, VtmPairs, mine_hard_negatives, negative_weights, vtm_labels, vtm_pairs};
