//! The decode stage: takes videos one at a time, and turns their frames into the clips that all units want.
//!
//! Not for choosing windows (`plan`) or collecting frames (`sample`). Invariant: each segment of a video that some unit
//! needs is decoded once, for all units and feature sets together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::{Receiver, Sender};

use super::account::{Control, Counters, Stage};
use super::feed_stage::Offer;
use super::message::{Closed, WindowKey, Write};
use super::{OnError, PipelineError, Run};
use crate::decode::{Fault, Stereo, Transform, VideoInfo};
use crate::digest;
use crate::ids::TaskId;
use crate::plan::{Fills, Job, Layout};
use crate::recipe::Recipe;
use crate::sample::{Clip, Sampled, Sampler, WindowRequest};
use crate::store::UnitHeader;

/// What a decoder knows of its run.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub run: Run<'a>,
    pub control: &'a Control,
}

/// Windows that belong together: those of a clip.
struct WindowRun {
    task: TaskId,
    first_window: u64,
    /// The frames of each; none where the window is missing.
    frames: Vec<Vec<u64>>,
}

/// A segment of a video that is decoded in one go, and the windows in it.
struct Segment {
    first: u64,
    last: u64,
    window_runs: Vec<WindowRun>,
}

/// A video that was opened.
struct Opened {
    video: VideoInfo,
    source_sha256: String,
}

/// Where frames go to.
#[derive(Clone, Copy)]
struct Sinks<'s> {
    clips: &'s Sender<Clip>,
    rows: &'s Sender<Write>,
}

