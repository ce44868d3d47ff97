//! How predictions are to be scored: a JSON file beside them, written by what predicts and read by `egofx eval`.
//!
//! A submission has the form that a server takes, and no place for a note of ours; without one, predictions of a model that
//! was validated by `fixed` were scored as released, which for multi-instance retrieval is another number altogether. The
//! note of `mir.npy` is `mir.npy.scoring.json`:
//!
//! ```json
//! {"benchmark": "mir", "compat": "fixed", "sha256": "...", "files": {"clip-ids": "mir.ids"}}
//! ```
//!
//! Invariant: a note that does not describe the predictions beside it, or that contradicts what was asked for, is an error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Compat, Evaluator, Inputs, MetricError};
use crate::digest;

/// The name of the file of predictions among an evaluator's inputs.
const PREDICTIONS: &str = "predictions";

/// What the note beside predictions holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
    /// The evaluator's name.
    pub benchmark: String,
    /// Whether faults of the original evaluator are reproduced, as in the validation of the model.
    pub compat: Compat,
    /// SHA-256 of the predictions, in lower-case hexadecimal.
    pub sha256: String,
    /// Further inputs of the evaluator that were written with the predictions, by their names as typed (`clip-ids`); paths
    /// are relative to the folder of the predictions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl Scoring {
    /// The note of the file at `predictions`, which is read for its digest.
    ///
    /// # Errors
    /// [`MetricError::Read`].
    pub fn of(predictions: &Path, benchmark: &str, compat: Compat) -> Result<Self, MetricError> {
        Ok(Self { benchmark: benchmark.to_owned(), compat, sha256: sha256(predictions)?, files: BTreeMap::new() })
    }

    /// With a further input `name`, a file in the same folder as the predictions.
    #[must_use]
    pub fn with_file(mut self, name: &str, path: &Path) -> Self {
        let file_name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        self.files.insert(name.to_owned(), file_name);
        self
    }

    /// Where the note of `predictions` lies: the same name with `.scoring.json` behind it.
    pub fn path(predictions: &Path) -> PathBuf {
        let mut name = OsString::from(predictions);
        name.push(".scoring.json");
        PathBuf::from(name)
    }

    /// The note as text: one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a derived Serialize of plain data") + "\n"
    }

    /// The note beside `predictions`; `None` where there is none, as beside everybody else's predictions.
    ///
    /// # Errors
    /// [`MetricError::Read`]; [`MetricError::Unexpected`] where it is no note, or the note of another file.
    pub fn beside(predictions: &Path) -> Result<Option<Self>, MetricError> {
        let path = Self::path(predictions);
        if !predictions.is_file() || !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path).map_err(|cause| MetricError::Read { path: path.clone(), cause })?;
        let form = "{\"benchmark\", \"compat\", \"sha256\", \"files\"}, how predictions are to be scored";
        let scoring: Self =
            serde_json::from_str(&text).map_err(|cause| MetricError::unexpected(&path, form, cause.to_string()))?;
        let found = sha256(predictions)?;
        if found != scoring.sha256 {
            let expected = format!("the SHA-256 of {}, {found}", predictions.display());
            let found = format!("{}: predict again, or remove this file", scoring.sha256);
            return Err(MetricError::unexpected(&path, expected, found));
        }
        Ok(Some(scoring))
    }
}

fn sha256(path: &Path) -> Result<String, MetricError> {
    let digest = digest::file(path).map_err(|cause| MetricError::Read { path: path.to_owned(), cause })?;
    Ok(digest.1)
}

impl Inputs {
    /// These inputs, completed by the note beside the predictions, if there is one. `asked` is the compatibility that a person
    /// chose; without either it is as released.
    ///
    /// # Errors
    /// A note of another benchmark or of other predictions; a choice or a file that contradicts it.
    pub fn completed(mut self, evaluator: &Evaluator, asked: Option<Compat>) -> Result<Self, MetricError> {
        self.compat = asked.unwrap_or(Compat::AsReleased);
        let Some(predictions) = self.optional(PREDICTIONS).map(Path::to_owned) else { return Ok(self) };
        let Some(scoring) = Scoring::beside(&predictions)? else { return Ok(self) };
        let note = Scoring::path(&predictions);
        if scoring.benchmark != evaluator.name {
            let expected = format!("predictions for {}", evaluator.name);
            return Err(MetricError::unexpected(&note, expected, format!("some for {}", scoring.benchmark)));
        }
        if let Some(asked) = asked.filter(|asked| evaluator.fixes.is_some() && *asked != scoring.compat) {
            let expected = format!("predictions to be scored by --compat {}, as asked for", asked.name());
            let found = format!("{:?}: leave --compat out, or remove this file", scoring.compat.name());
            return Err(MetricError::unexpected(&note, expected, found));
        }
        self.compat = scoring.compat;
        for (name, file) in &scoring.files {
            self = self.with_recorded(&note, name, &predictions.with_file_name(file))?;
        }
        Ok(self)
    }

