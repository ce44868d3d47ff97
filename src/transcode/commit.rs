//! From finished files in a temporary folder to an output that has its name.
//!
//! Not for making them. Invariant: files are synced before the record is written, and the record before they get their
//! names, all by renaming; so at any moment an output is whole or does not fit its record.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::TranscodeError;
use super::record::{self, Record};
use crate::ids::VideoUid;
use crate::store::{StoreError, disk};

/// A uid has no such character, so the name of one video's folder is never the beginning of another's.
const MARK: char = '@';

/// The temporary folder of one video, on the file system of the output; gone when this is dropped.
pub(super) struct Workplace {
    folder: TempDir,
    pieces: PathBuf,
}

impl Workplace {
    /// Makes it, and removes what killed runs left of the same video.
    pub fn new(out: &Path, video_uid: &VideoUid) -> Result<Self, TranscodeError> {
        let all = record::temporaries(out);
        let prefix = format!("{video_uid}{MARK}");
        for name in disk::names_in(&all)?.into_iter().filter(|name| name.starts_with(&prefix)) {
            let left = all.join(name);
            fs::remove_dir_all(&left).map_err(|error| StoreError::io("remove", &left, error))?;
        }
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&all);
        let folder = folder.map_err(|error| StoreError::io("create a folder in", &all, error))?;
        // One level deeper, because a temporary folder may be entered by its owner only, and this one is an output to be.
        let pieces = folder.path().join("pieces");
        disk::create_folder(&pieces)?;
        Ok(Self { folder, pieces })
    }

    /// Where files are made.
    pub fn pieces(&self) -> &Path {
        &self.pieces
    }
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

/// Records the files of `workplace` and gives them their place, `name` in `out`, away from what had it.
pub(super) fn commit(workplace: Workplace, record: &Record, out: &Path, name: &str) -> Result<(), TranscodeError> {
    record.write(out)?;
    let target = out.join(name);
    if target.exists() {
        let old = workplace.folder.path().join("old");
        fs::rename(&target, &old).map_err(|error| StoreError::io("move away", &target, error))?;
    }
    let is_folder = record.pieces.iter().any(|piece| piece.file != name);
    let made = if is_folder { workplace.pieces.clone() } else { workplace.pieces.join("0.mp4") };
    Ok(disk::rename(&made, &target)?)
}
