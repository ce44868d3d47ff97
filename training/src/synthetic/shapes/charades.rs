//! Charades-Ego: actions in training videos, and test videos of one action each.
//!
//! Not for scores. Invariant: there are 157 classes, as the evaluator wants them, and those of the dataset come first;
//! what the others say happens in no video.

use std::path::{Path, PathBuf};

use egofx::metric::charades::NUM_CLASSES;

use super::csv::{header, table};
use super::film::{Film, Script, Shot, seconds};
use super::scene::{Act, acts, all_acts};
use super::settings::{Part, ShapesDataset};
use super::words;
use crate::synthetic::draw::Draws;
use crate::synthetic::error::SyntheticError;
use crate::synthetic::files::write;

/// Frames of a shot before its action begins, and after it ends.
const MARGIN: u64 = 6;
/// Frames of a test video.
const TEST_FRAMES: u64 = 60;

/// Where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharadesPaths {
    /// `metadata_train.csv`.
    pub train: PathBuf,
    /// `CharadesEgo_v1_test_only1st.csv`.
    pub test: PathBuf,
    /// `Charades_v1_classes.txt`.
    pub classes: PathBuf,
}

/// Writes the three files and adds their films.
pub(super) fn write_files(
    dataset: &ShapesDataset,
    out: &Path,
    films: &mut Vec<Film>,
) -> Result<CharadesPaths, SyntheticError> {
    let paths = CharadesPaths {
        train: out.join("metadata_train.csv"),
        test: out.join("CharadesEgo_v1_test_only1st.csv"),
        classes: out.join("Charades_v1_classes.txt"),
    };
    let classes = classes(dataset);
    let lines = classes.iter().enumerate().map(|(class, act)| format!("c{class:03} {}\n", words::class(*act)));
    write(&paths.classes, lines.collect::<String>().as_bytes())?;
    let scripts = [
        Script { shots: dataset.clips_per_video, frames: 54..67, changes: false },
        Script { shots: 1, frames: TEST_FRAMES..TEST_FRAMES + 1, changes: false },
    ];
    let [train, test] = [0, 1].map(|split| {
        let name = |number: usize, draws: &mut Draws| name(split, number, draws);
        dataset.films(Part::Charades, split, dataset.homes[split], &scripts[split], name)
    });
    write(&paths.train, train_table(&train, &classes).as_bytes())?;
    write(&paths.test, test_table(&test, &classes).as_bytes())?;
    films.extend(train.into_iter().chain(test));
    Ok(paths)
}

/// The dataset's acts, then others of all that there can be.
fn classes(dataset: &ShapesDataset) -> Vec<Act> {
    let own: Vec<Act> = acts(dataset.colours, dataset.shapes, dataset.motions).collect();
    let others = all_acts().filter(|act| !own.contains(act));
    own.iter().copied().chain(others).take(NUM_CLASSES).collect()
}

/// Five letters and digits and the ending of first-person videos.
fn name(split: usize, number: usize, draws: &mut Draws) -> String {
    let letter = char::from(b'A' + draws.below(26) as u8);
    format!("{letter}{split}{number:03X}EGO")
}

/// The number of an act's class; datasets of many acts have some without.
fn class_of(shot: &Shot, classes: &[Act]) -> Option<usize> {
    classes.iter().position(|act| *act == shot.told.act)
}

/// An action's class, start and end.
fn action(shot: &Shot, classes: &[Act]) -> Option<(usize, [String; 2])> {
    let ends = [shot.frames.start + MARGIN, shot.frames.end - MARGIN];
    class_of(shot, classes).map(|class| (class, ends.map(|frame| format!("{:.2}", seconds(frame)))))
}

fn train_table(films: &[Film], classes: &[Act]) -> String {
    let shots = films.iter().flat_map(|film| film.shots.iter().map(move |shot| (film, shot)));
    let row = |(film, shot): (&Film, &Shot)| {
        let (class, [start, end]) = action(shot, classes)?;
        Some(vec![film.name.clone(), format!("c{class:03}"), start, end, words::class(classes[class])])
    };
    table('\t', [header(&["id", "cls", "t_start", "t_end", "narration"])].into_iter().chain(shots.filter_map(row)))
}

fn test_table(films: &[Film], classes: &[Act]) -> String {
    let row = |film: &Film| {
        let actions = film.shots.iter().filter_map(|shot| action(shot, classes));
        let actions: Vec<String> = actions.map(|(class, [start, end])| format!("c{class:03} {start} {end}")).collect();
        let length = format!("{:.2}", film.sec());
        vec![film.name.clone(), "WRLD".into(), "Made up".into(), "7".into(), actions.join(";"), length, "Yes".into()]
    };
    let columns = ["id", "subject", "scene", "quality", "actions", "length", "egocentric"];
    table(',', [header(&columns)].into_iter().chain(films.iter().map(row)))
}
