//! LMDB maps of features, read as files: GroundNLQ's `video_features/`, for instance.
//!
//! LMDB itself maps a file into memory and believes every number in it, and it writes a lock beside it; here pages are read
//! one by one, and nothing of anybody else's folder is changed. Format 1 (LMDB 0.9) with one unnamed database, which is what
//! Python's `lmdb` writes. Invariant: a place that is handed out lies within the file, and no page is read twice.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file of a map in its folder.
pub(super) const FILE: &str = "data.mdb";

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
/// Bytes before a page's nodes.
const HEADER: usize = 16;
/// Kinds of pages.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
/// Flags of a node: its value lies on pages of its own; it is a database, or has several values.
const BIG: u16 = 1;
const NESTED: u16 = 6;
/// No page.
const NONE: u64 = u64::MAX;

/// A value, by its place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    pub offset: u64,
    pub length: usize,
}

/// An open map.
pub(super) struct Lmdb {
    file: File,
    length: u64,
    page: usize,
}

/// Why a map could not be read, in words.
type Fault = String;

impl Lmdb {
    /// Keys and values of the map in `path`, in the order of the keys.
    ///
    /// # Errors
    /// What is wrong with the environment, as text.
    pub fn list(path: &Path) -> Result<Vec<(Vec<u8>, Value)>, Fault> {
        let said = |error: io::Error| error.to_string();
        let file = File::open(path).map_err(said)?;
        let length = file.metadata().map_err(said)?.len();
        let mut map = Self { file, length, page: 4096 };
        let root = map.root()?;
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut next = if root == NONE { vec![] } else { vec![root] };
        while let Some(number) = next.pop() {
            if !seen.insert(number) {
                return Err(format!("page {number} is its own descendant"));
            }
            let mut below = map.node_page(number, &mut found)?;
            below.reverse();
            next.extend(below);
        }
        Ok(found)
    }

    /// The root page of the newer of the two descriptions that a map begins with.
    fn root(&mut self) -> Result<u64, Fault> {
        let first = self.read(0, HEADER + 136)?;
        if u32_at(&first, HEADER) != MAGIC {
            return Err("a file that does not begin as a map of LMDB".to_owned());
        }
        let version = u32_at(&first, HEADER + 4);
        if version != VERSION {
            return Err(format!("format {version} of LMDB, where 1 is read"));
        }
        // The free list's description has the size of pages in the place where others have nothing.
        self.page = u32_at(&first, HEADER + 24) as usize;
        if !self.page.is_power_of_two() || !(256..=65536).contains(&self.page) {
            return Err(format!("pages of {} bytes", self.page));
        }
        let second = self.read(self.page as u64, HEADER + 136)?;
        let written = |page: &[u8]| u64_at(page, HEADER + 24 + 96 + 8);
        let newer = if written(&second) > written(&first) { second } else { first };
        Ok(u64_at(&newer, HEADER + 24 + 48 + 40))
    }

    /// Adds the values of a leaf, or gives the pages below a branch.
    fn node_page(&self, number: u64, found: &mut Vec<(Vec<u8>, Value)>) -> Result<Vec<u64>, Fault> {
        let start = number.checked_mul(self.page as u64).ok_or("a page far behind the end")?;
        let page = self.read(start, self.page)?;
        let kind = u16_at(&page, 10);
        let nodes = (u16_at(&page, 12) as usize).saturating_sub(HEADER) / 2;
        let mut below = Vec::new();
        for node in (0..nodes).map(|node| u16_at(&page, (HEADER + 2 * node).min(self.page - 2)) as usize) {
            let head = page.get(node..node + 8).ok_or("a node behind the end of its page")?;
            let (low, high, flags, key) = (u16_at(head, 0), u16_at(head, 2), u16_at(head, 4), u16_at(head, 6) as usize);
            let (low, high) = (u64::from(low), u64::from(high));
            match kind & (BRANCH | LEAF) {
                BRANCH => below.push(low | high << 16 | u64::from(flags) << 32),
                LEAF if flags & NESTED != 0 => {
                    return Err("a map with named databases or several values of a key".to_owned());
                }
                LEAF => {
                    let name = page.get(node + 8..node + 8 + key).ok_or("a key behind the end of its page")?;
                    let length = (low | high << 16) as usize;
                    let at = node + 8 + key;
                    let value = match flags & BIG {
                        0 => self.place(start + at as u64, length, start + self.page as u64)?,
                        _ => self
                            .overflow(u64_at(page.get(at..at + 8).ok_or("a reference behind its page")?, 0), length)?,
                    };
                    found.push((name.to_vec(), value));
                }
                _ => return Err(format!("page {number} is of kind {kind}")),
            }
        }
        Ok(below)
    }

