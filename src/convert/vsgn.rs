//! What VSGN wants beside the features: `clip_annotations.json` and `moment_classes_idx.json`.
//!
//! As `MQ/Convert_annotation.py` of Ego4D's episodic memory and `EgoMQ/Convert_annotations.py` of EgoVLPv2 write the first, and
//! the reader `Utils/dataset.py` of both the second where there is none. Windows that hold nothing stay, as there. Not for
//! the features: `egovlp-pt` writes those of clips, for EgoVLP's and EgoVLPv2's VSGN, `ego4d-pt` those of whole videos, for
//! Ego4D's own.

use serde_json::{Map, Value as Json, json};

use super::moments::{BACKGROUND, Clip, Moments, is_of_mq};
use super::{ConvertError, Job, Output, Written};
use crate::ids::ClipUid;
use crate::time::TimeSpan;

/// Default paths of `--clip_anno` and `--moment_classes` end so.
const ANNOTATIONS: &str = "clip_annotations.json";
const CLASSES: &str = "moment_classes_idx.json";

/// The features of a clip, or of the video that it is cut out of.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// How many.
    pub count: usize,
    /// Over how many seconds; of a clip these are its own.
    pub duration_sec: f64,
}

/// Writes both files if the job's queries are MQ's labels; `rows` gives the features of a clip, if there are some.
pub(super) fn write(
    format: &'static str,
    job: &Job,
    output: &Output,
    rows: impl Fn(&ClipUid, TimeSpan) -> Option<Rows>,
    written: &mut Written,
) -> Result<(), ConvertError> {
    let Some(queries) = job.queries.as_ref().filter(|queries| is_of_mq(queries)) else { return Ok(()) };
    let mut moments = Moments::of(format, job, queries)?;
    let unlabelled = moments.retain_labelled();
    let (mut annotated, mut absent) = (Map::new(), 0);
    for (clip_uid, clip) in &moments.clips {
        let (video_uid, span) = job.clips.span(clip_uid)?;
        match rows(clip_uid, span) {
            Some(rows) => {
                annotated.insert(clip_uid.to_string(), record(clip_uid, video_uid.as_str(), span, &rows, clip));
            }
            None => absent += 1,
        }
    }
    let numbered = moments.classes(job)?.into_iter().map(|(name, number)| (name, number + 1));
    let mut classes: Vec<(String, i64)> = std::iter::once((BACKGROUND.to_owned(), 0)).chain(numbered).collect();
    classes.sort_by_key(|(_, number)| *number);
    output.json(ANNOTATIONS, &annotated)?;
    output.json(CLASSES, &classes.into_iter().map(|(name, number)| (name, json!(number))).collect::<Map<_, _>>())?;
    written.notes.extend(moments.notes());
    let counted = [
        (unlabelled, "clips without a primary label are left out of clip_annotations.json"),
        (absent, "clips without features are left out of clip_annotations.json"),
    ];
    written.notes.extend(counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    Ok(())
}

/// The keys of the original, in its order.
fn record(clip_uid: &ClipUid, video_uid: &str, span: TimeSpan, rows: &Rows, clip: &Clip) -> Json {
    let annotations: Vec<Json> = clip.moments.iter().map(|moment| {
        json!({"label": moment.label, "start_time": moment.start_sec, "end_time": moment.end_sec, "primary": true})
    }).collect();
    json!({
        "video_id": video_uid,
        "clip_id": clip_uid,
        "parent_start_sec": span.start_sec,
        "parent_end_sec": span.end_sec,
        "v_duration": rows.duration_sec,
        "fps": rows.count as f64 / rows.duration_sec,
        "annotations": annotations,
        "subset": clip.split,
    })
}
