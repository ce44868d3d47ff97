//! What the network is trained by: six terms and their sum.
//!
//! Not for matching. As released, a term is NaN where a mean is taken over nothing; fixed, it is 0 there.

use egofx::compat::Compat;
use tch::{Kind, Reduction, Tensor};

use super::matching::{self, Matches, Truths};
use super::model::Output;

/// Overlap from which an anchor, or the box that the network made of it, stands for a truth.
const OVERLAP: f64 = 0.5;
/// Overlap from which the ends of a box are moved to a truth's.
const BOUNDARY_OVERLAP: f64 = 0.7;
/// Weight of each of the three curves in the sum.
const CURVE_WEIGHT: f64 = 0.2;
/// Labels of curves above this are positive.
const POSITIVE: f64 = 0.5;
/// Added to lengths in the denominator of an overlap.
const TINY: f64 = 1e-7;
/// Added to likelihoods before their logarithm.
const TINY_LIKELIHOOD: f64 = 1e-5;

/// What is true of a batch.
#[derive(Debug)]
pub struct Truth {
    /// Start, end and class of each moment `[B, M, 3]`, start and end as parts of the grid's length.
    pub boxes: Tensor,
    /// How many moments each clip has `[B]`; the other rows are padding.
    pub counts: Tensor,
    /// Class of each cell `[B, T]`, 0 where nothing happens.
    pub action: Tensor,
    /// How much of each cell is near a start `[B, T]`.
    pub start: Tensor,
    /// How much of each cell is near an end `[B, T]`.
    pub end: Tensor,
}

/// The terms of the loss, each a single number.
#[derive(Debug)]
pub struct Losses {
    /// Classes of the decoded boxes.
    pub class: Tensor,
    /// Boxes of the anchors.
    pub regression: Tensor,
    /// Cells in which something happens.
    pub action: Tensor,
    /// Cells in which something starts.
    pub start: Tensor,
    /// Cells in which something ends.
    pub end: Tensor,
    /// Boxes with their ends moved.
    pub boundary: Tensor,
    /// The weighted sum, which is what training lowers.
    pub total: Tensor,
}

impl Losses {
    /// The terms and their sum by name.
    pub fn named(&self) -> [(&'static str, &Tensor); 7] {
        [
            ("class", &self.class),
            ("regression", &self.regression),
            ("action", &self.action),
            ("start", &self.start),
            ("end", &self.end),
            ("boundary", &self.boundary),
            ("total", &self.total),
        ]
    }
}

/// The loss of a batch.
pub fn losses(output: &Output, truth: &Truth, compat: Compat) -> Losses {
    let length = output.curves.start.size()[1];
    let truths = Truths::new(&truth.boxes, &truth.counts, length);
    let matched = |boxes: &Tensor, overlap: f64| matching::matches(boxes, &truths, overlap, compat);
    let by_anchor = matched(&output.anchors.unsqueeze(0), OVERLAP);
    let regression = box_loss(&output.boxes, &by_anchor, compat);
    let class = class_loss(&output.scores, &matched(&output.boxes, OVERLAP), compat);
    let boundary = box_loss(&output.adjusted, &matched(&output.boxes, BOUNDARY_OVERLAP), compat);
    let action = curve_loss(&output.curves.action, &truth.action, compat);
    let start = curve_loss(&output.curves.start, &truth.start, compat);
    let end = curve_loss(&output.curves.end, &truth.end, compat);
    let total = &class + &regression + (&action + &start + &end) * CURVE_WEIGHT + &boundary;
    Losses { class, regression, action, start, end, boundary, total }
}

/// How many a mean divides by.
fn count(mask: &Tensor, compat: Compat) -> Tensor {
    let sum = mask.sum(Kind::Float);
    match compat {
        Compat::AsReleased => sum,
        Compat::Fixed => sum.clamp_min(1.0),
    }
}

fn mean_over(losses: &Tensor, mask: &Tensor, compat: Compat) -> Tensor {
    losses.masked_fill(&mask.logical_not(), 0.0).sum(losses.kind()) / count(mask, compat)
}

/// Cross entropy of scores `[B, A, classes]`: its mean over anchors that stand for a truth, plus that over all others.
fn class_loss(scores: &Tensor, matches: &Matches, compat: Compat) -> Tensor {
    let labels = matches.classes.flatten(0, 1);
    let no_weights = None::<Tensor>;
    let losses = scores.flatten(0, 1).cross_entropy_loss(&labels, no_weights, Reduction::None, -100, 0.0);
    let positive = matches.positive.flatten(0, 1);
    mean_over(&losses, &positive, compat) + mean_over(&losses, &positive.logical_not(), compat)
}

/// Mean over anchors that stand for a truth of one less the generalised overlap (Rezatofighi et al., 2019) of boxes
/// `[B, A, 2]` and their truths.
fn box_loss(boxes: &Tensor, matches: &Matches, compat: Compat) -> Tensor {
    mean_over(&(generalised_overlap(boxes, &matches.targets).neg() + 1.0), &matches.positive, compat)
}

/// Of boxes, whose ends may be swapped, and targets, `[..., 2]` each.
fn generalised_overlap(boxes: &Tensor, targets: &Tensor) -> Tensor {
    let (a, b) = (boxes.select(-1, 0), boxes.select(-1, 1));
    let (start, end) = (a.minimum(&b), a.maximum(&b));
    let (target_start, target_end) = (targets.select(-1, 0), targets.select(-1, 1));
    let intersection = (end.minimum(&target_end) - start.maximum(&target_start)).relu();
    let hull = end.maximum(&target_end) - start.minimum(&target_start) + TINY;
    let union = (&end - &start) + (&target_end - &target_start) - &intersection + TINY;
    intersection / &union - (&hull - union) / hull
}

/// Logistic loss of likelihoods `[B, T]`, in which the positive cells of the batch weigh as much as all others: with r
/// cells for each positive one, `0.5 r` for those and `0.5 r / (r - 1)` for the rest, as in BMN (Lin et al., 2019).
pub fn curve_loss(likelihoods: &Tensor, labels: &Tensor, compat: Compat) -> Tensor {
    let positive = labels.gt(POSITIVE);
    let negative = positive.logical_not();
    let half = 0.5 * labels.numel() as f64;
    let weight = |mask: &Tensor| count(mask, compat).reciprocal() * half * mask;
    let (likely, unlikely) = (likelihoods + TINY_LIKELIHOOD, likelihoods.neg() + 1.0 + TINY_LIKELIHOOD);
    let losses = weight(&positive) * likely.log() + weight(&negative) * unlikely.log();
    -losses.mean(likelihoods.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_that_miss_their_targets_lose_by_the_stretch_between() {
        let boxes = Tensor::from_slice(&[0f32, 1.0, 1.0, 0.0, 3.0, 4.0]).view([3, 2]);
        let targets = Tensor::from_slice(&[3f32, 4.0]).view([1, 2]);
        let found = Vec::<f64>::try_from(generalised_overlap(&boxes, &targets).to_kind(Kind::Double)).unwrap();
        // A hull of 4 of which 2 are covered, whichever end comes first; and a hit.
        for (found, expected) in found.iter().zip([-0.5, -0.5, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
    }
}
