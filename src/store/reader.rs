//! A store open for reading.
//!
//! Takes no lock and may look while runs write. Not for judging a store as a whole, see `verify`. Invariant: rows are
//! handed out only of files that are, byte for byte, those that were committed, and no library parses others.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::contract::{Contract, Unit, UnitHeader};
use super::error::{StoreError, io_error};
use super::ledger::{self, Committed, LedgerEntry};
use super::planned::{self, PlannedUnits};
use super::{
    Format, INDEX_FILE, LEDGER, LOCKS, MASTER_FILE, OLDEST_SCHEMA, PLAN_FILE, SCHEMA_VERSION, STORE_FILE, TMP, UNITS,
    disk, hdf5, index, lock, master,
};
use crate::ids::UnitUid;
use crate::shard::Shard;

/// The store in one folder.
#[derive(Debug)]
pub struct StoreReader {
    root: PathBuf,
    contract: Contract,
    format: &'static Format,
    /// Files that were hashed and are what the ledger says.
    proved: Mutex<HashMap<UnitUid, Proved>>,
}

/// What tells a file that was hashed from one that has been changed or replaced since.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Proved {
    sha256: String,
    /// Device, number and length of the file, and when it was last changed, in seconds and nanoseconds.
    file: [i128; 5],
}

impl Proved {
    fn of(entry: &LedgerEntry, found: &Metadata) -> Self {
        let file = [found.dev().into(), found.ino().into(), found.len().into()].into_iter();
        let file = file.chain([found.ctime().into(), found.ctime_nsec().into()]);
        let mut numbers = [0; 5];
        numbers.iter_mut().zip(file).for_each(|(number, value)| *number = value);
        Self { sha256: entry.sha256.clone(), file: numbers }
    }
}

/// Why a committed unit no longer counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// It was made by a run of another kind.
    #[error("its rows have fingerprint {found}, expected {expected}")]
    Fingerprint {
        /// The fingerprint of the store.
        expected: String,
        /// The fingerprint on record.
        found: String,
    },
    /// Its file is gone.
    #[error("{} is absent", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// Its file has grown or shrunk.
    #[error("{} has {found} bytes, expected {expected}", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes on record.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
    /// Its file has other content.
    #[error("{} has sha256 {found}, expected {expected}", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// sha256 on record.
        expected: String,
        /// sha256 now.
        found: String,
    },
}

/// Compares the file of `entry` in the store at `root` with what is on record; `None` if it still counts.
pub(super) fn check_file(root: &Path, contract: &Contract, entry: &LedgerEntry) -> Result<Option<Stale>, StoreError> {
    if let Some(stale) = look_at(root, contract, entry)? {
        return Ok(Some(stale));
    }
    let path = root.join(&entry.file);
    let (_, found) = disk::checksum(&path)?;
    let expected = entry.sha256.clone();
    Ok((found != expected).then_some(Stale::Checksum { path, expected, found }))
}

