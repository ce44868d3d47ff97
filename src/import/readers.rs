//! One array `[rows, dim]` out of a file of each kind, and what a file holds before it is read.
//!
//! Not for which file is whose. Axes of length 1 before `[rows, dim]` are a batch's and go. Invariant: nothing in a pickle
//! is run.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use ndarray::{Array2, ArrayD, IxDyn};
use zip::ZipArchive;

use super::ImportError;
use crate::checkpoint::read_one_tensor;
use crate::foreign;
use crate::npy::{Header, Npy, NpyError};

pub(super) const FLOATS: &str = "floating-point numbers";
const NPY: &str = "an .npy of type f2, f4 or f8 with two axes";
const NPZ: &str = "an .npz with an array [rows, dim]";

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
pub(super) fn rows(path: &Path, values: ArrayD<f32>) -> Result<Array2<f32>, ImportError> {
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
    let file = open(path)?;
    zipped(path, NPZ, || members(&mut archive(file)?))
}

/// The array `member` of an `.npz`.
pub(super) fn npz(path: &Path, member: &str) -> Result<Array2<f32>, ImportError> {
    let file = open(path)?;
    rows(path, zipped(path, NPZ, || one(&mut archive(file)?, member))?.to_f32())
}

/// What `read` finds in an archive; errors name the file.
fn zipped<T>(
    path: &Path,
    expected: &'static str,
    read: impl FnOnce() -> Result<T, NpyError>,
) -> Result<T, ImportError> {
    let read = foreign::parse(read).map_err(|panicked| unreadable(path, expected, panicked))?;
    read.map_err(|error| refused(path, expected, error))
}

fn archive<R: Read + Seek>(file: R) -> Result<ZipArchive<R>, NpyError> {
    ZipArchive::new(file).map_err(|error| NpyError::Foreign(error.to_string()))
}

/// The array of a value of a map: an `.npz` or `.npy`.
pub(super) fn value(path: &Path, bytes: &[u8]) -> Result<Array2<f32>, ImportError> {
    let expected = "values that are .npz or .npy";
    if !bytes.starts_with(b"PK") {
        return rows(path, Npy::read(bytes).map_err(|error| refused(path, expected, error))?.to_f32());
    }
    match &zipped(path, expected, || members(&mut archive(Cursor::new(bytes))?))?[..] {
        [member] => rows(path, zipped(path, expected, || one(&mut archive(Cursor::new(bytes))?, member))?.to_f32()),
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
