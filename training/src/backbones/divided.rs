//! Divided space-time attention (Bertasius et al., 2021, as Bain et al., 2021, have it): a patch attends to its group
//! and to the class token, the class token to all tokens.
//!
//! Not for the sums around it; see `video`. Invariant: tokens are the class token and then patches frame by frame, and
//! the class token's key and value stand first in each group.

use tch::Tensor;
use tch::nn::{self, Module};

use crate::nn::{WeightInit, linear};

/// What makes a group of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    /// The patches of one frame.
    Space,
    /// The patches of one place, in all frames.
    Time,
}

/// The tokens that are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All.
    All,
    /// The class token alone: nothing reads the others behind the last block.
    Class,
}

/// Attention in groups.
#[derive(Debug)]
pub(super) struct Divided {
    qkv: nn::Linear,
    proj: nn::Linear,
    num_heads: i64,
}

impl Divided {
    /// With the first weights `init` of `qkv` and of `proj`.
    pub fn new(path: &nn::Path, dim: i64, num_heads: i64, init: [WeightInit; 2]) -> Self {
        let qkv = linear(path / "qkv", dim, 3 * dim, init[0]);
        Self { qkv, proj: linear(path / "proj", dim, dim, init[1]), num_heads }
    }

    /// Attention over `x` `[B, 1 + F * P, D]`, P `num_patches`; `[B, 1, D]` if only the class token is wanted.
    /// `key_bias` `[B, N]` is added to the scores of each token as a key, in the groups and for the class token.
    pub fn forward(
        &self,
        x: &Tensor,
        groups: Groups,
        num_patches: i64,
        key_bias: Option<&Tensor>,
        wanted: Wanted,
    ) -> Tensor {
        let qkv = self.packed(x);
        let class = Self::of_class(&qkv, key_bias);
        let context = match wanted {
            Wanted::All => Tensor::cat(&[class, Self::of_patches(&qkv, groups, num_patches, key_bias)], 1),
            Wanted::Class => class,
        };
        self.proj.forward(&context)
    }

    /// Scores of all tokens as keys of the class token, before softmax, the mean over heads: `[B, N]`.
    pub fn class_scores(&self, x: &Tensor) -> Tensor {
        let qkv = self.packed(x);
        let [q, k] = [qkv.narrow(1, 0, 1).select(2, 0), qkv.select(2, 1)].map(|x| x.transpose(1, 2));
        let scale = (q.size()[3] as f64).powf(-0.5);
        (q * scale).matmul(&k.transpose(2, 3)).squeeze_dim(2).mean_dim(1, false, None)
    }

    /// Queries, keys and values `[B, N, 3, num_heads, D / num_heads]`.
    fn packed(&self, x: &Tensor) -> Tensor {
        let size = x.size();
        self.qkv.forward(x).view([size[0], size[1], 3, self.num_heads, size[2] / self.num_heads])
    }

    /// The class token's attention to all tokens, `[B, 1, D]`.
    fn of_class(qkv: &Tensor, key_bias: Option<&Tensor>) -> Tensor {
        let query = qkv.narrow(1, 0, 1).select(2, 0);
        let [q, k, v] = [query, qkv.select(2, 1), qkv.select(2, 2)].map(|x| x.transpose(1, 2));
        let bias = key_bias.map(|bias| bias.unsqueeze(1).unsqueeze(1));
        let context = Tensor::scaled_dot_product_attention(&q, &k, &v, bias, 0.0, false, None, false);
        context.transpose(1, 2).flatten(2, 3)
    }

    /// The patches' attention in their groups, `[B, F * P, D]`.
    fn of_patches(qkv: &Tensor, groups: Groups, num_patches: i64, key_bias: Option<&Tensor>) -> Tensor {
        let size = qkv.size();
        let (batch, heads, length) = (size[0], size[3], size[4]);
        let cut = grouped(qkv, groups, num_patches);
        let (count, members) = (cut.size()[1], cut.size()[2]);
        let q = cut.select(3, 0).reshape([batch * count, members, heads, length]).transpose(1, 2);
        let kv = with_class(&qkv.narrow(2, 1, 2), &cut.narrow(3, 1, 2));
        let kv = kv.view([batch * count, 1 + members, 2, heads, length]);
        let [k, v] = [0, 1].map(|part| kv.select(2, part).transpose(1, 2));
        let bias = key_bias.map(|bias| {
            let bias = with_class(bias, &grouped(bias, groups, num_patches));
            bias.view([batch * count, 1, 1, 1 + members])
        });
        let context = Tensor::scaled_dot_product_attention(&q, &k, &v, bias, 0.0, false, None, false);
        let context = context.transpose(1, 2).reshape([batch, count, members, heads * length]);
        match groups {
            Groups::Space => context.flatten(1, 2),
            Groups::Time => context.transpose(1, 2).flatten(1, 2),
        }
    }
}

/// The patches of `x` `[B, 1 + F * P, ..]`: `[B, groups, members, ..]`; nothing is copied.
fn grouped(x: &Tensor, groups: Groups, num_patches: i64) -> Tensor {
    let size = x.size();
    let shape = [&[size[0], (size[1] - 1) / num_patches, num_patches], &size[2..]].concat();
    let frames = x.narrow(1, 1, size[1] - 1).view(shape.as_slice());
    match groups {
        Groups::Space => frames,
        Groups::Time => frames.transpose(1, 2),
    }
}

/// `groups` `[B, groups, members, ..]` with the first token of `x` `[B, N, ..]` before each: `[B, groups, 1 + members,
/// ..]`.
fn with_class(x: &Tensor, groups: &Tensor) -> Tensor {
    let size = groups.size();
    let shape = [&[size[0], size[1], 1], &size[3..]].concat();
    Tensor::cat(&[&x.narrow(1, 0, 1).unsqueeze(1).expand(shape, false), groups], 2)
}
