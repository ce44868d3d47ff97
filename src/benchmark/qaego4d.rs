//! QaEgo4D: `annotations.{train,val,test}.json`, and in GroundVQA's form `annotations.QaEgo4D_{train,val,test,...}.json`.
//!
//! A unit is a clip of NLQ, a query its question with the answer and the moment that shows it, in seconds of the clip: frames of
//! the annotations count 30 a second. GroundVQA's files say where a clip lies in its video and have wrong answers to choose
//! from; where a file names no video, the canonical clip is listed as a video of its own. Not for EgoTimeQA's making.

use std::path::Path;

use serde::Deserialize;

use super::builder::{Builder, Extent, NO_CLIP, Unit, name_of, split_of};
use super::json::{self, Cell};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "qaego4d",
    about: "clips and questions of QaEgo4D, and of GroundVQA's unified annotations",
    needs: Needs {
        annotations: Need::Required(
            "annotations.QaEgo4D_train.json, annotations.val.json or the like (--annotations FILE)",
        ),
        videos: super::PRESENT_ONLY,
    },
    build,
};

const COLUMNS: [&str; 2] = ["answer", "wrong_answers"];

/// Frames a second in which moments are counted.
const FRAMES_PER_SEC: f64 = 30.0;

#[derive(Deserialize)]
struct Sample {
    /// The clip.
    video_id: String,
    sample_id: Cell,
    question: Option<String>,
    #[serde(default)]
    answer: Cell,
    wrong_answers: Option<Vec<String>>,
    moment_start_frame: Option<f64>,
    moment_end_frame: Option<f64>,
    /// Of NLQ in GroundVQA's form.
    clip_start_sec: Option<f64>,
    clip_end_sec: Option<f64>,
    video_uid: Option<String>,
    video_start_sec: Option<f64>,
    video_end_sec: Option<f64>,
}

impl Sample {
    fn unit<'s>(&'s self, split: &'s str) -> Unit<'s> {
        match &self.video_uid {
            Some(video_uid) => {
                let extent = Extent::Seconds(self.video_start_sec, self.video_end_sec);
                Unit { video_uid, clip_uid: &self.video_id, extent, split }
            }
            None => Unit { video_uid: &self.video_id, clip_uid: &self.video_id, extent: Extent::Whole, split },
        }
    }

    /// Start and end in the clip, in seconds.
    fn window(&self) -> [Option<f64>; 2] {
        let sec = |sec: Option<f64>, frame: Option<f64>| sec.or(frame.map(|frame| frame / FRAMES_PER_SEC));
        [sec(self.clip_start_sec, self.moment_start_frame), sec(self.clip_end_sec, self.moment_end_frame)]
    }
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    for path in BENCHMARK.annotations(sources)? {
        let samples: Vec<Sample> = json::read(path)?;
        let split = split_of(path, None);
        samples.iter().enumerate().for_each(|(number, sample)| add(&mut builder, path, number, sample, split));
    }
    builder.tally.kept.retain(|finding| finding.reason != super::builder::REPEATED);
    builder.finish(sources)
}

fn add(builder: &mut Builder, path: &Path, number: usize, sample: &Sample, split: &str) {
    let at = format!("{}: [{number}]", name_of(path));
    let Some(clip_uid) = builder.unit(&at, &sample.unit(split)) else {
        return builder.tally.drop(NO_CLIP, at);
    };
    let Some(text) = sample.question.as_deref().filter(|text| !text.trim().is_empty()) else {
        return builder.tally.drop("questions without a text", at);
    };
    let [start_sec, end_sec] = sample.window();
    let length_sec = sample.video_end_sec.zip(sample.video_start_sec).map(|(end, start)| end - start);
    builder.note_window(&at, start_sec, end_sec, length_sec);
    let query = Query { id: sample.sample_id.as_str(), clip_uid: &clip_uid, text, start_sec, end_sec };
    let wrong = sample.wrong_answers.as_ref().map(|wrong| serde_json::json!(wrong).to_string()).unwrap_or_default();
    builder.query(&at, query, &[split, sample.answer.as_str().trim(), &wrong]);
}

#[cfg(test)]
mod tests {
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn questions_come_with_answers_and_moments_of_both_forms() {
        let built = built(&BENCHMARK, &["annotations.QaEgo4D_val_options.json", "annotations.test.json"]).unwrap();
        assert_eq!(lines(&built), ["video-1 clip-1 480.0021 960.0021 val", "clip-2 clip-2 whole test"]);
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.start_sec, query.end_sec)).collect();
        let expected = [
            ("ann-1_0", Some(10.0), Some(14.5)),
            ("ann-1_1", Some(470.0), Some(490.0)),
            ("7", Some(3.5), Some(4.25)),
            ("ann-3_0", Some(2.0), Some(4.0)),
        ];
        assert_eq!(rows, expected);
        let column = |name| queries.column(name).unwrap().collect::<Vec<_>>();
        assert_eq!(column("answer"), ["on the table", "red", "", "in the drawer"]);
        assert_eq!(column("wrong_answers")[0], r#"["in the sink","on the \"floor\"","in the bag"]"#);
        assert_eq!(
            dropped(&built),
            [
                ("questions without a text", 1),
                ("clips without start and end", 1),
                (NO_CLIP, 1),
                ("queries whose id occurred before", 1),
            ]
        );
        assert_eq!(kept(&built), [("windows that end behind their clip", 1)]);
    }
}
