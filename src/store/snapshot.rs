//! What a store is at one moment, for a copy of it elsewhere.
//!
//! Not for copying. Invariant: every unit that a table or a ledger of the snapshot names is committed, and so is in `units`; what
//! runs commit meanwhile is in none of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{StoreError, io_error};
use super::ledger::{self, Committed, EXTENSION, LedgerEntry};
use super::{INDEX_FILE, LEDGER, MASTER_FILE, PLAN_FILE, STORE_FILE, StoreReader, disk};

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

impl StoreReader {
    /// What the store is now. Takes no lock: runs may write meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], [`StoreError::Io`].
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let root = self.path();
        // The ledgers come last but for the promise: they know all that the tables name, and what they know was promised before.
        let tables =
            [INDEX_FILE, MASTER_FILE].map(|name| file(root, name)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut ledgers = Vec::new();
        let mut units = Committed::default();
        for name in disk::names_in(&root.join(LEDGER))?.into_iter().filter(|name| name.ends_with(EXTENSION)) {
            let Some((name, mut bytes)) = file(root, &format!("{LEDGER}/{name}"))? else { continue };
            bytes.truncate(ledger::complete_bytes(&bytes));
            let path = root.join(&name);
            for (index, entry) in ledger::parse_lines::<LedgerEntry>(&path, &bytes, 0)?.into_iter().enumerate() {
                ledger::check_place(&path, index, &entry, &self.file_of(&entry.unit_uid))?;
                units.insert(entry);
            }
            ledgers.push((name, bytes));
        }
        let promise =
            [STORE_FILE, PLAN_FILE].map(|name| file(root, name)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let records = promise.into_iter().chain(tables).flatten().chain(ledgers).collect();
        Ok(Snapshot { root: root.to_owned(), units, records })
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
