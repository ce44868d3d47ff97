//! Kernel temporal segmentation with a linear kernel (Potapov et al., ECCV 2014), as EgoVLPv2 cuts a video's shots.
//!
//! Not for choosing features. Invariant: the sum of squared distances of shots to their segment's mean, plus a penalty for
//! the number of change points, is the least that the limits allow; among equals the fewest and earliest win.
//!
//! Source: `QFVS/segment/` of EgoVLPv2. There the kernel is summed in float32 and here in float64, so costs agree to
//! about seven digits.

use ndarray::{Array2, ArrayView2};

/// What a segmentation may look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Change points at most.
    pub change_points: usize,
    /// Weight of the penalty.
    pub vmax: f64,
    /// Shots of a segment at most; of the first segment one less, as the original starts its recursion.
    pub longest: usize,
}

impl Limits {
    /// EgoVLPv2's: at most 20 segments of at most 199 shots.
    pub const QFVS: Self = Self { change_points: 19, vmax: 1.0, longest: 199 };
}

/// Where segments begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// First shots of all segments but the first one, ascending.
    pub change_points: Vec<usize>,
    /// `costs[m]` is the least cost with `m` change points; infinite where the limits allow none.
    pub costs: Vec<f64>,
}

/// Why shots have no segmentation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KtsError {
    /// There are none.
    #[error("0 shots, at least 1 is needed")]
    Empty,
    /// One is not known.
    #[error("shot {shot} has a feature that is no finite number")]
    NotFinite {
        /// The first such shot, from 0.
        shot: usize,
    },
    /// They do not fit into so many segments.
    #[error("{shots} shots, at most {most} fit into {segments} segments")]
    TooMany {
        /// How many there are.
        shots: usize,
        /// How many would fit.
        most: usize,
        /// Segments at most.
        segments: usize,
    },
}

/// Cuts shots, given by their `features` `[shots, dim]`, into segments. (The original refuses videos with fewer shots than
/// segments; here they have fewer segments.)
///
/// Takes `8 shots^2` bytes and `shots^2 dim` multiplications: 3588 shots take 103 MB.
///
/// # Errors
/// [`KtsError`]: no shots, a feature that is not finite, or more shots than the segments hold.
pub fn segment(features: ArrayView2<'_, f64>, limits: Limits) -> Result<Segmentation, KtsError> {
    let shots = features.nrows();
    if shots == 0 {
        return Err(KtsError::Empty);
    }
    if let Some(shot) = features.outer_iter().position(|row| row.iter().any(|value| !value.is_finite())) {
        return Err(KtsError::NotFinite { shot });
    }
    let table = Table::new(&Scatter::new(features), limits);
    let costs: Vec<f64> = (0..table.best.nrows())
        .map(|m| table.best[[m, shots]] / shots as f64 + penalty(m, shots, limits.vmax))
        .collect();
    let least = (0..costs.len()).fold(0, |least, m| if costs[m] < costs[least] { m } else { least });
    if costs[least].is_infinite() {
        let (segments, most) = (limits.change_points + 1, limits.longest * (limits.change_points + 1) - 1);
        return Err(KtsError::TooMany { shots, most, segments });
    }
    Ok(Segmentation { change_points: table.change_points(least), costs })
}

/// `(vmax m / 2N) (ln(N / m) + 1)`; nothing for no change points.
fn penalty(m: usize, shots: usize, vmax: f64) -> f64 {
    if m == 0 {
        return 0.0;
    }
    let (m, n) = (m as f64, shots as f64);
    vmax * m / (2.0 * n) * ((n / m).ln() + 1.0)
}

/// How far shots are from their mean, for every interval of them.
struct Scatter {
    /// `sums[i, j]`: the kernel's sum over rows `..=i` and columns `..=j`.
    sums: Array2<f64>,
    /// `diagonal[i]`: the sum of the kernel's first `i` diagonal elements.
    diagonal: Vec<f64>,
}

impl Scatter {
    fn new(features: ArrayView2<'_, f64>) -> Self {
        let mut sums = features.dot(&features.t());
        let mut diagonal = vec![0.0];
        for i in 0..sums.nrows() {
            diagonal.push(diagonal[i] + sums[[i, i]]);
        }
        for i in 0..sums.nrows() {
            let mut row = 0.0;
            for j in 0..sums.ncols() {
                row += sums[[i, j]];
                let above = if i > 0 { sums[[i - 1, j]] } else { 0.0 };
                sums[[i, j]] = row + above;
            }
        }
        Self { sums, diagonal }
    }

    fn shots(&self) -> usize {
        self.sums.nrows()
    }

    fn sum(&self, rows: usize, columns: usize) -> f64 {
        if rows == 0 || columns == 0 { 0.0 } else { self.sums[[rows - 1, columns - 1]] }
    }

