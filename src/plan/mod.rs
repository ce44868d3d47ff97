//! What remains to be done: manifest times feature sets, less what the stores hold, as jobs of one video each.
//!
//! Not for starting threads or writing. Invariants: a video is in one job, whatever the number of feature sets and clips that
//! want it, so that it is decoded once; the parts of a sharded plan are disjoint and together the whole, and they do not
//! depend on what is already done.

mod layout;
mod task;

use std::collections::{BTreeSet, HashMap};
use std::ops::Index;
use std::path::PathBuf;

pub use layout::{Layout, LayoutError};
pub use task::{ClipInterval, Fills, QueryRow, Target, Task};

use crate::decode::Stereo;
use crate::feature_set::{FeatureSet, PerSet};
use crate::ids::{ClipUid, IdError, SetId, TaskId, UnitUid, VideoUid};
use crate::manifest::{Clip, Manifest, SPLIT, Video, bounded, duration_sec};
use crate::queries::Queries;
use crate::shard::{Shard, owners, split};
use crate::store::{PlannedUnit, RowKind};
use crate::time::{Fps, TimeSpan};

/// Tokens that a sentence is taken to have before anybody has counted.
const TOKENS: u64 = 15;

/// The unit of decoding: one video with all tasks that want its frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The video.
    pub video_uid: VideoUid,
    /// Its file; `None` if none was found.
    pub path: Option<PathBuf>,
    /// Its rate by the manifest; a folder of images has no other.
    pub fps: Option<Fps>,
    /// What is to be computed of its frames.
    pub tasks: Vec<TaskId>,
    /// Seconds of video to decode, as far as is known.
    pub cost_sec: f64,
}

/// What is wanted: every feature set of everything that is listed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// Videos and clips.
    pub manifest: &'w Manifest,
    /// What is asked about them; needed by recipes that read sentences.
    pub queries: Option<&'w Queries>,
    /// The feature sets.
    pub sets: &'w PerSet<FeatureSet>,
    /// Only the first so many clips, and what is asked of them; where a unit holds all clips of a video, all of those.
    pub limit: Option<usize>,
}

/// What one run has to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// What is to be computed; one is found by its [`TaskId`]: `plan[task]`.
    pub tasks: Vec<Task>,
    /// Jobs, longest first.
    pub jobs: Vec<Job>,
    /// Tasks of sentences alone.
    pub text_tasks: Vec<TaskId>,
    /// Tasks of this shard: the first so many. What follows is of other shards, and in none of the numbers.
    pub own_tasks: usize,
    /// Jobs of other shards, longest first, for a run that has done its own.
    pub others: Vec<Job>,
    /// Tasks of sentences alone, of other shards.
    pub other_text_tasks: Vec<TaskId>,
    /// Units that the tasks fill.
    pub units: usize,
    /// Units of this shard that the stores hold already.
    pub done: usize,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A query that is to be a unit, and whose id cannot be a file's name.
    #[error("query {id:?} cannot name a file of features: {source}")]
    QueryId {
        /// Its id.
        id: String,
        /// Why not.
        source: IdError,
    },
    /// Sentences are wanted and there are none.
    #[error("recipe {recipe} reads sentences, and no table of queries was given")]
    NoQueries {
        /// The recipe.
        recipe: String,
    },
    /// A recipe sees one eye of stereo videos, and the manifest does not tell which are stereo.
    #[error("recipe {recipe} sees the left half of stereo videos: {why}")]
    Stereo {
        /// The recipe.
        recipe: String,
        /// What was found and expected.
        why: String,
    },
}

impl Plan {
    /// Plans shard `shard` of what is wanted; `done(set, unit)` tells what the stores hold.
    ///
    /// # Errors
    /// [`PlanError`] if a recipe wants queries and there are none, or their ids cannot name units.
    pub fn new(wanted: Wanted, shard: Shard, done: impl Fn(SetId, &UnitUid) -> bool) -> Result<Self, PlanError> {
        let mut plan = Self::with_others(wanted, shard, done)?;
        plan.tasks.truncate(plan.own_tasks);
        Ok(Self { others: Vec::new(), other_text_tasks: Vec::new(), ..plan })
    }