    /// A value on pages of its own.
    fn overflow(&self, number: u64, length: usize) -> Result<Value, Fault> {
        let start = number.checked_mul(self.page as u64).ok_or("a page far behind the end")?;
        let kind = u16_at(&self.read(start, HEADER)?, 10);
        if kind & OVERFLOW == 0 {
            return Err(format!("page {number} is of kind {kind}, where a value is expected"));
        }
        self.place(start + HEADER as u64, length, self.length)
    }

    fn place(&self, offset: u64, length: usize, end: u64) -> Result<Value, Fault> {
        match offset.checked_add(length as u64) {
            Some(last) if last <= end && last <= self.length => Ok(Value { offset, length }),
            _ => Err(format!("a value of {length} bytes at {offset}, behind the end at {end}")),
        }
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(format!("{} bytes, where a page of {length} bytes at {offset} is expected", self.length));
        }
        read_at(&self.file, offset, length).map_err(|error| error.to_string())
    }
}

/// The bytes of a value.
pub(super) fn read(path: &Path, value: Value) -> io::Result<Vec<u8>> {
    read_at(&File::open(path)?, value.offset, value.length)
}

fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(number(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}

#[cfg(test)]
mod tests {
    use heed::types::{Bytes, Str};
    use heed::{CommitOrAbort, EnvOpenOptions};

    use super::*;

    /// A map of `entries`, as LMDB itself writes it.
    fn map(entries: &[(String, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        // SAFETY: nobody else has this file.
        let env = unsafe { EnvOpenOptions::new().map_size(64 << 20).open(folder.path()) }.unwrap();
        for (key, value) in entries {
            let put = env.create_databases_and_commit(env.write_txn().unwrap(), |unnamed, txn| {
                unnamed.create_database::<Str, Bytes>(txn, None)?.put(txn, key, value)?;
                Ok::<_, heed::Error>(CommitOrAbort::<(), ()>::Commit(()))
            });
            put.unwrap();
        }
        env.prepare_for_closing().wait();
        folder
    }

    #[test]
    fn every_value_is_found_in_leaves_and_on_pages_of_its_own() {
        let value = |number: usize| vec![number as u8; [3, 700, 2500, 9000, 40_000][number % 5] + number];
        let entries: Vec<(String, Vec<u8>)> =
            (0..300).map(|number| (format!("clip-{number:03}"), value(number))).collect();
        let folder = map(&entries);
        let path = folder.path().join(FILE);
        let before = std::fs::read_dir(folder.path()).unwrap().count();
        let listed = Lmdb::list(&path).unwrap();
        let found: Vec<(String, Vec<u8>)> = listed
            .iter()
            .map(|(key, value)| (String::from_utf8(key.clone()).unwrap(), read(&path, *value).unwrap()))
            .collect();
        assert_eq!(found, entries);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before, "no lock is made");
        let empty = map(&[("a".to_owned(), vec![])]);
        assert_eq!(Lmdb::list(&empty.path().join(FILE)).unwrap()[0].1.length, 0);
    }

    #[test]
    fn damage_is_said_and_harms_nobody() {
        let entries: Vec<(String, Vec<u8>)> = (0..200).map(|number| (format!("{number}"), vec![1; 3000])).collect();
        let folder = map(&entries);
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let list = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Lmdb::list(&path)
        };
        assert!(list(b"short").unwrap_err().contains("5 bytes, where a page"));
        assert!(list(&[0; 9000]).unwrap_err().contains("does not begin as a map"));
        assert!(list(&whole[..whole.len() / 2]).is_err(), "values behind the end");
        for seed in 0..400usize {
            let mut bytes = whole.clone();
            // Of every page the first bytes, where pages say what they are.
            let at = (seed * 7919) % (bytes.len() / 4096) * 4096 + seed % 64;
            bytes[at] ^= 1 << (seed % 8);
            let _ = list(&bytes);
        }
    }
}
