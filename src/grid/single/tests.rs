//! Single-window grids against golden data: frame lists obtained by running the original samplers.

use serde_json::Value;

use super::*;
use crate::grid::Grid;
use crate::time::{Fps, TimeBase};

/// Frames of a whole chunk of 600 seconds.
const CHUNK_FRAMES: u64 = 18_000;

fn golden(text: &str) -> Vec<Value> {
    serde_json::from_str::<Vec<Value>>(text).unwrap()
}

fn numbers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
}

fn at(fps: u32, frames: u64) -> Timeline {
    Timeline::constant(frames, Fps::new(fps, 1).unwrap()).unwrap()
}

fn span(start_sec: f64, end_sec: f64) -> TimeSpan {
    TimeSpan::new(start_sec, end_sec).unwrap()
}

fn one(grid: Grid, line: &Timeline, span: TimeSpan, compat: Compat) -> Window {
    let mut windows = grid.windows(line, span, compat);
    assert_eq!(windows.len(), 1, "{grid} has one window");
    let window = windows.remove(0);
    assert_eq!(window.frames.len(), grid.frames() as usize);
    assert!(window.start_sec < window.end_sec);
    window
}

/// The reader seeks one frame early, and at the border of two chunks it seeks in the wrong one.
#[test]
fn egoclip_shows_the_frames_that_the_original_reader_seeks() {
    let cases: Value = serde_json::from_str(include_str!("../../../tests/data/sampling/egoclip.json")).unwrap();
    let (mut shown, mut none, mut border) = (0, 0, false);
    for case in cases["cases"].as_array().unwrap() {
        let (start, end) = (case["clip_start"].as_f64().unwrap(), case["clip_end"].as_f64().unwrap());
        let frames = case["num_frames"].as_u64().unwrap() as u32;
        let Some(span) = TimeSpan::new(start.max(0.0), end) else { continue };
        // A video as long as its chunks; shorter ones within are not a whole file's.
        let chunks = case["chunk_frames"].as_object().unwrap();
        let (last, inner) = (chunks.iter().next_back().unwrap(), chunks.len() > 1);
        if inner && chunks.values().next().unwrap().as_u64() != Some(CHUNK_FRAMES) {
            continue;
        }
        let total = last.0.parse::<u64>().unwrap() * CHUNK_FRAMES + last.1.as_u64().unwrap();
        let windows = Grid::Egoclip { frames }.windows(&at(30, total), span, Compat::AsReleased);
        if case.get("error").is_some() {
            assert_eq!(windows, [], "{case}");
            none += 1;
            continue;
        }
        let seeks = case["seeks"].as_array().unwrap().iter().map(numbers);
        let mut expected: Vec<u64> = seeks.map(|s| s[0] as u64 * CHUNK_FRAMES + s[1].max(0) as u64).collect();
        border |= expected.windows(2).any(|pair| pair[1] < pair[0]);
        let short = expected.len() < frames as usize;
        expected.resize(frames as usize, *expected.last().unwrap());
        assert_eq!(windows[0].frames, expected, "{case}");
        assert!(!short || windows[0].padded);
        shown += 1;
    }
    assert!(shown >= 15 && none >= 1 && border, "{shown} {none} {border}");
}

#[test]
fn fixed_egoclip_shows_the_frame_that_was_meant_and_follows_the_clock() {
    let grid = Grid::Egoclip { frames: 4 };
    let (line, clip) = (at(30, 20_000), span(10.0, 11.0));
    assert_eq!(one(grid, &line, clip, Compat::Fixed).frames, [303, 310, 318, 325]);
    assert_eq!(one(grid, &line, clip, Compat::AsReleased).frames, [302, 309, 317, 324]);
    assert_eq!(one(grid, &line, span(599.9, 600.1), Compat::Fixed).frames, [17_997, 17_998, 18_000, 18_001]);
    let slow = one(grid, &at(25, 500), clip, Compat::Fixed);
    assert!(slow.frames.iter().all(|f| (250..275).contains(f)), "{slow:?}");
    let tiny = one(grid, &line, span(0.0, 0.02), Compat::Fixed);
    assert_eq!((tiny.frames.as_slice(), tiny.padded), ([0, 0, 0, 0].as_slice(), true));
    assert_eq!(grid.windows(&line, span(0.0, 0.02), Compat::AsReleased), [], "the original reads no frame");
}

