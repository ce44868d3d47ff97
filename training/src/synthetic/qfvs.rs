//! Four videos of shots, some of which show concepts: a shot that met the prompt of a concept carries the concept's
//! prototype if it shows it.
//!
//! Not for what real shots look like. Invariant: the true summary of a pair of concepts is the shots that show both, and
//! they are as many as a summary takes, so that whoever finds them has a full score.

use std::path::{Path, PathBuf};

use egofx::ids::{ClipUid, UnitUid, VideoUid};
use egofx::ndarray::{Array2, Axis};
use egofx::queries::{Queries, Query};
use egofx::store::RowKind;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::draw::Draws;
use super::error::{SyntheticError, at_least};
use super::files::{Tables, tables, write, write_json};
use super::rows::{FeatureSet, Rows, times};

/// Sizes of a synthetic QFVS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qfvs {
    /// Seed of everything.
    pub seed: u64,
    /// Shots of a video, of five seconds each; from 50, which is the shortest with a summary, to 3979, which is the
    /// longest that can be cut into segments.
    pub shots: usize,
    /// Features of a shot.
    pub dim: usize,
    /// Concepts of all videos.
    pub concepts: usize,
    /// Pairs of concepts for which a video has a summary, at most 25.
    pub pairs: usize,
    /// Size of the noise, where that of a prototype is one.
    pub noise: f32,
    /// Give each shot the concepts of another one: nothing is left to learn.
    pub shuffled: bool,
}

/// Where a synthetic QFVS lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QfvsPaths {
    /// The folder `Oracle_Summaries`.
    pub oracle_summaries: PathBuf,
    /// The folder `Dense_per_shot_tags`.
    pub shot_tags: PathBuf,
    /// The concepts of each shot as JSON, in place of `Tags.mat`.
    pub tags: PathBuf,
    /// Manifest and queries.
    pub tables: Tables,
    /// The store of shots without a prompt, a unit for each video, by which it is cut into segments.
    pub shots: PathBuf,
    /// The store of shots that met a prompt, a unit for each.
    pub features: PathBuf,
}

/// Names as the real ones have.
const VIDEOS: [&str; 4] = ["P01", "P02", "P03", "P04"];
/// A summary takes one shot of so many.
const SHOTS_OF_A_SUMMARY: usize = 50;
/// The most pairs of a video: with so many, half of its shots are in a summary.
const MOST_PAIRS: usize = 25;
/// The share of the shots in no summary that show a concept, one alone.
const ALONE: f64 = 0.5;
/// Shots per second.
const SHOTS_PER_SEC: f64 = 0.2;
/// Shots of a scene, which look alike without a prompt.
const SCENE_SHOTS: usize = 40;
/// The most shots that twenty segments hold.
const MOST_SHOTS: usize = 3979;

const SHARED: u64 = 0;
const PLANTED: u64 = 1;
const SHOT_NOISE: u64 = 1 << 32;
const PROMPT_NOISE: u64 = 2 << 32;

/// What a video shows, shot by shot and concept by concept, and what is said of it.
struct Video {
    name: &'static str,
    pairs: Vec<[usize; 2]>,
    planted: Array2<bool>,
    tags: Array2<bool>,
}

impl Qfvs {
    /// A benchmark that is learnt in a minute.
    pub fn small(seed: u64, shuffled: bool) -> Self {
        Self { seed, shots: 150, dim: 24, concepts: 5, pairs: 10, noise: 0.1, shuffled }
    }

