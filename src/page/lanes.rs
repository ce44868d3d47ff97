//! A unit on the time line of its video: where its rows are, and of which kind.
//!
//! Invariant: a line has at most as many runs as a screen has columns, and the worst of what falls into one of them.

use super::view::{Lane, Run, RunKind};
use crate::store::RowMeta;

/// Parts of a time line that are told apart.
const CELLS: usize = 500;

/// So much of a row may be missing between two before that is a gap.
const GAP_ROWS: f64 = 0.5;

fn kind(meta: &RowMeta) -> RunKind {
    match (meta.missing, meta.padded) {
        (true, _) => RunKind::Missing,
        (_, true) => RunKind::Padded,
        _ => RunKind::Rows,
    }
}

/// The line of a unit whose rows are `meta`, in a video that reaches to `end_sec`.
pub(super) fn lane(set: &str, unit_uid: &str, span: [f64; 2], end_sec: f64, meta: &[RowMeta]) -> Lane {
    let count = |of: fn(&RowMeta) -> bool| meta.iter().filter(|meta| of(meta)).count();
    Lane {
        set: set.to_owned(),
        unit_uid: unit_uid.to_owned(),
        span,
        runs: runs(end_sec, meta),
        rows: meta.len(),
        padded: count(|meta| meta.padded),
        missing: count(|meta| meta.missing),
        gaps: gaps(meta),
        absent: None,
    }
}

/// Times that lie between two rows and belong to none.
fn gaps(meta: &[RowMeta]) -> usize {
    let mut ends = f64::NEG_INFINITY;
    let mut found = 0;
    for row in meta {
        let length = row.end_sec - row.start_sec;
        found += usize::from(ends.is_finite() && row.start_sec - ends > GAP_ROWS * length);
        ends = ends.max(row.end_sec);
    }
    found
}

fn runs(end_sec: f64, meta: &[RowMeta]) -> Vec<Run> {
    if end_sec.is_nan() || end_sec <= 0.0 {
        return Vec::new();
    }
    let cell = end_sec / CELLS as f64;
    let mut cells: Vec<Option<RunKind>> = vec![None; CELLS];
    for row in meta.iter().filter(|row| row.end_sec > row.start_sec) {
        let first = ((row.start_sec / cell).round().max(0.0) as usize).min(CELLS - 1);
        let last = ((row.end_sec / cell).round().max(0.0) as usize).clamp(first + 1, CELLS);
        let kind = kind(row);
        cells[first..last].iter_mut().for_each(|cell| *cell = (*cell).max(Some(kind)));
    }
    let mut runs: Vec<Run> = Vec::new();
    for (at, kind) in cells.into_iter().enumerate() {
        let (from_sec, to_sec) = (at as f64 * cell, (at + 1) as f64 * cell);
        match (kind, runs.last_mut()) {
            (Some(kind), Some(run)) if run.kind == kind && run.to_sec >= from_sec - cell / 2.0 => run.to_sec = to_sec,
            (Some(kind), _) => runs.push(Run { from_sec, to_sec, kind }),
            (None, _) => {}
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(start_sec: f64, missing: bool, padded: bool) -> RowMeta {
        RowMeta { start_sec, end_sec: start_sec + 1.0, missing, padded, ..RowMeta::default() }
    }

    #[test]
    fn rows_side_by_side_are_one_run_and_other_kinds_and_gaps_end_it() {
        let rows: Vec<RowMeta> =
            [0.0, 1.0, 2.0, 5.0, 6.0, 7.0].map(|sec| row(sec, sec == 6.0, sec == 7.0)).into_iter().collect();
        let lane = lane("set", "u", [0.0, 10.0], 10.0, &rows);
        assert_eq!((lane.rows, lane.padded, lane.missing, lane.gaps), (6, 1, 1, 1));
        let found: Vec<_> = lane.runs.iter().map(|run| (run.from_sec.round(), run.to_sec.round(), run.kind)).collect();
        use RunKind::{Missing, Padded, Rows};
        assert_eq!(found, [(0.0, 3.0, Rows), (5.0, 6.0, Rows), (6.0, 7.0, Missing), (7.0, 8.0, Padded)]);
    }

    #[test]
    fn a_missing_row_among_thousands_is_still_seen() {
        let rows: Vec<RowMeta> = (0..7200).map(|sec| row(f64::from(sec), sec == 3000, false)).collect();
        let runs = lane("set", "u", [0.0, 7200.0], 7200.0, &rows).runs;
        assert_eq!(
            runs.iter().map(|run| run.kind).collect::<Vec<_>>(),
            [RunKind::Rows, RunKind::Missing, RunKind::Rows]
        );
    }

    #[test]
    fn rows_without_times_have_no_runs() {
        let rows = vec![RowMeta::default(); 3];
        let lane = lane("set", "u", [0.0, 0.0], 0.0, &rows);
        assert!(lane.runs.is_empty() && lane.gaps == 0 && lane.rows == 3);
    }
}
