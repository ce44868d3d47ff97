//! Claims: which piece of work is whose, where several workers on several machines share a folder and nothing else.
//!
//! A claim is a file `<name>.claim` that its worker made by exclusive creation: it names host, process and start, and its
//! modification time is the worker's heartbeat. It is given back when the work is done. One whose heartbeat is older than the limit
//! belongs to a worker that is dead, or that cannot reach the folder, and is taken over; one whose process has died on the machine of
//! whoever asks is taken over at once (`process`). No lock of the system is needed.
//!
//! A worker may also tell how it is, in a file that it writes at each heartbeat (`pulse`). In which order it asks is decided apart from
//! that (`line`).
//!
//! Not for what work there is, nor for keeping its results apart. Invariant: of workers that ask for a free name at the same
//! time one gets it. **What claims do not promise is that work is never done twice**: no file system on its own can tell a worker
//! that is dead from one that was stopped for an hour and goes on. Who shares work by claims makes that harmless: results appear whole
//! under their names, the same from whoever computed them, and a worker looks whether somebody else was first.
//!
//! # What network file systems do, and what is done about it
//!
//! * **Clocks of nodes differ.** None is read. A heartbeat is "now" in the words of the file server (`utimensat` with `UTIME_NOW`, which
//!   NFS sends as SET_TO_SERVER_TIME), and its age is the difference to a file of the asking worker that was touched the same way
//!   just before, or within the last second (`clock`). Who is stopped between the two takes a claim for younger than it is, never for
//!   older.
//! * **Attributes and names are cached** (NFS: 3 to 60 s). A file's content and times are read through a descriptor that was just
//!   opened, for which close-to-open consistency asks the server; names are only ever trusted where exclusive creation, which
//!   goes to the server, has refused them. A limit below 60 s is for tests and for file systems of one machine.
//! * **Requests are sent again**, so that an exclusive creation or a rename that succeeded may be answered by "exists" or "no such
//!   file". Claims bear a text that nobody else has: a claim that "exists" is read, and may be one's own.
//! * **Exclusive creation that is none** (old servers, some FUSE file systems): [`Claims::open`] tries it out as far as one node can,
//!   and whoever made a claim reads it back; of two that made it at once, only the one whose text stayed goes on.
//! * **Stale handles** (ESTALE), where another node removed a file between its lookup and its use, count as "not there".
//! * **Silly renames** (`.nfs...`, of files that are removed while open) do not arise from us, since a claim is open only for the moment
//!   in which it is read or touched; names that do not end in `.claim` mean nothing.
//! * **A worker is stopped past the limit and goes on** (SIGSTOP, a suspended machine, a dead network): its claim has another's text by then or
//!   is gone, which its heartbeat finds out; it never touches, renames or removes a claim of another text on purpose. Between looking
//!   and removing there is a moment; so a claim is first moved aside under a name of its own and put back if it turns out to be
//!   another's. What is left of that moment costs time, not results.
//! * **Two take over the same dead claim**: one of them succeeds in moving it aside, and both then ask for the free name.
//! * **Machines that were restored from one image** may have host, boot and numbers of processes in common, so that a live worker looks
//!   dead. Its work is then done twice.
//! * **The folder is full or cannot be written**: there are no claims then; work goes on, perhaps twice.

mod clock;
mod error;
mod file;
mod hands;
mod line;
mod probe;
mod process;
mod pulse;

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use self::clock::{Clock, ServerTime};
pub use self::error::ClaimError;
use self::error::of;
pub use self::file::{Claim, State};
pub use self::hands::{Hands, Steal, Terms, pause, pause_after};
pub use self::line::{Line, Sight, Turn};
pub use self::process::Process;
pub use self::pulse::{Pulse, Told, told};

/// Heartbeats within the limit: some may come late, or not at all, before a claim is taken over.
const BEATS: u32 = 8;

/// How often a name is asked for that is free at one moment and taken at the next.
const TRIES: usize = 4;

/// What became of asking for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is this worker's; `over` tells that it was taken from a worker that had died, or whose heartbeat had stopped.
    Ours {
        /// Whether it was.
        over: bool,
    },
    /// Another worker has it, or has failed at it.
    Others(Claim),
}

/// The claims of one worker in one folder. Those that are left when this is dropped are given back.
pub struct Claims {
    folder: PathBuf,
    clock: Clock,
    limit: Duration,
    /// Who we are: a claim is this with a number.
    worker: Claim,
    made: AtomicU64,
    held: Arc<Mutex<BTreeMap<String, Held>>>,
    beating: Option<(Sender<()>, JoinHandle<()>)>,
}

/// A claim of this worker.
#[derive(Debug, Clone)]
struct Held {
    claim: Claim,
    /// Whether another's text was found in its place.
    lost: bool,
}

