//! NLQ as VSLNet's authors prepare it: its queries, and the positions of their windows.
//!
//! Everything is reckoned at 1.875 rows a second whatever the features' rate is, as the original does: labels are positions
//! among as many steps as the clip has features, over a duration made of 1.875ths of a second.

use super::error::LabelError;
use super::table::{cells, records_of};
use crate::benchmark::nlq::Place;
use crate::queries::{Queries, Query};
use crate::time::TimeSpan;

/// Rows per second in VSLNet's preparation: 30 frames a second, a stride of 16.
pub const ROWS_PER_SEC: f64 = 1.875;
/// Most positions of a clip, as EgoVLP and EgoVLPv2 set them.
pub const MAX_POSITIONS: usize = 256;

/// One query of NLQ with what VSLNet needs to know.
pub struct NlqQuery<'q> {
    /// As the table has it.
    pub query: Query<'q>,
    /// Its split.
    pub split: &'q str,
    /// The annotation that it belongs to.
    pub annotation_uid: String,
    /// Its number in that annotation, queries without a text counted.
    pub query_idx: i64,
    /// The window as annotated; zeros in a split without annotations.
    pub window: [f64; 2],
}

/// The queries that VSLNet would use, in the order of the table, and notes on those left out.
///
/// # Errors
/// [`LabelError::NoColumn`], [`LabelError::Record`]: the table is none of NLQ's.
pub fn nlq_queries<'q>(
    reader: &'static str,
    queries: &'q Queries,
) -> Result<(Vec<NlqQuery<'q>>, Vec<String>), LabelError> {
    let splits = cells(reader, queries, "split")?;
    let places: Vec<Place> = records_of(reader, queries, &["annotation_uid", "query_idx"])?;
    let (mut found, mut halves) = (Vec::new(), 0);
    for ((query, split), place) in queries.iter().zip(splits).zip(places) {
        let window = match (query.start_sec, query.end_sec) {
            (Some(start), Some(end)) => [start, end],
            (None, None) => [0.0, 0.0],
            _ => {
                halves += 1;
                continue;
            }
        };
        let Place { annotation_uid, query_idx } = place;
        found.push(NlqQuery { query, split, annotation_uid, query_idx, window });
    }
    let note = format!("{halves} queries whose window has one end only are left out");
    Ok((found, if halves > 0 { vec![note] } else { vec![] }))
}

/// Whole rows in an interval, at 1.875 a second.
pub fn rows_in(span: TimeSpan) -> i64 {
    (span.duration_sec() * ROWS_PER_SEC) as i64
}

/// Both ends cut down to whole rows. The original rounds the end up after it has cut it down, which does nothing.
pub fn timestamps(window: [f64; 2]) -> [i64; 2] {
    window.map(|sec| (sec * ROWS_PER_SEC) as i64)
}

/// Where a query's window lies in a clip of `v_len` features, as VSLNet's training records have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NlqLabel {
    /// Length of the clip in seconds, in whole rows.
    pub duration: f64,
    /// Start of the window in seconds, likewise.
    pub s_time: f64,
    /// End of the window in seconds, likewise.
    pub e_time: f64,
    /// Positions that the clip has.
    pub v_len: usize,
    /// First position of the label.
    pub s_ind: usize,
    /// Last position of the label, inclusive.
    pub e_ind: usize,
}

impl NlqLabel {
    /// Of a window in seconds, in a clip of `num_frames` 1.875ths of a second with `v_len` positions.
    pub fn new(window: [f64; 2], num_frames: i64, v_len: usize) -> Self {
        let duration = num_frames as f64 / ROWS_PER_SEC;
        let [start, end] = timestamps(window).map(|row| row as f64 / ROWS_PER_SEC);
        let (s_time, e_time) = (start.max(0.0), end.min(duration));
        let (s_ind, e_ind) = window_indices(s_time, e_time, v_len, duration);
        Self { duration, s_time, e_time, v_len, s_ind, e_ind }
    }
}

/// The positions `(first, last)` whose interval of time overlaps `[s_time, e_time]` best, among all pairs of `positions`
/// equal steps of `duration` seconds; the first of equals, row by row. A window of no length overlaps nothing: `(0, 0)`.
/// Steps are in single precision, as the original's are.
pub fn window_indices(s_time: f64, e_time: f64, positions: usize, duration: f64) -> (usize, usize) {
    let step = |i: usize| f64::from(i as f32 / positions as f32 * duration as f32);
    let edges: Vec<f64> = (0..=positions).map(step).collect();
    let (mut best, mut at) = (f64::NEG_INFINITY, (0, 0));
    for first in 0..positions {
        for last in 0..positions {
            let (start, end) = (edges[first], edges[last + 1]);
            let shared = (end.min(e_time) - start.max(s_time)).max(0.0);
            let hull = (end.max(e_time) - start.min(s_time)).max(1e-12);
            if shared / hull > best {
                (best, at) = (shared / hull, (first, last));
            }
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::features::{average, boundaries};

    #[test]
    fn both_ends_are_cut_down() {
        assert_eq!(timestamps([470.0, 480.1333]), [881, 900]);
    }

    #[derive(Deserialize)]
    struct Indexed {
        v_len: usize,
        duration: f64,
        s_time: f64,
        e_time: f64,
        s_ind: usize,
        e_ind: usize,
    }

    #[derive(Deserialize)]
    struct Resampled {
        n: usize,
        max_len: usize,
        boundaries: Option<Vec<usize>>,
        output_of_ramp_feature: Vec<f32>,
    }

    #[derive(Deserialize)]
    struct Golden {
        time_to_index: Vec<Indexed>,
        resample: Vec<Resampled>,
    }

    fn golden() -> Golden {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/convert/nlq_indexing.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// What the original code makes of the same windows.
    #[test]
    fn labels_are_those_of_the_original() {
        let cases = golden().time_to_index;
        assert!(cases.len() > 20 && cases.iter().any(|case| case.s_time == case.e_time));
        for case in cases {
            let found = window_indices(case.s_time, case.e_time, case.v_len, case.duration);
            assert_eq!(found, (case.s_ind, case.e_ind), "{} to {} of {}", case.s_time, case.e_time, case.v_len);
        }
    }

    #[test]
    fn means_are_those_of_the_original() {
        let cases = golden().resample;
        assert!(cases.iter().any(|case| case.n == 897 && case.max_len == 256));
        for Resampled { n, max_len, boundaries: edges, output_of_ramp_feature } in cases {
            if let Some(edges) = edges {
                assert_eq!(boundaries(n, max_len), edges, "{n} to {max_len}");
            }
            let ramp = ndarray::Array2::from_shape_fn((n, 1), |(row, _)| row as f32);
            let means = average(ramp.view(), max_len).into_raw_vec_and_offset().0;
            assert_eq!(means.len(), output_of_ramp_feature.len(), "{n} to {max_len}");
            let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4;
            assert!(!means.iter().zip(&output_of_ramp_feature).any(differs), "{n} to {max_len}");
        }
    }
}
