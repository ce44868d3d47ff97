//! Anchors, and the code by which boxes are told relative to them.
//!
//! Not for matching. A box's length here is its end less its start plus one, as if its ends were cells.

use tch::{Device, Tensor};

/// Weights of shift and log length.
pub(super) const WEIGHTS: (f64, f64) = (10.0, 5.0);
/// No box is longer than this many times its anchor.
pub(super) const MOST_RATIO: f64 = 1000.0 / 16.0;

/// Anchors of all levels in cells, the finest first, cell by cell and scale by scale: level l has cells of 2^l, and
/// every scale a makes an anchor a times as long around each cell's middle.
pub fn table(length: usize, levels: usize, scales: &[f64]) -> Vec<[f32; 2]> {
    let mut anchors = Vec::new();
    for stride in (0..levels).map(|level| 1_usize << level) {
        for cell in 0..length.div_ceil(stride) {
            let centre = 0.5 * stride as f64 + (cell * stride) as f64;
            let halves = scales.iter().map(|scale| 0.5 * (scale * stride as f64 - 1.0));
            anchors.extend(halves.map(|half| [(centre - half) as f32, (centre + half) as f32]));
        }
    }
    anchors
}

/// Anchors `[A, 2]` as a tensor.
pub fn tensor(anchors: &[[f32; 2]], device: Device) -> Tensor {
    Tensor::from_slice(anchors.as_flattened()).view([-1, 2]).to_device(device)
}

/// Length and centre of boxes `[..., 2]`.
fn parts(boxes: &Tensor) -> (Tensor, Tensor) {
    let (start, end) = (boxes.select(-1, 0), boxes.select(-1, 1));
    (&end - &start + 1.0, (end + start) / 2.0)
}

/// Boxes `[..., 2]` relative to anchors of the same shape: shift by the anchor's length, and log of the ratio of both
/// lengths, weighted by 10 and 5.
pub fn encode(boxes: &Tensor, anchors: &Tensor) -> Tensor {
    let ((length, centre), (anchor_length, anchor_centre)) = (parts(boxes), parts(anchors));
    let shift = (centre - anchor_centre) * WEIGHTS.0 / &anchor_length;
    let growth = (length / anchor_length).log() * WEIGHTS.1;
    Tensor::stack(&[shift, growth], -1)
}

/// The boxes that [`encode`] tells, cut to 62.5 times the anchor's length.
pub fn decode(code: &Tensor, anchors: &Tensor) -> Tensor {
    let (anchor_length, anchor_centre) = parts(anchors);
    let centre = code.select(-1, 0) / WEIGHTS.0 * &anchor_length + anchor_centre;
    let growth = (code.select(-1, 1) / WEIGHTS.1).clamp_max(MOST_RATIO.ln());
    let half = (growth.exp() * anchor_length - 1.0) * 0.5;
    Tensor::stack(&[&centre - &half, &centre + &half], -1)
}
