//! Which providers of ONNX Runtime have computed a store's rows: the one that it was begun with, and others that were asked for by name.
//!
//! Not part of the contract: providers differ in last bits, and each unit's file says which computed it. Invariant: the first line is
//! written once, by whichever run is first, and never changes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::{StoreError, io_error};
use super::{PROVIDERS_FILE, Store, StoreReader, disk, ledger};

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    provider: String,
}

/// The providers among `devices`, as units' files name these (`cuda:0,cuda:1`): without numbers, each once, sorted.
pub fn providers_of(devices: &str) -> String {
    let mut names: Vec<&str> = devices.split(',').filter_map(|device| device.split(':').next()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(",")
}

impl StoreReader {
    /// What has computed its rows: first what it was begun with, then what else was asked for by name. Of a store that keeps no
    /// such record, the provider of its first unit; nothing where it has none.
    ///
    /// # Errors
    /// [`StoreError::Ledger`] if a line of a ledger, or of the record, is damaged; [`StoreError::Io`].
    pub fn providers(&self) -> Result<Vec<String>, StoreError> {
        let kept = read(self.path())?;
        if !kept.is_empty() {
            return Ok(kept);
        }
        let committed = self.committed()?;
        let first = committed.iter().find_map(|entry| self.read_header(entry).ok());
        Ok(first.map(|header| providers_of(&header.provider)).into_iter().collect())
    }
}

impl Store {
    /// Keeps on record that `provider` computes rows of this store: as the one that it is begun with, where it is the first.
    /// Another one than that has to be `asked` for by name.
    ///
    /// # Errors
    /// [`StoreError::OtherProvider`] where it is neither; [`StoreError::Ledger`], or an error of the device.
    pub fn computed_by(&self, provider: &str, asked: bool) -> Result<(), StoreError> {
        let path = self.path().join(PROVIDERS_FILE);
        if read(self.path())?.is_empty() {
            let begun = StoreReader::open(self.path())?.providers()?.into_iter().next();
            let line = text_of(&path, begun.as_deref().unwrap_or(provider))?;
            begin(&path, &self.temporary(PROVIDERS_FILE), &line)?;
        }
        let known = read(self.path())?;
        match known.first() {
            Some(_) if known.iter().any(|known| known == provider) => Ok(()),
            Some(begun) if !asked => Err(StoreError::OtherProvider {
                store: self.path().to_owned(),
                begun: begun.clone(),
                wanted: provider.to_owned(),
            }),
            _ => append(&path, &text_of(&path, provider)?).map_err(io_error("write", &path)),
        }
    }
}

fn read(root: &Path) -> Result<Vec<String>, StoreError> {
    let path = root.join(PROVIDERS_FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.map_err(io_error("read", &path))?,
    };
    let complete = &bytes[..ledger::complete_bytes(&bytes)];
    let lines = ledger::parse_lines::<Line>(&path, complete, 0)?;
    Ok(lines.into_iter().map(|line| line.provider).collect())
}

fn text_of(path: &Path, provider: &str) -> Result<Vec<u8>, StoreError> {
    let line = serde_json::to_string(&Line { provider: provider.to_owned() });
    let line = line.map_err(|error| StoreError::Write { path: path.to_owned(), why: error.to_string() })?;
    Ok((line + "\n").into_bytes())
}

/// Makes the file, unless somebody else has meanwhile: a link is made by one alone, on file systems without locks too.
fn begin(path: &Path, temporary: &Path, line: &[u8]) -> Result<(), StoreError> {
    let own = temporary.with_extension("first");
    disk::write_atomically(&own, temporary, line)?;
    let linked = match fs::hard_link(&own, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Where the file system has no links.
        Err(_) if !path.exists() => return disk::rename(&own, path),
        linked => linked.map_err(io_error("write", path)),
    };
    disk::remove_quietly(&own);
    linked.and_then(|()| path.parent().map_or(Ok(()), disk::sync_folder))
}

/// In one write, so that lines of two runs do not mix.
fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    file.write_all(line)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::{Dtype, samples};
    use super::*;
    use crate::shard::Shard;

    fn providers(store: &Store) -> Vec<String> {
        StoreReader::open(store.path()).unwrap().providers().unwrap()
    }

    #[test]
    fn devices_are_of_providers() {
        for (devices, providers) in
            [("cpu", "cpu"), ("cpu,cpu", "cpu"), ("cuda:1,cuda:0", "cuda"), ("cuda:0,cpu", "cpu,cuda")]
        {
            assert_eq!(providers_of(devices), providers);
        }
    }

    #[test]
    fn the_first_provider_is_kept_and_another_one_has_to_be_asked_for() {
        let (_out, store) = samples::store("hdf5", &[]);
        assert_eq!(providers(&store), [""; 0]);
        store.computed_by("openvino", false).unwrap();
        store.computed_by("openvino", false).unwrap();
        let refused = store.computed_by("cpu", false).unwrap_err();
        assert!(
            matches!(&refused, StoreError::OtherProvider { begun, wanted, .. } if (begun.as_str(), wanted.as_str()) == ("openvino", "cpu"))
        );
        assert_eq!(providers(&store), ["openvino"]);
        store.computed_by("cpu", true).unwrap();
        store.computed_by("cpu", false).unwrap();
        assert_eq!(providers(&store), ["openvino", "cpu"]);
    }

    #[test]
    fn a_store_without_a_record_was_begun_with_what_computed_its_units() {
        let (_out, store) = samples::store("hdf5", &["a"]);
        assert_eq!(providers(&store), ["cpu"]);
        assert!(matches!(store.computed_by("cuda", false), Err(StoreError::OtherProvider { .. })));
        assert_eq!(fs::read_to_string(store.path().join(PROVIDERS_FILE)).unwrap(), "{\"provider\":\"cpu\"}\n");
        fs::write(store.path().join(PROVIDERS_FILE), "openvino\n").unwrap();
        assert!(matches!(store.computed_by("cpu", false), Err(StoreError::Ledger { line: 1, .. })));
    }

    #[test]
    fn parts_that_begin_a_store_at_once_agree() {
        let out = tempfile::tempdir().unwrap();
        let part = |index: u32| {
            let shard = Shard::new(index, 8).unwrap();
            let store = Store::open(out.path(), &samples::contract("hdf5", Dtype::F32), shard).unwrap();
            let own = if index.is_multiple_of(2) { "cpu" } else { "openvino" };
            (own, store.computed_by(own, false).is_ok())
        };
        let part = &part;
        let found: Vec<_> = std::thread::scope(|scope| {
            let parts: Vec<_> = (1..=8).map(|index| scope.spawn(move || part(index))).collect();
            parts.into_iter().map(|part| part.join().unwrap()).collect()
        });
        let kept = StoreReader::open(&out.path().join("sample")).unwrap().providers().unwrap();
        assert_eq!(kept.len(), 1);
        for (own, is_taken) in found {
            assert_eq!(is_taken, own == kept[0]);
        }
    }
}
