//! Predictions in the form that a benchmark's server or evaluator takes, and their files.
//!
//! Not for what is predicted. Beside a submission lies the note that says how it is to be scored, so that `egofx eval` gives the
//! scores of the validation.

use std::io::Write;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use ndarray_npy::WriteNpyExt;
use serde_json::Value;

use super::error::HeadError;
use crate::compat::Compat;
use crate::durable::{self, Existing, Partial};
use crate::metric::{EVALUATORS, Scoring};
use crate::shell;

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
    /// [`HeadError::Io`].
    pub fn make(&self, path: &Path) -> Result<(Vec<Partial>, Option<PathBuf>), HeadError> {
        match self {
            Self::Json(value) => Ok((vec![make(path, format!("{value}\n").as_bytes())?], None)),
            Self::Matrix { names, scores, .. } => {
                let mut bytes = Vec::new();
                let refused = |error| HeadError::io("write", path)(std::io::Error::other(error));
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
/// [`HeadError::Io`].
pub fn make(path: &Path, bytes: &[u8]) -> Result<Partial, HeadError> {
    let refused = |error| HeadError::io("write", path)(error);
    let partial = Partial::begin(path).map_err(refused)?;
    partial.fill(refused, |file| file.write_all(bytes).map_err(refused))?;
    Ok(partial)
}

/// Gives all files their names, or none.
///
/// # Errors
/// [`HeadError::Io`].
pub fn commit(files: Vec<Partial>) -> Result<(), HeadError> {
    durable::commit_all(files, Existing::Replace).map_err(|failed| HeadError::io("write", &failed.path)(failed.source))
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// A submission in the official form.
    pub submission: Submission,
    /// Samples that were predicted.
    pub samples: usize,
    /// The evaluator of the benchmark, as `egofx eval` names it.
    pub evaluator: &'static str,
    /// Whether faults of the originals were reproduced, and are to be in the scores.
    pub compat: Compat,
    /// What the predictions are scored with, by the names of the evaluator's inputs.
    pub truths: Vec<(&'static str, PathBuf)>,
    /// Whether something of the annotations was left out.
    pub is_partial: bool,
}

/// What was written of a [`Prediction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The names of a matrix's rows.
    pub names: Option<PathBuf>,
    /// The note that says how the predictions are to be scored.
    pub scoring: PathBuf,
    /// The command that scores them as the validation did, word by word.
    pub command: Vec<String>,
}

impl Written {
    /// The command that scores, as a shell reads it.
    pub fn command_line(&self) -> String {
        shell::line(&self.command)
    }
}

impl Prediction {
    /// Writes the submission to `path`, and beside it the names of its rows, if it has some, and how it is to be scored: all of
    /// them or none.
    ///
    /// # Errors
    /// [`HeadError::Io`], [`HeadError::Metric`].
    pub fn write(&self, path: &Path) -> Result<Written, HeadError> {
        let (mut made, names) = self.submission.make(path)?;
        let mut note = Scoring::of(&made[0].path(), self.evaluator, self.compat)?;
        let mut files = vec![("predictions", path.to_owned())];
        files.extend(self.truths.iter().cloned());
        if let (Submission::Matrix { list, .. }, Some(names)) = (&self.submission, &names) {
            note = note.with_file(list, names);
            files.push((list, names.clone()));
        }
        let scoring = Scoring::path(path);
        made.push(make(&scoring, note.to_json().as_bytes())?);
        commit(made)?;
        Ok(Written { names, scoring, command: self.command(&files) })
    }

    fn command(&self, files: &[(&'static str, PathBuf)]) -> Vec<String> {
        let mut words = vec!["egofx".to_owned(), "eval".to_owned(), self.evaluator.to_owned()];
        for (name, path) in files {
            words.extend([format!("--{name}"), path.display().to_string()]);
        }
        let has_fixes = EVALUATORS.iter().any(|found| found.name == self.evaluator && found.fixes.is_some());
        if has_fixes {
            words.extend(["--compat".to_owned(), self.compat.name().to_owned()]);
        }
        words.extend(self.is_partial.then(|| "--allow-missing".to_owned()));
        words
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
