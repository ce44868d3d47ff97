//! Stores that are read as one: rows side by side, the features of the first store first.
//!
//! Not for finding what stands in the way, see `differences`. Invariant: a joined row has the name, the clip, the query and
//! the times of the first store's row, and as many features as all stores together.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

use ndarray::{Array2, Axis, concatenate, s};
use serde::Serialize;

use super::error::FeatureError;
use super::part::Part;
use super::rows::{self, start_sec};
use super::unit::Features;
use crate::digest;
use crate::store::{Contract, RowMeta};

/// What becomes of units that have more rows in one store than in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinRows {
    /// They are an error.
    #[default]
    Refuse,
    /// Rows that are not in all stores are left out.
    Truncate,
    /// Features of rows that a store does not have are zeros.
    Pad,
    /// Rows of later stores are put onto those of the first by their times.
    Resample,
}

impl JoinRows {
    /// All of them, the usual one first.
    pub const ALL: [Self; 4] = [Self::Refuse, Self::Truncate, Self::Pad, Self::Resample];

    /// Its name on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Truncate => "truncate",
            Self::Pad => "pad",
            Self::Resample => "resample",
        }
    }
}

/// What becomes of units that are not in all stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinUnits {
    /// They are an error.
    #[default]
    Same,
    /// They are left out.
    Common,
}

impl JoinUnits {
    /// Both, the usual one first.
    pub const ALL: [Self; 2] = [Self::Same, Self::Common];

    /// Its name on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Common => "common",
        }
    }
}

impl Display for JoinRows {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.pad(self.name())
    }
}

impl Display for JoinUnits {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.pad(self.name())
    }
}

impl FromStr for JoinRows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(&Self::ALL, Self::name, text)
    }
}

impl FromStr for JoinUnits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(&Self::ALL, Self::name, text)
    }
}

/// The one of `all` whose name is `text`.
fn named<R: Copy>(all: &[R], name: fn(R) -> &'static str, text: &str) -> Result<R, String> {
    all.iter().copied().find(|&rule| name(rule) == text).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|&rule| name(rule)).collect();
        format!("expected one of {}, not {text:?}", names.join(", "))
    })
}

/// How stores that differ are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct JoinRule {
    /// What becomes of units that have more rows in one store than in another.
    pub rows: JoinRows,
    /// What becomes of units that are not in all stores.
    pub units: JoinUnits,
}

/// Stores that are joined to another one, and how; by default none.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// The stores, in the order of their features.
    pub stores: Vec<PathBuf>,
    /// How.
    pub rule: JoinRule,
}

/// What identifies the stores together: what they share stands as it is, what differs by store, with `+` between.
pub(super) fn contract(parts: &[Part], rule: JoinRule, rows_per_sec: f64) -> Contract {
    let contracts: Vec<&Contract> = parts.iter().map(Part::contract).collect();
    let all = |field: fn(&Contract) -> &str| contracts.iter().map(|contract| field(contract)).collect::<Vec<_>>();
    let each = |field| {
        let found = all(field);
        if found.iter().all(|text| *text == found[0]) { found[0].to_owned() } else { found.join("+") }
    };
    let fingerprints = format!("joined {:?} {:?}\n{}", rule.rows, rule.units, all(|c| &c.fingerprint).join("\n"));
    let first = contracts[0];
    Contract {
        schema_version: first.schema_version,
        feature_set: all(|c| &c.feature_set).join("+"),
        backbone: each(|c| &c.backbone),
        onnx_sha256: each(|c| &c.onnx_sha256),
        precision: each(|c| &c.precision),
        dim: contracts.iter().map(|contract| contract.dim).sum(),
        dtype: first.dtype,
        row_kind: first.row_kind,
        format: first.format.clone(),
        grid: each(|c| &c.grid),
        rows_per_sec,
        window_frames: first.window_frames,
        compat: each(|c| &c.compat),
        measure: first.measure,
        checkpoint: each(|c| &c.checkpoint),
        checkpoint_sha256: each(|c| &c.checkpoint_sha256),
        recipe: all(|c| &c.recipe).join("\n"),
        fingerprint: digest::text(&fingerprints),
    }
}

/// A unit and the store that it is of.
pub(super) struct Of<'p> {
    pub part: &'p Part,
    pub features: Features,
    /// Rows per second.
    pub rows_per_sec: f64,
}

/// Sets the rows of `right` beside those of `left`; `drifting` ones, that are not at the same times, only where they may be.
///
/// # Errors
/// [`FeatureError::JoinUnit`].
pub(super) fn beside<'p>(left: Of<'p>, right: Of, rule: JoinRows, drifting: bool) -> Result<Of<'p>, FeatureError> {
    let shift_sec = shift_sec(&left.features, &right.features);
    let right =
        if rule == JoinRows::Resample && left.rows_per_sec > 0.0 { put_onto(&left, right, shift_sec)? } else { right };
    let rows = [left.features.meta.len(), right.features.meta.len()];
    let joined_rows = match rule {
        JoinRows::Truncate => rows[0].min(rows[1]),
        JoinRows::Pad => rows[0].max(rows[1]),
        _ if rows[0] == rows[1] => rows[0],
        _ => return Err(error(&left, &right, format!("{} rows and {} rows", rows[0], rows[1]))),
    };
    check_names(&left, &right)?;
    if rule != JoinRows::Resample && !drifting {
        check_times(&left, &right, shift_sec)?;
    }
    let meta = (0..joined_rows).map(|row| joined_meta([&left.features.meta, &right.features.meta], row, shift_sec));
    let meta = meta.collect();
    let values = [&left.features.values, &right.features.values].map(|values| fitted(values, joined_rows));
    let values = concatenate(Axis(1), &[values[0].view(), values[1].view()]).expect("equal numbers of rows");
    Ok(Of { features: Features { meta, values, ..left.features }, ..left })
}

