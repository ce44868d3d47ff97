//! The losses of SnAG: focal on smoothed labels for scores, IoU for offsets, over a running count of positives.
//!
//! Not for the assignment of events. The running count, ActionFormer's but for the step that it serves, is the caller's, who keeps it
//! with the checkpoint: a step divides by what was counted before it.

use tch::{Kind, Tensor};

use super::targets::Targets;
use crate::heads::actionformer::Output;
use crate::heads::actionformer::loss::focal;
pub use crate::heads::actionformer::loss::{Losses, next_normaliser};

/// Weight of both signs in the focal loss.
const FOCAL_ALPHA: f64 = 0.5;
/// Least length by which is divided.
const IOU_EPS: f64 = 1e-8;

/// The losses of a batch over `normaliser`, with labels that are smoothed by `smoothing`.
pub fn losses(output: &Output, targets: &Targets, smoothing: f64, normaliser: f64) -> Losses {
    let labels = targets.positive.to_kind(Kind::Float) * (1.0 - smoothing) + 0.5 * smoothing;
    let scores = focal(&output.logits().squeeze_dim(-1), &labels, FOCAL_ALPHA) * output.mask();
    let offsets = iou(&output.offsets(), &targets.offsets) * &targets.positive;
    let classification = scores.sum(Kind::Float) / normaliser;
    let regression = offsets.sum(Kind::Float) / normaliser;
    let total = &classification + &regression;
    Losses { classification, regression, total }
}

/// One minus the IoU of intervals around one point, given by their distances to start and end: `[.., 2]` both, none
/// negative; gives `[..]`.
fn iou(predicted: &Tensor, target: &Tensor) -> Tensor {
    let intersection = predicted.minimum(target).sum_dim_intlist([-1_i64].as_slice(), false, None::<Kind>);
    let lengths = (predicted + target).sum_dim_intlist([-1_i64].as_slice(), false, None::<Kind>);
    let union = lengths - &intersection;
    1.0 - intersection / union.clamp_min(IOU_EPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_count_never_falls_to_nothing() {
        assert!((next_normaliser(10.0, 14) - 10.4).abs() < 1e-9);
        assert!((next_normaliser(1.0, 0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn intervals_without_length_have_finite_gradients() {
        let offsets = Tensor::zeros([1, 2], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        let loss = iou(&offsets, &offsets.detach()).sum(Kind::Float);
        assert_eq!(loss.double_value(&[]), 1.0);
        (loss * 0.0).backward();
        assert_eq!(offsets.grad().abs().max().double_value(&[]), 0.0);
    }

    #[test]
    fn the_iou_of_half_an_interval_is_a_half() {
        let found = iou(&Tensor::from_slice(&[1f32, 0.0]), &Tensor::from_slice(&[1f32, 1.0]));
        assert!((found.double_value(&[]) - 0.5).abs() < 1e-7);
    }
}
