//! Files and folders that appear under their names whole or not at all.
//!
//! Whatever the project writes for others to read is made in a private folder beside its place, synced, and renamed:
//! [`Partial`] for what takes steps (a folder, a program's output), [`write()`] for one file, [`commit_all`] for files that
//! belong together. Not for the bytes. Invariant: at any moment the target is what was there before, or all of the new,
//! and after an error it is what was there before. Where the file system can exchange two names (local ones of Linux)
//! there is no moment without either; elsewhere (NFS, FUSE) a replaced folder is away for the time between two renames.

mod place;
mod private;
mod sync;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

pub use place::Existing;
use place::{Placed, Renaming};
use private::Private;
pub use sync::{sync_file, sync_folder};

/// Some files could not be given their names; every target is as it was.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct CommitError {
    /// The target.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// A file or folder in the making; dropped without [`commit`](Self::commit) it leaves nothing behind.
#[derive(Debug)]
pub struct Partial {
    target: PathBuf,
    private: Private,
}

impl Partial {
    /// Makes the folders above `target` and a private folder beside it, and removes what dead writers of `target` left.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin(target: &Path) -> io::Result<Self> {
        let folder = parent(target);
        fs::create_dir_all(folder)?;
        Self::begin_in(folder, target)
    }

    /// The same with a private folder in `folder`, which is there and lies on the file system of `target`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin_in(folder: &Path, target: &Path) -> io::Result<Self> {
        Ok(Self { target: target.to_owned(), private: Private::make(folder, &name_of(target))? })
    }

    /// Where the file or folder is to be made: in [`folder`](Self::folder), by the target's name. Nothing is there yet.
    pub fn path(&self) -> PathBuf {
        self.folder().join(self.target.file_name().unwrap_or_default())
    }

    /// The folder in which it is made, empty at first; what else lies there at the end goes with it.
    pub fn folder(&self) -> PathBuf {
        self.private.new_folder()
    }

    /// Makes the file by `content`, and waits until it is on the device; `refused` makes an error of the system's.
    ///
    /// # Errors
    /// Those of `content` and of the file system.
    pub fn fill<E>(
        &self,
        refused: impl Fn(io::Error) -> E,
        content: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut file = BufWriter::with_capacity(1 << 18, File::create_new(self.path()).map_err(&refused)?);
        content(&mut file)?;
        // Asked of the handle that wrote: some file systems tell nobody else of a write that failed late.
        file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all()).map_err(refused)
    }

    /// Syncs what was made and gives it its name.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] under [`Existing::Refuse`]; those of the file system. The target is then as it was.
    pub fn commit(self, existing: Existing) -> io::Result<()> {
        commit_all(vec![self], existing).map_err(|failed| failed.source)
    }

    /// Syncs the files `names` of [`folder`](Self::folder) and gives them their places beside the target, whose own name
    /// stands for them only; in this order, what is there is replaced.
    ///
    /// # Errors
    /// The first file that could not be placed; all that was there is then as it was.
    pub fn commit_beside(self, names: &[PathBuf]) -> Result<(), CommitError> {
        let (made, beside) = (self.folder(), parent(&self.target));
        let failed = |source| CommitError { path: self.target.clone(), source };
        self.private.sync().map_err(failed)?;
        let renamings = names.iter().enumerate().map(|(i, name)| Renaming {
            made: made.join(name),
            target: beside.join(name),
            former: self.private.former(i),
        });
        place_all(&renamings.collect::<Vec<_>>(), Existing::Replace)
    }

    fn sync(&self) -> io::Result<()> {
        let made = self.path();
        if made.symlink_metadata()?.is_dir() { self.private.sync() } else { sync_file(&made) }
    }
}

/// Syncs what was made and gives all of it its names, one after the other.
///
/// # Errors
/// The first target that could not be written; all of them are then as they were.
pub fn commit_all(partials: Vec<Partial>, existing: Existing) -> Result<(), CommitError> {
    for partial in &partials {
        partial.sync().map_err(|source| CommitError { path: partial.target.clone(), source })?;
    }
    let renamings = partials.iter().map(|partial| Renaming {
        made: partial.path(),
        target: partial.target.clone(),
        former: partial.private.former(0),
    });
    place_all(&renamings.collect::<Vec<_>>(), existing)
}