    /// The same, and what the other shards have to do.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_others(
        wanted: Wanted,
        shard: Shard,
        done: impl Fn(SetId, &UnitUid) -> bool,
    ) -> Result<Self, PlanError> {
        let (own, others) = split(wanted.longest_first()?, shard, |(job, _)| job.cost_sec);
        let (mut plan, mut rest) = (Self::default(), Self::default());
        own.into_iter().for_each(|(job, tasks)| plan.add(job, tasks, &done));
        plan.own_tasks = plan.tasks.len();
        rest.tasks = std::mem::take(&mut plan.tasks);
        others.into_iter().for_each(|(job, tasks)| rest.add(job, tasks, &done));
        (plan.tasks, plan.others, plan.other_text_tasks) = (rest.tasks, rest.jobs, rest.text_tasks);
        Ok(plan)
    }

    /// Whether the task is of this shard.
    pub fn is_own(&self, task: TaskId) -> bool {
        task.place() < self.own_tasks
    }

    /// The tasks of this shard.
    pub fn own(&self) -> &[Task] {
        &self.tasks[..self.own_tasks]
    }

    fn add(&mut self, mut job: Job, tasks: Vec<Task>, done: &impl Fn(SetId, &UnitUid) -> bool) {
        for mut task in tasks {
            let planned = task.units().len();
            let set = task.set;
            let open = task.keep_units(|unit| !done(set, unit));
            self.done += planned - open;
            self.units += open;
            if open == 0 {
                continue;
            }
            let place = if task.clips.is_empty() { &mut self.text_tasks } else { &mut job.tasks };
            place.push(TaskId::new(self.tasks.len()));
            self.tasks.push(task);
        }
        if !job.tasks.is_empty() {
            self.jobs.push(job);
        }
    }

    /// Seconds of video that the plan decodes.
    pub fn cost_sec(&self) -> f64 {
        self.jobs.iter().map(|job| job.cost_sec).sum()
    }

    /// Rows that the plan will make, as far as is known.
    pub fn estimated_rows(&self) -> u64 {
        self.own().iter().map(|task| task.estimated_rows).fold(0, u64::saturating_add)
    }
}

impl Index<TaskId> for Plan {
    type Output = Task;

    fn index(&self, task: TaskId) -> &Task {
        &self.tasks[task.place()]
    }
}

