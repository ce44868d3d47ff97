//! The record of what is committed: one append-only file of JSON lines per shard.
//!
//! Not for what is planned, see `plan`. Invariant: a unit is committed exactly if a complete line, newline included,
//! says so; of several lines for one unit the one with the highest revision counts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::disk;
use super::error::{StoreError, io_error};
use crate::ids::{ClipUid, UnitUid, VideoUid};
use crate::shard::Shard;
use crate::time::TimeSpan;

pub(super) const EXTENSION: &str = ".jsonl";

/// One committed unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The unit.
    pub unit_uid: UnitUid,
    /// Its video.
    pub video_uid: VideoUid,
    /// The clip that all its rows belong to, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_uid: Option<ClipUid>,
    /// The query that all its rows have met, if one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<String>,
    /// Training, validation or test, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Its file, relative to the store's folder, with `/`.
    pub file: String,
    /// Rows in the file.
    pub rows: u64,
    /// Features per row.
    pub dim: usize,
    /// The part of the video that it covers; `None` for all of it.
    #[serde(flatten)]
    pub span: Option<TimeSpan>,
    /// Rows whose window had to be filled up.
    pub padded_rows: u64,
    /// Rows without features.
    pub missing_rows: u64,
    /// Length of the file.
    pub bytes: u64,
    /// sha256 of the file, lower-case hex.
    pub sha256: String,
    /// Fingerprint of the contract that the rows obey.
    pub fingerprint: String,
    /// 1 for the first commit of this unit, one more each time it was made anew.
    pub revision: u32,
}

/// All committed units of a store, by uid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Committed(BTreeMap<UnitUid, LedgerEntry>);

impl Committed {
    /// The entry of one unit.
    pub fn get(&self, unit_uid: &UnitUid) -> Option<&LedgerEntry> {
        self.0.get(unit_uid)
    }

    /// All entries in the order of their uids.
    pub fn iter(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.0.values()
    }

    /// How many units are committed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no unit is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes `entry` in, unless a later revision of its unit is known.
    pub(super) fn insert(&mut self, entry: LedgerEntry) {
        if self.get(&entry.unit_uid).is_none_or(|known| known.revision <= entry.revision) {
            self.0.insert(entry.unit_uid.clone(), entry);
        }
    }
}

impl FromIterator<LedgerEntry> for Committed {
    fn from_iter<I: IntoIterator<Item = LedgerEntry>>(entries: I) -> Self {
        let mut committed = Self::default();
        entries.into_iter().for_each(|entry| committed.insert(entry));
        committed
    }
}

/// Reads all ledgers in the folder `ledgers`; a last line without newline was never committed and is passed over.
///
/// `file_of` says where the file of a unit must be. [`StoreError::Ledger`] if any other line is not an entry.
///
/// # Errors
/// [`StoreError::Ledger`], [`StoreError::Io`].
pub fn read_all(ledgers: &Path, file_of: impl Fn(&UnitUid) -> String) -> Result<Committed, StoreError> {
    let mut committed = Committed::default();
    for name in disk::names_in(ledgers)?.into_iter().filter(|name| name.ends_with(EXTENSION)) {
        let path = ledgers.join(name);
        for (index, entry) in read_lines::<LedgerEntry>(&path)?.into_iter().enumerate() {
            check_place(&path, index, &entry, &file_of(&entry.unit_uid))?;
            committed.insert(entry);
        }
    }
    Ok(committed)
}

/// [`StoreError::Ledger`] unless the file of `entry`, line `index` of the ledger `path`, is where it is `expected`.
pub(super) fn check_place(path: &Path, index: usize, entry: &LedgerEntry, expected: &str) -> Result<(), StoreError> {
    if entry.file == expected {
        return Ok(());
    }
    let why = format!("the file of unit {} is {expected}, found {:?}", entry.unit_uid, entry.file);
    Err(StoreError::Ledger { file: path.to_owned(), line: index + 1, why })
}

