//! Durable file operations: synced, renamed into place, checksummed.
//!
//! Not for what the files contain, nor for folders as a whole: a store grows unit by unit, in `tmp/` of the shard that holds
//! its lock, which is emptied when the shard is opened; for outputs at one stroke see `durable`. Invariant: a name under which a reader looks only ever points to a complete file
//! whose bytes have reached the device.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::error::{StoreError, io_error};
use crate::durable;

/// Creates `path` and what is missing above it.
///
/// # Errors
/// [`StoreError`] of the device.
pub fn create_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(io_error("create the folder", path))
}

/// Makes renames and new names inside `folder` survive a power cut.
///
/// # Errors
/// [`StoreError`] of the device.
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    durable::sync_folder(folder).map_err(io_error("sync the folder", folder))
}

/// Waits until the bytes of `path` are on the device; this is where a late "disk full" shows.
///
/// # Errors
/// [`StoreError`] of the device.
pub fn sync_file(path: &Path) -> Result<(), StoreError> {
    durable::sync_file(path).map_err(io_error("sync", path))
}

/// Gives the synced file `temporary` its final name, replacing what had it.
///
/// # Errors
/// [`StoreError`] of the device.
pub fn rename(temporary: &Path, target: &Path) -> Result<(), StoreError> {
    fs::rename(temporary, target).map_err(io_error("rename a temporary file to", target))?;
    target.parent().map_or(Ok(()), sync_folder)
}

/// Writes `bytes` as `target` by way of `temporary`, which lies on the same file system.
///
/// # Errors
/// [`StoreError`] of the device; the target is then as it was.
pub fn write_atomically(target: &Path, temporary: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = File::create(temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(io_error("write", temporary))
        .and_then(|()| rename(temporary, target));
    if written.is_err() {
        remove_quietly(temporary);
    }
    written
}

/// Removes a temporary file after a failure; the failure is what gets reported, not this.
pub fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove the temporary file {}: {error}", path.display());
    }
}

/// Length in bytes and sha256 in lower-case hex of a file.
///
/// # Errors
/// [`StoreError::Io`].
pub fn checksum(path: &Path) -> Result<(u64, String), StoreError> {
    crate::digest::file(path).map_err(io_error("read", path))
}

/// The names of the entries of `folder`, sorted; empty if the folder is not there.
///
/// # Errors
/// [`StoreError::Io`]; a folder that is not there is none.
pub fn names_in(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("list", folder))?,
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(io_error("list", folder))?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_length_and_sha256() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let (length, sum) = checksum(&path).unwrap();
        assert_eq!(length, 3);
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (target, temporary) = (folder.path().join("t"), folder.path().join("t.tmp"));
        write_atomically(&target, &temporary, b"one").unwrap();
        write_atomically(&target, &temporary, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(names_in(folder.path()).unwrap(), ["t"]);
        let nowhere = folder.path().join("t/x");
        assert!(write_atomically(&nowhere, &temporary, b"three").is_err());
        assert_eq!(names_in(folder.path()).unwrap(), ["t"], "the temporary file of a failed write is removed");
    }
}
