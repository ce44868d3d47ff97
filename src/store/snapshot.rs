//! What a store is at one moment, for a copy of it elsewhere.
//!
//! Not for copying. Invariant: every unit that a table or a ledger of the snapshot names is committed, and so is in `units`; what
//! runs commit meanwhile is in none of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{StoreError, io_error};
use super::ledger::{self, Committed, EXTENSION, LedgerEntry};
use super::reader::contract_of;
use super::{Format, INDEX_FILE, LEDGER, MASTER_FILE, PLAN_FILE, STORE_FILE, StoreReader, disk};
use crate::shard::Shard;

/// A store at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The folder of the store.
    pub root: PathBuf,
    /// All committed units.
    pub units: Committed,
    /// Names, relative to the store's folder with `/`, and contents of what promises them: in the order in which a copy may have
    /// them once it has the units, the ledgers last.
    pub records: Vec<(String, Vec<u8>)>,
}

/// The files of a store that promise units, but for the ledgers, in the order of [`Snapshot::records`].
const TABLES: [&str; 4] = [STORE_FILE, PLAN_FILE, INDEX_FILE, MASTER_FILE];

/// Whether a file, by its name relative to a store's folder, is one of those that promise units.
pub fn is_record(name: &str) -> bool {
    let ledger = name.strip_prefix(LEDGER).and_then(|rest| rest.strip_prefix('/')?.strip_suffix(EXTENSION));
    TABLES.contains(&name) || ledger.is_some_and(|stem| Shard::from_stem(stem).is_some())
}

impl Snapshot {
    /// The store whose `records` these are, for the folder `root`.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] without `store.json`, [`StoreError::Corrupt`], [`StoreError::Ledger`].
    pub fn of_records(root: &Path, mut records: Vec<(String, Vec<u8>)>) -> Result<Self, StoreError> {
        records.retain(|(name, _)| is_record(name));
        let place = |name: &str| TABLES.iter().position(|table| *table == name).unwrap_or(TABLES.len());
        records.sort_by(|(a, _), (b, _)| (place(a), a).cmp(&(place(b), b)));
        let contract = records.iter().find(|(name, _)| name == STORE_FILE);
        let not_a_store = || StoreError::NotAStore { path: root.to_owned() };
        let (_, contract) = contract.ok_or_else(not_a_store)?;
        let format = Format::named(&contract_of(&root.join(STORE_FILE), contract)?.format)?;
        let mut units = Committed::default();
        for (name, bytes) in records.iter_mut().filter(|(name, _)| !TABLES.contains(&name.as_str())) {
            bytes.truncate(ledger::complete_bytes(bytes));
            let path = root.join(&name);
            for (index, entry) in ledger::parse_lines::<LedgerEntry>(&path, bytes, 0)?.into_iter().enumerate() {
                ledger::check_place(&path, index, &entry, &format.file_of(&entry.unit_uid))?;
                units.insert(entry);
            }
        }
        Ok(Self { root: root.to_owned(), units, records })
    }
}

impl StoreReader {
    /// What the store is now. Takes no lock: runs may write meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], [`StoreError::Io`].
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let root = self.path();
        // Tables first: the ledgers know all that they name. The promise last: what the ledgers know was promised before.
        let names = disk::names_in(&root.join(LEDGER))?.into_iter().map(|name| format!("{LEDGER}/{name}"));
        let tables = [INDEX_FILE, MASTER_FILE].map(str::to_owned).into_iter();
        let names =
            tables.chain(names.filter(|name| is_record(name))).chain([STORE_FILE, PLAN_FILE].map(str::to_owned));
        let files = names.map(|name| file(root, &name)).collect::<Result<Vec<_>, _>>()?;
        Snapshot::of_records(root, files.into_iter().flatten().collect())
    }
}

/// The file `name` with its content; `None` if it is not there.
fn file(root: &Path, name: &str) -> Result<Option<(String, Vec<u8>)>, StoreError> {
    let path = root.join(name);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => Ok(Some((name.to_owned(), bytes.map_err(io_error("read", &path))?))),
    }
}
