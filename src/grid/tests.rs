//! The grids against golden data: frame lists obtained by running the original samplers.

use serde_json::Value;

use super::*;

const WINDOWS: &str = include_str!("../../tests/data/sampling/windows.json");
const NLQ_VAL: &str = include_str!("../../tests/data/sampling/nlq_val_windows.json");

fn at_30_fps(frames: u64) -> Timeline {
    Timeline::constant(frames, Fps::new(30, 1).unwrap()).unwrap()
}

fn span(start_sec: f64, end_sec: f64) -> TimeSpan {
    TimeSpan::new(start_sec, end_sec).unwrap()
}

fn integers(value: &Value) -> Option<Vec<i64>> {
    value.as_array().map(|list| list.iter().map(|v| v.as_i64().unwrap()).collect())
}

#[test]
fn egovlp_frame_lists_equal_the_originals() {
    let golden: Value = serde_json::from_str(WINDOWS).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 40);
    for case in cases {
        let (start, end) = (case["start"].as_f64().unwrap(), case["end"].as_f64().unwrap());
        let (vlen, nf) = (case["vlen"].as_u64().unwrap(), case["num_frames"].as_u64().unwrap() as u32);
        let list = egovlp_frame_list(span(start, end), vlen, nf);
        assert_eq!(list.len() as u64, case["count"].as_u64().unwrap(), "{case}");
        assert_eq!(list.iter().sum::<i64>(), case["sum"].as_i64().unwrap(), "{case}");
        let weighted: i64 = list.iter().zip(0..).map(|(f, k): (&i64, i64)| f * ((31 * k) % 101)).sum();
        assert_eq!(weighted, case["weighted_sum"].as_i64().unwrap(), "{case}");
        if let Some(frames) = integers(&case["frames"]) {
            assert_eq!(list, frames);
        } else {
            assert_eq!(list[..24], integers(&case["first_24"]).unwrap());
            assert_eq!(list[list.len() - 24..], integers(&case["last_24"]).unwrap());
        }
        let windows = Grid::Egovlp { frames: nf }.windows(&at_30_fps(vlen), span(start, end), Compat::AsReleased);
        assert_eq!(windows.len() as u64, case["windows"].as_u64().unwrap(), "{case}");
        let wrapped = |&i: &i64| if i < 0 { vlen - 1 } else { i as u64 };
        let flat: Vec<u64> = windows.iter().flat_map(|w| w.frames.clone()).collect();
        assert_eq!(flat, list[..flat.len()].iter().map(wrapped).collect::<Vec<_>>());
    }
}

