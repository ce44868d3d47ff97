//! Progress: a bar on a terminal, elsewhere a line now and then, so that no long run looks dead.
//!
//! A thread of its own polls what a run counts. Not for counting. Invariant: a command that is asked to be quiet shows nothing
//! here; the log file has its lines all the same.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use egofx::meter::{Amount, Meter, Pace, Since};
use egofx::pipeline::{Control, Counters};
use egofx::plan::Plan;
use egofx::transcode;

use super::logging;

/// How often a bar is drawn.
const INTERVAL: Duration = Duration::from_millis(200);

/// A stage that works less than this share of its time is nobody's bottleneck: in the first moments all are idle.
const LEAST_BUSY: f64 = 0.05;

/// What a command that takes long shows while it works.
#[derive(Args)]
pub struct Reporting {
    /// No progress, no summary; errors only.
    #[arg(short, long, display_order = 890)]
    pub quiet: bool,
    /// Where stderr is no terminal, and in --log-file, write a line of progress every so many seconds; 0: never.
    #[arg(long, value_name = "SECONDS", display_order = 891, default_value_t = 60.0, value_parser = seconds)]
    progress_every: f64,
}

impl Reporting {
    /// What of a run's progress is shown: no bar with `--json`, for a program reads stdout.
    pub fn shown(&self, json: bool) -> Shown {
        let every = Duration::try_from_secs_f64(self.progress_every).ok().filter(|every| !every.is_zero());
        Shown { bar: !self.quiet && !json, on_stderr: !self.quiet, every }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.0..=1e9).contains(seconds));
    seconds.ok_or_else(|| format!("expected seconds, 0 or more, found {text:?}"))
}

/// What of a run's progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// A bar, where stderr is a terminal.
    bar: bool,
    /// Lines on stderr, where it is none. The log file has them anyway.
    on_stderr: bool,
    /// The time from one line to the next; nothing: no lines.
    every: Option<Duration>,
}

/// What follows a run, until [`finish`](Self::finish) or until it is dropped.
pub struct Progress {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Follows an extraction.
    pub fn of_extraction(control: &Arc<Control>, plan: &Plan, shown: Shown) -> Self {
        let (control, units) = (control.clone(), plan.units as u64);
        Self::follow(shown, move |sec| extraction(&control.counters, units, sec))
    }

    /// Follows a transcoding.
    pub fn of_transcoding(control: &Arc<transcode::Control>, tasks: &[transcode::Task], shown: Shown) -> Self {
        let (control, videos) = (control.clone(), tasks.len() as u64);
        let length_sec: f64 = tasks.iter().map(|task| task.cost_sec).sum();
        Self::follow(shown, move |sec| transcoding(&control.counters, (videos, length_sec), sec))
    }

    /// Follows work that counts its `units`, as they are called in the plural, on a meter.
    pub fn of_meter(meter: &Meter, units: &'static str, shown: Shown) -> Self {
        let meter = meter.clone();
        Self::follow(shown, move |sec| meter.pace(units, sec))
    }

    fn follow(shown: Shown, pace: impl Fn(f64) -> Pace + Send + 'static) -> Self {
        let target = if shown.bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {msg}");
        bar.set_style(style.expect("a template that is a constant"));
        let on_stderr = shown.on_stderr && !std::io::stderr().is_terminal();
        let every = shown.every.filter(|_| on_stderr || logging::to_file());
        let ended = Arc::new(AtomicBool::new(false));
        if bar.is_hidden() && every.is_none() {
            return Self { ended, thread: None };
        }
        let mut follower = Follower { pace, bar, lines: every.map(|every| Lines::new(every, on_stderr)) };
        let end = ended.clone();
        let poll = move || follower.run(&end);
        Self { ended, thread: std::thread::Builder::new().name("progress".into()).spawn(poll).ok() }
    }

    /// Takes the bar away.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What the thread holds.
struct Follower<P> {
    pace: P,
    bar: ProgressBar,
    lines: Option<Lines>,
}

impl<P: Fn(f64) -> Pace> Follower<P> {
    fn run(&mut self, ended: &AtomicBool) {
        let started = Instant::now();
        while !ended.load(Relaxed) {
            let elapsed = started.elapsed();
            let mut pace = (self.pace)(elapsed.as_secs_f64());
            pace.since = self.lines.as_ref().map(Lines::since).unwrap_or_default();
            if !self.bar.is_hidden() {
                draw(&self.bar, &pace);
            }
            let due = self.lines.as_mut().and_then(|lines| lines.write(&pace, elapsed));
            let wait = if self.bar.is_hidden() { due } else { Some(INTERVAL) };
            std::thread::park_timeout(wait.unwrap_or(INTERVAL));
        }
        self.bar.finish_and_clear();
    }
}

fn draw(bar: &ProgressBar, pace: &Pace) {
    // Whatever is known more finely: rows rather than units.
    let whole = pace.amount.whole.filter(|whole| *whole > 0.0);
    bar.set_length(whole.map_or(pace.all, |whole| whole as u64));
    bar.set_position(whole.map_or(pace.done, |_| pace.amount.gone as u64));
    bar.set_message(pace.to_string());
}

/// Lines at equal distances, with the moments from which their rates count.
struct Lines {
    every: Duration,
    on_stderr: bool,
    next: Duration,
    last: Since,
    before_last: Since,
}

impl Lines {
    fn new(every: Duration, on_stderr: bool) -> Self {
        Self { every, on_stderr, next: every, last: Since::default(), before_last: Since::default() }
    }

