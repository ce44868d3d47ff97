//! Sentences and windows: each sentence has a hidden concept, which its tokens and the rows of its window show.
//!
//! Not for words: sentences only number the queries. Invariant: windows of one clip never meet, so that a query has one
//! answer.

use std::ops::Range;
use std::path::{Path, PathBuf};

use egofx::ids::{ClipUid, UnitUid, VideoUid};
use egofx::ndarray::{Array1, Array2, s};
use egofx::queries::Queries;
use egofx::store::{RowKind, RowMeta};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::draw::Draws;
use super::error::{SyntheticError, at_least};
use super::files::{ROWS_PER_SEC, SPLITS, Tables, episodic, names, tables, write_json};
use super::rows::{FeatureSet, Rows, times};

/// Sizes of a synthetic NLQ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nlq {
    /// Seed of everything.
    pub seed: u64,
    /// Clips of the training split, and of the validation split.
    pub clips: [usize; 2],
    /// Rows of a clip, at 1.875 per second; at least four for each query.
    pub rows: usize,
    /// Features of a row.
    pub dim: usize,
    /// Features of a token.
    pub token_dim: usize,
    /// Places for tokens of a sentence; between half of them and all are taken.
    pub tokens: usize,
    /// Queries about a clip.
    pub queries_per_clip: usize,
    /// Numbers that make up a concept: the more, the harder.
    pub concept_dim: usize,
    /// Size of the noise, where that of what is planted is one.
    pub noise: f32,
    /// Give each query the window of another one: nothing is left to learn.
    pub shuffled: bool,
}

/// Where a synthetic NLQ lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NlqPaths {
    /// `nlq_train.json` and `nlq_val.json`.
    pub annotations: [PathBuf; 2],
    /// Both splits in our own form.
    pub tables: Tables,
    /// The store of windows, a unit for each clip.
    pub features: PathBuf,
    /// The store of tokens, a unit for each video.
    pub tokens: PathBuf,
}

/// One clip: for each query its concept, where that is planted, and where the annotations say it is.
struct Clip {
    split: usize,
    video_uid: VideoUid,
    clip_uid: ClipUid,
    concepts: Vec<Array1<f32>>,
    planted: Vec<Range<usize>>,
    labels: Vec<Range<usize>>,
}

/// The two ways in which concepts show.
struct Maps {
    to_row: Array2<f32>,
    to_token: Array2<f32>,
}

/// Streams of draws: what all clips share, what is planted into them, and their noise.
const SHARED: u64 = 0;
const PLANTED: u64 = 1;
const ROW_NOISE: u64 = 1 << 32;
const TOKEN_NOISE: u64 = 2 << 32;

impl Nlq {
    /// A benchmark that is learnt in half a minute.
    pub fn small(seed: u64, shuffled: bool) -> Self {
        Self {
            seed,
            clips: [240, 30],
            rows: 40,
            dim: 16,
            token_dim: 12,
            tokens: 6,
            queries_per_clip: 4,
            concept_dim: 4,
            noise: 0.2,
            shuffled,
        }
    }

    /// Writes annotations, tables and stores below `out`.
    ///
    /// # Errors
    /// Any [`SyntheticError`].
    pub fn write(&self, out: &Path) -> Result<NlqPaths, SyntheticError> {
        self.check()?;
        let clips = self.planted()?;
        let annotations = SPLITS.map(|split| out.join(format!("nlq_{split}.json")));
        for (split, path) in annotations.iter().enumerate() {
            let own: Vec<&Clip> = clips.iter().filter(|clip| clip.split == split).collect();
            write_json(path, &episodic(SPLITS[split], own.len(), self.rows, |at| annotation(own[at])))?;
        }
        let (tables, queries) = tables(out, "nlq", annotations.to_vec())?;
        let maps = self.maps();
        let windows = self.feature_set("nlq-windows", RowKind::Window);
        let features = windows.write(out, (0..).zip(&clips).map(|(at, clip)| Ok(self.windows(at, clip, &maps))))?;
        let tokens = self.feature_set("nlq-tokens", RowKind::Token);
        let tokens =
            tokens.write(out, (0..).zip(&clips).map(|(at, clip)| Ok(self.sentences(at, clip, &maps, &queries))))?;
        Ok(NlqPaths { annotations, tables, features, tokens })
    }

    fn check(&self) -> Result<(), SyntheticError> {
        at_least(1, "dim", self.dim.min(self.token_dim).min(self.concept_dim))?;
        at_least(1, "tokens", self.tokens)?;
        at_least(1, "queries_per_clip", self.queries_per_clip)?;
        at_least(2, "clips", self.clips[0].min(self.clips[1]))?;
        at_least(4 * self.queries_per_clip, "rows", self.rows)
    }

