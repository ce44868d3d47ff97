//! Progress bars: they poll a run's counters from a thread of its own.
//!
//! Invariant: on anything but a terminal nothing is drawn.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use egofx::pipeline::{Control, Counters};
use egofx::plan::Plan;
use egofx::transcode;

/// How often the counters are looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// A bar that follows a run.
pub struct Progress {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Follows an extraction until [`finish`](Self::finish); draws nothing if `hidden` or if stderr is no terminal.
    pub fn start(control: &Arc<Control>, plan: &Plan, hidden: bool) -> Self {
        let (control, jobs) = (control.clone(), plan.jobs.len());
        let template = "{elapsed_precise} [{bar:30}] {pos}/{len} rows, {per_sec}, {eta} left\n{msg}";
        Self::follow(hidden || jobs == 0, template, move |bar, sec| show(bar, &control.counters, jobs, sec))
    }

    /// Follows a transcoding likewise.
    pub fn of_seconds(control: &Arc<transcode::Control>, tasks: &[transcode::Task], hidden: bool) -> Self {
        let (control, videos) = (control.clone(), tasks.len());
        let length_sec: f64 = tasks.iter().map(|task| task.cost_sec).sum();
        let template = "{elapsed_precise} [{bar:30}] {pos}/{len} s of video, {eta} left\n{msg}";
        Self::follow(hidden || tasks.is_empty(), template, move |bar, _| {
            let get = |counter: &AtomicU64| counter.load(Relaxed);
            let counters = &control.counters;
            bar.set_length(length_sec as u64);
            bar.set_position(get(&counters.cost_ms) / 1000);
            bar.set_message(format!("videos {}/{videos}, {} failed", get(&counters.videos), get(&counters.failed)));
        })
    }

    /// Calls `show(bar, seconds since the start)` again and again.
    fn follow(hidden: bool, template: &str, show: impl Fn(&ProgressBar, f64) + Send + 'static) -> Self {
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let ended = Arc::new(AtomicBool::new(false));
        if bar.is_hidden() {
            return Self { ended, thread: None };
        }
        // The template is a constant; should it ever be wrong, the default style serves.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let end = ended.clone();
        let poll = move || {
            let started = Instant::now();
            while !end.load(Relaxed) {
                show(&bar, started.elapsed().as_secs_f64());
                std::thread::park_timeout(INTERVAL);
            }
            bar.finish_and_clear();
        };
        Self { ended, thread: std::thread::Builder::new().name("progress".into()).spawn(poll).ok() }
    }

    /// Takes the bar away.
    pub fn finish(mut self) {
        self.ended.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn show(bar: &ProgressBar, counters: &Counters, jobs: usize, elapsed_sec: f64) {
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    bar.set_length(get(&counters.planned_rows));
    bar.set_position(get(&counters.rows));
    let stages = counters.stages(elapsed_sec);
    let slowest = stages.iter().max_by(|a, b| a.busy_share.total_cmp(&b.busy_share));
    // In the first moments all stages are idle, and none is the bottleneck.
    let slowest = slowest.filter(|s| s.busy_share > 0.05);
    let bottleneck =
        slowest.map_or(String::new(), |s| format!(", bottleneck {} ({:.0} % busy)", s.stage, s.busy_share * 100.0));
    let speed = get(&counters.video_ms) as f64 / 1e3 / elapsed_sec.max(1e-3);
    bar.set_message(format!(
        "videos {}/{jobs}, units {} committed, {} failed, {speed:.1} times real time{bottleneck}",
        get(&counters.videos),
        get(&counters.committed),
        get(&counters.failed),
    ));
}
