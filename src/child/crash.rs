//! Why a program did not do its work, and that work is tried once more then.
//!
//! Not for programs that end by themselves with an exit status of their own: that is their answer. Invariant: a crash says
//! nothing of the file that the program worked on.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

/// What a moment's trouble (no memory, no file descriptors) is given to pass before work is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Exit statuses by which shells tell that a program was killed: 128 and the signal.
const KILLED: std::ops::RangeInclusive<i32> = 129..=159;

/// Why a program did not do its work, through no fault of what it worked on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Crash {
    /// It was not started.
    #[error("{program} cannot be started: {why}")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        why: String,
    },
    /// A signal ended it.
    #[error("{program} was killed by signal {signal}{}", hint(*signal))]
    Killed {
        /// Its name.
        program: String,
        /// The signal.
        signal: i32,
    },
    /// It ended of its own accord because a signal told it to.
    #[error("{program} was told to end by a signal")]
    Told {
        /// Its name.
        program: String,
    },
    /// It gave no sign of life for so long that it was ended.
    #[error("{program} gave no sign of life for {sec:.0} s and was ended (--child-timeout)", sec = patience.as_secs_f64())]
    Silent {
        /// Its name.
        program: String,
        /// How long.
        patience: Duration,
    },
    /// The system refused it something: to read a file, memory, a file descriptor.
    #[error("{program} says: {words}")]
    System {
        /// Its name.
        program: String,
        /// Its words.
        words: String,
    },
}

fn hint(signal: i32) -> &'static str {
    match signal {
        libc::SIGKILL => " (out of memory?)",
        libc::SIGSEGV | libc::SIGABRT | libc::SIGBUS | libc::SIGFPE | libc::SIGILL => " (a fault of the program)",
        libc::SIGXCPU => " (a limit of processor time)",
        _ => "",
    }
}

/// What `work` gives. Where it fails by a crash, as `is_crash` tells, it is tried once more, a moment later.
///
/// # Errors
/// That of the last try.
pub fn twice<T, E: std::fmt::Display>(
    mut work: impl FnMut() -> Result<T, E>,
    is_crash: impl Fn(&E) -> bool,
) -> Result<T, E> {
    match work() {
        Err(error) if is_crash(&error) => {
            wait_before_again(&error);
            work()
        }
        done => done,
    }
}

/// Lets the moment pass in which `trouble` came, and tells of it.
pub fn wait_before_again(trouble: &dyn std::fmt::Display) {
    // What an error says that ends the work is not true yet.
    log::warn!("{}; it is tried once more", trouble.to_string().trim_end_matches("; tried twice"));
    thread::sleep(PAUSE);
}

/// How a program ended, unless that is a crash.
pub(super) fn judged(program: &str, status: ExitStatus) -> Result<ExitStatus, Crash> {
    let program = || program.to_owned();
    let by_shell = status.code().filter(|code| KILLED.contains(code)).map(|code| code - 128);
    match (status.signal().or(by_shell), status.code()) {
        (Some(signal), _) => Err(Crash::Killed { program: program(), signal }),
        // Shells and loaders that do not find it, or a library of its.
        (None, Some(126 | 127)) => Err(Crash::Start { program: program(), why: status.to_string() }),
        _ => Ok(status),
    }
}
