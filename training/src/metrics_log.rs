//! What a run notes as it goes: one JSON line for each measurement, and the same for TensorBoard.
//!
//! Not for checkpoints. A run that goes on from a checkpoint first forgets the lines behind it, so that the file reads as
//! if the run had never been interrupted; TensorBoard's files are only ever added to.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use egofx::durable;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::TrainError;
use crate::tensorboard::EventWriter;

/// The file of JSON lines.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in epochs.
    pub epoch: f64,
    /// After how many steps.
    pub step: u64,
    /// `train` or `val`.
    pub split: String,
    /// Names and values; a value that is no number is null.
    pub metrics: Map<String, Value>,
}

impl Entry {
    /// Of these values.
    pub fn new(epoch: f64, step: u64, split: &str, values: &[(String, f64)]) -> Self {
        let metrics = values.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect();
        Self { epoch, step, split: split.to_owned(), metrics }
    }
}

/// The notes of one run.
pub struct MetricsLog {
    path: PathBuf,
    lines: File,
    events: EventWriter,
}

impl MetricsLog {
    /// In `folder`; lines behind `step` are forgotten, and all of them where a run begins anew.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn open(folder: &Path, step: u64) -> Result<Self, TrainError> {
        let path = folder.join(METRICS_FILE);
        let mut kept: Vec<Entry> = if path.is_file() { read(&path)? } else { vec![] };
        kept.retain(|entry| step > 0 && entry.step <= step);
        let text: String = kept.iter().map(line).collect();
        durable::write_bytes(&path, text.as_bytes()).map_err(TrainError::io("write", &path))?;
        let lines = fs::OpenOptions::new().append(true).open(&path).map_err(TrainError::io("open", &path))?;
        let events = EventWriter::create(folder).map_err(TrainError::io("create TensorBoard's events in", folder))?;
        Ok(Self { path, lines, events })
    }

    /// Notes a measurement.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn note(&mut self, entry: &Entry) -> Result<(), TrainError> {
        self.lines.write_all(line(entry).as_bytes()).map_err(TrainError::io("write", &self.path))?;
        for (name, value) in &entry.metrics {
            let value = value.as_f64().unwrap_or(f64::NAN) as f32;
            let tag = format!("{}/{name}", entry.split);
            let noted = self.events.scalar(&tag, entry.step, value);
            noted.map_err(TrainError::io("write", self.events.path()))?;
        }
        Ok(())
    }
}

fn line(entry: &Entry) -> String {
    serde_json::to_string(entry).unwrap_or_default() + "\n"
}

/// The measurements in a file; a last line that was cut off is left out.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::Unexpected`] for a line that is no measurement.
pub fn read(path: &Path) -> Result<Vec<Entry>, TrainError> {
    let text = fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            TrainError::unexpected(path, format!("a measurement in line {}", number + 1), error.to_string())
        })
    };
    whole.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_forgets_what_was_behind_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let note = |metrics_log: &mut MetricsLog, step: u64, value: f64| {
            metrics_log.note(&Entry::new(step as f64 / 2.0, step, "train", &[("loss".into(), value)])).unwrap();
        };
        let mut metrics_log = MetricsLog::open(folder.path(), 0).unwrap();
        (1..=4).for_each(|step| note(&mut metrics_log, step, f64::from(step as u32)));
        drop(metrics_log);
        let path = folder.path().join(METRICS_FILE);
        let mut cut = fs::read_to_string(&path).unwrap();
        cut.push_str("{\"epoch\": 9");
        fs::write(&path, cut).unwrap();
        let mut metrics_log = MetricsLog::open(folder.path(), 2).unwrap();
        note(&mut metrics_log, 3, f64::NAN);
        let entries = read(&path).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.step).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(entries[2].metrics["loss"].is_null());
        drop(metrics_log);
        let events = fs::read_dir(folder.path()).unwrap().filter_map(Result::ok);
        let events = events.filter(|file| file.file_name().to_string_lossy().contains("tfevents"));
        assert!(events.map(|file| file.metadata().unwrap().len()).all(|bytes| bytes > 40));
    }
}
