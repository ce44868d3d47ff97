//! Proposals as files: a folder of VSGN's tables, or JSON like a submission's track.
//!
//! Not for suppression. Classes are numbers here; their names come from the file of classes, or from the JSON itself.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::mq::{Annotations, ClipDetections, Submission};
use super::super::{Coverage, MetricError, Window, files};
use super::Proposal;
use crate::benchmark::Tally;
use crate::benchmark::json::Pairs;
use crate::benchmark::table::{Row, Table};

/// What VSGN calls class 0.
pub const BACKGROUND: &str = "Background";

/// The proposals of all clips.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proposals {
    /// Names of the classes by their numbers; the first is background.
    pub classes: Vec<String>,
    /// Proposals by clip.
    clips: HashMap<String, Vec<Proposal>>,
    /// Clips in the order of the files.
    order: Vec<String>,
}

impl Proposals {
    /// Of clips, each with its uid; `classes` are the classes' names by number, background first.
    pub fn new(classes: Vec<String>, clips: impl IntoIterator<Item = (String, Vec<Proposal>)>) -> Self {
        let mut proposals = Self { classes, ..Self::default() };
        clips.into_iter().for_each(|(clip_uid, rows)| proposals.insert(clip_uid, rows));
        proposals
    }

    /// Reads a folder of `<clip_uid>.csv` (`xmin,xmax,score,label`: seconds and the class's number, for which
    /// `moment_classes_idx.json` is needed), or a JSON file (`{"results": {clip_uid: [{"label", "score",
    /// "segment"}]}}`).
    ///
    /// # Errors
    /// [`MetricError`] for files that cannot be read, or that hold something else.
    pub fn read(path: &Path, classes: Option<&Path>) -> Result<Self, MetricError> {
        let names = classes.map(read_classes).transpose()?;
        match path.is_dir() {
            true => {
                let names = names.ok_or(MetricError::Missing {
                    name: "classes",
                    about: "The names of the classes that the tables number: moment_classes_idx.json.",
                })?;
                Self::from_folder(path, names)
            }
            false => Ok(Self::from_tracks(Submission::read(path, None)?.detected, names)),
        }
    }

    fn from_folder(root: &Path, classes: Vec<String>) -> Result<Self, MetricError> {
        let error = |cause| MetricError::Read { path: root.to_owned(), cause };
        let entries = fs::read_dir(root).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(error)?;
        let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path| files::is_of(path, "csv"));
        paths.sort();
        if paths.is_empty() {
            return Err(MetricError::unexpected(root, "tables named CLIP_UID.csv", "none"));
        }
        let mut proposals = Self { classes, ..Self::default() };
        for path in paths {
            let rows = read_table(&path, proposals.classes.len())?;
            proposals.insert(path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), rows);
        }
        Ok(proposals)
    }

    /// Labels that no class is named after become classes of their own.
    fn from_tracks(track: Vec<ClipDetections>, classes: Option<Vec<String>>) -> Self {
        let classes = classes.unwrap_or_else(|| vec![BACKGROUND.to_owned()]);
        let mut numbers: HashMap<String, usize> = classes.iter().cloned().zip(0..).collect();
        let mut proposals = Self { classes, ..Self::default() };
        for ClipDetections { clip_uid, detections } in track {
            let number = |label: String| {
                *numbers.entry(label.clone()).or_insert_with(|| {
                    proposals.classes.push(label);
                    proposals.classes.len() - 1
                })
            };
            let classes: Vec<usize> = detections.iter().map(|listed| listed.label.clone()).map(number).collect();
            let rows = detections.iter().zip(classes);
            let rows = rows.map(|(listed, class)| Proposal { window: listed.segment, score: listed.score, class });
            let rows = rows.collect();
            proposals.insert(clip_uid, rows);
        }
        proposals
    }

    fn insert(&mut self, clip_uid: String, rows: Vec<Proposal>) {
        self.order.push(clip_uid.clone());
        self.clips.insert(clip_uid, rows);
    }

    /// The proposals of a clip; none where there is no file.
    pub fn of_clip(&self, clip_uid: &str) -> &[Proposal] {
        self.clips.get(clip_uid).map(Vec::as_slice).unwrap_or_default()
    }

    /// The number of a class.
    pub fn class(&self, name: &str) -> Option<usize> {
        self.classes.iter().position(|class| class == name)
    }
}

