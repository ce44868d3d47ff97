//! The convolutions of VSGN, which start as PyTorch's own.

use tch::nn;

use crate::nn::{Conv, WeightInit, conv1d};

/// Groups of every group norm of the head.
pub(super) const GROUPS: i64 = 32;

/// `[B, inputs, L]` to `[B, outputs, L']`.
pub(super) fn conv(path: nn::Path, inputs: i64, outputs: i64, conv: Conv) -> nn::Conv1D {
    conv1d(path, inputs, outputs, conv, WeightInit::PyTorch)
}

/// A kernel of 3 that keeps the length: `[B, inputs, L]` to `[B, outputs, L]`.
pub(super) fn conv3(path: nn::Path, inputs: i64, outputs: i64) -> nn::Conv1D {
    conv(path, inputs, outputs, Conv::same(3))
}
