//! Search: the moments of one or many stores that a sentence, or another moment, is most like.
//!
//! [`current`] gives a store's [`Index`], which it writes beside the rows if there is none of what the store holds now. [`vectors`] makes
//! sentences comparable with rows by the text tower of the same checkpoint ([`text_tower`]); [`find_row`] takes a row in their place.
//! [`search`] compares one of them with all windows, [`search_batch`] many, and both answer with [`Hit`]s. Scans are exact: every row is
//! compared. Invariant: the answer does not depend on the number of threads, nor on which other queries are asked.

mod build;
mod error;
mod index;
mod kernel;
mod layout;
mod moments;
mod ranked;
mod scan;
mod sentences;
mod space;
#[cfg(target_arch = "x86_64")]
mod x86;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

pub use build::{build, current, expect_moments};
pub use error::SearchError;
pub use index::{Found, INDEX_FILE, Index, Window, index_file};
pub use moments::{Instant, Moment, MomentRule};
pub use sentences::{text_model, text_tower, vectors};
pub use space::{expect_one_space, expect_text_space};

use ranked::Ranked;

/// Queries whose bounds are in memory at a time.
const BATCH: usize = 256;

/// A moment, and which of the stores it is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The number of the store, in the order in which they were given.
    pub store: usize,
    /// The moment.
    pub moment: Moment,
}

/// The best moments of all `indexes` for one unit vector `query` of `dim` values, best first; of equal scores those of the first
/// store and of its first row. Moments that cover `own` are left out.
///
/// # Errors
/// [`SearchError::Damaged`].
///
/// # Panics
/// If an index has rows of another length.
pub fn search(
    indexes: &[Index],
    query: ArrayView1<f32>,
    rule: MomentRule,
    own: Option<&Instant>,
) -> Result<Vec<Hit>, SearchError> {
    let mut hits = Vec::new();
    for (store, index) in indexes.iter().enumerate() {
        let query = padded(index, query);
        let bounds = scan::bounds(index, &query);
        hits.extend(of_store(store, index, &query, bounds.into_iter(), rule, own)?);
    }
    Ok(best(hits, rule.top))
}

/// The same for each of many unit vectors `queries` `[queries, dim]`.
///
/// # Errors
/// [`SearchError::Damaged`].
///
/// # Panics
/// If an index has rows of another length.
pub fn search_batch(
    indexes: &[Index],
    queries: ArrayView2<f32>,
    rule: MomentRule,
) -> Result<Vec<Vec<Hit>>, SearchError> {
    let parts = queries.axis_chunks_iter(Axis(0), BATCH).map(|part| search_part(indexes, part, rule));
    Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
}

fn search_part(indexes: &[Index], queries: ArrayView2<f32>, rule: MomentRule) -> Result<Vec<Vec<Hit>>, SearchError> {
    let mut hits: Vec<Vec<Hit>> = vec![Vec::new(); queries.nrows()];
    for (store, index) in indexes.iter().enumerate() {
        let mut padded = Array2::zeros((queries.nrows(), index.stride()));
        padded.slice_mut(s![.., ..index.dim()]).assign(&queries);
        let bounds = scan::bounds_of_batch(index, padded.view());
        hits.par_iter_mut().enumerate().try_for_each(|(row, hits)| {
            let query = padded.row(row).to_vec();
            hits.extend(of_store(store, index, &query, bounds.row(row).iter().copied(), rule, None)?);
            Ok::<(), SearchError>(())
        })?;
    }
    Ok(hits.into_iter().map(|hits| best(hits, rule.top)).collect())
}

fn of_store(
    store: usize,
    index: &Index,
    query: &[f32],
    bounds: impl Iterator<Item = f32>,
    rule: MomentRule,
    own: Option<&Instant>,
) -> Result<impl Iterator<Item = Hit>, SearchError> {
    let mut ranked = Ranked::new(index, query, bounds);
    let found = moments::moments(index, &mut ranked, rule, own)?;
    Ok(found.into_iter().map(move |moment| Hit { store, moment }))
}

/// The sort keeps equal ones in their order.
fn best(mut hits: Vec<Hit>, top: usize) -> Vec<Hit> {
    hits.sort_by(|one, another| another.moment.score.total_cmp(&one.moment.score));
    hits.truncate(top);
    hits
}

fn padded(index: &Index, query: ArrayView1<f32>) -> Vec<f32> {
    assert_eq!(query.len(), index.dim(), "a query is as long as a row");
    query.iter().copied().chain(std::iter::repeat_n(0.0, index.stride() - index.dim())).collect()
}

/// The unit vector of the window that covers `at`, and whose middle is nearest to it: of the first of `indexes` that has one.
///
/// # Errors
/// [`SearchError::NoMoment`], which says what there is of the video; [`SearchError::Damaged`].
pub fn find_row(indexes: &[Index], at: &Instant) -> Result<Array1<f32>, SearchError> {
    let mut there: Option<(f64, f64)> = None;
    for index in indexes {
        let places = (0..index.places()).map(|place| Ok(index.names(place)?.0 == at.video_uid));
        let is_of_video = places.collect::<Result<Vec<bool>, SearchError>>()?;
        let rows = (0..index.rows()).filter(|&row| is_of_video.get(index.place(row)) == Some(&true));
        let mut nearest: Option<(f64, usize)> = None;
        for row in rows {
            let (start, end) = index.times(row);
            there = Some(there.map_or((start, end), |(first, last)| (start.min(first), end.max(last))));
            let away = (0.5 * (start + end) - at.sec).abs();
            if (start..end).contains(&at.sec) && nearest.is_none_or(|(nearest, _)| away < nearest) {
                nearest = Some((away, row));
            }
        }
        if let Some((_, row)) = nearest {
            return Ok(sentences::unit(Array1::from(index.row(row)).slice_move(s![..index.dim()])));
        }
    }
    let found = there.map_or("no window is of that video".to_owned(), |(start, end)| {
        format!("its windows are from {start:.2} to {end:.2} s")
    });
    Err(SearchError::NoMoment { video: at.video_uid.clone(), sec: at.sec, found })
}

#[cfg(test)]
mod tests;
