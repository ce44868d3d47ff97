//! Checks of a unit's rows: their times, their order, their values.
//!
//! Not for how many there are. Invariant: the first row that is wrong is named, with what was expected.

use super::VerifyOptions;
use crate::store::{RowKind, RowMeta, Unit, UnitHeader};

pub(super) fn times_problem(options: VerifyOptions, unit: &Unit) -> Option<String> {
    let last_frame = unit.meta.iter().filter(|row| !row.missing).map(|row| row.last_frame).max();
    let (row, why) = unit.meta.iter().enumerate().find_map(|(i, row)| {
        let is_last = last_frame.is_none_or(|last| row.last_frame >= last);
        let outside = || outside_problem(&unit.header, row, is_last).filter(|_| !options.rows_outside_expected);
        Some((i, row_problem(&unit.header, row).or_else(outside)?))
    })?;
    Some(format!("{} {why}", described(row, &unit.meta[row])))
}

/// Windows follow one another in time; clips and sentences may overlap as they like.
pub(super) fn order_problem(unit: &Unit) -> Option<String> {
    if !matches!(unit.contract.row_kind, RowKind::Window | RowKind::FusedWindow) {
        return None;
    }
    // Frames are not compared: released code takes the frame before the first one for the last one.
    let ordered = |pair: &[RowMeta]| pair[0].start_sec <= pair[1].start_sec && pair[0].end_sec <= pair[1].end_sec;
    let row = 1 + unit.meta.windows(2).position(|pair| !ordered(pair))?;
    Some(format!("{} begins or ends before the row that precedes it", described(row, &unit.meta[row])))
}

fn described(row: usize, meta: &RowMeta) -> String {
    let RowMeta { first_frame, last_frame, start_sec, end_sec, .. } = meta;
    format!("row {row} ([{start_sec}, {end_sec}) s, frames {first_frame}..={last_frame})")
}

fn row_problem(header: &UnitHeader, row: &RowMeta) -> Option<String> {
    if !(row.start_sec.is_finite() && row.end_sec.is_finite() && row.start_sec <= row.end_sec) {
        return Some("ends before it begins".to_owned());
    }
    if row.first_frame > row.last_frame {
        return Some("has its last frame before its first".to_owned());
    }
    // A missing row may be missing because it lies past the end of the file.
    if !row.missing && header.source_frames > 0 && row.last_frame >= header.source_frames {
        return Some(format!("is outside of the video, which has {} frames", header.source_frames));
    }
    None
}

/// `is_last`: the row ends with the last frame of the unit.
fn outside_problem(header: &UnitHeader, row: &RowMeta, is_last: bool) -> Option<String> {
    let span = header.span?;
    // Clips are cut between frames, so a row may stick out by a frame on either side; a filled-up one by its padding. The
    // last frame may be shown for any time: where rates vary, a pause begins inside of a clip and ends long after it.
    let slack = 1.5 / header.source_fps;
    let ends_inside = row.padded || is_last || row.end_sec <= span.end_sec + slack;
    let inside = row.start_sec >= span.start_sec - slack && row.start_sec < span.end_sec + slack && ends_inside;
    (!inside).then(|| format!("is outside of the unit, which covers [{}, {}) s", span.start_sec, span.end_sec))
}

pub(super) fn value_problem(unit: &Unit, missing: bool, sound: fn(f32) -> bool) -> Option<String> {
    let rows = unit.meta.iter().zip(unit.features.outer_iter()).enumerate();
    rows.filter(|(_, (meta, _))| meta.missing == missing).find_map(|(row, (_, features))| {
        let column = features.iter().position(|&value| !sound(value))?;
        let expected = if missing { "NaN, for the row is flagged missing" } else { "a finite number" };
        Some(format!("row {row} feature {column} is {}, expected {expected}", features[column]))
    })
}
