//! GoalStep, steps of procedures: `goalstep_train.json`, `goalstep_valid.json`, `goalstep_test.json` (`goalstep_val.json` in Ego4D's download).
//!
//! A unit is a whole video, which may be one of the grouped videos (`grp-...`); a query is a step or a step within a step, with
//! its times in the video, as the authors' baseline (`parse_goalstep_jsons.py`) has them. The test file has steps without times,
//! each once with the number of its segments. Not for goals, which only stand beside the steps.

use serde::Deserialize;

use super::builder::{Builder, Extent, NO_CLIP, Unit, name_of, split_of};
use super::json::{self, Cell};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "goalstep",
    about: "whole videos and steps of Ego4D GoalStep",
    needs: Needs {
        annotations: Need::Required(
            "goalstep_train.json, goalstep_valid.json or goalstep_test.json (--annotations FILE)",
        ),
        videos: super::PRESENT_ONLY,
    },
    build,
};

const COLUMNS: [&str; 7] =
    ["level", "step_category", "is_relevant", "is_continued", "goal_category", "goal_description", "segment_count"];

#[derive(Deserialize)]
struct File {
    split: Option<String>,
    videos: Vec<Video>,
}

#[derive(Deserialize)]
struct Video {
    video_uid: String,
    #[serde(default)]
    goal_category: Cell,
    #[serde(default)]
    goal_description: Cell,
    segments: Option<Vec<Segment>>,
    /// Of the test.
    step_segments: Option<Vec<Segment>>,
}

/// Steps within a step are left out where there are none.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Segment {
    start_time: Option<f64>,
    end_time: Option<f64>,
    step_category: Cell,
    step_description: Option<String>,
    is_relevant: Cell,
    is_continued: Cell,
    segment_count: Cell,
    segments: Option<Vec<Segment>>,
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    for path in BENCHMARK.annotations(sources)? {
        let file: File = json::read(path)?;
        let split = split_of(path, file.split.as_deref());
        for (number, video) in file.videos.iter().enumerate() {
            let at = format!("{}: videos[{number}]", name_of(path));
            add_video(&mut builder, &at, video, split);
        }
    }
    builder.finish(sources)
}

fn add_video(builder: &mut Builder, at: &str, video: &Video, split: &str) {
    let unit = Unit { video_uid: &video.video_uid, clip_uid: &video.video_uid, extent: Extent::Whole, split };
    let steps = || video.segments.iter().flatten().chain(video.step_segments.iter().flatten());
    let Some(clip_uid) = builder.unit(at, &unit) else {
        return steps().for_each(|_| builder.tally.drop(NO_CLIP, at));
    };
    for (number, step) in steps().enumerate() {
        let at = format!("{at}.segments[{number}]");
        let id = format!("{clip_uid}_{number}");
        add_step(builder, &at, (&clip_uid, video, split), "step", (&id, step));
        for (number, within) in step.segments.iter().flatten().enumerate() {
            let at = format!("{at}.segments[{number}]");
            add_step(builder, &at, (&clip_uid, video, split), "substep", (&format!("{id}_{number}"), within));
        }
    }
}

fn add_step(
    builder: &mut Builder,
    at: &str,
    (clip_uid, video, split): (&ClipUid, &Video, &str),
    level: &str,
    (id, step): (&str, &Segment),
) {
    let Some(text) = step.step_description.as_deref().map(str::trim).filter(|text| !text.is_empty()) else {
        return builder.tally.drop("steps without a description", at);
    };
    builder.note_window(at, step.start_time, step.end_time, None);
    let query = Query { id, clip_uid, text, start_sec: step.start_time, end_sec: step.end_time };
    let own = [&step.step_category, &step.is_relevant, &step.is_continued].map(Cell::as_str);
    let goal = [&video.goal_category, &video.goal_description].map(Cell::as_str);
    let cells = [split, level, own[0], own[1], own[2], goal[0], goal[1], step.segment_count.as_str()];
    builder.query(at, query, &cells);
}

#[cfg(test)]
mod tests {
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn steps_and_steps_within_them_are_queries_about_whole_videos() {
        let built = built(&BENCHMARK, &["goalstep_valid.json", "goalstep_test.json"]).unwrap();
        let expected = ["video-1 video-1 whole val", "grp-video-2 grp-video-2 whole val", "video-3 video-3 whole test"];
        assert_eq!(lines(&built), expected);
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.text, query.start_sec, query.end_sec)).collect();
        let expected = [
            ("video-1_0", "Toast bread", Some(0.0), Some(56.99209)),
            ("video-1_0_0", "preheat the stove-top", Some(0.0), Some(13.135)),
            ("video-1_0_2", "toast bread", Some(20.5), Some(20.5)),
            ("video-1_1", "Make omelet", Some(57.1), Some(301.25)),
            ("grp-video-2_0", "cut the wood", Some(6.5), Some(2.0)),
            ("video-3_0", "slice broccoli", None, None),
            ("video-3_1", "stir pasta", None, None),
        ];
        assert_eq!(rows, expected);
        let column = |name| queries.column(name).unwrap().collect::<Vec<_>>();
        assert_eq!(column("level"), ["step", "substep", "substep", "step", "step", "step", "step"]);
        assert_eq!(column("segment_count"), ["", "", "", "", "", "1", "3"]);
        assert_eq!(column("goal_category")[3], "COOKING:MAKE_OMELET");
        let reasons =
            [("steps without a description", 1), ("clips whose uid could not be a file's name", 1), (NO_CLIP, 1)];
        assert_eq!(dropped(&built), reasons);
        assert_eq!(kept(&built), [("windows that hold nothing", 1), ("windows that end before they start", 1)]);
    }

    #[test]
    fn a_time_of_another_type_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("goalstep_train.json");
        std::fs::write(&path, r#"{"videos": [{"video_uid": "v", "segments": [{"start_time": "0"}]}]}"#).unwrap();
        let sources = Sources { annotations: vec![path], ..Sources::default() };
        let error = build(&sources).unwrap_err().to_string();
        assert!(
            error.contains("goalstep_train.json: videos[0].segments[0].start_time: invalid type: string"),
            "{error}"
        );
    }
}
