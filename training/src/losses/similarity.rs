//! How alike sentences and clips are, by their embeddings and by their tags.
//!
//! Not for losses. Rows are sentences and columns clips; sentence and clip `i` belong together.

use egofx::compat::Compat;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Verbs that EgoClip's tags number.
pub const VERBS: i64 = 118;
/// Nouns that EgoClip's tags number.
pub const NOUNS: i64 = 582;

/// The norm that an embedding is divided by is at least this, as in `sim_matrix` of the original.
const LEAST_NORM: f64 = 1e-8;

/// Which narrations of a batch count as true of another one's clip, besides its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// Those that share a verb and a noun.
    #[serde(rename = "noun&verb")]
    NounAndVerb,
    /// Those that share a noun.
    #[serde(rename = "noun")]
    Noun,
    /// Those that share a verb.
    #[serde(rename = "verb")]
    Verb,
    /// None: EgoNCE is InfoNCE.
    #[serde(rename = "none")]
    None,
}

impl Rule {
    /// What EgoVLP's code (v1) makes of the rule: with both of its switches off it falls back to verbs, where EgoVLPv2
    /// has no other positives. `fixed` keeps the rule.
    pub fn in_egovlp(self, compat: Compat) -> Self {
        match (self, compat) {
            (Self::None, Compat::AsReleased) => Self::Verb,
            (rule, _) => rule,
        }
    }
}

/// Cosines `[n, m]` of sentences `[n, D]` with clips `[m, D]`.
pub fn cosine(texts: &Tensor, videos: &Tensor) -> Tensor {
    unit_rows(texts).matmul(&unit_rows(videos).tr())
}

fn unit_rows(rows: &Tensor) -> Tensor {
    rows / rows.norm_scalaropt_dim(2.0, [1], true).clamp_min(LEAST_NORM)
}

/// One row for each list of tags, 1 where it has one: `[lists.len(), classes]`, single precision, on the CPU. A tag
/// outside of `0..classes` is left out; who reads annotations refuses those.
pub fn multi_hot<T: AsRef<[i64]>>(lists: &[T], classes: i64) -> Tensor {
    let width = classes as usize;
    let mut hot = vec![0f32; lists.len() * width];
    for (row, tags) in hot.chunks_mut(width).zip(lists) {
        let known = tags.as_ref().iter().filter(|tag| (0..classes).contains(*tag));
        known.for_each(|&tag| row[tag as usize] = 1.0);
    }
    Tensor::from_slice(&hot).view([lists.len() as i64, classes])
}

/// Which pairs are positive: `[n, n]`, of truth values, symmetric, true on the diagonal. `verbs` `[n, 118]` and `nouns`
/// `[n, 582]` are multi-hot; who has no tags shares none. The original compares cosines of these vectors with 0, which
/// comes to the same.
pub fn positives(verbs: &Tensor, nouns: &Tensor, rule: Rule) -> Tensor {
    let shared = |tags: &Tensor| tags.matmul(&tags.tr()).gt(0.0);
    let own = Tensor::eye(verbs.size()[0], (Kind::Bool, verbs.device()));
    match rule {
        Rule::NounAndVerb => shared(verbs).logical_and(&shared(nouns)).logical_or(&own),
        Rule::Noun => shared(nouns).logical_or(&own),
        Rule::Verb => shared(verbs).logical_or(&own),
        Rule::None => own,
    }
}
