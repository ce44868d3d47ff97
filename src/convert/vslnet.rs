//! VSLNet's own form of NLQ's annotations: one JSON file for each split.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::output::split_name;
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written};
use crate::ids::ClipUid;
use crate::labels::nlq::{NlqQuery, ROWS_PER_SEC, nlq_queries, rows_in, timestamps};
use crate::text::question;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "vslnet-json",
    about: "{split}.json: VSLNet's annotations, {clip_uid: record}; takes no features",
    takes: Takes { rows: &[], queries: Need::Required, tokens: Need::Unused, clips: Need::Required },
    write,
};

/// The files that VSLNet loads, all of them, whatever it is asked to do.
const LOADED: [&str; 3] = ["train", "val", "test"];
#[derive(Default, Serialize)]
struct Record {
    fps: f64,
    num_frames: i64,
    timestamps: Vec<[i64; 2]>,
    exact_times: Vec<[f64; 2]>,
    sentences: Vec<String>,
    annotation_uids: Vec<String>,
    query_idx: Vec<i64>,
}

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let (queries, notes) = nlq_queries(CONSUMER.name, job.queries()?)?;
    let mut written = Written { rows: queries.len() as u64, notes, ..Written::default() };
    let records = records(job, &queries)?;
    let absent: Vec<&str> = LOADED.into_iter().filter(|split| !records.contains_key(split)).collect();
    if !absent.is_empty() {
        let absent = absent.iter().map(|split| format!("{split}.json")).collect::<Vec<_>>().join(", ");
        written.notes.push(format!("VSLNet loads train.json, val.json and test.json: no queries for {absent}"));
    }
    for (split, records) in records {
        written.units += records.len();
        output.json(&format!("{}.json", split_name(split)?), &records)?;
    }
    Ok(written)
}

/// The records of each split, in the order in which its clips occur.
fn records<'q>(job: &Job, queries: &[NlqQuery<'q>]) -> Result<BTreeMap<&'q str, Map<String, Json>>, ConvertError> {
    let mut clips: BTreeMap<(&str, &ClipUid), Record> = BTreeMap::new();
    let mut order: Vec<(&str, &ClipUid)> = Vec::new();
    for asked in queries {
        let key = (asked.split, asked.query.clip_uid);
        let record = match clips.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                order.push(key);
                place.insert(Record { fps: ROWS_PER_SEC, num_frames: frames(job, key.1)?, ..Record::default() })
            }
        };
        record.push(asked);
    }
    let mut splits: BTreeMap<&str, Map<String, Json>> = BTreeMap::new();
    for key in order {
        splits.entry(key.0).or_default().insert(key.1.to_string(), json!(clips[&key]));
    }
    Ok(splits)
}

impl Record {
    fn push(&mut self, asked: &NlqQuery) {
        self.timestamps.push(timestamps(asked.window));
        self.exact_times.push(asked.window);
        self.sentences.push(question(asked.query.text));
        self.annotation_uids.push(asked.annotation_uid.clone());
        self.query_idx.push(asked.query_idx);
    }
}

/// Rows of a clip by its length, which its features need not have.
pub(super) fn frames(job: &Job, clip_uid: &ClipUid) -> Result<i64, ConvertError> {
    let (_, span) = job.clips.span(clip_uid)?;
    Ok(rows_in(span))
}
