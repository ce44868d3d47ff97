//! A store open for writing by one run.
//!
//! Not for reading rows back, see `reader`. Invariant: the lock of the shard is held for as long as a `Store` lives, so
//! its ledger and its temporary folder have one writer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::contract::{Contract, UnitHeader};
use super::error::{StoreError, io_error};
use super::fields;
use super::ledger::{self, Committed, LedgerEntry, LedgerWriter};
use super::lock::{self, Lock, ShardLock};
use super::planned::{self, PlannedUnit};
use super::reader::{self, Stale};
use super::unit::OpenUnit;
use super::{
    CLAIMS, Format, INDEX_FILE, LEDGER, LOCKS, LedgerWatch, MASTER_FILE, PLAN_FILE, STORE_FILE, TMP, UNITS, disk, hdf5,
    index, master,
};
use crate::ids::UnitUid;
use crate::shard::Shard;

/// A store that this run writes one shard of.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    shard: Shard,
    contract: Contract,
    format: &'static Format,
    tmp: PathBuf,
    ledger: LedgerWriter,
    known: Committed,
    lock: ShardLock,
}

impl Store {
    /// Opens `<out>/<feature-set>` for `shard`, and creates it if need be.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if a live run writes this shard, [`StoreError::DividedOtherwise`] if one divides the store otherwise;
    /// [`StoreError::DifferentContract`] if the store holds rows of another kind; [`StoreError::ReadOnly`];
    /// [`StoreError::UnknownFormat`]; [`StoreError::FeatureSetName`]; [`StoreError::Ledger`].
    pub fn open(out: &Path, contract: &Contract, shard: Shard) -> Result<Self, StoreError> {
        let format = Format::named(&contract.format)?;
        // The name becomes a folder: what is safe as the name of a unit's file is safe here.
        UnitUid::parse(&contract.feature_set).map_err(StoreError::FeatureSetName)?;
        let root = out.join(&contract.feature_set);
        let tmp = root.join(TMP).join(shard.stem());
        [UNITS, LEDGER, LOCKS].iter().try_for_each(|folder| disk::create_folder(&root.join(folder)))?;
        let lock = lock::take_shard(&root.join(LOCKS), shard)?;
        wipe(&tmp)?;
        establish(&root, &tmp, contract)?;
        disk::sync_folder(&root)?;
        let ledger = LedgerWriter::open(&root.join(LEDGER), shard)?;
        let known = ledger::read_all(&root.join(LEDGER), |uid| format.file_of(uid))?;
        Ok(Self { root, shard, contract: contract.clone(), format, tmp, ledger, known, lock })
    }

    /// The folder of the store.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Where this run makes the file `name` before it gets its place.
    pub(super) fn temporary(&self, name: &str) -> PathBuf {
        self.tmp.join(name)
    }

    /// The folder of the claims of those who share its work.
    pub fn claims(&self) -> PathBuf {
        self.root.join(CLAIMS)
    }

    /// A watch of what other runs commit from the moment on in which this store was opened.
    pub fn watch(&self) -> LedgerWatch {
        LedgerWatch::new(&self.root, self.format, self.shard, self.known.clone())
    }

    /// What all its rows share.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Adds `units` to what the store is meant to hold in the end.
    ///
    /// # Errors
    /// [`StoreError::DifferentPlan`] if one was promised with another video or span; then none is added.
    pub fn promise(&self, units: &[PlannedUnit]) -> Result<(), StoreError> {
        let _lock = self.lock_index()?;
        planned::add(&self.root.join(PLAN_FILE), &self.tmp.join(PLAN_FILE), units)
    }

    /// All units that any shard has committed up to now.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], [`StoreError::Io`].
    pub fn committed(&self) -> Result<Committed, StoreError> {
        ledger::read_all(&self.root.join(LEDGER), |uid| self.format.file_of(uid))
    }

    /// Whether a committed unit still counts: `None`, or why it has to be made anew. Reads the whole file.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file system fails; a file that is gone is no error.
    pub fn check_committed(&self, entry: &LedgerEntry) -> Result<Option<Stale>, StoreError> {
        reader::check_file(&self.root, &self.contract, entry)
    }

