//! One claim's file: made exclusively, read, touched, moved aside.
//!
//! Not for deciding whose a claim is. Invariant: a file is open only within these functions.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use serde::{Deserialize, Serialize};

use super::process::Process;

/// The extension of claims.
const EXTENSION: &str = "claim";

/// Most bytes of a claim that are read.
const MOST_BYTES: u64 = 4096;

/// What a claim says. No two claims say the same: a worker numbers its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The worker's machine.
    pub host: String,
    /// The worker's process there.
    pub pid: u32,
    /// By which others on the same machine see whether that process lives; absent where the system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// When the worker began, in seconds of its own clock since 1970; for people.
    pub since: u64,
    /// The worker, by 16 hex digits that it drew.
    pub run: String,
    /// Which of the worker's claims this is.
    pub number: u64,
    /// How old its heartbeat may be before it is taken over, in milliseconds: workers may be given different limits.
    pub limit_ms: u64,
    /// What became of it.
    pub state: State,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The worker is at it.
    Held,
    /// The worker could not do it; nor could another one, by all that is known.
    Failed,
    /// Nothing is known of it yet: it was made this moment, or torn.
    Unknown,
}

impl Claim {
    /// Whether its heartbeat, `silence` ago, is too old for a worker that allows `limit`.
    pub(super) fn is_stale(&self, silence: Duration, limit: Duration) -> bool {
        silence > limit.max(Duration::from_millis(self.limit_ms))
    }

    /// Whether its worker is known to have died, since it was on this machine.
    pub(super) fn is_dead(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.is_dead(self.pid))
    }

    /// A claim of which nothing can be read.
    fn unknown() -> Self {
        let state = State::Unknown;
        let (host, run) = (String::new(), String::new());
        Self { host, pid: 0, process: None, since: 0, run, number: 0, limit_ms: 0, state }
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on host {}", self.pid, self.host)
    }
}

/// The file of the claim on `name` in `folder`.
pub(super) fn path_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.{EXTENSION}"))
}

/// Whether `path` has the name of a claim.
pub(super) fn is_claim(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// Makes the claim `path`; `false` if there is one.
///
/// # Errors
/// The file system's; nothing is left behind then.
pub(super) fn create(path: &Path, claim: &Claim) -> io::Result<bool> {
    let mut file = match File::options().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        file => file?,
    };
    let written = file.write_all(text(claim)?.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written.map(|()| true)
}

/// The claim at `path` and its heartbeat; `None` if there is none.
///
/// # Errors
/// The file system's.
pub(super) fn read(path: &Path) -> io::Result<Option<(Claim, SystemTime)>> {
    let Some(file) = there(File::open(path))? else { return Ok(None) };
    let Some(claim) = there(content(&file))? else { return Ok(None) };
    Ok(there(file.metadata())?.map(|metadata| metadata.modified()).transpose()?.map(|beat| (claim, beat)))
}

/// Shows that the worker of `claim` lives; `false` if another claim is at `path`, or none.
///
/// # Errors
/// The file system's.
pub(super) fn touch(path: &Path, claim: &Claim) -> io::Result<bool> {
    let Some(file) = there(File::options().read(true).write(true).open(path))? else { return Ok(false) };
    match there(content(&file))? {
        Some(found) if found == *claim => Ok(there(touch_file(&file))?.is_some()),
        _ => Ok(false),
    }
}

/// Sets the modification time to now, by the clock of whoever keeps the file.
pub(super) fn touch_file(file: &File) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(futimens(file.as_fd(), &Timestamps { last_access: now, last_modification: now })?)
}

/// Removes `claim` from `path` in the name of `taker`; `false` if it was not there. Another claim that was in its place is put back.
///
/// # Errors
/// The file system's.
pub(super) fn put_aside(path: &Path, claim: &Claim, taker: &Claim) -> io::Result<bool> {
    // Of two that take the same claim, each has a place of its own for what it finds.
    let aside = path.with_extension(format!("{}-{}-aside", taker.run, taker.number));
    if there(fs::rename(path, &aside))?.is_none() {
        return Ok(false);
    }
    let ours = holds(&aside, claim)?;
    if !ours {
        // Unless somebody was quicker: then this one finds out that it has lost its claim.
        let _ = fs::hard_link(&aside, path);
    }
    there(fs::remove_file(&aside))?;
    Ok(ours)
}

/// The same for a worker's own claim, which another worker may have in its hands: that one's is not touched where it is seen.
///
/// # Errors
/// The file system's.
pub(super) fn withdraw(path: &Path, claim: &Claim) -> io::Result<bool> {
    Ok(holds(path, claim)? && put_aside(path, claim, claim)?)
}

/// Writes `state` into `claim` at `path`; `false` if it is not there any more.
///
/// # Errors
/// The file system's.
pub(super) fn replace(path: &Path, claim: &Claim, state: State) -> io::Result<bool> {
    if !holds(path, claim)? {
        return Ok(false);
    }
    let other = path.with_extension(format!("{}-{}-new", claim.run, claim.number));
    let written = create(&other, &Claim { state, ..claim.clone() }).and_then(|_| fs::rename(&other, path));
    if written.is_err() {
        let _ = fs::remove_file(&other);
    }
    written.map(|()| true)
}

fn holds(path: &Path, claim: &Claim) -> io::Result<bool> {
    Ok(read(path)?.is_some_and(|(found, _)| found == *claim))
}

fn content(file: &File) -> io::Result<Claim> {
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|_| Claim::unknown()))
}

fn text(claim: &Claim) -> io::Result<String> {
    Ok(serde_json::to_string(claim)? + "\n")
}

/// `None` where what was asked for is not there, or was removed by another node this moment.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESTALE) => Ok(None),
        other => other.map(Some),
    }
}
