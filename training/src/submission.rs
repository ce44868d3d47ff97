//! Predictions in the form that a benchmark's server or evaluator takes, and their files.
//!
//! Not for what is predicted.

use std::path::{Path, PathBuf};

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
    /// Writes it to `path`, and the names of a matrix's rows, one on each line, to the path that is returned: the same with
    /// the ending `.ids`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write(&self, path: &Path) -> Result<Option<PathBuf>, TrainError> {
        match self {
            Self::Json(value) => {
                std::fs::write(path, format!("{value}\n")).map_err(TrainError::io("write", path))?;
                Ok(None)
            }
            Self::Matrix { names, scores, .. } => {
                let mut bytes = Vec::new();
                let refused = |error| TrainError::io("write", path)(std::io::Error::other(error));
                scores.write_npy(&mut bytes).map_err(refused)?;
                std::fs::write(path, bytes).map_err(TrainError::io("write", path))?;
                let beside = path.with_extension("ids");
                let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
                std::fs::write(&beside, lines).map_err(TrainError::io("write", &beside))?;
                Ok(Some(beside))
            }
        }
    }
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
        let beside = submission.write(&path).unwrap().unwrap();
        assert_eq!(ndarray_npy::read_npy::<_, Array2<f32>>(&path).unwrap(), scores);
        assert_eq!(
            (beside.file_name().unwrap(), std::fs::read_to_string(&beside).unwrap()),
            ("scores.ids".as_ref(), "a\nb\n".into())
        );
        let text = folder.path().join("x.json");
        assert_eq!(Submission::from(serde_json::json!({"a": 1})).write(&text).unwrap(), None);
        assert_eq!(std::fs::read_to_string(&text).unwrap(), "{\"a\":1}\n");
        let error = submission.write(&folder.path().join("none/x.npy")).unwrap_err().to_string();
        assert!(error.contains("none/x.npy"), "{error}");
    }
}
