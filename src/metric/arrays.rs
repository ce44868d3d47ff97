//! Matrices from `.npy` files, and lists of names that say what their rows are.
//!
//! Not for pickled arrays: nothing in a file is ever run. Values of `f32` and `f16` are taken as they are, without rounding.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis, Ix2};

use super::files;
use super::report::Coverage;
use super::{Inputs, MetricError};
use crate::npy::{Npy, NpyError};

/// Reads a matrix of `f64`, `f32` or `f16`.
pub(super) fn read_matrix(path: &Path) -> Result<Array2<f64>, MetricError> {
    let file = File::open(path).map_err(|cause| MetricError::Read { path: path.to_owned(), cause })?;
    let npy = Npy::read(BufReader::with_capacity(1 << 20, file)).map_err(|cause| match cause {
        NpyError::Io(cause) => MetricError::Read { path: path.to_owned(), cause },
        cause => MetricError::Npy { path: path.to_owned(), cause: cause.to_string() },
    })?;
    let shape = || MetricError::Npy { path: path.to_owned(), cause: format!("an array of shape {:?}", npy.shape()) };
    let matrix = npy.to_f64().into_dimensionality::<Ix2>().map_err(|_| shape())?;
    match matrix.iter().position(|value| value.is_nan()) {
        None => Ok(matrix),
        Some(at) => {
            let (row, column) = (at / matrix.ncols(), at % matrix.ncols());
            Err(MetricError::unexpected(path, "numbers only", format!("NaN in row {row}, column {column}")))
        }
    }
}

/// The matrix of a kind with as many columns as expected.
pub(super) fn check_columns(path: &Path, matrix: ArrayView2<f64>, expected: usize) -> Result<(), MetricError> {
    if matrix.ncols() == expected {
        return Ok(());
    }
    Err(MetricError::unexpected(path, format!("{expected} columns"), format!("shape {:?}", matrix.shape())))
}

/// The rows of a matrix in the order of `expected`, by a list of names, one line for each row, or in their given order
/// where there is no such list. A name that occurs twice counts once: loaders that run on several devices repeat the
/// first clips to fill the last batch.
pub(super) struct Rows {
    /// The row of each expected name.
    pub places: Vec<Option<usize>>,
    /// What has no row.
    pub coverage: Coverage,
}

impl Rows {
    pub(super) fn of(
        inputs: &Inputs,
        list: &'static str,
        path: &Path,
        num_rows: usize,
        expected: &[String],
        of: &'static str,
    ) -> Result<Self, MetricError> {
        let names = match inputs.optional(list) {
            Some(list_path) => {
                let names = files::names(list_path)?;
                if names.len() != num_rows {
                    let wanted = format!("{num_rows} names, one for each row of {}", path.display());
                    return Err(MetricError::unexpected(list_path, wanted, format!("{} names", names.len())));
                }
                names
            }
            None if num_rows == expected.len() => expected.to_vec(),
            None => {
                let wanted = format!("{} rows, one for each of the {of}, or --{list}", expected.len());
                return Err(MetricError::unexpected(path, wanted, format!("{num_rows} rows")));
            }
        };
        Ok(Self::by_name(&names, expected, of))
    }

    /// The first row of each expected name.
    fn by_name(names: &[String], expected: &[String], of: &'static str) -> Self {
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (row, name) in names.iter().enumerate() {
            first.entry(name).or_insert(row);
        }
        let mut coverage = Coverage { expected: expected.len(), ..Coverage::new(of) };
        let places: Vec<Option<usize>> = expected.iter().map(|name| first.remove(name.as_str())).collect();
        let missing = places.iter().zip(expected).filter(|(place, _)| place.is_none());
        missing.for_each(|(_, name)| coverage.missing.add(name));
        coverage.answered = expected.len() - coverage.missing.count;
        let mut unknown: Vec<(usize, &str)> = first.into_iter().map(|(name, row)| (row, name)).collect();
        unknown.sort_unstable();
        unknown.into_iter().for_each(|(_, name)| coverage.unknown.add(name));
        Self { places, coverage }
    }

    /// The expected rows that are there, in order.
    pub(super) fn select(&self, matrix: ArrayView2<f64>) -> Array2<f64> {
        let rows: Vec<usize> = self.places.iter().flatten().copied().collect();
        matrix.select(Axis(0), &rows)
    }

    /// The numbers of the expected names that are there.
    pub(super) fn kept(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|&number| self.places[number].is_some()).collect()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn rows_are_found_by_name_and_the_first_of_a_repeated_one_counts() {
        let rows = Rows::by_name(&names(&["c", "a", "c", "x"]), &names(&["a", "b", "c"]), "clips");
        assert_eq!(rows.places, [Some(1), None, Some(0)]);
        assert_eq!(rows.select(array![[0.0], [1.0], [2.0], [3.0]].view()), array![[1.0], [0.0]]);
        assert_eq!(rows.kept(), [0, 2]);
        assert_eq!(rows.coverage.to_string(), "2 of 3 clips, missing 1 (b), unknown 1 (x)");
    }

    #[test]
    fn both_kinds_of_floats_are_read_and_nan_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        ndarray_npy::write_npy(&path, &array![[0.1f32, 2.0]]).unwrap();
        assert_eq!(read_matrix(&path).unwrap(), array![[f64::from(0.1f32), 2.0]]);
        ndarray_npy::write_npy(&path, &array![[0.1f64, f64::NAN]]).unwrap();
        assert!(read_matrix(&path).unwrap_err().to_string().ends_with("found NaN in row 0, column 1"));
        let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2), }\n";
        let start = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
        let elements: Vec<u8> = [0.5, 2.0].iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
        std::fs::write(&path, [start, elements].concat()).unwrap();
        assert_eq!(read_matrix(&path).unwrap(), array![[0.5, 2.0]]);
        ndarray_npy::write_npy(&path, &array![1.0f64, 2.0]).unwrap();
        let text = read_matrix(&path).unwrap_err().to_string();
        assert!(text.contains("m.npy: no .npy matrix of floats: "), "{text}");
    }
}