    /// The sum of squared distances of shots `start..end` to their mean.
    fn of(&self, start: usize, end: usize) -> f64 {
        let block = self.sum(end, end) + self.sum(start, start) - self.sum(end, start) - self.sum(start, end);
        self.diagonal[end] - self.diagonal[start] - block / (end - start) as f64
    }
}

/// Least scatter of the first `l` shots with `m` change points, and where the last one is.
struct Table {
    best: Array2<f64>,
    last: Array2<usize>,
}

impl Table {
    fn new(scatter: &Scatter, limits: Limits) -> Self {
        let shots = scatter.shots();
        let most = limits.change_points.min(shots - 1);
        let mut best = Array2::from_elem((most + 1, shots + 1), f64::INFINITY);
        let mut last = Array2::zeros((most + 1, shots + 1));
        for l in 1..limits.longest.min(shots + 1) {
            best[[0, l]] = scatter.of(0, l);
        }
        for m in 1..=most {
            for l in m + 1..=shots {
                for t in m.max(l.saturating_sub(limits.longest))..l {
                    let cost = best[[m - 1, t]] + scatter.of(t, l);
                    if cost < best[[m, l]] {
                        (best[[m, l]], last[[m, l]]) = (cost, t);
                    }
                }
            }
        }
        Self { best, last }
    }

    fn change_points(&self, count: usize) -> Vec<usize> {
        let mut end = self.best.ncols() - 1;
        let mut points: Vec<usize> = (1..=count)
            .rev()
            .map(|m| {
                end = self.last[[m, end]];
                end
            })
            .collect();
        points.reverse();
        points
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn number(value: &Value) -> f64 {
        value.as_f64().unwrap_or(f64::INFINITY)
    }

    #[test]
    fn segmentations_equal_the_originals() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/data/qfvs/kts.json")).unwrap();
        assert_eq!(cases.len(), 3);
        for case in cases {
            let rows = case["features"].as_array().unwrap();
            let flat: Vec<f64> = rows.iter().flat_map(|row| row.as_array().unwrap()).map(number).collect();
            let features = Array2::from_shape_vec((rows.len(), flat.len() / rows.len()), flat).unwrap();
            let whole = |key: &str| case[key].as_u64().unwrap() as usize;
            let limits = Limits {
                change_points: whole("max_change_points"),
                vmax: number(&case["vmax"]),
                longest: whole("lmax"),
            };
            let found = segment(features.view(), limits).unwrap();
            let expected: Vec<usize> =
                case["change_points"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
            assert_eq!(found.change_points, expected);
            let costs: Vec<f64> = case["costs"].as_array().unwrap().iter().map(number).collect();
            assert_eq!(found.costs.len(), costs.len());
            for (found, expected) in found.costs.iter().zip(costs) {
                assert!(*found == expected || (found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }
    }

    /// Shots in `blocks` of equal features, far apart from one another.
    fn blocks(lengths: &[usize]) -> Array2<f64> {
        let shots: Vec<f64> =
            lengths.iter().zip(0..).flat_map(|(&length, block)| vec![f64::from(block) * 100.0; length]).collect();
        Array2::from_shape_vec((shots.len(), 1), shots).unwrap()
    }

    #[test]
    fn clear_blocks_are_found_and_limits_hold() {
        let cuts = |lengths: &[usize]| segment(blocks(lengths).view(), Limits::QFVS).unwrap().change_points;
        assert_eq!(cuts(&[30, 50, 20]), [30, 80]);
        assert_eq!(cuts(&[198]), [0_usize; 0], "the first segment has at most 198 shots");
        assert_eq!(cuts(&[199]).len(), 1);
        let long = segment(blocks(&[1000]).view(), Limits::QFVS).unwrap();
        let bounds = [&[0], long.change_points.as_slice(), &[1000]].concat();
        assert!(bounds.windows(2).all(|pair| pair[1] - pair[0] <= 199), "{bounds:?}");
        assert_eq!(long.change_points.len(), 5);
    }

    #[test]
    fn few_shots_have_few_segments() {
        assert_eq!(segment(blocks(&[1]).view(), Limits::QFVS).unwrap().change_points, [0_usize; 0]);
        assert_eq!(segment(blocks(&[1, 1]).view(), Limits::QFVS).unwrap().change_points, [1]);
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let small = Limits { change_points: 1, vmax: 1.0, longest: 5 };
        let error = |features: Array2<f64>| segment(features.view(), small).unwrap_err().to_string();
        assert!(segment(blocks(&[9]).view(), small).is_ok(), "4 shots and 5");
        assert_eq!(error(blocks(&[10])), "10 shots, at most 9 fit into 2 segments");
        assert_eq!(error(Array2::zeros((0, 4))), KtsError::Empty.to_string());
        let mut features = blocks(&[4]);
        features[[2, 0]] = f64::NAN;
        assert_eq!(error(features), "shot 2 has a feature that is no finite number");
    }
}
