//! Many videos, several at a time.
//!
//! Not for printing. Invariant: every task ends up as made, done before, failed or not reached, and the four add up.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use serde::Serialize;

use super::commit;
use super::record;
use super::sharing::{Grant, Line, Offer, Sharing, lock};
use super::task::{Outcome, Task, Transcoder, Watch};
use super::{Record, TranscodeError};
use crate::claims::Terms;
use crate::ids::VideoUid;
use crate::shard::Shard;
use crate::stop::{self, Cause, Stop};
use crate::store::lock::{self, ShardLock};

/// Numbers that grow while a run goes on.
#[derive(Debug, Default)]
pub struct Counters {
    /// Videos finished, whatever became of them.
    pub videos: AtomicU64,
    /// Videos failed.
    pub failed: AtomicU64,
    /// Milliseconds of video gone through, by the tasks' own lengths.
    pub cost_ms: AtomicU64,
}

/// What a run is watched and stopped by.
#[derive(Debug, Default)]
pub struct Control {
    /// Its counters.
    pub counters: Counters,
    /// By which it is stopped from outside.
    pub stop: Arc<Stop>,
}

/// A video whose output was not made, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The video.
    pub video_uid: VideoUid,
    /// What went wrong.
    pub why: String,
}

/// What came of sharing work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SharedReport {
    /// Videos of other parts that this run made.
    pub taken_videos: usize,
    /// Videos of other parts at which this run failed.
    pub failed_of_others: usize,
    /// Videos of this part that other runs made while it was at work.
    pub made_elsewhere: usize,
    /// Videos taken over from runs that had died, or whose heartbeat had stopped.
    pub taken_over: usize,
    /// Videos that were encoded here in vain, since another run had taken them over.
    pub computed_twice: usize,
}

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Outputs made.
    pub made: Vec<Record>,
    /// Outputs that were there before.
    pub done_before: usize,
    /// Videos that failed, in the order of their uids.
    pub failures: Vec<Failure>,
    /// What came of sharing work with runs of other parts.
    #[serde(flatten)]
    pub shared: Option<SharedReport>,
    /// Videos of this part that nobody has made and that have not failed: the run ended before, or another run failed at them.
    pub unreached: usize,
    /// Who asked the run from outside to stop; in JSON, whether somebody did.
    #[serde(rename = "interrupted", serialize_with = "stop::as_bool")]
    pub stopped: Option<Cause>,
    /// Seconds of video in what was made.
    pub video_sec: f64,
    /// Wall time in seconds.
    pub elapsed_sec: f64,
}

/// [`TranscodeError::Settings`] if an output of a task was made with other settings: found before anything is begun.
///
/// # Errors
/// [`TranscodeError::Settings`] for the first output that was made with others, or an unreadable record.
pub fn check_settings(transcoder: &Transcoder, tasks: &[Task]) -> Result<(), TranscodeError> {
    tasks.iter().try_for_each(|task| transcoder.check_settings(task))
}

/// Makes the outputs of `tasks`, `jobs` at a time, in order. A full disk ends the run, an interrupt too.
///
/// # Errors
/// Another run works on this part of the output folder, or the folder cannot be used; nothing was begun then.
pub fn run(
    transcoder: &Transcoder,
    tasks: &[Task],
    shard: Shard,
    jobs: usize,
    control: &Control,
) -> Result<Report, TranscodeError> {
    run_shared(transcoder, (tasks, &[]), (shard, None), jobs, control)
}

