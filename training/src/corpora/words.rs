//! Tokens of sentences, as the stages of the original code make them.
//!
//! Not for vocabularies. Ids and masks are `[B, L]` of 64-bit integers, on the CPU.

use std::path::{Path, PathBuf};

use egofx::ndarray::Array2;
use egofx::text::{TextModel, TokenizationRule, Tokenizer};
use tch::Tensor;

use crate::error::TrainError;
use crate::losses::Masking;

/// A tokenizer.
pub struct Words {
    tokenizer: Tokenizer,
}

impl Words {
    /// The tokenizer at `path`, or without one that of `model` in the first of `caches` that has it.
    ///
    /// # Errors
    /// [`TrainError::Text`]: there is none, or it is of another model.
    pub fn open(path: Option<&Path>, model: TextModel, caches: &[PathBuf]) -> Result<Self, TrainError> {
        let tokenizer = match path {
            Some(path) => Tokenizer::open(path)?,
            None => Tokenizer::find(model, caches)?,
        };
        let found = tokenizer.model;
        if found == model {
            return Ok(Self { tokenizer });
        }
        let expected = format!("the tokenizer of {}, {}", model.name(), model.kind());
        Err(TrainError::unexpected(&tokenizer.path, expected, format!("one of {}, {}", found.name(), found.kind())))
    }

    /// Ids and mask of sentences, by the rule of that name.
    ///
    /// # Errors
    /// [`TrainError::Text`].
    pub fn encode(&self, rule: &str, sentences: &[&str]) -> Result<(Tensor, Tensor), TrainError> {
        let encoded = self.tokenizer.encode(TokenizationRule::find(rule, self.tokenizer.model)?, sentences)?;
        let tensor = |rows: &Array2<i64>| {
            let size = rows.shape().iter().map(|&size| size as i64).collect::<Vec<_>>();
            Tensor::from_slice(rows.as_slice().unwrap_or_default()).view(&size[..])
        };
        Ok((tensor(&encoded.ids), tensor(&encoded.mask)))
    }

    /// How tokens of this vocabulary are masked for MLM, with that probability.
    pub fn masking(&self, probability: f64) -> Masking {
        let specials = self.tokenizer.specials;
        Masking {
            specials: vec![specials.start, specials.end, specials.pad, specials.unknown, specials.mask],
            mask: specials.mask,
            vocabulary: self.tokenizer.vocabulary(),
            probability,
        }
    }

    /// The words of a row of ids, for people: without the sign by which byte-level vocabularies mark a blank.
    pub fn spelled(&self, ids: &[i64]) -> Vec<String> {
        let word = |&id: &i64| self.tokenizer.token(id).unwrap_or_else(|| id.to_string()).replace('\u{120}', "");
        ids.iter().map(word).collect()
    }
}
