//! The tokens of one query after another, out of a store whose units are videos.
//!
//! Not for making them. Invariant: one video's tokens are in memory at a time; queries that come video by video cost one
//! reading each.

use ndarray::{Array2, s};

use super::error::FeatureError;
use super::reader::Source;
use super::unit::Features;
use crate::ids::{UnitUid, VideoUid};

/// The tokens of one query.
pub struct Tokens {
    /// Shape `[tokens, dim]`, those that only fill up included.
    pub values: Array2<f32>,
    /// Which of them only fill up.
    pub padded: Vec<bool>,
}

impl Tokens {
    /// Those that are part of the sentence.
    pub fn sentence(&self) -> Array2<f32> {
        let kept: Vec<usize> = (0..self.padded.len()).filter(|&row| !self.padded[row]).collect();
        self.values.select(ndarray::Axis(0), &kept)
    }
}

/// Reads tokens, and keeps the last video's.
pub struct TokenReader<'s> {
    source: &'s Source,
    last: Option<Features>,
}

impl<'s> TokenReader<'s> {
    /// Out of a store of tokens.
    pub fn new(source: &'s Source) -> Self {
        Self { source, last: None }
    }

    /// The tokens of the query about a clip of that video.
    ///
    /// # Errors
    /// [`FeatureError::NoQuery`], [`FeatureError::Store`].
    pub fn read(&mut self, video_uid: &VideoUid, query_id: &str) -> Result<Tokens, FeatureError> {
        let absent = || FeatureError::NoQuery { path: self.source.path().to_owned(), query_id: query_id.to_owned() };
        let unit = UnitUid::from(video_uid);
        if self.last.as_ref().is_none_or(|last| last.unit != unit) {
            self.last = Some(self.source.read(self.source.find(&unit).ok_or_else(absent)?)?);
        }
        let features = self.last.as_ref().ok_or_else(absent)?;
        let is_of = |row: usize| features.meta[row].query_id.as_deref() == Some(query_id);
        let first = (0..features.meta.len()).find(|&row| is_of(row)).ok_or_else(absent)?;
        let end = (first..features.meta.len()).find(|&row| !is_of(row)).unwrap_or(features.meta.len());
        let values = features.values.slice(s![first..end, ..]).to_owned();
        let padded = features.meta[first..end].iter().map(|row| row.padded).collect();
        Ok(Tokens { values, padded })
    }
}
