//! A tokenizer and what it makes of a batch of sentences: ids and a mask, ready for a text tower.
//!
//! Not for finding or reading vocabularies. Invariant: every row begins with the opening special token, and the last token
//! that its mask counts is the closing one, however much was cut, unless its rule says otherwise.

use std::path::{Path, PathBuf};

use ndarray::Array2;
use tokenizers::Tokenizer as Inner;

use super::vocabulary::{Files, Specials};
use super::{Padding, TextError, TextModel, TokenizationRule, cache};
use crate::digest;
use crate::foreign;

/// Splits sentences into the tokens of one text tower.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: Inner,
    /// Whose vocabulary it is.
    pub model: TextModel,
    /// The special tokens' ids.
    pub specials: Specials,
    /// The file it was made from.
    pub path: PathBuf,
}

/// A batch of sentences as a text tower takes them. `B` sentences, `L` tokens in each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids `[B, L]`.
    pub ids: Array2<i64>,
    /// 1 where a token stands, 0 on padding: `[B, L]`.
    pub mask: Array2<i64>,
    /// Tokens that were cut off each sentence, for the rule's length is fixed and theirs is not: `B` numbers.
    pub cut: Vec<usize>,
}

impl Tokenizer {
    /// Reads a tokenizer from `path`: `tokenizer.json`, `vocab.txt`, or `vocab.json` with `merges.txt` beside it; a folder
    /// that holds these; or a repository's folder in a Hugging Face cache.
    ///
    /// # Errors
    /// If nothing of that kind is there, if it cannot be parsed, or if it lacks a special token.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        let snapshot = cache::current_snapshot(path)?;
        let files = Files::at(snapshot.as_deref().unwrap_or(path))?;
        let (inner, model, specials) = files.load()?;
        Ok(Self { inner, model, specials, path: files.path().to_owned() })
    }

    /// Looks for `model`'s tokenizer in local Hugging Face caches (folders that hold `models--roberta-base` and the like),
    /// the first one first. Nothing is fetched.
    ///
    /// # Errors
    /// [`TextError::NotFound`] says how to come by it; else as [`open`](Self::open).
    pub fn find(model: TextModel, caches: &[PathBuf]) -> Result<Self, TextError> {
        Self::open(&cache::find(model, caches)?)
    }

    /// Ids and mask of `texts`, one batch, by `rule`. What is too long loses its last tokens but the closing one, as
    /// transformers' `longest_first` does it.
    ///
    /// # Errors
    /// [`TextError::OtherModel`] if the rule is another model's.
    pub fn encode(&self, rule: &TokenizationRule, texts: &[impl AsRef<str>]) -> Result<Encoded, TextError> {
        if rule.model != self.model {
            let (rule, model) = (rule.name, rule.model);
            return Err(TextError::OtherModel { rule, model, path: self.path.clone(), found: self.model });
        }
        let prepared = texts.iter().map(|text| {
            let prepared = rule.prepare(text.as_ref());
            if rule.preparation.is_doubtful(&prepared) {
                log::warn!(
                    "{:?} looks wrongly decoded; the original's ftfy may repair what is not repaired here",
                    text.as_ref()
                );
            }
            self.tokens(&prepared)
        });
        let mut rows: Vec<Vec<i64>> = prepared.collect::<Result<_, _>>()?;
        let cut = rows.iter_mut().map(|row| self.truncate(row, rule)).collect();
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let length = if let Padding::Fixed(length) = rule.padding { length } else { longest };
        let shape = (rows.len(), length);
        let ids = Array2::from_shape_fn(shape, |(i, j)| rows[i].get(j).copied().unwrap_or(self.specials.pad));
        let mask = Array2::from_shape_fn(shape, |(i, j)| i64::from(j < rows[i].len()));
        Ok(Encoded { ids, mask, cut })
    }

    /// Hash of the vocabulary's file, for those who must know whether two runs read alike.
    ///
    /// # Errors
    /// [`TextError::Io`] if the file can no longer be read.
    pub fn sha256(&self) -> Result<String, TextError> {
        let hashed = digest::file(&self.path);
        hashed.map(|(_, sha256)| sha256).map_err(|source| TextError::Io { path: self.path.clone(), source })
    }

    /// The token of an id, as the vocabulary writes it.
    pub fn token(&self, id: i64) -> Option<String> {
        u32::try_from(id).ok().and_then(|id| self.inner.id_to_token(id))
    }

    /// How many ids there are, special tokens included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn tokens(&self, text: &str) -> Result<Vec<i64>, TextError> {
        let failed = |why: String| TextError::Encode { text: text.to_owned(), why };
        let encode = foreign::parse(|| self.inner.encode_fast(text, true));
        let encode = encode.map_err(|panicked| failed(format!("{}: {panicked}", self.path.display())))?;
        let encoding = encode.map_err(|why| failed(why.to_string()))?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// Shortens a row, the closing token of which stays if the rule keeps it; gives the number of tokens that went.
    fn truncate(&self, row: &mut Vec<i64>, rule: &TokenizationRule) -> usize {
        let cut = row.len().saturating_sub(rule.max_length);
        if cut > 0 {
            row.truncate(rule.max_length.saturating_sub(usize::from(rule.keeps_end)));
            row.extend(rule.keeps_end.then_some(self.specials.end));
        }
        cut
    }
}

#[cfg(test)]
mod tests;
