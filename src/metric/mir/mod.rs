//! EPIC-KITCHENS-100 multi-instance retrieval: nDCG and mAP of clips and captions, by how relevant they are to each
//! other.
//!
//! After the metrics of [EgoVLPv2](https://github.com/facebookresearch/EgoVLPv2), which are those of
//! [JPoSE](https://github.com/mwray/Joint-Part-of-Speech-Embeddings). Not for embeddings. As released, the precision of
//! mAP adds up graded relevancies where it should count relevant captions; `fixed` counts.

mod files;
mod relevancy;
mod similarity;

use ndarray::{ArrayView2, Axis};
use rayon::prelude::*;
use serde_json::{Map, json};

use super::report::{Coverage, Grid, Unit};
use super::{Choice, Compat, Evaluator, Input, Inputs, MetricError, Need, Report, rank};

pub use files::{Caption, Captions};
pub use relevancy::relevancy;
pub use similarity::{DUAL_SOFTMAX_TEMPERATURE, DualSoftmax, cosine, dual_softmax};

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "The similarities, a matrix .npy: [clips, captions] with a column for each row of --sentences, or [clips, \
            clips] with a column for the narration of each clip. Or the clips' embeddings [clips, D], with --text \
            beside them.",
    need: Need::One,
};
const ANNOTATIONS: Input =
    Input { name: "annotations", about: "The clips: EPIC_100_retrieval_test.csv.", need: Need::One };
const SENTENCES: Input =
    Input { name: "sentences", about: "The captions: EPIC_100_retrieval_test_sentence.csv.", need: Need::One };
const TEXT: Input = Input {
    name: "text",
    about: "Text embeddings, a matrix .npy [captions, D] or [clips, D]: similarities are then (1 + cosine) / 2.",
    need: Need::Optional,
};
const CLIP_IDS: Input = Input {
    name: "clip-ids",
    about: "What the rows (and of [clips, clips] the columns, and of [clips, D] texts the rows) are: narration ids, \
            one on each line; of repeated ones the first counts. Without it, the order of the annotations.",
    need: Need::Optional,
};
const RELEVANCY: Input = Input {
    name: "relevancy",
    about: "Relevancies, a matrix .npy [clips, captions] in the order of the tables. Without it they are computed from \
            the verb and noun classes: half for the same verb, half the overlap of the nouns.",
    need: Need::Optional,
};
const DUAL_SOFTMAX: Choice = Choice {
    name: "dual-softmax",
    about: "Re-weighting of the similarities at test time, which results that use it should say. captions-first: \
            softmax over captions, times the similarity, then softmax over clips (EgoVLPv2's code). clips-first: the \
            other way round, over the texts of all clips and on dot products where embeddings are given (EgoVLP's \
            challenge script).",
    values: &["none", "captions-first", "clips-first"],
};

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "mir",
    about: "EPIC-KITCHENS-100 retrieval: nDCG and mAP, both ways",
    inputs: &[PREDICTIONS, ANNOTATIONS, SENTENCES, TEXT, CLIP_IDS, RELEVANCY],
    choices: &[DUAL_SOFTMAX],
    fixes: Some(
        "mAP counts relevant captions instead of adding up graded relevancies, and queries to which nothing is \
         relevant are left out instead of spoiling the mean",
    ),
    evaluate,
};

/// The numbers of one direction: clips to captions, or captions to clips.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrievalScore {
    /// nDCG of each query; NaN where nothing is relevant to it.
    pub ndcg: Vec<f64>,
    /// Average precision of each query; NaN where nothing is wholly relevant (1) to it.
    pub average_precision: Vec<f64>,
}

/// The numbers of multi-instance retrieval.
#[derive(Debug, Clone, PartialEq)]
pub struct MirScore {
    /// Captions by clip.
    pub video_to_text: RetrievalScore,
    /// Clips by caption.
    pub text_to_video: RetrievalScore,
}

/// Scores a matrix of similarities `[clips, captions]` by relevancies (0 to 1) of the same shape, both ways.
///
/// # Errors
///
/// Relevancies of another shape.
pub fn score(similarity: ArrayView2<f64>, relevancy: ArrayView2<f64>, compat: Compat) -> Result<MirScore, MetricError> {
    if similarity.dim() != relevancy.dim() {
        let (expected, found) = (format!("{:?}", relevancy.dim()), format!("{:?}", similarity.dim()));
        return Err(MetricError::Mismatch { what: "similarities by clip and caption", expected, found });
    }
    let video_to_text = one_way(similarity, relevancy, compat);
    Ok(MirScore { video_to_text, text_to_video: one_way(similarity.t(), relevancy.t(), compat) })
}

