//! How a run is asked from outside to end: by a person, or by a scheduler that wants the machine.
//!
//! Not for ending anything: who works looks at a [`Stop`] now and then. Invariant: the first who asks is the one who counts.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serializer;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// How long after a scheduler's signal the same one counts as its echo: Slurm has SIGTERM sent twice within milliseconds, by
/// `slurmd` and by `srun`, when it ends a job.
const ECHO: Duration = Duration::from_secs(1);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A person: Ctrl-C, or a terminal that was closed.
    Interrupted,
    /// A scheduler, by SIGTERM or SIGUSR1: the machine is wanted, or the time of the job ends soon.
    Preempted,
}

impl Cause {
    /// The exit code of a command that ended for this: 130, which shells give for Ctrl-C, or 75, EX_TEMPFAIL of `sysexits.h`, by
    /// which a script knows that the same command is to be given again.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupted => 130,
            Self::Preempted => 75,
        }
    }

    fn of(signal: i32) -> Self {
        if matches!(signal, SIGTERM | SIGUSR1) { Self::Preempted } else { Self::Interrupted }
    }
}

/// Writes whether somebody asked, for reports.
pub(crate) fn as_bool<S: Serializer>(cause: &Option<Cause>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(cause.is_some())
}

/// What those who work look at.
#[derive(Debug, Default)]
pub struct Stop {
    cause: OnceLock<Cause>,
    abandoned: AtomicBool,
}

impl Stop {
    /// Asks for the end: what is in flight is finished, nothing new is begun. Says whether this was the first time.
    pub fn ask(&self, cause: Cause) -> bool {
        self.cause.set(cause).is_ok()
    }

    /// Who asked for the end, if somebody did.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }

    /// Has what is in flight dropped too.
    pub fn abandon(&self) {
        self.abandoned.store(true, Relaxed);
    }

    /// Whether what is in flight is to be dropped.
    pub fn abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }
}

/// Calls `hear` on a thread of its own for each SIGINT, SIGHUP, SIGTERM and SIGUSR1 that reaches this process, none of which
/// ends it any more. A SIGTERM or SIGUSR1 that comes twice within a second is heard once.
///
/// # Errors
/// The system refuses it.
pub fn listen(mut hear: impl FnMut(Cause) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGHUP, SIGTERM, SIGUSR1])?;
    let mut echoes = Echoes::default();
    let mut take = move |signal| {
        if !echoes.is_echo(signal, Instant::now()) {
            hear(Cause::of(signal));
        }
    };
    let listening = move || signals.forever().for_each(&mut take);
    thread::Builder::new().name("signals".into()).spawn(listening).map(drop)
}

/// Tells a signal from its echo.
#[derive(Debug, Default)]
struct Echoes {
    last: Option<(i32, Instant)>,
}

impl Echoes {
    /// Whether `signal`, which came `now`, is the same as the last one and came at once after it. A person's second Ctrl-C is none.
    fn is_echo(&mut self, signal: i32, now: Instant) -> bool {
        let last = self.last.replace((signal, now));
        let again = |(before, at): (i32, Instant)| before == signal && now.duration_since(at) < ECHO;
        Cause::of(signal) == Cause::Preempted && last.is_some_and(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_a_scheduler_sends_twice_at_once_is_one() {
        let (mut echoes, start) = (Echoes::default(), Instant::now());
        let mut at = |signal, ms| echoes.is_echo(signal, start + Duration::from_millis(ms));
        assert_eq!([at(SIGTERM, 0), at(SIGTERM, 6), at(SIGUSR1, 7), at(SIGTERM, 8)], [false, true, false, false]);
        assert_eq!([at(SIGTERM, 1100), at(SIGINT, 1200), at(SIGINT, 1201)], [false, false, false]);
    }

    #[test]
    fn the_first_who_asks_counts() {
        let stop = Stop::default();
        assert_eq!((stop.cause(), stop.abandoned()), (None, false));
        assert!(stop.ask(Cause::Preempted) && !stop.ask(Cause::Interrupted));
        assert_eq!(stop.cause().map(Cause::exit_code), Some(75));
        stop.abandon();
        assert!(stop.abandoned());
    }
}
