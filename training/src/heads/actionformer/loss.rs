//! The losses of ActionFormer: focal for classes, centre-distance IoU for offsets, over a running count of positives.
//!
//! Not for the assignment of events. The running count is the caller's, who keeps it with the checkpoint.

use tch::{Kind, Reduction, Tensor};

use super::Output;
use super::targets::Targets;

/// How much of the running count remains at a step.
const NORMALISER_MOMENTUM: f64 = 0.9;
/// Weight of positive classes in the focal loss.
const FOCAL_ALPHA: f64 = 0.25;
/// Power by which the focal loss fades with certainty.
const FOCAL_GAMMA: f64 = 2.0;
/// Least length by which is divided.
const DIOU_EPS: f64 = 1e-8;

/// The losses of a batch, each a scalar.
#[derive(Debug)]
pub struct Losses {
    /// Of the classes.
    pub classification: Tensor,
    /// Of the offsets; zero without positive points.
    pub regression: Tensor,
    /// Their sum.
    pub total: Tensor,
}

/// The running count of positive points, by which losses are divided, after a batch with `positives`. The first
/// `previous` is [`Settings::first_normaliser`](super::Settings::first_normaliser).
pub fn next_normaliser(previous: f64, positives: i64) -> f64 {
    NORMALISER_MOMENTUM * previous + (1.0 - NORMALISER_MOMENTUM) * positives.max(1) as f64
}

/// The losses of a batch over `normaliser`, which has counted this batch already.
pub fn losses(output: &Output, targets: &Targets, normaliser: f64) -> Losses {
    let classes = focal(&output.logits(), &targets.classes, FOCAL_ALPHA) * output.mask().unsqueeze(-1);
    let offsets = centre_diou(&output.offsets(), &targets.offsets) * &targets.positive;
    let classification = classes.sum(Kind::Float) / normaliser;
    let regression = offsets.sum(Kind::Float) / normaliser;
    let total = &classification + &regression;
    Losses { classification, regression, total }
}

/// Sigmoid focal loss (Lin et al., 2017, equation 5) of every logit; targets are between 0 and 1, in the same shape, and what
/// is positive weighs `alpha`.
pub fn focal(logits: &Tensor, targets: &Tensor, alpha: f64) -> Tensor {
    let negatives = 1.0 - targets;
    let probability = logits.sigmoid();
    let of_truth = &probability * targets + (1.0 - &probability) * &negatives;
    let weights = targets * alpha + &negatives * (1.0 - alpha);
    let entropy = logits.binary_cross_entropy_with_logits(targets, None::<&Tensor>, None::<&Tensor>, Reduction::None);
    let doubt: Tensor = 1.0 - of_truth;
    entropy * doubt.pow_tensor_scalar(FOCAL_GAMMA) * weights
}

/// Distance-IoU loss (Zheng et al., 2020, equation 7) of intervals around one point, given by their distances to start
/// and end: `[..., 2]` both, none negative; gives `[...]`.
pub fn centre_diou(predicted: &Tensor, target: &Tensor) -> Tensor {
    let ends = |offsets: &Tensor| (offsets.select(-1, 0), offsets.select(-1, 1));
    let ((left, right), (true_left, true_right)) = (ends(predicted), ends(target));
    let intersection = left.minimum(&true_left) + right.minimum(&true_right);
    let union = (&left + &right) + (&true_left + &true_right) - &intersection;
    let hull = left.maximum(&true_left) + right.maximum(&true_right);
    let centres = (right - left - true_right + true_left) * 0.5;
    1.0 - intersection / union.clamp_min(DIOU_EPS) + (centres / hull.clamp_min(DIOU_EPS)).square()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_count_never_falls_to_nothing() {
        assert!((next_normaliser(100.0, 16) - 91.6).abs() < 1e-9);
        assert!((next_normaliser(1.0, 0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn intervals_without_length_have_finite_gradients() {
        let offsets = Tensor::zeros([1, 2], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let loss = centre_diou(&offsets, &offsets.detach()).sum(Kind::Float);
        assert_eq!(loss.double_value(&[]), 1.0);
        (loss * 0.0).backward();
        assert_eq!(offsets.grad().abs().max().double_value(&[]), 0.0);
    }
}
