//! Passing copies of objects in a bounded folder: fetched ahead, held while somebody reads them, and then gone.
//!
//! Not for what is read, nor for a later run: the folder is this one's alone and goes with it, or, should it die, with the next
//! one that keeps copies in the same place. Invariants: a copy that is handed out is whole; copies together never exceed the bound.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use super::error::shown;
use super::fetch::{fetch, measure};
use super::room::{Number, Room};
use super::{Access, ObjectError, Objects};
use crate::durable::Partial;
use crate::stop::Stop;

/// How often those who wait look around.
const POLL: Duration = Duration::from_millis(50);
/// Threads that move bytes, whatever the number of decoders: they wait for the network.
const THREADS: usize = 2;
/// How long a fetch that is abandoned may still hold this process.
const LAST: Duration = Duration::from_secs(2);
/// The folder is made beside this name.
const NAME: &str = "videos";

/// Keeps copies.
pub struct Staging {
    shared: Arc<Shared>,
    /// `None` only while it ends.
    runtime: Option<Runtime>,
}

struct Shared {
    objects: Objects,
    folder: PathBuf,
    /// Makes the folder go in the end.
    place: Partial,
    stop: Arc<Stop>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    copies: HashMap<String, Cached>,
    room: Room,
    next: Number,
}

/// A copy, or one that is coming.
struct Cached {
    number: Number,
    /// Who reads it or waits for it.
    users: usize,
    phase: Phase,
    task: AbortHandle,
}

#[derive(Clone)]
enum Phase {
    Coming,
    There(PathBuf),
    Failed(Arc<ObjectError>),
}

/// A copy that is there as long as this is.
pub struct Staged {
    path: PathBuf,
    url: String,
    shared: Arc<Shared>,
}