    fn maps(&self) -> Maps {
        let mut draws = Draws::new(self.seed, SHARED);
        Maps { to_row: draws.map(self.dim, self.concept_dim), to_token: draws.map(self.token_dim, self.concept_dim) }
    }

    fn planted(&self) -> Result<Vec<Clip>, SyntheticError> {
        let mut draws = Draws::new(self.seed, PLANTED);
        let mut clips = Vec::new();
        for (split, name) in SPLITS.into_iter().enumerate() {
            let mut own = Vec::new();
            for at in 0..self.clips[split] {
                let (video_uid, clip_uid) = names(name, at);
                let concepts = (0..self.queries_per_clip).map(|_| draws.vector(self.concept_dim)).collect();
                let planted = draws.windows(self.rows, self.queries_per_clip);
                let (video_uid, clip_uid) = (VideoUid::parse(&video_uid)?, ClipUid::parse(&clip_uid)?);
                own.push(Clip { split, video_uid, clip_uid, concepts, planted, labels: Vec::new() });
            }
            let all: Vec<Range<usize>> = own.iter().flat_map(|clip| clip.planted.clone()).collect();
            let owners = draws.owners(all.len(), self.shuffled);
            for (clip, owners) in own.iter_mut().zip(owners.chunks(self.queries_per_clip)) {
                clip.labels = owners.iter().map(|&owner| all[owner].clone()).collect();
            }
            clips.append(&mut own);
        }
        Ok(clips)
    }

    fn feature_set(&self, name: &'static str, row_kind: RowKind) -> FeatureSet<'static> {
        let (dim, fps) = match row_kind {
            RowKind::Token => (self.token_dim, 0.0),
            _ => (self.dim, ROWS_PER_SEC),
        };
        FeatureSet { name, row_kind, dim, fps, settings: format!("{self:?}") }
    }

    /// The windows of a clip: noise, and in each window the concept of its query.
    fn windows(&self, at: u64, clip: &Clip, maps: &Maps) -> Rows {
        let mut features = Draws::new(self.seed, ROW_NOISE + at).matrix(self.rows, self.dim) * self.noise;
        for (concept, window) in clip.concepts.iter().zip(&clip.planted) {
            let mut rows = features.slice_mut(s![window.clone(), ..]);
            rows += &maps.to_row.dot(concept);
        }
        Rows {
            unit_uid: UnitUid::from(&clip.clip_uid),
            video_uid: clip.video_uid.clone(),
            clip_uid: Some(clip.clip_uid.clone()),
            query: None,
            meta: times(self.rows, ROWS_PER_SEC),
            features,
        }
    }

    /// The tokens of all sentences about a clip: noise, and the concept in those that are part of the sentence.
    fn sentences(&self, at: u64, clip: &Clip, maps: &Maps, queries: &Queries) -> Rows {
        let mut draws = Draws::new(self.seed, TOKEN_NOISE + at);
        let mut features = draws.matrix(self.queries_per_clip * self.tokens, self.token_dim) * self.noise;
        let mut meta = Vec::new();
        let own = queries.iter().filter(|query| *query.clip_uid == clip.clip_uid);
        for (number, (concept, query)) in clip.concepts.iter().zip(own).enumerate() {
            let taken = self.tokens - draws.below(self.tokens / 2 + 1);
            let first = number * self.tokens;
            let mut sentence = features.slice_mut(s![first..first + taken, ..]);
            sentence += &maps.to_token.dot(concept);
            let token = |place: usize| RowMeta {
                padded: place >= taken,
                clip_uid: Some(clip.clip_uid.clone()),
                query_id: Some(query.id.into()),
                ..RowMeta::default()
            };
            meta.extend((0..self.tokens).map(token));
        }
        let (unit_uid, video_uid) = (UnitUid::from(&clip.video_uid), clip.video_uid.clone());
        Rows { unit_uid, video_uid, clip_uid: None, query: None, meta, features }
    }
}

/// What the one annotator of a clip asks.
fn annotation(clip: &Clip) -> Value {
    let query = |(number, window): (usize, &Range<usize>)| {
        let [start, end] = [window.start, window.end].map(|row| row as f64 / ROWS_PER_SEC);
        let text = format!("Where is thing {number} of {}?", clip.clip_uid);
        json!({
            "clip_start_sec": start, "clip_end_sec": end, "video_start_sec": start, "video_end_sec": end,
            "video_start_frame": window.start * 16, "video_end_frame": window.end * 16,
            "template": "Objects: Where is object X?", "query": text, "slot_x": format!("thing {number}"),
            "verb_x": "", "raw_tags": [],
        })
    };
    let queries: Vec<Value> = clip.labels.iter().enumerate().map(query).collect();
    json!([{"annotation_uid": format!("annotation-{}", clip.clip_uid), "language_queries": queries}])
}