/// Names of the classes by number, out of `{name: number}` (`moment_classes_idx.json`).
///
/// # Errors
/// [`MetricError::Unexpected`] if a number from 0 on has no name, or has two; [`MetricError::Malformed`].
pub fn read_classes(path: &Path) -> Result<Vec<String>, MetricError> {
    let listed: Pairs<usize> = files::read_json(path)?;
    let mut names: Vec<(usize, String)> = listed.0.into_iter().map(|(name, number)| (number, name)).collect();
    names.sort();
    match names.iter().enumerate().find(|(place, (number, _))| place != number) {
        None => Ok(names.into_iter().map(|(_, name)| name).collect()),
        Some((place, (number, name))) => Err(MetricError::unexpected(
            path,
            format!("a class for each number, {place} next"),
            format!("{name:?}: {number}"),
        )),
    }
}

fn read_table(path: &Path, num_classes: usize) -> Result<Vec<Proposal>, MetricError> {
    let mut table = Table::open(path, b',')?;
    let columns = [table.column("xmin")?, table.column("xmax")?, table.column("score")?, table.column("label")?];
    let mut tally = Tally::default();
    let mut rows = Vec::new();
    while let Some(row) = table.next(&mut tally)? {
        rows.push(proposal(path, &row, columns, num_classes)?);
    }
    match tally.dropped.first() {
        None => Ok(rows),
        Some(finding) => Err(MetricError::unexpected(path, "rows like the header", finding.to_string())),
    }
}

fn proposal(path: &Path, row: &Row<'_>, columns: [usize; 4], num_classes: usize) -> Result<Proposal, MetricError> {
    let [start, end, score, class] = columns.map(|column| row.number(column));
    let numbers = start.zip(end).zip(score).zip(class);
    let known = numbers.filter(|(_, class)| *class >= 0.0 && *class < num_classes as f64);
    let error = || {
        let found = columns.map(|column| row.cell(column)).join(",");
        MetricError::unexpected(
            path,
            format!("three numbers and a class below {num_classes} in row {}", row.number),
            found,
        )
    };
    let (((start, end), score), class) = known.ok_or_else(error)?;
    Ok(Proposal { window: Window::new(start, end), score, class: class as usize })
}

/// Clips that have proposals, that lack them, and that are not annotated.
pub(super) fn coverage(proposals: &Proposals, annotations: &Annotations) -> Coverage {
    let mut coverage = Coverage { expected: annotations.clips.len(), ..Coverage::new("clips") };
    for clip in &annotations.clips {
        match proposals.clips.contains_key(&clip.clip_uid) {
            true => coverage.answered += 1,
            false => coverage.missing.add(&clip.clip_uid),
        }
    }
    let known: HashSet<&str> = annotations.clips.iter().map(|clip| clip.clip_uid.as_str()).collect();
    let unknown = proposals.order.iter().filter(|clip_uid| !known.contains(clip_uid.as_str()));
    unknown.for_each(|clip_uid| coverage.unknown.add(clip_uid));
    coverage
}

/// A submission as the challenge wants it.
pub fn submission_json(submission: &Submission) -> Value {
    let track = |track: &[ClipDetections]| -> Map<String, Value> {
        track.iter().map(|clip| (clip.clip_uid.clone(), json!(clip.detections))).collect()
    };
    json!({
        "version": "1.0",
        "challenge": "ego4d_moment_queries",
        "detect_results": track(&submission.detected),
        "retrieve_results": track(&submission.retrieved),
    })
}
