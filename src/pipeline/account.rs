//! Accounts of a run: counters that others may poll while it goes on, and the report at its end.
//!
//! Not for printing. Invariant: every unit of the plan ends up as committed, failed or not reached, and the three add up.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Run;
use super::message::UnitKey;
use crate::ids::{SetId, UnitUid, VideoUid};
use crate::plan::Plan;
use crate::stop::{self, Cause, Stop};

/// The stages whose time is accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Probing, decoding, scaling and sampling.
    Decode,
    /// Packing model inputs.
    Batch,
    /// Running models.
    Infer,
    /// Writing and committing.
    Write,
}

/// All stages, in the order of the data.
pub const STAGES: [(Stage, &str); 4] =
    [(Stage::Decode, "decode"), (Stage::Batch, "batch"), (Stage::Infer, "infer"), (Stage::Write, "write")];

/// Numbers that grow while a run goes on.
#[derive(Debug, Default)]
pub struct Counters {
    /// Videos finished, whatever became of them.
    pub videos: AtomicU64,
    /// Units committed.
    pub committed: AtomicU64,
    /// Units failed.
    pub failed: AtomicU64,
    /// Rows computed.
    pub rows: AtomicU64,
    /// Rows kept as missing.
    pub missing_rows: AtomicU64,
    /// Rows that are to be computed in all: an estimate that becomes exact as videos are opened.
    pub planned_rows: AtomicU64,
    /// Frames that decoders went through.
    pub frames_decoded: AtomicU64,
    /// Frames that decoders would go through if each needed interval of each video were decoded exactly once.
    pub frames_needed: AtomicU64,
    /// Frames that no decoder was given: nobody wanted them, and no other frame refers to them.
    pub frames_dropped: AtomicU64,
    /// Frames converted and piped.
    pub frames_piped: AtomicU64,
    /// Streams of frames that hardware was to decode and software did.
    pub fallbacks: AtomicU64,
    /// Milliseconds of video gone through.
    pub video_ms: AtomicU64,
    /// Wall time of the run, once it has ended.
    pub elapsed_ns: AtomicU64,
    begun: OnceLock<Instant>,
    busy: [Mutex<Busy>; 4],
    threads: [AtomicU64; 4],
}

/// For how long the threads of a stage have worked: what they are at counts while they are at it, or a decoder that works on one
/// video for an hour would look idle.
#[derive(Debug, Default)]
struct Busy {
    /// Ends of work minus beginnings, those of work under way too, in nanoseconds since the run began.
    ns: i128,
    /// Threads at work.
    at_work: u32,
}

impl Busy {
    fn begin(&mut self, at: Duration) {
        self.ns -= at.as_nanos() as i128;
        self.at_work += 1;
    }

    fn end(&mut self, at: Duration) {
        self.ns += at.as_nanos() as i128;
        self.at_work -= 1;
    }

    fn sec(&self, now: Duration) -> f64 {
        (self.ns + i128::from(self.at_work) * now.as_nanos() as i128) as f64 / 1e9
    }
}

impl Counters {
    /// Sets what is known before the first frame.
    pub fn begin(&self, plan: &Plan, decoders: usize, devices: usize) {
        self.elapsed();
        self.planned_rows.store(plan.estimated_rows(), Relaxed);
        for (stage, threads) in
            [(Stage::Decode, decoders), (Stage::Batch, 1), (Stage::Infer, devices), (Stage::Write, 1)]
        {
            self.threads[stage as usize].store(threads as u64, Relaxed);
        }
    }

