//! The decode stage: takes videos one at a time, and turns their frames into the clips that all units want.
//!
//! Not for choosing windows (`plan`) or collecting frames (`sample`). Invariant: each stretch of a video that some unit
//! needs is decoded once, for all units and recipes together.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::{Receiver, Sender};

use super::account::{Control, Counters, Stage};
use super::message::Write;
use super::{OnError, Options, PipelineError};
use crate::decode::{Fault, FrameSource, VideoInfo};
use crate::digest;
use crate::plan::{Job, Layout, Plan};
use crate::recipe::{Recipe, Transform};
use crate::sample::{Clip, Sampled, Sampler, Wish};
use crate::store::UnitHeader;

/// What a decoder knows of its run.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub plan: &'a Plan,
    pub recipes: &'a [Recipe],
    pub source: &'a dyn FrameSource,
    pub options: &'a Options,
    pub control: &'a Control,
}

/// The stage behind was closed: whoever closed it says why.
struct Closed;

/// A stretch of a video that is decoded in one go, and the units in it.
struct Stretch {
    first: u64,
    last: u64,
    units: Vec<(usize, Layout)>,
}

impl Context<'_> {
    /// Decodes jobs until there are none. Faults of a video are booked on its units.
    pub fn run(self, jobs: &Receiver<&Job>, clips: &Sender<Clip>, rows: &Sender<Write>) -> Result<(), PipelineError> {
        for job in jobs {
            if self.job(job, clips, rows).is_err() {
                break;
            }
            Counters::add(&self.control.counters.videos, 1);
        }
        Ok(())
    }

    fn job(&self, job: &Job, clips: &Sender<Clip>, rows: &Sender<Write>) -> Result<(), Closed> {
        let probed = self.control.counters.time(Stage::Decode, || self.probe(job));
        let (video, source_sha256) = match probed {
            Ok(probed) => probed,
            Err(why) => return self.fail_all(&job.units, &why, rows),
        };
        log::debug!("{}: {} frames of {}", job.video_uid, video.timeline.frames(), video.codec);
        let mut units = Vec::new();
        for &unit in &job.units {
            units.extend(self.lay_out(unit, &video, rows)?.map(|layout| (unit, layout)));
        }
        for stretch in stretches(units, &video) {
            if self.control.stopping() {
                break;
            }
            self.stretch(stretch, &video, &source_sha256, clips, rows)?;
        }
        Ok(())
    }

    fn probe(&self, job: &Job) -> Result<(VideoInfo, String), String> {
        let path = job.path.as_ref().ok_or_else(|| {
            format!("no file named {} is in the folders searched, and the manifest gives no path", job.video_uid)
        })?;
        let video = self.source.probe(path).map_err(|e| e.to_string())?;
        let sha256 = digest::ends_of(&video.files()).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((video, sha256))
    }

    /// The unit's rows, if it is to be computed.
    fn lay_out(&self, unit: usize, video: &VideoInfo, rows: &Sender<Write>) -> Result<Option<Layout>, Closed> {
        let planned = &self.plan.units[unit];
        let layout = match Layout::new(video, &self.recipes[planned.recipe], planned.span) {
            Ok(layout) => layout,
            Err(e) => return self.fail(unit, format!("{}: {e}", video.path.display()), rows).map(|()| None),
        };
        let counters = &self.control.counters;
        Counters::add(&counters.planned_rows, layout.computable());
        counters.planned_rows.fetch_sub(planned.estimated_rows, std::sync::atomic::Ordering::Relaxed);
        match &layout.shortfall {
            Some(why) if self.options.on_error != OnError::Partial || layout.computable() == 0 => {
                self.fail(unit, format!("{}: {why}", video.path.display()), rows).map(|()| None)
            }
            _ => Ok(Some(layout)),
        }
    }

    fn stretch(
        &self,
        stretch: Stretch,
        video: &VideoInfo,
        source_sha256: &str,
        clips: &Sender<Clip>,
        rows: &Sender<Write>,
    ) -> Result<(), Closed> {
        let transforms: Vec<Transform> = {
            let of = |(unit, _): &(usize, Layout)| self.recipe(*unit).body.transform;
            stretch.units.iter().map(of).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let mut wishes = Vec::new();
        for (unit, layout) in stretch.units {
            let header = Box::new(self.header(unit, video, &layout, source_sha256));
            let size = transforms.iter().position(|t| *t == self.recipe(unit).body.transform).unwrap_or(0);
            let present = layout.frames.into_iter().enumerate().filter(|(_, frames)| !frames.is_empty());
            wishes.extend(present.map(|(row, frames)| Wish { unit, row: row as u64, size, frames }));
            rows.send(Write::Begin { unit, header, rows: layout.rows }).map_err(|_| Closed)?;
        }
        let decoded = stretch.last + 1 - video.keyframe_before(stretch.first);
        Counters::add(&self.control.counters.frames_needed, decoded);
        Counters::add(&self.control.counters.frames_decoded, decoded);
        self.decode(video, Sampler::new(wishes), &transforms, clips, rows)
    }

    /// Pulls frames through the sampler; faults are kept for the units that lose rows by them.
    fn decode(
        &self,
        video: &VideoInfo,
        mut sampler: Sampler,
        transforms: &[Transform],
        clips: &Sender<Clip>,
        rows: &Sender<Write>,
    ) -> Result<(), Closed> {
        let counters = &self.control.counters;
        let mut fate = Fate { why: String::new(), failed: BTreeSet::new(), context: self, video };
        let wanted = sampler.wanted();
        let mut seen_ms = wanted.first().map_or(0, |&first| ms(video, first));
        let mut stream = counters.time(Stage::Decode, || self.source.open(video, &wanted, transforms));
        while let Some(next) = counters.time(Stage::Decode, || stream.next()) {
            match next {
                Ok(frame) => {
                    Counters::add(&counters.frames_piped, 1);
                    let now_ms = ms(video, frame.index + 1);
                    Counters::add(&counters.video_ms, now_ms - seen_ms);
                    seen_ms = now_ms;
                    fate.hand_on(sampler.take(frame), clips, rows)?;
                }
                Err(fault) => fate.note(fault),
            }
        }
        fate.hand_on(sampler.finish(), clips, rows)
    }

    fn recipe(&self, unit: usize) -> &Recipe {
        &self.recipes[self.plan.units[unit].recipe]
    }

    fn header(&self, unit: usize, video: &VideoInfo, layout: &Layout, source_sha256: &str) -> UnitHeader {
        let planned = &self.plan.units[unit];
        let name = video.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        UnitHeader {
            clip_uid: planned.clip_uid.clone(),
            video_uid: planned.video_uid.clone(),
            rows: layout.rows.len() as u64,
            span: planned.span,
            source_name: name,
            source_bytes: video.bytes,
            source_sha256: source_sha256.to_owned(),
            source_fps: video.timeline.mean_fps(),
            source_frames: video.timeline.frames(),
            provider: self.options.provider.clone(),
            egofx_version: env!("CARGO_PKG_VERSION").to_owned(),
            ffmpeg_version: self.source.version(),
            onnxruntime_version: self.options.onnxruntime_version.clone(),
            notes: layout.notes.iter().chain(&layout.shortfall).cloned().collect(),
        }
    }

    fn fail(&self, unit: usize, why: String, rows: &Sender<Write>) -> Result<(), Closed> {
        if self.options.on_error == OnError::Fail {
            self.control.stop();
        }
        rows.send(Write::Fail { unit, why }).map_err(|_| Closed)
    }

    fn fail_all(&self, units: &[usize], why: &str, rows: &Sender<Write>) -> Result<(), Closed> {
        units.iter().try_for_each(|&unit| self.fail(unit, why.to_owned(), rows))
    }
}