impl Wanted<'_> {
    /// For each feature set the units that its store is promised, of all shards.
    ///
    /// # Errors
    /// As for [`Plan::new`].
    pub fn promised(&self) -> Result<PerSet<Vec<PlannedUnit>>, PlanError> {
        let mut promised = self.sets.map(|_| Vec::new());
        let query = |row| self.queries.and_then(|queries| queries.get(row)).map_or(("", ""), |q| (q.id, q.text));
        for task in self.jobs()?.into_iter().flat_map(|(_, tasks)| tasks) {
            promised[task.set].extend(task.promises(query));
        }
        Ok(promised)
    }

    /// Of the shards of a plan of `count`, those that have units that are not `done`.
    ///
    /// # Errors
    /// As for [`Plan::new`].
    pub fn unfinished(&self, count: u32, done: impl Fn(SetId, &UnitUid) -> bool) -> Result<BTreeSet<u32>, PlanError> {
        let jobs = self.longest_first()?;
        let owners = owners(&jobs, count, |(job, _)| job.cost_sec);
        let is_open = |task: &Task| task.units().into_iter().any(|unit| !done(task.set, unit));
        let open = jobs.iter().zip(owners).filter(|((_, tasks), _)| tasks.iter().any(is_open));
        Ok(open.map(|(_, owner)| owner).collect())
    }

    /// The jobs in the order in which they are dealt to shards.
    fn longest_first(&self) -> Result<Vec<(Job, Vec<Task>)>, PlanError> {
        let mut jobs = self.jobs()?;
        jobs.sort_by(|(a, _), (b, _)| b.cost_sec.total_cmp(&a.cost_sec).then_with(|| a.video_uid.cmp(&b.video_uid)));
        Ok(jobs)
    }

    fn jobs(&self) -> Result<Vec<(Job, Vec<Task>)>, PlanError> {
        let query_rows = self.queries_by_clip()?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut jobs = Vec::new();
        for video in &self.manifest.videos {
            let clips = video.clips.len().min(left);
            left -= clips;
            if clips > 0 {
                jobs.push(self.job(video, clips, &query_rows)?);
            }
        }
        Ok(jobs)
    }

    fn queries_by_clip(&self) -> Result<HashMap<ClipUid, Vec<QueryRow>>, PlanError> {
        let reader = self.sets.values().find(|set| set.recipe.rule().is_some() && self.queries.is_none());
        if let Some(set) = reader {
            return Err(PlanError::NoQueries { recipe: set.recipe.name.clone() });
        }
        let mut query_rows: HashMap<ClipUid, Vec<QueryRow>> = HashMap::new();
        for (queries, row) in self.queries.iter().flat_map(|queries| (0..queries.len()).map(move |row| (queries, row)))
        {
            for clip in queries.clips_of(row) {
                query_rows.entry(clip).or_default().push(row);
            }
        }
        Ok(query_rows)
    }

    fn job(
        &self,
        video: &Video,
        clips: usize,
        query_rows: &HashMap<ClipUid, Vec<QueryRow>>,
    ) -> Result<(Job, Vec<Task>), PlanError> {
        let mut tasks = Vec::new();
        for (id, set) in self.sets.iter() {
            let about = Request { wanted: self, video, id, set, query_rows, is_halved: is_halved(video, set)? };
            match set.kind {
                RowKind::Window => tasks.extend(video.clips[..clips].iter().map(|clip| about.windows(clip))),
                RowKind::FusedWindow => {
                    for clip in &video.clips[..clips] {
                        tasks.extend(about.fused(clip)?);
                    }
                }
                RowKind::Clip => tasks.push(about.clips()),
                RowKind::Pair => tasks.extend(about.pairs()),
                RowKind::Query | RowKind::Token => tasks.extend(about.sentences()),
            }
        }
        let spans = tasks.iter().flat_map(|task| &task.clips).map(|clip| clip.span.map(|span| bounded(span, video)));
        let cost_sec = union_sec(spans, duration_sec(video));
        let job =
            Job { video_uid: video.uid.clone(), path: video.path.clone(), fps: video.fps, tasks: Vec::new(), cost_sec };
        Ok((job, tasks))
    }
}

/// A video, and one feature set of what is wanted of it.
struct Request<'v> {
    wanted: &'v Wanted<'v>,
    video: &'v Video,
    id: SetId,
    set: &'v FeatureSet,
    query_rows: &'v HashMap<ClipUid, Vec<QueryRow>>,
    is_halved: bool,
}

