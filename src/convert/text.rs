//! What EgoVLP's extraction of texts leaves: one dict of sentences and their token features, and here a dict that needs no
//! trust.
//!
//! The original is `sentence.npy`, a pickled object array, for which NumPy has to be told `allow_pickle=True`; it runs
//! whatever it holds. `sentence.pt` holds the same dict, and `torch.load(weights_only=True)` opens it. A sentence that
//! occurs twice is one entry. Not for texts of one row.

use std::collections::BTreeMap;

use super::egovlp::tensor_of;
use super::source::Source;
use super::vslnet::split_name;
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written};
use crate::checkpoint::Value;
use crate::queries::{Queries, Query};
use crate::store::RowKind;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "egovlp-text-pt",
    about: "{split}/sentence.pt, a dict {sentence: [tokens, dim]}: what EgoVLP keeps in sentence.npy; tokens and queries",
    takes: Takes { rows: &[RowKind::Token], queries: Need::Required, tokens: Need::Unused, clips: Need::Unused },
    write,
};

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let (source, queries) = (job.source()?, job.queries()?);
    let splits: Vec<&str> = queries.column("split").map_or_else(|| vec![""; queries.len()], Iterator::collect);
    let rows: BTreeMap<&str, (Query, &str)> =
        queries.iter().zip(splits).map(|(query, split)| (query.id, (query, split))).collect();
    let mut written = Written::default();
    let mut dicts: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    for entry in source.entries() {
        let features = source.read(entry)?;
        let mut first = 0;
        while first < features.meta.len() {
            let id = features.meta[first].query_id.clone();
            let end = (first..features.meta.len())
                .find(|&row| features.meta[row].query_id != id)
                .unwrap_or(features.meta.len());
            let kept: Vec<usize> = (first..end).filter(|&row| !features.meta[row].padded).collect();
            first = end;
            let Some((query, split)) = id.as_deref().and_then(|id| rows.get(id)) else { continue };
            let tokens = features.values.select(ndarray::Axis(0), &kept);
            dicts.entry(split).or_default().insert(query.text, Value::Tensor(tensor_of(&tokens)));
            written.count(kept.len());
        }
    }
    check_all(source, queries, &written)?;
    for (split, dict) in dicts {
        let dict = dict.into_iter().map(|(text, tokens)| (text.to_owned(), tokens)).collect();
        output.torch(&format!("{}/sentence.pt", split_name(split)?), &Value::Dict(dict))?;
    }
    Ok(written)
}

/// Every query has its tokens.
fn check_all(source: &Source, queries: &Queries, written: &Written) -> Result<(), ConvertError> {
    if written.units == queries.len() {
        return Ok(());
    }
    let what = format!("{} of {} queries", queries.len().saturating_sub(written.units), queries.len());
    Err(ConvertError::NoQuery { path: source.path().to_owned(), query_id: what })
}