/// The same as far as it shows without reading the file.
fn look_at(root: &Path, contract: &Contract, entry: &LedgerEntry) -> Result<Option<Stale>, StoreError> {
    let path = root.join(&entry.file);
    if entry.fingerprint != contract.fingerprint {
        let (expected, found) = (contract.fingerprint.clone(), entry.fingerprint.clone());
        return Ok(Some(Stale::Fingerprint { expected, found }));
    }
    match fs::metadata(&path) {
        Ok(found) if found.len() != entry.bytes => {
            Ok(Some(Stale::Length { path, expected: entry.bytes, found: found.len() }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Stale::Absent { path })),
        Err(error) => Err(StoreError::io("look at", &path, error)),
    }
}

impl StoreReader {
    /// Opens the store in the folder `path`.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] without `store.json`, [`StoreError::Corrupt`] if that is damaged or of a version that
    /// this program does not know.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = path.join(STORE_FILE);
        let bytes = match fs::read(&file) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(StoreError::NotAStore { path: path.to_owned() });
            }
            bytes => bytes.map_err(io_error("read", &file))?,
        };
        let contract = contract_of(&file, &bytes)?;
        let format = Format::named(&contract.format)?;
        Ok(Self { root: path.to_owned(), contract, format, proved: Mutex::default() })
    }

    /// The folder of the store.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What all rows of the store share.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// All units that were promised. [`StoreError::Ledger`] if a line of `planned.jsonl` is damaged.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], [`StoreError::Io`].
    pub fn planned(&self) -> Result<PlannedUnits, StoreError> {
        planned::read(&self.root.join(PLAN_FILE))
    }

    /// All units that are committed. [`StoreError::Ledger`] if a line of a ledger is damaged.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], [`StoreError::Io`].
    pub fn committed(&self) -> Result<Committed, StoreError> {
        ledger::read_all(&self.root.join(LEDGER), |uid| self.format.file_of(uid))
    }

    /// What each part has committed, in the order in which it did; units that were made anew are there as often as they were made.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], [`StoreError::Io`].
    pub fn committed_by_part(&self) -> Result<BTreeMap<Shard, Vec<LedgerEntry>>, StoreError> {
        ledger::read_by_part(&self.root.join(LEDGER))
    }

    /// Who held the lock of `part` last, for people: host, process, start. No lock is taken.
    pub fn holder(&self, part: Shard) -> String {
        lock::holder_of(&self.root.join(LOCKS), part)
    }

    /// Whether the last line of `planned.jsonl` is cut off.
    pub(crate) fn plan_is_cut(&self) -> Result<bool, StoreError> {
        ledger::is_cut(&self.root.join(PLAN_FILE))
    }

    /// Units and revisions of which two lines of the ledgers say different things.
    pub(crate) fn contradictions(&self) -> Result<Vec<(UnitUid, u32)>, StoreError> {
        ledger::contradictions(&self.root.join(LEDGER))
    }

    /// What is wrong with the index, which is to list `committed`.
    pub(crate) fn index_fault(&self, committed: &Committed) -> Result<Option<String>, StoreError> {
        index::fault(&self.root.join(INDEX_FILE), committed)
    }

    /// What is wrong with the master file, which is to link `committed`; nothing in formats that have none.
    pub(crate) fn master_fault(&self, committed: &Committed) -> Result<Option<String>, StoreError> {
        if self.format.name != hdf5::FORMAT.name {
            return Ok(None);
        }
        master::fault(&self.root.join(MASTER_FILE), &self.contract, committed)
    }

    /// Whether the file of a committed unit is there and as long as it must be: `None`, or why not. Does not read it.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file system fails; a file that is gone is no error.
    pub fn look_at(&self, entry: &LedgerEntry) -> Result<Option<Stale>, StoreError> {
        look_at(&self.root, &self.contract, entry)
    }

    /// What precedes the rows of a unit whose file the caller has hashed.
    pub(crate) fn read_hashed_header(&self, entry: &LedgerEntry) -> Result<(Contract, UnitHeader), StoreError> {
        (self.format.read_header)(&self.root.join(&entry.file))
    }

    /// Whether a committed unit still counts: `None`, or why not. Reads the whole file.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file system fails; a file that is gone is no error.
    pub fn check_committed(&self, entry: &LedgerEntry) -> Result<Option<Stale>, StoreError> {
        check_file(&self.root, &self.contract, entry)
    }

    /// Reads a committed unit.
    ///
    /// # Errors
    /// [`StoreError::NotCommitted`], and as [`read_entry`](Self::read_entry).
    pub fn read_unit(&self, unit_uid: &UnitUid) -> Result<Unit, StoreError> {
        let committed = self.committed()?;
        let absent = || StoreError::NotCommitted { store: self.root.clone(), unit_uid: unit_uid.clone() };
        self.read_entry(committed.get(unit_uid).ok_or_else(absent)?)
    }

    /// Reads a committed unit whose entry is at hand, without reading ledgers again. Its file is hashed before anything
    /// parses it, once for each reader as long as it is not touched; then its header is compared with what was asked for.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file is gone, [`StoreError::Checksum`] if it is another, [`StoreError::Corrupt`].
    pub fn read_entry(&self, entry: &LedgerEntry) -> Result<Unit, StoreError> {
        self.prove(entry)?;
        let unit = self.read_file(entry)?;
        self.check_header(entry, &unit.contract, &unit.header)?;
        let (expected, found) = ((entry.rows as usize, self.contract.dim), unit.features.dim());
        if expected != found {
            let shape = |(rows, dim)| format!("{rows} rows of {dim} features");
            return Err(self.differs(entry, shape(expected), shape(found)));
        }
        Ok(unit)
    }

    /// What precedes the rows of a committed unit, its file hashed as by [`read_entry`](Self::read_entry).
    ///
    /// # Errors
    /// As [`read_entry`](Self::read_entry).
    pub fn read_header(&self, entry: &LedgerEntry) -> Result<UnitHeader, StoreError> {
        self.prove(entry)?;
        let (contract, header) = (self.format.read_header)(&self.root.join(&entry.file))?;
        self.check_header(entry, &contract, &header)?;
        Ok(header)
    }

    /// Compares the bytes of a unit's file with what is on record, unless that was done and the file is untouched.
    fn prove(&self, entry: &LedgerEntry) -> Result<(), StoreError> {
        let path = self.root.join(&entry.file);
        let proved = Proved::of(entry, &fs::metadata(&path).map_err(io_error("open", &path))?);
        let known = || self.proved.lock().unwrap_or_else(PoisonError::into_inner);
        if known().get(&entry.unit_uid) == Some(&proved) {
            return Ok(());
        }
        match self.check_committed(entry)? {
            None => {
                known().insert(entry.unit_uid.clone(), proved);
                Ok(())
            }
            Some(Stale::Absent { path }) => Err(StoreError::io("open", &path, io::ErrorKind::NotFound.into())),
            Some(stale) => Err(changed(&path, stale)),
        }
    }

    /// A file may be whole and another unit's.
    fn check_header(&self, entry: &LedgerEntry, contract: &Contract, header: &UnitHeader) -> Result<(), StoreError> {
        if contract.fingerprint != self.contract.fingerprint {
            let named = |fingerprint: &str| format!("rows of fingerprint {fingerprint}");
            return Err(self.differs(entry, named(&self.contract.fingerprint), named(&contract.fingerprint)));
        }
        if (&header.unit_uid, &header.video_uid) != (&entry.unit_uid, &entry.video_uid) {
            let (expected, found) = (
                format!("unit {} of video {}", entry.unit_uid, entry.video_uid),
                format!("unit {} of video {}", header.unit_uid, header.video_uid),
            );
            return Err(self.differs(entry, expected, found));
        }
        Ok(())
    }

    fn differs(&self, entry: &LedgerEntry, expected: String, found: String) -> StoreError {
        StoreError::Checksum { path: self.root.join(&entry.file), expected, found }
    }

    /// Reads the file of `entry` as it is.
    pub(crate) fn read_file(&self, entry: &LedgerEntry) -> Result<Unit, StoreError> {
        (self.format.read)(&self.root.join(&entry.file))
    }

    /// Names of the files in `units/`, relative to the store's folder, sorted.
    pub(crate) fn unit_files(&self) -> Result<Vec<String>, StoreError> {
        let names = disk::names_in(&self.root.join(UNITS))?;
        Ok(names.into_iter().map(|name| format!("{UNITS}/{name}")).collect())
    }

    /// Names of files in the temporary folders, relative to the store's folder, sorted.
    pub(crate) fn temporary_files(&self) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for shard in disk::names_in(&self.root.join(TMP))? {
            let names = disk::names_in(&self.root.join(TMP).join(&shard))?;
            found.extend(names.into_iter().map(|name| format!("{TMP}/{shard}/{name}")));
        }
        Ok(found)
    }
}

