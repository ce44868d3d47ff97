//! Predictions in the form that a benchmark's server or evaluator takes, and their files.
//!
//! Not for what is predicted.

use std::io::Write;
use std::path::{Path, PathBuf};

use egofx::durable::{self, Existing, Partial};
use egofx::ndarray::Array2;
use ndarray_npy::WriteNpyExt;
use serde_json::Value;

use crate::error::TrainError;

/// What is handed in.
#[derive(Debug, Clone, PartialEq)]
pub enum Submission {
    /// As JSON.
    Json(Value),
    /// A matrix with a row for each sample that could be read, as .npy, and the names of the rows.
    Matrix {
        /// What the evaluator calls the list of the names: `clip-ids`.
        list: &'static str,
        /// One name for each row.
        names: Vec<String>,
        /// The scores.
        scores: Array2<f32>,
    },
}

impl From<Value> for Submission {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl Submission {
    /// Its files: what is handed in for `path`, and the names of a matrix's rows, one on each line, for the path that is
    /// returned: the same with the ending `.ids`. They get their names when they are committed.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn make(&self, path: &Path) -> Result<(Vec<Partial>, Option<PathBuf>), TrainError> {
        match self {
            Self::Json(value) => Ok((vec![make(path, format!("{value}\n").as_bytes())?], None)),
            Self::Matrix { names, scores, .. } => {
                let mut bytes = Vec::new();
                let refused = |error| TrainError::io("write", path)(std::io::Error::other(error));
                scores.write_npy(&mut bytes).map_err(refused)?;
                let beside = path.with_extension("ids");
                let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
                Ok((vec![make(path, &bytes)?, make(&beside, lines.as_bytes())?], Some(beside)))
            }
        }
    }
}

/// A file that gets its name `path` when it is committed.
///
/// # Errors
/// [`TrainError::Io`].
pub fn make(path: &Path, bytes: &[u8]) -> Result<Partial, TrainError> {
    let refused = |error| TrainError::io("write", path)(error);
    let partial = Partial::begin(path).map_err(refused)?;
    partial.fill(refused, |file| file.write_all(bytes).map_err(refused))?;
    Ok(partial)
}

/// Gives all files their names, or none.
///
/// # Errors
/// [`TrainError::Io`].
pub fn commit(files: Vec<Partial>) -> Result<(), TrainError> {
    durable::commit_all(files, Existing::Replace).map_err(|failed| TrainError::io("write", &failed.path)(failed.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_has_the_names_of_its_rows_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.npy");
        let scores = Array2::from_shape_fn((2, 3), |(row, column)| (row * 3 + column) as f32);
        let submission =
            Submission::Matrix { list: "clip-ids", names: vec!["a".into(), "b".into()], scores: scores.clone() };
        let (made, beside) = submission.make(&path).unwrap();
        assert!(!path.exists(), "not before all of them are there");
        commit(made).unwrap();
        let beside = beside.unwrap();
        assert_eq!(ndarray_npy::read_npy::<_, Array2<f32>>(&path).unwrap(), scores);
        assert_eq!(
            (beside.file_name().unwrap(), std::fs::read_to_string(&beside).unwrap()),
            ("scores.ids".as_ref(), "a\nb\n".into())
        );
        let text = folder.path().join("x.json");
        let (made, beside) = Submission::from(serde_json::json!({"a": 1})).make(&text).unwrap();
        commit(made).unwrap();
        assert_eq!(beside, None);
        assert_eq!(std::fs::read_to_string(&text).unwrap(), "{\"a\":1}\n");
        let error = submission.make(&text.join("x.npy")).unwrap_err().to_string();
        assert!(error.contains("x.json/x.npy"), "{error}");
    }
}