#[test]
fn all_328_nlq_validation_clips_have_the_published_number_of_windows() {
    let golden: Value = serde_json::from_str(NLQ_VAL).unwrap();
    let rows = golden["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 328);
    let agree = |frames: u32| {
        let grid = Grid::Egovlp { frames };
        rows.iter().filter(move |r| {
            let span = span(r[0].as_f64().unwrap(), r[1].as_f64().unwrap());
            grid.estimate_rows(span.duration_sec(), 30.0) == r[2].as_u64().unwrap()
        })
    };
    assert_eq!(agree(4).count() as u64, golden["original_code_agrees_with_4_frame_windows"].as_u64().unwrap());
    assert_eq!(agree(16).count() as u64, golden["original_code_agrees_with_16_frame_windows"].as_u64().unwrap());
    // The windows themselves, on the longest clips that a test can afford.
    for r in rows.iter().take(40) {
        let span = span(r[0].as_f64().unwrap(), r[1].as_f64().unwrap());
        let line = at_30_fps((span.end_sec * 30.0).ceil() as u64);
        let windows = Grid::Egovlp { frames: 4 }.windows(&line, span, Compat::Fixed);
        assert_eq!(windows.len() as u64, r[2].as_u64().unwrap());
    }
}

#[test]
fn fixed_equals_as_released_on_whole_30_fps_files() {
    for (start, end) in [(0.0, 480.0), (480.0, 960.0), (10.0, 12.0), (31.7, 361.2332), (0.0210286, 480.0210286)] {
        for frames in [4, 16] {
            let grid = Grid::Egovlp { frames };
            let line = at_30_fps(30_000);
            let fixed = grid.windows(&line, span(start, end), Compat::Fixed);
            assert_eq!(fixed, grid.windows(&line, span(start, end), Compat::AsReleased), "{start} {end} {frames}");
        }
    }
}

#[test]
fn fixed_follows_the_clock_of_a_25_fps_file_where_the_original_assumes_30() {
    let line = Timeline::constant(325, Fps::new(25, 1).unwrap()).unwrap();
    let last = |compat| Grid::Egovlp { frames: 4 }.windows(&line, span(0.0, 6.0), compat).last().unwrap().frames[3];
    assert!((140..150).contains(&last(Compat::Fixed)), "6 s are 150 frames at 25 fps");
    assert!((168..180).contains(&last(Compat::AsReleased)), "and 180 if 30 fps are assumed");
}

#[test]
fn a_short_file_is_squeezed_as_released_and_told_apart_when_fixed() {
    let grid = Grid::Egovlp { frames: 4 };
    let squeezed = grid.windows(&at_30_fps(60), span(0.0, 3.0), Compat::AsReleased);
    let fixed = grid.windows(&at_30_fps(60), span(0.0, 3.0), Compat::Fixed);
    assert_eq!((squeezed.len(), fixed.len()), (5, 5));
    assert!(squeezed.iter().all(|w| w.frames.iter().all(|&f| f < 60)));
    assert!(fixed[4].frames.iter().all(|&f| f >= 60), "rows of the third second name frames that are not there");
}

#[test]
fn frame_minus_one_wraps_as_released_and_is_flagged() {
    let grid = Grid::Egovlp { frames: 4 };
    let released = &grid.windows(&at_30_fps(10), span(0.0, 3.0), Compat::AsReleased)[0];
    assert_eq!((released.frames.as_slice(), released.padded), ([9, 9, 0, 0].as_slice(), true));
}

#[test]
fn ego4d_windows_equal_the_official_count_and_end_at_the_last_frame() {
    let official = |n: u64| if n < 32 { 1 } else { (n - 32) / 16 + 1 + u64::from(!(n - 32).is_multiple_of(16)) };
    let grid = Grid::Ego4d { frames: 32, stride: 16 };
    for n in 1..400 {
        let windows = grid.windows(&at_30_fps(n), span(0.0, n as f64 / 30.0), Compat::Fixed);
        assert_eq!(windows.len() as u64, official(n), "{n} frames");
        assert_eq!(grid.estimate_rows(n as f64 / 30.0, 30.0), official(n), "{n} frames, estimated");
        let last = windows.last().unwrap();
        assert_eq!(last.frames[31], n - 1);
        assert_eq!(last.padded, n < 32);
    }
    let windows = grid.windows(&at_30_fps(39), span(0.0, 1.3), Compat::Fixed);
    let ends: Vec<_> = windows.iter().map(|w| (w.frames[0], w.frames[31])).collect();
    assert_eq!(ends, [(0, 31), (7, 38)], "the example of the official documentation");
}

#[test]
fn a_uniform_grid_picks_by_time_and_obeys_its_tail() {
    let line = Timeline::constant(75, Fps::new(25, 1).unwrap()).unwrap();
    let rows = |tail| {
        let grid = Grid::Uniform { fps: Fps::new(5, 1).unwrap(), frames: 4, stride: 4, tail };
        grid.windows(&line, span(0.0, 3.0), Compat::Fixed)
    };
    assert_eq!(rows(Tail::Drop).iter().map(|w| w.frames[0]).collect::<Vec<_>>(), [0, 20, 40]);
    assert_eq!(rows(Tail::Drop)[0].frames, [0, 5, 10, 15]);
    assert_eq!(rows(Tail::Backpad)[3].frames, [55, 60, 65, 70]);
    assert_eq!((rows(Tail::Pad)[3].frames.as_slice(), rows(Tail::Pad)[3].padded), ([60, 65, 70, 70].as_slice(), true));
    for tail in [Tail::Drop, Tail::Backpad, Tail::Pad] {
        let grid = Grid::Uniform { fps: Fps::new(5, 1).unwrap(), frames: 4, stride: 4, tail };
        assert_eq!(grid.estimate_rows(3.0, 25.0), rows(tail).len() as u64);
    }
}

#[test]
fn a_uniform_grid_on_a_variable_rate_shows_what_was_on_screen() {
    let base = crate::time::TimeBase { num: 1, den: 1000 };
    let line = Timeline::new(vec![0, 100, 200, 1500, 1600, 1900], base, 0).unwrap();
    let grid = Grid::Uniform { fps: Fps::new(2, 1).unwrap(), frames: 1, stride: 1, tail: Tail::Drop };
    let picked: Vec<u64> = grid.windows(&line, span(0.0, 2.0), Compat::Fixed).iter().map(|w| w.frames[0]).collect();
    assert_eq!(picked, [0, 2, 2, 3]);
}

#[test]
fn degenerate_grids_are_refused() {
    assert!(Grid::Egovlp { frames: 0 }.validate().is_err());
    assert!(Grid::Ego4d { frames: 32, stride: 0 }.validate().is_err());
    assert!(Grid::Ego4d { frames: 32, stride: 16 }.validate().is_ok());
}

#[test]
fn the_zero_tail_is_egovlps_own_and_only_as_released() {
    let (v1, v2) = (Grid::Egovlp { frames: 4 }, Grid::EgovlpV2 { frames: 4 });
    assert_eq!([897, 896, 3].map(|rows| v1.zero_rows(rows, Compat::AsReleased)), [1, 0, 3]);
    assert_eq!((v1.zero_rows(897, Compat::Fixed), v2.zero_rows(897, Compat::AsReleased)), (0, 0));
    let line = at_30_fps(14_400);
    let windows = |grid: Grid| grid.windows(&line, span(0.0, 480.0), Compat::AsReleased);
    assert_eq!((windows(v1).len(), windows(v1) == windows(v2)), (897, true));
}
