//! Sentences to token ids: the tokenizers of all text towers, and how long each stage of the original code makes its rows.
//!
//! Not for running a text tower, and not for wording a sentence beyond what the original code does to it. Invariant: the ids are those that transformers gives for
//! the same vocabulary and the same rule.

mod cache;
mod clip;
mod repair;
mod rule;
mod sentence;
mod tokenizer;
mod vocabulary;

use std::path::PathBuf;

pub use rule::{MODEL_MAX, Padding, RULES, TextModel, TokenizationRule};
pub use sentence::{Preparation, question, stripped};
pub use tokenizer::{Encoded, Tokenizer};
pub use vocabulary::Specials;
pub use vocabulary::{WHAT, answer};

/// What can go wrong between a vocabulary's files and token ids.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing that a tokenizer can be made from.
    #[error("{}: no tokenizer, expected tokenizer.json, vocab.txt, or vocab.json with merges.txt, or CLIP's bpe_simple_vocab_16e6.txt.gz, or a folder of these", path.display())]
    NoVocabulary {
        /// The file or the folder.
        path: PathBuf,
    },
    /// One half of a byte-level BPE vocabulary.
    #[error("{}: {} must lie beside it", have.display(), lacks.display())]
    HalfVocabulary {
        /// The half that is there.
        have: PathBuf,
        /// The half that is not.
        lacks: PathBuf,
    },
    /// A file that is there and makes no tokenizer.
    #[error("{}: {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        why: String,
    },
    /// Tokens that every sentence needs.
    #[error("{}: the vocabulary lacks {}", path.display(), lacks.join(", "))]
    LacksTokens {
        /// The vocabulary.
        path: PathBuf,
        /// The tokens.
        lacks: Vec<&'static str>,
    },
    /// A `tokenizer.json` that is made for something else.
    #[error("{}: {why}", path.display())]
    Unsuited {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        why: String,
    },
    /// A local Hugging Face cache holds several versions and does not say which is the current one.
    #[error("{}: several snapshots ({}) and no refs/main to choose by: name one of them", repository.display(), snapshots.join(", "))]
    Ambiguous {
        /// The repository's folder.
        repository: PathBuf,
        /// The snapshots' names.
        snapshots: Vec<String>,
    },
    /// No local copy of a model's vocabulary.
    #[error("no tokenizer of {} (looked for {}): {}", model.name(), listed(looked), model.remedy())]
    NotFound {
        /// The model.
        model: TextModel,
        /// The folders that would have served.
        looked: Vec<PathBuf>,
    },
    /// Another model's tokenizer.
    #[error("rule {rule} of {} takes {}, {} holds {}", model.name(), model.kind(), path.display(), found.kind())]
    OtherModel {
        /// The rule.
        rule: &'static str,
        /// The rule's model.
        model: TextModel,
        /// The vocabulary.
        path: PathBuf,
        /// The model that it belongs to.
        found: TextModel,
    },
    /// No model of that name.
    #[error("no text model is called {name:?}, expected one of {}", TextModel::ALL.map(|model| model.name()).join(", "))]
    UnknownModel {
        /// The name asked for.
        name: String,
    },
    /// No rule of that name.
    #[error("no rule of {} is called {name:?}, expected one of {}", model.name(), known.join(", "))]
    UnknownRule {
        /// The name asked for.
        name: String,
        /// The model asked for.
        model: TextModel,
        /// The model's rules.
        known: Vec<&'static str>,
    },
    /// The tokenizer could not make tokens of a sentence.
    #[error("{text:?}: {why}")]
    Encode {
        /// The sentence.
        text: String,
        /// What the tokenizer said.
        why: String,
    },
}

fn listed(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if shown.is_empty() { "nothing: no cache folder is known".to_owned() } else { shown.join(", ") }
}
