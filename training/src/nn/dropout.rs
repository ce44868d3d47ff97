//! Dropout, with its own draws on the CPU.
//!
//! Not for stochastic depth. Invariant: what is drawn comes from libtorch's generator, so that a seed decides it.

use tch::{Device, Kind, Tensor};

/// Dropout (Srivastava et al., 2014).
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// Of a value's becoming zero.
    pub probability: f64,
}

impl Dropout {
    /// `x`, in training with values dropped and the others scaled up.
    pub fn forward(self, x: &Tensor, train: bool) -> Tensor {
        if !self.is_on(train) {
            return x.shallow_clone();
        }
        if is_drawn_here(x) { x * self.mask(x) } else { x.dropout(self.probability, true) }
    }

    /// `residual` plus what [`Self::forward`] makes of `x`, in one pass.
    pub fn add(self, residual: &Tensor, x: &Tensor, train: bool) -> Tensor {
        if self.is_on(train) && is_drawn_here(x) {
            residual.addcmul(x, &self.mask(x))
        } else {
            residual + self.forward(x, train)
        }
    }

    fn is_on(self, train: bool) -> bool {
        train && self.probability > 0.0
    }

    /// Zeros with the probability, else 1 / (1 - probability), in the shape of `x`, and in its order in memory.
    ///
    /// On the CPU libtorch draws one number at a time and its own dropout takes a third of a training step. Here 64
    /// random bits make two values: 32 bits as an integer become 0 or 1 by comparison, then 0 or the bits of the scale.
    fn mask(self, x: &Tensor) -> Tensor {
        let threshold = f64::from(i32::MIN) + self.probability * 2f64.powi(32);
        let scale = (1.0 / (1.0 - self.probability)) as f32;
        let values = x.numel() as i64;
        let mut words = Tensor::empty([(values + 1) / 2], (Kind::Int64, Device::Cpu));
        let mut bits = words.random_from_(i64::MIN, None).view_dtype(Kind::Int);
        let _ = bits.ge_(threshold as i64).g_mul_scalar_(i64::from(scale.to_bits()));
        bits.view_dtype(Kind::Float).narrow(0, 0, values).as_strided(x.size(), dense_strides(x), None)
    }
}

/// Single precision on the CPU; whatever else is drawn by libtorch.
fn is_drawn_here(x: &Tensor) -> bool {
    x.device() == Device::Cpu && x.kind() == Kind::Float
}

/// The strides of `x` if its values fill a stretch of memory, else those of a contiguous tensor of its shape.
fn dense_strides(x: &Tensor) -> Vec<i64> {
    let (size, strides) = (x.size(), x.stride());
    let last: i64 = size.iter().zip(&strides).map(|(size, stride)| (size - 1) * stride).sum();
    if last + 1 == x.numel() as i64 {
        return strides;
    }
    let mut contiguous = vec![1; size.len()];
    for dim in (1..size.len()).rev() {
        contiguous[dim - 1] = contiguous[dim] * size[dim];
    }
    contiguous
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Odd, so that the last word of random bits is used by half.
    const VALUES: i64 = 1_000_001;

    #[test]
    fn dropout_keeps_and_scales_the_part_that_it_should() {
        let (dropout, x) = (Dropout { probability: 0.2 }, Tensor::full([VALUES], 4.0, (Kind::Float, Device::Cpu)));
        let out = dropout.forward(&x, true);
        let (dropped, kept) = (out.eq(0.0).sum(Kind::Float), out.eq(5.0).sum(Kind::Float));
        assert_eq!(dropped.double_value(&[]) + kept.double_value(&[]), VALUES as f64);
        // Six standard deviations of a binomial share.
        assert!((dropped.double_value(&[]) / VALUES as f64 - 0.2).abs() < 6.0 * (0.16 / VALUES as f64).sqrt());
        let again = dropout.forward(&x, true);
        assert!(out.ne_tensor(&again).any().int64_value(&[]) == 1, "the mask is drawn anew");
    }

    #[test]
    fn neighbours_are_dropped_independently() {
        let x = Tensor::ones([VALUES - 1], (Kind::Float, Device::Cpu));
        let pairs = Dropout { probability: 0.5 }.forward(&x, true).view([-1, 2]).ne(0.0);
        let both = pairs.all_dim(1, false).to_kind(Kind::Float).mean(None).double_value(&[]);
        assert!((both - 0.25).abs() < 6.0 * (0.1875 / (VALUES / 2) as f64).sqrt(), "{both}");
    }

    #[test]
    fn dropout_adds_to_a_residual_and_passes_gradients_of_what_it_kept() {
        let x = Tensor::full([1000], 3.0, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let residual = Tensor::ones([1000], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let out = Dropout { probability: 0.25 }.add(&residual, &x, true);
        out.sum(None).backward();
        let expected = (&out - 1.0) / 3.0;
        assert!((x.grad() - expected).abs().max().double_value(&[]) < 1e-6);
        assert_eq!(residual.grad().sum(None).double_value(&[]), 1000.0);
    }

    #[test]
    fn the_mask_lies_in_memory_as_what_it_is_for() {
        let dropout = Dropout { probability: 0.5 };
        let x = Tensor::ones([2, 5, 3], (Kind::Float, Device::Cpu));
        for (x, strides) in [
            (x.transpose(1, 2), [15, 1, 3]),
            (x.slice(1, 0, 4, 2), [6, 3, 1]),
            (x.narrow(0, 0, 1).expand([2, 5, 3], false), [15, 3, 1]),
        ] {
            assert_eq!(dense_strides(&x), strides);
            assert_eq!(dropout.mask(&x).size(), x.size());
        }
    }

    #[test]
    fn without_training_nothing_is_dropped() {
        let x = Tensor::ones([7], (Kind::Float, Device::Cpu));
        let dropout = Dropout { probability: 0.9 };
        assert_eq!(dropout.forward(&x, false), x);
        assert_eq!(dropout.add(&x, &x, false), &x * 2.0);
    }
}