    /// Adds.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Relaxed);
    }

    /// Takes back what was added before it was so.
    pub fn take(counter: &AtomicU64, n: u64) {
        counter.fetch_sub(n, Relaxed);
    }

    /// Runs `work` and books its time on `stage`.
    pub fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let busy = &self.busy[stage as usize];
        lock(busy).begin(self.elapsed());
        let result = work();
        lock(busy).end(self.elapsed());
        result
    }

    /// Time since the run began; all of it once it has ended.
    pub fn elapsed(&self) -> Duration {
        match self.elapsed_ns.load(Relaxed) {
            0 => self.begun.get_or_init(Instant::now).elapsed(),
            ns => Duration::from_nanos(ns),
        }
    }

    /// What each stage has done with its time, given the wall time so far.
    pub fn stages(&self, elapsed_sec: f64) -> Vec<StageStats> {
        let stats = |&(stage, name): &(Stage, &'static str)| {
            let busy_sec = lock(&self.busy[stage as usize]).sec(self.elapsed());
            let threads = self.threads[stage as usize].load(Relaxed).max(1);
            StageStats {
                stage: name,
                threads,
                busy_sec,
                busy_share: busy_sec / (elapsed_sec.max(1e-9) * threads as f64),
            }
        };
        STAGES.iter().map(stats).collect()
    }
}

/// What a stage did with its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageStats {
    /// `decode`, `batch`, `infer` or `write`.
    pub stage: &'static str,
    /// Its threads.
    pub threads: u64,
    /// Seconds in which it worked, summed over threads; the rest it waited for its neighbours.
    pub busy_sec: f64,
    /// The same as a share of its threads' wall time. The largest one is the bottleneck.
    pub busy_share: f64,
}

/// A unit that was not committed, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The feature set.
    #[serde(skip)]
    pub set: SetId,
    /// The unit.
    pub unit_uid: UnitUid,
    /// Its video.
    pub video_uid: VideoUid,
    /// Why.
    pub why: String,
}

/// The strings by which others hold a run: a request to stop, the counters and what went wrong.
#[derive(Debug, Default)]
pub struct Control {
    /// The counters.
    pub counters: Counters,
    /// By which it is stopped from outside.
    outside: Arc<Stop>,
    /// Whether a stage has stopped it.
    halted: AtomicBool,
    failures: Mutex<Vec<Failure>>,
    remarks: Mutex<Vec<String>>,
}

impl Control {
    /// For a run that ends when `outside` asks for it.
    pub fn stopped_by(outside: Arc<Stop>) -> Self {
        Self { outside, ..Self::default() }
    }

    /// Finishes what is in flight and begins nothing new.
    pub(super) fn halt(&self) {
        self.halted.store(true, Relaxed);
    }

    /// Whether nothing new is to be begun.
    pub(super) fn stopping(&self) -> bool {
        self.halted.load(Relaxed) || self.outside.cause().is_some()
    }

    /// Whether what is in flight is to be dropped.
    pub(super) fn abandoned(&self) -> bool {
        self.outside.abandoned()
    }

    /// Books a failed unit.
    pub(super) fn fail(&self, plan: &Plan, (task, unit): UnitKey, why: String) {
        let planned = &plan[task];
        let (unit_uid, video_uid) = (planned.units()[unit].clone(), planned.video_uid.clone());
        log::info!("{unit_uid}: failed: {why}");
        Counters::add(&self.counters.failed, 1);
        let failure = Failure { set: planned.set, unit_uid, video_uid, why };
        lock(&self.failures).push(failure);
    }

    /// Books something that a person should know although no unit failed by it. Said once.
    pub(super) fn remark(&self, remark: String) {
        let mut remarks = lock(&self.remarks);
        if !remarks.contains(&remark) {
            log::warn!("{remark}");
            remarks.push(remark);
        }
    }