    /// One to two distances ago: a rate of late, and not of a moment.
    fn since(&self) -> Since {
        self.before_last
    }

    /// Writes a line if it is time; gives how long it is until the next one.
    fn write(&mut self, pace: &Pace, elapsed: Duration) -> Option<Duration> {
        if elapsed >= self.next {
            logging::note(format_args!("egofx: {pace}"), self.on_stderr);
            (self.before_last, self.last) = (self.last, pace.now());
            self.next = elapsed + self.every;
        }
        self.next.checked_sub(elapsed)
    }
}

fn extraction(counters: &Counters, units: u64, elapsed_sec: f64) -> Pace {
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    let stages = counters.stages(elapsed_sec);
    let slowest = stages.iter().max_by(|a, b| a.busy_share.total_cmp(&b.busy_share));
    let (planned, rows, failed) = (get(&counters.planned_rows), get(&counters.rows), get(&counters.failed));
    let done = get(&counters.committed) + failed;
    Pace {
        units: "units",
        done,
        // Units of other parts come on top.
        all: units.max(done),
        failed,
        amount: Amount { what: "rows", gone: rows as f64, whole: Some(planned.max(rows) as f64) },
        elapsed_sec,
        since: Since::default(),
        bottleneck: slowest.filter(|s| s.busy_share > LEAST_BUSY).map(|s| (s.stage, s.busy_share)),
    }
}

fn transcoding(counters: &transcode::Counters, (videos, length_sec): (u64, f64), elapsed_sec: f64) -> Pace {
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    let (done, gone) = (get(&counters.videos), get(&counters.cost_ms) as f64 / 1e3);
    Pace {
        units: "videos",
        done,
        // Videos of other parts come on top.
        all: videos.max(done),
        failed: get(&counters.failed),
        amount: Amount { what: "s of video", gone, whole: Some(length_sec.max(gone)) },
        elapsed_sec,
        since: Since::default(),
        bottleneck: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(elapsed_sec: f64, gone: f64) -> Pace {
        let counters = transcode::Counters::default();
        counters.cost_ms.store((gone * 1e3) as u64, Relaxed);
        transcoding(&counters, (2, 600.0), elapsed_sec)
    }

    #[test]
    fn lines_come_at_equal_distances_and_rates_count_from_the_line_before_the_last() {
        let mut lines = Lines::new(Duration::from_secs(60), false);
        let mut write = |sec: u64, gone: f64| {
            let wait = lines.write(&pace(sec as f64, gone), Duration::from_secs(sec));
            (wait.map(|wait| wait.as_secs()), lines.since().sec)
        };
        assert_eq!(write(10, 5.0), (Some(50), 0.0), "not yet");
        assert_eq!(write(60, 50.0), (Some(60), 0.0));
        assert_eq!(write(121, 100.0), (Some(60), 60.0));
        assert_eq!(write(180, 150.0), (Some(1), 60.0), "a minute after the last one, not of the clock");
    }

    #[test]
    fn an_extraction_counts_failed_units_as_done_and_never_more_rows_than_are_planned() {
        let counters = Counters::default();
        Counters::add(&counters.committed, 3);
        Counters::add(&counters.failed, 1);
        Counters::add(&counters.rows, 120);
        Counters::add(&counters.planned_rows, 100);
        let line = extraction(&counters, 9, 60.0).to_string();
        assert_eq!(line, "4 of 9 units, 1 failed, 120 of 120 rows, 2.0 rows/s, 0 s left");
    }

    #[test]
    fn what_is_shown_follows_the_options() {
        let shown = |quiet, progress_every, json| Reporting { quiet, progress_every }.shown(json);
        let minute = Some(Duration::from_secs(60));
        assert_eq!(shown(false, 60.0, false), Shown { bar: true, on_stderr: true, every: minute });
        assert_eq!(shown(false, 60.0, true), Shown { bar: false, on_stderr: true, every: minute });
        assert_eq!(shown(true, 0.0, true), Shown { bar: false, on_stderr: false, every: None });
    }
}
