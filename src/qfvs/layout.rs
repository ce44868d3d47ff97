//! Rows of shots as the summary head takes them: 20 segments of 200 places each, and back to one row after the other.
//!
//! Not for files. Invariant: a row that is packed is unpacked unchanged, and places without a shot are zero.

use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, s};

/// Segments of a packed video.
pub const SEGMENTS: usize = 20;
/// Places for shots in a segment.
pub const SHOTS: usize = 200;

/// A video's rows, packed.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// Shape `[20, 200, dim]`, zero where there is no shot.
    pub features: Array3<f32>,
    /// Shots of each segment: `seg_len` of the original. Segments without shots come last.
    pub seg_len: [i32; SEGMENTS],
}

/// Why rows cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A change point is no place between two shots, or not after the one before.
    #[error("change point {point} of {shots} shots, expected {expected} to {}", shots - 1)]
    Point {
        /// The point.
        point: usize,
        /// How many shots there are.
        shots: usize,
        /// The first possible one.
        expected: usize,
    },
    /// There are too many segments.
    #[error("{0} segments, at most {SEGMENTS} can be packed")]
    Segments(usize),
    /// A segment is too long.
    #[error("segment {segment} has {shots} shots, at most {SHOTS} can be packed")]
    Shots {
        /// Which, from 0.
        segment: usize,
        /// How many it has.
        shots: usize,
    },
}

/// The shots of each segment. `change_points` ascend and lie between the first and the last shot.
///
/// # Errors
/// [`LayoutError::Point`].
pub fn bounds(change_points: &[usize], shots: usize) -> Result<Vec<Range<usize>>, LayoutError> {
    let mut start = 0;
    let mut segments = Vec::new();
    for &point in change_points {
        if point <= start || point >= shots {
            return Err(LayoutError::Point { point, shots, expected: start + 1 });
        }
        segments.push(start..point);
        start = point;
    }
    segments.push(start..shots);
    Ok(segments)
}

/// Packs `rows` `[shots, dim]`, which are cut at `change_points`.
///
/// # Errors
/// [`LayoutError`] for points that are none, too many segments, or one that is too long.
pub fn pack(rows: ArrayView2<'_, f32>, change_points: &[usize]) -> Result<Packed, LayoutError> {
    let segments = bounds(change_points, rows.nrows())?;
    if segments.len() > SEGMENTS {
        return Err(LayoutError::Segments(segments.len()));
    }
    let (mut features, mut seg_len) = (Array3::zeros((SEGMENTS, SHOTS, rows.ncols())), [0; SEGMENTS]);
    for (segment, range) in segments.into_iter().enumerate() {
        let shots = range.len();
        if shots > SHOTS {
            return Err(LayoutError::Shots { segment, shots });
        }
        features.slice_mut(s![segment, ..shots, ..]).assign(&rows.slice(s![range, ..]));
        seg_len[segment] = shots as i32;
    }
    Ok(Packed { features, seg_len })
}

impl Packed {
    /// The rows one after the other, `[shots, dim]`: the flat layout.
    pub fn flat(&self) -> Array2<f32> {
        let lengths = self.seg_len.map(|length| length.clamp(0, SHOTS as i32) as usize);
        let mut rows = Array2::zeros((lengths.iter().sum(), self.features.shape()[2]));
        let mut start = 0;
        for (segment, length) in lengths.into_iter().enumerate() {
            rows.slice_mut(s![start..start + length, ..]).assign(&self.features.slice(s![segment, ..length, ..]));
            start += length;
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(shots: usize) -> Array2<f32> {
        Array2::from_shape_fn((shots, 3), |(shot, column)| (shot * 3 + column + 1) as f32)
    }

    #[test]
    fn packing_and_back_loses_nothing() {
        let packed = pack(rows(320).view(), &[150, 300, 301]).unwrap();
        assert_eq!(packed.features.shape(), [SEGMENTS, SHOTS, 3]);
        assert_eq!(packed.flat(), rows(320));
        assert_eq!(packed.seg_len[..5], [150, 150, 1, 19, 0]);
        assert_eq!(packed.features[[1, 0, 0]], rows(320)[[150, 0]]);
        assert_eq!(packed.features.iter().filter(|value| **value != 0.0).count(), 960);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let words = |shots: usize, cuts: &[usize]| pack(rows(shots).view(), cuts).unwrap_err().to_string();
        assert_eq!(words(320, &[7]), "segment 1 has 313 shots, at most 200 can be packed");
        assert_eq!(words(30, &(1..21).collect::<Vec<_>>()), "21 segments, at most 20 can be packed");
        assert_eq!(words(30, &[5, 5]), "change point 5 of 30 shots, expected 6 to 29");
        assert_eq!(words(30, &[30]), "change point 30 of 30 shots, expected 1 to 29");
    }
}
