//! Batches out of rows, padded to the longest, with a mask; and numbers out of tensors.
//!
//! Not for what they mean. Padding is zero, and the mask is 1 where there is a row and 0 where there is none.

use ndarray::ArrayView2;
use tch::{Device, Kind, Tensor};

/// All numbers of a tensor, row by row, wherever it lies.
pub fn doubles(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().to_kind(Kind::Double).to_device(Device::Cpu).contiguous().view(-1);
    Vec::<f64>::try_from(flat).expect("a flat tensor of doubles")
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
    /// The same on a device.
    #[must_use]
    pub fn to_device(self, device: Device) -> Self {
        Self { values: self.values.to_device(device), mask: self.mask.to_device(device) }
    }
}

/// Pads `samples`, each `[rows, dim]`, to the longest of them. `is_there` says which rows of
/// a sample count.
pub fn padded(samples: &[ArrayView2<f32>], dim: usize, is_there: impl Fn(usize, usize) -> bool) -> Padded {
    let length = samples.iter().map(ArrayView2::nrows).max().unwrap_or_default();
    let mut values = vec![0.0; samples.len() * length * dim];
    let mut mask = vec![0.0; samples.len() * length];
    for (number, rows) in samples.iter().enumerate() {
        let place = &mut values[number * length * dim..];
        place.iter_mut().zip(rows.iter()).for_each(|(place, value)| *place = *value);
        let marks = &mut mask[number * length..][..rows.nrows()];
        marks.iter_mut().enumerate().for_each(|(row, mark)| *mark = f32::from(u8::from(is_there(number, row))));
    }
    let [batch, length, dim] = [samples.len(), length, dim].map(|size| size as i64);
    Padded {
        values: Tensor::from_slice(&values).view([batch, length, dim]),
        mask: Tensor::from_slice(&mask).view([batch, length]),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn shorter_samples_are_filled_with_zeros_that_the_mask_leaves_out() {
        let (long, short) = (array![[1f32, 2.0], [3.0, 4.0]], array![[5f32, 6.0]]);
        let batch = padded(&[long.view(), short.view()], 2, |number, row| (number, row) != (0, 1));
        assert_eq!(batch.values.size(), [2, 2, 2]);
        let values = Vec::<f32>::try_from(batch.values.flatten(0, -1)).unwrap();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]);
        assert_eq!(Vec::<f32>::try_from(batch.mask.flatten(0, -1)).unwrap(), [1.0, 0.0, 1.0, 0.0]);
    }
}
