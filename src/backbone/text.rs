//! A text tower that is an ONNX graph.
//!
//! Not for splitting sentences into tokens. Invariant: a sentence's rows are the same in every batch.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use ndarray::Array2;

use super::feed::Feed;
use super::provider::SessionOptions;
use super::session::GraphSession;
use super::tensor::{IDS, MASK};
use super::towers::TextCard;
use super::{BackboneError, Runtime, Sentence};

/// A loaded text graph.
pub(super) struct TextTower {
    pub(super) card: TextCard,
    pub(super) session: GraphSession,
}

impl TextTower {
    pub(super) fn load(
        runtime: &Runtime,
        models: &Path,
        card: &TextCard,
        options: SessionOptions,
    ) -> Result<Self, BackboneError> {
        let session = GraphSession::open(runtime, &card.card.graph_path(models), options)?;
        Ok(Self { card: card.clone(), session })
    }

    /// Rows of `sentences`, which are equally long: one each, or one for each of their tokens, behind one another.
    pub(super) fn forward(&mut self, sentences: &[Arc<Sentence>]) -> Result<Array2<f32>, BackboneError> {
        let feature = &self.card.feature;
        let (found, values) = self.session.run_rows(&feeds(sentences), &feature.name)?;
        let rows_each = if self.card.per_token { sentences[0].ids.len() } else { 1 };
        let (rows, dim) = (sentences.len() * rows_each, feature.dim);
        let backbone = || self.card.card.name.clone();
        Array2::from_shape_vec((rows, dim), values).map_err(|_| BackboneError::Shape {
            backbone: backbone(),
            rows,
            dim,
            found,
        })
    }
}

/// Ids and masks of sentences of equal length, as `[B, L]`.
pub(super) fn feeds(sentences: &[Arc<Sentence>]) -> [Feed<'static>; 2] {
    let shape = vec![sentences.len(), sentences.first().map_or(0, |sentence| sentence.ids.len())];
    let all = |of: fn(&Sentence) -> &[i64]| Cow::Owned(sentences.iter().flat_map(|s| of(s).iter().copied()).collect());
    [Feed::Ints(IDS, all(|s| &s.ids), shape.clone()), Feed::Ints(MASK, all(|s| &s.mask), shape)]
}
