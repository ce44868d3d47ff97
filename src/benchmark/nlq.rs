//! NLQ, natural language queries: `nlq_train.json`, `nlq_val.json`, `nlq_test_unannotated.json`, of version 1 or 2.
//!
//! A unit is a clip, a query a sentence with its window in the clip. Not for what a head makes of windows: empty ones and
//! those that run past the clip stay as annotated. A query is named by its place in the original list, so that what is
//! dropped renumbers nothing.

use std::path::Path;

use serde::Deserialize;

use super::builder::{Builder, Extent, Unit, name_of, split_of};
use super::episodic::{ClipEntry, File, VideoEntry};
use super::json::{self, Cell};
use super::record::{Record, RecordError, Row};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "nlq",
    about: "clips and sentences of Ego4D's natural language queries",
    needs: Needs {
        annotations: Need::Required("nlq_train.json, nlq_val.json or nlq_test_unannotated.json (--annotations FILE)"),
        videos: super::PRESENT_ONLY,
    },
    build,
};

const COLUMNS: [&str; 8] =
    ["annotation_uid", "query_idx", "template", "slot_x", "verb_x", "slot_y", "verb_y", "answer"];

/// What a query says beside its sentence and its window: where it stands in the file, which the challenge's submissions name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The annotation that it belongs to.
    pub annotation_uid: String,
    /// Its number in that annotation, queries without a text counted.
    pub query_idx: i64,
}

impl Record for Place {
    fn read(row: Row<'_>) -> Result<Self, RecordError> {
        let [annotation_uid, query_idx, ..] = COLUMNS;
        Ok(Self {
            annotation_uid: row.text(annotation_uid)?.to_owned(),
            query_idx: row.value(query_idx, "a whole number")?,
        })
    }
}

#[derive(Deserialize)]
pub(crate) struct Annotation {
    pub(crate) annotation_uid: String,
    pub(crate) language_queries: Option<Vec<LanguageQuery>>,
}

/// All of it may be missing: the test file has sentences only, and a few entries lack even those.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct LanguageQuery {
    pub(crate) query: Option<String>,
    pub(crate) clip_start_sec: Option<f64>,
    pub(crate) clip_end_sec: Option<f64>,
    template: Cell,
    slot_x: Cell,
    verb_x: Cell,
    slot_y: Cell,
    verb_y: Cell,
    answer: Cell,
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    for path in BENCHMARK.annotations(sources)? {
        let file: File<Annotation> = json::read(path)?;
        for (at, video) in file.videos.iter().enumerate() {
            add_video(&mut builder, path, at, video);
        }
    }
    builder.finish(sources)
}

fn add_video(builder: &mut Builder, path: &Path, at: usize, video: &VideoEntry<Annotation>) {
    let split = split_of(path, video.split.as_deref());
    for (number, clip) in video.clips.iter().flatten().enumerate() {
        let at = format!("{}: videos[{at}].clips[{number}]", name_of(path));
        let extent = Extent::Seconds(clip.video_start_sec, clip.video_end_sec);
        let unit = Unit { video_uid: &video.video_uid, clip_uid: &clip.clip_uid, extent, split };
        match builder.unit(&at, &unit) {
            Some(clip_uid) => add_queries(builder, &at, &clip_uid, clip, split),
            None => {
                let queries = clip.annotations.iter().flatten().flat_map(|each| each.language_queries.iter().flatten());
                queries.for_each(|_| builder.tally.drop(super::builder::NO_CLIP, &at));
            }
        }
    }
}

fn add_queries(builder: &mut Builder, at: &str, clip_uid: &ClipUid, clip: &ClipEntry<Annotation>, split: &str) {
    let length_sec = clip.video_end_sec.zip(clip.video_start_sec).map(|(end, start)| end - start);
    for (number, annotation) in clip.annotations.iter().flatten().enumerate() {
        for (index, query) in annotation.language_queries.iter().flatten().enumerate() {
            let at = format_args!("{at}.annotations[{number}].language_queries[{index}]");
            let Some(text) = query.query.as_deref().filter(|text| !text.trim().is_empty()) else {
                builder.tally.drop("queries without a text", at);
                continue;
            };
            builder.note_window(at, query.clip_start_sec, query.clip_end_sec, length_sec);
            let id = id_of(builder, &annotation.annotation_uid, index, clip_uid);
            let (start_sec, end_sec) = (query.clip_start_sec, query.clip_end_sec);
            let row = Query { id: &id, clip_uid, text, start_sec, end_sec };
            let own = [&query.template, &query.slot_x, &query.verb_x, &query.slot_y, &query.verb_y, &query.answer];
            let [template, slot_x, verb_x, slot_y, verb_y, answer] = own.map(Cell::as_str);
            let index = index.to_string();
            let cells = [split, &annotation.annotation_uid, &index, template, slot_x, verb_x, slot_y, verb_y, answer];
            builder.query(at, row, &cells);
        }
    }
}

