//! MQ's labels by clip, out of the table of queries: what the forms of ActionFormer and VSGN are made of.
//!
//! Only primary labels, as both originals: one of which nobody says whether it is primary is not. Not for what becomes of
//! windows that hold nothing, in which the two differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{ConvertError, Job};
use crate::benchmark::mq;
use crate::ids::ClipUid;
use crate::labels::{cells, records_of};
use crate::queries::Queries;

/// What VSGN calls class 0.
pub(super) const BACKGROUND: &str = "Background";
/// The split whose labels are not published.
pub(super) const TEST: &str = "test";

/// A label with its window in the clip, in seconds.
pub(super) struct Moment<'q> {
    pub label: &'q str,
    pub start_sec: f64,
    pub end_sec: f64,
}

/// A clip with its primary labels, in the order of the table.
pub(super) struct Clip<'q> {
    pub split: &'q str,
    pub moments: Vec<Moment<'q>>,
}

/// The clips of the table, and those of the test split that the manifest lists.
pub(super) struct Moments<'q> {
    pub clips: BTreeMap<&'q ClipUid, Clip<'q>>,
    /// Labels that are not primary.
    secondary: usize,
    /// Labels without a window.
    open: usize,
}

/// Whether a table is of MQ's labels.
pub(super) fn is_of_mq(queries: &Queries) -> bool {
    queries.column("primary").is_some()
}

impl<'q> Moments<'q> {
    /// Of the table, for the consumer `format`.
    ///
    /// # Errors
    /// [`ConvertError::Labels`] if the table lacks a column, or does not say of a label whether it is primary.
    pub fn of(format: &'static str, job: &'q Job, queries: &'q Queries) -> Result<Self, ConvertError> {
        let splits = cells(format, queries, "split")?;
        let labels: Vec<mq::Moment> = records_of(format, queries, &["primary"])?;
        let mut found = Self { clips: BTreeMap::new(), secondary: 0, open: 0 };
        for ((query, split), label) in queries.iter().zip(splits).zip(labels) {
            let clip = found.clips.entry(query.clip_uid).or_insert(Clip { split, moments: vec![] });
            match (query.start_sec, query.end_sec) {
                _ if label.primary != Some(true) => found.secondary += 1,
                (Some(start_sec), Some(end_sec)) => {
                    clip.moments.push(Moment { label: query.text, start_sec, end_sec });
                }
                _ => found.open += 1,
            }
        }
        for clip_uid in job.clips.of_split(TEST) {
            found.clips.entry(clip_uid).or_insert(Clip { split: TEST, moments: vec![] });
        }
        Ok(found)
    }

    /// Leaves out clips without a label, but for those of the test split, as both originals do.
    pub fn retain_labelled(&mut self) -> usize {
        let all = self.clips.len();
        self.clips.retain(|_, clip| clip.split == TEST || !clip.moments.is_empty());
        all - self.clips.len()
    }

    /// Numbers of the classes: from 0 in the order of the names that occur, or as the job's file says.
    ///
    /// # Errors
    /// [`ConvertError::Classes`], [`ConvertError::NoClass`].
    pub fn classes(&self, job: &Job) -> Result<BTreeMap<String, i64>, ConvertError> {
        let names: Vec<&str> = self.clips.values().flat_map(|clip| clip.moments.iter().map(|m| m.label)).collect();
        let Some(path) = &job.classes else {
            let mut names = names;
            names.sort_unstable();
            names.dedup();
            return Ok(names.into_iter().map(str::to_owned).zip(0..).collect());
        };
        let classes = read_classes(path)?;
        match names.into_iter().find(|name| !classes.contains_key(*name)) {
            Some(label) => Err(ConvertError::NoClass { path: path.clone(), label: label.to_owned() }),
            None => Ok(classes),
        }
    }

    /// What was left out of the table.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let counted = [(self.secondary, "labels that are not primary"), (self.open, "labels without a window")];
        counted.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what} are left out"))
    }
}

/// Numbers of classes from `moment_classes_idx.json`, which counts the background as 0, or from a file without it.
fn read_classes(path: &Path) -> Result<BTreeMap<String, i64>, ConvertError> {
    let bytes = fs::read(path).map_err(ConvertError::io("read", path))?;
    let refused = |why: String| ConvertError::Classes { path: path.to_owned(), why };
    let mut classes: BTreeMap<String, i64> =
        serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    if let Some(background) = classes.remove(BACKGROUND) {
        classes.values_mut().for_each(|number| *number -= background + 1);
    }
    Ok(classes)
}
