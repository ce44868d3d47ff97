//! A small dataset on video: coloured shapes that move, and what every benchmark says about them.
//!
//! Real files all the way: videos in H.264, and annotations in the forms in which EgoClip, EgoMCQ, OSCC and PNR,
//! EPIC-KITCHENS-100 retrieval, Charades-Ego and EgoTaskQA are published, so that everything from a video to a score
//! can be walked, and learnt by a tiny model. Not a measure of how good a model is. Invariants: the same settings give
//! the same bytes, no video belongs to two splits, and no single picture tells a motion.
//!
//! Left and right are motions here. Who flips clips at random for training and leaves their sentences as they are, as
//! the published code does, cannot tell them apart.

mod charades;
mod csv;
mod egoclip;
mod encode;
mod epic;
mod film;
mod oscc;
mod paint;
mod qa;
mod scene;
mod settings;
mod tokenizers;
mod words;

use std::path::{Path, PathBuf};

use egofx::decode::Tools;
use rayon::prelude::*;

use super::error::{SyntheticError, at_least};
use film::Film;

pub use charades::CharadesPaths;
pub use epic::EpicPaths;
pub use qa::QaPaths;
pub use settings::ShapesDataset;

/// Where a dataset lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapesPaths {
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
    /// Folders of vocabularies, of EgoVLP's and of EgoVLPv2's kind, the same in all datasets.
    pub tokenizers: [PathBuf; 2],
}

/// A film and the file that it goes to.
type Planned = (PathBuf, Film);

impl ShapesDataset {
    /// Writes videos, annotations and vocabularies below `out`.
    ///
    /// # Errors
    /// [`SyntheticError::Size`] before anything is written, [`SyntheticError::Encode`] where ffmpeg fails,
    /// [`SyntheticError::Write`].
    pub fn write(&self, out: &Path, tools: &Tools) -> Result<ShapesPaths, SyntheticError> {
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
        Ok(ShapesPaths { videos, egoclip, egomcq, oscc, epic, charades, qa, qa_videos, tokenizers })
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
}

fn planned(folder: &Path, films: Vec<Film>) -> Vec<Planned> {
    films.into_iter().map(|film| (folder.join(format!("{}.mp4", film.name)), film)).collect()
}

fn at_most(most: usize, what: &'static str, found: usize) -> Result<(), SyntheticError> {
    let expected = || format!("at most {most}");
    if found <= most { Ok(()) } else { Err(SyntheticError::Size { what, found, expected: expected() }) }
}
