//! Tensors out of arrays, and numbers out of tensors.
//!
//! Not for what they mean.

use egofx::heads;
use ndarray::{Array, ArrayBase, Data, Dimension, Ix2};
use tch::kind::Element;
use tch::{Device, Kind, Tensor};

/// All numbers of a tensor, row by row, wherever it lies.
pub fn doubles(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().to_kind(Kind::Double).to_device(Device::Cpu).contiguous().view(-1);
    Vec::<f64>::try_from(flat).expect("a flat tensor of doubles")
}

/// An array as a tensor of the same shape.
pub fn tensor<T: Element + Copy, S: Data<Elem = T>, D: Dimension>(array: &ArrayBase<S, D>) -> Tensor {
    let shape: Vec<i64> = array.shape().iter().map(|&size| size as i64).collect();
    let flat = match array.as_slice() {
        Some(values) => Tensor::from_slice(values),
        None => Tensor::from_slice(&array.iter().copied().collect::<Vec<_>>()),
    };
    flat.view(shape.as_slice())
}

/// A tensor of two dimensions as an array in single precision, wherever it lies.
pub fn matrix(tensor: &Tensor) -> Array<f32, Ix2> {
    let size = tensor.size();
    let flat = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut values = vec![0.0; flat.numel()];
    flat.copy_data(&mut values, flat.numel());
    Array::from_shape_vec((size[0] as usize, size[1] as usize), values).expect("as many numbers as the tensor has")
}

/// Rows of several samples as one tensor.
#[derive(Debug)]
pub struct Padded {
    /// `[B, L, D]`, single precision.
    pub values: Tensor,
    /// `[B, L]`, single precision.
    pub mask: Tensor,
}

impl Padded {
    /// The same with `of` each tensor in its place.
    #[must_use]
    pub fn map(self, of: impl Fn(Tensor) -> Tensor) -> Self {
        Self { values: of(self.values), mask: of(self.mask) }
    }
}

impl From<&heads::Padded> for Padded {
    fn from(padded: &heads::Padded) -> Self {
        Self { values: tensor(&padded.values), mask: tensor(&padded.mask).to_kind(Kind::Float) }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn arrays_become_tensors_and_tensors_arrays_whatever_their_order_in_memory() {
        let array = array![[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
        let turned = array.t();
        let found = tensor(&turned);
        assert_eq!((found.size(), doubles(&found)), (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        assert_eq!(matrix(&found), turned);
        assert_eq!(matrix(&found.tr()), array);
    }
}