impl Staging {
    /// Keeps copies in `folder`, of at most `bound` bytes together; ends when `stop` says that what is in flight is abandoned.
    ///
    /// # Errors
    /// The folder cannot be made or written, or the system has no threads.
    pub fn open(access: Access, folder: &Path, bound: u64, stop: Arc<Stop>) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("fetch").enable_all().build()?;
        let place = Partial::begin(&folder.join(NAME))?;
        let state = State { copies: HashMap::new(), room: Room::new(bound), next: 0 };
        let shared = Shared {
            objects: Objects::new(access),
            folder: place.folder(),
            place,
            stop,
            state: Mutex::new(state),
            changed: Condvar::new(),
        };
        Ok(Self { shared: Arc::new(shared), runtime: Some(runtime) })
    }

    /// Begins to fetch what `url` names, unless that is done or under way.
    pub fn prefetch(&self, url: &str) {
        self.begin(&mut self.shared.lock(), url);
    }

    /// Takes [`prefetch`](Self::prefetch) back, unless somebody has asked for the copy.
    pub fn forget(&self, url: &str) {
        let mut state = self.shared.lock();
        if state.copies.get(url).is_some_and(|copy| copy.users == 0) {
            self.shared.remove(&mut state, url);
        }
    }

    /// A whole copy of what `url` names; waits for it.
    ///
    /// # Errors
    /// [`ObjectError`] of the object, of the cache, or because the run was stopped.
    pub fn copy_of(&self, url: &str) -> Result<Staged, Arc<ObjectError>> {
        let mut state = self.shared.lock();
        self.begin(&mut state, url);
        if let Some(copy) = state.copies.get_mut(url) {
            copy.users += 1;
        }
        let staged = |path| Staged { path, url: url.to_owned(), shared: self.shared.clone() };
        let abandoned = || Phase::Failed(Arc::new(ObjectError::Abandoned { url: shown(url) }));
        loop {
            let phase = match state.copies.get(url).map(|copy| copy.phase.clone()) {
                Some(Phase::Coming) if self.shared.stop.abandoned() => abandoned(),
                known => known.unwrap_or_else(abandoned),
            };
            match phase {
                Phase::Coming => {
                    let waited = self.shared.changed.wait_timeout(state, POLL);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Phase::There(path) => return Ok(staged(path)),
                Phase::Failed(error) => {
                    self.shared.leave(&mut state, url);
                    return Err(error);
                }
            }
        }
    }

    fn begin(&self, state: &mut State, url: &str) {
        let Some(runtime) = self.runtime.as_ref().filter(|_| !state.copies.contains_key(url)) else { return };
        let number = state.next;
        state.next += 1;
        let (shared, of) = (self.shared.clone(), url.to_owned());
        let fetching = async move {
            let end = shared.fetch(&of, number).await;
            shared.settle(&of, number, end);
        };
        let task = runtime.spawn(fetching).abort_handle();
        state.copies.insert(url.to_owned(), Cached { number, users: 0, phase: Phase::Coming, task });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of one copy: a file that is fetched anew never meets what is left of its predecessor.
    fn folder_of(&self, number: Number) -> PathBuf {
        self.folder.join(number.to_string())
    }

    async fn fetch(&self, url: &str, number: Number) -> Result<PathBuf, ObjectError> {
        let started = Instant::now();
        let object = self.objects.object(url)?;
        let meta = measure(&object).await?;
        let bound = self.lock().room.bound();
        if meta.size > bound {
            return Err(ObjectError::TooLarge { url: shown(url), bytes: meta.size, bound });
        }
        while !self.take_room(url, number, meta.size) {
            tokio::time::sleep(POLL).await;
        }
        let folder = self.folder_of(number);
        let refused = |cause| {
            let folder = self.place.folder().display().to_string();
            ObjectError::Write { url: shown(url), folder, cause }
        };
        let (coming, whole) = (folder.join("coming"), folder.join("whole"));
        fs::create_dir(&folder).and_then(|()| fs::create_dir(&whole)).map_err(refused)?;
        let mut file = File::create_new(&coming).map_err(refused)?;
        fetch(&object, &meta, &mut file, refused).await?;
        drop(file);
        let path = whole.join(object.name());
        fs::rename(&coming, &path).map_err(refused)?;
        log::info!("{}: {} bytes fetched in {:.1} s", shown(url), meta.size, started.elapsed().as_secs_f64());
        Ok(path)
    }

    /// Whether copy `number` has room for `bytes` now.
    fn take_room(&self, url: &str, number: Number, bytes: u64) -> bool {
        let mut state = self.lock();
        let Some(copy) = state.copies.get(url).filter(|copy| copy.number == number) else { return false };
        let is_asked_for = copy.users > 0;
        let mut has_room = state.room.take(number, bytes, is_asked_for);
        if !has_room && state.room.is_next(number) {
            let unasked = |(url, copy): (&String, &Cached)| (copy.users == 0).then(|| url.clone());
            let unasked: Vec<String> = state.copies.iter().filter_map(unasked).collect();
            unasked.iter().for_each(|url| self.remove(&mut state, url));
            has_room = state.room.take(number, bytes, is_asked_for);
        }
        has_room
    }

    fn settle(&self, url: &str, number: Number, end: Result<PathBuf, ObjectError>) {
        let mut state = self.lock();
        let State { copies, room, .. } = &mut *state;
        match copies.get_mut(url).filter(|copy| copy.number == number) {
            Some(copy) => {
                copy.phase = match end {
                    Ok(path) => Phase::There(path),
                    Err(error) => {
                        self.clear(room, number);
                        Phase::Failed(Arc::new(error))
                    }
                };
            }
            None => self.clear(room, number),
        }
        self.changed.notify_all();
    }

    /// One user less.
    fn leave(&self, state: &mut State, url: &str) {
        let Some(copy) = state.copies.get_mut(url) else { return };
        copy.users -= 1;
        if copy.users == 0 {
            self.remove(state, url);
        }
    }

    fn remove(&self, state: &mut State, url: &str) {
        if let Some(copy) = state.copies.remove(url) {
            copy.task.abort();
            self.clear(&mut state.room, copy.number);
        }
    }

    /// Removes the files before their bytes are anybody's.
    fn clear(&self, room: &mut Room, number: Number) {
        match fs::remove_dir_all(self.folder_of(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove {}: {error}", self.folder_of(number).display());
            }
            _ => {}
        }
        room.give_back(number);
    }
}

impl Staged {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.shared.leave(&mut self.shared.lock(), &self.url);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Before the folder, into which it writes.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(LAST);
        }
    }
}
