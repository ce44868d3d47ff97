//! How stores that are to be joined differ, by their contracts and ledgers: what the rule covers, and what it does not.
//!
//! Not for rows, which nothing is known of before they are read. Invariant: what is not covered names the option that would
//! cover it, if one does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::error::FeatureError;
use super::join::{JoinRows, JoinRule, JoinUnits};
use super::part::Part;
use crate::ids::UnitUid;
use crate::store::{LedgerEntry, RowKind};
use crate::time::TimeSpan;

/// Names of units that a difference gives.
const EXAMPLES: usize = 5;

/// Seconds by which the ends of a clip may differ: manifests round them.
const MOST_APART_SEC: f64 = 0.05;

/// A unit of the first store, and the one that belongs beside it.
type Pair<'p> = (&'p LedgerEntry, &'p LedgerEntry);

/// The units that are joined, and what a person should know of the others.
pub(super) struct Common {
    pub entries: Vec<LedgerEntry>,
    pub notes: Vec<String>,
}

/// A difference: what it is, and the option that covers it.
struct Difference {
    what: String,
    remedy: &'static str,
    covered: bool,
}

/// Compares the first store with the others; `on_one_grid` where all of them are put on the same grid anyway.
///
/// # Errors
/// [`FeatureError::Joining`] with all differences that `rule` does not cover.
pub(super) fn compare(parts: &[Part], rule: JoinRule, on_one_grid: bool) -> Result<Common, FeatureError> {
    let (first, others) = (&parts[0], &parts[1..]);
    let mut entries: BTreeMap<&UnitUid, LedgerEntry> =
        first.committed.iter().map(|entry| (&entry.unit_uid, entry.clone())).collect();
    let mut found = Vec::new();
    for other in others {
        found.extend(kinds(first, other, rule.rows));
        found.extend(rates(first, other, rule.rows, on_one_grid));
        let pairs = pairs(first, other, rule.rows);
        found.extend(units(first, other, &pairs, rule.units));
        found.extend(places(other, &pairs, rule.rows));
        found.extend(lengths(other, &pairs, rule.rows).filter(|_| !on_one_grid));
        let beside: BTreeMap<&UnitUid, &LedgerEntry> =
            pairs.iter().map(|(one, beside)| (&one.unit_uid, *beside)).collect();
        entries.retain(|unit, _| beside.contains_key(unit));
        for (unit, entry) in &mut entries {
            entry.rows = joined_rows(rule.rows, entry.rows, beside[unit].rows);
            entry.dim += beside[unit].dim;
        }
    }
    let open: Vec<&Difference> = found.iter().filter(|difference| !difference.covered).collect();
    if !open.is_empty() {
        let lines: Vec<String> = open.iter().map(|one| format!("\n  {}; {}", one.what, one.remedy)).collect();
        let differences = lines.concat();
        return Err(FeatureError::Joining { stores: paths(parts), differences });
    }
    if entries.is_empty() {
        return Err(FeatureError::Joining {
            stores: paths(parts),
            differences: " no unit is in all of them".to_owned(),
        });
    }
    let notes = found.into_iter().map(|difference| difference.what).collect();
    Ok(Common { entries: entries.into_values().collect(), notes })
}

fn paths(parts: &[Part]) -> String {
    parts.iter().map(|part| part.path().display().to_string()).collect::<Vec<_>>().join(" and ")
}

fn joined_rows(rule: JoinRows, one: u64, other: u64) -> u64 {
    match rule {
        JoinRows::Truncate => one.min(other),
        JoinRows::Pad => one.max(other),
        JoinRows::Refuse | JoinRows::Resample => one,
    }
}

/// What rows stand for has to be the same; windows may be set beside windows that have met a query, by their times.
fn kinds(first: &Part, other: &Part, rule: JoinRows) -> Option<Difference> {
    let kinds = [first, other].map(|part| part.contract().row_kind);
    let fused = kinds == [RowKind::FusedWindow, RowKind::Window];
    if kinds[0] == kinds[1] {
        return None;
    }
    let what = format!("rows: of kind {}, and in {} of kind {}", kinds[0].name(), name(other), kinds[1].name());
    let remedy = if fused {
        "--join-rows resample joins those of a query with those of its clip"
    } else {
        "nothing joins those"
    };
    Some(Difference { what, remedy, covered: fused && rule == JoinRows::Resample })
}