impl Claims {
    /// For the folder `folder`, which is made; claims are taken over when their heartbeat is older than `limit`, or their worker is
    /// known to have died.
    ///
    /// # Errors
    /// [`ClaimError`]: the folder cannot be written, or `tried` and exclusive creation or renaming there is not atomic.
    pub fn open(folder: &Path, limit: Duration, tried: bool) -> Result<Self, ClaimError> {
        fs::create_dir_all(folder).map_err(of("create the folder", folder))?;
        let worker = worker(limit);
        let clock = Clock::new(folder, &worker.run);
        if tried {
            probe::try_out(folder, &worker.run)?;
        }
        sweep(folder, clock.now()?, &worker, limit)?;
        let held: Arc<Mutex<BTreeMap<String, Held>>> = Arc::default();
        let beating = Some(beat_every(limit / BEATS, folder.to_owned(), held.clone())?);
        Ok(Self { folder: folder.to_owned(), clock, limit, worker, made: AtomicU64::new(0), held, beating })
    }

    /// Asks for `name`. What another worker failed at is left alone, unless it is to be tried `again`.
    ///
    /// # Errors
    /// [`ClaimError::Io`]; the name is then not this worker's.
    pub fn take(&self, name: &str, again: bool) -> Result<Taken, ClaimError> {
        let claim = Claim { number: self.made.fetch_add(1, Relaxed), ..self.worker.clone() };
        // A claim that was made and cannot be looked at would be nobody's until it is old.
        self.try_to_take(name, again, &claim).inspect_err(|_| drop(file::withdraw(&self.path(name), &claim)))
    }

    fn try_to_take(&self, name: &str, again: bool, claim: &Claim) -> Result<Taken, ClaimError> {
        let path = self.path(name);
        let mut over = false;
        for _ in 0..TRIES {
            let created = file::create(&path, claim).map_err(of("create", &path))?;
            // Before the claim is looked at: a worker that is stopped in between takes it for younger than it is.
            let now = self.clock.lately(self.limit)?.now;
            let Some((found, beat)) = file::read(&path).map_err(of("read", &path))? else { continue };
            if found == *claim {
                self.held().insert(name.to_owned(), Held { claim: found, lost: false });
                return Ok(Taken::Ours { over });
            }
            let left = self.is_left(&found, now.duration_since(beat).unwrap_or_default());
            let free = if found.state == State::Failed { again } else { left };
            if created || !free {
                return Ok(Taken::Others(found));
            }
            over |=
                file::put_aside(&path, &found, claim).map_err(of("move aside", &path))? && found.state == State::Held;
        }
        Ok(Taken::Others(claim.clone()))
    }

    /// Who has `name`, if somebody has, and how long ago that worker showed that it lives.
    ///
    /// # Errors
    /// [`ClaimError::Io`].
    pub fn silence(&self, name: &str) -> Result<Option<(Claim, Duration)>, ClaimError> {
        self.silence_by(self.clock.lately(self.limit)?, name)
    }

    /// The same by a reading of the clock.
    fn silence_by(&self, clock: ServerTime, name: &str) -> Result<Option<(Claim, Duration)>, ClaimError> {
        let found = file::read(&self.path(name)).map_err(of("read", &self.path(name)))?;
        Ok(found.map(|(claim, beat)| (claim, clock.now.duration_since(beat).unwrap_or_default())))
    }

    /// Whether `name` is this worker's, as far as its heartbeat knows.
    pub fn is_ours(&self, name: &str) -> bool {
        self.held().get(name).is_some_and(|held| !held.lost)
    }

    /// Gives `name` back, or leaves word that this worker has `failed` at it. Says whether it still was this worker's.
    pub fn give_back(&self, name: &str, failed: bool) -> bool {
        let Some(Held { claim, .. }) = self.held().remove(name) else { return false };
        let path = self.path(name);
        let given = if failed { file::replace(&path, &claim, State::Failed) } else { file::withdraw(&path, &claim) };
        // A claim that stays gets old, and is taken over.
        given.inspect_err(|error| log::warn!("cannot give back {}: {error}", path.display())).unwrap_or_default()
    }

    /// Whether a claim whose heartbeat is `silence` old is taken over by whoever asks for it: its worker has died, or is taken for dead.
    pub fn is_left(&self, claim: &Claim, silence: Duration) -> bool {
        claim.is_stale(silence, self.limit) || claim.is_dead()
    }

    /// Shows now that this worker is still at `name`: whether it is, or another one has it meanwhile; `None` if this one never had it.
    /// For the moment before something is put in place that two may not put there at once: for as long as the limit, nobody takes it
    /// over from here on.
    pub fn renew(&self, name: &str) -> Option<bool> {
        let claim = self.held().get(name)?.claim.clone();
        let path = self.path(name);
        let touched = file::touch(&path, &claim);
        Some(touched.inspect_err(|error| log::warn!("cannot touch {}: {error}", path.display())).unwrap_or(true))
    }

