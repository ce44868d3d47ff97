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
            let shown = |compat| -> Vec<(Vec<u64>, bool)> {
                grid.windows(&line, span(start, end), compat).into_iter().map(|w| (w.frames, w.padded)).collect()
            };
            assert_eq!(shown(Compat::Fixed), shown(Compat::AsReleased), "{start} {end} {frames}");
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

/// The starts of the first and last windows, as Ego4D's own sampler laid them.
#[test]
fn ego4d_windows_begin_where_the_original_sampler_begins_them() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/data/backbones/slowfast/info.json")).unwrap();
    let grid = Grid::Ego4d { frames: 32, stride: 16 };
    let windows = |frames: u64| {
        let line = at_30_fps(frames);
        grid.windows(&line, span(0.0, line.end_sec()), Compat::Fixed)
    };
    let clip: Vec<Vec<u64>> = windows(71).into_iter().map(|window| window.frames).collect();
    assert_eq!(serde_json::to_value(clip).unwrap(), golden["windows"]);
    // Shorter ones are an error in the original.
    let whole = |case: &&Value| case["frames"].as_u64().unwrap() >= 32;
    let cases: Vec<&Value> = golden["sampler"].as_array().unwrap().iter().filter(whole).collect();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let starts: Vec<u64> =
            windows(case["frames"].as_u64().unwrap()).iter().map(|window| window.frames[0]).collect();
        let expected = |key: &str| -> Vec<u64> {
            let starts = case[key].as_array().unwrap();
            starts.iter().map(|start| start.as_str().unwrap().parse().unwrap()).collect()
        };
        assert_eq!(starts.len() as u64, case["windows"].as_u64().unwrap(), "{case}");
        let (first, last) = (expected("first_starts"), expected("last_starts"));
        assert!(starts.starts_with(&first) && starts.ends_with(&last), "{case}: {starts:?}");
    }
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

/// A line of milliseconds: segments of so many frames at so many a second, and before each a pause of so many seconds.
fn segments(parts: &[(u64, f64, f64)]) -> Timeline {
    let (mut pts, mut sec) = (Vec::new(), 0.0);
    for &(frames, fps, pause) in parts {
        sec += pause;
        pts.extend((0..frames).map(|frame| ((sec + frame as f64 / fps) * 1e3).round() as i64));
        sec += frames as f64 / fps;
    }
    Timeline::new(pts, crate::time::TimeBase { num: 1, den: 1000 }, 0).unwrap()
}

/// Files whose frames are not even in time: a change of rate, a pause, rates that wander, a rate below that of the samples.
fn uneven() -> [Timeline; 4] {
    let wandering: Vec<_> = (0..40).map(|i| (10, [24.0, 30.0, 12.0, 50.0][i % 4], 0.0)).collect();
    [
        segments(&[(150, 15.0, 0.0), (300, 30.0, 0.0)]),
        segments(&[(60, 30.0, 0.0), (60, 30.0, 58.0)]),
        segments(&wandering),
        segments(&[(30, 5.0, 0.0), (20, 1.0, 0.0), (30, 3.0, 2.0)]),
    ]
}

fn every_grid() -> [Grid; 9] {
    [
        Grid::Egovlp { frames: 4 },
        Grid::EgovlpV2 { frames: 16 },
        Grid::Ego4d { frames: 32, stride: 16 },
        Grid::Uniform { fps: Fps::new(8, 1).unwrap(), frames: 4, stride: 4, tail: Tail::Drop },
        Grid::Uniform { fps: Fps::new(2, 1).unwrap(), frames: 5, stride: 5, tail: Tail::Pad },
        Grid::Egoclip { frames: 4 },
        Grid::Segments { frames: 16, edges: Edges::Truncated },
        Grid::Segments { frames: 16, edges: Edges::Rounded },
        Grid::Keyframes { frames: 16 },
    ]
}

