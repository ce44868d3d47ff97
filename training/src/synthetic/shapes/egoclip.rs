//! EgoClip and EgoMCQ: narrations of the training videos, and questions about those for validation.
//!
//! Not for reading either. Invariant: among the five clips of a question one alone shows what its sentence says.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::csv::{header, table};
use super::film::{Film, Script, Shot, seconds, uuid, within};
use super::scene::Act;
use super::settings::{Part, QUESTIONS, ShapesDataset, WORDS};
use super::words;
use crate::synthetic::draw::Draws;
use crate::synthetic::error::SyntheticError;
use crate::synthetic::files::{write, write_json};

/// Clips that a question offers.
pub(super) const CHOICES: usize = 5;
/// What the annotations call questions between videos, and within one.
const TYPES: [u8; 2] = [1, 2];
/// Most frames that the middle of a clip lies off the middle of its shot.
const JITTER: u64 = 4;

const COLUMNS: [&str; 11] = [
    "clip_idx",
    "video_uid",
    "video_dur",
    "narration_source",
    "narration_ind",
    "narration_time",
    "clip_start",
    "clip_end",
    "clip_text",
    "tag_verb",
    "tag_noun",
];

/// A clip with what an annotator says of it.
struct Narration<'f> {
    /// The number of its film.
    film: usize,
    video_uid: &'f str,
    video_dur: f64,
    number: usize,
    time: f64,
    start: f64,
    end: f64,
    text: String,
    act: Act,
}

/// Writes both files and adds their films.
pub(super) fn write_files(
    dataset: &ShapesDataset,
    out: &Path,
    films: &mut Vec<Film>,
) -> Result<(PathBuf, PathBuf), SyntheticError> {
    let script = Script { shots: dataset.clips_per_video, frames: 54..67, changes: false };
    let [train, val] =
        [0, 1].map(|split| dataset.films(Part::Egoclip, split, dataset.videos[split], &script, |_, draws| uuid(draws)));
    let (egoclip, egomcq) = (out.join("egoclip.csv"), out.join("egomcq.json"));
    let rows = narrations(&train, &mut dataset.draws(Part::Egoclip, WORDS));
    let rows = rows.iter().enumerate().map(|(number, narration)| narration.row(number));
    write(&egoclip, table('\t', [header(&COLUMNS)].into_iter().chain(rows)).as_bytes())?;
    let offered = narrations(&val, &mut dataset.draws(Part::Egoclip, WORDS + 1));
    write_json(&egomcq, &questions(dataset, &offered)?)?;
    films.extend(train.into_iter().chain(val));
    Ok((egoclip, egomcq))
}

fn narrations<'f>(films: &'f [Film], draws: &mut Draws) -> Vec<Narration<'f>> {
    let mut narrations = Vec::new();
    for (film, found) in films.iter().enumerate() {
        for (number, shot) in found.shots.iter().enumerate() {
            let [start, middle, end] = window(shot, draws).map(seconds);
            narrations.push(Narration {
                film,
                video_uid: &found.name,
                video_dur: found.sec(),
                number,
                time: middle,
                start,
                end,
                text: words::narration(shot.told.act, draws),
                act: shot.told.act,
            });
        }
    }
    narrations
}

/// First, middle and last frame of about a second somewhere in the middle of a shot.
fn window(shot: &Shot, draws: &mut Draws) -> [u64; 3] {
    let middle = (shot.frames.start + shot.frames.end) / 2 + within(draws, &(0..2 * JITTER + 1)) - JITTER;
    let half = within(draws, &(14..19));
    [middle - half, middle, middle + half]
}

impl Narration<'_> {
    fn tags(&self) -> [String; 2] {
        [self.act.motion, self.act.thing.noun()].map(|tag| format!("[{tag}]"))
    }

    fn row(&self, index: usize) -> Vec<String> {
        let [verb, noun] = self.tags();
        let times = [self.time, self.start, self.end].map(|sec| sec.to_string());
        let [time, start, end] = times;
        let (uid, length, number) = (self.video_uid.to_owned(), self.video_dur.to_string(), self.number.to_string());
        let text = self.text.clone();
        vec![index.to_string(), uid, length, "narration_pass_1".into(), number, time, start, end, text, verb, noun]
    }

    fn record(&self) -> Value {
        let [verb, noun] = self.tags();
        json!({
            "video_uid": self.video_uid, "video_dur": self.video_dur, "narration_source": "narration_pass_1",
            "narration_ind": self.number, "narration_time": self.time, "clip_start": self.start,
            "clip_end": self.end, "clip_text": self.text, "tag_verb": verb, "tag_noun": noun,
        })
    }
}

/// As many questions of either type.
fn questions(dataset: &ShapesDataset, offered: &[Narration<'_>]) -> Result<Value, SyntheticError> {
    let mut draws = dataset.draws(Part::Egoclip, QUESTIONS);
    let mut all = Vec::new();
    for kind in TYPES {
        let mut order: Vec<&Narration<'_>> = offered.iter().collect();
        draws.shuffle(&mut order);
        let mut possible =
            order.into_iter().filter_map(|right| Some((right, others(kind, right, offered, &mut draws)?)));
        let found: Vec<_> = possible.by_ref().take(dataset.questions).collect();
        if found.len() < dataset.questions {
            let expected = format!("at most {}: the validation videos have no more clips to ask for", found.len());
            return Err(SyntheticError::Size { what: "questions", found: dataset.questions, expected });
        }
        all.extend(found.into_iter().map(|(right, others)| (kind, right, others)));
    }
    draws.shuffle(&mut all);
    let question = |(key, (kind, right, others)): (usize, (u8, &Narration<'_>, Vec<&Narration<'_>>))| {
        let answer = draws.below(CHOICES);
        let mut choices = others;
        choices.insert(answer, right);
        let choices: Map<String, Value> =
            (0..).zip(choices).map(|(place, choice): (usize, _)| (place.to_string(), choice.record())).collect();
        (key.to_string(), json!({"answer": answer, "query": right.record(), "choices": choices, "types": kind}))
    };
    Ok(Value::Object(all.into_iter().enumerate().map(question).collect()))
}

/// Four clips that show something else: of other videos, one of each, or of the same.
fn others<'n, 'f>(
    kind: u8,
    right: &Narration<'_>,
    offered: &'n [Narration<'f>],
    draws: &mut Draws,
) -> Option<Vec<&'n Narration<'f>>> {
    let is_within = kind == TYPES[1];
    let belongs = |other: &&Narration<'_>| other.act != right.act && (other.film == right.film) == is_within;
    let mut others: Vec<&Narration<'f>> = offered.iter().filter(belongs).collect();
    draws.shuffle(&mut others);
    if !is_within {
        let mut seen = Vec::new();
        others.retain(|other| {
            !seen.contains(&other.film) && {
                seen.push(other.film);
                true
            }
        });
    }
    others.truncate(CHOICES - 1);
    (others.len() == CHOICES - 1).then_some(others)
}
