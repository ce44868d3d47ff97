//! What joins video and query in VSLNet: context-query attention, and the query pooled to one row.
//!
//! Not for either alone. Invariant: `C` is the video `[B, L, C]`, `Q` the query `[B, Q, C]`; padding of neither has a
//! weight.

use tch::{Tensor, nn};

use super::layers::Mask;
use super::settings::Settings;
use crate::nn::{Dropout, PointwiseLinear, xavier};

/// Context-query attention with trilinear scores (Seo et al., 2017; as in QANet).
#[derive(Debug)]
pub(super) struct CqAttention {
    /// `[C, 1]`.
    of_video: Tensor,
    /// `[C, 1]`.
    of_query: Tensor,
    /// `[1, 1, C]`.
    of_both: Tensor,
    out: PointwiseLinear,
    dropout: Dropout,
}

impl CqAttention {
    pub fn new(path: &nn::Path, settings: &Settings) -> Self {
        let embed_dim = settings.embed_dim;
        Self {
            of_video: xavier(path, "w4C", &[embed_dim, 1]),
            of_query: xavier(path, "w4Q", &[embed_dim, 1]),
            of_both: xavier(path, "w4mlu", &[1, 1, embed_dim]),
            out: PointwiseLinear::new(&(path / "cqa_linear" / "conv1d"), 4 * embed_dim, embed_dim),
            dropout: settings.dropout(),
        }
    }

    /// The video that knows of the query, `[B, L, C]`.
    pub fn forward(&self, video: &Tensor, query: &Tensor, masks: [&Mask; 2], train: bool) -> Tensor {
        let scores = self.scores(video, query, train);
        let over_query = (&scores + masks[1].bias.unsqueeze(1)).softmax(2, None);
        let over_video = (scores + masks[0].bias.unsqueeze(2)).softmax(1, None);
        let to_query = over_query.bmm(query);
        // The original multiplies the two L by Q weights first, which gives L by L.
        let to_video = over_query.bmm(&over_video.transpose(1, 2).bmm(video));
        let parts = [video.shallow_clone(), to_query.shallow_clone(), video * to_query, video * to_video];
        self.out.forward(&Tensor::cat(&parts, 2))
    }

    /// `[B, L, Q]`.
    fn scores(&self, video: &Tensor, query: &Tensor, train: bool) -> Tensor {
        let (video, query) = (self.dropout.forward(video, train), self.dropout.forward(query, train));
        // (C * w) Qᵀ = C (Q * w)ᵀ, and the query is the shorter one.
        let both = video.bmm(&(&query * &self.of_both).transpose(1, 2));
        both + video.matmul(&self.of_video) + query.matmul(&self.of_query).transpose(1, 2)
    }
}

/// The query pooled to one row, beside every position of the video.
#[derive(Debug)]
pub(super) struct CqConcat {
    /// `[C, 1]`.
    pool: Tensor,
    out: PointwiseLinear,
}

impl CqConcat {
    pub fn new(path: &nn::Path, settings: &Settings) -> Self {
        let embed_dim = settings.embed_dim;
        Self {
            pool: xavier(&(path / "weighted_pool"), "weight", &[embed_dim, 1]),
            out: PointwiseLinear::new(&(path / "conv1d" / "conv1d"), 2 * embed_dim, embed_dim),
        }
    }

    /// `[B, L, C]`.
    pub fn forward(&self, video: &Tensor, query: &Tensor, query_mask: &Mask) -> Tensor {
        let weights = (query.matmul(&self.pool) + query_mask.bias.unsqueeze(2)).softmax(1, None);
        self.out.forward_with_row(video, &weights.transpose(1, 2).bmm(query))
    }
}
