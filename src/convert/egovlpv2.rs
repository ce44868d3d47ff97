//! What EgoVLPv2's NLQ extraction leaves, a dict for each query: `{split}/feat_{i}.pt`.
//!
//! Not for making fused features or tokens, which are stores. Numbers are 0-dimensional tensors, as a batch of one leaves
//! them; a query's number `i` is its place among those of its split.

use std::collections::BTreeMap;

use super::egovlp::tensor_of;
use super::output::split_name;
use super::vslnet::frames;
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written};
use crate::checkpoint::{Tensor, Value};
use crate::features::{FeatureError, Features, Source, TokenReader, Tokens};
use crate::labels::nlq::{NlqLabel, NlqQuery, nlq_queries, rows_in};
use crate::store::RowKind;
use crate::text::{question, stripped};

pub(super) const CONSUMER: Consumer = Consumer {
    name: "egovlpv2-nlq",
    about: "{split}/feat_{i}.pt, a dict per query: EgoVLPv2's NLQ; fused windows, with tokens and queries",
    takes: Takes {
        rows: &[RowKind::FusedWindow],
        queries: Need::Required,
        tokens: Need::Required,
        clips: Need::Optional,
    },
    write,
};

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let mut tokens = TokenReader::new(job.tokens()?);
    let (queries, notes) = nlq_queries(CONSUMER.name, job.queries()?)?;
    let mut written = Written { notes, ..Written::default() };
    let mut numbers: BTreeMap<&str, i64> = BTreeMap::new();
    for asked in &queries {
        let number = numbers.entry(asked.split).or_default();
        let features = fused(source, asked)?;
        let text = tokens.read(&features.video_uid, asked.query.id)?;
        // A fused unit covers its clip, and says so.
        let num_frames = features.span.map_or_else(|| frames(job, asked.query.clip_uid), |span| Ok(rows_in(span)))?;
        let place = NlqLabel::new(asked.window, num_frames, features.meta.len().min(job.max_positions));
        let name = format!("{}/feat_{number}.pt", split_name(asked.split)?);
        output.torch(&name, &dict(asked, *number, &place, &features, text))?;
        written.count(features.meta.len());
        *number += 1;
    }
    Ok(written)
}

/// The windows of the query's clip after they have met it.
fn fused(source: &Source, asked: &NlqQuery) -> Result<Features, ConvertError> {
    let query_id = asked.query.id;
    let absent = || FeatureError::NoQuery { path: source.path().to_owned(), query_id: query_id.to_owned() };
    let features = source.read(source.find_query(query_id)?.ok_or_else(absent)?)?;
    match &features.query_id {
        Some(found) if found != query_id => Err(absent().into()),
        _ => Ok(features),
    }
}

/// The keys and types of the original, in its order.
fn dict(asked: &NlqQuery, number: i64, place: &NlqLabel, features: &Features, text: Tokens) -> Value {
    let count = |value: i64| Value::Tensor(Tensor::from_i64(vec![], &[value]));
    let seconds = |value: f64| Value::Tensor(Tensor::scalar_f64(value));
    let mask: Vec<i64> = text.padded.iter().map(|padded| i64::from(!padded)).collect();
    let mask = Value::Tensor(Tensor::from_i64(vec![1, mask.len()], &mask));
    let mut tokens = tensor_of(&text.values);
    tokens.shape.insert(0, 1); // a batch of one
    let entries = [
        ("fused_video_features", Value::Tensor(tensor_of(&features.values))),
        ("dual_text_features", Value::Tensor(tokens)),
        ("sample_id", count(number)),
        ("vid", Value::Text(asked.query.clip_uid.to_string())),
        ("s_time", seconds(place.s_time)),
        ("e_time", seconds(place.e_time)),
        ("duration", seconds(place.duration)),
        ("query", Value::Text(stripped(&question(asked.query.text)))),
        ("s_ind", count(place.s_ind as i64)),
        ("e_ind", count(place.e_ind as i64)),
        ("v_len", count(place.v_len as i64)),
        ("annotation_uid", Value::Text(asked.annotation_uid.clone())),
        ("query_idx", count(asked.query_idx)),
        ("text_token", Value::Dict(vec![("attention_mask".to_owned(), mask)])),
    ];
    Value::Dict(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