/// What stands in the way of joining a unit, in words.
fn error(left: &Of, right: &Of, why: String) -> FeatureError {
    let stores = Box::new([left.part.path().to_owned(), right.part.path().to_owned()]);
    FeatureError::JoinUnit { unit: left.features.unit.clone(), stores, why }
}

/// Seconds by which times of `right` are behind those of `left`: a clip that was a file of its own begins at 0.
fn shift_sec(left: &Features, right: &Features) -> f64 {
    match (left.unit == right.unit, left.span.is_some() == right.span.is_some()) {
        (true, false) => start_sec(left) - start_sec(right),
        _ => 0.0,
    }
}

/// The rows of `right` on those of `left`, by their times.
fn put_onto<'p>(left: &Of, right: Of<'p>, shift_sec: f64) -> Result<Of<'p>, FeatureError> {
    let edges = rows::edges(&left.features, left.rows_per_sec);
    let edges: Vec<f64> = edges.into_iter().map(|edge| edge - shift_sec).collect();
    let there = rows::edges(&right.features, right.rows_per_sec);
    // The last row of either may be cut off by the end of the video, or stand for more than there is.
    let slack = (1.0 / left.rows_per_sec).max(1.0 / right.rows_per_sec);
    let covered = there[0] - slack..=there[there.len() - 1] + slack;
    let middles = edges.windows(2).map(|edge| 0.5 * (edge[0] + edge[1]));
    if let Some((row, middle)) = middles.enumerate().find(|(_, middle)| !covered.contains(middle)) {
        let (from, to) = (there[0], there[there.len() - 1]);
        let why = format!(
            "row {row} of the former is at {middle:.2} s, and the rows of the latter go from {from:.2} s to {to:.2} s"
        );
        return Err(error(left, &right, why));
    }
    let (values, meta) = rows::regrid(&right.features, right.rows_per_sec, &edges);
    Ok(Of { features: Features { values, meta, ..right.features }, ..right })
}

/// Rows of sentences and of clips belong together by what they name.
fn check_names(left: &Of, right: &Of) -> Result<(), FeatureError> {
    let kind = left.part.contract().row_kind;
    let pairs = left.features.meta.iter().zip(&right.features.meta).enumerate();
    for (row, (one, other)) in pairs {
        let differ = |what, one: &str, other: &str| {
            Err(error(left, right, format!("row {row} is of {what} {one:?} in the former, of {other:?} in the latter")))
        };
        if kind.names_queries() && one.query_name() != other.query_name() {
            return differ("query", one.query_name(), other.query_name());
        }
        if kind.names_clips() && one.clip_name() != other.clip_name() {
            return differ("clip", one.clip_name(), other.clip_name());
        }
    }
    Ok(())
}

/// Rows of windows belong together that begin less than a row apart.
fn check_times(left: &Of, right: &Of, shift_sec: f64) -> Result<(), FeatureError> {
    let [one, other] = [left, right].map(|of| &of.features.meta);
    let starts = one.iter().zip(other.iter()).map(|(one, other)| (one.start_sec, other.start_sec + shift_sec));
    // A thousandth of a row absorbs the rounding of seconds.
    let apart = |(one, other): &(f64, f64)| (one - other).abs() * left.rows_per_sec > 1.001;
    match starts.enumerate().find(|(_, starts)| apart(starts)) {
        None => Ok(()),
        Some((row, (one, other))) => Err(error(
            left,
            right,
            format!(
                "row {row} begins at {one:.2} s in the former and at {other:.2} s in the latter; --join-rows resample puts rows \
                 together by their times"
            ),
        )),
    }
}

/// The first `rows` rows, and zeros where there are fewer.
fn fitted(values: &Array2<f32>, rows: usize) -> Array2<f32> {
    let there = values.nrows().min(rows);
    let mut fitted = Array2::zeros((rows, values.ncols()));
    fitted.slice_mut(s![..there, ..]).assign(&values.slice(s![..there, ..]));
    fitted
}

fn joined_meta(meta: [&[RowMeta]; 2], row: usize, shift_sec: f64) -> RowMeta {
    match meta.map(|meta| meta.get(row)) {
        [Some(left), Some(right)] => {
            let (padded, missing) = (left.padded || right.padded, left.missing || right.missing);
            RowMeta { padded, missing, ..left.clone() }
        }
        [Some(left), None] => RowMeta { padded: true, ..left.clone() },
        [None, right] => {
            let right = right.cloned().unwrap_or_default();
            let (start_sec, end_sec) = (right.start_sec + shift_sec, right.end_sec + shift_sec);
            RowMeta { padded: true, start_sec, end_sec, ..right }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_by_the_names_that_they_are_written_with() {
        for rule in JoinRows::ALL {
            assert_eq!(rule.to_string().parse(), Ok(rule));
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
        }
        for rule in JoinUnits::ALL {
            assert_eq!(rule.to_string().parse(), Ok(rule));
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
        }
        assert_eq!((JoinRows::ALL[0], JoinUnits::ALL[0]), (JoinRows::default(), JoinUnits::default()));
        let why = "Pad".parse::<JoinRows>().unwrap_err();
        assert_eq!(why, "expected one of refuse, truncate, pad, resample, not \"Pad\"");
    }
}