#[test]
fn truncated_edges_cover_a_whole_video_and_a_clip_of_it() {
    let grid = Grid::Segments { frames: 4, edges: Edges::Truncated };
    let line = at(24, 241);
    let whole = span(0.0, line.end_sec());
    assert_eq!(one(grid, &line, whole, Compat::Fixed).frames, [29, 89, 149, 210]);
    assert_eq!(one(grid, &line, whole, Compat::AsReleased).frames, [28, 88, 148, 209], "OpenCV is one frame early");
    let clip = one(grid, &line, span(2.0, 4.0), Compat::Fixed);
    assert_eq!((clip.frames, clip.start_sec, clip.end_sec), (vec![53, 65, 77, 89], 2.0, 4.0));
    let past = one(grid, &line, span(9.0, 14.0), Compat::Fixed);
    assert!(past.frames.iter().any(|&f| f >= 241), "frames past the end are named, so that the row is missing");
    assert!(one(grid, &line, span(9.0, 14.0), Compat::AsReleased).frames.iter().all(|&f| f < 241));
}

/// `frame_%010d.jpg` counts from 1: a file's number is one more than its frame's index.
#[test]
fn epic_frame_numbers_name_image_files_that_count_from_one() {
    let grid = Grid::Segments { frames: 16, edges: Edges::Truncated };
    let window = one(grid, &at(60, 6000), span(24.97, 26.20), Compat::AsReleased);
    let files: Vec<i64> = window.frames.iter().map(|&f| f as i64 + 1).collect();
    assert_eq!(files, middles(&egoclip_edges(1498, 1572, 16)), "start_frame and stop_frame of the annotation");
}

#[test]
fn rounded_edges_equal_the_originals() {
    let clock = |text: &str| text.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap());
    for case in golden(include_str!("../../../tests/data/sampling/epic_v2.json")) {
        let fps = case["fps"].as_f64().unwrap();
        let [start, stop] = ["start", "stop"].map(|key| clock(case[key].as_str().unwrap()));
        let frames = case["num_frames"].as_u64().unwrap() as u32;
        assert_eq!(rounded_frame_list(fps * start, fps * stop, frames), numbers(&case["frame_ids"]), "{case}");
        if fps.fract() == 0.0 {
            let grid = Grid::Segments { frames, edges: Edges::Rounded };
            let window = one(grid, &at(fps as u32, 2000), span(start, stop), Compat::AsReleased);
            let shown: Vec<i64> = window.frames.iter().map(|&f| f as i64).collect();
            assert_eq!(shown, numbers(&case["frame_ids"]), "{case}");
        }
    }
}

/// 50 * 1.1 is 55.00000000000001, which the original rounds up to 56.
#[test]
fn fixed_rounded_edges_do_not_round_up_a_whole_number() {
    let grid = Grid::Segments { frames: 4, edges: Edges::Rounded };
    let shown = |compat| one(grid, &at(50, 2000), span(1.0, 1.1), compat).frames;
    assert_eq!(shown(Compat::AsReleased), [50, 51, 53, 54]);
    assert_eq!(shown(Compat::Fixed), [50, 51, 52, 53]);
    let usual = |compat| one(grid, &at(30, 2000), span(2.5, 12.99), compat).frames;
    assert_eq!(usual(Compat::Fixed), usual(Compat::AsReleased));
}