    /// Sums up.
    pub(super) fn report(&self, run: Run) -> Report {
        let plan = run.plan;
        let c = &self.counters;
        let committed = c.committed.load(Relaxed) as usize;
        let elapsed_sec = c.elapsed_ns.load(Relaxed) as f64 / 1e9;
        let (decoded, needed) = (c.frames_decoded.load(Relaxed), c.frames_needed.load(Relaxed));
        let mut failures = lock(&self.failures).clone();
        failures.sort_by(|a, b| (a.set, &a.unit_uid).cmp(&(b.set, &b.unit_uid)));
        let mut remarks = lock(&self.remarks).clone();
        remarks.sort();
        Report {
            units: plan.units + plan.done,
            done_before: plan.done,
            committed,
            shared: run.sharing.map(|sharing| sharing.report(plan, committed)),
            failures,
            remarks,
            stopped: self.outside.cause(),
            rows: c.rows.load(Relaxed),
            missing_rows: c.missing_rows.load(Relaxed),
            frames_decoded: decoded,
            frames_dropped: c.frames_dropped.load(Relaxed),
            frames_piped: c.frames_piped.load(Relaxed),
            decode_multiplicity: if needed == 0 { 1.0 } else { decoded as f64 / needed as f64 },
            decode_fallbacks: c.fallbacks.load(Relaxed),
            video_sec: c.video_ms.load(Relaxed) as f64 / 1e3,
            elapsed_sec,
            stages: c.stages(elapsed_sec),
        }
    }
}

/// A poisoned lock holds whole entries all the same: they are pushed in one go.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What came of sharing.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SharedReport {
    /// Units of other parts that this run committed.
    #[serde(skip)]
    pub taken: BTreeSet<(SetId, UnitUid)>,
    /// How many.
    pub taken_units: usize,
    /// Units of other parts at which this run failed.
    pub failed_of_others: usize,
    /// Units of this part that other runs committed.
    pub made_elsewhere: usize,
    /// Videos taken over from runs that had died, or whose heartbeat had stopped.
    pub taken_over: usize,
    /// Units that were computed here although another run was first.
    pub computed_twice: usize,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Units of this run's plan, done before or not.
    pub units: usize,
    /// Units that the stores held already.
    pub done_before: usize,
    /// Units committed by this run, those of other parts too.
    pub committed: usize,
    /// What came of sharing work with runs of other parts.
    #[serde(flatten)]
    pub shared: Option<SharedReport>,
    /// Units that failed.
    pub failures: Vec<Failure>,
    /// What a person should know although no unit failed by it.
    pub remarks: Vec<String>,
    /// Who asked the run from outside to stop; in JSON, whether somebody did.
    #[serde(rename = "interrupted", serialize_with = "stop::as_bool")]
    pub stopped: Option<Cause>,
    /// Rows computed.
    pub rows: u64,
    /// Rows kept as missing.
    pub missing_rows: u64,
    /// Frames that decoders went through.
    pub frames_decoded: u64,
    /// Frames that no decoder was given: nobody wanted them, and no other frame refers to them.
    pub frames_dropped: u64,
    /// Frames converted and piped.
    pub frames_piped: u64,
    /// Frames decoded, divided by those that one pass per needed interval takes: 1 unless a stream had to begin again.
    pub decode_multiplicity: f64,
    /// Streams that hardware was to decode and software did.
    pub decode_fallbacks: u64,
    /// Seconds of video gone through.
    pub video_sec: f64,
    /// Wall time in seconds.
    pub elapsed_sec: f64,
    /// What each stage did with its time.
    pub stages: Vec<StageStats>,
}

impl Report {
    /// The stage that the others waited for.
    pub fn bottleneck(&self) -> Option<&StageStats> {
        self.stages.iter().max_by(|a, b| a.busy_share.total_cmp(&b.busy_share))
    }

    /// Units of this part that nobody has committed and that have not failed: the run ended before.
    pub fn unreached(&self) -> usize {
        let elsewhere = self.shared.as_ref().map_or(0, |shared| shared.made_elsewhere);
        let of_others = self.shared.as_ref().map_or(0, |shared| shared.taken_units + shared.failed_of_others);
        let own = (self.committed + self.failures.len()).saturating_sub(of_others);
        self.units.saturating_sub(self.done_before + elsewhere + own)
    }
}