/// What becomes of windows and of the units that they belong to.
struct Fate<'a> {
    /// The first fault that cost frames.
    why: String,
    failed: BTreeSet<usize>,
    context: &'a Context<'a>,
    video: &'a VideoInfo,
}

impl Fate<'_> {
    fn note(&mut self, fault: Fault) {
        let path = self.video.path.display();
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
            _ if self.why.is_empty() => self.why = fault.to_string(),
            _ => log::debug!("{path}: {fault}"),
        }
    }

    fn hand_on(&mut self, sampled: Vec<Sampled>, clips: &Sender<Clip>, rows: &Sender<Write>) -> Result<(), Closed> {
        let mut missing: BTreeMap<usize, Vec<(usize, u64)>> = BTreeMap::new();
        for one in sampled {
            match one {
                Sampled::Clip(clip) if self.failed.contains(&clip.unit) => {}
                Sampled::Clip(clip) => clips.send(clip).map_err(|_| Closed)?,
                Sampled::Broken { unit, row } => missing.entry(unit).or_default().push((unit, row)),
            }
        }
        missing.into_iter().try_for_each(|(unit, keys)| self.lose(unit, keys, rows))
    }

    /// Rows of `unit` that will never have all of their frames.
    fn lose(&mut self, unit: usize, keys: Vec<(usize, u64)>, rows: &Sender<Write>) -> Result<(), Closed> {
        let why = if self.why.is_empty() { "the decoder left frames out without a word" } else { &self.why };
        let path = self.video.path.display();
        if self.context.options.on_error == OnError::Partial {
            self.context.control.remark(format!("{path}: rows are missing: {why}"));
            return rows.send(Write::Missing { keys }).map_err(|_| Closed);
        }
        if self.failed.insert(unit) {
            return self.context.fail(unit, format!("{path}: {why}"), rows);
        }
        Ok(())
    }
}

/// Milliseconds from the video's start to frame `index`.
fn ms(video: &VideoInfo, index: u64) -> u64 {
    ((video.timeline.sec(index) - video.timeline.start_sec()) * 1e3) as u64
}

/// Groups units whose frames are decoded in one go: a stretch ends where the next one can begin at a later key frame.
fn stretches(units: Vec<(usize, Layout)>, video: &VideoInfo) -> Vec<Stretch> {
    let bounds = |layout: &Layout| {
        let wanted = || layout.frames.iter().flatten().copied();
        Some((wanted().min()?, wanted().max()?))
    };
    let placed = units.into_iter().filter_map(|(unit, layout)| Some((bounds(&layout)?, (unit, layout))));
    let mut placed: Vec<_> = placed.collect();
    placed.sort_by_key(|&((first, last), (unit, _))| (first, last, unit));
    let mut stretches: Vec<Stretch> = Vec::new();
    for ((first, last), unit) in placed {
        match stretches.last_mut() {
            Some(open) if video.keyframe_before(first) <= open.last => {
                open.last = open.last.max(last);
                open.units.push(unit);
            }
            _ => stretches.push(Stretch { first, last, units: vec![unit] }),
        }
    }
    stretches
}