#[test]
fn keyframes_are_multiples_of_the_step_in_the_whole_video() {
    for case in golden(include_str!("../../../tests/data/sampling/keyframes.json")) {
        let (start, end) = (case["start"].as_u64().unwrap(), case["end"].as_u64().unwrap());
        let expected: Vec<u64> = numbers(&case["frames"]).into_iter().map(|n| n as u64).collect();
        assert_eq!(keyframe_list(start, end, 16), expected, "{case}");
        let clip = span(start as f64 / 30.0, end as f64 / 30.0);
        for compat in [Compat::Fixed, Compat::AsReleased] {
            assert_eq!(one(Grid::Keyframes { frames: 16 }, &at(30, 6000), clip, compat).frames, expected);
        }
    }
    assert_eq!(keyframe_list(100, 115, 16), [0_u64; 0], "fewer frames than are wanted");
    assert_eq!(Grid::Keyframes { frames: 16 }.windows(&at(30, 900), span(1.0, 1.2), Compat::Fixed), []);
}

/// A folder with the images of one clip has the numbers of the whole video, and starts late on its clock.
#[test]
fn keyframes_are_found_in_a_clips_own_images() {
    let line = Timeline::new((1000..1240).collect(), TimeBase { num: 1, den: 30 }, 0).unwrap();
    let window = one(Grid::Keyframes { frames: 16 }, &line, span(1000.0 / 30.0, 1240.0 / 30.0), Compat::Fixed);
    assert_eq!((window.frames[0], window.frames[15]), (5, 230), "frames 1005 and 1230 of the video");
}

#[test]
fn a_uniform_grid_of_one_frame_a_second_gives_the_shots_of_qfvs() {
    let shots = |frames: u64| {
        let grid = Grid::Uniform { fps: Fps::new(1, 1).unwrap(), frames: 5, stride: 5, tail: crate::grid::Tail::Drop };
        let line = at(1, frames);
        grid.windows(&line, span(0.0, line.end_sec()), Compat::Fixed)
    };
    assert_eq!(
        shots(23).iter().map(|w| w.frames.clone()).collect::<Vec<_>>(),
        [vec![0, 1, 2, 3, 4], vec![5, 6, 7, 8, 9], vec![10, 11, 12, 13, 14], vec![15, 16, 17, 18, 19]]
    );
    assert_eq!((shots(25).len(), shots(4).len()), (5, 0), "an incomplete last group is dropped");
}

#[test]
fn one_row_is_estimated_whatever_the_length() {
    for grid in [
        Grid::Egoclip { frames: 4 },
        Grid::Segments { frames: 16, edges: Edges::Rounded },
        Grid::Keyframes { frames: 16 },
    ] {
        assert!(grid.is_single() && grid.validate().is_ok());
        assert_eq!(
            (grid.estimate_rows(3.0, 30.0), grid.estimate_rows(3000.0, 30.0), grid.rows_per_sec(30.0)),
            (1, 1, 0.0)
        );
    }
    assert!(!Grid::Egovlp { frames: 4 }.is_single());
}

/// First and last frame that can be drawn from each segment.
fn drawable(grid: Grid, line: &Timeline, span: TimeSpan, compat: Compat) -> Option<[Vec<u64>; 2]> {
    let lowest = grid.drawn(line, span, compat, &mut |range| range.start)?;
    let highest = grid.drawn(line, span, compat, &mut |range| range.end - 1)?;
    Some([lowest.frames, highest.frames])
}

/// The original never draws the last frame of a segment, and has none to draw where a segment is a single frame.
#[test]
fn frames_are_drawn_from_each_segment_and_as_released_not_the_last_one() {
    let (line, clip, short) = (at(30, 18_000), span(10.0, 12.0), span(10.0, 10.2));
    let egoclip = Grid::Egoclip { frames: 4 };
    let frames = |low: [u64; 4], high: [u64; 4]| Some([low.to_vec(), high.to_vec()]);
    let released = frames([299, 314, 329, 344], [312, 327, 342, 357]);
    let fixed = frames([300, 315, 330, 345], [314, 329, 344, 359]);
    assert_eq!(drawable(egoclip, &line, clip, Compat::AsReleased), released);
    assert_eq!(drawable(egoclip, &line, clip, Compat::Fixed), fixed);
    assert_eq!(drawable(egoclip, &line, short, Compat::AsReleased), None);
    assert_eq!(drawable(egoclip, &line, short, Compat::Fixed), frames([300, 301, 303, 304], [300, 302, 303, 305]));
    let truncated = Grid::Segments { frames: 4, edges: Edges::Truncated };
    assert_eq!(drawable(truncated, &line, clip, Compat::AsReleased), released);
    assert_eq!(drawable(truncated, &line, clip, Compat::Fixed), fixed);
}

