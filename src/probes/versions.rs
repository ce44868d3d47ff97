//! What programs said when they were asked for their version, kept for this user and this machine: to start a build of ffmpeg that
//! loads its libraries takes a tenth of a second.
//!
//! Not for finding programs, nor for scripts, which may run another program tomorrow: they are asked each time. Invariant: what is
//! handed out was said by the same file, by its place, size and time of change, when it ran on this machine.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Stamp, stamp};
use crate::child;
use crate::digest;
use crate::durable;

/// How programs that the system loads by itself begin; scripts begin otherwise.
const ELF: [u8; 4] = *b"\x7fELF";

/// Answers that are kept in a folder.
#[derive(Debug, Clone)]
pub struct KeptVersions {
    folder: PathBuf,
    search: Vec<PathBuf>,
    host: String,
}

#[derive(PartialEq, Serialize, Deserialize)]
struct Program {
    host: String,
    file: Stamp,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    of: Program,
    version: String,
}

impl KeptVersions {
    /// Those in `folder`; programs that are given by name alone are searched in the folders of `search`.
    pub fn of(folder: &Path, search: Vec<PathBuf>) -> Self {
        let host = hostname::get().map_or_else(|_| "unknown".into(), |name| name.to_string_lossy().into_owned());
        Self { folder: folder.join("versions"), search, host }
    }

    /// What `program` said, or what it says to `ask`.
    pub fn version(&self, program: &Path, ask: impl FnOnce() -> Option<String>) -> Option<String> {
        let Some(file) = self.located(program).filter(|file| is_loaded(file)).and_then(stamp) else { return ask() };
        let name = format!("{} {}", self.host, file.path.display());
        let of = Program { host: self.host.clone(), file };
        let place = self.folder.join(digest::text(&name)).with_extension("json");
        let kept = fs::read(&place).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        if let Some(kept) = kept.filter(|kept| kept.of == of) {
            return Some(kept.version);
        }
        let version = ask()?;
        let text = serde_json::to_vec(&Kept { of, version: version.clone() }).map_err(std::io::Error::from);
        let written = text.and_then(|text| {
            fs::create_dir_all(&self.folder)?;
            durable::replace_unsynced(&place, &text)
        });
        if let Err(error) = written {
            log::debug!("{}: not kept: {error}", place.display());
        }
        Some(version)
    }

    fn located(&self, program: &Path) -> Option<PathBuf> {
        let is_name = program.components().count() == 1 && !program.as_os_str().is_empty();
        let found =
            if is_name && !program.is_absolute() { child::find(program, &self.search)? } else { program.to_owned() };
        fs::canonicalize(found).ok()
    }
}

fn is_loaded(path: &Path) -> bool {
    let mut first = [0; ELF.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok()
        && first == ELF
        && child::is_executable(path)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_program_is_asked_once_until_it_changes_and_a_script_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptVersions::of(&folder.path().join("cache"), vec![folder.path().join("x"), folder.path().into()]);
        let asked = Cell::new(0);
        let version = |name: &Path| {
            kept.version(name, || {
                asked.set(asked.get() + 1);
                Some(format!("version {}", asked.get()))
            })
        };
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        write("ffmpeg", b"\x7fELF and so on");
        let name = Path::new("ffmpeg");
        assert_eq!([version(name), version(name)], [Some("version 1".into()), Some("version 1".into())]);
        assert_eq!(version(&folder.path().join("ffmpeg")), Some("version 1".into()), "by its path");
        write("ffmpeg", b"\x7fELF of another length");
        assert_eq!([version(name), version(name)], [Some("version 2".into()), Some("version 2".into())]);
        let file = fs::read_dir(folder.path().join("cache/versions")).unwrap().next().unwrap().unwrap().path();
        fs::write(file, "{}").unwrap();
        assert_eq!(version(name), Some("version 3".into()), "what is kept is damaged");
        write("script", b"#!/bin/sh\nexec ffmpeg\n");
        let script = folder.path().join("script");
        assert_eq!([version(&script), version(&script)], [Some("version 4".into()), Some("version 5".into())]);
        assert_eq!(version(Path::new("absent")), Some("version 6".into()), "whoever starts it knows");
        assert_eq!(kept.version(Path::new("absent"), || None), None);
    }
}
