//! EgoTaskQA: `formatted_train_qas_encode.json` and its siblings, of the direct or the indirect split.
//!
//! A unit is the video file of an interval, a query a question with its answer and the keys by which accuracy is reported.
//! Not for vocabularies. An interval is four parts joined by bars, which a uid cannot hold: they become underscores, and
//! the file is found by either name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::builder::{Builder, Extent, NO_CLIP, Unit, name_of, split_of};
use super::json::{self, Cell};
use super::record::{Record, RecordError, Row};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::manifest::{uid_of, videos_below};
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "egotaskqa",
    about: "intervals and questions of EgoTaskQA",
    needs: Needs {
        annotations: Need::Required("formatted_train_qas_encode.json, _val_ or _test_ (--annotations FILE)"),
        videos: super::PRESENT_ONLY,
    },
    build,
};

/// The order of [`Question::cells`], `split` first.
const COLUMNS: [&str; 8] =
    ["answer", "answer_encode", "type", "category", "semantic", "structural", "reference", "reasoning_type"];

/// The answer of a question, and the keys by which its accuracy is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its class, from 0; `None` where the answer is not published.
    pub class: Option<usize>,
    /// Reasoning types, as annotated.
    pub reasoning_types: Vec<String>,
}

impl Record for Answer {
    fn read(row: Row<'_>) -> Result<Self, RecordError> {
        let keys = row.text("reasoning_type")?.split('$').filter(|key| !key.is_empty());
        let class = row.optional("answer_encode", "the number of a class or nothing")?;
        Ok(Self { class, reasoning_types: keys.map(str::to_owned).collect() })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Question {
    interval: Option<String>,
    question: Option<String>,
    pub(crate) question_id: Cell,
    answer: Cell,
    pub(crate) answer_encode: Cell,
    r#type: Keys,
    category: Keys,
    semantic: Cell,
    structural: Cell,
    reference: Cell,
    pub(crate) reasoning_type: Cell,
}

/// A list of words or a single one.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Keys {
    Many(Vec<String>),
    One(String),
    #[default]
    None,
}

impl Keys {
    fn joined(&self) -> String {
        match self {
            Self::Many(words) => words.join(" "),
            Self::One(word) => word.clone(),
            Self::None => String::new(),
        }
    }
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    let mut intervals = HashMap::new();
    for path in BENCHMARK.annotations(sources)? {
        let questions: Vec<Question> = json::read(path)?;
        for (number, question) in questions.iter().enumerate() {
            add_question(&mut builder, &mut intervals, path, number, question);
        }
    }
    for root in &sources.videos {
        add_paths(&mut builder, &videos_below(root)?);
    }
    builder.finish(sources)
}

fn add_question(
    builder: &mut Builder,
    intervals: &mut HashMap<String, String>,
    path: &Path,
    number: usize,
    question: &Question,
) {
    let (split, at) = (split_of(path, None), format!("{}: [{number}]", name_of(path)));
    let Some((clip_uid, text)) = clip_and_text(builder, intervals, &at, question, split) else { return };
    if question.answer.as_str().is_empty() && split != "test" {
        builder.tally.keep("questions without an answer", &at);
    }
    // Question ids count from 0 in each file.
    let own = question.question_id.as_str();
    let id = format!("{split}_{}", if own.is_empty() { number.to_string() } else { own.to_owned() });
    let query = Query { id: &id, clip_uid: &clip_uid, text, start_sec: None, end_sec: None };
    let (kinds, categories) = (question.r#type.joined(), question.category.joined());
    builder.query(&at, query, &question.cells(split, &kinds, &categories));
}

/// `None` where a question cannot be used, which is counted.
fn clip_and_text<'q>(
    builder: &mut Builder,
    intervals: &mut HashMap<String, String>,
    at: &str,
    question: &'q Question,
    split: &str,
) -> Option<(ClipUid, &'q str)> {
    let given = |text: &'q Option<String>| text.as_deref().filter(|text| !text.trim().is_empty());
    let (Some(interval), Some(text)) = (given(&question.interval), given(&question.question)) else {
        builder.tally.drop("questions without a text or an interval", at);
        return None;
    };
    let name = interval.replace('|', "_");
    if interval.split('|').count() != 4 {
        builder.tally.drop("questions whose interval has not four parts", format_args!("{at}: {interval:?}"));
        return None;
    }
    if intervals.entry(name.clone()).or_insert_with(|| interval.to_owned()) != interval {
        builder.tally.drop("questions whose interval has another one's name", format_args!("{at}: {name}"));
        return None;
    }
    let unit = Unit { video_uid: &name, clip_uid: &name, extent: Extent::Whole, split };
    let clip_uid = builder.known(&name).or_else(|| builder.unit(at, &unit));
    if clip_uid.is_none() {
        builder.tally.drop(NO_CLIP, at);
    }
    Some((clip_uid?, text))
}

impl Question {
    fn cells<'c>(&'c self, split: &'c str, kinds: &'c str, categories: &'c str) -> [&'c str; 9] {
        let [answer, code, semantic, structural, reference, reasoning] = [
            &self.answer,
            &self.answer_encode,
            &self.semantic,
            &self.structural,
            &self.reference,
            &self.reasoning_type,
        ]
        .map(Cell::as_str);
        [split, answer, code, kinds, categories, semantic, structural, reference, reasoning]
    }
}

