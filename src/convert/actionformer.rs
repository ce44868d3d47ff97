//! ActionFormer's form of MQ: `{clip_uid}.npy` `[rows, dim]`, and a database of clips with their moments.
//!
//! After `tools/convert_ego4d_trainval.py` and the reader `libs/datasets/ego4d.py` of actionformer_release; splits are called
//! as its Ego4D configurations call them. Not for VSGN, which reads `egovlp-pt`. Labels that are not primary are left out,
//! clips that have no others too, and moments that hold nothing; the original also drops moments below 0.25 s, which stay
//! here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::moments::{Clip, Moments};
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
/// Classes that ActionFormer's configurations for Ego4D ask for: it ends where the database has others.
const NUM_CLASSES: usize = 110;

/// What `train_split` and `val_split` of the configurations call a split.
fn subset(split: &str) -> &str {
    match split {
        "train" => "training",
        "val" => "validation",
        other => other,
    }
}

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
    let mut moments = Moments::of(CONSUMER.name, job, queries)?;
    let empty = leave_out_empty(&mut moments);
    let unlabelled = moments.retain_labelled();
    let classes = moments.classes(job)?;
    let absent = moments.clips.len();
    moments.clips.retain(|clip_uid, _| fps.contains_key(*clip_uid));
    let absent = absent - moments.clips.len();
    let mut database = Map::new();
    for (clip_uid, clip) in &moments.clips {
        let (_, span) = job.clips.span(clip_uid)?;
        let record = json!({
            "subset": subset(clip.split),
            "duration": span.duration_sec(),
            "fps": fps[*clip_uid],
            "annotations": annotations(clip, &classes),
        });
        database.insert(clip_uid.to_string(), record);
    }
    written.notes.extend(moments.notes());
    let counted = [
        (empty, "labels without a window that holds something are left out"),
        (unlabelled, "clips without a primary label are left out"),
        (absent, "clips with queries have no features and are left out"),
    ];
    written.notes.extend(counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    written.notes.extend(other_classes(&moments));
    output.json("ego4d_database.json", &json!({"version": "ego4d", "database": database}))?;
    output.json("classes.json", &classes)
}

/// Takes moments that hold nothing away, and counts them.
fn leave_out_empty(moments: &mut Moments) -> usize {
    let mut empty = 0;
    for clip in moments.clips.values_mut() {
        let all = clip.moments.len();
        clip.moments.retain(|moment| moment.end_sec > moment.start_sec);
        empty += all - clip.moments.len();
    }
    empty
}

fn annotations(clip: &Clip, classes: &BTreeMap<String, i64>) -> Vec<Json> {
    let annotation = |moment: &super::moments::Moment| {
        let id = classes.get(moment.label);
        json!({"label": moment.label, "segment": [moment.start_sec, moment.end_sec], "label_id": id})
    };
    clip.moments.iter().map(annotation).collect()
}

/// A note where ActionFormer's configurations would have to be told another number of classes.
fn other_classes(moments: &Moments) -> Option<String> {
    let labels = moments.clips.values().flat_map(|clip| clip.moments.iter().map(|moment| moment.label));
    let found = labels.collect::<BTreeSet<_>>().len();
    let advice = format!(
        "{found} classes occur, where ActionFormer's configurations ask for num_classes: {NUM_CLASSES}: convert all splits \
         together, or say {found} there"
    );
    (found != NUM_CLASSES).then_some(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_called_as_the_configurations_call_them() {
        assert_eq!(["train", "val", "test", ""].map(subset), ["training", "validation", "test", ""]);
    }
}
