//! Giving what was made its name, and taking that back.
//!
//! Not for syncing. Invariant: what was under the name is under it, or under `former`, or was never there.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What may be under the target's name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Nothing, or the commit fails with [`ErrorKind::AlreadyExists`].
    Refuse,
    /// Anything; it is gone after the commit, and stays if that fails.
    Replace,
}

impl Existing {
    /// What is there now may be replaced; what comes meanwhile may not.
    pub fn as_found(target: &Path) -> Self {
        if target.symlink_metadata().is_ok() { Self::Replace } else { Self::Refuse }
    }
}

/// What is to get which name.
#[derive(Debug)]
pub(super) struct Renaming {
    /// What was made.
    pub made: PathBuf,
    /// The name.
    pub target: PathBuf,
    /// Where what has the name goes, if it cannot be exchanged.
    pub former: PathBuf,
}

/// How something got its name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Placed {
    /// Nothing had it.
    New,
    /// What had it is where the new was made.
    Exchanged,
    /// What had it is under `former`.
    Moved,
}

impl Renaming {
    pub(super) fn place(&self, existing: Existing) -> io::Result<Placed> {
        let Self { made, target, .. } = self;
        if existing == Existing::Refuse {
            return rename_new(made, target).map(|()| Placed::New);
        }
        if target.symlink_metadata().is_err() {
            return fs::rename(made, target).map(|()| Placed::New);
        }
        match rename_with(made, target, Flag::Exchange) {
            Err(error) if is_unsupported(&error) => self.replace().map(|()| Placed::Moved),
            exchanged => exchanged.map(|()| Placed::Exchanged),
        }
    }

    /// Without an exchange. A file keeps its name until the new one has it; a folder cannot.
    fn replace(&self) -> io::Result<()> {
        let Self { made, target, former } = self;
        let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir());
        if is_file(made) && is_file(target) && fs::hard_link(target, former).is_ok() {
            return fs::rename(made, target);
        }
        fs::rename(target, former)?;
        fs::rename(made, target).inspect_err(|_| warn(fs::rename(former, target), target))
    }

    /// Makes the target what it was; the new is then where it was made, unless nothing can be renamed any more.
    pub(super) fn take_back(&self, how: Placed) {
        let Self { made, target, former } = self;
        let taken = match how {
            Placed::New => fs::rename(target, made),
            Placed::Exchanged => rename_with(made, target, Flag::Exchange),
            Placed::Moved => fs::rename(target, made).and_then(|()| fs::rename(former, target)),
        };
        warn(taken, target);
    }
}

/// The failure that led here is what gets reported, not this.
fn warn(taken_back: io::Result<()>, target: &Path) {
    if let Err(error) = taken_back {
        log::warn!("cannot take back what was written to {}: {error}", target.display());
    }
}

/// Renames to a name that nothing has.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rename_with(from, to, Flag::New) {
        Err(error) if is_unsupported(&error) => {
            if to.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => renamed,
    }
}

enum Flag {
    New,
    Exchange,
}

#[cfg(target_os = "linux")]
fn rename_with(from: &Path, to: &Path, flag: Flag) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let flag = match flag {
        Flag::New => RenameFlags::NOREPLACE,
        Flag::Exchange => RenameFlags::EXCHANGE,
    };
    Ok(renameat_with(CWD, from, CWD, to, flag)?)
}

#[cfg(not(target_os = "linux"))]
fn rename_with(_: &Path, _: &Path, _: Flag) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

/// Kernels before 3.15 do not know the call, file systems without it refuse its flags.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exchange_files_and_folders_are_replaced_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let renaming = Renaming { made: at("made"), target: at("target"), former: at("former") };
        let read = |path: &Path| fs::read_to_string(path).or_else(|_| fs::read_to_string(path.join("x"))).unwrap();
        fs::write(at("made"), "new").unwrap();
        fs::write(at("target"), "old").unwrap();
        renaming.replace().unwrap();
        assert_eq!((read(&at("target")), read(&at("former"))), ("new".into(), "old".into()));
        renaming.take_back(Placed::Moved);
        assert_eq!((read(&at("target")), read(&at("made"))), ("old".into(), "new".into()));
        for name in ["made", "target"] {
            fs::remove_file(at(name)).unwrap();
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("x"), name).unwrap();
        }
        renaming.replace().unwrap();
        assert_eq!((read(&at("target")), read(&at("former"))), ("made".into(), "target".into()));
        renaming.take_back(Placed::Moved);
        assert_eq!((read(&at("target")), read(&at("made"))), ("target".into(), "made".into()));
    }

    #[test]
    fn a_name_that_is_taken_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [made, target] = ["made", "target"].map(|name| folder.path().join(name));
        fs::write(&made, "new").unwrap();
        fs::write(&target, "old").unwrap();
        assert_eq!(rename_new(&made, &target).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    }
}
