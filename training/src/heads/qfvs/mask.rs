//! Which places of a padded segment hold a shot.

use tch::{Kind, Tensor};

/// Which places hold a shot: booleans `[..., shots]` for lengths `[...]`.
pub(super) fn is_shot(seg_len: &Tensor, shots: i64) -> Tensor {
    Tensor::arange(shots, (Kind::Int64, seg_len.device())).lt_tensor(&seg_len.unsqueeze(-1))
}