    fn path(&self, name: &str) -> PathBuf {
        file::path_of(&self.folder, name)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        lock(&self.held)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        if let Some((end, beating)) = self.beating.take() {
            drop(end);
            let _ = beating.join();
        }
        let names: Vec<String> = self.held().keys().cloned().collect();
        for name in names {
            self.give_back(&name, false);
        }
        self.clock.remove();
    }
}

/// Shows until the sender is dropped that the owner of `held` lives.
fn beat_every(
    pause: Duration,
    folder: PathBuf,
    held: Arc<Mutex<BTreeMap<String, Held>>>,
) -> Result<(Sender<()>, JoinHandle<()>), ClaimError> {
    let (end, ended) = mpsc::channel();
    let place = folder.clone();
    let beat = move || {
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let all: Vec<(String, Claim)> = lock(&held).iter().map(|(n, h)| (n.clone(), h.claim.clone())).collect();
            for (name, claim) in all {
                let path = file::path_of(&folder, &name);
                match file::touch(&path, &claim) {
                    Ok(true) => {}
                    Ok(false) => lose(&held, &name, &claim),
                    Err(error) => log::warn!("cannot touch {}: {error}", path.display()),
                }
            }
        }
    };
    let thread = thread::Builder::new().name("heartbeat".into()).spawn(beat);
    Ok((end, thread.map_err(of("start a thread for the claims in", &place))?))
}

/// Marks `claim` as lost, unless it was given back meanwhile.
fn lose(held: &Mutex<BTreeMap<String, Held>>, name: &str, claim: &Claim) {
    if let Some(held) = lock(held).get_mut(name).filter(|held| held.claim == *claim && !held.lost) {
        log::warn!("{name}: another worker has taken this over, since it was not heard of this one for too long");
        held.lost = true;
    }
}

/// Removes what workers left that were killed: what they were at and finished is nobody's to take over. What they failed at stays.
fn sweep(folder: &Path, now: SystemTime, worker: &Claim, limit: Duration) -> Result<(), ClaimError> {
    let since = |time: SystemTime| now.duration_since(time).unwrap_or_default();
    for path in fs::read_dir(folder).map_err(of("list", folder))?.flatten().map(|entry| entry.path()) {
        if file::is_claim(&path) {
            if let Ok(Some((claim, beat))) = file::read(&path)
                && claim.state != State::Failed
                && claim.is_stale(since(beat), limit)
            {
                let _ = file::put_aside(&path, &claim, worker);
            }
        } else if pulse::is_pulse(&path) {
            pulse::remove_if_stale(&path, now);
        } else if path.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|time| since(time) > limit) {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

/// A claim as somebody sees it who asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What is claimed.
    pub name: String,
    /// By whom.
    pub claim: Claim,
    /// How long ago that worker showed that it lives.
    pub silence: Duration,
}

impl Seen {
    /// Whether its own worker would take such a claim over.
    pub fn is_stale(&self) -> bool {
        self.claim.is_stale(self.silence, Duration::ZERO) || self.claim.is_dead()
    }
}

/// The claims in the folder `folder`, by name; none if it is not there. Their age is told by the file system's clock where a file
/// can be touched in the folder, else by `now`.
pub fn list(folder: &Path, now: SystemTime) -> Vec<Seen> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let now = now_in(folder, now);
    let paths = entries.flatten().map(|entry| entry.path());
    let claims = paths.filter(|path| file::is_claim(path));
    let seen = |path: PathBuf| {
        let (claim, beat) = file::read(&path).ok()??;
        let name = path.file_stem()?.to_string_lossy().into_owned();
        Some(Seen { name, claim, silence: now.duration_since(beat).unwrap_or_default() })
    };
    let mut seen: Vec<Seen> = claims.filter_map(seen).collect();
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    seen
}

/// Now, by the file system's clock where a file can be touched in `folder`, else by `otherwise`.
fn now_in(folder: &Path, otherwise: SystemTime) -> SystemTime {
    let clock = Clock::new(folder, &worker(Duration::ZERO).run);
    let now = clock.now().unwrap_or(otherwise);
    clock.remove();
    now
}

/// Who we are. The run is drawn, since hosts, numbers of processes and seconds repeat in containers.
fn worker(limit: Duration) -> Claim {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    Claim {
        host: hostname::get().map_or_else(|_| "unknown".into(), |name| name.to_string_lossy().into_owned()),
        pid: std::process::id(),
        process: Process::this().cloned(),
        since,
        run: format!("{:016x}", RandomState::new().hash_one(since)),
        number: 0,
        limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        state: State::Held,
    }
}

/// A poisoned lock holds whole entries all the same: they change in one go.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