impl Context<'_> {
    /// Decodes jobs until there are none. Faults of a video are booked on its units.
    ///
    /// # Errors
    /// [`PipelineError`]; faults of single videos go to their units instead.
    pub fn run(self, jobs: &Receiver<Offer>, clips: &Sender<Clip>, rows: &Sender<Write>) -> Result<(), PipelineError> {
        for offer in jobs {
            let path = offer.job.path.as_ref();
            let Some(job) = self.granted(offer) else {
                path.into_iter().for_each(|path| self.run.source.forget(path));
                continue;
            };
            if self.job(&job, Sinks { clips, rows }).is_err() {
                break;
            }
            Counters::add(&self.control.counters.videos, 1);
        }
        Ok(())
    }

    /// What of an offer is this run's to do; `None` if others are at all of it, or have done it.
    fn granted<'o>(&self, offer: Offer<'o>) -> Option<Cow<'o, Job>> {
        let (plan, Offer { job, wanted, answer }) = (self.run.plan, offer);
        let Some(sharing) = self.run.sharing else { return Some(Cow::Borrowed(job)) };
        let tasks = sharing.take(plan, wanted);
        drop(answer);
        if !wanted.own {
            // Other parts' rows are in nobody's estimate.
            let rows = tasks.iter().map(|&task| plan[task].estimated_rows).sum();
            Counters::add(&self.control.counters.planned_rows, rows);
        }
        (!tasks.is_empty()).then(|| Cow::Owned(Job { tasks, ..job.clone() }))
    }

    fn job(&self, job: &Job, sinks: Sinks) -> Result<(), Closed> {
        let probed = self.control.counters.time(Stage::Decode, || self.probe(job));
        let opened = match probed {
            Ok(opened) => opened,
            Err(_) if self.control.abandoned() => return Err(Closed),
            Err(why) => return job.tasks.iter().try_for_each(|&task| self.fail(task, why.clone(), sinks)),
        };
        let video = &opened.video;
        log::debug!("{}: {} frames of {}", job.video_uid, video.timeline.frames(), video.codec);
        let (mut window_runs, mut waiting) = (Vec::new(), BTreeMap::new());
        for &task in &job.tasks {
            let Some(mut layout) = self.lay_out(task, video, sinks)? else { continue };
            window_runs.extend(self.window_runs(task, std::mem::take(&mut layout.frames)));
            waiting.insert(task, layout);
        }
        for segment in segments(window_runs, video) {
            if self.control.stopping() {
                break;
            }
            // A file is opened when its first frames come, not before: a video may have hundreds of clips.
            for window_run in &segment.window_runs {
                if let Some(layout) = waiting.remove(&window_run.task) {
                    self.begin(window_run.task, layout, &opened, sinks)?;
                }
            }
            self.segment(segment, video, sinks)?;
        }
        // What is left wants no frame at all, unless the run was stopped before.
        for (task, layout) in waiting.into_iter().filter(|(_, layout)| layout.zeros == layout.rows.len() as u64) {
            self.begin(task, layout, &opened, sinks)?;
        }
        Ok(())
    }

    fn probe(&self, job: &Job) -> Result<Opened, String> {
        let path = job.path.as_ref().ok_or_else(|| {
            format!("no file named {} is in the folders searched, and the manifest gives no path", job.video_uid)
        })?;
        let video = self.run.source.probe(path, job.fps).map_err(|e| e.to_string())?;
        let source_sha256 = match (&video.ends, &video.images) {
            (Some(ends), _) => Ok(ends.clone()),
            (None, Some(images)) => images.listing().map(|listing| digest::text(&listing)),
            (None, None) => digest::ends_of(&video.files()),
        };
        let source_sha256 = source_sha256.map_err(|e| format!("{}: {e}", video.name().display()))?;
        Ok(Opened { video, source_sha256 })
    }

    /// The task's windows, if it is to be computed.
    fn lay_out(&self, task: TaskId, video: &VideoInfo, sinks: Sinks) -> Result<Option<Layout>, Closed> {
        let (planned, recipe) = (&self.run.plan[task], self.recipe(task));
        let Some(frames) = recipe.frames() else { return Ok(None) };
        let layout = match Layout::of_clips(video, &frames, recipe.body.compat, &planned.clips) {
            Ok(layout) => layout,
            Err(e) => return self.fail(task, format!("{}: {e}", video.name().display()), sinks).map(|()| None),
        };
        let counters = &self.control.counters;
        let present = (0..).zip(&layout.rows).filter(|(_, row)| !row.missing);
        let rows: usize = present.map(|(window, _)| planned.targets(window).len()).sum();
        Counters::add(&counters.planned_rows, rows as u64);
        counters.planned_rows.fetch_sub(planned.estimated_rows, std::sync::atomic::Ordering::Relaxed);
        match &layout.shortfall {
            Some(why) if self.run.options.on_error != OnError::Partial || layout.computable() == 0 => {
                self.fail(task, format!("{}: {why}", video.name().display()), sinks).map(|()| None)
            }
            _ => Ok(Some(layout)),
        }
    }

    /// Tells the writer of the task's units and their rows.
    fn begin(&self, task: TaskId, layout: Layout, opened: &Opened, sinks: Sinks) -> Result<(), Closed> {
        let planned = &self.run.plan[task];
        let Layout { rows, zeros, shortfall, notes, .. } = layout;
        let rows = planned.rows(rows, |query| self.run.text_inputs.id_of(query));
        let notes: Vec<String> = notes.into_iter().chain(shortfall).chain(self.eyes(task, &opened.video)).collect();
        let header =
            |unit| UnitHeader { rows: rows.len() as u64, notes: notes.clone(), ..self.header(task, unit, opened) };
        let headers = (0..planned.units().len()).map(header).collect();
        sinks.rows.send(Write::Begin { task, headers, rows, zeros }).map_err(|_| Closed)
    }

    /// What is to be noted where a recipe sees one eye of stereo videos.
    fn eyes(&self, task: TaskId, video: &VideoInfo) -> Option<String> {
        if self.run.plan[task].is_halved {
            return Some("the left half of its frames, which show two eyes".to_owned());
        }
        self.recipe(task).body.transform.filter(|transform| transform.stereo == Stereo::LeftHalf)?;
        let mode = video.stereo.as_deref()?;
        Some(format!(
            "the whole of its frames: its header says that they show two eyes ({mode}), the manifest does not"
        ))
    }

    /// The windows of a clip belong together; where each is a clip of its own, they may lie far apart.
    fn window_runs(&self, task: TaskId, frames: Vec<Vec<u64>>) -> Vec<WindowRun> {
        if let [_] = &self.run.plan[task].clips[..] {
            return vec![WindowRun { task, first_window: 0, frames }];
        }
        (0..).zip(frames).map(|(first_window, frames)| WindowRun { task, first_window, frames: vec![frames] }).collect()
    }

    fn segment(&self, segment: Segment, video: &VideoInfo, sinks: Sinks) -> Result<(), Closed> {
        let transform_of = |task: TaskId| {
            let transform = self.recipe(task).body.transform?;
            Some(transform.for_video(self.run.plan[task].is_halved))
        };
        let transforms: BTreeSet<Transform> = segment.window_runs.iter().filter_map(|p| transform_of(p.task)).collect();
        let transforms: Vec<Transform> = transforms.into_iter().collect();
        let mut requests = Vec::new();
        for WindowRun { task, first_window, frames } in segment.window_runs {
            let size = transforms.iter().position(|own| Some(*own) == transform_of(task));
            let size = size.expect("collected from the same tasks, which all see frames");
            let present = (first_window..).zip(frames).filter(|(_, frames)| !frames.is_empty());
            requests.extend(present.map(|(window, frames)| WindowRequest { task, window, size, frames }));
        }
        let sampler = Sampler::new(requests);
        let passed = segment.last + 1 - video.start_before(segment.first);
        let dropped = self.run.source.dropped(video, &sampler.wanted());
        let counters = &self.control.counters;
        Counters::add(&counters.frames_needed, passed.saturating_sub(dropped));
        Counters::add(&counters.frames_decoded, passed.saturating_sub(dropped));
        Counters::add(&counters.frames_dropped, dropped);
        self.decode(video, sampler, &transforms, sinks)
    }

    /// Pulls frames through the sampler; faults are kept for the units that lose rows by them. A video that is abandoned
    /// half-way ends as where nobody takes its frames any more.
    fn decode(
        &self,
        video: &VideoInfo,
        mut sampler: Sampler,
        transforms: &[Transform],
        sinks: Sinks,
    ) -> Result<(), Closed> {
        let counters = &self.control.counters;
        let mut outcomes =
            WindowOutcomes { why: String::new(), crashed: false, failed: BTreeSet::new(), context: self, video };
        let wanted = sampler.wanted();
        let mut seen_ms = wanted.first().map_or(0, |&first| ms(video, first));
        let mut stream = counters.time(Stage::Decode, || self.run.source.open(video, &wanted, transforms));
        while let Some(next) = counters.time(Stage::Decode, || stream.next()) {
            if self.control.abandoned() {
                return Err(Closed);
            }
            match next {
                Ok(frame) => {
                    Counters::add(&counters.frames_piped, 1);
                    let now_ms = ms(video, frame.index + 1);
                    Counters::add(&counters.video_ms, now_ms.saturating_sub(seen_ms));
                    seen_ms = now_ms;
                    outcomes.hand_on(sampler.take(frame), sinks)?;
                }
                Err(fault) => outcomes.note(fault),
            }
        }
        outcomes.hand_on(sampler.finish(), sinks)
    }

    fn recipe(&self, task: TaskId) -> &Recipe {
        &self.run.set_of(task).recipe
    }

    /// What a unit's file says of where it comes from.
    fn header(&self, task: TaskId, unit: usize, Opened { video, source_sha256 }: &Opened) -> UnitHeader {
        let (planned, text_inputs) = (&self.run.plan[task], self.run.text_inputs);
        let clip = planned.clips.first().filter(|_| !self.run.set_of(task).kind.names_clips());
        let query = if let Fills::Fused(units) = &planned.fills { Some(units[unit].1) } else { None };
        UnitHeader {
            clip_uid: clip.map(|clip| clip.clip_uid.clone()),
            query_id: query.map(|query| text_inputs.id_of(query).to_string()),
            query_text: query.map(|query| text_inputs.text_of(query).to_owned()),
            split: query.and_then(|query| text_inputs.split_of(query)).map(str::to_owned).or_else(|| planned.split()),
            span: planned.span(),
            source_name: video.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            source_bytes: video.bytes,
            source_sha256: source_sha256.to_owned(),
            source_fps: video.timeline.mean_fps(),
            source_frames: video.timeline.frames(),
            ffmpeg_version: self.run.source.version(),
            ..self.run.header(task, unit)
        }
    }

    fn fail(&self, task: TaskId, why: String, sinks: Sinks) -> Result<(), Closed> {
        if self.run.options.on_error == OnError::Fail {
            self.control.halt();
        }
        sinks.rows.send(Write::Fail { task, why }).map_err(|_| Closed)
    }
}