fn place_all(renamings: &[Renaming], existing: Existing) -> Result<(), CommitError> {
    let mut placed: Vec<(&Renaming, Placed)> = Vec::new();
    let all = renamings.iter().try_for_each(|renaming| {
        let failed = |source| CommitError { path: renaming.target.clone(), source };
        placed.push((renaming, renaming.place(existing).map_err(failed)?));
        Ok(())
    });
    let synced = all.and_then(|()| {
        renamings.iter().try_for_each(|Renaming { target, .. }| {
            sync_folder(parent(target)).map_err(|source| CommitError { path: target.clone(), source })
        })
    });
    if synced.is_err() {
        placed.into_iter().rev().for_each(|(renaming, how)| renaming.take_back(how));
    }
    synced
}

/// Writes the file `target` by `content`; `refused` makes an error of the system's.
///
/// # Errors
/// Those of `content` and of the file system, [`ErrorKind::AlreadyExists`] among them; the target is then as it was.
pub fn write<E>(
    target: &Path,
    existing: Existing,
    refused: impl Fn(io::Error) -> E,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let partial = Partial::begin(target).map_err(&refused)?;
    partial.fill(&refused, content)?;
    partial.commit(existing).map_err(refused)
}

/// [`write()`] with bytes at hand, in the place of whatever is there.
///
/// # Errors
/// Those of the file system; the target is then as it was.
pub fn write_bytes(target: &Path, bytes: &[u8]) -> io::Result<()> {
    write(target, Existing::Replace, |error| error, |file| file.write_all(bytes))
}

/// Puts `bytes` in the place of `target`, whole, without waiting for the device: for what its readers check and can make anew, since
/// after a power cut it may be empty. Whoever writes last wins; what a writer that is killed leaves, [`clean_unsynced`] removes.
///
/// # Errors
/// Those of the file system; the target is then as it was.
pub fn replace_unsynced(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let made = private::beside(target, &name_of(target));
    let mut file = File::create_new(&made)?;
    // Held while it is written; where nothing can be locked, nobody removes it either.
    _ = file.try_lock();
    let replaced = file.write_all(bytes).and_then(|()| fs::rename(&made, target));
    replaced.inspect_err(|_| drop(fs::remove_file(&made)))
}

/// Removes what dead writers of [`replace_unsynced`] left in `folder`. A writer whose file is taken in the moment before it is
/// locked fails, and its target is as it was.
pub fn clean_unsynced(folder: &Path) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(private::PREFIX));
        let is_dead = |file: File| file.metadata().is_ok_and(|about| about.is_file()) && file.try_lock().is_ok();
        if is_ours && File::options().write(true).open(&path).is_ok_and(is_dead) {
            _ = fs::remove_file(&path);
        }
    }
}

/// Removes what dead writers of `target` left, for a command that finds its output made already.
///
/// # Errors
/// Those of the file system; a folder that is not there is none.
pub fn clean(target: &Path) -> io::Result<()> {
    clean_in(parent(target), target)
}

/// [`clean()`] for a target that is made in the folder `all`, see [`Partial::begin_in`].
///
/// # Errors
/// As for [`clean()`].
pub fn clean_in(all: &Path, target: &Path) -> io::Result<()> {
    match private::remove_leftovers(all, &name_of(target)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        cleaned => cleaned,
    }
}

/// Whether a device failed or has no room, for which no request is to blame.
pub fn is_of_device(error: &io::Error) -> bool {
    let no_room = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
    error.raw_os_error() == Some(libc::EIO) || no_room.contains(&error.kind())
}

fn name_of(target: &Path) -> Cow<'_, str> {
    target.file_name().unwrap_or_default().to_string_lossy()
}

fn parent(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
