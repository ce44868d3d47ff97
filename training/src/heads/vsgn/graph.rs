//! Messages between cells whose features are close: the graph half of an encoder's level.
//!
//! Not for edges that are weighted, averaged or differences, which the original has as options that are off. Neighbours
//! come from a matrix product in double precision: a good deal faster than differences in single precision, and nearer
//! to the true distances; a product in single precision would swap neighbours where features change little.

use tch::nn::{self, Module};
use tch::{Kind, Tensor};

use super::layers;
use crate::nn::{WeightInit, linear};

/// `cdist` by a matrix product.
const BY_PRODUCT: i64 = 1;

/// The `count` nearest cells of every cell, itself among them: `[B, L, count]` from features `[B, L, C]`.
///
/// `copies` `[B]` says from which cell on a clip is an enlarged copy of itself. The farther half of the neighbours is
/// then drawn without pairs of which both are in the copy, so that the copy's cells reach back to the clip.
pub fn neighbours(features: &Tensor, count: i64, copies: Option<&Tensor>) -> Tensor {
    tch::no_grad(|| {
        let precise = features.to_kind(Kind::Double);
        let distances = Tensor::cdist(&precise, &precise, 2.0, BY_PRODUCT);
        let Some(copies) = copies else { return nearest(&distances, count) };
        let first = nearest(&distances, count / 2);
        let cells = Tensor::arange(features.size()[1], (Kind::Int64, features.device()));
        let in_copy = cells.unsqueeze(0).ge_tensor(&copies.unsqueeze(1));
        let both = in_copy.unsqueeze(2).logical_and(&in_copy.unsqueeze(1));
        let left = distances.masked_fill(&both, f64::INFINITY).scatter_value(2, &first, f64::INFINITY);
        Tensor::cat(&[&first, &nearest(&left, count - count / 2)], 2)
    })
}

fn nearest(distances: &Tensor, count: i64) -> Tensor {
    distances.topk(count, 2, false, true).1
}

/// A level of the encoder with messages: a convolution plus the strongest message of each cell's neighbours.
#[derive(Debug)]
pub(super) struct GraphLevel {
    conv: nn::Conv1D,
    /// Of a neighbour's features next to the cell's own.
    message: nn::Linear,
    embed_dim: i64,
    neighbours: i64,
    halves: bool,
}

impl GraphLevel {
    pub(super) fn new(path: &nn::Path, embed_dim: i64, neighbours: i64, halves: bool) -> Self {
        let conv = layers::conv3(path / "tconv1", embed_dim, embed_dim);
        let message = linear(path / "nconv1" / "mlp", 2 * embed_dim, embed_dim, WeightInit::PyTorch);
        Self { conv, message, embed_dim, neighbours, halves }
    }

    /// `[B, C, L]`, or `[B, C, L / 2]` where the level halves.
    pub(super) fn forward(&self, features: &Tensor, copies: Option<&Tensor>) -> Tensor {
        let cells = features.transpose(1, 2).contiguous();
        let near = neighbours(&cells, self.neighbours, copies);
        let out = (self.conv.forward(features) + self.messages(&cells, &near).transpose(1, 2)).relu();
        if self.halves { out.max_pool1d(2, 2, 0, 1, false) } else { out }
    }

    /// The maximum over neighbours n of W [n, cell] + b, `[B, L, C]`. W splits in two halves, so that every cell's
    /// features are multiplied once and not once for each neighbour.
    fn messages(&self, cells: &Tensor, near: &Tensor) -> Tensor {
        let sent = cells.matmul(&self.message.ws.narrow(1, 0, self.embed_dim).tr());
        let own = cells.linear(&self.message.ws.narrow(1, self.embed_dim, self.embed_dim), self.message.bs.as_ref());
        sent.gather(1, &strongest(&sent, near), false) + own
    }
}

/// Which neighbour sends the most, channel by channel: cells `[B, L, C]` out of `near` `[B, L, K]`. Without gradients,
/// so that what all neighbours send is not kept.
fn strongest(sent: &Tensor, near: &Tensor) -> Tensor {
    tch::no_grad(|| {
        let (size, count) = (sent.size(), near.size()[2]);
        let (batch, length, embed_dim) = (size[0], size[1], size[2]);
        let index = near.reshape([batch, length * count, 1]).expand([-1, -1, embed_dim], false);
        let received = sent.gather(1, &index, false).view([batch, length, count, embed_dim]);
        near.gather(2, &received.argmax(2, false), false)
    })
}
