//! A stopwatch of steps, and what is noted of the last one.
//!
//! Not for what is told or written of these. Invariant: time that is left out is in no pace.

use std::time::{Duration, Instant};

use super::context::Pace;

/// What is noted of the last step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Made {
    /// Of the learning rate.
    pub factor: f64,
    /// Before gradients were clipped.
    pub grad_norm: f64,
}

/// Reckons how fast steps are made, in the epoch at hand and since the last line.
pub(super) struct Speed {
    epoch: Pace,
    line: Pace,
    since: Instant,
}

impl Speed {
    /// An epoch begins.
    pub fn begin() -> Self {
        Self { epoch: Pace::default(), line: Pace::default(), since: Instant::now() }
    }

    /// A batch was waited for.
    pub fn waited(&mut self, waiting: Duration) {
        self.epoch.waited.waiting += waiting;
        self.line.waited.waiting += waiting;
    }

    /// A step was made; how fast it went in this epoch so far.
    pub fn stepped(&mut self, samples: usize) -> Pace {
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.since, now);
        for pace in [&mut self.epoch, &mut self.line] {
            pace.steps += 1;
            pace.samples += samples as u64;
            pace.waited.total += took;
        }
        self.epoch
    }

    /// The time from `start` to now was no learning.
    pub fn left_out(&mut self, start: Instant) {
        self.since += start.elapsed();
    }

    /// How fast it went since this was last asked, in this epoch.
    pub fn take_line(&mut self) -> Pace {
        std::mem::take(&mut self.line)
    }

    /// How fast it went in this epoch so far.
    pub fn of_epoch(&self) -> Pace {
        self.epoch
    }
}
