//! Which anchor stands for which truth.
//!
//! Not for losses. An anchor stands for the truth that it overlaps most, if it overlaps it enough, or if no anchor
//! overlaps some truth more. Works on whole batches; no step depends on how many anchors match.

use egofx::compat::Compat;
use tch::{Kind, Tensor};

use super::anchors;

/// The truths of a batch.
#[derive(Debug)]
pub struct Truths {
    /// Start and end in cells `[B, M, 2]`.
    pub boxes: Tensor,
    /// Classes `[B, M]`.
    pub classes: Tensor,
    /// Which are there and not padding `[B, M]`.
    pub present: Tensor,
}

impl Truths {
    /// Of rows of start, end and class `[B, M, 3]`, start and end as parts of a grid of `length` cells, of which the
    /// first `counts` `[B]` of each clip are there.
    pub fn new(rows: &Tensor, counts: &Tensor, length: i64) -> Self {
        let places = Tensor::arange(rows.size()[1], (Kind::Int64, rows.device()));
        Self {
            boxes: rows.narrow(2, 0, 2) * length,
            classes: rows.select(2, 2).to_kind(Kind::Int64),
            present: places.unsqueeze(0).lt_tensor(&counts.unsqueeze(1)),
        }
    }
}

/// What the anchors of a batch stand for.
#[derive(Debug)]
pub struct Matches {
    /// Whether an anchor stands for a truth `[B, A]`.
    pub positive: Tensor,
    /// The class of its truth `[B, A]`, 0 where it stands for none.
    pub classes: Tensor,
    /// The box that it should have `[B, A, 2]`; of no meaning where it stands for none.
    pub targets: Tensor,
}

/// Overlap of anchors `[B or 1, A, 2]` and boxes of truths `[B, M, 2]`: intersection over the sum of both lengths less
/// the intersection, `[B, A, M]`. The anchor's length counts one more, and only the anchor's.
pub fn overlaps(anchors: &Tensor, truths: &Tensor) -> Tensor {
    let ends = |boxes: &Tensor, dim: i64| (boxes.select(2, 0).unsqueeze(dim), boxes.select(2, 1).unsqueeze(dim));
    let ((start, end), (truth_start, truth_end)) = (ends(anchors, 2), ends(truths, 1));
    let intersection = (end.minimum(&truth_end) - start.maximum(&truth_start)).clamp_min(0.0);
    let union = (end - start + 1.0) + truth_end - truth_start - &intersection;
    intersection / union.clamp_min(0.0)
}

/// Matches anchors `[B or 1, A, 2]` by overlaps of at least `threshold`.
///
/// A truth without length overlaps nothing, so all anchors tie as its best. As released, every anchor of the clip then
/// stands for a truth; fixed, a truth that nothing overlaps has no best anchor.
pub fn matches(anchors: &Tensor, truths: &Truths, threshold: f64, compat: Compat) -> Matches {
    let (positive, which) = tch::no_grad(|| assigned(anchors, truths, threshold, compat));
    let boxes = truths.boxes.gather(1, &which.unsqueeze(2).expand([-1, -1, 2], false), false);
    Matches {
        classes: truths.classes.gather(1, &which, false) * &positive,
        targets: targets(boxes, anchors, compat),
        positive,
    }
}

/// Whether each anchor stands for a truth, and the truth that it overlaps most, both `[B, A]`.
fn assigned(anchors: &Tensor, truths: &Truths, threshold: f64, compat: Compat) -> (Tensor, Tensor) {
    let absent = truths.present.logical_not().unsqueeze(1);
    let overlaps = overlaps(anchors, &truths.boxes).masked_fill(&absent, -1.0);
    let (most, which) = overlaps.max_dim(2, false);
    let best_of_truth = overlaps.amax(1, true);
    let least = match compat {
        Compat::AsReleased => best_of_truth.ge(0.0),
        Compat::Fixed => best_of_truth.gt(0.0),
    };
    let claimed = overlaps.eq_tensor(&best_of_truth).logical_and(&least).any_dim(2, false);
    (most.ge(threshold).logical_or(&claimed), which)
}

/// The original takes a truth's box to its anchor's code and back, which cuts it to 62.5 times the anchor's length.
fn targets(boxes: Tensor, anchors: &Tensor, compat: Compat) -> Tensor {
    match compat {
        Compat::AsReleased => anchors::decode(&anchors::encode(&boxes, anchors), anchors),
        Compat::Fixed => boxes,
    }
}
