//! SnAG's form of NLQ: `video/{clip_uid}.npy` `[rows, dim]`, `text/{query_id}.npy` `[tokens, dim]`, and annotations of both.
//!
//! After the paper (Mu et al., CVPR 2024) and a description of the files that its configuration for Ego4D names; frames are
//! counted at 30 a second, whatever the rate of the video. Not for its grid: its configuration says 32 frames, 8 apart, of which
//! it takes every second row. Queries without a window are left out of the annotations, since SnAG has no place for them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::output::split_name;
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written, npy};
use crate::features::{Source, TokenReader};
use crate::ids::UnitUid;
use crate::labels::nlq::{NlqQuery, nlq_queries};
use crate::store::RowKind;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "snag",
    about: "video/{clip_uid}.npy; with queries annotations.json; with tokens also text/{query_id}.npy: SnAG on NLQ",
    takes: Takes { rows: &[RowKind::Window], queries: Need::Optional, tokens: Need::Optional, clips: Need::Optional },
    write,
};

/// Frames a second by which SnAG's configuration for Ego4D reckons.
const FPS: f64 = 30.0;

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let mut written = Written::default();
    let mut rows: BTreeMap<UnitUid, usize> = BTreeMap::new();
    for entry in source.entries() {
        let features = source.read(entry)?;
        output.file(&format!("video/{}.npy", features.unit), |file| npy::write(file, &features.values))?;
        written.count(features.meta.len());
        rows.insert(features.unit, features.meta.len());
    }
    if let Some(queries) = &job.queries {
        let (mut queries, notes) = nlq_queries(CONSUMER.name, queries)?;
        written.notes.extend(notes);
        let kept = |asked: &NlqQuery| rows.contains_key(&UnitUid::from(asked.query.clip_uid));
        written.leave_out(&mut queries, "queries about clips without features are left out", kept);
        let has_window = |asked: &NlqQuery| asked.query.start_sec.is_some();
        written.leave_out(&mut queries, "queries without a window are left out", has_window);
        output.json("annotations.json", &annotations(job, &queries, &rows)?)?;
        if let Some(tokens) = &job.tokens {
            write_texts(job, tokens, &queries, output)?;
        }
    } else if job.tokens.is_some() {
        let what = "the table of queries (--queries FILE) to name the tokens by";
        return Err(ConvertError::Needs { format: CONSUMER.name, what });
    }
    Ok(written)
}

impl Written {
    /// Takes away those that are not `kept`, and says how many and why.
    fn leave_out(&mut self, queries: &mut Vec<NlqQuery>, why: &str, kept: impl Fn(&NlqQuery) -> bool) {
        let all = queries.len();
        queries.retain(kept);
        if queries.len() < all {
            self.notes.push(format!("{} {why}", all - queries.len()));
        }
    }
}

fn write_texts(job: &Job, tokens: &Source, queries: &[NlqQuery], output: &Output) -> Result<(), ConvertError> {
    let mut reader = TokenReader::new(tokens);
    for asked in queries {
        let (video_uid, _) = job.clips.span(asked.query.clip_uid)?;
        let text = reader.read(video_uid, asked.query.id)?;
        output.file(&format!("text/{}.npy", asked.query.id), |file| npy::write(file, &text.sentence()))?;
    }
    Ok(())
}

/// For each split its clips, each with its queries.
fn annotations(job: &Job, queries: &[NlqQuery], rows: &BTreeMap<UnitUid, usize>) -> Result<Value, ConvertError> {
    let mut splits: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for asked in queries {
        let uid = asked.query.clip_uid;
        let (_, span) = job.clips.span(uid)?;
        let clip = json!({
            "fps": FPS,
            "num_frames": (span.duration_sec() * FPS).round() as u64,
            "num_clips": rows.get(&UnitUid::from(uid)),
            "duration": span.duration_sec(),
            "annotations": [],
        });
        let clips = splits.entry(split_name(asked.split)?).or_default();
        let clip = clips.entry(uid.to_string()).or_insert(clip);
        if let Some(annotations) = clip["annotations"].as_array_mut() {
            let (sentence, id) = (asked.query.text, asked.query.id);
            annotations.push(json!({"segment": asked.window, "sentence": sentence, "sentence_id": id}));
        }
    }
    Ok(json!(splits))
}
