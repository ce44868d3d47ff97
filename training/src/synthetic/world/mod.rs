//! A small world on video: coloured shapes that move, and what every benchmark says about them.
//!
//! Real files all the way: videos in H.264, and annotations in the forms in which EgoClip, EgoMCQ, OSCC and PNR,
//! EPIC-KITCHENS-100 retrieval, Charades-Ego and EgoTaskQA are published, so that everything from a video to a score
//! can be walked, and learnt by a tiny model. Not a measure of how good a model is. Invariants: the same settings give
//! the same bytes, no video belongs to two splits, and no single picture tells a motion.
//!
//! Left and right are motions here. Who flips clips at random for training and leaves their sentences as they are, as
//! the published code does, cannot tell them apart.

mod charades;
mod egoclip;
mod encode;
mod epic;
mod film;
mod oscc;
mod paint;
mod qa;
mod scene;
mod tokenizers;
mod words;

use std::path::{Path, PathBuf};

use egofx::decode::Tools;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::draw::Draws;
use super::{SyntheticError, at_least};
use film::{Film, Script};

pub use charades::CharadesPaths;
pub use epic::EpicPaths;
pub use qa::QaPaths;

/// Sizes of a world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Seed of everything.
    pub seed: u64,
    /// Width and height of its videos in pixels, an even number.
    pub side: usize,
    /// How many colours there are, 2 to 6.
    pub colours: usize,
    /// How many shapes, 2 to 6.
    pub shapes: usize,
    /// How many motions, 2 to 8: left, right, up, down, shaking, swelling, swirling, holding still.
    pub motions: usize,
    /// How many things a video shows, one after another.
    pub cast: usize,
    /// Clips of about a second that follow one another in a video, two seconds each.
    pub clips_per_video: usize,
    /// Videos of EgoClip, and those that EgoMCQ asks about.
    pub videos: [usize; 2],
    /// Questions of EgoMCQ between videos, and as many within one.
    pub questions: usize,
    /// Clips of OSCC and PNR for training and validation, three in a video, two of which with a change.
    pub changes: [usize; 2],
    /// Videos of EPIC-KITCHENS for training and test.
    pub kitchens: [usize; 2],
    /// Videos of Charades-Ego: for training with many actions, for the test with one.
    pub homes: [usize; 2],
    /// Intervals of EgoTaskQA for training, validation and test, six questions about each.
    pub intervals: [usize; 3],
    /// Tell of each clip what happens in another one: nothing is left to learn.
    pub shuffled: bool,
}

/// Where a world lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldPaths {
    /// The folder of all videos but those of EgoTaskQA: `{video_uid}.mp4`.
    pub videos: PathBuf,
    /// `egoclip.csv`, of the training videos.
    pub egoclip: PathBuf,
    /// `egomcq.json`, of the validation videos.
    pub egomcq: PathBuf,
    /// `fho_oscc-pnr_train.json` and `_val.json`.
    pub oscc: [PathBuf; 2],
    /// EPIC-KITCHENS-100 retrieval, for training and test.
    pub epic: [EpicPaths; 2],
    /// Charades-Ego.
    pub charades: CharadesPaths,
    /// EgoTaskQA's direct and indirect split.
    pub qa: [QaPaths; 2],
    /// The folder of EgoTaskQA's videos: `{interval}.mp4`.
    pub qa_videos: PathBuf,
    /// Folders of vocabularies, of EgoVLP's and of EgoVLPv2's kind, the same in all worlds.
    pub tokenizers: [PathBuf; 2],
}

/// Which benchmark a stream of draws is for.
#[derive(Clone, Copy)]
enum Part {
    Egoclip = 1,
    Oscc,
    Epic,
    Charades,
    Qa,
}

/// What of it: the films of its splits come first.
const NAMES: usize = 8;
const TELLING: usize = 16;
const WORDS: usize = 24;
const QUESTIONS: usize = 32;

/// Number of a stream of draws, below 2^48.
fn stream(part: Part, what: usize, number: usize) -> u64 {
    (part as u64) << 40 | (what as u64) << 32 | number as u64
}

/// A film and the file that it goes to.
type Planned = (PathBuf, Film);

impl World {
    /// A world of some three hundred short videos.
    pub fn small(seed: u64, shuffled: bool) -> Self {
        Self {
            seed,
            side: 64,
            colours: 4,
            shapes: 3,
            motions: 4,
            cast: 2,
            clips_per_video: 15,
            videos: [160, 24],
            questions: 200,
            changes: [180, 60],
            kitchens: [24, 8],
            homes: [16, 48],
            intervals: [160, 24, 48],
            shuffled,
        }
    }

