//! The master file of an HDF5 store: its contract as attributes and, under its uid, an external link to each unit.
//!
//! Not for the store itself, which believes only its ledgers. It has no checksum on record, so for reading it is a file like
//! any other's. Invariant: it can be deleted and written anew at any time.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;

use ::hdf5::File;
use hdf5_sys::h5l::{H5Lget_val, H5Lunpack_elink_val};
use hdf5_sys::h5p::H5P_DEFAULT;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::contract::Contract;
use super::error::{StoreError, io_error};
use super::fields;
use super::hdf5::{create_file, open_file, read_attributes, write_attributes, write_error};
use super::ledger::Committed;
use crate::foreign::{self, Request};

/// What is asked of another process of this program, see [`answer`].
const WHAT: &str = "master";
/// Longest link that is read: a uid is a file's name.
const LONGEST_LINK: usize = 4096;

/// What a master file says.
#[derive(Debug, Serialize, Deserialize)]
struct Master {
    attributes: Map<String, Value>,
    /// Unit, and the file that its link names.
    links: BTreeMap<String, String>,
}

/// Writes a master file; `links` are uids and the paths of their files relative to it.
///
/// # Errors
/// [`StoreError::Write`], [`StoreError::DiskFull`].
pub fn write<'a>(
    path: &Path,
    contract: &Contract,
    links: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), StoreError> {
    let attributes = fields::of_contract(contract).map_err(|error| write_error(path, &error.to_string().into()))?;
    let write = || {
        let file = create_file(path)?;
        write_attributes(&file, &attributes, contract)?;
        links.into_iter().try_for_each(|(uid, target)| file.link_external(target, "/", uid))?;
        file.flush()?;
        file.close()
    };
    write().map_err(|error| write_error(path, &error))
}

/// What is wrong with the master file at `path`, in words that follow its name.
///
/// # Errors
/// [`StoreError::Io`] if the file system fails; what is wrong with the file is no error.
pub fn fault(path: &Path, contract: &Contract, committed: &Committed) -> Result<Option<String>, StoreError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some("is absent".to_owned())),
        found => found.map_err(io_error("open", path))?,
    };
    let read = match foreign::ask(&Request { what: WHAT, path: path.to_owned(), name: String::new() }) {
        None => read(path).map_err(|error| error.to_string()),
        Some(answer) => answer
            .map_err(|fault| fault.to_string())
            .and_then(|answer| serde_json::from_slice(&answer).map_err(|error| error.to_string())),
    };
    Ok(match read {
        Ok(master) => master.difference(contract, committed),
        Err(why) => Some(format!("is damaged ({why})")),
    })
}

/// What the process that reads the files of others answers about a master file; `None` if something else is asked.
pub fn answer(what: &str, path: &Path) -> Option<Result<Vec<u8>, String>> {
    let read =
        || serde_json::to_vec(&read(path).map_err(|error| error.to_string())?).map_err(|error| error.to_string());
    (what == WHAT).then(read)
}

impl Master {
    fn difference(&self, contract: &Contract, committed: &Committed) -> Option<String> {
        for (name, expected) in fields::of_contract(contract).expect("a derived Serialize of plain data") {
            let (expected, found) = (fields::to_text(&expected), self.attributes.get(&name).map(fields::to_text));
            if found.as_ref() != Some(&expected) {
                let found = found.unwrap_or_else(|| "nothing".to_owned());
                return Some(format!("is another store's: {name} is {found:.80?}, expected {expected:.80?}"));
            }
        }
        if self.links.len() != committed.len() {
            return Some(format!("links {} units, expected {}", self.links.len(), committed.len()));
        }
        let links = |uid: &str| self.links.get(uid).map_or("nothing", String::as_str);
        let wrong = committed.iter().find(|entry| links(entry.unit_uid.as_str()) != entry.file)?;
        Some(format!("links {} for unit {}, expected {}", links(wrong.unit_uid.as_str()), wrong.unit_uid, wrong.file))
    }
}

fn read(path: &Path) -> ::hdf5::Result<Master> {
    let file = open_file(path)?;
    let attributes = read_attributes(&file)?;
    let links = file.member_names()?.into_iter().map(|name| Ok((name.clone(), target(&file, &name)?)));
    Ok(Master { attributes, links: links.collect::<::hdf5::Result<_>>()? })
}

/// The file that the external link `name` names. The bindings know how to write such a link, not how to read one.
fn target(file: &File, name: &str) -> ::hdf5::Result<String> {
    let no_link = || ::hdf5::Error::from(format!("{name:?} is no link to a unit"));
    let link = CString::new(name).map_err(|_| no_link())?;
    let mut value = vec![0_u8; LONGEST_LINK];
    let (mut flags, mut target, mut object) = (0, std::ptr::null::<c_char>(), std::ptr::null::<c_char>());
    ::hdf5::sync::sync(|| {
        // SAFETY: `file` keeps its identifier open, `link` ends in a zero byte, `value` is as long as the library is told and
        // the library checks that it ends in a zero byte.
        let found = unsafe {
            let buffer = value.as_mut_ptr().cast::<c_void>();
            H5Lget_val(file.id(), link.as_ptr(), buffer, LONGEST_LINK, H5P_DEFAULT) >= 0
                && H5Lunpack_elink_val(buffer, LONGEST_LINK, &raw mut flags, &raw mut target, &raw mut object) >= 0
        };
        if !found || target.is_null() {
            return Err(no_link());
        }
        // SAFETY: it points into `value`, which the library has found to hold two texts that end in zero bytes.
        Ok(unsafe { CStr::from_ptr(target) }.to_string_lossy().into_owned())
    })
}
