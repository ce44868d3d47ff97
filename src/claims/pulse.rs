//! What a worker tells of itself while it works: a file `<name>.run` beside the claims, which it alone writes.
//!
//! Written whole and renamed at each heartbeat by a thread of its own, so that nothing waits for it; its modification time is the
//! heartbeat, and who looks at it judges by that as for a claim. The worker removes it when it ends; what a worker left that died is
//! replaced by the next one of that name, or swept by the next one at all. Not for claiming anything. Invariant: a reader finds a
//! whole text or none.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::error::of;
use super::file::{Claim, touch_file};
use super::{BEATS, ClaimError, now_in, sweep, worker};

/// The extension of what is told.
const EXTENSION: &str = "run";

/// Most bytes of it that are read.
const MOST_BYTES: u64 = 1 << 16;

/// What the file says.
#[derive(Serialize, Deserialize)]
struct Text<T> {
    worker: Claim,
    told: T,
}

/// Tells how a worker is, until this is dropped.
pub struct Pulse {
    path: PathBuf,
    worker: Claim,
    beating: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Pulse {
    /// Of the worker `name` in the folder `folder`, which is made: `told` says how it is, at once and eight times within `limit`, after
    /// which others take it for dead.
    ///
    /// # Errors
    /// [`ClaimError::Io`]: no thread can be started. A folder that cannot be written is a warning.
    pub fn begin<T: Serialize>(
        folder: &Path,
        name: &str,
        limit: Duration,
        mut told: impl FnMut() -> T + Send + 'static,
    ) -> Result<Self, ClaimError> {
        let (path, worker) = (folder.join(format!("{name}.{EXTENSION}")), worker(limit));
        let (end, ended) = mpsc::channel();
        let (place, teller, folder) = (path.clone(), worker.clone(), folder.to_owned());
        let beat = move || {
            let mut healthy = note(tidy(&folder, &teller, limit), true);
            loop {
                healthy = note(write(&place, &Text { worker: teller.clone(), told: told() }), healthy);
                if ended.recv_timeout(limit / BEATS) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("pulse".into()).spawn(beat);
        let beating = Some((end, thread.map_err(of("start a thread that tells of this run in", &path))?));
        Ok(Self { path, worker, beating })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if let Some((end, beating)) = self.beating.take() {
            drop(end);
            let _ = beating.join();
        }
        // Where locks lock nothing, another run may do the same part, and tell of itself here.
        let is_ours = |text: Text<serde::de::IgnoredAny>| text.worker == self.worker;
        if read(&self.path).is_some_and(|(text, _)| is_ours(text)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Says what went wrong, once in a row.
fn note(result: Result<(), ClaimError>, was_healthy: bool) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            let level = if was_healthy { log::Level::Warn } else { log::Level::Debug };
            log::log!(level, "status cannot tell of this run: {error}");
            false
        }
    }
}

/// Makes the folder, and removes what workers left there that died.
fn tidy(folder: &Path, worker: &Claim, limit: Duration) -> Result<(), ClaimError> {
    fs::create_dir_all(folder).map_err(of("create the folder", folder))?;
    let clock = Clock::new(folder, &worker.run);
    let swept = clock.now().and_then(|now| sweep(folder, now, worker, limit));
    clock.remove();
    swept
}

fn write(path: &Path, text: &Text<impl Serialize>) -> Result<(), ClaimError> {
    let other = path.with_extension(format!("{}-new", text.worker.run));
    let fill = |mut file: File| {
        file.write_all(serde_json::to_string(text)?.as_bytes())?;
        touch_file(&file)
    };
    let written = File::create(&other).and_then(fill).and_then(|()| fs::rename(&other, path));
    written.inspect_err(|_| drop(fs::remove_file(&other))).map_err(of("write", path))
}

/// What is told in the file `path`, and when; nothing where none can be read.
fn read<T: DeserializeOwned>(path: &Path) -> Option<(Text<T>, SystemTime)> {
    let read = || -> io::Result<(Vec<u8>, SystemTime)> {
        let mut file = File::open(path)?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok((bytes, file.metadata()?.modified()?))
    };
    let (bytes, beat) = read().ok()?;
    Some((serde_json::from_slice(&bytes).ok()?, beat))
}

/// Whether `path` has the name of such a file.
pub(super) fn is_pulse(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}

/// Removes the file `path` if its worker has died, or was not heard of for its limit.
pub(super) fn remove_if_stale(path: &Path, now: SystemTime) {
    if told_in::<serde::de::IgnoredAny>(path, now).is_none_or(|told| told.is_stale()) {
        let _ = fs::remove_file(path);
    }
}

/// What a worker told of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Told<T> {
    /// Its name.
    pub name: String,
    /// Who it is.
    pub worker: Claim,
    /// What it told.
    pub told: T,
    /// How long ago.
    pub silence: Duration,
}

impl<T> Told<T> {
    /// Whether the worker has died, or was not heard of for so long that a claim of its would be taken over.
    pub fn is_stale(&self) -> bool {
        self.worker.is_stale(self.silence, Duration::ZERO) || self.worker.is_dead()
    }
}

fn told_in<T: DeserializeOwned>(path: &Path, now: SystemTime) -> Option<Told<T>> {
    let (Text { worker, told }, beat) = read(path)?;
    let name = path.file_stem()?.to_string_lossy().into_owned();
    Some(Told { name, worker, told, silence: now.duration_since(beat).unwrap_or_default() })
}

/// What the workers in the folder `folder` tell of themselves, by name; their age is told as by [`list`](super::list).
pub fn told<T: DeserializeOwned>(folder: &Path, now: SystemTime) -> Vec<Told<T>> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_pulse(path)).collect();
    if paths.is_empty() {
        return Vec::new();
    }
    let now = now_in(folder, now);
    let mut told: Vec<Told<T>> = paths.iter().filter_map(|path| told_in(path, now)).collect();
    told.sort_by(|a, b| a.name.cmp(&b.name));
    told
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn wait_for(happened: impl Fn() -> bool) {
        let begun = Instant::now();
        while !happened() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn numbers(folder: &Path) -> Vec<(String, u64, bool)> {
        let told = told::<u64>(folder, SystemTime::now()).into_iter();
        told.map(|told| (told.name.clone(), told.told, told.is_stale())).collect()
    }

    /// What a worker of another machine leaves that is killed.
    fn leave(folder: &Path, name: &str, age: Duration) {
        let path = folder.join(format!("{name}.run"));
        write(&path, &Text { worker: Claim { process: None, ..worker(LONG) }, told: 1 }).unwrap();
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn a_worker_tells_again_and_again_and_takes_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("claims");
        assert!(numbers(&place).is_empty());
        let mut n = 0;
        let count = move || {
            n += 1;
            n
        };
        let pulse = Pulse::begin(&place, "1-of-2", Duration::from_millis(400), count).unwrap();
        let last = AtomicU64::new(0);
        wait_for(|| match &numbers(&place)[..] {
            [(name, n, false)] if name == "1-of-2" => last.fetch_max(*n, Relaxed).max(*n) >= 3,
            told => told.len() <= 1,
        });
        drop(pulse);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn what_dead_workers_told_is_known_as_such_and_does_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), "1-of-2", 2 * LONG);
        leave(folder.path(), "2-of-2", 2 * LONG);
        leave(folder.path(), "7-of-9", LONG / 2);
        fs::write(folder.path().join("3-of-9.run"), "{\"worker\":").unwrap();
        let stale: Vec<bool> = numbers(folder.path()).into_iter().map(|(_, _, is_stale)| is_stale).collect();
        assert_eq!(stale, [true, true, false], "a torn one tells nothing");
        let pulse = Pulse::begin(folder.path(), "1-of-2", LONG / 100, || 5_u64).unwrap();
        let expected = [("1-of-2".to_owned(), 5, false), ("7-of-9".to_owned(), 1, false)];
        wait_for(|| numbers(folder.path()) == expected);
        // Another run has the same name meanwhile.
        leave(folder.path(), "1-of-2", Duration::ZERO);
        drop(pulse);
        assert_eq!(numbers(folder.path()).len(), 2, "its own text alone is removed");
    }

    #[test]
    fn a_folder_that_cannot_be_made_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("claims"), "in the way").unwrap();
        drop(Pulse::begin(&folder.path().join("claims"), "1-of-1", LONG, || 1_u64).unwrap());
    }
}