/// EgoVLPv2's EPIC-KITCHENS: neighbours share a frame, and every frame of a segment can be drawn.
#[test]
fn rounded_segments_share_their_ends() {
    let (line, grid) = (at(30, 18_000), Grid::Segments { frames: 4, edges: Edges::Rounded });
    let expected = Some([vec![300, 315, 330, 344], vec![315, 330, 344, 359]]);
    assert_eq!(drawable(grid, &line, span(10.0, 12.0), Compat::AsReleased), expected);
    assert_eq!(Grid::EgovlpV2 { frames: 4 }.drawn(&line, span(10.0, 12.0), Compat::Fixed, &mut |r| r.start), None);
}

/// Files of 300 seconds, the last of which has 1234 frames; the second one, of 8991, is taken for a whole one here.
#[test]
fn lavila_counts_frames_from_the_start_as_the_original_reader() {
    let cases: Value = serde_json::from_str(include_str!("../../../tests/data/sampling/lavila.json")).unwrap();
    let line = at(30, 2 * 9000 + 1234);
    let (mut seen, mut anew) = (0, 0);
    for case in cases["chunked"].as_array().unwrap() {
        let reads: Vec<(i64, Vec<i64>)> = case["reads"]
            .as_array()
            .unwrap()
            .iter()
            .map(|read| {
                let file = read[0].as_str().unwrap().rsplit('/').next().unwrap();
                (file.trim_end_matches(".mp4").parse::<i64>().unwrap() * 30, numbers(&read[1]))
            })
            .collect();
        let frames = case["frames"].as_u64().unwrap() as u32;
        let read_again = reads.len() == 2 && reads[0].0 == reads[1].0;
        if reads.len() > 1 && reads[0].0 == 9000 {
            continue;
        }
        let own = if read_again { &reads[1..] } else { &reads[..] };
        let expected: Vec<u64> =
            own.iter().flat_map(|(base, ids)| ids.iter().map(move |id| (base + id) as u64)).collect();
        if expected.len() != frames as usize {
            continue;
        }
        let seconds = ["start", "end"].map(|key| case[key].as_f64().unwrap());
        // Clips that begin before their video or end before they begin are none here.
        let Some(clip) = TimeSpan::new(seconds[0], seconds[1]) else { continue };
        let grid = Grid::Segments { frames, edges: Edges::Counted };
        assert_eq!(one(grid, &line, clip, Compat::AsReleased).frames, expected, "{case}");
        if !read_again {
            assert_eq!(one(grid, &line, clip, Compat::Fixed).frames, expected, "{case}");
        }
        seen += 1;
        anew += usize::from(read_again);
    }
    assert!(seen >= 16 && anew >= 2, "{seen} {anew}");
}

#[test]
fn lavila_reads_epic_kitchens_between_rounded_ends() {
    let cases: Value = serde_json::from_str(include_str!("../../../tests/data/sampling/lavila.json")).unwrap();
    let of = |case: &Value, key: &str| case[key].as_f64().unwrap();
    let rules = cases["frame_ids"].as_array().unwrap().iter().map(|case| (case, of(case, "start"), of(case, "end")));
    let epic = cases["epic"].as_array().unwrap();
    let epic = epic.iter().map(|case| (case, of(case, "start_frame"), of(case, "end_frame")));
    for (case, start, end) in rules.chain(epic) {
        let frames = case["segments"].as_u64().unwrap() as u32;
        assert_eq!(rounded_frame_list(start, end, frames), numbers(&case["ids"]), "{case}");
    }
    // Ends of Charades-Ego's videos stay fractions of a frame there, so that frames may be one off.
    for case in cases["charades"].as_array().unwrap() {
        let found = rounded_frame_list(0.0, of(case, "fps") * of(case, "length_column"), 16);
        assert!(found.iter().zip(numbers(&case["ids"])).all(|(found, id)| (found - id).abs() <= 1), "{case} {found:?}");
    }
}
