//! How two sets of features of the same clips differ: row by row, and where they came apart.
//!
//! Pure arithmetic on arrays; reading them is the caller's. Not for judging which one is right. Invariant: rows that are
//! equal bit for bit have cosine 1 and difference 0, zeros and NaN included.

mod drift;
mod signature;

use ndarray::{ArrayView1, ArrayView2};
use serde::Serialize;

pub use drift::Drift;
pub use signature::Signature;

/// Two arrays whose rows cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("A has {a} features per row, B has {b}")]
pub struct DimMismatch {
    /// Features per row of A.
    pub a: usize,
    /// Features per row of B.
    pub b: usize,
}

/// What each side has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Pair {
    /// Of A.
    pub a: usize,
    /// Of B.
    pub b: usize,
}

/// How the features of one clip differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Rows.
    pub rows: Pair,
    /// Smallest cosine between row `i` of A and row `i` of B, rows with NaN left out; `None` if there are no others.
    pub cosine_min: Option<f64>,
    /// Median of these cosines; of an even number, the lower of the two in the middle.
    pub cosine_median: Option<f64>,
    /// Largest difference of two features in the same place, NaN left out.
    pub max_abs: f64,
    /// Rows of nothing but zeros.
    pub zero_rows: Pair,
    /// Rows with a NaN.
    pub nan_rows: Pair,
    /// Rows that hold a NaN on one side only.
    pub nan_on_one_side: usize,
    /// How rows of B lie in A, where they lie elsewhere.
    pub drift: Option<Drift>,
    /// What is known to look like this.
    pub signatures: Vec<Signature>,
}

impl Comparison {
    /// Whether both have the same rows, up to a cosine of `min_cosine`.
    pub fn is_same(&self, min_cosine: f64) -> bool {
        let close = self.cosine_min.is_none_or(|cosine| cosine >= min_cosine);
        self.rows.a == self.rows.b && self.nan_on_one_side == 0 && close
    }
}

/// Compares features of one clip, both `[rows, dim]`; where they are not the same up to `min_cosine`, drift and signatures
/// are looked for.
///
/// # Errors
/// [`DimMismatch`].
pub fn compare(a: ArrayView2<f32>, b: ArrayView2<f32>, min_cosine: f64) -> Result<Comparison, DimMismatch> {
    if a.ncols() != b.ncols() {
        return Err(DimMismatch { a: a.ncols(), b: b.ncols() });
    }
    let is_nan = |row: &ArrayView1<f32>| row.iter().any(|value| value.is_nan());
    let (mut cosines, mut max_abs, mut nan_on_one_side) = (Vec::new(), 0f64, 0);
    for (a, b) in a.outer_iter().zip(b.outer_iter()) {
        match (is_nan(&a), is_nan(&b)) {
            (false, false) => {
                cosines.push(cosine(a, b));
                max_abs = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()).fold(max_abs, f64::max);
            }
            (true, true) => {}
            _ => nan_on_one_side += 1,
        }
    }
    cosines.sort_by(f64::total_cmp);
    let count = |of: fn(&ArrayView1<f32>) -> bool| Pair { a: rows(a, of), b: rows(b, of) };
    let mut found = Comparison {
        rows: Pair { a: a.nrows(), b: b.nrows() },
        cosine_min: cosines.first().copied(),
        cosine_median: cosines.get(cosines.len().saturating_sub(1) / 2).copied(),
        max_abs,
        zero_rows: count(is_zero),
        nan_rows: count(|row| row.iter().any(|value| value.is_nan())),
        nan_on_one_side,
        drift: None,
        signatures: Vec::new(),
    };
    if !found.is_same(min_cosine) {
        found.drift = drift::find(a, b);
        found.signatures = signature::find(a, b, &found);
    }
    Ok(found)
}

fn rows(array: ArrayView2<f32>, of: fn(&ArrayView1<f32>) -> bool) -> usize {
    array.outer_iter().filter(of).count()
}

fn is_zero(row: &ArrayView1<f32>) -> bool {
    row.iter().all(|&value| value == 0.0)
}

/// Cosine of the angle between two rows: 1 for two rows of zeros, 0 for one.
pub fn cosine(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f64 {
    let dot = |x: ArrayView1<f32>, y: ArrayView1<f32>| -> f64 {
        x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if a == b {
        1.0
    } else if norms == 0.0 {
        0.0
    } else {
        (dot(a, b) / norms).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};

    use super::*;

    /// Rows that change slowly, as those of a video do, and never come back.
    pub(super) fn video(rows: usize, rate: f64) -> Array2<f32> {
        Array2::from_shape_fn((rows, 24), |(row, column)| {
            let time = row as f64 / rate;
            ((time * (0.05 + 0.031 * column as f64) + column as f64).sin() + 0.3 * (time / 7.0 + column as f64).cos())
                as f32
        })
    }

    #[test]
    fn equal_features_are_the_same_with_zeros_and_nan() {
        let mut a = video(9, 2.0);
        a.row_mut(3).fill(0.0);
        a[[5, 2]] = f32::NAN;
        let found = compare(a.view(), a.view(), 1.0).unwrap();
        assert!(found.is_same(1.0));
        assert_eq!((found.cosine_min, found.cosine_median, found.max_abs), (Some(1.0), Some(1.0), 0.0));
        assert_eq!((found.zero_rows, found.nan_rows), (Pair { a: 1, b: 1 }, Pair { a: 1, b: 1 }));
        assert!(found.drift.is_none() && found.signatures.is_empty());
    }

    #[test]
    fn one_row_that_differs_is_seen() {
        let a = video(9, 2.0);
        let mut b = a.clone();
        b[[4, 0]] += 0.5;
        let found = compare(a.view(), b.view(), 0.999).unwrap();
        assert!(!found.is_same(0.999) && (found.max_abs - 0.5).abs() < 1e-6);
        assert_eq!(found.cosine_median, Some(1.0));
        assert!(found.cosine_min.unwrap() < 0.999);
        let mut b = a.clone();
        b[[4, 0]] = f32::NAN;
        assert!(!compare(a.view(), b.view(), 0.0).unwrap().is_same(0.0), "NaN on one side is a difference");
        assert!(!compare(a.view(), a.slice(s![..8, ..]), 0.0).unwrap().is_same(0.0), "so is a row less");
    }

    #[test]
    fn other_widths_cannot_be_compared() {
        let (a, b) = (Array2::zeros((2, 3)), Array2::zeros((2, 4)));
        let error = compare(a.view(), b.view(), 0.9).unwrap_err();
        assert_eq!(error.to_string(), "A has 3 features per row, B has 4");
    }
}
