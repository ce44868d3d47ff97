//! What time it is for a file system: the modification time of a file that was just touched there.
//!
//! Not for comparing with any other clock.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::{ClaimError, of};
use super::file::touch_file;

/// The clock of the file system of one folder.
#[derive(Debug)]
pub(super) struct Clock {
    path: PathBuf,
}

impl Clock {
    /// That of `folder`, by a file of the worker `run`.
    pub fn new(folder: &Path, run: &str) -> Self {
        Self { path: folder.join(format!("{run}.clock")) }
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

    /// Removes its file.
    pub fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}
