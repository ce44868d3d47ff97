//! Batches out of rows, padded to the longest, with a mask. Padding is zero, and the mask is 1 where there is a row and 0 where
//! there is none.

use ndarray::{Array2, Array3, ArrayView2, s};

/// Rows of several samples as one array.
#[derive(Debug, Clone, PartialEq)]
pub struct Padded {
    /// `[B, L, D]`.
    pub values: Array3<f32>,
    /// `[B, L]`, 0 or 1.
    pub mask: Array2<i64>,
}

/// Pads `samples`, each `[rows, dim]`, to the longest of them. `is_there` says which rows of
/// a sample count.
pub fn padded(samples: &[ArrayView2<f32>], dim: usize, is_there: impl Fn(usize, usize) -> bool) -> Padded {
    let length = samples.iter().map(ArrayView2::nrows).max().unwrap_or_default();
    let mut values = Array3::zeros((samples.len(), length, dim));
    let mut mask = Array2::zeros((samples.len(), length));
    for (number, rows) in samples.iter().enumerate() {
        values.slice_mut(s![number, ..rows.nrows(), ..]).assign(rows);
        let marks = mask.slice_mut(s![number, ..rows.nrows()]);
        marks.into_iter().enumerate().for_each(|(row, mark)| *mark = i64::from(is_there(number, row)));
    }
    Padded { values, mask }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn shorter_samples_are_filled_with_zeros_that_the_mask_leaves_out() {
        let (long, short) = (array![[1f32, 2.0], [3.0, 4.0]], array![[5f32, 6.0]]);
        let batch = padded(&[long.view(), short.view()], 2, |number, row| (number, row) != (0, 1));
        assert_eq!(batch.values, array![[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [0.0, 0.0]]]);
        assert_eq!(batch.mask, array![[1, 0], [1, 0]]);
    }
}