/// The contract that `bytes` of a `store.json` hold, `file` for messages.
pub(super) fn contract_of(file: &Path, bytes: &[u8]) -> Result<Contract, StoreError> {
    let corrupt = |why: String| StoreError::Corrupt { path: file.to_owned(), why };
    let contract: Contract = serde_json::from_slice(bytes).map_err(|error| corrupt(error.to_string()))?;
    if !(OLDEST_SCHEMA..=SCHEMA_VERSION).contains(&contract.schema_version) {
        let found = contract.schema_version;
        return Err(corrupt(format!(
            "it has schema version {found}, expected {OLDEST_SCHEMA} to {SCHEMA_VERSION}; another version of egofx \
             wrote it (pip install --upgrade egofx)"
        )));
    }
    Ok(contract)
}

fn changed(path: &Path, stale: Stale) -> StoreError {
    let path = path.to_owned();
    match stale {
        Stale::Length { expected, found, .. } => {
            StoreError::Checksum { path, expected: format!("{expected} bytes"), found: format!("{found} bytes") }
        }
        Stale::Checksum { expected, found, .. } => {
            StoreError::Checksum { path, expected: format!("sha256 {expected}"), found: format!("sha256 {found}") }
        }
        stale => StoreError::Corrupt { path, why: stale.to_string() },
    }
}

