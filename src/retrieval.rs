//! Clips against sentences: cosines between a store whose rows are clips and one whose rows are queries, and the choices of
//! multiple-choice questions.
//!
//! Not for what is relevant to what, nor for how often an answer is right: see `metric`. Invariant: a row is found by the
//! name that its store gives it, never by its place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView1, Axis};

use crate::ids::ClipUid;
use crate::measure::Measure;
use crate::queries::Queries;
use crate::store::{RowKind, StoreError, StoreReader, Unit};

/// The norm that a row is divided by is at least this, as in EgoVLP's `sim_matrix`.
const LEAST_NORM: f32 = 1e-8;

/// Why two stores cannot be compared, or questions not be answered from them.
#[derive(Debug, thiserror::Error)]
pub enum RetrievalError {
    /// A store cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A store of other rows.
    #[error("{}: its rows are of the kind {found}, expected {expected}", path.display())]
    Kind {
        /// The store.
        path: PathBuf,
        /// What its rows stand for.
        found: &'static str,
        /// What they should stand for.
        expected: &'static str,
    },
    /// Rows of different length.
    #[error("{} has rows of {video} features, {} of {text}: they are not of one model", video_store.display(), text_store.display())]
    Dims {
        /// The store of clips.
        video_store: PathBuf,
        /// Its features.
        video: usize,
        /// The store of queries.
        text_store: PathBuf,
        /// Its features.
        text: usize,
    },
    /// Rows that are compared by different measures.
    #[error(
        "{} is compared by {video}, {} by {text}: they are not of one export of one model, make the older one anew",
        video_store.display(), text_store.display()
    )]
    Measures {
        /// The store of clips.
        video_store: PathBuf,
        /// Its measure.
        video: Measure,
        /// The store of queries.
        text_store: PathBuf,
        /// Its measure.
        text: Measure,
    },
    /// A row that something else needs is not there.
    #[error("{}: no row of {what} {name} ({missing} in all are missing)", path.display())]
    Missing {
        /// The store.
        path: PathBuf,
        /// `clip` or `query`.
        what: &'static str,
        /// The first one's name.
        name: String,
        /// How many are missing.
        missing: usize,
    },
}

/// Rows with their names, each divided by its norm.
#[derive(Debug, Clone)]
pub struct Named {
    /// Names, by row.
    pub names: Vec<String>,
    /// Shape `[names.len(), dim]`; a missing row is NaN.
    pub rows: Array2<f32>,
}

impl Named {
    /// Reads a whole store of clips or of queries, unit by unit in the order of their uids.
    ///
    /// # Errors
    /// [`RetrievalError::Kind`] for a store whose rows have no names of their own.
    pub fn read(store: &StoreReader) -> Result<Self, RetrievalError> {
        Self::read_for(store, Measure::Cosine)
    }

    fn read_for(store: &StoreReader, measure: Measure) -> Result<Self, RetrievalError> {
        let kind = expect_kind(store, &[RowKind::Clip, RowKind::Query], "clip or query")?;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for entry in store.committed()?.iter() {
            let unit = store.read_entry(entry)?;
            names.extend(unit.meta.iter().map(|row| match kind {
                RowKind::Clip => row.clip_name().to_owned(),
                _ => row.query_name().to_owned(),
            }));
            values.extend(unit.features.outer_iter().flat_map(|row| scaled(row, measure)));
        }
        let dim = store.contract().dim;
        let rows = Array2::from_shape_vec((names.len(), dim), values)
            .expect("a store has a row of `dim` features for each name");
        Ok(Self { names, rows })
    }

    /// The same rows in the order of `others`, if they have the same names.
    fn in_order_of(self, others: &Self) -> Self {
        let places: HashMap<&str, usize> =
            self.names.iter().enumerate().map(|(row, name)| (name.as_str(), row)).collect();
        let order: Option<Vec<usize>> = others.names.iter().map(|name| places.get(name.as_str()).copied()).collect();
        match order.filter(|order| order.len() == self.names.len()) {
            Some(order) => Self { names: others.names.clone(), rows: self.rows.select(Axis(0), &order) },
            None => self,
        }
    }
}

