//! MQ, moment queries: `moments_train.json`, `moments_val.json`, `moments_test_unannotated.json`.
//!
//! A unit is a clip, a query one label of one annotator with its window in the clip. Not for the choice of labels: those
//! that are not primary are listed too, and say so. A label keeps its number even where another one is dropped.

use std::collections::HashMap;
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
    name: "mq",
    about: "clips and labels of Ego4D's moment queries",
    needs: Needs {
        annotations: Need::Required(
            "moments_train.json, moments_val.json or moments_test_unannotated.json (--annotations FILE)",
        ),
        videos: super::PRESENT_ONLY,
    },
    build,
};

/// What a label says beside its name and its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Whether it is the annotator's choice among labels of the same window, the only ones that heads learn; `None` if the
    /// file does not say.
    pub primary: Option<bool>,
}

impl Record for Moment {
    fn read(row: Row<'_>) -> Result<Self, RecordError> {
        let [_, primary] = COLUMNS;
        Ok(Self { primary: row.optional(primary, "true, false or nothing")? })
    }
}

const COLUMNS: [&str; 2] = ["annotator_uid", "primary"];

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    annotator_uid: Cell,
    labels: Option<Vec<Label>>,
}

#[derive(Deserialize)]
struct Label {
    label: Option<String>,
    primary: Option<bool>,
    start_time: Option<f64>,
    end_time: Option<f64>,
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    // A clip that is listed twice goes on counting.
    let mut numbers = HashMap::new();
    for path in BENCHMARK.annotations(sources)? {
        let file: File<Annotation> = json::read(path)?;
        for (at, video) in file.videos.iter().enumerate() {
            add_video(&mut builder, &mut numbers, path, at, video);
        }
    }
    builder.finish(sources)
}

fn add_video(
    builder: &mut Builder,
    numbers: &mut HashMap<ClipUid, usize>,
    path: &Path,
    at: usize,
    video: &VideoEntry<Annotation>,
) {
    let split = split_of(path, video.split.as_deref());
    for (number, clip) in video.clips.iter().flatten().enumerate() {
        let at = format!("{}: videos[{at}].clips[{number}]", name_of(path));
        let extent = Extent::Seconds(clip.video_start_sec, clip.video_end_sec);
        let unit = Unit { video_uid: &video.video_uid, clip_uid: &clip.clip_uid, extent, split };
        match builder.unit(&at, &unit) {
            Some(clip_uid) => {
                let next = numbers.entry(clip_uid.clone()).or_default();
                *next = add_labels(builder, &at, &clip_uid, clip, split, *next);
            }
            None => labels(clip).for_each(|_| builder.tally.drop(super::builder::NO_CLIP, &at)),
        }
    }
}

fn labels(clip: &ClipEntry<Annotation>) -> impl Iterator<Item = (usize, usize, &Annotation, &Label)> {
    let annotations = clip.annotations.iter().flatten().enumerate();
    annotations.flat_map(|(number, annotation)| {
        let labels = annotation.labels.iter().flatten().enumerate();
        labels.map(move |(index, label)| (number, index, annotation, label))
    })
}

/// Numbers labels from `next` on; gives the number after the last.
fn add_labels(
    builder: &mut Builder,
    at: &str,
    clip_uid: &ClipUid,
    clip: &ClipEntry<Annotation>,
    split: &str,
    mut next: usize,
) -> usize {
    let length_sec = clip.video_end_sec.zip(clip.video_start_sec).map(|(end, start)| end - start);
    let mut has_primary = split == "test";
    for (number, index, annotation, label) in labels(clip) {
        let id = format!("{clip_uid}_{next}");
        next += 1;
        let at = format_args!("{at}.annotations[{number}].labels[{index}]");
        let Some(text) = label.label.as_deref().filter(|text| !text.trim().is_empty()) else {
            builder.tally.drop("labels without a name", at);
            continue;
        };
        has_primary |= label.primary == Some(true);
        builder.note_window(at, label.start_time, label.end_time, length_sec);
        let query = Query { id: &id, clip_uid, text, start_sec: label.start_time, end_sec: label.end_time };
        let primary = label.primary.map_or_else(String::new, |primary| primary.to_string());
        builder.query(at, query, &[split, annotation.annotator_uid.as_str(), &primary]);
    }
    if !has_primary {
        builder.tally.keep("clips without a primary label", format_args!("{at}: {clip_uid}"));
    }
    next
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::record::records;
    use super::super::samples::{annotations, built, dropped, kept, lines};
    use super::*;

    #[test]
    fn every_anomaly_is_kept_or_counted() {
        let built = built(&BENCHMARK, &["moments_val.json", "moments_test_unannotated.json"]).unwrap();
        assert_eq!(
            lines(&built),
            ["video-1 clip-1 0 480 val", "video-1 clip-2 480 900.5 val", "video-9 clip-9 0 300 test"]
        );
        let queries = built.queries.as_ref().unwrap();
        let moments: Vec<Moment> = records(queries).unwrap();
        let rows = queries.iter().zip(moments).map(|(query, moment)| (query.id, query.text, moment.primary));
        let rows: Vec<_> = rows.collect();
        assert_eq!(
            rows,
            [
                ("clip-1_0", "wash_dishes_/_utensils", Some(true)),
                ("clip-1_1", "use_\"phone\",_(call)", Some(false)),
                ("clip-1_3", "read_book", Some(true)),
                ("clip-2_0", "read_book", Some(false)),
                ("clip-2_1", "read_book", None),
                ("clip-1_4", "read_book", Some(true)),
            ]
        );
        assert_eq!(dropped(&built), [("labels without a name", 1), ("clips without start and end", 1)]);
        let reasons = [
            ("windows that hold nothing", 1),
            ("windows that end behind their clip", 1),
            ("clips without a primary label", 1),
            ("clips that are listed again, their annotations joined", 1),
        ];
        assert_eq!(kept(&built), reasons);
    }

    /// The original conversion keeps primary labels only.
    #[test]
    fn the_primary_labels_are_those_of_the_original_conversion() {
        #[derive(Deserialize)]
        struct Converted {
            annotations: Vec<Label>,
        }
        let expected: BTreeMap<String, Converted> = json::read(&annotations("mq_converted.json")).unwrap();
        let queries = built(&BENCHMARK, &["mq_golden.json"]).unwrap().queries.unwrap();
        let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (query, moment) in queries.iter().zip(records::<Moment>(&queries).unwrap()) {
            if moment.primary == Some(true) {
                let rows = found.entry(query.clip_uid.to_string()).or_default();
                rows.push((query.text.to_owned(), query.start_sec, query.end_sec));
            }
        }
        let row = |label: Label| (label.label.unwrap(), label.start_time, label.end_time);
        let rows = |clip: Converted| clip.annotations.into_iter().map(row).collect();
        assert_eq!(found, expected.into_iter().map(|(clip, converted)| (clip, rows(converted))).collect());
    }
}
