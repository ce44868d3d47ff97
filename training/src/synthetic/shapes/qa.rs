//! EgoTaskQA: six questions about each interval, in the direct and the indirect split.
//!
//! Questions are about what happens (dataset, descriptive); none is about intents, other people, causes or the future.
//! Not for question encodings, which the video models do not read. Invariant: an answer's class is its line in
//! `answer_set.txt`, and what training never answers is `<UNK1>`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::film::{Film, Script};
use super::scene::Act;
use super::settings::{Part, QUESTIONS, ShapesDataset};
use super::words::{self, joined};
use crate::synthetic::draw::Draws;
use crate::synthetic::error::SyntheticError;
use crate::synthetic::files::{write, write_json};

const SPLITS: [&str; 3] = ["train", "val", "test"];
/// What opens `answer_set.txt`; the second stands for whatever is unknown.
const UNKNOWN: [&str; 2] = ["<UNK0>", "<UNK1>"];
/// Seconds of an interval.
const INTERVAL_SEC: u64 = 2;

/// Where a split of the questions lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QaPaths {
    /// `formatted_{train,val,test}_qas_encode.json`.
    pub questions: [PathBuf; 3],
    /// `answer_set.txt`.
    pub answers: PathBuf,
}

/// A kind of question.
pub(super) struct Kind {
    /// The question and its answer, of what happens and of what is asked whether it does.
    ask: fn(Act, Act) -> (String, String),
    semantic: &'static str,
    structural: &'static str,
    reference: &'static str,
}

const KINDS: &[Kind] = &[
    Kind { ask: colour, semantic: "state", structural: "query", reference: "direct" },
    Kind { ask: motion, semantic: "action", structural: "query", reference: "direct" },
    Kind { ask: shape, semantic: "object", structural: "query", reference: "direct" },
    Kind { ask: is_motion, semantic: "action", structural: "verify", reference: "direct" },
    Kind { ask: colour_of_moved, semantic: "state", structural: "query", reference: "indirect" },
    Kind { ask: is_shape_of_moved, semantic: "object", structural: "verify", reference: "indirect" },
];

fn colour(told: Act, _: Act) -> (String, String) {
    (format!("What color is the {}?", told.thing.shape().name), told.thing.colour().name.to_owned())
}

fn motion(told: Act, _: Act) -> (String, String) {
    let question = format!("What did the person do with the {} {}?", told.thing.colour().name, told.thing.shape().name);
    (question, words::motion(told))
}

fn shape(told: Act, _: Act) -> (String, String) {
    (format!("What shape is the {} thing?", told.thing.colour().name), told.thing.shape().name.to_owned())
}

fn is_motion(told: Act, asked: Act) -> (String, String) {
    let way = &asked.motion().ways[0];
    let question = joined(&["Did the person", way.verb, "the", told.thing.shape().name, way.tail]);
    (question + "?", yes(told.motion == asked.motion))
}

fn colour_of_moved(told: Act, _: Act) -> (String, String) {
    (format!("What color is the thing that the person {}?", moves(told)), told.thing.colour().name.to_owned())
}

fn is_shape_of_moved(told: Act, asked: Act) -> (String, String) {
    let question = format!("Is the thing that the person {} a {}?", moves(told), asked.thing.shape().name);
    (question, yes(told.thing.shape == asked.thing.shape))
}

