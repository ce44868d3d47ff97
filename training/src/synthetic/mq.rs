//! Moments of classes: each class has a prototype, which is added to the rows of its moments.
//!
//! Not for overlapping moments. Invariant: a moment begins and ends between two rows.

use std::ops::Range;
use std::path::{Path, PathBuf};

use egofx::ids::{ClipUid, UnitUid, VideoUid};
use egofx::ndarray::{Array2, s};
use egofx::store::RowKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::draw::Draws;
use super::error::{SyntheticError, at_least};
use super::files::{ROWS_PER_SEC, SPLITS, Tables, episodic, names, tables, write_json};
use super::rows::{FeatureSet, Rows, times};

/// Sizes of a synthetic MQ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mq {
    /// Seed of everything.
    pub seed: u64,
    /// Clips of the training split, and of the validation split.
    pub clips: [usize; 2],
    /// Rows of a clip, at 1.875 per second; at least four for each moment.
    pub rows: usize,
    /// Features of a row.
    pub dim: usize,
    /// Classes, all of which occur in each split if that has moments enough.
    pub classes: usize,
    /// Moments of a clip.
    pub moments_per_clip: usize,
    /// Size of the noise, where that of a prototype is one.
    pub noise: f32,
    /// Give each clip the moments of another one: nothing is left to learn.
    pub shuffled: bool,
}

/// Where a synthetic MQ lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqPaths {
    /// `moments_train.json` and `moments_val.json`.
    pub annotations: [PathBuf; 2],
    /// Both splits in our own form.
    pub tables: Tables,
    /// The store of windows, a unit for each clip.
    pub features: PathBuf,
}

/// A moment of a class, in rows.
type Moment = (usize, Range<usize>);

struct Clip {
    split: usize,
    planted: Vec<Moment>,
    labels: Vec<Moment>,
}

const SHARED: u64 = 0;
const PLANTED: u64 = 1;
const ROW_NOISE: u64 = 1 << 32;

impl Mq {
    /// A benchmark that is learnt in some seconds.
    pub fn small(seed: u64, shuffled: bool) -> Self {
        Self { seed, clips: [32, 16], rows: 64, dim: 16, classes: 4, moments_per_clip: 3, noise: 0.6, shuffled }
    }

    /// Writes annotations, tables and the store below `out`.
    ///
    /// # Errors
    /// Any [`SyntheticError`].
    pub fn write(&self, out: &Path) -> Result<MqPaths, SyntheticError> {
        at_least(1, "dim", self.dim)?;
        at_least(1, "classes", self.classes)?;
        at_least(1, "moments_per_clip", self.moments_per_clip)?;
        at_least(2, "clips", self.clips[0].min(self.clips[1]))?;
        at_least(4 * self.moments_per_clip, "rows", self.rows)?;
        let clips = self.planted();
        let annotations = SPLITS.map(|split| out.join(format!("moments_{split}.json")));
        for (split, path) in annotations.iter().enumerate() {
            let own: Vec<&Clip> = clips.iter().filter(|clip| clip.split == split).collect();
            write_json(path, &episodic(SPLITS[split], own.len(), self.rows, |at| annotation(&own[at].labels)))?;
        }
        let (tables, _) = tables(out, "mq", annotations.to_vec())?;
        let prototypes = Draws::new(self.seed, SHARED).matrix(self.classes, self.dim);
        let settings = format!("{self:?}");
        let set =
            FeatureSet { name: "mq-windows", row_kind: RowKind::Window, dim: self.dim, fps: ROWS_PER_SEC, settings };
        let features =
            set.write(out, clips.iter().enumerate().map(|(at, clip)| self.windows(at, clip, &prototypes)))?;
        Ok(MqPaths { annotations, tables, features })
    }

    fn planted(&self) -> Vec<Clip> {
        let mut draws = Draws::new(self.seed, PLANTED);
        let mut clips = Vec::new();
        for (split, &count) in self.clips.iter().enumerate() {
            // Classes take turns, in a random order, so that none is missing.
            let mut classes: Vec<usize> = (0..count * self.moments_per_clip).map(|n| n % self.classes).collect();
            draws.shuffle(&mut classes);
            let moments = classes.chunks(self.moments_per_clip).map(|classes| {
                let windows = draws.windows(self.rows, classes.len());
                classes.iter().copied().zip(windows).collect::<Vec<Moment>>()
            });
            let planted: Vec<Vec<Moment>> = moments.collect();
            let owners = draws.owners(count, self.shuffled);
            let clip = |at: usize| Clip { split, planted: planted[at].clone(), labels: planted[owners[at]].clone() };
            clips.extend((0..count).map(clip));
        }
        clips
    }

    fn windows(&self, at: usize, clip: &Clip, prototypes: &Array2<f32>) -> Result<Rows, SyntheticError> {
        let mut features = Draws::new(self.seed, ROW_NOISE + at as u64).matrix(self.rows, self.dim) * self.noise;
        for (class, window) in &clip.planted {
            let mut rows = features.slice_mut(s![window.clone(), ..]);
            rows += &prototypes.row(*class);
        }
        // Clips of the second split come after those of the first.
        let (video_uid, clip_uid) = names(SPLITS[clip.split], at - clip.split * self.clips[0]);
        let (video_uid, clip_uid) = (VideoUid::parse(&video_uid)?, ClipUid::parse(&clip_uid)?);
        let (unit_uid, meta) = (UnitUid::from(&clip_uid), times(self.rows, ROWS_PER_SEC));
        Ok(Rows { unit_uid, video_uid, clip_uid: Some(clip_uid), query: None, meta, features })
    }
}

/// What the one annotator of a clip saw.
fn annotation(moments: &[Moment]) -> Value {
    let label = |(class, window): &Moment| {
        let [start, end] = [window.start, window.end].map(|row| row as f64 / ROWS_PER_SEC);
        json!({
            "label": format!("class_{class:03}"), "primary": true, "start_time": start, "end_time": end,
            "video_start_time": start, "video_end_time": end,
            "video_start_frame": window.start * 16, "video_end_frame": window.end * 16,
        })
    };
    json!([{"annotator_uid": "annotator-0", "labels": moments.iter().map(label).collect::<Vec<_>>()}])
}
