//! What is done to rows on their way: rows without features, another grid, the tail that EgoVLP left empty.
//!
//! Not for reading them. Invariant: with the default rule rows pass unchanged or not at all.

use ndarray::{Array2, ArrayView2, Axis, s};
use serde::Serialize;

use super::ConvertError;
use super::source::Features;
use crate::store::RowMeta;

/// What becomes of rows that have no features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// They are an error.
    #[default]
    Refuse,
    /// They become zeros.
    Zero,
    /// They stay NaN.
    Nan,
    /// They are left out, and later rows move up: row numbers no longer tell the time.
    Drop,
}

/// Another grid.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// At most this many rows per unit.
    Rows(usize),
    /// This many rows per second.
    Fps(f64),
}

/// What is done to rows.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct RowRule {
    /// What becomes of rows that have no features.
    pub missing: Missing,
    /// Another grid.
    pub resample: Option<Resample>,
    /// Set the last `rows mod 4` rows to zero, as EgoVLP's extraction left them: it computed whole groups of four.
    pub zero_tail: bool,
}

impl RowRule {
    /// Rows per second, where there were `fps`.
    pub fn fps(&self, fps: f64) -> f64 {
        match self.resample {
            Some(Resample::Fps(wanted)) => wanted,
            _ => fps,
        }
    }
}

/// Does what `rule` says to rows that come `fps` to the second.
pub(super) fn apply(rule: &RowRule, fps: f64, mut features: Features) -> Result<Features, ConvertError> {
    treat_missing(rule.missing, &mut features)?;
    let rows = features.meta.len();
    match rule.resample {
        Some(Resample::Rows(most)) if rows > most => resample(&mut features, most),
        Some(Resample::Fps(wanted)) => {
            let wanted = (rows as f64 * wanted / fps).round_ties_even().max(1.0) as usize;
            resample(&mut features, wanted);
        }
        _ => {}
    }
    if rule.zero_tail {
        let whole = features.meta.len() / GROUP * GROUP;
        features.values.slice_mut(s![whole.., ..]).fill(0.0);
    }
    Ok(features)
}

/// Windows that EgoVLP computed at a time.
const GROUP: usize = 4;

fn treat_missing(rule: Missing, features: &mut Features) -> Result<(), ConvertError> {
    let absent: Vec<bool> = features
        .meta
        .iter()
        .zip(features.values.outer_iter())
        .map(|(meta, row)| meta.missing || row.iter().any(|value| value.is_nan()))
        .collect();
    let Some(first) = absent.iter().position(|&absent| absent) else { return Ok(()) };
    let (rows, missing) = (absent.len(), absent.iter().filter(|&&absent| absent).count());
    match rule {
        Missing::Refuse => {
            return Err(ConvertError::Missing { unit: features.unit.clone(), rows, missing, first });
        }
        Missing::Nan => {}
        Missing::Zero => {
            let rows = features.values.outer_iter_mut().zip(&absent).filter(|(_, absent)| **absent);
            rows.for_each(|(mut row, _)| row.fill(0.0));
        }
        Missing::Drop if missing == rows => {
            return Err(ConvertError::NothingLeft { unit: features.unit.clone(), rows });
        }
        Missing::Drop => {
            let kept: Vec<usize> = (0..rows).filter(|&row| !absent[row]).collect();
            features.values = features.values.select(Axis(0), &kept);
            features.meta = kept.iter().map(|&row| features.meta[row].clone()).collect();
        }
    }
    Ok(())
}

/// Puts rows on a grid of `wanted` rows over the same time.
fn resample(features: &mut Features, wanted: usize) {
    let rows = features.meta.len();
    if wanted < rows {
        let edges = boundaries(rows, wanted);
        features.values = average(features.values.view(), wanted);
        features.meta =
            edges.windows(2).map(|edge| merged(&features.meta[edge[0]..edge[1].max(edge[0] + 1)])).collect();
    } else if wanted > rows {
        // The row that stands for the middle of each new one: a feature between two windows is nobody's.
        let nearest: Vec<usize> = (0..wanted).map(|row| (2 * row + 1) * rows / (2 * wanted)).collect();
        features.values = features.values.select(Axis(0), &nearest);
        features.meta = nearest.iter().map(|&row| features.meta[row].clone()).collect();
    }
}

fn merged(meta: &[RowMeta]) -> RowMeta {
    let (first, last) = (meta[0].clone(), &meta[meta.len() - 1]);
    RowMeta {
        last_frame: last.last_frame.max(first.last_frame),
        end_sec: last.end_sec,
        padded: meta.iter().any(|row| row.padded),
        missing: meta.iter().any(|row| row.missing),
        ..first
    }
}

