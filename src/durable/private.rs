//! The private folder of one writer, and what becomes of those whose writers died.
//!
//! Its name is random, because process numbers repeat in containers, and a file in it is locked as long as its writer lives.
//! Not for what is made in it. Invariant: only an empty folder, or one whose lock could be taken, is another's to remove;
//! and the lock goes last, so that a removal that was cut short is gone on with.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names of private folders begin so; the target's name and a random part follow.
pub(super) const PREFIX: &str = ".egofx-";
/// Characters of the target's name in that of its private folder: names have at most 255 bytes.
const NAME_CHARS: usize = 48;
/// The file in a private folder that its writer has locked.
pub(super) const LOCK: &str = "lock";
/// The folder in a private folder for what is made.
const NEW: &str = "new";
/// Another writer of the same target may take a folder for a leftover while it has no lock yet.
const ATTEMPTS: usize = 100;

/// A private folder; gone with everything in it when this is dropped.
#[derive(Debug)]
pub(super) struct Private {
    path: PathBuf,
    /// Opened before anything was written, so that it hears of every write that failed late.
    folder: File,
    /// Locked while this lives; dropped after the folder is gone.
    _lock: File,
}

impl Private {
    /// Makes one in `folder` for a target called `name`, and removes those that dead writers of it left.
    pub(super) fn make(folder: &Path, name: &str) -> io::Result<Self> {
        remove_leftovers(folder, name)?;
        for _ in 0..ATTEMPTS {
            let path = folder.join(random(name));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            // Gone with all in it, should the rest fail.
            let Some(lock) = lock(&path).inspect_err(|_| drop(fs::remove_dir_all(&path)))? else { continue };
            let folder = File::open(&path).inspect_err(|_| drop(fs::remove_dir_all(&path)))?;
            let private = Self { path, folder, _lock: lock };
            fs::create_dir(private.new_folder())?;
            return Ok(private);
        }
        Err(io::Error::other("other writers remove every folder that is made for it"))
    }

    pub(super) fn new_folder(&self) -> PathBuf {
        self.path.join(NEW)
    }

    /// For the `i`th thing that was under a target's name.
    pub(super) fn former(&self, i: usize) -> PathBuf {
        self.path.join(format!("former-{i}"))
    }

    /// The whole file system at once: each of a thousand files would wait for the device otherwise. Errors of earlier
    /// writes are reported since Linux 5.8.
    #[cfg(target_os = "linux")]
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.folder)?)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn sync(&self) -> io::Result<()> {
        fn below(folder: &Path) -> io::Result<()> {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.symlink_metadata()?.is_dir() { below(&path)? } else { super::sync::sync_file(&path)? }
            }
            super::sync::sync_folder(folder)
        }
        below(&self.path)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            log::warn!("cannot remove the temporary folder {}: {error}", self.path.display());
        }
    }
}

/// The lock of a folder that was just made; `None` if another writer has taken the folder for a leftover.
fn lock(made: &Path) -> io::Result<Option<File>> {
    let path = made.join(LOCK);
    let file = match File::create_new(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let free = match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => false,
        // Where nothing can be locked, leftovers cannot be told from work and stay.
        Ok(()) | Err(fs::TryLockError::Error(_)) => path.exists(),
    };
    Ok(free.then_some(file))
}

/// A path beside `target`, which is called `name`, that is nobody else's.
pub(super) fn beside(target: &Path, name: &str) -> PathBuf {
    target.with_file_name(random(name))
}

fn random(name: &str) -> String {
    format!("{}{:016x}", prefix(name), RandomState::new().build_hasher().finish())
}

fn prefix(name: &str) -> String {
    format!("{PREFIX}{}.", name.chars().take(NAME_CHARS).collect::<String>())
}

/// Removes what dead writers of a target called `name` left in `folder`. A leftover that cannot be removed, another user's
/// for instance, is in nobody's way.
pub(super) fn remove_leftovers(folder: &Path, name: &str) -> io::Result<()> {
    let prefix = prefix(name);
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
            continue;
        }
        match File::options().write(true).open(path.join(LOCK)) {
            Ok(lock) if lock.try_lock().is_ok() => match remove(&path) {
                Ok(()) => log::info!("removed {}, which a killed run has left", path.display()),
                Err(error) => log::warn!("cannot remove {}, which a killed run has left: {error}", path.display()),
            },
            // Its writer died before it had the lock, or is about to make it and then makes another folder.
            Err(error) if error.kind() == ErrorKind::NotFound => drop(fs::remove_dir(&path)),
            _ => {}
        }
    }
    Ok(())
}

/// Removes a private folder, its lock last.
fn remove(private: &Path) -> io::Result<()> {
    for entry in fs::read_dir(private)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if !path.ends_with(LOCK) {
            fs::remove_file(&path)?;
        }
    }
    fs::remove_file(private.join(LOCK))?;
    match fs::remove_dir(private) {
        // Another writer of the target was quicker.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
