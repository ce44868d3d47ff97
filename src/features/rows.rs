//! What is done to rows on their way: rows without features, another grid, the tail that EgoVLP left empty; and whether they
//! are where a reader will think who knows nothing but their numbers.
//!
//! Not for reading them. Invariant: with the default rule rows pass unchanged or not at all.

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use serde::Serialize;

use super::error::FeatureError;
use super::unit::Features;
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
    /// This many rows per second, from the start of the unit: by the rows' own times.
    RowsPerSec(f64),
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
    /// Let rows pass that are not where `i / rows_per_sec` puts them.
    pub allow_drift: bool,
}

impl RowRule {
    /// Rows per second, where there were `rows_per_sec`.
    pub fn rows_per_sec(&self, rows_per_sec: f64) -> f64 {
        match self.resample {
            Some(Resample::RowsPerSec(wanted)) => wanted,
            _ => rows_per_sec,
        }
    }
}

/// Where rows are that a reader places by their numbers, who is told no times: row `i` at `start + i / rows_per_sec`, where
/// `start` is that of the clip, or 0 for a whole video. A row may begin up to a row away from there: grids divide a clip
/// evenly by whole numbers of frames, and move their last window back.
///
/// # Errors
/// [`FeatureError::Drift`] for the first row that is further away. Never where rows do not follow one another in time.
pub(super) fn check_places(rule: &RowRule, rows_per_sec: f64, features: &Features) -> Result<(), FeatureError> {
    let by_time = matches!(rule.resample, Some(Resample::RowsPerSec(_)));
    if rule.allow_drift || by_time || rows_per_sec <= 0.0 {
        return Ok(());
    }
    let start_sec = start_sec(features);
    let expected = |row: usize| start_sec + row as f64 / rows_per_sec;
    let starts = features.meta.iter().map(|meta| meta.start_sec).enumerate();
    // A thousandth of a row absorbs the rounding of seconds.
    let away = |(row, found): &(usize, f64)| (found - expected(*row)).abs() * rows_per_sec > 1.001;
    starts.into_iter().find(away).map_or(Ok(()), |(row, found_sec)| {
        let (unit, expected_sec) = (features.unit.clone(), expected(row));
        Err(FeatureError::Drift { unit, row, found_sec, expected_sec, rows_per_sec })
    })
}

/// Second at which readers take the rows of a unit to begin.
pub(super) fn start_sec(features: &Features) -> f64 {
    features.span.map_or(0.0, |span| span.start_sec.max(0.0))
}

/// Does what `rule` says to rows that come `rows_per_sec` to the second.
pub(super) fn apply(rule: &RowRule, rows_per_sec: f64, mut features: Features) -> Result<Features, FeatureError> {
    treat_missing(rule.missing, &mut features)?;
    match rule.resample {
        Some(Resample::Rows(most)) if features.meta.len() > most => shorten(&mut features, most),
        Some(Resample::RowsPerSec(wanted)) => resample(&mut features, rows_per_sec, wanted)?,
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

fn treat_missing(rule: Missing, features: &mut Features) -> Result<(), FeatureError> {
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
            return Err(FeatureError::Missing { unit: features.unit.clone(), rows, missing, first });
        }
        Missing::Nan => {}
        Missing::Zero => {
            let rows = features.values.outer_iter_mut().zip(&absent).filter(|(_, absent)| **absent);
            rows.for_each(|(mut row, _)| row.fill(0.0));
        }
        Missing::Drop if missing == rows => {
            return Err(FeatureError::NothingLeft { unit: features.unit.clone(), rows });
        }
        Missing::Drop => {
            let kept: Vec<usize> = (0..rows).filter(|&row| !absent[row]).collect();
            features.values = features.values.select(Axis(0), &kept);
            features.meta = kept.iter().map(|&row| features.meta[row].clone()).collect();
        }
    }
    Ok(())
}

/// Makes `wanted` rows of more by VSLNet's rule.
fn shorten(features: &mut Features, wanted: usize) {
    let edges = boundaries(features.meta.len(), wanted);
    features.values = average(features.values.view(), wanted);
    features.meta = edges.windows(2).map(|edge| merged(&features.meta[edge[0]..edge[1].max(edge[0] + 1)])).collect();
}

/// Most rows that one may become: more is a mistyped rate, or times that no video has.
const MOST_FOR_ONE: usize = 4096;

/// Puts rows, of which `stored` were meant to begin every second, on a grid of `wanted` per second, by their times.
fn resample(features: &mut Features, stored: f64, wanted: f64) -> Result<(), FeatureError> {
    let start_sec = start_sec(features);
    let found = features.meta.len();
    let Some(end_sec) = edges(features, stored).last().copied().filter(|_| found > 0) else { return Ok(()) };
    let rows = ((end_sec - start_sec) * wanted).round_ties_even().max(1.0) as usize;
    if rows / MOST_FOR_ONE >= found {
        return Err(FeatureError::TooMany { unit: features.unit.clone(), found, rows, wanted });
    }
    let edges: Vec<f64> = (0..=rows).map(|row| start_sec + row as f64 / wanted).collect();
    (features.values, features.meta) = regrid(features, stored, &edges);
    Ok(())
}

/// Where rows begin, of which `stored` were meant to begin every second, and where the last one ends: a row lasts until the
/// next one begins.
pub(super) fn edges(features: &Features, stored: f64) -> Vec<f64> {
    let starts = features.meta.iter().map(|meta| meta.start_sec);
    starts.chain(features.meta.last().map(|last| last.start_sec + 1.0 / stored)).collect()
}

