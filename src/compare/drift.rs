//! Where the rows of B lie in A: `B[i]` is `A[offset + stride * i]`.
//!
//! A few rows of B are laid over all of A, at many strides and offsets; the lay that fits best counts. Not for rows that
//! jump about. Invariant: where nothing fits better than row upon row, there is no drift.

use ndarray::{Array2, ArrayView2, Axis};
use serde::Serialize;

/// A place of B's rows in A.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Drift {
    /// The row of A that B's first row lies on.
    pub offset: f64,
    /// Rows of A from one row of B to the next.
    pub stride: f64,
    /// Mean cosine of rows that lie upon one another so.
    pub cosine: f64,
    /// Mean cosine of row upon row, of the same rows.
    pub cosine_in_place: f64,
}

/// Rows of B that are laid over A.
const PROBES: usize = 64;
/// Largest offset that is tried, in rows of A.
const REACH: i64 = 64;
/// How much better a lay has to fit than row upon row.
const MARGIN: f64 = 0.01;
/// Grids that are met in practice: Ego4D's 1.875 rows per second against EgoVLP's 1.87, and twice or half as many.
const STRIDES: [f64; 5] = [1.0, 1.875 / 1.87, 1.87 / 1.875, 2.0, 0.5];

/// The best lay, if it is another than row upon row.
pub(super) fn find(a: ArrayView2<f32>, b: ArrayView2<f32>) -> Option<Drift> {
    let overlay = Overlay::new(a, b)?;
    let lengths = [a.nrows() as f64 / b.nrows() as f64, (a.nrows() as f64 - 1.0) / (b.nrows() as f64 - 1.0).max(1.0)];
    let mut best = Lay { offset: 0.0, stride: 1.0, cosine: overlay.fit(0.0, 1.0).unwrap_or(0.0) };
    let cosine_in_place = best.cosine;
    for stride in STRIDES.into_iter().chain(lengths) {
        for offset in -REACH..=REACH {
            best = overlay.better(best, offset as f64, stride);
        }
    }
    let best = overlay.refine(best);
    let moved = best.offset.abs() > 0.5 || (best.stride - 1.0).abs() * b.nrows() as f64 > 0.5;
    let Lay { offset, stride, cosine } = best;
    (moved && cosine > cosine_in_place + MARGIN).then_some(Drift { offset, stride, cosine, cosine_in_place })
}

#[derive(Clone, Copy)]
struct Lay {
    offset: f64,
    stride: f64,
    cosine: f64,
}

/// Cosines of some rows of B with all rows of A.
struct Overlay {
    probes: Vec<usize>,
    /// Shape `[probes, rows of A]`.
    cosines: Array2<f32>,
}

impl Overlay {
    /// `None` if B has no row that could be found again.
    fn new(a: ArrayView2<f32>, b: ArrayView2<f32>) -> Option<Self> {
        let usable = |row: &usize| {
            let row = b.row(*row);
            row.iter().all(|value| value.is_finite()) && row.iter().any(|&value| value != 0.0)
        };
        let count = PROBES.min(b.nrows());
        let spread = (0..count).map(|probe| probe * (b.nrows() - 1) / (count - 1).max(1));
        let probes: Vec<usize> = spread.filter(usable).collect();
        if probes.is_empty() || a.nrows() == 0 {
            return None;
        }
        let cosines = unit_rows(b.select(Axis(0), &probes)).dot(&unit_rows(a.to_owned()).t());
        Some(Self { probes, cosines })
    }

    /// Mean cosine of a lay; `None` if more than half of the probes fall outside of A.
    fn fit(&self, offset: f64, stride: f64) -> Option<f64> {
        let rows = self.cosines.ncols() as f64;
        let place =
            |row: usize| Some((offset + stride * row as f64).round()).filter(|place| (0.0..rows).contains(place));
        let inside = self.probes.iter().enumerate().filter_map(|(probe, &row)| Some((probe, place(row)? as usize)));
        let (count, sum) = inside
            .fold((0, 0.0), |(count, sum), (probe, place)| (count + 1, sum + f64::from(self.cosines[[probe, place]])));
        (2 * count > self.probes.len()).then(|| sum / count as f64)
    }

    /// The lay at hand or the other one; of equals the one at hand, which is the simpler.
    fn better(&self, best: Lay, offset: f64, stride: f64) -> Lay {
        match self.fit(offset, stride) {
            Some(cosine) if cosine > best.cosine + 1e-6 => Lay { offset, stride, cosine },
            _ => best,
        }
    }

    /// Strides and offsets between those that were tried.
    fn refine(&self, mut best: Lay) -> Lay {
        let last = self.probes.last().copied().unwrap_or(1).max(1) as f64;
        for step in [4.0, 1.0] {
            let centre = best;
            for (by, along) in (-8..=8).flat_map(|by| (-8..=8).map(move |along| (by, along))) {
                let stride = centre.stride + f64::from(along) * step / 4.0 / last;
                best = self.better(best, centre.offset + f64::from(by) * step / 4.0, stride);
            }
        }
        best
    }
}

/// Rows of length 1; rows of zeros and of NaN become zeros, which are like nothing.
fn unit_rows(mut rows: Array2<f32>) -> Array2<f32> {
    for mut row in rows.outer_iter_mut() {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        if norm.is_finite() && norm > 0.0 {
            row /= norm;
        } else {
            row.fill(0.0);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use ndarray::s;

    use super::super::tests::video;
    use super::*;

    #[test]
    fn rows_that_moved_are_found_again() {
        let a = video(300, 1.87);
        let late = find(a.view(), a.slice(s![7.., ..])).unwrap();
        assert_eq!((late.offset, late.stride), (7.0, 1.0));
        assert!(late.cosine > 0.9999 && late.cosine_in_place < late.cosine);
        let early = find(a.slice(s![5.., ..]), a.view()).unwrap();
        assert_eq!((early.offset, early.stride), (-5.0, 1.0));
        let half = find(a.view(), a.slice(s![..;2, ..])).unwrap();
        assert_eq!((half.offset, half.stride), (0.0, 2.0));
    }

    #[test]
    fn another_rate_is_a_stride() {
        let (a, b) = (video(897, 1.87), video(900, 1.875));
        let found = find(a.view(), b.view()).unwrap();
        assert!((found.stride - 1.87 / 1.875).abs() < 5e-4, "{found:?}");
        assert!(found.offset.abs() <= 1.0, "{found:?}");
    }

    #[test]
    fn rows_in_place_and_rows_of_noise_have_no_drift() {
        let a = video(300, 1.87);
        let louder = &a * 1.5;
        assert_eq!(find(a.view(), louder.view()), None);
        let mut state = 1u32;
        let noise = a.mapv(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 + 5.0
        });
        assert_eq!(find(noise.view(), noise.slice(s![..;-1, ..])), None, "no lay of noise fits better");
        assert_eq!(find(a.view(), ndarray::Array2::zeros((4, 24)).view()), None);
    }
}