fn rates(first: &Part, other: &Part, rule: JoinRows, on_one_grid: bool) -> Option<Difference> {
    let rates = [first, other].map(|part| part.contract().rows_per_sec);
    if (rates[0] - rates[1]).abs() <= 1e-6 * rates[0].max(rates[1]) {
        return None;
    }
    let what = format!("rates: {} rows a second, and in {} {}", rates[0], name(other), rates[1]);
    let covered = on_one_grid || (rule == JoinRows::Resample && rates.iter().all(|&rate| rate > 0.0));
    Some(Difference { what, remedy: "--join-rows resample puts rows together by their times", covered })
}

/// Units of the first store, each with the one that belongs beside it.
fn pairs<'p>(first: &'p Part, other: &'p Part, rule: JoinRows) -> Vec<Pair<'p>> {
    let by_time = rule == JoinRows::Resample;
    first.committed.iter().filter_map(|entry| Some((entry, other.beside(entry, by_time)?))).collect()
}

fn units(first: &Part, other: &Part, pairs: &[Pair], rule: JoinUnits) -> Option<Difference> {
    let paired =
        [pairs.iter().map(|pair| &pair.0.unit_uid).collect(), pairs.iter().map(|pair| &pair.1.unit_uid).collect()];
    let only = |(part, paired): (&Part, BTreeSet<&UnitUid>)| {
        let alone: Vec<&UnitUid> =
            part.committed.iter().map(|entry| &entry.unit_uid).filter(|uid| !paired.contains(uid)).collect();
        (!alone.is_empty()).then(|| format!("{} only in {} ({})", alone.len(), name(part), examples(&alone)))
    };
    let said: Vec<String> = [first, other].into_iter().zip(paired).filter_map(only).collect();
    (!said.is_empty()).then(|| Difference {
        what: format!("units: {}", said.join(", ")),
        remedy: "--join-units common leaves them out",
        covered: rule == JoinUnits::Common,
    })
}

/// Clips of one name that lie elsewhere. What has no place was a file of its own.
fn places(other: &Part, pairs: &[Pair], rule: JoinRows) -> Option<Difference> {
    let elsewhere = |(one, other): &Pair| {
        let (span, there) = (one.span?, other.span?);
        let apart = (span.start_sec - there.start_sec).abs().max((span.end_sec - there.end_sec).abs());
        let differs = apart > MOST_APART_SEC || one.video_uid != other.video_uid;
        let said = |entry: &LedgerEntry, span: TimeSpan| {
            format!("{} {:.2} to {:.2} s", entry.video_uid, span.start_sec, span.end_sec)
        };
        differs.then(|| format!("{}: {} and {}", one.unit_uid, said(one, span), said(other, there)))
    };
    let found: Vec<String> = pairs.iter().filter_map(elsewhere).collect();
    let same_videos = pairs.iter().all(|(one, other)| one.span.is_none() || one.video_uid == other.video_uid);
    (!found.is_empty()).then(|| Difference {
        what: format!("places: {} clips lie elsewhere in {} ({})", found.len(), name(other), examples(&found)),
        remedy: "--join-rows resample goes by the times of rows, of clips of the same videos",
        covered: rule == JoinRows::Resample && same_videos,
    })
}

fn lengths(other: &Part, pairs: &[Pair], rule: JoinRows) -> Option<Difference> {
    let differ = |(one, other): &Pair| {
        (one.rows != other.rows).then(|| format!("{}: {} and {}", one.unit_uid, one.rows, other.rows))
    };
    let found: Vec<String> = pairs.iter().filter_map(differ).collect();
    (!found.is_empty()).then(|| Difference {
        what: format!(
            "lengths: {} units have other numbers of rows in {} ({})",
            found.len(),
            name(other),
            examples(&found)
        ),
        remedy: "--join-rows truncate, pad or resample",
        covered: rule != JoinRows::Refuse,
    })
}

/// The name of a store's feature set.
fn name(part: &Part) -> &str {
    &part.contract().feature_set
}

/// The first of them.
fn examples(all: &[impl Display]) -> String {
    let mut shown: Vec<String> = all.iter().take(EXAMPLES).map(ToString::to_string).collect();
    if all.len() > EXAMPLES {
        shown.push("...".to_owned());
    }
    shown.join(", ")
}