/// Every frame of a row is on the screen at some time within it, whatever the rate does.
#[test]
fn fixed_rows_show_what_is_on_the_screen_in_their_time() {
    let mut seen = 0;
    for (line, grid) in uneven().iter().flat_map(|line| every_grid().map(|grid| (line, grid))) {
        assert!(!line.is_even());
        for clip in [span(0.0, line.end_sec()), span(3.3, 9.1), span(1.0, 1.9)] {
            for (i, row) in grid.windows(line, clip, Compat::Fixed).into_iter().enumerate() {
                let padding = matches!(grid, Grid::Uniform { tail: Tail::Pad, .. }) && row.padded;
                for &frame in row.frames.iter().filter(|_| !padding) {
                    let (shown, gone) = (line.sec(frame), line.sec(frame + 1));
                    // A thirtieth on either side: singles count on a clock, and begin with its ticks.
                    let slack = if grid.is_single() { 1.0 / 30.0 } else { 1e-3 };
                    let (from, to) = (row.start_sec - slack, row.end_sec + slack);
                    assert!(
                        shown < to && gone > from,
                        "{grid} row {i}: frame {frame} [{shown}, {gone}) in [{from}, {to})"
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10_000, "{seen}");
}

#[test]
fn fixed_rows_of_egovlp_are_where_their_numbers_say_at_any_rate() {
    let even = [at_30_fps(3000), Timeline::constant(120, Fps::new(1, 1).unwrap()).unwrap()];
    for (line, frames) in uneven().iter().chain(&even).flat_map(|line| [4, 16].map(|frames| (line, frames))) {
        for clip in [span(0.0, line.end_sec()), span(7.5, 17.5)] {
            let rows = Grid::Egovlp { frames }.windows(line, clip, Compat::Fixed);
            assert_eq!(rows.len() as u64, Grid::Egovlp { frames }.estimate_rows(clip.duration_sec(), 30.0));
            assert_eq!(rows[0].start_sec, clip.start_sec);
            for (i, row) in rows.iter().enumerate() {
                // The formula takes one sample more than fit, and spreads all of them over the clip.
                let late = row.start_sec - clip.start_sec - i as f64 / EGOVLP_WINDOWS_PER_SEC;
                assert!(
                    (-1.0 / (EGOVLP_WINDOWS_PER_SEC * f64::from(frames)) - 1e-9..=1e-9).contains(&late),
                    "{i}: {late}"
                );
            }
            assert!(rows.windows(2).all(|pair| pair[0].end_sec == pair[1].start_sec));
            assert!(rows[rows.len() - 1].end_sec <= clip.end_sec + 1e-9);
        }
    }
}

#[test]
fn ego4d_rows_are_consecutive_frames_at_their_own_times_at_any_rate() {
    for line in uneven() {
        let rows = Grid::Ego4d { frames: 1, stride: 1 }.windows(&line, span(0.0, line.end_sec()), Compat::Fixed);
        assert_eq!(rows.len() as u64, line.frames());
        for (i, row) in (0..).zip(&rows) {
            assert_eq!((&row.frames, row.padded), (&vec![i], false));
            assert_eq!((row.start_sec, row.end_sec), (line.sec(i), line.sec(i + 1)));
        }
    }
}

#[test]
fn in_a_pause_the_last_frame_stays_on_the_screen() {
    let line = &uneven()[1];
    let rows = Grid::Egovlp { frames: 4 }.windows(line, span(0.0, line.end_sec()), Compat::Fixed);
    let still: Vec<_> = rows.iter().filter(|row| row.start_sec > 2.0 && row.end_sec < 60.0).collect();
    assert!(still.len() > 100 && still.iter().all(|row| row.frames == [59; 4] && row.padded), "{still:?}");
    assert!(rows[rows.len() - 1].frames[0] > 110);
}

/// A file of 5 frames a second has none in most segments; the frame before a segment is gone by then.
#[test]
fn where_frames_are_fewer_than_samples_the_one_on_the_screen_is_shown() {
    let line = Timeline::constant(100, Fps::new(5, 1).unwrap()).unwrap();
    for row in (Grid::Egovlp { frames: 4 }).windows(&line, span(0.0, 20.0), Compat::Fixed) {
        let first = row.frames[0] as f64 / 5.0;
        assert!(first <= row.start_sec + 1e-9 && row.start_sec < first + 0.2 + 1e-9, "{row:?}");
    }
}

/// A store of schema 2 is gone on with as it was begun.
#[test]
fn by_frames_rows_of_egovlp_are_even_in_frames() {
    let line = &uneven()[0];
    let rows = Grid::Egovlp { frames: 4 }.windows_at(Pace::Frames, line, span(0.0, 20.0), Compat::Fixed);
    assert_eq!((rows.len(), rows[13].frames.as_slice()), (37, [156, 159, 162, 165].as_slice()));
    assert!((10.1..10.3).contains(&rows[13].start_sec), "the clock says 6.95: {:?}", rows[13]);
    let by_clock = &Grid::Egovlp { frames: 4 }.windows(line, span(0.0, 20.0), Compat::Fixed)[13];
    assert!((by_clock.start_sec - 13.0 * 80.0 / 150.0).abs() < 1e-9 && by_clock.frames[0] == 104, "{by_clock:?}");
}

/// On files whose frames are even the clock changes no frame.
#[test]
fn on_even_files_the_clock_shows_the_same_frames() {
    for (fps, frames) in [((30, 1), 900), ((30_000, 1001), 900), ((25, 1), 800), ((60, 1), 2000), ((24, 1), 700)] {
        let line = Timeline::constant(frames, Fps::new(fps.0, fps.1).unwrap()).unwrap();
        let sparse = |grid: &Grid| matches!(grid, Grid::EgovlpV2 { frames: 16 }) && line.mean_fps() < 29.92;
        for grid in every_grid().into_iter().filter(|grid| !sparse(grid)) {
            for clip in [span(0.0, line.end_sec()), span(3.3, 9.1), span(10.0, 12.0), span(20.0, 45.0)] {
                let shown = |pace| -> Vec<(Vec<u64>, bool)> {
                    let windows = grid.windows_at(pace, &line, clip, Compat::Fixed);
                    windows.into_iter().map(|window| (window.frames, window.padded)).collect()
                };
                assert_eq!(shown(Pace::Clock), shown(Pace::Frames), "{grid} {fps:?} {clip:?}");
            }
        }
    }
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
