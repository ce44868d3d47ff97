//! Signals that ask a command to end: the first one politely, the second one at once.
//!
//! Invariants: whoever reads the words may already ask again; after SIGTERM or SIGUSR1 the process is gone when `--grace` and
//! [`LAST`] are over, whatever it waits for.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use egofx::stop::{self, Cause, Stop};

use super::tell;

/// What a run has left to put its things in order once what was in flight is abandoned: an index, a report.
const LAST: Duration = Duration::from_secs(5);

/// How long a run that is to end may go on.
#[derive(Args)]
pub struct Grace {
    /// Seconds that what is in flight may take after SIGTERM or SIGUSR1; what is not finished by then is abandoned.
    ///
    /// What is committed stays, and the exit code is 75: give the same command again. The run has ended 5 s later at the
    /// latest: with the default before Slurm (KillWait) and Kubernetes kill it, which is 30 s after SIGTERM. Where they warn
    /// earlier, as Slurm does by --signal=USR1@N, this may be as long as N less 10. Ctrl-C has no such limit.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(..=86_400))]
    grace: u64,
}

/// A command that hears signals.
pub struct Listener {
    stop: Arc<Stop>,
    /// Whether anything is in flight.
    begun: Arc<AtomicBool>,
}

impl Grace {
    /// Its seconds.
    pub fn sec(&self) -> u64 {
        self.grace
    }

    /// Hears signals from now on; until [`Listener::begin`] the first one already ends the command at once.
    pub fn listen(&self) -> anyhow::Result<Listener> {
        let (stop, begun) = (Arc::new(Stop::default()), Arc::new(AtomicBool::new(false)));
        let (heard, polite, grace) = (stop.clone(), begun.clone(), Duration::from_secs(self.grace));
        let hear = move |cause: Cause| {
            if !heard.ask(cause) || !polite.load(Relaxed) {
                leave(cause);
            }
            match cause {
                Cause::Interrupted => say("what is in flight is finished; Ctrl-C again to leave at once"),
                Cause::Preempted => {
                    say(format_args!(
                        "what is in flight may take {} s more; at once by a second signal",
                        grace.as_secs()
                    ));
                    limit(heard.clone(), grace);
                }
            }
        };
        stop::listen(hear).context("cannot listen for signals")?;
        Ok(Listener { stop, begun })
    }
}

impl Listener {
    /// From here on the first signal is polite: whoever works looks at what this returns.
    pub fn begin(self) -> Arc<Stop> {
        self.begun.store(true, Relaxed);
        self.stop
    }
}

fn say(what: impl Display) {
    tell(format_args!("egofx: stopping: {what}"));
}

/// Ends the run when its time is over.
fn limit(stop: Arc<Stop>, grace: Duration) {
    let timer = thread::Builder::new().name("grace".into()).spawn(move || {
        thread::sleep(grace);
        say(format_args!("{} s are over: what is not finished is abandoned", grace.as_secs()));
        stop.abandon();
        thread::sleep(LAST);
        leave(Cause::Preempted);
    });
    if timer.is_err() {
        leave(Cause::Preempted);
    }
}

/// Commits are atomic and locks die with us, so this loses only what is in flight; ffmpeg ends with us.
fn leave(cause: Cause) -> ! {
    #[expect(clippy::disallowed_methods, reason = "whoever asks twice, or has waited long enough, wants it at once")]
    std::process::exit(cause.exit_code().into())
}
