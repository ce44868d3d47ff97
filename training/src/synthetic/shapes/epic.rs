//! EPIC-KITCHENS-100 retrieval: clips with orders, the unique ones among these, and how relevant they are to each
//! other.
//!
//! Not for scores. Invariant: the relevancies are those that `egofx eval mir` computes without them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use egofx::metric::mir::{Caption, relevancy};
use egofx::ndarray::Array2;
use ndarray_npy::WriteNpyExt;

use super::csv::{header, table};
use super::film::{Film, Script, Shot, seconds};
use super::scene::{Act, SHAPES};
use super::settings::{Part, ShapesDataset, WORDS};
use super::words;
use crate::synthetic::draw::Draws;
use crate::synthetic::error::SyntheticError;
use crate::synthetic::files::write;

const SPLITS: [&str; 2] = ["train", "test"];
const PARTICIPANTS: usize = 4;
/// Frames of a shot before its clip begins, and after it ends.
const MARGIN: u64 = 6;

const COLUMNS: [&str; 15] = [
    "narration_id",
    "participant_id",
    "video_id",
    "narration_timestamp",
    "start_timestamp",
    "stop_timestamp",
    "start_frame",
    "stop_frame",
    "narration",
    "verb",
    "verb_class",
    "noun",
    "noun_class",
    "all_nouns",
    "all_noun_classes",
];

/// Where a split lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpicPaths {
    /// `EPIC_100_retrieval_{split}.csv`.
    pub clips: PathBuf,
    /// `EPIC_100_retrieval_{split}_sentence.csv`.
    pub sentences: PathBuf,
    /// `caption_relevancy_EPIC_100_retrieval_{split}.npy`, `[clips, sentences]`.
    pub relevancy: PathBuf,
}

/// A clip with its order.
struct Narration {
    row: Vec<String>,
    order: String,
    caption: Caption,
}

/// Writes both splits and adds their films.
pub(super) fn write_files(
    dataset: &ShapesDataset,
    out: &Path,
    films: &mut Vec<Film>,
) -> Result<[EpicPaths; 2], SyntheticError> {
    let paths = SPLITS.map(|split| EpicPaths {
        clips: out.join(format!("EPIC_100_retrieval_{split}.csv")),
        sentences: out.join(format!("EPIC_100_retrieval_{split}_sentence.csv")),
        relevancy: out.join(format!("relevancy/caption_relevancy_EPIC_100_retrieval_{split}.npy")),
    });
    let script = Script { shots: dataset.clips_per_video, frames: 54..67, changes: false };
    for (split, paths) in paths.iter().enumerate() {
        let name = |number: usize, _: &mut Draws| format!("{}_{split}{number:04}", participant(number));
        let own = dataset.films(Part::Epic, split, dataset.kitchens[split], &script, name);
        let mut draws = dataset.draws(Part::Epic, WORDS + split);
        let mut narrations = Vec::new();
        for (number, film) in own.iter().enumerate() {
            let shots = film.shots.iter().enumerate();
            narrations.extend(shots.map(|(at, shot)| narration(&participant(number), film, at, shot, &mut draws)));
        }
        write_split(paths, narrations)?;
        films.extend(own);
    }
    Ok(paths)
}

fn participant(video: usize) -> String {
    format!("P{:02}", video % PARTICIPANTS + 1)
}

fn narration(participant: &str, film: &Film, number: usize, shot: &Shot, draws: &mut Draws) -> Narration {
    let (first, last) = (shot.frames.start + MARGIN, shot.frames.end - MARGIN);
    let (act, id) = (shot.told.act, format!("{}_{number}", film.name));
    let order = words::order(act, draws);
    let [nouns, classes] = nouns(act);
    let row = [
        &id,
        participant,
        &film.name,
        &timestamp(u64::midpoint(first, last)),
        &timestamp(first),
        &timestamp(last),
        &first.to_string(),
        &last.to_string(),
        &order,
        &words::motion(act).replace(' ', "-"),
        &act.motion.to_string(),
        act.thing.shape().name,
        &act.thing.shape.to_string(),
        &nouns,
        &classes,
    ];
    let row = row.map(str::to_owned).to_vec();
    let noun_classes = noun_classes(act).map(|class| class as u32).to_vec();
    let caption = Caption { narration_id: id, verb_class: act.motion as i64, noun_classes };
    Narration { row, order, caption }
}

/// Shape and colour are nouns of their own, so that some captions are half relevant.
fn noun_classes(act: Act) -> [usize; 2] {
    [act.thing.shape, SHAPES.len() + act.thing.colour]
}

/// Names and classes as Python writes lists.
fn nouns(act: Act) -> [String; 2] {
    let [shape, colour] = noun_classes(act);
    let names = format!("['{}', '{}']", act.thing.shape().name, act.thing.colour().name);
    [names, format!("[{shape}, {colour}]")]
}

/// `hh:mm:ss.xx`.
fn timestamp(frame: u64) -> String {
    let hundredths = (seconds(frame) * 100.0).round() as u64;
    let (seconds, minutes) = (hundredths / 100 % 60, hundredths / 6000 % 60);
    format!("{:02}:{minutes:02}:{seconds:02}.{:02}", hundredths / 360_000, hundredths % 100)
}

fn write_split(paths: &EpicPaths, narrations: Vec<Narration>) -> Result<(), SyntheticError> {
    let mut seen = BTreeSet::new();
    let unique: Vec<&Narration> = narrations.iter().filter(|narration| seen.insert(&narration.order)).collect();
    let captions = |narrations: &mut dyn Iterator<Item = &Narration>| -> Vec<Caption> {
        narrations.map(|narration| narration.caption.clone()).collect()
    };
    let relevancy = relevancy(&captions(&mut narrations.iter()), &captions(&mut unique.iter().copied()));
    let sentences =
        unique.iter().map(|narration| vec![narration.caption.narration_id.clone(), narration.order.clone()]);
    let sentences = table(',', [header(&["narration_id", "narration"])].into_iter().chain(sentences));
    write(&paths.sentences, sentences.as_bytes())?;
    write(&paths.relevancy, &npy(&paths.relevancy, &relevancy)?)?;
    let rows = narrations.into_iter().map(|narration| narration.row);
    write(&paths.clips, table(',', [header(&COLUMNS)].into_iter().chain(rows)).as_bytes())
}

fn npy(path: &Path, matrix: &Array2<f64>) -> Result<Vec<u8>, SyntheticError> {
    let mut bytes = Vec::new();
    let refused = |cause| SyntheticError::Write { path: path.to_owned(), cause: std::io::Error::other(cause) };
    matrix.write_npy(&mut bytes).map_err(refused)?;
    Ok(bytes)
}