fn expect_kind(store: &StoreReader, kinds: &[RowKind], expected: &'static str) -> Result<RowKind, RetrievalError> {
    let kind = store.contract().row_kind;
    let (path, found) = (store.path().to_owned(), kind.name());
    if kinds.contains(&kind) { Ok(kind) } else { Err(RetrievalError::Kind { path, found, expected }) }
}

/// A row as products of it are this measure.
fn scaled(row: ArrayView1<f32>, measure: Measure) -> Array1<f32> {
    match measure {
        Measure::Cosine => normalised(row),
        Measure::Product => row.to_owned(),
    }
}

fn normalised(row: ArrayView1<f32>) -> Array1<f32> {
    let norm = row.dot(&row).sqrt().max(LEAST_NORM);
    row.mapv(|value| value / norm)
}

/// Cosines `[clips, queries]` of two stores, with the names of both sides. Where queries bear the names of the clips, as
/// narrations do in EPIC-KITCHENS, columns stand in the order of rows.
///
/// # Errors
/// [`RetrievalError::Kind`], [`RetrievalError::Dims`].
pub fn similarity(video: &StoreReader, text: &StoreReader) -> Result<(Named, Named, Array2<f32>), RetrievalError> {
    expect_clips_and_queries(video, text)?;
    let (clips, queries) = (Named::read(video)?, Named::read(text)?);
    let queries = queries.in_order_of(&clips);
    let cosines = clips.rows.dot(&queries.rows.t());
    Ok((clips, queries, cosines))
}

fn expect_clips_and_queries(video: &StoreReader, text: &StoreReader) -> Result<(), RetrievalError> {
    expect_kind(video, &[RowKind::Clip], RowKind::Clip.name())?;
    expect_kind(text, &[RowKind::Query], RowKind::Query.name())?;
    let of = |store: &StoreReader| (store.path().to_owned(), store.contract().dim);
    let ((video_store, video), (text_store, text)) = (of(video), of(text));
    if video == text { Ok(()) } else { Err(RetrievalError::Dims { video_store, video, text_store, text }) }
}

fn common_measure(video: &StoreReader, text: &StoreReader) -> Result<Measure, RetrievalError> {
    let of = |store: &StoreReader| (store.path().to_owned(), store.contract().measure);
    let ((video_store, video), (text_store, text)) = (of(video), of(text));
    if video == text { Ok(video) } else { Err(RetrievalError::Measures { video_store, video, text_store, text }) }
}

/// Which clips multiple-choice questions let choose from, by clip: questions, and the place of the clip among the choices.
pub struct Choices {
    places: HashMap<ClipUid, Vec<(usize, usize)>>,
    count: Vec<usize>,
    /// Ids of the questions, and the questions of the ids.
    names: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, usize>,
}

impl Choices {
    /// Of all rows of the table.
    pub fn new(queries: &Queries) -> Self {
        let mut choices = Self { places: HashMap::new(), count: Vec::new(), names: Vec::new(), ids: HashMap::new() };
        for (question, query) in queries.iter().enumerate() {
            let offered = queries.clips_of(question);
            choices.count.push(offered.len());
            let name: Arc<str> = query.id.into();
            choices.names.push(name.clone());
            choices.ids.insert(name, question);
            for (place, clip) in offered.into_iter().enumerate() {
                choices.places.entry(clip).or_default().push((question, place));
            }
        }
        choices
    }

    /// Dual mode: each question and each of its choices, by the measure of the stores' model.
    ///
    /// # Errors
    /// [`RetrievalError::Kind`], [`RetrievalError::Dims`], [`RetrievalError::Measures`], [`RetrievalError::Missing`].
    pub fn dual(&self, video: &StoreReader, text: &StoreReader) -> Result<Vec<Vec<f64>>, RetrievalError> {
        expect_clips_and_queries(video, text)?;
        let measure = common_measure(video, text)?;
        let sentences = Named::read_for(text, measure)?;
        let places: HashMap<usize, usize> = (sentences.names.iter().enumerate())
            .filter_map(|(row, name)| Some((*self.ids.get(name.as_str())?, row)))
            .collect();
        self.check(text.path(), "query", (0..self.count.len()).filter(|question| !places.contains_key(question)))?;
        self.fill(video, |unit, row| {
            let clip = unit.meta[row].clip_uid.clone();
            let own = scaled(unit.features.row(row), measure);
            let asked = clip.and_then(|clip| self.places.get(&clip)).into_iter().flatten();
            let score = |&(question, place): &(usize, usize)| {
                (question, place, f64::from(own.dot(&sentences.rows.row(places[&question]))))
            };
            asked.map(score).collect()
        })
    }