    /// Writes videos, annotations and vocabularies below `out`.
    ///
    /// # Errors
    /// [`SyntheticError::Size`] before anything is written, [`SyntheticError::Encode`] where ffmpeg fails,
    /// [`SyntheticError::Write`].
    pub fn write(&self, out: &Path, tools: &Tools) -> Result<WorldPaths, SyntheticError> {
        self.check()?;
        let (videos, qa_videos) = (out.join("videos"), out.join("qa_videos"));
        let mut films: Vec<Film> = Vec::new();
        let (egoclip, egomcq) = egoclip::write_files(self, out, &mut films)?;
        let oscc = oscc::write_files(self, out, &mut films)?;
        let epic = epic::write_files(self, out, &mut films)?;
        let charades = charades::write_files(self, out, &mut films)?;
        let mut planned = planned(&videos, films);
        let mut films = Vec::new();
        let qa = qa::write_files(self, out, &mut films)?;
        planned.extend(self::planned(&qa_videos, films));
        let tokenizers = tokenizers::write_both(out)?;
        for folder in [&videos, &qa_videos] {
            let refused = |cause| SyntheticError::Write { path: folder.clone(), cause };
            std::fs::create_dir_all(folder).map_err(refused)?;
        }
        let encode = |(path, film): &Planned| encode::write(film, self.seed, self.side, tools, path);
        planned.par_iter().try_for_each(encode)?;
        Ok(WorldPaths { videos, egoclip, egomcq, oscc, epic, charades, qa, qa_videos, tokenizers })
    }

    fn check(&self) -> Result<(), SyntheticError> {
        at_least(32, "side", self.side)?;
        at_most(1024, "side", self.side)?;
        if self.side % 2 == 1 {
            return Err(SyntheticError::Size { what: "side", found: self.side, expected: "an even number".into() });
        }
        let tables = [
            ("colours", self.colours, scene::COLOURS.len()),
            ("shapes", self.shapes, scene::SHAPES.len()),
            ("motions", self.motions, scene::MOTIONS.len()),
        ];
        for (what, found, most) in tables {
            at_least(2, what, found)?;
            at_most(most, what, found)?;
        }
        at_least(1, "cast", self.cast)?;
        at_most(self.colours * self.shapes, "cast", self.cast)?;
        at_least(egoclip::CHOICES, "clips_per_video", self.clips_per_video)?;
        at_least(1, "videos", self.videos[0])?;
        at_least(egoclip::CHOICES, "videos", self.videos[1])?;
        let others = [&self.changes[..], &self.kitchens, &self.homes, &self.intervals];
        // Shuffled, each clip of a split is told of another one.
        others.into_iter().flatten().try_for_each(|&count| at_least(2, "a split of clips", count))
    }

    /// Films of a split, told as they are or shuffled. `name` gives a film its name.
    fn films(
        &self,
        part: Part,
        split: usize,
        count: usize,
        script: &Script,
        name: impl Fn(usize, &mut Draws) -> String,
    ) -> Vec<Film> {
        let film = |number: usize| {
            let name = name(number, &mut Draws::new(self.seed, stream(part, NAMES + split, number)));
            self.film(name, stream(part, split, number), script)
        };
        let mut films: Vec<Film> = (0..count).map(film).collect();
        self.retell(&mut films, stream(part, TELLING + split, 0));
        films
    }

    /// Draws for the sentences of a split, or for its questions.
    fn draws(&self, part: Part, what: usize) -> Draws {
        Draws::new(self.seed, stream(part, what, 0))
    }
}

fn planned(folder: &Path, films: Vec<Film>) -> Vec<Planned> {
    films.into_iter().map(|film| (folder.join(format!("{}.mp4", film.name)), film)).collect()
}

fn at_most(most: usize, what: &'static str, found: usize) -> Result<(), SyntheticError> {
    let expected = || format!("at most {most}");
    if found <= most { Ok(()) } else { Err(SyntheticError::Size { what, found, expected: expected() }) }
}

/// A table with quotes where they are needed.
fn table(separator: char, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let quoted = |cell: String| match cell.contains([separator, '"']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    };
    let line = |row: Vec<String>| {
        let cells: Vec<String> = row.into_iter().map(quoted).collect();
        cells.join(&separator.to_string()) + "\n"
    };
    rows.into_iter().map(line).collect()
}

/// The names of columns.
fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
