//! Many videos, several at a time.
//!
//! Not for printing. Invariant: every task ends up as made, done before, failed or not reached, and the four add up.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use serde::Serialize;

use super::commit;
use super::record;
use super::task::{Outcome, Task, Transcoder};
use super::{Record, TranscodeError};
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

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Outputs made.
    pub made: Vec<Record>,
    /// Outputs that were there before.
    pub done_before: usize,
    /// Videos that failed, in the order of their uids.
    pub failures: Vec<Failure>,
    /// Videos that were not reached.
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
    let started = Instant::now();
    let _lock = hold(&transcoder.out, shard)?;
    let (next, full, report) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(Report::default()));
    thread::scope(|scope| {
        let work = || {
            let goes_on = || control.stop.cause().is_none() && !full.load(Relaxed);
            while let Some(task) = tasks.get(next.fetch_add(1, Relaxed)).filter(|_| goes_on()) {
                let outcome = one(transcoder, task, control);
                full.fetch_or(outcome.as_ref().is_err_and(TranscodeError::is_disk_full), Relaxed);
                // A thread that panicked has left the report as it was.
                report.lock().unwrap_or_else(std::sync::PoisonError::into_inner).note(task, outcome);
            }
        };
        for _ in 0..jobs.min(tasks.len()) {
            scope.spawn(work);
        }
    });
    let mut report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.failures.sort_by(|a, b| a.video_uid.cmp(&b.video_uid));
    report.made.sort_by(|a, b| a.video_uid.cmp(&b.video_uid));
    report.unreached = tasks.len() - report.made.len() - report.done_before - report.failures.len();
    report.stopped = control.stop.cause();
    report.elapsed_sec = started.elapsed().as_secs_f64();
    Ok(report)
}

fn hold(out: &Path, shard: Shard) -> Result<ShardLock, TranscodeError> {
    commit::prepare(out)?;
    Ok(lock::take_shard(&record::locks(out), shard)?)
}

fn one(transcoder: &Transcoder, task: &Task, control: &Control) -> Result<Outcome, TranscodeError> {
    let counters = &control.counters;
    let cost_ms = (task.cost_sec * 1e3) as u64;
    let mut counted_ms = 0;
    let mut advance = |to_ms: u64| {
        counters.cost_ms.fetch_add(to_ms.saturating_sub(counted_ms), Relaxed);
        counted_ms = counted_ms.max(to_ms);
    };
    let outcome = transcoder.make(task, &mut |done, of| {
        advance((cost_ms as f64 * done as f64 / of as f64) as u64);
        if control.stop.abandoned() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if matches!(outcome, Err(TranscodeError::Abandoned)) {
        return outcome;
    }
    advance(cost_ms);
    counters.videos.fetch_add(1, Relaxed);
    counters.failed.fetch_add(u64::from(outcome.is_err()), Relaxed);
    outcome
}

impl Report {
    fn note(&mut self, task: &Task, outcome: Result<Outcome, TranscodeError>) {
        match outcome {
            Ok(Outcome::Done(_)) => {
                log::info!("{}: done before", task.video_uid);
                self.done_before += 1;
            }
            Ok(Outcome::Made(record)) => {
                log::info!("{}: {:.1} s of video", task.video_uid, record.video_sec());
                self.video_sec += record.video_sec();
                self.made.push(*record);
            }
            Err(TranscodeError::Abandoned) => log::info!("{}: abandoned", task.video_uid),
            Err(error) => {
                log::info!("{}: failed: {error}", task.video_uid);
                self.failures.push(Failure { video_uid: task.video_uid.clone(), why: error.to_string() });
            }
        }
    }
}