/// Files that are named by the interval itself.
fn add_paths(builder: &mut Builder, files: &[PathBuf]) {
    for file in files {
        if let Some(stem) = uid_of(file).filter(|stem| stem.contains('|')) {
            builder.path(&stem.replace('|', "_"), file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{annotations, built, dropped, kept, lines};
    use super::*;

    const FILES: [&str; 2] = ["formatted_train_qas_encode.json", "formatted_test_qas_encode.json"];

    #[test]
    fn every_anomaly_is_kept_or_counted() {
        let built = built(&BENCHMARK, &FILES).unwrap();
        assert_eq!(
            lines(&built),
            [
                "v1_P1_10_20 v1_P1_10_20 whole train",
                "v1_P1_0_20 v1_P1_0_20 whole train",
                "v3_a_b_0_9 v3_a_b_0_9 whole train",
                "v2_P2_5_9 v2_P2_5_9 whole test",
            ]
        );
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().zip(queries.column("answer").unwrap()).collect();
        let rows: Vec<_> = rows.iter().map(|(query, answer)| (query.id, query.clip_uid.as_str(), *answer)).collect();
        assert_eq!(
            rows,
            [
                ("train_0", "v1_P1_10_20", "fridge"),
                ("train_1", "v1_P1_10_20", "Fridge"),
                ("train_2", "v1_P1_0_20", ""),
                ("train_6", "v3_a_b_0_9", "fridge"),
                ("test_0", "v2_P2_5_9", "cup, \"blue\""),
            ]
        );
        assert_eq!(queries.column("type").unwrap().next(), Some("descriptive predictive"));
        assert_eq!(
            dropped(&built),
            [
                ("questions without a text or an interval", 2),
                ("questions whose interval has not four parts", 1),
                ("questions whose interval has another one's name", 1),
                ("queries whose id occurred before", 1),
                ("clips whose uid could not be a file's name", 1),
                (NO_CLIP, 1),
            ]
        );
        assert_eq!(kept(&built), [("questions without an answer", 1)]);
    }

    #[test]
    fn files_are_found_by_both_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["v1|P1|10|20.mp4", "v2_P2_5_9.mp4"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let annotations = FILES.map(annotations).to_vec();
        let built = build(&Sources { annotations, videos: vec![dir.path().to_owned()], ..Sources::default() }).unwrap();
        let paths: Vec<_> = built.manifest.videos.iter().map(|video| video.path.clone().unwrap()).collect();
        assert_eq!(paths, ["v1|P1|10|20.mp4", "v2_P2_5_9.mp4"].map(|name| dir.path().join(name)));
    }
}
