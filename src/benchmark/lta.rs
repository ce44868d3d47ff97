//! LTA, long-term action anticipation: `fho_lta_train.json`, `fho_lta_val.json` and the test file.
//!
//! A unit is a clip of about five minutes, a query an action in it, in seconds of the clip, with its verb and noun and their
//! numbers; the test has none. Not for which actions are seen and which foretold: that goes by `action_idx` in the head.

use serde::Deserialize;

use super::builder::{Builder, Extent, NO_CLIP, REPEATED, Unit, name_of, split_of};
use super::json::{self, Cell};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "lta",
    about: "clips and actions of Ego4D's long-term anticipation",
    needs: Needs {
        annotations: Need::Required("fho_lta_train.json, fho_lta_val.json or the test file (--annotations FILE)"),
        videos: super::PRESENT_ONLY,
    },
    build,
};

const COLUMNS: [&str; 7] =
    ["action_idx", "verb", "noun", "verb_label", "noun_label", "action_clip_start_frame", "action_clip_end_frame"];

#[derive(Deserialize)]
struct File {
    split: Option<String>,
    clips: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    video_uid: String,
    clip_uid: String,
    clip_parent_start_sec: Option<f64>,
    clip_parent_end_sec: Option<f64>,
    action_clip_start_sec: Option<f64>,
    action_clip_end_sec: Option<f64>,
    #[serde(default)]
    action_clip_start_frame: Cell,
    #[serde(default)]
    action_clip_end_frame: Cell,
    #[serde(default)]
    action_idx: Cell,
    #[serde(default)]
    verb: Cell,
    #[serde(default)]
    noun: Cell,
    #[serde(default)]
    verb_label: Cell,
    #[serde(default)]
    noun_label: Cell,
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    for path in BENCHMARK.annotations(sources)? {
        let file: File = json::read(path)?;
        let split = split_of(path, file.split.as_deref());
        for (number, action) in file.clips.iter().enumerate() {
            add(&mut builder, &format!("{}: clips[{number}]", name_of(path)), action, split);
        }
    }
    // A clip is listed once for each of its actions.
    builder.tally.kept.retain(|finding| finding.reason != REPEATED);
    builder.finish(sources)
}

fn add(builder: &mut Builder, at: &str, action: &Action, split: &str) {
    let extent = Extent::Seconds(action.clip_parent_start_sec, action.clip_parent_end_sec);
    let unit = Unit { video_uid: &action.video_uid, clip_uid: &action.clip_uid, extent, split };
    let Some(clip_uid) = builder.unit(at, &unit) else { return builder.tally.drop(NO_CLIP, at) };
    let (start_sec, end_sec) = (action.action_clip_start_sec, action.action_clip_end_sec);
    if action.action_idx.as_str().is_empty() {
        return builder.tally.drop("actions without a number", at);
    }
    let length_sec = action.clip_parent_end_sec.zip(action.clip_parent_start_sec).map(|(end, start)| end - start);
    builder.note_window(at, start_sec, end_sec, length_sec);
    let id = format!("{clip_uid}_{}", action.action_idx.as_str());
    let text = format!("{} {}", action.verb.as_str(), action.noun.as_str());
    let query = Query { id: &id, clip_uid: &clip_uid, text: text.trim(), start_sec, end_sec };
    let own = [&action.action_idx, &action.verb, &action.noun, &action.verb_label, &action.noun_label];
    let own = own.map(Cell::as_str);
    let frames = [&action.action_clip_start_frame, &action.action_clip_end_frame].map(Cell::as_str);
    builder.query(at, query, &[split, own[0], own[1], own[2], own[3], own[4], frames[0], frames[1]]);
}

#[cfg(test)]
mod tests {
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn actions_are_queries_about_their_clips() {
        let built = built(&BENCHMARK, &["fho_lta_val.json", "fho_lta_test_unannotated.json"]).unwrap();
        assert_eq!(lines(&built), ["video-1 clip-1 0 300.0333 val", "video-2 clip-2 300 600 test"]);
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.text, query.start_sec)).collect();
        let expected = [
            ("clip-1_0", "take knife", Some(3.7)),
            ("clip-1_1", "cut_(trim,_slice,_chop) onion", Some(12.0)),
            ("clip-2_0", "", Some(1.0)),
        ];
        assert_eq!(rows, expected);
        assert_eq!(queries.column("noun_label").unwrap().collect::<Vec<_>>(), ["264", "320", ""]);
        assert_eq!(queries.column("action_clip_end_frame").unwrap().next(), Some("351"));
        let reasons =
            [("actions without a number", 1), ("clips whose uid names another interval already", 1), (NO_CLIP, 1)];
        assert_eq!(dropped(&built), reasons);
        assert_eq!(kept(&built), [("windows that end behind their clip", 1)]);
    }
}
