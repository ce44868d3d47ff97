//! What EgoVLP's extraction of texts leaves: one dict of sentences and their features, `{split}/sentence.npy`.
//!
//! That is a pickled object array, for which NumPy has to be told `allow_pickle=True` and which then runs whatever it
//! names; the same dict is also there as `sentence.pt`, which `torch.load(weights_only=True)` opens. As in the original, the
//! first and the last token of a sentence, which are the tower's own, are left out, and of a sentence that occurs twice
//! the first counts. Not for long texts: a split's sentences are one pickle, so all of them are in memory.

use std::collections::{HashMap, HashSet};

use ndarray::Axis;

use super::egovlp::tensor_of;
use super::output::split_name;
use super::{Consumer, ConvertError, Job, Need, Takes, Written};
use crate::checkpoint::{Tensor, Value, write_numpy_dict};
use crate::features::{FeatureError, Features};
use crate::queries::Queries;
use crate::store::RowKind;

const TAKES: Takes = Takes {
    rows: &[RowKind::Token, RowKind::Query],
    queries: Need::Required,
    tokens: Need::Unused,
    clips: Need::Unused,
};

pub(super) const NUMPY: Consumer = Consumer {
    name: "egovlp-text-npy",
    about: "{split}/sentence.npy, a pickled dict {sentence: [tokens, dim]} as EgoVLP writes it",
    takes: TAKES,
    write: |job, output| {
        write(job, |name, dict| output.file(&format!("{name}.npy"), |file| write_numpy_dict(file, &dict)))
    },
};

pub(super) const TORCH: Consumer = Consumer {
    name: "egovlp-text-pt",
    about: "{split}/sentence.pt, the same dict for torch.load(weights_only=True)",
    takes: TAKES,
    write: |job, output| {
        write(job, |name, dict| {
            let dict = dict.into_iter().map(|(text, tokens)| (text, Value::Tensor(tokens))).collect();
            output.torch(&format!("{name}.pt"), &Value::Dict(dict))
        })
    },
};

/// Sentences and their features, in the order of the table.
type Dict = Vec<(String, Tensor)>;

fn write(job: &Job, save: impl Fn(&str, Dict) -> Result<(), ConvertError>) -> Result<Written, ConvertError> {
    let (source, queries) = (job.source()?, job.queries()?);
    let mut found = HashMap::new();
    for entry in source.entries() {
        gather(&source.read(entry)?, source.rows() == RowKind::Token, &mut found);
    }
    let mut written = Written::default();
    for (split, dict) in dicts(source.path(), queries, found, &mut written)? {
        save(&format!("{}/sentence", split_name(split)?), dict)?;
    }
    Ok(written)
}

/// The features of all queries of a unit, by their ids.
fn gather(features: &Features, tokens: bool, found: &mut HashMap<String, Tensor>) {
    let rows = features.meta.len();
    let mut first = 0;
    while first < rows {
        let id = &features.meta[first].query_id;
        let end = (first..rows).find(|&row| features.meta[row].query_id != *id).unwrap_or(rows);
        let own: Vec<usize> = (first..end).filter(|&row| !features.meta[row].padded).collect();
        let inner = if tokens && own.len() >= 2 { &own[1..own.len() - 1] } else { &own[..] };
        if let Some(id) = id {
            found.insert(id.to_string(), tensor_of(&features.values.select(Axis(0), inner)));
        }
        first = end;
    }
}

/// The dict of each split.
fn dicts<'q>(
    store: &std::path::Path,
    queries: &'q Queries,
    mut found: HashMap<String, Tensor>,
    written: &mut Written,
) -> Result<Vec<(&'q str, Dict)>, ConvertError> {
    let splits: Vec<&str> = queries.column("split").map_or_else(|| vec![""; queries.len()], Iterator::collect);
    let mut dicts: Vec<(&str, Dict)> = Vec::new();
    let mut seen = HashSet::new();
    for (query, split) in queries.iter().zip(splits) {
        let absent = || FeatureError::NoQuery { path: store.to_owned(), query_id: query.id.to_owned() };
        let features = found.remove(query.id).ok_or_else(absent)?;
        if !seen.insert((split, query.text)) {
            continue;
        }
        written.count(features.shape[0]);
        match dicts.iter_mut().find(|(known, _)| *known == split) {
            Some((_, dict)) => dict.push((query.text.to_owned(), features)),
            None => dicts.push((split, vec![(query.text.to_owned(), features)])),
        }
    }
    if seen.len() < queries.len() {
        written.notes.push(format!("{} queries with the sentence of an earlier one", queries.len() - seen.len()));
    }
    Ok(dicts)
}