impl Request<'_> {
    fn task(&self, clips: Vec<ClipInterval>, fills: Fills, estimated_rows: u64) -> Task {
        let is_halved = self.is_halved && !clips.is_empty();
        Task { set: self.id, video_uid: self.video.uid.clone(), clips, fills, is_halved, estimated_rows }
    }

    fn windows(&self, clip: &Clip) -> Task {
        self.task(vec![interval(clip)], Fills::Windows((&clip.uid).into()), self.estimated_windows(clip))
    }

    fn fused(&self, clip: &Clip) -> Result<Option<Task>, PlanError> {
        let mut units = Vec::new();
        for &query in self.query_rows.get(&clip.uid).into_iter().flatten() {
            let id = self.wanted.queries.and_then(|queries| queries.get(query)).map_or("", |query| query.id);
            let uid = UnitUid::parse(id).map_err(|source| PlanError::QueryId { id: id.to_owned(), source })?;
            units.push((uid, query));
        }
        let rows = self.estimated_windows(clip).saturating_mul(units.len() as u64);
        Ok((!units.is_empty()).then(|| self.task(vec![interval(clip)], Fills::Fused(units), rows)))
    }

    fn clips(&self) -> Task {
        let clips = self.in_order_of_time();
        let rows = clips.len() as u64;
        self.task(clips, Fills::Windows((&self.video.uid).into()), rows)
    }

    fn pairs(&self) -> Option<Task> {
        let rows_about = |clip: &ClipInterval| self.query_rows.get(&clip.clip_uid).cloned().unwrap_or_default();
        let (clips, query_rows): (Vec<ClipInterval>, Vec<Vec<QueryRow>>) = self
            .in_order_of_time()
            .into_iter()
            .map(|clip| (rows_about(&clip), clip))
            .filter(|(query_rows, _)| !query_rows.is_empty())
            .map(|(query_rows, clip)| (clip, query_rows))
            .unzip();
        let rows = query_rows.iter().map(Vec::len).sum::<usize>() as u64;
        let unit_uid = (&self.video.uid).into();
        (rows > 0).then(|| self.task(clips, Fills::Pairs { unit_uid, query_rows }, rows))
    }

    fn sentences(&self) -> Option<Task> {
        let own = |clip: &Clip| {
            let queries = self.wanted.queries;
            let is_own = |row: &QueryRow| queries.and_then(|q| q.get(*row)).is_some_and(|q| *q.clip_uid == clip.uid);
            let rows = self.query_rows.get(&clip.uid).into_iter().flatten().copied();
            rows.filter(is_own).map(|row| (row, clip.uid.clone())).collect::<Vec<_>>()
        };
        let mut query_rows: Vec<(QueryRow, ClipUid)> = self.video.clips.iter().flat_map(own).collect();
        query_rows.sort_by_key(|(row, _)| *row);
        let each = if self.set.kind == RowKind::Token { TOKENS } else { 1 };
        let rows = query_rows.len() as u64 * each;
        let unit_uid = (&self.video.uid).into();
        (rows > 0).then(|| self.task(Vec::new(), Fills::Sentences { unit_uid, query_rows }, rows))
    }

    fn in_order_of_time(&self) -> Vec<ClipInterval> {
        let bounds =
            |clip: &ClipInterval| clip.span.map_or((0.0, f64::INFINITY), |span| (span.start_sec, span.end_sec));
        let mut clips: Vec<ClipInterval> = self.video.clips.iter().map(interval).collect();
        clips.sort_by(|a, b| {
            let ((start, end), (other_start, other_end)) = (bounds(a), bounds(b));
            start.total_cmp(&other_start).then(end.total_cmp(&other_end)).then_with(|| a.clip_uid.cmp(&b.clip_uid))
        });
        clips
    }

    fn estimated_windows(&self, clip: &Clip) -> u64 {
        let of_span = |span| bounded(span, self.video).duration_sec();
        let seconds = clip.span.map_or_else(|| duration_sec(self.video), of_span);
        let fps = self.video.fps.map_or(30.0, Fps::as_f64);
        let grid = self.set.recipe.frames().map(|frames| frames.grid);
        grid.map_or(0, |grid| grid.estimate_rows(seconds, fps))
    }
}

/// Whether `set` sees one eye of the frames of `video`.
fn is_halved(video: &Video, set: &FeatureSet) -> Result<bool, PlanError> {
    let recipe = &set.recipe;
    if recipe.frames().is_none_or(|frames| frames.transform.stereo == Stereo::Whole) {
        return Ok(false);
    }
    let said = video.is_stereo().map_err(|why| PlanError::Stereo { recipe: recipe.name.clone(), why })?;
    Ok(said.unwrap_or(false))
}

fn interval(clip: &Clip) -> ClipInterval {
    ClipInterval { clip_uid: clip.uid.clone(), span: clip.span, split: clip.extra.get(SPLIT).cloned() }
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