    /// Begins a unit, in a temporary file; one that is committed already is replaced when this one is committed.
    ///
    /// Meant for units that are not committed or no longer count: should the run die while it replaces one whose bytes
    /// differ, that one no longer counts either.
    ///
    /// # Errors
    /// [`StoreError::NoRows`], [`StoreError::AlreadyBegun`], [`StoreError::TakenOver`], or an error of the device.
    pub fn begin(&self, header: UnitHeader) -> Result<OpenUnit, StoreError> {
        self.lock.check()?;
        // Files of schema 2 have no such field.
        let split = header.split.filter(|_| !self.contract.is_schema_2());
        let header = UnitHeader { split, ..header };
        let path = self.tmp.join(format!("{}.{}", header.unit_uid, self.format.extension));
        OpenUnit::create(path, self.format, &self.contract, header)
    }

    /// Makes a unit part of the store; when this returns, it stays, whatever happens.
    ///
    /// # Errors
    /// [`StoreError::RowCount`] if rows are wanting, [`StoreError::TakenOver`], or an error of the device. After an error the
    /// unit is absent.
    pub fn commit(&mut self, mut unit: OpenUnit) -> Result<LedgerEntry, StoreError> {
        self.lock.check()?;
        let counts = unit.close()?;
        let (bytes, sha256) = disk::checksum(unit.path())?;
        let header = unit.header();
        let entry = LedgerEntry {
            unit_uid: header.unit_uid.clone(),
            video_uid: header.video_uid.clone(),
            clip_uid: header.clip_uid.clone(),
            query_id: header.query_id.clone(),
            split: header.split.clone(),
            file: self.format.file_of(&header.unit_uid),
            rows: counts.rows,
            dim: self.contract.dim,
            span: header.span,
            padded_rows: counts.padded,
            missing_rows: counts.missing,
            bytes,
            sha256,
            fingerprint: self.contract.fingerprint.clone(),
            revision: self.known.get(&header.unit_uid).map_or(1, |known| known.revision.saturating_add(1)),
        };
        self.lock.check()?;
        unit.publish(&self.root.join(&entry.file))?;
        self.ledger.append(&entry)?;
        self.known.insert(entry.clone());
        Ok(entry)
    }

    /// Writes the index and, for HDF5, the master file, from what all shards have committed up to now.
    ///
    /// # Errors
    /// [`StoreError`] of the device; the former index is then still there.
    pub fn finish(&self) -> Result<(), StoreError> {
        let _lock = self.lock_index()?;
        let committed = self.committed()?;
        self.replace(INDEX_FILE, |path| index::write(path, &self.contract, &committed))?;
        if self.format.name == hdf5::FORMAT.name {
            let links = || committed.iter().map(|entry| (entry.unit_uid.as_str(), entry.file.as_str()));
            self.replace(MASTER_FILE, |path| master::write(path, &self.contract, links()))?;
        }
        Ok(())
    }

    fn replace(&self, name: &str, write: impl FnOnce(&Path) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let temporary = self.tmp.join(name);
        let written = write(&temporary)
            .and_then(|()| disk::sync_file(&temporary))
            .and_then(|()| disk::rename(&temporary, &self.root.join(name)));
        written.inspect_err(|_| disk::remove_quietly(&temporary))
    }

    fn lock_index(&self) -> Result<Lock, StoreError> {
        lock::take_index(&self.root.join(LOCKS))
    }
}

/// Empties the folder of temporary files that a killed run of this shard may have left.
fn wipe(tmp: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(tmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("empty", tmp, error)),
        _ => disk::create_folder(tmp),
    }
}

