//! ActionFormer's form of MQ: `{clip_uid}.npy` `[rows, dim]`, and a database of clips with their moments.
//!
//! Not for VSGN, which reads `egovlp-pt`. Labels that are not primary are left out, as are moments that hold nothing.
//! ActionFormer's own preparation also drops moments below 0.25 s; here they stay.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::vslnet::cells;
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written, npy};
use crate::ids::ClipUid;
use crate::queries::Queries;
use crate::store::RowKind;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "actionformer-npy",
    about: "{clip_uid}.npy; with queries also ego4d_database.json and classes.json: ActionFormer on MQ",
    takes: Takes { rows: &[RowKind::Window], queries: Need::Optional, tokens: Need::Unused, clips: Need::Optional },
    write,
};

/// Frame rate that the clips of Ego4D are given in.
const CANONICAL_FPS: f64 = 30.0;

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let mut written = Written::default();
    let mut fps: BTreeMap<ClipUid, f64> = BTreeMap::new();
    for entry in source.entries() {
        let features = source.read(entry)?;
        output.file(&format!("{}.npy", features.unit), |file| npy::write(file, &features.values))?;
        written.count(features.meta.len());
        if let Some(clip_uid) = features.clip_uid {
            fps.insert(clip_uid, if features.source_fps > 0.0 { features.source_fps } else { CANONICAL_FPS });
        }
    }
    if let Some(queries) = &job.queries {
        write_database(job, queries, &fps, output, &mut written)?;
    }
    Ok(written)
}

fn write_database(
    job: &Job,
    queries: &Queries,
    fps: &BTreeMap<ClipUid, f64>,
    output: &Output,
    written: &mut Written,
) -> Result<(), ConvertError> {
    let labels = Labels::of(queries)?;
    let classes = match &job.classes {
        Some(path) => read_classes(path)?,
        None => labels.classes(),
    };
    let (mut database, mut absent) = (Map::new(), 0);
    for (clip_uid, clip) in &labels.clips {
        let Some(fps) = fps.get(clip_uid) else {
            absent += 1;
            continue;
        };
        let (_, span) = job.clips.span(clip_uid)?;
        let annotations =
            clip.moments.iter().map(|moment| annotation(job, moment, &classes)).collect::<Result<Vec<_>, _>>()?;
        let record =
            json!({"subset": clip.split, "duration": span.duration_sec(), "fps": fps, "annotations": annotations});
        database.insert(clip_uid.to_string(), record);
    }
    written.notes.extend(labels.notes());
    if absent > 0 {
        written.notes.push(format!("{absent} clips with queries have no features and are left out"));
    }
    output.json("ego4d_database.json", &json!({"version": "ego4d", "database": database}))?;
    output.json("classes.json", &classes)
}

fn annotation(job: &Job, moment: &Moment, classes: &BTreeMap<String, i64>) -> Result<Json, ConvertError> {
    let no_class =
        || ConvertError::NoClass { path: job.classes.clone().unwrap_or_default(), label: moment.label.to_owned() };
    let id = classes.get(moment.label).ok_or_else(no_class)?;
    Ok(json!({"label": moment.label, "segment": moment.segment, "label_id": id}))
}

/// A label with its window in the clip.
struct Moment<'q> {
    label: &'q str,
    segment: [f64; 2],
}

struct Clip<'q> {
    split: &'q str,
    moments: Vec<Moment<'q>>,
}

/// Labels by clip, and how many were left out.
struct Labels<'q> {
    clips: BTreeMap<&'q ClipUid, Clip<'q>>,
    empty: usize,
    secondary: usize,
}

impl<'q> Labels<'q> {
    fn of(queries: &'q Queries) -> Result<Self, ConvertError> {
        let (splits, primary) = (cells(CONSUMER.name, queries, "split")?, cells(CONSUMER.name, queries, "primary")?);
        let mut labels = Self { clips: BTreeMap::new(), empty: 0, secondary: 0 };
        for ((query, split), primary) in queries.iter().zip(splits).zip(primary) {
            let clip = labels.clips.entry(query.clip_uid).or_insert(Clip { split, moments: vec![] });
            match (query.start_sec, query.end_sec) {
                _ if primary == "false" => labels.secondary += 1,
                (Some(start), Some(end)) if end > start => {
                    clip.moments.push(Moment { label: query.text, segment: [start, end] });
                }
                _ => labels.empty += 1,
            }
        }
        Ok(labels)
    }

    /// Numbers from 0, in the order of names: of the classes that occur.
    fn classes(&self) -> BTreeMap<String, i64> {
        let mut names: Vec<&str> = self.clips.values().flat_map(|clip| clip.moments.iter().map(|m| m.label)).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(str::to_owned).zip(0..).collect()
    }

    fn notes(&self) -> impl Iterator<Item = String> {
        let counted = [
            (self.secondary, "labels that are not primary"),
            (self.empty, "labels without a window that holds something"),
        ];
        counted.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what} are left out"))
    }
}

/// Numbers of classes from `moment_classes_idx.json`, which counts the background as 0, or from a file without it.
fn read_classes(path: &Path) -> Result<BTreeMap<String, i64>, ConvertError> {
    let bytes = fs::read(path).map_err(ConvertError::io("read", path))?;
    let refused = |why: String| ConvertError::Classes { path: path.to_owned(), why };
    let mut classes: BTreeMap<String, i64> =
        serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    if let Some(background) = classes.remove("Background") {
        classes.values_mut().for_each(|number| *number -= background + 1);
    }
    Ok(classes)
}
