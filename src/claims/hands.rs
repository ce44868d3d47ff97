//! Whether somebody who has nothing left to do waits for what others are at.
//!
//! Not for taking anything. Invariant: who waits for another worker has not heard of it since, or wants what it is at.

use std::thread;
use std::time::{Duration, Instant};

use super::file::State;
use super::{BEATS, ClaimError, Claims};

/// How often somebody who waits looks whether it is to end.
const BLINK: Duration = Duration::from_millis(100);

/// The longest from one look at what others are at to the next: the heartbeat of a long limit would have a worker wait for nothing.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How many times as long as a look the pause after it is at least, within a heartbeat.
const REST: u32 = 10;

/// Whether a run that has done its part does work of other parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steal {
    /// It does.
    Always,
    /// If another part was at work in the same folder.
    OnceSeen,
    /// It does not.
    Never,
}

/// How the parts of a plan share its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether a run that has done its part does work of other parts.
    pub steal: Steal,
    /// How old a heartbeat may be before its claim is taken over.
    pub limit: Duration,
}

/// In whose hands something is; of things that are one item together, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hands {
    /// In nobody's for good, or in those of whoever asks.
    Closed,
    /// In those of a worker that has shown that it lives.
    Alive,
    /// In those of a worker that was not heard of since somebody waits.
    Silent,
    /// In nobody's, or in those of a worker that has died or is taken for dead.
    Free,
}

impl Hands {
    /// Whether they are waited for by somebody whose part it is (`own`), or is not.
    pub fn are_waited_for(self, own: bool) -> bool {
        self == Self::Silent || own && self == Self::Alive
    }
}

impl Claims {
    /// Opens claims in the folder `folder` on `terms`.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn on(terms: Terms, folder: &std::path::Path) -> Result<Self, ClaimError> {
        Self::open(folder, terms.limit, terms.steal != Steal::Never)
    }

    /// In whose hands `name` is, for somebody who waits since `begun`. What cannot be looked at is not waited for.
    pub fn hands(&self, name: &str, begun: Instant) -> Hands {
        let clock = match self.clock.lately(self.limit) {
            Ok(clock) => clock,
            Err(error) => return unseen(&error),
        };
        match self.silence_by(clock, name) {
            Ok(None) => Hands::Free,
            Ok(Some((claim, _))) if claim.state == State::Failed => Hands::Closed,
            Ok(Some((claim, silence))) if self.is_left(&claim, silence) => Hands::Free,
            Ok(Some((_, silence))) if silence < clock.at.saturating_duration_since(begun) => Hands::Alive,
            Ok(Some(_)) => Hands::Silent,
            Err(error) => unseen(&error),
        }
    }

    /// See [`pause_after`].
    pub fn pause_after(&self, took: Duration) -> Duration {
        pause_after(self.limit, took)
    }
}

fn unseen(error: &ClaimError) -> Hands {
    log::warn!("{error}");
    Hands::Closed
}

/// The time from one look at what others are at to the next, where claims are kept for `limit`: a heartbeat, if that is not long, or
/// if a look `took` so long that many who wait would keep the file server busy.
pub fn pause_after(limit: Duration, took: Duration) -> Duration {
    took.saturating_mul(REST).max(LONGEST_PAUSE).min(limit / BEATS)
}

/// Sleeps for `length`, unless somebody is `stopping`.
pub fn pause(length: Duration, stopping: impl Fn() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < length && !stopping() {
        thread::sleep(BLINK.min(length));
    }
}