/// VSLNet's rule for `rows` rows that become `wanted` < `rows` means: row `k` is the mean of rows `b[k]..b[k + 1]`, or row
/// `b[k]` alone if that is empty. Reckoned in single precision with half-even rounding, as the original does; the last
/// boundary is clamped, so that the last row enters a mean only where the last pair is equal.
pub fn boundaries(rows: usize, wanted: usize) -> Vec<usize> {
    let at = |k: usize| (k as f32 / wanted as f32 * rows as f32).round_ties_even() as usize;
    (0..=wanted).map(|k| at(k).min(rows.saturating_sub(1))).collect()
}

/// `features` `[rows, dim]` averaged to `[wanted, dim]` by [`boundaries`]; unchanged if there are no more than `wanted`.
pub fn average(features: ArrayView2<f32>, wanted: usize) -> Array2<f32> {
    if features.nrows() <= wanted {
        return features.to_owned();
    }
    let edges = boundaries(features.nrows(), wanted);
    let mut means = Array2::zeros((wanted, features.ncols()));
    for (mut mean, edge) in means.outer_iter_mut().zip(edges.windows(2)) {
        let part = features.slice(s![edge[0]..edge[1].max(edge[0] + 1), ..]);
        for row in part.outer_iter() {
            mean += &row;
        }
        mean /= part.nrows() as f32;
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(rows: usize) -> Features {
        let row = |row: usize| RowMeta {
            first_frame: row as u64 * 16,
            last_frame: row as u64 * 16 + 15,
            start_sec: row as f64,
            end_sec: row as f64 + 1.0,
            padded: false,
            missing: row == 2,
            ..RowMeta::default()
        };
        let value = |(row, column)| if row == 2 { f32::NAN } else { row as f32 + column as f32 / 10.0 };
        Features {
            unit: crate::ids::UnitUid::parse("a").unwrap(),
            clip_uid: None,
            query_id: None,
            video_uid: crate::ids::VideoUid::parse("v").unwrap(),
            span: None,
            source_fps: 30.0,
            meta: (0..rows).map(row).collect(),
            values: Array2::from_shape_fn((rows, 2), value),
        }
    }

    fn treated(missing: Missing, rows: usize) -> Result<Features, ConvertError> {
        apply(&RowRule { missing, ..RowRule::default() }, 1.0, features(rows))
    }

    #[test]
    fn rows_without_features_are_refused_unless_told_otherwise() {
        let error = treated(Missing::Refuse, 4).unwrap_err().to_string();
        assert!(error.starts_with("unit a: 1 of 4 rows have no features (the first is row 2)"), "{error}");
        assert_eq!(treated(Missing::Zero, 4).unwrap().values.column(0).to_vec(), [0.0, 1.0, 0.0, 3.0]);
        assert!(treated(Missing::Nan, 4).unwrap().values[[2, 0]].is_nan());
        let dropped = treated(Missing::Drop, 4).unwrap();
        assert_eq!(dropped.values.column(0).to_vec(), [0.0, 1.0, 3.0]);
        assert_eq!(dropped.meta[2].start_sec, 3.0);
        assert!(treated(Missing::Refuse, 2).is_ok());
    }

    #[test]
    fn the_zero_tail_of_egovlp_is_rows_mod_4() {
        let rule = RowRule { missing: Missing::Zero, zero_tail: true, ..RowRule::default() };
        let zeros = |rows| {
            let values = apply(&rule, 1.0, features(rows)).unwrap().values;
            (3..rows).filter(|&row| values.row(row).iter().all(|&value| value == 0.0)).count()
        };
        assert_eq!([8, 9, 10, 11, 897].map(zeros), [0, 1, 2, 3, 1]);
    }

    #[test]
    fn a_rate_makes_more_or_fewer_rows_over_the_same_time() {
        let at = |fps| {
            let rule = RowRule { missing: Missing::Zero, resample: Some(Resample::Fps(fps)), ..RowRule::default() };
            apply(&rule, 1.0, features(6)).unwrap()
        };
        assert_eq!(at(0.5).values.column(0).to_vec(), [0.5, 1.5, 4.0], "the last row enters no mean");
        assert_eq!(at(2.0).values.nrows(), 12);
        assert_eq!(at(2.0).values.column(0).to_vec()[..4], [0.0, 0.0, 1.0, 1.0]);
        assert_eq!((at(0.5).meta[1].start_sec, at(0.5).meta[1].end_sec), (2.0, 4.0));
        assert_eq!(at(1.0).meta.len(), 6);
    }
}
