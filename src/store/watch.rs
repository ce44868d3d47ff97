//! What a store's ledgers come to say while a run goes on: read as they grow, from where they ended before.
//!
//! Not for a store's whole account, which `ledger::read_all` gives. Invariant: a unit is new from the moment on in which its
//! line is complete and was not there when the watch began.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::{StoreError, io_error};
use super::ledger::{self, Committed, EXTENSION, LedgerEntry};
use super::{Format, LEDGER, UNITS, disk};
use crate::ids::UnitUid;
use crate::shard::Shard;

/// Watches the ledgers of a store, those of all shards.
#[derive(Debug)]
pub struct LedgerWatch {
    root: PathBuf,
    format: &'static Format,
    /// The part of the run that watches.
    shard: Shard,
    /// What was known when the watch began.
    before: Committed,
    now: Committed,
    /// How far each ledger was read: bytes, and lines.
    read: BTreeMap<String, (u64, usize)>,
}

impl LedgerWatch {
    /// Of the store in `root`, for a run of part `shard` to which `before` was known of it.
    pub(super) fn new(root: &Path, format: &'static Format, shard: Shard, before: Committed) -> Self {
        let (root, now, read) = (root.to_owned(), Committed::default(), BTreeMap::new());
        Self { root, format, shard, before, now, read }
    }

    /// Reads what the ledgers say more than at the last look. Each is opened anew, for which network file systems ask their server.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], [`StoreError::Io`].
    pub fn look(&mut self) -> Result<(), StoreError> {
        let ledgers = self.root.join(LEDGER);
        for name in disk::names_in(&ledgers)?.into_iter().filter(|name| name.ends_with(EXTENSION)) {
            let path = ledgers.join(&name);
            let (from, line) = self.read.get(&name).copied().unwrap_or_default();
            // A ledger that became shorter is read again: what is known twice is known once.
            let (from, line, bytes) = match tail(&path, from).map_err(io_error("read", &path))? {
                Some(bytes) => (from, line, bytes),
                None => (0, 0, tail(&path, 0).map_err(io_error("read", &path))?.unwrap_or_default()),
            };
            let complete = &bytes[..ledger::complete_bytes(&bytes)];
            let entries = ledger::parse_lines::<LedgerEntry>(&path, complete, line)?;
            self.read.insert(name, (from + complete.len() as u64, line + entries.len()));
            entries.into_iter().for_each(|entry| self.now.insert(entry));
        }
        Ok(())
    }

    /// Whether the unit was committed after the watch began, as far as was looked.
    pub fn is_new(&self, unit_uid: &UnitUid) -> bool {
        let revision = |committed: &Committed| committed.get(unit_uid).map(|entry| entry.revision);
        revision(&self.now) > revision(&self.before)
    }

    /// Whether another part of as many was at work here, at any time, as far as was looked.
    pub fn has_other_parts(&self) -> bool {
        let parts = self.read.keys().filter_map(|name| Shard::from_stem(name.strip_suffix(EXTENSION)?));
        parts.into_iter().any(|part| part.count() == self.shard.count() && part != self.shard)
    }

    /// Whether there is a file with the name of one of `units`, which may be an old one. Cheaper than a look. The folder is opened first,
    /// for which network file systems ask their server whether names in it are still what they were; one that answers late all the
    /// same costs a unit that is computed twice.
    pub fn has_file_of(&self, units: &[&UnitUid]) -> bool {
        let _folder = (!units.is_empty()).then(|| File::open(self.root.join(UNITS)));
        units.iter().any(|uid| self.root.join(self.format.file_of(uid)).exists())
    }
}

/// What is in the file from byte `from` on; `None` if it ends before.
fn tail(path: &Path, from: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if file.metadata()?.len() < from {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::{Dtype, Store, samples};
    use super::*;

    fn open(out: &Path, shard: &str) -> Store {
        Store::open(out, &samples::contract("hdf5", Dtype::F32), shard.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_others_commit_is_seen_and_what_was_there_is_not_new() {
        let out = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (open(out.path(), "1/2"), open(out.path(), "2/2"));
        let uid = |name: &str| UnitUid::parse(name).unwrap();
        samples::commit(&mut two, "a");
        drop(one);
        one = open(out.path(), "1/2");
        let mut watch = one.watch();
        watch.look().unwrap();
        assert!(
            !watch.is_new(&uid("a")) && watch.has_file_of(&[&uid("b"), &uid("a")]) && !watch.has_file_of(&[&uid("b")])
        );
        samples::commit(&mut two, "b");
        assert!(!watch.is_new(&uid("b")), "nobody has looked");
        watch.look().unwrap();
        assert!(watch.is_new(&uid("b")) && !watch.is_new(&uid("a")));
        // Made anew.
        samples::commit(&mut two, "a");
        watch.look().unwrap();
        assert!(watch.is_new(&uid("a")) && watch.has_other_parts());
        let mut alone = open(&out.path().join("alone"), "1/2").watch();
        alone.look().unwrap();
        assert!(!alone.has_other_parts());
    }

    #[test]
    fn a_torn_end_is_read_when_it_is_whole_and_a_cut_one_again() {
        let out = tempfile::tempdir().unwrap();
        let mut store = open(out.path(), "1/1");
        let mut watch = store.watch();
        let entry = samples::commit(&mut store, "a");
        let path = out.path().join("sample/ledger/1-of-1.jsonl");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        watch.look().unwrap();
        assert!(!watch.is_new(&entry.unit_uid));
        std::fs::write(&path, &whole).unwrap();
        watch.look().unwrap();
        assert!(watch.is_new(&entry.unit_uid));
        let other = ledger::line_of(&path, &samples::entry("b", 1)).unwrap();
        std::fs::write(&path, [&whole[..], other.as_bytes()].concat()).unwrap();
        watch.look().unwrap();
        std::fs::write(&path, &whole).unwrap();
        watch.look().unwrap();
        std::fs::write(&path, [&whole[..], b"nonsense\n"].concat()).unwrap();
        let StoreError::Ledger { line: 2, .. } = watch.look().unwrap_err() else { panic!("no line is named") };
    }
}
