//! What backbones are trained for: losses, hidden words and mined pairs, as functions of tensors.
//!
//! After [EgoVLP](https://github.com/showlab/EgoVLP) and [EgoVLPv2](https://github.com/facebookresearch/EgoVLPv2). Not
//! for data, nor for ranks: who trains in several processes gathers rows first, and every loss is that of all rows.
//! Dual softmax, which is for test time only, is `egofx::metric::mir::dual_softmax`. Invariant: losses are scalars in
//! the kind of what they are given, so that callers leave autocast before, and nothing is fetched from the device but
//! [`mine`]'s weights.

mod classification;
mod contrastive;
mod margin;
mod masking;
mod matching;
mod similarity;
mod total;

pub use classification::{classification, key_frame};
pub use contrastive::{egonce, infonce};
pub use margin::{adaptive_max_margin, max_margin};
pub use masking::{IGNORED, Masked, Masking, Picked, mlm_loss};
pub use matching::{Mined, Pick, Weights, labels, mine, mined, weights};
pub use similarity::{NOUNS, Rule, VERBS, cosine, multi_hot, positives};
pub use total::{Losses, TotalWeights};