    /// Fusion mode: the probability that each question and each of its choices match, the softmax of a row's two logits
    /// (no match, match).
    ///
    /// # Errors
    /// [`RetrievalError::Kind`], [`RetrievalError::Missing`].
    pub fn matches(&self, pairs: &StoreReader) -> Result<Vec<Vec<f64>>, RetrievalError> {
        expect_kind(pairs, &[RowKind::Pair], RowKind::Pair.name())?;
        self.fill(pairs, |unit, row| {
            let meta = &unit.meta[row];
            let question = meta.query_id.as_ref().and_then(|id| self.ids.get(id));
            let clip = meta.clip_uid.as_ref().and_then(|clip| self.places.get(clip)).into_iter().flatten();
            let (no, yes) = (f64::from(unit.features[[row, 0]]), f64::from(unit.features[[row, 1]]));
            let own = clip.filter(|(asked, _)| Some(asked) == question);
            own.map(|&(question, place)| (question, place, 1.0 / (1.0 + (no - yes).exp()))).collect()
        })
    }

    /// Scores of all choices, from what each row of a store says of some.
    fn fill(
        &self,
        store: &StoreReader,
        scores_of: impl Fn(&Unit, usize) -> Vec<(usize, usize, f64)>,
    ) -> Result<Vec<Vec<f64>>, RetrievalError> {
        let mut scores: Vec<Vec<f64>> = self.count.iter().map(|&count| vec![f64::NAN; count]).collect();
        for entry in store.committed()?.iter() {
            let unit = store.read_entry(entry)?;
            for (question, place, score) in (0..unit.meta.len()).flat_map(|row| scores_of(&unit, row)) {
                scores[question][place] = score;
            }
        }
        let open = (0..scores.len()).filter(|&question| scores[question].iter().any(|score| score.is_nan()));
        self.check(store.path(), "choice of question", open)?;
        Ok(scores)
    }

    fn check(
        &self,
        path: &Path,
        what: &'static str,
        missing: impl Iterator<Item = usize>,
    ) -> Result<(), RetrievalError> {
        let missing: Vec<usize> = missing.collect();
        let Some(&first) = missing.first() else { return Ok(()) };
        let name = self.names[first].to_string();
        Err(RetrievalError::Missing { path: path.to_owned(), what, name, missing: missing.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_follow_rows_of_the_same_names_and_no_others() {
        let named = |names: &[&str]| Named {
            names: names.iter().map(ToString::to_string).collect(),
            rows: Array2::from_shape_fn((names.len(), 1), |(row, _)| row as f32),
        };
        let ordered = named(&["b", "a", "c"]).in_order_of(&named(&["a", "b", "c"]));
        assert_eq!((ordered.names.concat().as_str(), ordered.rows), ("abc", ndarray::array![[1.0], [0.0], [2.0]]));
        for others in [&["a", "b"][..], &["a", "b", "x"], &["a", "b", "c", "d"]] {
            assert_eq!(named(&["b", "a", "c"]).in_order_of(&named(others)).names.concat(), "bac");
        }
    }

    /// On LaViLa's tiny model three of four golden questions have another answer by cosines (`tests/data/backbones/lavila`).
    #[test]
    fn rows_of_products_are_compared_as_they_are() {
        let row = ndarray::array![3.0_f32, 4.0];
        assert_eq!(scaled(row.view(), Measure::Product), row);
        assert_eq!(scaled(row.view(), Measure::Cosine), ndarray::array![0.6, 0.8]);
    }

    #[test]
    fn rows_are_divided_by_their_norm_and_zeros_stay_zeros() {
        let rows = ndarray::array![[3.0_f32, 4.0], [0.0, 0.0]];
        let normalised: Vec<Array1<f32>> = rows.outer_iter().map(normalised).collect();
        assert_eq!(normalised[0], ndarray::array![0.6, 0.8]);
        assert_eq!(normalised[1], ndarray::array![0.0, 0.0]);
    }
}