    /// Writes summaries, tags, tables and stores below `out`.
    ///
    /// # Errors
    /// Any [`SyntheticError`].
    pub fn write(&self, out: &Path) -> Result<QfvsPaths, SyntheticError> {
        self.check()?;
        let videos = self.planted();
        let (oracle_summaries, shot_tags) = (out.join("Oracle_Summaries"), out.join("Dense_per_shot_tags"));
        let tags = out.join("tags.json");
        for video in &videos {
            video.write_summaries(&oracle_summaries)?;
            video.write_tags(&shot_tags)?;
        }
        write_json(&tags, &Value::Object(videos.iter().map(Video::tags_json).collect::<Map<_, _>>()))?;
        let (tables, queries) = tables(out, "qfvs", vec![oracle_summaries.clone()])?;
        let shots = self.feature_set("qfvs-shots", RowKind::Window);
        let shots = shots.write(out, (0..).zip(&videos).map(|(at, video)| self.scenes(at, video)))?;
        let prototypes = Draws::new(self.seed, SHARED).matrix(self.concepts, self.dim);
        let concepts = concepts_of(&queries);
        let prompted = (0..).zip(queries.iter().zip(&concepts)).map(|(at, (query, concepts))| {
            let video = videos.iter().find(|video| video.name == query.clip_uid.as_str());
            video.map(|video| self.prompted(at, video, &query, concepts, &prototypes))
        });
        let features = self.feature_set("qfvs-prompted", RowKind::FusedWindow).write(out, prompted.flatten())?;
        Ok(QfvsPaths { oracle_summaries, shot_tags, tags, tables, shots, features })
    }

    fn check(&self) -> Result<(), SyntheticError> {
        at_least(1, "dim", self.dim)?;
        at_least(1, "pairs", self.pairs)?;
        at_least(2, "concepts", self.concepts)?;
        at_least(SHOTS_OF_A_SUMMARY, "shots", self.shots)?;
        let at_most = |most: usize, what, found| match found <= most {
            true => Ok(()),
            false => Err(SyntheticError::Size { what, found, expected: format!("at most {most}") }),
        };
        at_most(MOST_SHOTS, "shots", self.shots)?;
        at_most(MOST_PAIRS.min(self.concepts * (self.concepts - 1) / 2), "pairs", self.pairs)
    }

    fn planted(&self) -> Vec<Video> {
        let mut draws = Draws::new(self.seed, PLANTED);
        let all: Vec<[usize; 2]> =
            (0..self.concepts).flat_map(|one| (one + 1..self.concepts).map(move |two| [one, two])).collect();
        let mut video = |name| {
            let mut pairs = all.clone();
            draws.shuffle(&mut pairs);
            pairs.truncate(self.pairs);
            let planted = self.shown(&pairs, &mut draws);
            let tags = planted.select(Axis(0), &draws.owners(self.shots, self.shuffled));
            Video { name, pairs, planted, tags }
        };
        VIDEOS.map(&mut video).into()
    }

    /// Which shots `[shots]` show which concepts `[concepts]`: both of a pair, one alone, or none.
    fn shown(&self, pairs: &[[usize; 2]], draws: &mut Draws) -> Array2<bool> {
        let mut order: Vec<usize> = (0..self.shots).collect();
        draws.shuffle(&mut order);
        let mut shown = Array2::from_elem((self.shots, self.concepts), false);
        let (in_summaries, others) = order.split_at(pairs.len() * (self.shots / SHOTS_OF_A_SUMMARY));
        for (&[one, two], shots) in pairs.iter().zip(in_summaries.chunks(self.shots / SHOTS_OF_A_SUMMARY)) {
            shots.iter().for_each(|&shot| (shown[[shot, one]], shown[[shot, two]]) = (true, true));
        }
        for &shot in others {
            if draws.uniform() < ALONE {
                shown[[shot, draws.below(self.concepts)]] = true;
            }
        }
        shown
    }