/// Makes `contract` the identity of a new store, or compares it with that of an old one.
fn establish(root: &Path, tmp: &Path, contract: &Contract) -> Result<(), StoreError> {
    let _lock = lock::take_index(&root.join(LOCKS))?;
    let path = root.join(STORE_FILE);
    match fs::read(&path) {
        Ok(bytes) => compare(root, &path, &bytes, contract),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let json = fields::of_contract(contract).and_then(|fields| serde_json::to_string_pretty(&fields));
            let json = json.map_err(|error| StoreError::Write { path: path.clone(), why: error.to_string() })?;
            disk::write_atomically(&path, &tmp.join(STORE_FILE), (json + "\n").as_bytes())
        }
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

fn compare(root: &Path, path: &Path, stored: &[u8], contract: &Contract) -> Result<(), StoreError> {
    let stored: Value = serde_json::from_slice(stored)
        .map_err(|error| StoreError::Corrupt { path: path.to_owned(), why: error.to_string() })?;
    contract.first_difference(&stored).map_or(Ok(()), |found| {
        Err(StoreError::DifferentContract {
            store: root.to_owned(),
            field: found.field,
            stored: found.stored,
            wanted: found.wanted,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Dtype, FORMATS, StoreReader, samples};
    use super::*;

    fn open(out: &Path, shard: &str) -> Result<Store, StoreError> {
        Store::open(out, &samples::contract("hdf5", Dtype::F32), shard.parse().unwrap())
    }

    #[test]
    fn a_committed_unit_is_on_record_and_readable_in_every_format() {
        for format in FORMATS {
            let out = tempfile::tempdir().unwrap();
            let mut store = Store::open(out.path(), &samples::contract(format.name, Dtype::F32), Shard::WHOLE).unwrap();
            store.promise(&[samples::planned("a")]).unwrap();
            let entry = samples::commit(&mut store, "a");
            assert_eq!((entry.rows, entry.padded_rows, entry.missing_rows, entry.revision), (6, 1, 1, 1));
            assert_eq!(store.check_committed(&entry).unwrap(), None);
            assert_eq!(store.committed().unwrap().iter().collect::<Vec<_>>(), [&entry]);
            let unit = StoreReader::open(store.path()).unwrap().read_unit(&entry.unit_uid).unwrap();
            assert_eq!(samples::bits(&unit), samples::bits(&samples::unit(format.name, Dtype::F32)));
            let again = samples::commit(&mut store, "a");
            assert_eq!((again.revision, &again.sha256), (2, &entry.sha256));
            assert_eq!(disk::names_in(&store.tmp).unwrap(), [""; 0]);
        }
    }

    #[test]
    fn a_store_is_written_by_one_run_per_shard() {
        let out = tempfile::tempdir().unwrap();
        let mut one = open(out.path(), "1/2").unwrap();
        let mut two = open(out.path(), "2/2").unwrap();
        assert!(matches!(open(out.path(), "1/2"), Err(StoreError::Locked { .. })));
        assert!(matches!(open(out.path(), "1/3"), Err(StoreError::DividedOtherwise { .. })));
        samples::commit(&mut one, "a");
        samples::commit(&mut two, "b");
        assert_eq!(one.committed().unwrap().len(), 2);
        drop((one, two));
        assert_eq!(open(out.path(), "1/3").unwrap().committed().unwrap().len(), 2);
    }

    #[test]
    fn rows_of_another_kind_are_refused() {
        let out = tempfile::tempdir().unwrap();
        drop(open(out.path(), "1/1").unwrap());
        let mut other = samples::contract("hdf5", Dtype::F32);
        (other.precision, other.fingerprint) = ("fp16".into(), "other".into());
        let error = Store::open(out.path(), &other, Shard::WHOLE).unwrap_err();
        let StoreError::DifferentContract { store, field, stored, wanted } = error else { panic!("{error}") };
        assert_eq!((field.as_str(), stored.as_str(), wanted.as_str()), ("precision", "fp32", "fp16"));
        assert_eq!(store, out.path().join("sample"));
        fs::write(out.path().join("sample/store.json"), "{").unwrap();
        assert!(matches!(open(out.path(), "1/1"), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn names_and_formats_that_cannot_be_are_refused() {
        let out = tempfile::tempdir().unwrap();
        let mut contract = samples::contract("hdf5", Dtype::F32);
        contract.feature_set = "../escape".into();
        assert!(matches!(Store::open(out.path(), &contract, Shard::WHOLE), Err(StoreError::FeatureSetName(_))));
        contract.format = "csv".into();
        assert!(matches!(Store::open(out.path(), &contract, Shard::WHOLE), Err(StoreError::UnknownFormat { .. })));
        assert!(disk::names_in(out.path()).unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("file");
        fs::write(&file, "").unwrap();
        let error = open(&file, "1/1").unwrap_err();
        assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
        // Root may write anywhere but in the kernel's own folders.
        if Path::new("/proc/sys").is_dir() {
            let error = open(Path::new("/proc/sys"), "1/1").unwrap_err();
            assert!(error.to_string().contains("/proc/sys/sample"), "{error}");
        }
        let locked = out.path().join("locked");
        fs::create_dir(&locked).unwrap();
        fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        if fs::write(locked.join("probe"), "").is_err() {
            assert!(matches!(open(&locked, "1/1"), Err(StoreError::ReadOnly { .. })));
        }
    }

    #[test]
    fn what_a_killed_run_left_is_gone_and_what_it_committed_stays() {
        let out = tempfile::tempdir().unwrap();
        let mut store = open(out.path(), "1/1").unwrap();
        let entry = samples::commit(&mut store, "a");
        let torn = store.begin(samples::header("b", 6)).unwrap();
        let temporary = torn.path().to_owned();
        std::mem::forget(torn);
        drop(store);
        let path = out.path().join("sample/ledger/1-of-1.jsonl");
        let ledger = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{ledger}{}", &ledger[..ledger.len() / 2])).unwrap();
        assert!(temporary.exists());
        let mut store = open(out.path(), "1/1").unwrap();
        assert!(!temporary.exists());
        assert_eq!(store.committed().unwrap().iter().collect::<Vec<_>>(), [&entry]);
        samples::commit(&mut store, "b");
        assert_eq!(store.committed().unwrap().len(), 2);
    }

    #[test]
    fn a_unit_that_cannot_be_committed_is_absent() {
        let out = tempfile::tempdir().unwrap();
        let mut store = open(out.path(), "1/1").unwrap();
        let mut unit = store.begin(samples::header("a", 6)).unwrap();
        unit.append(&samples::block(0, 5)).unwrap();
        assert!(matches!(store.commit(unit), Err(StoreError::RowCount { planned: 6, got: 5, .. })));
        assert!(store.committed().unwrap().is_empty());
        let all = [UNITS, "tmp/1-of-1"].map(|folder| disk::names_in(&store.path().join(folder)).unwrap());
        assert_eq!(all.concat(), [""; 0]);
    }

    #[test]
    fn changed_files_are_stale_each_for_its_reason() {
        let out = tempfile::tempdir().unwrap();
        let mut store = open(out.path(), "1/1").unwrap();
        let entry = samples::commit(&mut store, "a");
        let other = LedgerEntry { fingerprint: "other".into(), ..entry.clone() };
        assert!(matches!(store.check_committed(&other).unwrap(), Some(Stale::Fingerprint { .. })));
        let path = store.path().join(&entry.file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[1000] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(store.check_committed(&entry).unwrap(), Some(Stale::Checksum { .. })));
        fs::write(&path, &bytes[1..]).unwrap();
        assert!(matches!(store.check_committed(&entry).unwrap(), Some(Stale::Length { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(store.check_committed(&entry).unwrap(), Some(Stale::Absent { .. })));
    }

    #[test]
    fn shards_that_open_a_new_store_at_once_agree() {
        let out = tempfile::tempdir().unwrap();
        let open = |index| {
            let shard = Shard::new(index, 8).unwrap();
            Store::open(out.path(), &samples::contract("hdf5", Dtype::F32), shard).unwrap()
        };
        let open = &open;
        std::thread::scope(|scope| {
            let writers: Vec<_> = (1..=8)
                .map(|index| {
                    scope.spawn(move || {
                        let mut store = open(index);
                        store.promise(&[samples::planned(&format!("u{index}"))]).unwrap();
                        samples::commit(&mut store, &format!("u{index}"));
                        store.finish().unwrap();
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
        });
        let reader = StoreReader::open(&out.path().join("sample")).unwrap();
        assert_eq!((reader.planned().unwrap().len(), reader.committed().unwrap().len()), (8, 8));
        assert_eq!(index::count_rows(&reader.path().join(INDEX_FILE)).unwrap(), 8);
    }
}
