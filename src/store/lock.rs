//! Advisory locks: which shards of a store are being written right now.
//!
//! A lock dies with its process, so a killed run never blocks the next one. Where the file system has none, or only
//! pretends to, the last run that asked holds the shard, and one before it finds that out by the file's text. Not for
//! readers, which need none. Invariant: at any time all live shards of a store have the same count, and each is held once.

use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::disk;
use super::error::{StoreError, io_error};
use crate::shard::Shard;

const EXTENSION: &str = ".lock";

/// A lock that is released when this is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// The lock of a shard, and what its file says while this run holds it.
#[derive(Debug)]
pub struct ShardLock {
    _lock: Lock,
    path: PathBuf,
    text: String,
}

impl ShardLock {
    /// Whether this run still is the one that holds the shard, for before anything of it is written.
    ///
    /// # Errors
    /// [`StoreError::TakenOver`] if another run was given the same lock.
    pub fn check(&self) -> Result<(), StoreError> {
        let found = fs::read_to_string(&self.path).map_err(io_error("read", &self.path))?;
        if found == self.text {
            return Ok(());
        }
        Err(StoreError::TakenOver { lock: self.path.clone(), holder: found.trim().to_owned() })
    }
}

/// Takes the lock of `shard` in the folder `locks` and then makes sure that no live run shards the store otherwise.
///
/// # Errors
/// [`StoreError::Locked`] if this shard is live, [`StoreError::DividedOtherwise`] if any shard of another count is.
pub fn take_shard(locks: &Path, shard: Shard) -> Result<ShardLock, StoreError> {
    let path = locks.join(shard.stem() + EXTENSION);
    let mut file = open(&path)?;
    check(file.try_lock(), &path)?;
    let text = write_holder(&mut file).map_err(io_error("write", &path))?;
    let lock = ShardLock { _lock: Lock { _file: file }, path, text };
    // Only after the own lock is held: of two runs that start at once, at least one sees the other.
    for name in disk::names_in(locks)? {
        let other = name.strip_suffix(EXTENSION).and_then(Shard::from_stem);
        if let Some(other) = other.filter(|other| other.count() != shard.count()) {
            probe(&locks.join(name)).map_err(|error| match error {
                StoreError::Locked { lock, holder } => {
                    StoreError::DividedOtherwise { lock, holder, live: other, wanted: shard }
                }
                error => error,
            })?;
        }
    }
    Ok(lock)
}

/// Waits for the lock that guards what all shards write: `store.json`, `planned.jsonl`, the index.
///
/// # Errors
/// [`StoreError::Io`].
pub fn take_index(locks: &Path) -> Result<Lock, StoreError> {
    let path = locks.join(format!("index{EXTENSION}"));
    let file = open(&path)?;
    match file.lock() {
        Err(error) if !is_unsupported(&error) => return Err(StoreError::io("lock", &path, error)),
        Err(_) => warn_unsupported(&path),
        Ok(()) => {}
    }
    Ok(Lock { _file: file })
}

fn open(path: &Path) -> Result<File, StoreError> {
    // Not truncated: until the lock is held, the content is another run's.
    File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io_error("open", path))
}

/// Fails if `path` is held; a shared lock, so that two runs that probe one abandoned lock do not see each other.
fn probe(path: &Path) -> Result<(), StoreError> {
    check(open(path)?.try_lock_shared(), path)
}

fn check(result: Result<(), TryLockError>, path: &Path) -> Result<(), StoreError> {
    match result {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { lock: path.to_owned(), holder: holder(path) }),
        Err(TryLockError::Error(error)) if is_unsupported(&error) => {
            warn_unsupported(path);
            Ok(())
        }
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path, error)),
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    // ENOLCK is what NFS says without its lock daemon.
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(libc::ENOLCK)
}

fn warn_unsupported(path: &Path) {
    log::warn!("this file system has no locks ({}): make sure that no two runs write the same shard", path.display());
}

/// Says who holds the lock; the last word is drawn, since hosts, numbers of processes and seconds repeat in containers.
fn write_holder(file: &mut File) -> io::Result<String> {
    let host = hostname::get().map_or("an unknown host".into(), |name| name.to_string_lossy().into_owned());
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let drawn = RandomState::new().hash_one(since);
    let text = format!("host {host}, process {}, since unix time {since}, run {drawn:016x}\n", std::process::id());
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    Ok(text)
}

/// Who holds the lock of `shard` in the folder `locks`, or held it last, by what its file says.
pub fn holder_of(locks: &Path, shard: Shard) -> String {
    holder(&locks.join(shard.stem() + EXTENSION))
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(512).read_to_string(&mut text)) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "a run that has just started".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(text: &str) -> Shard {
        text.parse().unwrap()
    }

    #[test]
    fn one_shard_is_held_once_and_freed_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let first = take_shard(folder.path(), shard("1/2")).unwrap();
        let second = take_shard(folder.path(), shard("1/2")).unwrap_err();
        let StoreError::Locked { lock, holder } = second else { panic!("{second}") };
        assert!(lock.ends_with("1-of-2.lock"));
        assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
        drop(first);
        take_shard(folder.path(), shard("1/2")).unwrap();
    }

    #[test]
    fn shards_of_one_count_coexist_and_of_two_counts_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let one = take_shard(folder.path(), shard("1/2")).unwrap();
        let two = take_shard(folder.path(), shard("2/2")).unwrap();
        for other in ["1/3", "1/1"] {
            let refused = take_shard(folder.path(), shard(other));
            assert!(matches!(refused, Err(StoreError::DividedOtherwise { .. })), "{other}");
        }
        drop((one, two));
        let _three = take_shard(folder.path(), shard("1/3")).unwrap();
        let refused = take_shard(folder.path(), shard("2/2")).unwrap_err().to_string();
        assert!(
            refused.contains("it does part 1/3 and this one would do 2/2") && refused.contains("--shard I/3"),
            "{refused}"
        );
    }

    #[test]
    fn file_systems_without_locks_are_recognised() {
        assert!(is_unsupported(&io::ErrorKind::Unsupported.into()));
        assert!(is_unsupported(&io::Error::from_raw_os_error(libc::ENOLCK)));
        assert!(!is_unsupported(&io::ErrorKind::PermissionDenied.into()));
    }

    /// As on a file system whose locks lock nothing: the lock is given to two runs.
    #[test]
    fn a_run_whose_lock_was_given_to_another_finds_that_out() {
        let folder = tempfile::tempdir().unwrap();
        let first = take_shard(folder.path(), shard("1/1")).unwrap();
        first.check().unwrap();
        let second = write_holder(&mut open(&first.path).unwrap()).unwrap();
        let StoreError::TakenOver { lock, holder } = first.check().unwrap_err() else { panic!("not taken over") };
        assert_eq!((lock, holder), (first.path.clone(), second.trim().to_owned()));
    }

    #[test]
    fn the_index_lock_is_no_shard() {
        let folder = tempfile::tempdir().unwrap();
        let _index = take_index(folder.path()).unwrap();
        take_shard(folder.path(), shard("1/1")).unwrap();
    }
}
