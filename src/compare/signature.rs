//! Differences that are known by name, because released features have them.
//!
//! Not for proof: a signature says what a difference looks like. Invariant: each is told from numbers that the comparison
//! shows too.

use std::fmt;

use ndarray::{ArrayView2, s};
use serde::Serialize;

use super::{Comparison, is_zero};

/// A known difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// A's last `rows mod 4` rows are zeros and B's are not: EgoVLP's extraction computed whole groups of four.
    EgovlpZeroTailInA,
    /// The same, the other way round.
    EgovlpZeroTailInB,
    /// A has 1.875 rows per second (Ego4D's grid: 30 frames, a stride of 16), B has 1.87 (EgoVLP's).
    Ego4dGridAgainstEgovlp,
    /// A has 1.87 rows per second, B has 1.875.
    EgovlpGridAgainstEgo4d,
    /// One row more at the end: rows cut from a video by `trunc(start * fps)..=trunc(end * fps)`, against those of a clip.
    OneRowAtTheEnd,
    /// The same rows, and every one of them differs: as features of Ego4D from before 2022-06-07 do, which were
    /// made from wrongly read videos and lie in folders named `*_deprecated`.
    Ego4dDeprecated,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EgovlpZeroTailInA => "A has EgoVLP's zero tail: its last rows, as many as are no whole group of 4, are zeros",
            Self::EgovlpZeroTailInB => "B has EgoVLP's zero tail: its last rows, as many as are no whole group of 4, are zeros",
            Self::Ego4dGridAgainstEgovlp => "A has 1.875 rows per second (Ego4D's grid), B has 1.87 (EgoVLP's)",
            Self::EgovlpGridAgainstEgo4d => "A has 1.87 rows per second (EgoVLP's grid), B has 1.875 (Ego4D's)",
            Self::OneRowAtTheEnd => "one side has one row more at its end: a clip cut out of its video's features",
            Self::Ego4dDeprecated => {
                "the same rows with other values throughout: like Ego4D's features from before 2022-06-07 (*_deprecated), \
                 or another model"
            }
        })
    }
}

/// Windows that EgoVLP computed at a time.
const GROUP: usize = 4;
/// Widths of Ego4D's official features: SlowFast, Omnivore Swin-L and Swin-B.
const EGO4D_DIMS: [usize; 3] = [2304, 1536, 1024];
/// Below this median cosine, values are others throughout.
const OTHER_VALUES: f64 = 0.98;

/// What the difference of `a` and `b`, described by `found`, looks like.
pub(super) fn find(a: ArrayView2<f32>, b: ArrayView2<f32>, found: &Comparison) -> Vec<Signature> {
    let (rows_a, rows_b) = (a.nrows() as f64, b.nrows() as f64);
    let stride = found.drift.map_or(1.0, |drift| drift.stride);
    let same_rows = a.nrows() == b.nrows() && found.drift.is_none();
    let wholly_other = found.cosine_median.is_some_and(|cosine| cosine < OTHER_VALUES);
    let signs = [
        (Signature::EgovlpZeroTailInA, has_zero_tail(a) && !has_zero_tail(b)),
        (Signature::EgovlpZeroTailInB, has_zero_tail(b) && !has_zero_tail(a)),
        (Signature::Ego4dGridAgainstEgovlp, is_ratio(rows_a, rows_b, stride, 1.875 / 1.87)),
        (Signature::EgovlpGridAgainstEgo4d, is_ratio(rows_a, rows_b, stride, 1.87 / 1.875)),
        (Signature::OneRowAtTheEnd, a.nrows().abs_diff(b.nrows()) == 1 && found.drift.is_none() && !wholly_other),
        (Signature::Ego4dDeprecated, same_rows && wholly_other && EGO4D_DIMS.contains(&a.ncols())),
    ];
    signs.into_iter().filter(|(_, is_there)| *is_there).map(|(signature, _)| signature).collect()
}

/// Whether the last `rows mod 4` rows are zeros, and the one before is not.
fn has_zero_tail(rows: ArrayView2<f32>) -> bool {
    let whole = rows.nrows() / GROUP * GROUP;
    let tail = rows.slice(s![whole.., ..]);
    let sound = whole > 0 && !is_zero(&rows.row(whole - 1));
    tail.nrows() > 0 && sound && tail.outer_iter().all(|row| is_zero(&row))
}

/// Whether counts of rows and the drift between them both speak for a ratio of rates, and not for none.
fn is_ratio(a: f64, b: f64, stride: f64, ratio: f64) -> bool {
    // Both counts are rounded, and both grids may add a row.
    let counts = (a - b * ratio).abs() <= 2.0 && (a - b).abs() >= 2.0;
    // By the end of the clip, the stride tells the ratio from 1.
    let steps = (stride - ratio).abs() < (stride - 1.0).abs() && (stride - ratio).abs() < 1e-3;
    counts && steps
}

#[cfg(test)]
mod tests {
    use super::super::compare;
    use super::super::tests::video;
    use super::*;

    fn signatures(a: &ndarray::Array2<f32>, b: &ndarray::Array2<f32>) -> Vec<Signature> {
        compare(a.view(), b.view(), 0.999).unwrap().signatures
    }

    #[test]
    fn the_zero_tail_of_egovlp_is_recognised() {
        let a = video(897, 1.87);
        let mut b = a.clone();
        b.row_mut(896).fill(0.0);
        assert_eq!(signatures(&a, &b), [Signature::EgovlpZeroTailInB]);
        assert_eq!(signatures(&b, &a), [Signature::EgovlpZeroTailInA]);
        b.row_mut(895).fill(0.0);
        assert!(signatures(&a, &b).is_empty(), "five zero rows are something else");
    }

    #[test]
    fn both_grids_are_told_apart() {
        let (egovlp, ego4d) = (video(897, 1.87), video(900, 1.875));
        assert_eq!(signatures(&egovlp, &ego4d), [Signature::EgovlpGridAgainstEgo4d]);
        assert_eq!(signatures(&ego4d, &egovlp), [Signature::Ego4dGridAgainstEgovlp]);
        let shorter = video(897, 1.875);
        assert!(signatures(&ego4d, &shorter).is_empty(), "three rows less of the same grid are not another grid");
    }

    #[test]
    fn a_row_more_and_other_values_are_recognised() {
        let a = video(100, 1.875);
        let longer = video(101, 1.875);
        assert_eq!(signatures(&a, &longer), [Signature::OneRowAtTheEnd]);
        let wide =
            ndarray::Array2::from_shape_fn((40, 2304), |(row, column)| ((row * 31 + column * 17) % 97) as f32 - 48.0);
        let other =
            ndarray::Array2::from_shape_fn((40, 2304), |(row, column)| ((row * 7 + column * 29) % 89) as f32 - 44.0);
        assert_eq!(signatures(&wide, &other), [Signature::Ego4dDeprecated]);
    }
}