/// The entries of each ledger in the folder `ledgers`, in the order of their lines.
///
/// # Errors
/// [`StoreError::Ledger`], [`StoreError::Io`].
pub fn read_by_part(ledgers: &Path) -> Result<BTreeMap<Shard, Vec<LedgerEntry>>, StoreError> {
    let names = disk::names_in(ledgers)?;
    let parts = names.iter().filter_map(|name| Some((Shard::from_stem(name.strip_suffix(EXTENSION)?)?, name)));
    parts.map(|(part, name)| Ok((part, read_lines(&ledgers.join(name))?))).collect()
}

/// Units of which two lines of the ledgers in the folder `ledgers` say different things, and of which revision: two runs
/// wrote at a time, where locks lock nothing, or somebody else did.
///
/// # Errors
/// [`StoreError::Ledger`], [`StoreError::Io`].
pub fn contradictions(ledgers: &Path) -> Result<Vec<(UnitUid, u32)>, StoreError> {
    let (mut first, mut found) = (BTreeMap::new(), Vec::new());
    for name in disk::names_in(ledgers)?.into_iter().filter(|name| name.ends_with(EXTENSION)) {
        for entry in read_lines::<LedgerEntry>(&ledgers.join(name))? {
            let line = (entry.unit_uid.clone(), entry.revision);
            match first.get(&line) {
                Some(known) if *known != entry => found.push(line),
                Some(_) => {}
                None => drop(first.insert(line, entry)),
            }
        }
    }
    found.dedup();
    Ok(found)
}

/// Whether the file at `path` ends within a line.
///
/// # Errors
/// [`StoreError::Io`].
pub fn is_cut(path: &Path) -> Result<bool, StoreError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        bytes => bytes.map(|bytes| complete_bytes(&bytes) < bytes.len()).map_err(io_error("read", path)),
    }
}

/// The complete lines of a file of JSON lines; none if the file is not there.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, StoreError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes.map_err(io_error("read", path))?,
    };
    parse_lines(path, &bytes[..complete_bytes(&bytes)], 0)
}

/// Complete lines of the file `path`, of which `before` precede them.
pub(super) fn parse_lines<T: DeserializeOwned>(path: &Path, lines: &[u8], before: usize) -> Result<Vec<T>, StoreError> {
    let parse = |(index, line): (usize, &[u8])| {
        serde_json::from_slice(line).map_err(|error| StoreError::Ledger {
            file: path.to_owned(),
            line: before + index + 1,
            why: error.to_string(),
        })
    };
    lines.split_inclusive(|&byte| byte == b'\n').enumerate().map(parse).collect()
}

/// One line of a file of JSON lines, newline included.
pub(super) fn line_of<T: Serialize>(path: &Path, record: &T) -> Result<String, StoreError> {
    let json = serde_json::to_string(record);
    let json = json.map_err(|error| StoreError::Write { path: path.to_owned(), why: error.to_string() })?;
    Ok(json + "\n")
}

/// Bytes up to the end of the last complete line.
pub(super) fn complete_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1)
}

/// Appends to the ledger of one shard, whose lock the owner holds.
#[derive(Debug)]
pub struct LedgerWriter {
    file: File,
    path: PathBuf,
    /// Length of what is known to be complete and on the device.
    length: u64,
}

impl LedgerWriter {
    /// Opens or creates the ledger of `shard` in the folder `ledgers`.
    ///
    /// # Errors
    /// [`StoreError::Ledger`], or an error of the device.
    pub fn open(ledgers: &Path, shard: Shard) -> Result<Self, StoreError> {
        let path = ledgers.join(shard.stem() + EXTENSION);
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(io_error("open", &path))?;
        let bytes = fs::read(&path).map_err(io_error("read", &path))?;
        let length = complete_bytes(&bytes);
        if length < bytes.len() {
            log::warn!("{} ends in a torn line: the unit it was meant for is not committed", path.display());
        }
        disk::sync_folder(ledgers)?;
        Ok(Self { file, path, length: length as u64 })
    }

