//! Ego4D's official layout: `{video_uid}.pt` for whole videos, and the clips that its NLQ baseline cuts out of them.
//!
//! Not for features of clips. A clip has the rows `trunc(start * fps)..=trunc(end * fps)` of its video, one more than its
//! length says, as the baseline's preparation takes them. With MQ's labels, the two files of annotations that its VSGN wants
//! are written too.

use std::collections::HashMap;

use ndarray::s;
use serde_json::{Map, Value as Json};

use super::egovlp::{SHAPES, tensor, tensor_of};
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written, vsgn};
use crate::checkpoint::Value;
use crate::features::Features;
use crate::ids::{ClipUid, VideoUid};
use crate::store::RowKind;
use crate::time::TimeSpan;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "ego4d-pt",
    about: "{video_uid}.pt of whole videos; with a manifest also clips/{clip_uid}.pt and feature_shapes.json; with MQ's \
            labels also clip_annotations.json and moment_classes_idx.json",
    takes: Takes { rows: &[RowKind::Window], queries: Need::Optional, tokens: Need::Unused, clips: Need::Optional },
    write,
};

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let clips = job.clips.by_video();
    let (mut written, mut shapes) = (Written::default(), Map::new());
    let mut videos: HashMap<VideoUid, vsgn::Rows> = HashMap::new();
    for entry in source.entries() {
        let features = source.read(entry)?;
        if features.span.is_some() {
            let (path, format) = (source.path().to_owned(), CONSUMER.name);
            return Err(ConvertError::NotWhole { path, format, unit: features.unit });
        }
        output.torch(&format!("{}.pt", features.video_uid), &tensor(&features))?;
        written.count(features.meta.len());
        let last_sec = features.meta.last().map_or(0.0, |row| row.end_sec);
        let duration_sec = job.clips.duration_sec(&features.video_uid).unwrap_or(last_sec);
        videos.insert(features.video_uid.clone(), vsgn::Rows { count: features.meta.len(), duration_sec });
        for (clip_uid, span) in clips.get(&features.video_uid).into_iter().flatten() {
            let rows = cut(&features, clip_uid, *span, source.rows_per_sec())?;
            shapes.insert(clip_uid.to_string(), Json::from(rows.len()));
            let part = features.values.slice(s![rows, ..]).to_owned();
            output.torch(&format!("clips/{clip_uid}.pt"), &Value::Tensor(tensor_of(&part)))?;
        }
    }
    if !clips.is_empty() {
        written.notes.push(format!("{} clips cut out of their videos", shapes.len()));
        let absent = clips.values().map(Vec::len).sum::<usize>() - shapes.len();
        if absent > 0 {
            written.notes.push(format!("{absent} clips of videos that have no features"));
        }
        output.json(&format!("clips/{SHAPES}"), &shapes)?;
    }
    let rows = |clip_uid: &ClipUid, _: TimeSpan| {
        let (video_uid, _) = job.clips.span(clip_uid).ok()?;
        videos.get(video_uid).copied()
    };
    vsgn::write(CONSUMER.name, job, output, rows, &mut written)?;
    Ok(written)
}

/// The rows of a clip.
fn cut(
    features: &Features,
    clip_uid: &ClipUid,
    span: TimeSpan,
    fps: f64,
) -> Result<std::ops::Range<usize>, ConvertError> {
    let rows = features.meta.len();
    // Annotations may begin a hundredth of a second before their video does.
    let at = |sec: f64| (sec * fps).max(0.0) as usize;
    let (from, to) = (at(span.start_sec), at(span.end_sec));
    if from >= rows {
        let (clip_uid, video_uid) = (clip_uid.clone(), features.video_uid.to_string());
        return Err(ConvertError::Outside { clip_uid, video_uid, from, to, rows });
    }
    Ok(from..(to + 1).min(rows))
}
