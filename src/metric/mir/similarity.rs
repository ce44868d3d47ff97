//! Similarities of clips and captions, from matrices or from embeddings.
//!
//! Not for their ranking. Rows are clips and columns captions, in the order of the tables, whatever a loader's order
//! was.

use std::path::Path;

use ndarray::{Array2, ArrayView2, Axis};

use super::{CLIP_IDS, Captions, DUAL_SOFTMAX, Inputs, MetricError, TEXT};
use crate::metric::arrays::{Rows, check_columns, read_matrix};
use crate::metric::report::Coverage;

/// What similarities are divided by in [`dual_softmax`].
pub const DUAL_SOFTMAX_TEMPERATURE: f64 = 500.0;

/// In which direction [`dual_softmax`] weighs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DualSoftmax {
    /// Weights over captions, then a softmax over clips.
    CaptionsFirst,
    /// Weights over clips, then a softmax over captions.
    ClipsFirst,
}

/// Similarities times their softmax one way, and a softmax of that the other way. `similarity` is `[clips, captions]`.
pub fn dual_softmax(similarity: ArrayView2<f64>, kind: DualSoftmax, temperature: f64) -> Array2<f64> {
    let (first, second) = match kind {
        DualSoftmax::CaptionsFirst => (Axis(1), Axis(0)),
        DualSoftmax::ClipsFirst => (Axis(0), Axis(1)),
    };
    let mut weights = similarity.mapv(|value| value / temperature);
    softmax(&mut weights, first);
    let mut weighted = weights * similarity;
    softmax(&mut weighted, second);
    weighted
}

/// Along `axis`.
fn softmax(matrix: &mut Array2<f64>, axis: Axis) {
    for mut lane in matrix.lanes_mut(axis) {
        let highest = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        lane.mapv_inplace(|value| (value - highest).exp());
        let total = lane.sum();
        lane.mapv_inplace(|value| value / total);
    }
}

/// Cosines of all rows of `a` with all rows of `b`: `[rows of a, rows of b]`.
///
/// # Errors
///
/// Rows of different lengths.
pub fn cosine(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Result<Array2<f64>, MetricError> {
    if a.ncols() != b.ncols() {
        let (expected, found) = (format!("{} columns", a.ncols()), b.ncols().to_string());
        return Err(MetricError::Mismatch { what: "embeddings", expected, found });
    }
    Ok(unit_rows(a).dot(&unit_rows(b).t()))
}

/// Rows over their lengths. The least length is that of the original, where a row is zero.
fn unit_rows(matrix: ArrayView2<f64>) -> Array2<f64> {
    let mut rows = matrix.to_owned();
    for mut row in rows.outer_iter_mut() {
        let length = row.dot(&row).sqrt().max(1e-8);
        row.mapv_inplace(|value| value / length);
    }
    rows
}

/// Similarities of the clips that there are.
pub(super) struct Found {
    pub(super) similarity: Array2<f64>,
    /// Numbers of the clips.
    pub(super) clips: Vec<usize>,
    pub(super) coverage: Coverage,
}

/// Which columns of a matrix, or rows of text embeddings, the captions are.
struct Texts {
    /// Of all clips that there are where texts are those of clips, else of all sentences.
    all: Vec<usize>,
    /// The place in `all` of each sentence.
    of_sentences: Vec<usize>,
}

/// Reads similarities, or embeddings of both sides, and puts them into the order of the tables.
pub(super) fn read(inputs: &Inputs, path: &Path, captions: &Captions) -> Result<Found, MetricError> {
    let ids: Vec<String> = captions.clips.iter().map(|clip| clip.narration_id.clone()).collect();
    let given = read_matrix(path)?;
    let rows = Rows::of(inputs, CLIP_IDS.name, path, given.nrows(), &ids, "clips")?;
    let kind = match inputs.chosen(&DUAL_SOFTMAX) {
        Some("captions-first") => Some(DualSoftmax::CaptionsFirst),
        Some("clips-first") => Some(DualSoftmax::ClipsFirst),
        _ => None,
    };
    let coverage = rows.coverage.clone().check(path, inputs.allow_missing)?;
    let similarity = match inputs.optional(TEXT.name) {
        Some(text) => from_embeddings(&given, text, kind, captions, &rows)?,
        None => from_matrix(&given, path, kind, captions, &rows)?,
    };
    Ok(Found { similarity, clips: rows.kept(), coverage })
}

fn from_matrix(
    given: &Array2<f64>,
    path: &Path,
    kind: Option<DualSoftmax>,
    captions: &Captions,
    rows: &Rows,
) -> Result<Array2<f64>, MetricError> {
    let texts = texts(path, given.ncols(), given.nrows(), captions, rows)?;
    let columns = texts.needed(kind);
    Ok(texts.finish(rows.select(given.view()).select(Axis(1), &columns), kind))
}

fn from_embeddings(
    video: &Array2<f64>,
    path: &Path,
    kind: Option<DualSoftmax>,
    captions: &Captions,
    rows: &Rows,
) -> Result<Array2<f64>, MetricError> {
    let text = read_matrix(path)?;
    check_columns(path, text.view(), video.ncols())?;
    let texts = texts(path, text.nrows(), video.nrows(), captions, rows)?;
    let (video, text) = (rows.select(video.view()), text.select(Axis(0), &texts.needed(kind)));
    let similarity = match kind {
        Some(DualSoftmax::ClipsFirst) => video.dot(&text.t()),
        _ => cosine(video.view(), text.view())?.mapv(|cosine| f64::midpoint(cosine, 1.0)),
    };
    Ok(texts.finish(similarity, kind))
}

/// Texts are those of the sentences, if there are as many, or those of the clips.
fn texts(
    path: &Path,
    num_texts: usize,
    num_rows: usize,
    captions: &Captions,
    rows: &Rows,
) -> Result<Texts, MetricError> {
    let num_sentences = captions.sentences.len();
    if num_texts == num_sentences {
        return Ok(Texts { all: (0..num_texts).collect(), of_sentences: (0..num_texts).collect() });
    }
    if num_texts != num_rows {
        let expected = format!("texts of {num_sentences} sentences or of {num_rows} clips");
        return Err(MetricError::unexpected(path, expected, num_texts.to_string()));
    }
    let kept = rows.kept();
    let place = |clip: &usize| {
        let id = &captions.clips[*clip].narration_id;
        let missing = |_| MetricError::unexpected(path, "a text for each sentence", format!("none of clip {id}"));
        kept.binary_search(clip).map_err(missing)
    };
    let of_sentences = captions.first_clip.iter().map(place).collect::<Result<_, _>>()?;
    Ok(Texts { all: rows.places.iter().flatten().copied().collect(), of_sentences })
}

impl Texts {
    /// What has to be looked at. The challenge script weighs the texts of all clips before it keeps each sentence once.
    fn needed(&self, kind: Option<DualSoftmax>) -> Vec<usize> {
        match kind {
            Some(DualSoftmax::ClipsFirst) => self.all.clone(),
            _ => self.of_sentences.iter().map(|place| self.all[*place]).collect(),
        }
    }

    /// Weighs the similarities with what was needed, and leaves one column for each sentence.
    fn finish(&self, similarity: Array2<f64>, kind: Option<DualSoftmax>) -> Array2<f64> {
        let Some(kind) = kind else { return similarity };
        let weighed = dual_softmax(similarity.view(), kind, DUAL_SOFTMAX_TEMPERATURE);
        match kind {
            DualSoftmax::CaptionsFirst => weighed,
            DualSoftmax::ClipsFirst => weighed.select(Axis(1), &self.of_sentences),
        }
    }
}
