//! Where the elements of a file of features lie: the entries of a zip, or one behind the other.
//!
//! Not for what they mean. Invariant: a place is within the file.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;

use zip::ZipArchive;

use super::torch::check_zip;
use super::tree::{Node, Pickle};
use super::{CheckpointError, Container, Dtype, sniff};

/// Where the elements of tensors lie.
#[derive(Debug)]
pub(super) enum Storages {
    /// Entries `{root}data/{key}` of the zip.
    Zip { root: String, big_endian: bool },
    /// Places in the file by key: offset and length in bytes.
    Legacy { places: HashMap<String, (usize, usize)>, big_endian: bool },
}

/// The value of a file and where its storages are; `None` for a file of another kind.
pub(super) fn open(path: &Path) -> Result<Option<(Pickle, Storages)>, CheckpointError> {
    match sniff::container(path)? {
        Container::TorchZip => open_zip(path).map(Some),
        Container::TorchLegacy => open_legacy(path).map(Some),
        _ => Ok(None),
    }
}

impl Storages {
    /// The bytes of a storage of the file at `path`, and whether the highest byte of an element comes first.
    pub(super) fn read(&self, path: &Path, key: &str) -> Result<(Vec<u8>, bool), CheckpointError> {
        let absent = || CheckpointError::Damaged { path: path.to_owned(), why: format!("storage {key:?} is missing") };
        match self {
            Self::Zip { root, big_endian } => {
                let held = entry(path, &format!("{root}data/{key}"))?.ok_or_else(absent)?;
                Ok((held, *big_endian))
            }
            Self::Legacy { places, big_endian } => {
                let (from, length) = *places.get(key).ok_or_else(absent)?;
                let file = fs::read(path).map_err(CheckpointError::io("read", path))?;
                let held = file.get(from..from + length).map(<[u8]>::to_vec);
                Ok((held.ok_or_else(absent)?, *big_endian))
            }
        }
    }
}

/// The pickle of a zip, and where its storages are.
fn open_zip(path: &Path) -> Result<(Pickle, Storages), CheckpointError> {
    check_zip(path)?;
    let archive = archive(path)?;
    let mut names = archive.file_names_raw().filter_map(|name| std::str::from_utf8(name).ok());
    let pickled = names.find(|name| *name == "data.pkl" || name.ends_with("/data.pkl")).map(str::to_owned);
    let Some(name) = pickled else {
        let found = "a zip archive without data.pkl, which torch.save did not write".to_owned();
        return Err(CheckpointError::NotACheckpoint { path: path.to_owned(), found });
    };
    let root = name.trim_end_matches("data.pkl").to_owned();
    let absent = || CheckpointError::Damaged { path: path.to_owned(), why: format!("{name} cannot be found again") };
    let bytes = entry(path, &name)?.ok_or_else(absent)?;
    let order = entry(path, &format!("{root}byteorder"))?;
    let big_endian = order.is_some_and(|order| order.starts_with(b"big"));
    Ok((Pickle::read(&bytes).map_err(CheckpointError::damaged(path))?, Storages::Zip { root, big_endian }))
}

fn archive(path: &Path) -> Result<ZipArchive<BufReader<File>>, CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io("open", path))?;
    ZipArchive::new(BufReader::new(file)).map_err(CheckpointError::damaged(path))
}

/// An entry of a zip whose directory was checked.
fn entry(path: &Path, name: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
    let mut archive = archive(path)?;
    let Some(index) = archive.index_for_name(name) else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = archive.by_index(index).map_err(CheckpointError::damaged(path))?.read_to_end(&mut bytes);
    read.map_err(CheckpointError::damaged(path))?;
    Ok(Some(bytes))
}

/// The form before 1.6: pickles of a magic number, a version, the machine, the value and the keys of its storages; then
/// the storages in the order of the keys, each with its number of elements before it.
fn open_legacy(path: &Path) -> Result<(Pickle, Storages), CheckpointError> {
    let bytes = fs::read(path).map_err(CheckpointError::io("read", path))?;
    let damaged = || CheckpointError::damaged::<String>(path);
    let mut at = 0;
    let mut next = || -> Result<Pickle, CheckpointError> {
        let pickle = Pickle::read(&bytes[at..]).map_err(damaged())?;
        at += pickle.length;
        Ok(pickle)
    };
    let (_magic, _version, machine, value, keys) = (next()?, next()?, next()?, next()?, next()?);
    let places = places(path, &bytes, at, &value, &keys)?;
    let mut facts = machine.entries(machine.root).into_iter().flatten();
    let little = facts.find(|(key, _)| machine.text(*key) == Some("little_endian"));
    let big_endian = little.is_some_and(|(_, value)| machine.int(*value) == Some(0));
    Ok((value, Storages::Legacy { places, big_endian }))
}

/// Where each storage lies, offset and length in bytes.
fn places(
    path: &Path,
    bytes: &[u8],
    mut at: usize,
    value: &Pickle,
    keys: &Pickle,
) -> Result<HashMap<String, (usize, usize)>, CheckpointError> {
    let sizes: HashMap<&str, usize> = value.nodes().filter_map(|node| storage_size(value, node)).collect();
    let mut places = HashMap::new();
    let damaged = |why: String| CheckpointError::Damaged { path: path.to_owned(), why };
    let listed = keys.list(keys.root).ok_or_else(|| damaged("it does not list the keys of its storages".into()))?;
    for key in listed {
        let key = keys.text(*key).ok_or_else(|| damaged("a storage has a key that is no text".into()))?;
        let cut = || CheckpointError::Truncated {
            path: path.to_owned(),
            expected: format!("the elements of storage {key:?}"),
            length: bytes.len() as u64,
        };
        let count = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(cut)?;
        let count = usize::try_from(i64::from_le_bytes(*count)).map_err(|_| cut())?;
        // Where the next storage begins depends on it.
        let size =
            sizes.get(key).ok_or_else(|| damaged(format!("storage {key:?} is of no type that is known here")))?;
        let length = count.checked_mul(*size).ok_or_else(cut)?;
        let held: Range<usize> = at + 8..(at + 8).checked_add(length).ok_or_else(cut)?;
        bytes.get(held.clone()).ok_or_else(cut)?;
        places.insert(key.to_owned(), (held.start, length));
        at = held.end;
    }
    Ok(places)
}

/// The key of a storage, and the bytes of its elements.
fn storage_size<'p>(pickle: &'p Pickle, node: &Node) -> Option<(&'p str, usize)> {
    let Node::Persistent(reference) = node else { return None };
    let items = pickle.list(*reference)?;
    let Node::Global(class) = pickle.node(*items.get(1)?) else { return None };
    Some((pickle.text(*items.get(2)?)?, dtype(class)?.size_bytes()))
}

/// The element type of a class of storages.
pub(super) fn dtype(class: &str) -> Option<Dtype> {
    Dtype::ALL.into_iter().find(|dtype| {
        let name = super::pickle::storage(*dtype);
        class.strip_prefix("torch.").is_some_and(|class| class == name || class.strip_prefix("cuda.") == Some(name))
    })
}