/// One query for each row.
pub fn one_way(similarity: ArrayView2<f64>, relevancy: ArrayView2<f64>, compat: Compat) -> RetrievalScore {
    let of_query = |query: usize| {
        let (similarity, relevancy) = (similarity.row(query).to_vec(), relevancy.row(query).to_vec());
        let order = rank::order(similarity.len(), |item| similarity[item]);
        let ranked: Vec<f64> = order.into_iter().map(|item| relevancy[item]).collect();
        (ndcg(&ranked), average_precision(&ranked, compat))
    };
    let (ndcg, average_precision) = (0..similarity.nrows()).into_par_iter().map(of_query).unzip();
    RetrievalScore { ndcg, average_precision }
}

/// Discounted gain of the first k over the best possible one, where k items have a relevancy above 0. Takes relevancies
/// in the order of the ranking.
fn ndcg(ranked: &[f64]) -> f64 {
    let num_relevant = ranked.iter().filter(|relevancy| **relevancy > 0.0).count();
    let gain = |relevancies: &[f64]| -> f64 {
        let discounted = relevancies.iter().take(num_relevant).enumerate();
        discounted.map(|(rank, relevancy)| relevancy / ((rank + 2) as f64).log2()).sum()
    };
    let mut best: Vec<f64> = ranked.iter().copied().filter(|relevancy| *relevancy > 0.0).collect();
    best.sort_unstable_by(|a, b| b.total_cmp(a));
    gain(ranked) / gain(&best)
}

/// The mean, over items of relevancy exactly 1, of the precision at their rank. As released the numerator of the
/// precision is the sum of all relevancies so far.
fn average_precision(ranked: &[f64], compat: Compat) -> f64 {
    let (mut so_far, mut total, mut found) = (0.0, 0.0, 0.0);
    for (rank, relevancy) in ranked.iter().enumerate() {
        let is_relevant = *relevancy == 1.0;
        so_far += match compat {
            Compat::AsReleased => *relevancy,
            Compat::Fixed => f64::from(u8::from(is_relevant)),
        };
        if is_relevant {
            found += 1.0;
            total += so_far / (rank + 1) as f64;
        }
    }
    total / found
}

/// The mean over queries; as released one that is undefined makes it NaN, fixed it is left out.
pub fn mean(queries: &[f64], compat: Compat) -> f64 {
    let used = queries.iter().copied().filter(|value| compat == Compat::AsReleased || !value.is_nan());
    let (mut total, mut count) = (0.0, 0.0);
    used.for_each(|value| {
        total += value;
        count += 1.0;
    });
    total / count
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let captions = Captions::read(inputs.one(&ANNOTATIONS)?, inputs.one(&SENTENCES)?)?;
    let found = similarity::read(inputs, path, &captions)?;
    let relevancy = match inputs.optional(RELEVANCY.name) {
        Some(path) => files::read_relevancy(path, &captions)?,
        None => relevancy(&captions.clips, &captions.sentences),
    };
    let relevancy =
        if found.clips.len() == captions.clips.len() { relevancy } else { relevancy.select(Axis(0), &found.clips) };
    let score = score(found.similarity.view(), relevancy.view(), inputs.compat)?;
    let mut report = report(&score, found.coverage, inputs.compat);
    match inputs.chosen(&DUAL_SOFTMAX) {
        None | Some("none") => {}
        Some(kind) => report.notes.push(format!("similarities re-weighted by dual softmax, {kind}")),
    }
    Ok(report)
}

/// The report of a score, for those who have similarities without files.
pub fn report(score: &MirScore, coverage: Coverage, compat: Compat) -> Report {
    let MirScore { video_to_text: v2t, text_to_video: t2v } = score;
    let row = |name: &str, v2t: &[f64], t2v: &[f64]| {
        let (v2t, t2v) = (mean(v2t, compat), mean(t2v, compat));
        (name.to_owned(), vec![v2t, t2v, f64::midpoint(v2t, t2v)])
    };
    let rows = vec![row("nDCG", &v2t.ndcg, &t2v.ndcg), row("mAP", &v2t.average_precision, &t2v.average_precision)];
    let columns = ["V2T", "T2V", "average"].map(str::to_owned).to_vec();
    let mut notes = Vec::new();
    let kinds = [
        (&v2t.ndcg, "clips have no relevant caption: their nDCG is 0/0"),
        (&t2v.ndcg, "captions have no relevant clip: their nDCG is 0/0"),
        (&v2t.average_precision, "clips have no caption of relevancy 1: their average precision is 0/0"),
        (&t2v.average_precision, "captions have no clip of relevancy 1: their average precision is 0/0"),
    ];
    for (queries, words) in kinds {
        match queries.iter().filter(|value| value.is_nan()).count() {
            0 => {}
            count => notes.push(format!("{count} {words}")),
        }
    }
    let mut details = Map::new();
    for (name, found) in [("video_to_text", v2t), ("text_to_video", t2v)] {
        let queries = json!({"ndcg": found.ndcg, "average_precision": found.average_precision});
        details.insert(name.to_owned(), queries);
    }
    let grids = vec![Grid { unit: Unit::Fraction, columns, rows }];
    Report { benchmark: EVALUATOR.name, compat: Some(compat), grids, coverage, notes, details }
}

#[cfg(test)]
mod tests;