    fn feature_set(&self, name: &'static str, row_kind: RowKind) -> FeatureSet<'static> {
        FeatureSet { name, row_kind, dim: self.dim, fps: SHOTS_PER_SEC, settings: format!("{self:?}") }
    }

    /// The shots of a video without a prompt: scenes, and noise.
    fn scenes(&self, at: u64, video: &Video) -> Result<Rows, SyntheticError> {
        let mut draws = Draws::new(self.seed, SHOT_NOISE + at);
        let scenes = draws.matrix(self.shots.div_ceil(SCENE_SHOTS), self.dim);
        let mut features = draws.matrix(self.shots, self.dim) * self.noise;
        for (shot, mut row) in features.outer_iter_mut().enumerate() {
            row += &scenes.row(shot / SCENE_SHOTS);
        }
        let clip_uid = ClipUid::parse(video.name)?;
        self.rows(UnitUid::from(&clip_uid), clip_uid, None, features)
    }

    /// The shots of a video that met a prompt: the prototypes of those of its concepts that a shot shows, and noise.
    fn prompted(
        &self,
        at: u64,
        video: &Video,
        query: &Query,
        concepts: &[usize],
        prototypes: &Array2<f32>,
    ) -> Result<Rows, SyntheticError> {
        let mut features = Draws::new(self.seed, PROMPT_NOISE + at).matrix(self.shots, self.dim) * self.noise;
        for (mut row, shown) in features.outer_iter_mut().zip(video.planted.outer_iter()) {
            for &concept in concepts.iter().filter(|&&concept| shown[concept]) {
                row += &prototypes.row(concept);
            }
        }
        let met = (query.id.to_owned(), query.text.to_owned());
        self.rows(UnitUid::parse(query.id)?, query.clip_uid.clone(), Some(met), features)
    }

    fn rows(
        &self,
        unit_uid: UnitUid,
        clip_uid: ClipUid,
        query: Option<(String, String)>,
        features: Array2<f32>,
    ) -> Result<Rows, SyntheticError> {
        let (video_uid, meta) = (VideoUid::parse(clip_uid.as_str())?, times(self.shots, SHOTS_PER_SEC));
        Ok(Rows { unit_uid, video_uid, clip_uid: Some(clip_uid), query, meta, features })
    }
}

impl Video {
    fn write_summaries(&self, folder: &Path) -> Result<(), SyntheticError> {
        for &[one, two] in &self.pairs {
            let both = self.tags.outer_iter().enumerate().filter(|(_, tags)| tags[one] && tags[two]);
            let lines: String = both.map(|(shot, _)| format!("{}\n", shot + 1)).collect();
            let file = format!("{}_{}_oracle.txt", name_of(one), name_of(two));
            write(&folder.join(self.name).join(file), lines.as_bytes())?;
        }
        Ok(())
    }

    fn write_tags(&self, folder: &Path) -> Result<(), SyntheticError> {
        let line = |tags: egofx::ndarray::ArrayView1<bool>| {
            let shown = tags.iter().enumerate().filter(|(_, shown)| **shown).map(|(concept, _)| name_of(concept));
            shown.collect::<Vec<_>>().join(",") + "\n"
        };
        let lines: String = self.tags.outer_iter().map(line).collect();
        write(&folder.join(self.name).join(format!("{}.txt", self.name)), lines.as_bytes())
    }

    fn tags_json(&self) -> (String, Value) {
        let shots: Vec<Vec<u8>> =
            self.tags.outer_iter().map(|tags| tags.iter().map(|&shown| u8::from(shown)).collect()).collect();
        (self.name.to_owned(), json!(shots))
    }
}

/// A name without blanks or underscores, which would end it in the name of a file.
fn name_of(concept: usize) -> String {
    format!("Concept{concept:02}")
}

/// The concepts of each prompt.
fn concepts_of(queries: &Queries) -> Vec<Vec<usize>> {
    let column = |name: &str| queries.column(name).into_iter().flatten().collect::<Vec<_>>();
    let number = |name: &&str| name.strip_prefix("Concept").and_then(|number| number.parse().ok());
    let pairs = column("concept_1").into_iter().zip(column("concept_2"));
    pairs.map(|(one, two)| [one, two].iter().filter_map(number).collect()).collect()
}
