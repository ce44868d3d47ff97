//! Arrays of HDF5 files that others wrote, by a process of its own where the program has one for that.
//!
//! libhdf5 believes what a file says: a changed byte makes it crash, loop, or ask for terabytes. Not for stores, whose files
//! are told by their hashes. Invariant: an array is asked for only if the file is long enough to hold it.

use std::path::Path;

use ::hdf5::types::TypeDescriptor;
use ::hdf5::{Dataset, File};
use ndarray::{Array2, ArrayD, IxDyn};

use super::ImportError;
use super::readers::{FLOATS, is_of_rows, rows, unreadable};
use crate::foreign::{self, Request};
use crate::store::hdf5::open_file;

const HDF5: &str = "an HDF5 file with a dataset [rows, dim] for each clip";
/// What is asked of the other process.
const LIST: &str = "hdf5-list";
const READ: &str = "hdf5-read";

/// Clips' names, and where their features lie in the file.
type Places = Vec<(String, String)>;

/// Names of clips, and where their features lie in the file.
pub(super) fn datasets(path: &Path) -> Result<Places, ImportError> {
    let listed = match foreign::ask(&request(LIST, path, "")) {
        None => list(path),
        Some(answer) => answer
            .map_err(|fault| fault.to_string())
            .and_then(|answer| serde_json::from_slice(&answer).map_err(|error| error.to_string())),
    };
    listed.map_err(|why| unreadable(path, HDF5, why))
}

/// A dataset of an HDF5 file.
pub(super) fn array(path: &Path, name: &str) -> Result<Array2<f32>, ImportError> {
    let read = match foreign::ask(&request(READ, path, name)) {
        None => read(path, name),
        Some(answer) => answer
            .map_err(|fault| fault.to_string())
            .and_then(|answer| unpacked(&answer).ok_or_else(|| "an answer cut short".to_owned())),
    };
    rows(&path.join(name), read.map_err(|why| unreadable(&path.join(name), HDF5, why))?)
}

fn request(what: &'static str, path: &Path, name: &str) -> Request {
    Request { what, path: path.to_owned(), name: name.to_owned() }
}

/// Answers what [`datasets`] and [`array`] ask, in the process that reads.
pub(super) fn answer(what: &str, path: &Path, name: &str) -> Result<Vec<u8>, String> {
    match what {
        LIST => serde_json::to_vec(&list(path)?).map_err(|error| error.to_string()),
        READ => Ok(packed(&read(path, name)?)),
        _ => Err(format!("unknown request {what:?}")),
    }
}

fn list(path: &Path) -> Result<Places, String> {
    let words = |error: ::hdf5::Error| error.to_string();
    let file = open_file(path).map_err(words)?;
    let holds_rows = |name: &str| file.dataset(name).is_ok_and(|dataset| is_of_rows(&dataset.shape()));
    // One unit of a store: its name is the file's.
    if file.link_exists("features") && holds_rows("features") {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(stem, "features".to_owned())]);
    }
    let place = |name: String| match file.group(&name) {
        Ok(_) => (name.clone(), format!("{name}/features")),
        Err(_) => (name.clone(), name),
    };
    let names = file.member_names().map_err(words)?;
    Ok(names.into_iter().map(place).filter(|(_, dataset)| holds_rows(dataset)).collect())
}

fn read(path: &Path, name: &str) -> Result<ArrayD<f32>, String> {
    let words = |error: ::hdf5::Error| error.to_string();
    let dataset = open_file(path).and_then(|file: File| file.dataset(name)).map_err(words)?;
    match dataset.dtype().and_then(|dtype| dtype.to_descriptor()).map_err(words)? {
        TypeDescriptor::Float(_) => {}
        other => return Err(format!("elements of type {other}, expected {FLOATS}")),
    }
    foreign::expect(path, bytes_of(&dataset, size_of::<f32>()))?;
    dataset.read_dyn::<f32>().map_err(words)
}

/// Bytes that the elements of a dataset take, each `size` of them; the most there can be if it claims more than that.
fn bytes_of(dataset: &Dataset, size: usize) -> u64 {
    dataset.shape().into_iter().fold(size as u64, |bytes, extent| bytes.saturating_mul(extent as u64))
}

/// An array as bytes: number of axes, extents, elements in row-major order.
fn packed(array: &ArrayD<f32>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + 8 * array.ndim() + 4 * array.len());
    bytes.extend((array.ndim() as u64).to_le_bytes());
    array.shape().iter().for_each(|&extent| bytes.extend((extent as u64).to_le_bytes()));
    array.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

fn unpacked(bytes: &[u8]) -> Option<ArrayD<f32>> {
    let (axes, rest) = bytes.split_first_chunk()?;
    let (extents, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*axes)).ok()?.checked_mul(8)?)?;
    let extents: Vec<usize> = extents.as_chunks().0.iter().map(|extent| u64::from_le_bytes(*extent) as usize).collect();
    let values = rest.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    ArrayD::from_shape_vec(IxDyn(&extents), values).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_pass_from_process_to_process_as_they_are() {
        for shape in [&[2, 3][..], &[1, 2, 2], &[0, 4]] {
            let count = shape.iter().product::<usize>();
            let values = (0..count).map(|value| if value == 1 { -0.0 } else { value as f32 * 0.1 }).collect();
            let array = ArrayD::from_shape_vec(IxDyn(shape), values).unwrap();
            assert_eq!(unpacked(&packed(&array)).unwrap(), array);
        }
        assert!(unpacked(&[0; 7]).is_none() && unpacked(&u64::MAX.to_le_bytes()).is_none());
    }

    #[test]
    fn a_dataset_that_its_file_cannot_hold_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("many.h5");
        let file = File::create(&path).unwrap();
        file.new_dataset::<f32>().chunk((1, 8)).shape((1 << 30, 8)).create("a").unwrap();
        file.close().unwrap();
        assert_eq!(datasets(&path).unwrap(), [("a".to_owned(), "a".to_owned())]);
        let error = array(&path, "a").unwrap_err().to_string();
        assert!(error.contains("an array of 34359738368 bytes in a file of "), "{error}");
    }
}
