//! One array `[rows, dim]` out of a file of each kind, and what a file holds before it is read.
//!
//! Not for which file is whose. Axes of length 1 before `[rows, dim]` are a batch's and go. Invariant: nothing in a pickle
//! is run.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use hdf5::types::TypeDescriptor;
use ndarray::{Array2, ArrayD, IxDyn};
use zip::ZipArchive;

use super::ImportError;
use crate::checkpoint::read_one_tensor;
use crate::npy::{Header, Npy, NpyError};
use crate::store::hdf5::open_file;

const FLOATS: &str = "floating-point numbers";
const NPY: &str = "an .npy of type f2, f4 or f8 with two axes";
const NPZ: &str = "an .npz with an array [rows, dim]";
const HDF5: &str = "an HDF5 file with a dataset [rows, dim] for each clip";

/// Names of the array that is meant, where an archive has several.
const MEANT: [&str; 7] = ["features", "token_features", "feature", "feats", "feat", "video_features", "arr_0"];

pub(super) fn unreadable(path: &Path, expected: &'static str, found: impl ToString) -> ImportError {
    ImportError::Unreadable { path: path.to_owned(), expected, found: found.to_string() }
}

/// Whether an array of that shape can be one of rows.
pub(super) fn is_of_rows(shape: &[usize]) -> bool {
    shape.len() >= 2
}

/// `[rows, dim]` of an array with axes of length 1 besides.
fn rows(path: &Path, values: ArrayD<f32>) -> Result<Array2<f32>, ImportError> {
    let shape = values.shape().to_vec();
    let refused = || ImportError::Shape { path: path.to_owned(), found: shape.clone() };
    let mut wanted = shape.clone();
    while wanted.len() > 2 {
        // A batch's axis stands first, one that was kept in a reduction anywhere.
        let at = wanted.iter().position(|&extent| extent == 1).ok_or_else(refused)?;
        wanted.remove(at);
    }
    let &[rows, dim] = wanted.as_slice() else { return Err(refused()) };
    if rows == 0 || dim == 0 {
        return Err(refused());
    }
    values.into_shape_with_order((rows, dim)).map_err(|_| refused())
}

/// Of torch's.
pub(super) fn torch(path: &Path) -> Result<Array2<f32>, ImportError> {
    let tensor = read_one_tensor(path)?;
    let found = tensor.dtype.name();
    let values = tensor.to_f32().map_err(|_| unreadable(path, FLOATS, format!("a tensor of {found}")))?;
    let array = ArrayD::from_shape_vec(IxDyn(&tensor.shape), values);
    rows(path, array.map_err(|error| unreadable(path, FLOATS, error))?)
}

/// Of an `.npy`.
pub(super) fn npy(path: &Path) -> Result<Array2<f32>, ImportError> {
    let npy = Npy::read(open(path)?).map_err(|error| refused(path, NPY, error))?;
    match is_of_rows(npy.shape()) {
        true => rows(path, npy.to_f32()).map_err(|_| unreadable(path, NPY, format!("shape {:?}", npy.shape()))),
        false => Err(unreadable(path, NPY, format!("shape {:?}", npy.shape()))),
    }
}

/// What an `.npy` holds.
pub(super) fn npy_header(path: &Path) -> Result<Header, ImportError> {
    Header::read(&mut open(path)?).map_err(|error| refused(path, NPY, error))
}

/// Names of the arrays `[rows, dim]` of an `.npz`, one if only one can be meant.
pub(super) fn npz_members(path: &Path) -> Result<Vec<String>, ImportError> {
    let mut archive = ZipArchive::new(open(path)?).map_err(|error| unreadable(path, NPZ, error))?;
    members(&mut archive).map_err(|error| refused(path, NPZ, error))
}

