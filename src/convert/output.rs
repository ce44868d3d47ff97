//! A folder in the making: written under another name, on the device before it gets its own.
//!
//! Not for what lies in it. Invariant: the name that was asked for points to everything or to what was there before, and
//! a folder that no conversion wrote is never replaced.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{ConvertError, METADATA_FILE};
use crate::checkpoint::{Value, none_announced, write_torch_value};

/// The folder that a conversion writes.
pub struct Output {
    target: PathBuf,
    temporary: PathBuf,
}

impl Output {
    /// Makes a temporary folder beside `target`.
    ///
    /// # Errors
    /// [`ConvertError::Exists`] without `force`, and with it [`ConvertError::NotOurs`] if no conversion wrote `target`.
    pub fn begin(target: &Path, force: bool) -> Result<Self, ConvertError> {
        check_free(target, force)?;
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(ConvertError::io("create", folder))?;
        let temporary = sibling(target, "tmp");
        fs::create_dir(&temporary).map_err(ConvertError::io("create", &temporary))?;
        Ok(Self { target: target.to_owned(), temporary })
    }

    /// Where `name` is written for now; folders in it are made.
    pub fn path(&self, name: &str) -> Result<PathBuf, ConvertError> {
        let path = self.temporary.join(name);
        if let Some(folder) = path.parent().filter(|_| name.contains('/')) {
            fs::create_dir_all(folder).map_err(ConvertError::io("create", folder))?;
        }
        Ok(path)
    }

    /// Writes the file `name`.
    pub fn file(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), ConvertError> {
        let path = self.path(name)?;
        let written = File::create(&path).and_then(|file| {
            let mut file = BufWriter::with_capacity(1 << 18, file);
            write(&mut file)?;
            file.flush()
        });
        written.map_err(ConvertError::io("write", &path))
    }

    /// Writes `value` as the JSON file `name`.
    pub fn json(&self, name: &str, value: &impl Serialize) -> Result<(), ConvertError> {
        self.file(name, |file| Ok(serde_json::to_writer(file, value)?))
    }

    /// Writes `value` as the file `name`, which `torch.load(weights_only=True)` opens.
    pub fn torch(&self, name: &str, value: &Value) -> Result<(), ConvertError> {
        self.file(name, |file| write_torch_value(file, value, none_announced))
    }

    /// Gives the folder its name, once all of it is on the device.
    pub fn finish(self) -> Result<(), ConvertError> {
        sync(&self.temporary).map_err(ConvertError::io("sync", &self.temporary))?;
        let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(ConvertError::io("rename", from));
        if !self.target.exists() {
            return rename(&self.temporary, &self.target);
        }
        let former = sibling(&self.target, "old");
        rename(&self.target, &former)?;
        if let Err(error) = rename(&self.temporary, &self.target) {
            rename(&former, &self.target)?;
            return Err(error);
        }
        fs::remove_dir_all(&former).map_err(ConvertError::io("remove", &former))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("cannot remove the temporary folder {}: {error}", self.temporary.display());
        }
    }
}

/// Whether a conversion may take the name `target`.
fn check_free(target: &Path, force: bool) -> Result<(), ConvertError> {
    let is_empty = || fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
    if !target.exists() || is_empty() {
        return Ok(());
    }
    let path = target.to_owned();
    match (force, target.join(METADATA_FILE).is_file()) {
        (true, true) => Ok(()),
        (true, false) => Err(ConvertError::NotOurs { path }),
        (false, _) => Err(ConvertError::Exists { path }),
    }
}

fn sibling(target: &Path, role: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}.{role}", std::process::id()))
}

/// Everything at once: a thousand files would otherwise wait for the device a thousand times.
#[cfg(target_os = "linux")]
fn sync(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_no_conversion_wrote_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("out");
        let write = |force| -> Result<(), ConvertError> {
            let output = Output::begin(&target, force)?;
            output.json(METADATA_FILE, &1)?;
            output.json("deep/x.json", &2)?;
            output.finish()
        };
        write(false).unwrap();
        assert!(matches!(write(false), Err(ConvertError::Exists { .. })));
        fs::write(target.join("stale"), "").unwrap();
        write(true).unwrap();
        assert!(!target.join("stale").exists() && target.join("deep/x.json").exists());
        fs::remove_file(target.join(METADATA_FILE)).unwrap();
        assert!(matches!(write(true), Err(ConvertError::NotOurs { .. })));
        assert!(target.join("deep/x.json").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary folder stays");
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::begin(&folder.path().join("new/out"), false).unwrap();
        output.json("x.json", &1).unwrap();
        drop(output);
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }
}