/// The schema in which rows go to the store in the folder `path`: its own if it is there and can be gone on with,
/// [`SCHEMA_VERSION`] if not. What else is wrong with a store shows when it is opened.
pub fn schema_of(path: &Path) -> u32 {
    let stored = fs::read(path.join(STORE_FILE)).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let version = stored.and_then(|stored| u32::try_from(stored.get("schema_version")?.as_u64()?).ok());
    version.filter(|version| (OLDEST_SCHEMA..=SCHEMA_VERSION).contains(version)).unwrap_or(SCHEMA_VERSION)
}

/// The stores at or directly below `out`, sorted; none is an error only if `out` cannot be listed.
///
/// # Errors
/// [`StoreError::Io`].
pub fn feature_sets(out: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if out.join(STORE_FILE).is_file() {
        return Ok(vec![out.to_owned()]);
    }
    fs::metadata(out).map_err(io_error("list", out))?;
    let folders = disk::names_in(out)?.into_iter().map(|name| out.join(name));
    Ok(folders.filter(|folder| folder.join(STORE_FILE).is_file()).collect())
}

/// Folders at or directly below `out` that were stores, for ledgers, units or a promise are there, and have no `store.json`.
///
/// # Errors
/// [`StoreError::Io`].
pub fn without_contract(out: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let is_one = |folder: &Path| {
        let parts = [PLAN_FILE, LEDGER, UNITS].iter().filter(|part| folder.join(part).exists()).count();
        parts >= 2 && !folder.join(STORE_FILE).exists()
    };
    if is_one(out) {
        return Ok(vec![out.to_owned()]);
    }
    Ok(disk::names_in(out)?.into_iter().map(|name| out.join(name)).filter(|folder| is_one(folder)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Dtype, samples};
    use super::*;

    #[test]
    fn only_folders_with_a_store_are_stores() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir(out.path().join("other")).unwrap();
        for name in ["b", "a"] {
            let mut contract = samples::contract("hdf5", Dtype::F32);
            contract.feature_set = name.into();
            super::super::Store::open(out.path(), &contract, crate::shard::Shard::WHOLE).unwrap();
        }
        let found = feature_sets(out.path()).unwrap();
        assert_eq!(found, [out.path().join("a"), out.path().join("b")]);
        assert_eq!(feature_sets(&found[0]).unwrap(), found[..1]);
        assert!(feature_sets(&out.path().join("absent")).is_err());
        let error = StoreReader::open(&out.path().join("other")).unwrap_err();
        assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    }

    #[test]
    fn a_store_of_an_unknown_version_or_a_damaged_one_is_refused() {
        let (_out, store) = samples::store("hdf5", &[]);
        let file = store.path().join(STORE_FILE);
        let text = fs::read_to_string(&file).unwrap();
        let of_version =
            |version: u32| text.replace("\"schema_version\": 3", &format!("\"schema_version\": {version}"));
        for bad in [of_version(1), of_version(4), text[1..].to_owned()] {
            fs::write(&file, bad).unwrap();
            assert!(matches!(StoreReader::open(store.path()), Err(StoreError::Corrupt { .. })));
        }
    }

    #[test]
    fn rows_of_changed_or_absent_files_are_not_handed_out() {
        let (_out, store) = samples::store("hdf5", &["a"]);
        let reader = StoreReader::open(store.path()).unwrap();
        let uid = UnitUid::parse("a").unwrap();
        let path = store.path().join("units/a.h5");
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(0);
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(reader.read_unit(&uid), Err(StoreError::Checksum { .. })));
        bytes.pop();
        bytes[900] ^= 4;
        fs::write(&path, &bytes).unwrap();
        let error = reader.read_unit(&uid).unwrap_err();
        assert!(error.to_string().contains("expected sha256"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(matches!(reader.read_unit(&uid), Err(StoreError::Io { .. })));
        let absent = reader.read_unit(&UnitUid::parse("b").unwrap());
        assert!(matches!(absent, Err(StoreError::NotCommitted { .. })));
    }
}