/// The array `member` of an `.npz`.
pub(super) fn npz(path: &Path, member: &str) -> Result<Array2<f32>, ImportError> {
    let mut archive = ZipArchive::new(open(path)?).map_err(|error| unreadable(path, NPZ, error))?;
    rows(path, one(&mut archive, member).map_err(|error| refused(path, NPZ, error))?.to_f32())
}

/// The array of a value of a map: an `.npz` or `.npy`.
pub(super) fn value(path: &Path, bytes: &[u8]) -> Result<Array2<f32>, ImportError> {
    let expected = "values that are .npz or .npy";
    if !bytes.starts_with(b"PK") {
        return rows(path, Npy::read(bytes).map_err(|error| refused(path, expected, error))?.to_f32());
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| unreadable(path, expected, error))?;
    match &members(&mut archive).map_err(|error| refused(path, expected, error))?[..] {
        [member] => rows(path, one(&mut archive, member).map_err(|error| refused(path, expected, error))?.to_f32()),
        found => Err(unreadable(path, NPZ, format!("the arrays {found:?}"))),
    }
}

fn members<R: Read + Seek>(archive: &mut ZipArchive<R>) -> Result<Vec<String>, NpyError> {
    let mut found = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| NpyError::Foreign(error.to_string()))?;
        let name = entry.name().map_err(|error| NpyError::Foreign(error.to_string()))?.into_owned();
        let header = Header::read(&mut entry)?;
        if header.is_float() && is_of_rows(&header.shape) {
            found.push(name.trim_end_matches(".npy").to_owned());
        }
    }
    let meant = MEANT.into_iter().find(|name| found.iter().any(|found| found == name));
    Ok(meant.map_or(found, |name| vec![name.to_owned()]))
}

fn one<R: Read + Seek>(archive: &mut ZipArchive<R>, member: &str) -> Result<Npy, NpyError> {
    let foreign = |error: zip::result::ZipError| NpyError::Foreign(error.to_string());
    Npy::read(archive.by_name(&format!("{member}.npy")).map_err(foreign)?)
}

fn open(path: &Path) -> Result<BufReader<File>, ImportError> {
    File::open(path).map(BufReader::new).map_err(ImportError::io("open", path))
}

fn refused(path: &Path, expected: &'static str, error: NpyError) -> ImportError {
    match error {
        NpyError::Io(source) => ImportError::Io { doing: "read", path: path.to_owned(), source },
        error => unreadable(path, expected, error),
    }
}

/// Names of clips, and where their features lie in the file.
pub(super) fn hdf5_datasets(path: &Path) -> Result<Vec<(String, String)>, ImportError> {
    let list = || -> Result<Vec<(String, String)>, hdf5::Error> {
        let file = open_file(path)?;
        let holds_rows = |name: &str| file.dataset(name).is_ok_and(|dataset| is_of_rows(&dataset.shape()));
        // One unit of a store: its name is the file's.
        if file.link_exists("features") && holds_rows("features") {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(vec![(stem, "features".to_owned())]);
        }
        let names = file.member_names()?.into_iter();
        let place = |name: String| match file.group(&name) {
            Ok(_) => (name.clone(), format!("{name}/features")),
            Err(_) => (name.clone(), name),
        };
        Ok(names.map(place).filter(|(_, dataset)| holds_rows(dataset)).collect())
    };
    list().map_err(|error| unreadable(path, HDF5, error))
}

/// A dataset of an HDF5 file.
pub(super) fn hdf5(path: &Path, name: &str) -> Result<Array2<f32>, ImportError> {
    let refused = |error: hdf5::Error| unreadable(path, HDF5, format!("{name}: {error}"));
    let dataset = open_file(path).and_then(|file| file.dataset(name)).map_err(refused)?;
    match dataset.dtype().and_then(|dtype| dtype.to_descriptor()).map_err(refused)? {
        TypeDescriptor::Float(_) => rows(&path.join(name), dataset.read_dyn::<f32>().map_err(refused)?),
        other => Err(unreadable(&path.join(name), FLOATS, other)),
    }
}