/// `moves left`.
fn moves(act: Act) -> String {
    let way = &act.motion().ways[0];
    joined(&[&format!("{}s", way.verb), way.tail])
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// All questions about an act, with their answers; those that can be denied ask for `asked`.
pub(super) fn questions(told: Act, asked: Act) -> impl Iterator<Item = (&'static Kind, String, String)> {
    KINDS.iter().map(move |kind| {
        let (question, answer) = (kind.ask)(told, asked);
        (kind, question, answer)
    })
}

/// A question about an interval.
struct Question {
    kind: &'static Kind,
    interval: String,
    video: usize,
    text: String,
    answer: String,
}

/// Writes both splits of the questions and adds the intervals' films.
pub(super) fn write_files(
    dataset: &ShapesDataset,
    out: &Path,
    films: &mut Vec<Film>,
) -> Result<[QaPaths; 2], SyntheticError> {
    let frames = INTERVAL_SEC * super::film::FPS;
    let script = Script { shots: 1, frames: frames..frames + 1, changes: false };
    let asked = [0, 1, 2].map(|split| {
        let name = |number: usize, _: &mut Draws| {
            let start = number as u64 * INTERVAL_SEC;
            format!("{}-dataset|P{}|{start}|{}", SPLITS[split], number % 4 + 1, start + INTERVAL_SEC)
        };
        let own = dataset.films(Part::Qa, split, dataset.intervals[split], &script, name);
        let questions = ask(dataset, split, &own);
        films.extend(own);
        questions
    });
    let direct = asked.each_ref().map(|questions| questions.iter().collect::<Vec<_>>());
    let indirect = [0, 1, 2].map(|split| {
        let reference = if split == 0 { "direct" } else { "indirect" };
        asked[split].iter().filter(|question| question.kind.reference == reference).collect::<Vec<_>>()
    });
    Ok([write_split(&out.join("qa/direct"), direct)?, write_split(&out.join("qa/indirect"), indirect)?])
}

fn ask(dataset: &ShapesDataset, split: usize, films: &[Film]) -> Vec<Question> {
    let mut draws = dataset.draws(Part::Qa, QUESTIONS + split);
    let mut all = Vec::new();
    for (video, film) in films.iter().enumerate() {
        for shot in &film.shots {
            let told = shot.told.act;
            let asked = if draws.below(2) == 0 { told } else { dataset.another(told, &mut draws) };
            let of_shot = questions(told, asked);
            let interval = &film.name;
            all.extend(of_shot.map(|(kind, text, answer)| Question {
                kind,
                interval: interval.clone(),
                video,
                text,
                answer,
            }));
        }
    }
    all
}

impl ShapesDataset {
    /// An act of another motion with a thing of another shape.
    fn another(&self, act: Act, draws: &mut Draws) -> Act {
        let mut other = act;
        other.motion = (act.motion + 1 + draws.below(self.motions - 1)) % self.motions;
        other.thing.shape = (act.thing.shape + 1 + draws.below(self.shapes - 1)) % self.shapes;
        other
    }
}

fn write_split(folder: &Path, splits: [Vec<&Question>; 3]) -> Result<QaPaths, SyntheticError> {
    let paths = QaPaths {
        questions: SPLITS.map(|split| folder.join(format!("formatted_{split}_qas_encode.json"))),
        answers: folder.join("answer_set.txt"),
    };
    let answers = answer_set(&splits[0]);
    write(&paths.answers, (answers.join("\n") + "\n").as_bytes())?;
    for (path, questions) in paths.questions.iter().zip(splits) {
        let records = questions.iter().enumerate().map(|(id, question)| question.record(id, &answers));
        write_json(path, &Value::Array(records.collect()))?;
    }
    Ok(paths)
}

/// What training answers, the most frequent first, equals in order of appearance.
fn answer_set(train: &[&Question]) -> Vec<String> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for question in train {
        let place = *places.entry(&question.answer).or_insert(counts.len());
        if place == counts.len() {
            counts.push((&question.answer, 0));
        }
        counts[place].1 += 1;
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    UNKNOWN.into_iter().chain(counts.into_iter().map(|(answer, _)| answer)).map(str::to_owned).collect()
}

impl Question {
    fn record(&self, id: usize, answers: &[String]) -> Value {
        let Kind { semantic, structural, reference, .. } = self.kind;
        let class = answers.iter().position(|answer| *answer == self.answer).unwrap_or(1);
        json!({
            "interval": self.interval, "question": self.text, "answer": self.answer, "answer_encode": class,
            "type": ["descriptive"], "category": ["dataset"], "semantic": semantic, "structural": structural,
            "reference": reference, "program": "",
            "reasoning_type": format!("descriptive$dataset${semantic}${structural}${reference}"),
            "video_id": self.video, "question_id": id,
        })
    }
}