/// Rows between each two of `wanted` for those of `features`: the mean of the rows whose middle it holds or, if it holds none,
/// the one that its own middle falls into.
pub(super) fn regrid(features: &Features, stored: f64, wanted: &[f64]) -> (Array2<f32>, Vec<RowMeta>) {
    let there = edges(features, stored);
    let starts = &there[..features.meta.len()];
    let middles: Vec<f64> = there.windows(2).map(|edge| 0.5 * (edge[0] + edge[1])).collect();
    let rows = wanted.len().saturating_sub(1);
    let (mut values, mut meta) = (Array2::zeros((rows, features.values.ncols())), Vec::with_capacity(rows));
    for (edge, mut value) in wanted.windows(2).zip(values.outer_iter_mut()) {
        let held = middles.partition_point(|&m| m < edge[0])..middles.partition_point(|&m| m < edge[1]);
        let at = starts.partition_point(|&start| start <= 0.5 * (edge[0] + edge[1])).saturating_sub(1);
        let of = if held.is_empty() { at..at + 1 } else { held };
        value.assign(&mean(features.values.slice(s![of.clone(), ..])));
        meta.push(RowMeta { start_sec: edge[0], end_sec: edge[1], ..merged(&features.meta[of]) });
    }
    (values, meta)
}

fn mean(rows: ArrayView2<f32>) -> Array1<f32> {
    let mut mean = Array1::zeros(rows.ncols());
    for row in rows.outer_iter() {
        mean += &row;
    }
    mean / rows.nrows() as f32
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
    for (mut mean_row, edge) in means.outer_iter_mut().zip(edges.windows(2)) {
        mean_row.assign(&mean(features.slice(s![edge[0]..edge[1].max(edge[0] + 1), ..])));
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

    fn treated(missing: Missing, rows: usize) -> Result<Features, FeatureError> {
        apply(&RowRule { missing, ..RowRule::default() }, 1.0, features(rows))
    }

    #[test]
    fn a_rate_at_which_rows_are_copied_over_and_over_is_refused() {
        for wanted in [1e5, 1e17, 1e300] {
            let resample = Some(Resample::RowsPerSec(wanted));
            let error = apply(&RowRule { missing: Missing::Zero, resample, ..RowRule::default() }, 1.0, features(3))
                .unwrap_err()
                .to_string();
            assert!(error.contains("rows of 3; give a lower --resample-rows-per-sec"), "{error}");
        }
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

    fn at_rate(wanted: f64, features: Features) -> Features {
        let resample = Some(Resample::RowsPerSec(wanted));
        apply(&RowRule { missing: Missing::Zero, resample, ..RowRule::default() }, 1.0, features).unwrap()
    }

    #[test]
    fn a_rate_makes_more_or_fewer_rows_over_the_same_time() {
        let at = |wanted| at_rate(wanted, features(6));
        assert_eq!(at(0.5).values.column(0).to_vec(), [0.5, 1.5, 4.5]);
        assert_eq!(at(2.0).values.nrows(), 12);
        assert_eq!(at(2.0).values.column(0).to_vec()[..4], [0.0, 0.0, 1.0, 1.0]);
        assert_eq!((at(0.5).meta[1].start_sec, at(0.5).meta[1].end_sec), (2.0, 4.0));
        assert_eq!((at(1.0).meta.len(), at(1.0).values), (6, treated(Missing::Zero, 6).unwrap().values));
    }

    /// Rows as they are where frames were counted over a pause: three in the first second, one that lasts through a pause of
    /// seven, and one behind it.
    fn uneven() -> Features {
        let mut uneven = features(5);
        let starts = [0.0, 0.3, 0.6, 1.0, 8.0, 9.0];
        uneven.meta.iter_mut().enumerate().for_each(|(row, meta)| {
            (meta.start_sec, meta.end_sec, meta.missing) = (starts[row], starts[row + 1], false);
        });
        uneven.values = Array2::from_shape_fn((5, 2), |(row, _)| row as f32);
        uneven
    }

    #[test]
    fn rows_that_are_not_where_their_numbers_say_are_refused_and_can_be_put_there() {
        let check = |rule: &RowRule, features: &Features| check_places(rule, 1.0, features).map_err(|e| e.to_string());
        let error = check(&RowRule::default(), &uneven()).unwrap_err();
        assert!(error.starts_with("unit a: row 2 begins at 0.60 s, and 1 rows a second put it at 2.00 s"), "{error}");
        assert!(error.contains("--resample-rows-per-sec 1") && error.contains("--allow-drift"), "{error}");
        assert_eq!(check(&RowRule { allow_drift: true, ..RowRule::default() }, &uneven()), Ok(()));
        let even = at_rate(1.0, uneven());
        assert_eq!(even.values.column(0).to_vec(), [1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 4.0]);
        assert_eq!(check(&RowRule::default(), &even), Ok(()));
        let rule = RowRule { resample: Some(Resample::RowsPerSec(1.0)), ..RowRule::default() };
        assert_eq!(check(&rule, &uneven()), Ok(()), "they are put where they belong");
    }

    #[test]
    fn a_row_may_be_up_to_a_row_away_and_clips_begin_where_they_begin() {
        let mut clip = features(4);
        clip.span = crate::time::TimeSpan::new(100.0, 104.0);
        for (late, sound) in [(0.0, true), (0.9, true), (-0.9, true), (1.1, false), (-1.1, false)] {
            clip.meta.iter_mut().enumerate().for_each(|(row, meta)| meta.start_sec = 100.0 + late + row as f64);
            assert_eq!(check_places(&RowRule::default(), 1.0, &clip).is_ok(), sound, "{late}");
        }
        assert!(check_places(&RowRule::default(), 0.0, &clip).is_ok(), "sentences are at no time");
    }
}