/// `{annotation_uid}_{query_idx}`. An annotation uid may occur under several clips; later ones add their clip's. Under the
/// same clip it is the same query once more, and keeps its id.
fn id_of(builder: &Builder, annotation_uid: &str, index: usize, clip_uid: &ClipUid) -> String {
    let id = format!("{annotation_uid}_{index}");
    let is_taken = builder.queries.find(&id).is_some_and(|first| first.clip_uid != clip_uid);
    if is_taken { format!("{id}_{clip_uid}") } else { id }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::record::records;
    use super::super::samples::{annotations, built, dropped, kept, lines};
    use super::*;

    #[test]
    fn every_anomaly_is_kept_or_counted() {
        let built = built(&BENCHMARK, &["nlq_val.json", "nlq_test_unannotated.json"]).unwrap();
        assert_eq!(
            lines(&built),
            [
                "video-1 clip-1 0 480 val",
                "video-1 clip-2 480.0021 960.0021 val",
                "video-2 clip-4 -0.02 216.4333333 val",
                "video-3 clip-7 10 490 test",
            ]
        );
        let queries = built.queries.as_ref().unwrap();
        let ids: Vec<_> = queries.iter().map(|query| (query.id, query.start_sec, query.end_sec)).collect();
        let window = |start, end| (Some(start), Some(end));
        let expected = [
            ("ann-1_0", window(10.0, 14.5)),
            ("ann-1_3", window(200.0, 200.0)),
            ("ann-1_4", window(470.0, 480.1333)),
            ("ann-2_0", window(30.0, 20.0)),
            ("ann-2_1", (Some(5.0), None)),
            ("ann-1_0_clip-2", window(0.0, 30.0)),
            ("ann-1_1", window(1.0, 2.0)),
            ("ann-3_0", window(50.0, 60.0)),
            ("ann-7_0", (None, None)),
        ];
        assert_eq!(ids, expected.map(|(id, (start, end))| (id, start, end)));
        assert_eq!(queries.get(0).unwrap().text, " where is the  \"d\u{e9}cor\", then ? ");
        assert_eq!(queries.column("answer").unwrap().nth(7), Some("on the \"table\""));
        assert_eq!(
            dropped(&built),
            [
                ("queries without a text", 4),
                ("clips that hold nothing", 1),
                ("queries about clips that are left out", 1),
                ("clips whose uid could not be a file's name", 1),
                ("clips whose uid names another interval already", 1),
                ("queries whose id occurred before", 2),
            ]
        );
        assert_eq!(
            kept(&built),
            [
                ("windows that hold nothing", 1),
                ("windows that end behind their clip", 1),
                ("windows that end before they start", 1),
                ("windows with only one end", 1),
                ("clips that are listed again, their annotations joined", 2),
            ]
        );
    }

    /// What the original preparation of VSLNet makes of the same file.
    #[test]
    fn the_rows_are_those_of_the_original_conversion() {
        #[derive(Deserialize)]
        struct Converted {
            exact_times: Vec<[f64; 2]>,
            annotation_uids: Vec<String>,
            query_idx: Vec<i64>,
        }
        let expected: BTreeMap<String, Converted> = json::read(&annotations("nlq_converted.json")).unwrap();
        let built = built(&BENCHMARK, &["nlq_golden.json"]).unwrap();
        let queries = built.queries.unwrap();
        let mut found: BTreeMap<String, Vec<(String, i64, [f64; 2])>> = BTreeMap::new();
        for (query, place) in queries.iter().zip(records::<Place>(&queries).unwrap()) {
            let window = [query.start_sec.unwrap(), query.end_sec.unwrap()];
            let rows = found.entry(query.clip_uid.to_string()).or_default();
            rows.push((place.annotation_uid, place.query_idx, window));
        }
        let rows = |clip: Converted| -> Vec<_> {
            let ids = clip.annotation_uids.into_iter().zip(clip.query_idx);
            ids.zip(clip.exact_times).map(|((annotation, index), window)| (annotation, index, window)).collect()
        };
        assert_eq!(found, expected.into_iter().map(|(clip, converted)| (clip, rows(converted))).collect());
        assert_eq!(built.tally.num_dropped(), 2);
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        let error = built(&BENCHMARK, &["nlq_malformed.json"]).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "videos[0].clips[0].video_end_sec: invalid type: string \"480\", expected f64 at line 3 column 71"
            ),
            "{error}"
        );
    }
}
