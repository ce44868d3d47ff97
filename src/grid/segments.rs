//! Equal segments of an interval of frames, one frame picked from each: the arithmetic that all samplers of EgoVLP share.
//!
//! Not for where the interval comes from. Invariant: numbers are computed as numpy computed them (`linspace` in float64,
//! truncated towards zero), so that lists equal the originals' exactly. Source: `sample_frames*` in
//! `base/base_dataset.py` of EgoVLP.

use std::ops::Range;

/// The edges `g_0..=g_n` of `segments` equal segments between frame positions `start` and `end`: numpy's `linspace`
/// (k * step + start, the last one exactly `end`), truncated towards zero. They descend where `end` is before `start`.
pub fn edges(segments: u64, start: f64, end: f64) -> Vec<i64> {
    positions(segments, start, end).map(|position| position as i64).collect()
}

/// The same edges before they are truncated.
pub fn positions(segments: u64, start: f64, end: f64) -> impl Iterator<Item = f64> {
    let step = (end - start) / segments as f64;
    (0..=segments).map(move |k| if k == segments { end } else { k as f64 * step + start })
}

/// The edges over which EgoVLP spreads `frames` frames of a narrated clip: as many segments, or `end_frame` if that is
/// less (as in the original, which compares with the end and not with the length).
pub fn egoclip_edges(start_frame: u64, end_frame: u64, frames: u32) -> Vec<i64> {
    edges(u64::from(frames).min(end_frame), start_frame as f64, end_frame as f64)
}

/// Uniform picking: the middle of `[g_k, g_{k+1} - 1]` of each segment, rounded down. -1 is possible where a segment is
/// empty at frame 0.
pub fn middles(edges: &[i64]) -> Vec<i64> {
    edges.windows(2).map(|g| middle(g[0], g[1])).collect()
}

/// The middle of `[start, end - 1]`, rounded down.
pub fn middle(start: i64, end: i64) -> i64 {
    // Where both are as large as integers are, so is the middle.
    (i128::from(start) + i128::from(end) - 1).div_euclid(2) as i64
}

/// Random picking: the frames `[g_k, g_{k+1} - 1)` of each segment from which one is drawn. The last frame of a segment is
/// never drawn, as in the original.
///
/// `None` if any of them is empty: the original raises, and trains on a black clip instead. Clips of fewer than two frames
/// a segment (8 frames for 4) are such.
pub fn draws(edges: &[i64]) -> Option<Vec<Range<i64>>> {
    let ranges: Vec<Range<i64>> = edges.windows(2).map(|g| g[0]..g[1].saturating_sub(1)).collect();
    ranges.iter().all(|range| !range.is_empty()).then_some(ranges)
}

/// Fixed picking: the frame `offset` frames after the start of each segment.
pub fn offsets(edges: &[i64], offset: i64) -> Vec<i64> {
    edges[..edges.len().saturating_sub(1)].iter().map(|start| start.saturating_add(offset)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn cases(text: &str, rule: &str) -> Vec<Value> {
        let golden: Value = serde_json::from_str(text).unwrap();
        golden[rule].as_array().unwrap().clone()
    }

    fn frames(case: &Value) -> Vec<i64> {
        case["frames"].as_array().unwrap().iter().map(|frame| frame.as_i64().unwrap()).collect()
    }

    fn number(case: &Value, field: &str) -> f64 {
        case[field].as_f64().unwrap()
    }

    const RULES: &str = include_str!("../../tests/data/sampling/index_rules.json");

    #[test]
    fn frames_of_a_whole_file_equal_the_originals() {
        let cases = cases(RULES, "sample_frames");
        assert_eq!(cases.len(), 58);
        for case in cases {
            let vlen = case["vlen"].as_u64().unwrap();
            let edges = egoclip_edges(0, vlen, case["num_frames"].as_u64().unwrap() as u32);
            let picked = match case["fix_start"].as_i64() {
                Some(offset) => offsets(&edges, offset),
                None => middles(&edges),
            };
            assert_eq!(picked, frames(&case), "{case}");
        }
    }

    #[test]
    fn frames_between_two_frames_equal_the_originals() {
        let cases = cases(RULES, "sample_frames_start_end");
        assert_eq!(cases.len(), 42);
        for case in cases {
            let at = |field: &str| case[field].as_u64().unwrap();
            let picked = middles(&egoclip_edges(at("start"), at("end"), at("num_frames") as u32));
            assert_eq!(picked, frames(&case), "{case}");
        }
    }

    #[test]
    fn frames_of_clips_of_a_file_equal_the_originals() {
        let cases = cases(RULES, "sample_frames_clips");
        assert_eq!(cases.len(), 12);
        for case in cases {
            let (samples, end) = (number(&case, "acc_samples") as u64, number(&case, "end").min(number(&case, "vlen")));
            let picked = middles(&edges(samples, number(&case, "start").max(0.0), end));
            assert_eq!(picked, frames(&case), "{case}");
        }
    }

    #[test]
    fn random_ranges_equal_the_originals_and_short_clips_have_none() {
        let cases = cases(include_str!("../../tests/data/sampling/random_ranges.json"), "cases");
        assert_eq!(cases.len(), 9);
        for case in cases {
            let at = |field: &str| case[field].as_u64().unwrap();
            let drawn = draws(&egoclip_edges(at("start"), at("end"), at("num_frames") as u32));
            let golden: Vec<Range<i64>> =
                serde_json::from_value::<Vec<[i64; 2]>>(case["ranges_upper_exclusive"].clone())
                    .unwrap()
                    .into_iter()
                    .map(|[low, high]| low..high)
                    .collect();
            let raises = case["raises"].as_bool().unwrap();
            assert_eq!(drawn, (!raises).then_some(golden), "{case}");
        }
    }
}