/// What becomes of windows and of the units that they belong to.
struct WindowOutcomes<'a> {
    /// The first fault that cost frames, or the decoder's crash.
    why: String,
    /// Whether the decoder crashed for good: what did not come by then says nothing of the video.
    crashed: bool,
    failed: BTreeSet<TaskId>,
    context: &'a Context<'a>,
    video: &'a VideoInfo,
}

impl WindowOutcomes<'_> {
    fn note(&mut self, fault: Fault) {
        let path = self.video.name().display();
        let counters = &self.context.control.counters;
        match fault {
            Fault::Fallback { .. } => {
                Counters::add(&counters.fallbacks, 1);
                self.context.control.remark(format!("{path}: {fault}; decoded by software"));
            }
            Fault::Restarted { again, .. } => {
                Counters::add(&counters.frames_decoded, again);
                log::info!("{path}: {fault}");
            }
            Fault::Undropped { decoded, dropped, .. } => {
                Counters::add(&counters.frames_decoded, decoded);
                Counters::take(&counters.frames_dropped, dropped);
                log::info!("{path}: {fault}");
            }
            Fault::Crashed(_) | Fault::Unreadable { .. } => {
                self.crashed = true;
                self.why = fault.to_string();
            }
            _ if self.why.is_empty() => self.why = fault.to_string(),
            _ => log::debug!("{path}: {fault}"),
        }
    }

    fn hand_on(&mut self, sampled: Vec<Sampled>, sinks: Sinks) -> Result<(), Closed> {
        let mut missing: BTreeMap<TaskId, Vec<WindowKey>> = BTreeMap::new();
        for one in sampled {
            match one {
                Sampled::Clip(clip) if self.failed.contains(&clip.task) => {}
                Sampled::Clip(clip) => sinks.clips.send(clip).map_err(|_| Closed)?,
                Sampled::Broken { task, window } => missing.entry(task).or_default().push((task, window)),
            }
        }
        missing.into_iter().try_for_each(|(task, keys)| self.lose(task, keys, sinks))
    }

    /// Windows of `task` that will never have all of their frames.
    fn lose(&mut self, task: TaskId, keys: Vec<WindowKey>, sinks: Sinks) -> Result<(), Closed> {
        let why = if self.why.is_empty() { "the decoder left frames out without a word" } else { &self.why };
        let path = self.video.name().display();
        if self.context.run.options.on_error == OnError::Partial && !self.crashed {
            self.context.control.remark(format!("{path}: rows are missing: {why}"));
            return sinks.rows.send(Write::Missing { keys }).map_err(|_| Closed);
        }
        if self.failed.insert(task) {
            return self.context.fail(task, format!("{path}: {why}"), sinks);
        }
        Ok(())
    }
}

/// Milliseconds from the video's start to frame `index`.
fn ms(video: &VideoInfo, index: u64) -> u64 {
    ((video.timeline.sec(index) - video.timeline.start_sec()) * 1e3) as u64
}

/// Groups windows whose frames are decoded in one go: a segment ends where the next one can begin at a later key frame.
fn segments(window_runs: Vec<WindowRun>, video: &VideoInfo) -> Vec<Segment> {
    let bounds = |window_run: &WindowRun| {
        let wanted = || window_run.frames.iter().flatten().copied();
        Some((wanted().min()?, wanted().max()?))
    };
    let placed = window_runs.into_iter().filter_map(|window_run| Some((bounds(&window_run)?, window_run)));
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by_key(|((first, last), window_run)| (*first, *last, window_run.task, window_run.first_window));
    let mut segments: Vec<Segment> = Vec::new();
    for ((first, last), window_run) in placed {
        match segments.last_mut() {
            Some(open) if video.start_before(first) <= open.last => {
                open.last = open.last.max(last);
                open.window_runs.push(window_run);
            }
            _ => segments.push(Segment { first, last, window_runs: vec![window_run] }),
        }
    }
    segments
}
