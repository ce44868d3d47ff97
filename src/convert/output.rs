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
use crate::durable::{self, Existing, Partial};
use crate::ids::ClipUid;

/// The folder that a conversion writes.
pub struct Output {
    target: PathBuf,
    existing: Existing,
    partial: Partial,
}

impl Output {
    /// Makes the folder beside `target`, and removes what killed conversions to `target` left.
    ///
    /// # Errors
    /// [`ConvertError::Exists`] without `force`, and with it [`ConvertError::NotOurs`] if no conversion wrote `target`.
    pub fn begin(target: &Path, force: bool) -> Result<Self, ConvertError> {
        let refused = || ConvertError::io("create", target);
        durable::clean(target).map_err(refused())?;
        check_free(target, force)?;
        let partial = Partial::begin(target).map_err(refused())?;
        fs::create_dir(partial.path()).map_err(refused())?;
        Ok(Self { target: target.to_owned(), existing: Existing::as_found(target), partial })
    }

    /// Where `name` is written for now; folders in it are made.
    ///
    /// # Errors
    /// [`ConvertError::Io`] if a folder above it cannot be made.
    pub fn path(&self, name: &str) -> Result<PathBuf, ConvertError> {
        let path = self.partial.path().join(name);
        if let Some(folder) = path.parent().filter(|_| name.contains('/')) {
            fs::create_dir_all(folder).map_err(ConvertError::io("create", folder))?;
        }
        Ok(path)
    }

    /// Writes the file `name`.
    ///
    /// # Errors
    /// [`ConvertError::Io`].
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
    ///
    /// # Errors
    /// [`ConvertError::Io`].
    pub fn json(&self, name: &str, value: &impl Serialize) -> Result<(), ConvertError> {
        self.file(name, |file| Ok(serde_json::to_writer(file, value)?))
    }

    /// Writes `value` as the file `name`, which `torch.load(weights_only=True)` opens.
    ///
    /// # Errors
    /// [`ConvertError::Io`].
    pub fn torch(&self, name: &str, value: &Value) -> Result<(), ConvertError> {
        self.file(name, |file| write_torch_value(file, value, none_announced))
    }

    /// Gives the folder its name, once all of it is on the device.
    ///
    /// # Errors
    /// [`ConvertError::Io`]; what was there before is then still there.
    pub fn finish(self) -> Result<(), ConvertError> {
        self.partial.commit(self.existing).map_err(ConvertError::io("write", &self.target))
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

/// What a split's file is called, `all` for queries without a split.
pub(super) fn split_name(split: &str) -> Result<String, ConvertError> {
    if split.is_empty() {
        return Ok("all".to_owned());
    }
    match ClipUid::parse(split) {
        Ok(name) => Ok(name.to_string()),
        Err(cause) => Err(ConvertError::Split { split: split.to_owned(), cause }),
    }
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
