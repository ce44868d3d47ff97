//! Sentences as vectors in the space of a store's rows: the text tower of the checkpoint that made them.
//!
//! Not for searching. Invariant: the graph's checkpoint is the store's, by its hash; a sentence's vector is the same in every batch.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array1, Array2};

use super::error::{SearchError, short};
use crate::backbone::{Backbone, Card, Dim, GraphPrecision, Input, Sentence, Towers};
use crate::store::StoreReader;
use crate::text::{TextModel, TokenizationRule, Tokenizer};

/// The output of a text tower that rows are compared with.
const POOLED: &str = "pooled";
/// The stage of the original code whose sentences are read as they come.
const RULE: &str = "egomcq";
/// Sentences that are given to the graph at once.
const BATCH: usize = 32;

/// The text tower in the folder `models` that belongs to the rows of `store`, its files checked.
///
/// # Errors
/// [`SearchError::OtherCheckpoint`] with the text towers that are there, [`SearchError::Backbone`].
pub fn text_tower(models: &Path, store: &StoreReader) -> Result<Towers, SearchError> {
    let contract = store.contract();
    let cards: Vec<Card> = Card::names(models).iter().filter_map(|name| Card::describe(models, name).ok()).collect();
    let texts: Vec<&Card> = cards.iter().filter(|card| pooled(card).is_some()).collect();
    let fits = |card: &&&Card| {
        let (sha256, dim) = (&card.checkpoint_sha256, pooled(card));
        card.precision == GraphPrecision::Fp32 && *sha256 == contract.checkpoint_sha256 && dim == Some(contract.dim)
    };
    if let Some(card) = texts.iter().find(fits) {
        return Ok(Towers::single(models, &card.name, POOLED)?);
    }
    let told =
        |card: &&Card| format!("{} of {} (sha256 {})", card.name, card.checkpoint, short(&card.checkpoint_sha256));
    Err(SearchError::OtherCheckpoint {
        path: store.path().to_owned(),
        checkpoint: contract.checkpoint.clone(),
        sha256: contract.checkpoint_sha256.clone(),
        models: models.to_owned(),
        found: texts.iter().map(told).collect::<Vec<_>>().join(", "),
    })
}

/// How long the vectors of sentences are that a graph gives; `None` if it gives none.
fn pooled(card: &Card) -> Option<usize> {
    let takes = |name: &str| card.inputs.iter().any(|input| input.name == name);
    let output = card.outputs.iter().find(|output| output.name == POOLED)?;
    match output.shape[..] {
        [Dim::Named(_), Dim::Fixed(dim)] if takes("ids") && takes("mask") => usize::try_from(dim).ok(),
        _ => None,
    }
}

/// Whose vocabulary a text graph reads, by its name; `None` for a graph from elsewhere.
pub fn text_model(towers: &Towers) -> Option<TextModel> {
    let name = towers.last().name.as_str();
    // The longer name first: it begins with the other.
    let found = TextModel::ALL.into_iter().rev().find(|model| name.starts_with(model.name()));
    let reads_bert = ["distilbert", "egovlp"].iter().any(|tower| name.contains(tower));
    found.map(|model| if model == TextModel::Lavila && reads_bert { TextModel::EgoVlp } else { model })
}

/// Unit vectors of `texts`, `[texts, dim]`.
///
/// # Errors
/// [`SearchError::NoSentence`] for a text of blanks, [`SearchError::Text`], [`SearchError::Backbone`].
pub fn vectors(backbone: &mut dyn Backbone, tokenizer: &Tokenizer, texts: &[&str]) -> Result<Array2<f32>, SearchError> {
    let rule = TokenizationRule::find(RULE, text_model(backbone.towers()).unwrap_or(tokenizer.model))?;
    let mut by_length: BTreeMap<usize, Vec<(usize, Arc<Sentence>)>> = BTreeMap::new();
    for (place, text) in texts.iter().enumerate() {
        let sentence = sentence(tokenizer, rule, text, place)?;
        by_length.entry(sentence.ids.len()).or_default().push((place, Arc::new(sentence)));
    }
    let mut vectors = Array2::zeros((texts.len(), backbone.towers().feature().dim));
    for sentences in by_length.values().flat_map(|sentences| sentences.chunks(BATCH)) {
        let input: Vec<Arc<Sentence>> = sentences.iter().map(|(_, sentence)| sentence.clone()).collect();
        let rows = backbone.forward(&Input::Sentences(&input))?;
        for ((place, _), row) in sentences.iter().zip(rows.outer_iter()) {
            vectors.row_mut(*place).assign(&unit(row.to_owned()));
        }
    }
    Ok(vectors)
}

fn sentence(tokenizer: &Tokenizer, rule: &TokenizationRule, text: &str, place: usize) -> Result<Sentence, SearchError> {
    if text.trim().is_empty() {
        return Err(SearchError::NoSentence { what: format!("sentence {}", place + 1) });
    }
    // Alone, so that it is not filled up to another one's length.
    let encoded = tokenizer.encode(rule, &[text])?;
    if encoded.cut[0] > 0 {
        log::warn!("sentence {}: cut to {} tokens{}", place + 1, rule.max_length, rule.about_cut());
    }
    Ok(Sentence { ids: encoded.ids.row(0).to_vec(), mask: encoded.mask.row(0).to_vec() })
}

/// `vector` divided by its norm; zeros stay zeros.
pub(super) fn unit(vector: Array1<f32>) -> Array1<f32> {
    let norm = vector.dot(&vector).sqrt();
    if norm > 0.0 { vector / norm } else { vector }
}
