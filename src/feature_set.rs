//! A feature set that is to be made: its recipe and everything that was opened for it.
//!
//! Stores and loaded models stand apart, in a [`PerSet`] each: the writer owns the former and every device has the latter.
//! Invariant: the rows that [`FeatureSet::kind`] names are those that the graphs give for what the recipe feeds them.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use crate::backbone::{Precision, Sentence, Towers};
use crate::ids::SetId;
use crate::recipe::Recipe;
use crate::store::{Contract, RowKind};

/// One feature set of a run.
#[derive(Debug, Clone)]
pub struct FeatureSet {
    /// What decides its rows.
    pub recipe: Recipe,
    /// The graphs that compute them.
    pub towers: Towers,
    /// What a row stands for.
    pub kind: RowKind,
    /// Sentences, if its recipe reads any.
    pub text: Option<TokenizedTable>,
}

/// The sentences of a table of queries, as token ids.
#[derive(Debug, Clone)]
pub struct TokenizedTable {
    /// Hash of the vocabulary that they were made with.
    pub vocabulary_sha256: String,
    /// One for each row of the table.
    pub sentences: Vec<Arc<Sentence>>,
}

impl FeatureSet {
    /// Of a recipe and its graphs.
    pub fn new(recipe: Recipe, towers: Towers, text: Option<TokenizedTable>) -> Self {
        Self { kind: recipe.row_kind(&towers), recipe, towers, text }
    }

    /// The sentence in row `row` of the table of queries.
    ///
    /// # Panics
    /// If the recipe reads no sentences, or the table has no such row: a plan has neither.
    pub fn sentence(&self, row: usize) -> &Arc<Sentence> {
        let text = self.text.as_ref().expect("only sets that read sentences are asked for one");
        &text.sentences[row]
    }

    /// What identifies the store that its rows go to, computed in `precision`.
    ///
    /// # Errors
    /// As [`Recipe::contract`].
    pub fn contract(&self, precision: Precision) -> Result<Contract, toml::ser::Error> {
        let vocabulary = self.text.as_ref().map(|text| text.vocabulary_sha256.as_str());
        self.recipe.contract(&self.towers, precision, vocabulary)
    }
}

/// Something for each feature set of a run, found by its [`SetId`].
#[derive(Debug, Clone)]
pub struct PerSet<T>(Vec<T>);

impl<T> PerSet<T> {
    /// All of them with their ids, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SetId, &T)> {
        self.0.iter().enumerate().map(|(place, one)| (SetId::new(place), one))
    }

    /// All of them, in order.
    pub fn values(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// What `make` makes of each.
    pub fn map<U>(&self, make: impl FnMut(&T) -> U) -> PerSet<U> {
        self.0.iter().map(make).collect()
    }

    /// What `make` makes of each.
    ///
    /// # Errors
    /// The first of `make`.
    pub fn try_map<U, E>(&self, make: impl FnMut(&T) -> Result<U, E>) -> Result<PerSet<U>, E> {
        self.0.iter().map(make).collect()
    }
}

impl<T> Index<SetId> for PerSet<T> {
    type Output = T;

    fn index(&self, set: SetId) -> &T {
        &self.0[set.place()]
    }
}

impl<T> IndexMut<SetId> for PerSet<T> {
    fn index_mut(&mut self, set: SetId) -> &mut T {
        &mut self.0[set.place()]
    }
}

impl<T> FromIterator<T> for PerSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl<T> IntoIterator for PerSet<T> {
    type Item = (SetId, T);
    type IntoIter = std::iter::Map<std::iter::Enumerate<std::vec::IntoIter<T>>, fn((usize, T)) -> (SetId, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().enumerate().map(|(place, one)| (SetId::new(place), one))
    }
}
