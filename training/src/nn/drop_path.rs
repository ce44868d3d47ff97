//! Stochastic depth: residual branches that are dropped by sample.

use tch::Tensor;
use tch::nn::{self, Init};

/// What a residual branch is multiplied by at first.
const FIRST_RESIDUAL_SCALE: f64 = 1e-4;

/// Stochastic depth by clip (Huang et al., 2016) with a learned scale by channel (Touvron et al., 2021, section 2).
#[derive(Debug)]
pub struct DropPath {
    scale: Tensor,
    rate: f64,
}

impl DropPath {
    /// Of branches `[B, channels, T]` that are dropped at `rate`.
    pub fn new(path: &nn::Path, channels: i64, rate: f64) -> Self {
        Self { scale: path.var("scale", &[1, channels, 1], Init::Const(FIRST_RESIDUAL_SCALE)), rate }
    }

    /// `residual` plus the branch `x`, which is scaled, and in training dropped for some clips. What the branch is multiplied by is put
    /// together by clip and channel first, so that all of it is passed over once.
    pub fn add(&self, residual: &Tensor, x: &Tensor, train: bool) -> Tensor {
        if !train || self.rate == 0.0 {
            return residual + x * &self.scale;
        }
        let kept_share = 1.0 - self.rate;
        let kept = (Tensor::rand([x.size()[0], 1, 1], (x.kind(), x.device())) + kept_share).floor() / kept_share;
        residual + x * (&self.scale * kept)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn dropped_paths_are_whole_clips_and_the_others_are_scaled_up() {
        let store = nn::VarStore::new(Device::Cpu);
        let path = DropPath::new(&store.root(), 3, 0.25);
        let x = Tensor::ones([400, 3, 2], (Kind::Float, Device::Cpu));
        let branch = |x: &Tensor, train| tch::no_grad(|| path.add(&x.zeros_like(), x, train));
        let found = (branch(&x, true) / FIRST_RESIDUAL_SCALE).reshape([400, 6]);
        let (least, most) = (found.amin([1_i64].as_slice(), false), found.amax([1_i64].as_slice(), false));
        assert!(least.allclose(&most, 1e-6, 1e-6, false), "a clip is dropped or kept as a whole");
        let kept = found.gt(0.0).to_kind(Kind::Float);
        assert!(found.allclose(&(&kept / 0.75), 1e-5, 1e-5, false), "what is kept makes up for what is dropped");
        let share = kept.mean(Kind::Float).double_value(&[]);
        assert!((share - 0.75).abs() < 0.1, "{share} of the clips are kept");
        let still = branch(&x, false);
        assert!(still.allclose(&(&x * FIRST_RESIDUAL_SCALE), 1e-9, 1e-9, false), "nothing is dropped at test time");
        let added = tch::no_grad(|| path.add(&(&x * 2.0), &x, false));
        assert!(added.allclose(&(&x * (2.0 + FIRST_RESIDUAL_SCALE)), 1e-6, 0.0, false), "the residual is added");
    }
}