    /// With the file that a note names, unless it was given.
    fn with_recorded(self, note: &Path, name: &str, recorded: &Path) -> Result<Self, MetricError> {
        let Some(given) = self.optional(name) else { return Ok(self.file(name, recorded)) };
        if given == recorded || sha256(given)? == sha256(recorded)? {
            return Ok(self);
        }
        let expected = format!("--{name} to hold what {} holds", given.display());
        let found = format!("other lines in {}: leave --{name} out, or remove this file", recorded.display());
        Err(MetricError::unexpected(note, expected, found))
    }
}

#[cfg(test)]
mod tests {
    use super::super::EVALUATORS;
    use super::*;

    fn evaluator(name: &str) -> &'static Evaluator {
        EVALUATORS.iter().find(|evaluator| evaluator.name == name).unwrap()
    }

    /// A folder with predictions and their note.
    fn shop(compat: Compat) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let predictions = folder.path().join("mir.npy");
        std::fs::write(&predictions, "predictions").unwrap();
        std::fs::write(folder.path().join("mir.ids"), "a\nb\n").unwrap();
        let scoring = Scoring::of(&predictions, "mir", compat).unwrap().with_file("clip-ids", Path::new("x/mir.ids"));
        std::fs::write(Scoring::path(&predictions), scoring.to_json()).unwrap();
        (folder, predictions)
    }

    fn inputs(predictions: &Path) -> Inputs {
        Inputs::default().file("predictions", predictions)
    }

    #[test]
    fn predictions_are_scored_as_their_note_says() {
        let (folder, predictions) = shop(Compat::Fixed);
        assert!(Scoring::path(&predictions).ends_with("mir.npy.scoring.json"));
        for asked in [None, Some(Compat::Fixed)] {
            let inputs = inputs(&predictions).completed(evaluator("mir"), asked).unwrap();
            assert_eq!(inputs.compat, Compat::Fixed);
            assert_eq!(inputs.optional("clip-ids"), Some(folder.path().join("mir.ids").as_path()));
        }
        std::fs::remove_file(Scoring::path(&predictions)).unwrap();
        for (asked, expected) in [(None, Compat::AsReleased), (Some(Compat::Fixed), Compat::Fixed)] {
            assert_eq!(inputs(&predictions).completed(evaluator("mir"), asked).unwrap().compat, expected);
        }
    }

    #[test]
    fn what_contradicts_the_note_is_refused_with_the_remedy() {
        let (folder, predictions) = shop(Compat::Fixed);
        let refused =
            |inputs: Inputs, name: &str, asked| inputs.completed(evaluator(name), asked).unwrap_err().to_string();
        let text = refused(inputs(&predictions), "mir", Some(Compat::AsReleased));
        assert!(
            text.contains("mir.npy.scoring.json: expected predictions to be scored by --compat as-released"),
            "{text}"
        );
        assert!(text.ends_with("found \"fixed\": leave --compat out, or remove this file"), "{text}");
        let text = refused(inputs(&predictions), "charades", None);
        assert!(text.ends_with("expected predictions for charades, found some for mir"), "{text}");
        let other = folder.path().join("other.ids");
        std::fs::write(&other, "a\nb\n").unwrap();
        assert!(inputs(&predictions).file("clip-ids", &other).completed(evaluator("mir"), None).is_ok());
        std::fs::write(&other, "b\na\n").unwrap();
        let text = refused(inputs(&predictions).file("clip-ids", &other), "mir", None);
        assert!(text.contains("leave --clip-ids out"), "{text}");
        std::fs::write(&predictions, "other predictions").unwrap();
        let text = refused(inputs(&predictions), "mir", None);
        assert!(text.contains("expected the SHA-256 of") && text.ends_with("or remove this file"), "{text}");
        std::fs::write(Scoring::path(&predictions), "{}").unwrap();
        assert!(refused(inputs(&predictions), "mir", None).contains("expected {\"benchmark\""));
    }
}
