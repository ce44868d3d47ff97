//! From finished files in a temporary folder to an output that has its name.
//!
//! Not for making them. Invariant: files are synced before the record is written, and the record before they get their
//! names; so at any moment an output is whole or does not fit its record.

use std::fs;
use std::path::{Path, PathBuf};

use super::TranscodeError;
use super::record::{self, Record};
use crate::durable::{self, Existing, Partial};
use crate::ids::VideoUid;
use crate::store::{StoreError, disk};

/// Removes the files that a try left in `folder`.
pub(super) fn empty(folder: &Path) -> Result<(), TranscodeError> {
    for name in disk::names_in(folder)? {
        let file = folder.join(name);
        fs::remove_file(&file).map_err(|error| StoreError::io("remove", &file, error))?;
    }
    Ok(())
}

/// The temporary folder of one video, on the file system of the output; gone when this is dropped.
pub(super) struct Workplace {
    partial: Partial,
    target: PathBuf,
    chunks: PathBuf,
    is_folder: bool,
}

impl Workplace {
    /// Makes it for the output `name` in `out`, a folder of chunks or a file, and removes what killed runs left of the same.
    ///
    /// # Errors
    /// [`TranscodeError::File`].
    pub fn new(out: &Path, name: &str, is_folder: bool) -> Result<Self, TranscodeError> {
        let (all, target) = (record::temporaries(out), out.join(name));
        let partial = Partial::begin_in(&all, &target);
        let partial = partial.map_err(|error| StoreError::io("create a folder in", &all, error))?;
        let chunks = if is_folder { partial.path() } else { partial.folder() };
        disk::create_folder(&chunks)?;
        Ok(Self { partial, target, chunks, is_folder })
    }

    /// Where files are made.
    pub fn chunks(&self) -> &Path {
        &self.chunks
    }

    /// Records the files and gives them their place, away from what had it.
    ///
    /// # Errors
    /// [`TranscodeError::File`]; what had the place is then still there.
    pub fn commit(self, record: &Record, out: &Path) -> Result<(), TranscodeError> {
        record.write(out)?;
        let refused = |error| StoreError::io("write", &self.target, error);
        if !self.is_folder {
            fs::rename(self.chunks.join("0.mp4"), self.partial.path()).map_err(refused)?;
        }
        Ok(self.partial.commit(Existing::as_found(&self.target)).map_err(refused)?)
    }
}

/// Removes what killed runs left of the output `name` in `out`, which is made, and of its record.
///
/// # Errors
/// [`TranscodeError::File`].
pub(super) fn clean(out: &Path, name: &str, video_uid: &VideoUid) -> Result<(), TranscodeError> {
    let (target, record) = (out.join(name), record::path(out, video_uid));
    let cleaned = durable::clean_in(&record::temporaries(out), &target).and_then(|()| durable::clean(&record));
    Ok(cleaned.map_err(|error| StoreError::io("remove what a killed run left of", &target, error))?)
}

/// Makes what is needed for outputs in `out`.
pub(super) fn prepare(out: &Path) -> Result<(), TranscodeError> {
    for folder in [record::records(out), record::temporaries(out), record::locks(out)] {
        disk::create_folder(&folder)?;
    }
    Ok(())
}

/// Syncs the file `part` and renames it to `named` beside it: its length and sha256.
pub(super) fn settle(part: &Path, named: &Path) -> Result<(u64, String), TranscodeError> {
    disk::sync_file(part)?;
    let sum = disk::checksum(part)?;
    disk::rename(part, named)?;
    Ok(sum)
}