    /// Appends `entry`; when this returns, the unit is committed. After an error it is not.
    ///
    /// # Errors
    /// An error of the device; the entry is then absent.
    pub fn append(&mut self, entry: &LedgerEntry) -> Result<(), StoreError> {
        let line = line_of(&self.path, entry)?;
        self.write(line.as_bytes()).map_err(io_error("write", &self.path))?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        // Cuts off what a kill or a failed append has left, so that it never ends up inside the ledger.
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        let written = self.file.write_all(line).and_then(|()| self.file.sync_all());
        if written.is_err() {
            // A complete line that was not synced would count as committed; the next append cuts too, should this fail.
            let _ = self.file.set_len(self.length);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn file_of(unit_uid: &UnitUid) -> String {
        format!("units/{unit_uid}.h5")
    }

    fn read(folder: &Path) -> Result<Committed, StoreError> {
        read_all(folder, file_of)
    }

    fn writer(folder: &Path, shard: &str) -> LedgerWriter {
        LedgerWriter::open(folder, shard.parse().unwrap()).unwrap()
    }

    #[test]
    fn entries_of_all_shards_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&folder.path().join("absent")).unwrap().is_empty());
        writer(folder.path(), "1/2").append(&samples::entry("b", 1)).unwrap();
        writer(folder.path(), "2/2").append(&samples::entry("a", 1)).unwrap();
        let mut again = writer(folder.path(), "1/2");
        again.append(&samples::entry("c", 1)).unwrap();
        let committed = read(folder.path()).unwrap();
        assert_eq!(committed.iter().map(|entry| entry.unit_uid.as_str()).collect::<String>(), "abc");
        assert_eq!(committed.len(), 3);
        assert_eq!(committed.get(&UnitUid::parse("a").unwrap()), Some(&samples::entry("a", 1)));
    }

    #[test]
    fn the_highest_revision_counts_whatever_ledger_it_is_in() {
        let folder = tempfile::tempdir().unwrap();
        let newer = LedgerEntry { sha256: "new".into(), ..samples::entry("a", 2) };
        writer(folder.path(), "1/1").append(&newer).unwrap();
        writer(folder.path(), "1/2").append(&samples::entry("a", 1)).unwrap();
        assert_eq!(read(folder.path()).unwrap().iter().next(), Some(&newer));
    }

    #[test]
    fn a_torn_last_line_is_ignored_and_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1-of-1.jsonl");
        writer(folder.path(), "1/1").append(&samples::entry("a", 1)).unwrap();
        let whole = fs::read(&path).unwrap();
        for torn in [&b"{\"unit_uid\":\"b\",\"vid"[..], &b"\0\0\0"[..], &whole[..whole.len() - 1]] {
            fs::write(&path, [&whole[..], torn].concat()).unwrap();
            assert_eq!(read(folder.path()).unwrap().len(), 1);
            writer(folder.path(), "1/1").append(&samples::entry("c", 1)).unwrap();
            assert_eq!(read(folder.path()).unwrap().len(), 2);
        }
    }

    #[test]
    fn any_other_bad_line_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1-of-1.jsonl");
        let good = line_of(&path, &samples::entry("a", 1)).unwrap();
        let elsewhere = good.replace("units/a.h5", "../../a.h5");
        for bad in ["nonsense\n", "\n", "{}\n", elsewhere.as_str()] {
            fs::write(&path, format!("{good}{bad}{good}")).unwrap();
            let error = read(folder.path()).unwrap_err();
            let StoreError::Ledger { file, line: 2, .. } = &error else { panic!("{error}") };
            assert_eq!(file, &path);
        }
    }

    #[test]
    fn a_failed_append_commits_nothing_and_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = writer(folder.path(), "1/1");
        ledger.append(&samples::entry("a", 1)).unwrap();
        let writable = std::mem::replace(&mut ledger.file, File::open(&ledger.path).unwrap());
        assert!(ledger.append(&samples::entry("b", 1)).is_err());
        assert_eq!(read(folder.path()).unwrap().len(), 1);
        ledger.file = writable;
        ledger.append(&samples::entry("c", 1)).unwrap();
        assert_eq!(read(folder.path()).unwrap().iter().map(|e| e.unit_uid.as_str()).collect::<String>(), "ac");
    }
}
