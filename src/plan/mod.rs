//! What remains to be done: manifest times recipes, less what the stores hold, as jobs of one video each.
//!
//! Not for starting threads or writing. Invariants: a video is in one job, whatever the number of recipes and clips that
//! want it, so that it is decoded once; the parts of a sharded plan are disjoint and together the whole, and they do not
//! depend on what is already done.

mod layout;

use std::path::{Path, PathBuf};

pub use layout::{Layout, LayoutError};

use crate::ids::{ClipUid, VideoUid};
use crate::manifest::{Clip, Manifest, Video};
use crate::recipe::Recipe;
use crate::store::{PlannedUnit, Shard};
use crate::time::{Fps, TimeSpan};

/// What is assumed of a video that says nothing of its length: seconds per byte at half a megabyte a second.
const SEC_PER_BYTE: f64 = 1.0 / 500_000.0;

/// The unit of commit: one clip (or whole video) of one feature set.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// Which recipe, by position.
    pub recipe: usize,
    /// The clip.
    pub clip_uid: ClipUid,
    /// Its video.
    pub video_uid: VideoUid,
    /// Its part of the video; `None` for all of it.
    pub span: Option<TimeSpan>,
    /// Rows that it will have, as far as the manifest tells.
    pub estimated_rows: u64,
}

/// The unit of decoding: one video with all units that want its frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The video.
    pub video_uid: VideoUid,
    /// Its file; `None` if none was found.
    pub path: Option<PathBuf>,
    /// Positions in [`Plan::units`].
    pub units: Vec<usize>,
    /// Seconds of video to decode, as far as is known.
    pub cost_sec: f64,
}

/// What one run has to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Units to be made.
    pub units: Vec<Unit>,
    /// Jobs, longest first.
    pub jobs: Vec<Job>,
    /// Units of this shard that the stores hold already.
    pub done: usize,
}

impl Plan {
    /// Plans shard `shard` of `manifest` times `recipes`. `done(recipe, clip)` tells what the stores hold; `limit` keeps
    /// the first so many clips of the manifest.
    pub fn new(
        manifest: &Manifest,
        recipes: &[Recipe],
        shard: Shard,
        limit: Option<usize>,
        done: impl Fn(usize, &ClipUid) -> bool,
    ) -> Self {
        let mut left = limit.unwrap_or(usize::MAX);
        let mut jobs: Vec<(Job, Vec<Unit>)> = Vec::new();
        for video in &manifest.videos {
            let clips = video.clips.len().min(left);
            left -= clips;
            if clips > 0 {
                jobs.push(Self::job(video, clips, recipes));
            }
        }
        jobs.sort_by(|(a, _), (b, _)| b.cost_sec.total_cmp(&a.cost_sec).then_with(|| a.video_uid.cmp(&b.video_uid)));
        let mut plan = Self::default();
        for (job, units) in part(jobs, shard, |(job, _)| job.cost_sec) {
            plan.add(job, units, &done);
        }
        plan
    }

    fn job(video: &Video, clips: usize, recipes: &[Recipe]) -> (Job, Vec<Unit>) {
        let units = (0..recipes.len()).flat_map(|recipe| {
            video.clips[..clips].iter().map(move |clip| Unit {
                recipe,
                clip_uid: clip.uid.clone(),
                video_uid: video.uid.clone(),
                span: clip.span,
                estimated_rows: estimate_rows(video, clip.span, &recipes[recipe]),
            })
        });
        let spans = video.clips[..clips].iter().map(|clip| clip.span);
        let job = Job {
            video_uid: video.uid.clone(),
            path: video.path.clone(),
            units: Vec::new(),
            cost_sec: union_sec(spans, duration_sec(video)),
        };
        (job, units.collect())
    }

    fn add(&mut self, mut job: Job, units: Vec<Unit>, done: &impl Fn(usize, &ClipUid) -> bool) {
        let planned = units.len();
        let open: Vec<Unit> = units.into_iter().filter(|unit| !done(unit.recipe, &unit.clip_uid)).collect();
        self.done += planned - open.len();
        if open.is_empty() {
            return;
        }
        job.units = (self.units.len()..self.units.len() + open.len()).collect();
        self.units.extend(open);
        self.jobs.push(job);
    }

    /// Seconds of video that the plan decodes.
    pub fn cost_sec(&self) -> f64 {
        self.jobs.iter().map(|job| job.cost_sec).sum()
    }

    /// Rows that the plan will make, as far as is known.
    pub fn estimated_rows(&self) -> u64 {
        self.units.iter().map(|unit| unit.estimated_rows).sum()
    }
}

/// The units of the whole manifest, as a store is promised them.
pub fn promised(manifest: &Manifest, limit: Option<usize>) -> Vec<PlannedUnit> {
    let clips = manifest.videos.iter().flat_map(|video| video.clips.iter().map(move |clip| (video, clip)));
    let unit = |(video, clip): (&Video, &Clip)| PlannedUnit {
        clip_uid: clip.uid.clone(),
        video_uid: video.uid.clone(),
        span: clip.span,
    };
    clips.take(limit.unwrap_or(usize::MAX)).map(unit).collect()
}

/// The jobs of one shard: each job, longest first, goes to the shard that has least to do so far.
pub(crate) fn part<T>(jobs: Vec<T>, shard: Shard, cost_sec: impl Fn(&T) -> f64) -> impl Iterator<Item = T> {
    let mut loads = vec![0.0_f64; shard.count() as usize];
    jobs.into_iter().filter(move |job| {
        let least = (0..loads.len()).min_by(|&a, &b| loads[a].total_cmp(&loads[b])).unwrap_or(0);
        // A job of unknown length still costs something, or all of them would fall to one shard.
        loads[least] += cost_sec(job).max(1.0);
        least + 1 == shard.index() as usize
    })
}

/// Length of a video in seconds, as far as it can be known without opening it.
pub(crate) fn duration_sec(video: &Video) -> f64 {
    let by_frames = || Some(video.num_frames? as f64 / video.fps.map_or(30.0, Fps::as_f64));
    let by_bytes = || Some(bytes(video.path.as_ref()?)? as f64 * SEC_PER_BYTE);
    video.duration_sec.or_else(by_frames).or_else(by_bytes).unwrap_or(0.0)
}

/// Length of a file, or of all files of a folder of pieces.
fn bytes(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_dir() {
        return Some(metadata.len());
    }
    let lengths = std::fs::read_dir(path).ok()?.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len()));
    Some(lengths.sum())
}

fn estimate_rows(video: &Video, span: Option<TimeSpan>, recipe: &Recipe) -> u64 {
    let seconds = span.map_or_else(|| duration_sec(video), TimeSpan::duration_sec);
    recipe.body.grid.estimate_rows(seconds, video.fps.map_or(30.0, Fps::as_f64))
}

/// Seconds covered by at least one span; a span of `None` is the whole.
fn union_sec(spans: impl Iterator<Item = Option<TimeSpan>>, whole_sec: f64) -> f64 {
    let all: Option<Vec<TimeSpan>> = spans.collect();
    let Some(mut spans) = all else { return whole_sec };
    spans.sort_by(|a, b| a.start_sec.total_cmp(&b.start_sec));
    let mut reach = 0.0;
    let mut sum = 0.0;
    for span in spans {
        sum += (span.end_sec - span.start_sec.max(reach)).max(0.0);
        reach = span.end_sec.max(reach);
    }
    sum
}

#[cfg(test)]
mod tests;
