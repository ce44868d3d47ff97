//! A line a minute on what a command is doing, for those who see no bar: a job of a cluster, a log.
//!
//! Not for what is worth a line of its own, see `progress`. A thread of its own tells, so that a command that waits for a disk
//! says so too. With a terminal on stderr, which has the bar, the lines go to the log file alone.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two lines.
pub const MINUTE: Duration = Duration::from_secs(60);

/// What is being done.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Before the numbers: `epoch 3/30`.
    pub what: String,
    /// Steps, samples or the like that are done, and all that there are.
    pub done: u64,
    /// See `done`.
    pub total: u64,
    /// What is counted, in the plural.
    pub unit: &'static str,
    /// Behind the count: `loss 0.5123`; may be empty.
    pub more: String,
    /// How many of them come behind these, in the epochs that follow.
    pub later: u64,
}

/// The thread; it ends when this is dropped.
pub struct Heartbeat {
    pulse: Arc<Mutex<Option<Pulse>>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A status, and what is needed to tell how fast it changes.
struct Pulse {
    status: Status,
    /// How many were done since `since`.
    made: u64,
    since: Instant,
    changed: Instant,
}

impl Heartbeat {
    /// Calls `tell` with a line each time that `interval` is over, from the first [`Heartbeat::note`] on.
    pub fn every(interval: Duration, tell: impl Fn(&str) + Send + 'static) -> Self {
        let pulse: Arc<Mutex<Option<Pulse>>> = Arc::default();
        let (stop, stopped) = channel();
        let seen = pulse.clone();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let line = seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_ref()
                    .map(|pulse| pulse.line(Instant::now()));
                line.iter().for_each(|line| tell(line));
            }
        });
        Self { pulse, stop: Some(stop), thread: Some(thread) }
    }

    /// Notes what is being done now. Rates are reckoned anew where another thing is counted.
    pub fn note(&self, status: Status) {
        let now = Instant::now();
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        *pulse = Some(match pulse.take() {
            Some(before) if before.status.unit == status.unit => before.followed_by(status, now),
            _ => Pulse { made: 0, since: now, changed: now, status },
        });
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A thread that has panicked has nothing to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Pulse {
    fn followed_by(self, status: Status, now: Instant) -> Self {
        let last = &self.status;
        // A count that is lower is that of the next epoch.
        let made = if status.done >= last.done && status.what == last.what {
            status.done - last.done
        } else {
            last.total.saturating_sub(last.done) + status.done
        };
        Self { made: self.made + made, since: self.since, changed: if made > 0 { now } else { self.changed }, status }
    }

    fn line(&self, now: Instant) -> String {
        let Status { what, done, total, unit, more, later } = &self.status;
        let mut line = format!("{what}: {done} of {total} {unit}");
        if !more.is_empty() {
            line += &format!(", {more}");
        }
        let quiet = now.duration_since(self.changed);
        let rate = self.made as f64 / now.duration_since(self.since).as_secs_f64();
        if quiet >= 2 * MINUTE {
            line += &format!(", none for {}", duration(quiet.as_secs_f64()));
        } else if rate > 0.0 {
            let left = (total.saturating_sub(*done) + later) as f64 / rate;
            line += &format!(", {}, {} left", pace(rate, unit), duration(left));
        }
        line
    }
}

/// A rate with about three digits; slow ones as seconds for each.
fn pace(rate: f64, unit: &str) -> String {
    match rate {
        rate if rate >= 10.0 => format!("{rate:.0} {unit}/s"),
        rate if rate >= 0.1 => format!("{rate:.2} {unit}/s"),
        rate => format!("{:.0} s a {}", 1.0 / rate, unit.trim_end_matches('s')),
    }
}

/// Seconds as people say them.
fn duration(sec: f64) -> String {
    match sec {
        sec if sec < 90.0 => format!("{sec:.0} s"),
        sec if sec < 90.0 * 60.0 => format!("{:.0} min", sec / 60.0),
        sec => format!("{:.1} h", sec / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(epoch: u64, done: u64) -> Status {
        let what = format!("epoch {epoch}/3");
        Status { what, done, total: 100, unit: "steps", more: "loss 0.5000".into(), later: 100 * (3 - epoch) }
    }

    #[test]
    fn rate_and_remaining_time_are_over_all_epochs() {
        let start = Instant::now();
        let at = |sec: u64| start + Duration::from_secs(sec);
        let pulse = Pulse { status: step(1, 50), made: 0, since: start, changed: start };
        assert_eq!(pulse.line(at(30)), "epoch 1/3: 50 of 100 steps, loss 0.5000");
        let pulse = pulse.followed_by(step(1, 90), at(20)).followed_by(step(2, 10), at(30));
        // Sixty steps in thirty seconds; ninety of this epoch and a hundred of the last are left.
        assert_eq!(pulse.line(at(30)), "epoch 2/3: 10 of 100 steps, loss 0.5000, 2.00 steps/s, 2 min left");
        assert_eq!(pulse.line(at(30 + 300)), "epoch 2/3: 10 of 100 steps, loss 0.5000, none for 5 min");
        assert_eq!([pace(12.3, "steps"), pace(0.02, "steps")], ["12 steps/s", "50 s a step"]);
        assert_eq!([duration(45.0), duration(3000.0), duration(9000.0)], ["45 s", "50 min", "2.5 h"]);
    }

    #[test]
    fn a_thread_tells_until_it_is_dropped() {
        let (tell, told) = channel();
        let heartbeat =
            Heartbeat::every(Duration::from_millis(5), move |line| tell.send(line.to_owned()).unwrap_or(()));
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "there is nothing to tell yet");
        heartbeat.note(step(1, 3));
        let line = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(line.starts_with("epoch 1/3: 3 of 100 steps"), "{line}");
        drop(heartbeat);
        // The sender went with the thread.
        assert!(told.iter().count() < 1000);
    }
}