/// The same for a run of part `shard` that shares its work on `terms`: first the tasks that are its `own`, then, where that is so,
/// those of `others` that nobody is at.
///
/// # Errors
/// As for [`run`], and [`TranscodeError::Claims`].
pub fn run_shared(
    transcoder: &Transcoder,
    (own, others): (&[Task], &[Task]),
    (shard, terms): (Shard, Option<Terms>),
    jobs: usize,
    control: &Control,
) -> Result<Report, TranscodeError> {
    let started = Instant::now();
    let _lock = hold(&transcoder.out, shard)?;
    let sharing = terms.map(|terms| Sharing::open(&transcoder.out, shard, terms)).transpose()?;
    let line = Line::new(transcoder, own, others, sharing.as_ref());
    let begun = Report { shared: sharing.as_ref().map(|_| SharedReport::default()), ..Report::default() };
    let (full, report) = (AtomicBool::new(false), Mutex::new(begun));
    let run = Run { transcoder, control, sharing: sharing.as_ref(), line: &line, full: &full, report: &report };
    thread::scope(|scope| {
        for _ in 0..jobs.min(own.len() + others.len()) {
            scope.spawn(|| run.work());
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by(|a, b| a.video_uid.cmp(&b.video_uid));
    report.made.sort_by(|a, b| a.video_uid.cmp(&b.video_uid));
    report.unreached = own.len().saturating_sub(report.settled());
    report.stopped = control.stop.cause();
    report.elapsed_sec = started.elapsed().as_secs_f64();
    Ok(report)
}

/// What the threads of a run have in common.
#[derive(Clone, Copy)]
struct Run<'r, 't> {
    transcoder: &'r Transcoder,
    control: &'r Control,
    sharing: Option<&'r Sharing>,
    line: &'r Line<'t>,
    full: &'r AtomicBool,
    report: &'r Mutex<Report>,
}

impl<'t> Run<'_, 't> {
    /// One video after the other, until there are no more.
    fn work(self) {
        let stopping = || self.control.stop.cause().is_some() || self.full.load(Relaxed);
        while let Some(offer) = self.line.next(&stopping) {
            match self.line.ask(offer) {
                Grant::Leave => {}
                Grant::Made => {
                    let is_news = self.line.settle(offer.task);
                    self.note_shared(|shared| shared.made_elsewhere += usize::from(offer.own && is_news));
                }
                Grant::Make { over } => {
                    self.note_shared(|shared| shared.taken_over += usize::from(over));
                    self.make(offer);
                }
            }
        }
    }

    fn make(self, offer: Offer<'t>) {
        let (uid, sharing) = (&offer.task.video_uid, self.sharing);
        let outcome = one(self.transcoder, offer.task, self.control, &|| sharing.is_none_or(|s| s.is_ours(uid)));
        let full = outcome.as_ref().is_err_and(TranscodeError::is_disk_full);
        self.full.fetch_or(full, Relaxed);
        let is_left = matches!(outcome, Ok(Outcome::Lost) | Err(TranscodeError::Abandoned));
        if !is_left {
            self.line.settle(offer.task);
        }
        // Another run may have more room.
        sharing.inspect(|sharing| sharing.give_back(uid, outcome.is_err() && !is_left && !full));
        lock(self.report).note(offer, outcome, !self.line.was_recorded(uid));
    }

    fn note_shared(self, note: impl FnOnce(&mut SharedReport)) {
        if let Some(shared) = &mut lock(self.report).shared {
            note(shared);
        }
    }
}

fn hold(out: &Path, shard: Shard) -> Result<ShardLock, TranscodeError> {
    commit::prepare(out)?;
    Ok(lock::take_shard(&record::locks(out), shard)?)
}

fn one(
    transcoder: &Transcoder,
    task: &Task,
    control: &Control,
    is_ours: &dyn Fn() -> bool,
) -> Result<Outcome, TranscodeError> {
    let counters = &control.counters;
    let cost_ms = (task.cost_sec * 1e3) as u64;
    let mut counted_ms = 0;
    let mut advance = |to_ms: u64| {
        counters.cost_ms.fetch_add(to_ms.saturating_sub(counted_ms), Relaxed);
        counted_ms = counted_ms.max(to_ms);
    };
    let mut encoded = |done, of| {
        advance((cost_ms as f64 * done as f64 / of as f64) as u64);
        if control.stop.abandoned() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let outcome = transcoder.make(task, Watch { encoded: &mut encoded, is_ours });
    if matches!(outcome, Err(TranscodeError::Abandoned)) {
        return outcome;
    }
    advance(cost_ms);
    counters.videos.fetch_add(1, Relaxed);
    counters.failed.fetch_add(u64::from(outcome.is_err()), Relaxed);
    outcome
}

impl Report {
    /// Videos of the own part of which it is known what became of them.
    fn settled(&self) -> usize {
        let SharedReport { taken_videos, failed_of_others, made_elsewhere, .. } = self.shared.unwrap_or_default();
        let own = (self.made.len() + self.failures.len()).saturating_sub(taken_videos + failed_of_others);
        own + self.done_before + made_elsewhere
    }

    /// Notes what became of a video; `new` tells that there was nothing of it when the run began.
    fn note(&mut self, offer: Offer, outcome: Result<Outcome, TranscodeError>, new: bool) {
        let (uid, of_others) = (&offer.task.video_uid, usize::from(!offer.own));
        let mut unshared = SharedReport::default();
        let shared = self.shared.as_mut();
        let is_shared = shared.is_some();
        let shared = shared.unwrap_or(&mut unshared);
        match outcome {
            Ok(Outcome::Done(_)) if !offer.own => log::debug!("{uid}: done"),
            Ok(Outcome::Done(_)) if is_shared && new => {
                log::info!("{uid}: done by another run");
                shared.made_elsewhere += 1;
            }
            Ok(Outcome::Done(_)) => {
                log::info!("{uid}: done before");
                self.done_before += 1;
            }
            Ok(Outcome::Made(record)) => {
                log::info!("{uid}: {:.1} s of video", record.video_sec());
                shared.taken_videos += of_others;
                self.video_sec += record.video_sec();
                self.made.push(*record);
            }
            Ok(Outcome::Lost) => {
                log::info!("{uid}: another run has taken it over");
                shared.computed_twice += 1;
            }
            Err(TranscodeError::Abandoned) => log::info!("{uid}: abandoned"),
            Err(error) => {
                log::info!("{uid}: failed: {error}");
                shared.failed_of_others += of_others;
                self.failures.push(Failure { video_uid: uid.clone(), why: error.to_string() });
            }
        }
    }
}
