//! Patience with a program that is waited for.
//!
//! Not for ending it. Invariant: only time counts in which we waited and it gave no sign of life.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often we look whether patience is at its end. Of a pause in which we were stopped ourselves, only twice that counts.
const LOOK: Duration = Duration::from_secs(1);

/// How long a program has been waited for without a sign of life. Where it waits for us, nobody holds a watch.
pub struct Watch {
    signs: Arc<AtomicU64>,
    seen: u64,
    patience: Duration,
    idle: Duration,
    since: Instant,
}

impl Watch {
    /// A watch that begins now, for a program whose signs of life are counted by `signs`.
    pub(super) fn new(signs: Arc<AtomicU64>, patience: Duration) -> Self {
        Self { seen: signs.load(Relaxed), signs, patience, idle: Duration::ZERO, since: Instant::now() }
    }

    /// How long to wait until it is to be asked again whether patience is at its end.
    pub fn look(&self) -> Duration {
        LOOK.min(self.patience.saturating_sub(self.idle)).max(Duration::from_millis(1))
    }

    /// Whether patience is at its end.
    pub fn is_over(&mut self) -> bool {
        let (now, signs) = (Instant::now(), self.signs.load(Relaxed));
        if signs == self.seen {
            // Whoever is stopped for the night, and the program with it, has not waited for it.
            self.idle += (now - self.since).min(2 * LOOK);
        } else {
            self.idle = Duration::ZERO;
        }
        (self.since, self.seen) = (now, signs);
        self.idle >= self.patience
    }
}
