//! What time it is for a file system: the modification time of a file that was just touched there.
//!
//! Not for comparing with any other clock.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::error::{ClaimError, of};
use super::file::touch_file;

/// How old a reading may be by which many claims are looked at, one after the other.
const MOST_AGE: Duration = Duration::from_secs(1);

/// The clock of the file system of one folder.
#[derive(Debug)]
pub(super) struct Clock {
    path: PathBuf,
    last: Mutex<Option<ServerTime>>,
}

/// What the clock said.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerTime {
    /// The time.
    pub now: SystemTime,
    /// When it was asked.
    pub at: Instant,
}

impl Clock {
    /// That of `folder`, by a file of the worker `run`.
    pub fn new(folder: &Path, run: &str) -> Self {
        Self { path: folder.join(format!("{run}.clock")), last: Mutex::default() }
    }

    /// Now.
    ///
    /// # Errors
    /// [`ClaimError::Io`].
    pub fn now(&self) -> Result<SystemTime, ClaimError> {
        let file = File::options().write(true).create(true).truncate(false).open(&self.path);
        let now = file.and_then(|file| {
            touch_file(&file)?;
            file.metadata()?.modified()
        });
        now.map_err(of("touch", &self.path))
    }

    /// Now, or a moment ago: small beside `limit`, and a second at most.
    ///
    /// # Errors
    /// [`ClaimError::Io`].
    pub fn lately(&self, limit: Duration) -> Result<ServerTime, ClaimError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(time) = last.filter(|time| time.at.elapsed() < MOST_AGE.min(limit / 64)) {
            return Ok(time);
        }
        let at = Instant::now();
        Ok(*last.insert(ServerTime { now: self.now()?, at }))
    }

    /// Removes its file.
    pub fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}
