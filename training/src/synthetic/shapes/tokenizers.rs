//! Vocabularies of all words of all datasets, in the files that the published ones come in.
//!
//! Not for reading them: `egofx::text` does. Invariant: a dataset's sentence has no unknown token, and every word of it
//! that follows a blank is one token.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::qa;
use super::scene::all_acts;
use super::words::{ARTICLES, class, narrated, ordered};
use crate::synthetic::error::SyntheticError;
use crate::synthetic::files::write;

/// The byte-level sign of a blank.
const BLANK: char = 'Ġ';
/// What can be spelled, beyond the words.
const CHARACTERS: &str = "#',-.?0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes both vocabularies: of DistilBERT's kind (`vocab.txt`) and of RoBERTa's (`vocab.json`, `merges.txt`); gives
/// their folders.
pub(super) fn write_both(out: &Path) -> Result<[PathBuf; 2], SyntheticError> {
    let words: BTreeSet<String> = all_sentences().flat_map(|sentence| split(&sentence)).collect();
    let [egovlp, egovlpv2] = ["egovlp", "egovlpv2"].map(|model| out.join("tokenizers").join(model));
    write(&egovlp.join("vocab.txt"), word_pieces(&words).as_bytes())?;
    let (vocabulary, merges) = byte_pairs(&words);
    write(&egovlpv2.join("vocab.json"), format!("{vocabulary}\n").as_bytes())?;
    write(&egovlpv2.join("merges.txt"), merges.as_bytes())?;
    Ok([egovlp, egovlpv2])
}

/// As byte-level tokenizers split: letters or signs, each run with the blank before it.
fn split(sentence: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for character in sentence.chars() {
        let goes_on = last.is_some_and(|last: char| last == ' ' || last.is_alphabetic() == character.is_alphabetic());
        match words.last_mut() {
            Some(word) if goes_on && character != ' ' => word.push(character),
            _ => words.push(character.to_string()),
        }
        last = Some(character);
    }
    words.into_iter().map(|word| word.replace(' ', &BLANK.to_string())).collect()
}

/// Special tokens, characters that begin or go on, words: without case.
fn word_pieces(words: &BTreeSet<String>) -> String {
    let mut lines: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned).to_vec();
    let characters: BTreeSet<char> = CHARACTERS.to_lowercase().chars().collect();
    lines.extend(characters.iter().map(char::to_string));
    lines.extend(
        characters.iter().filter(|character| character.is_alphanumeric()).map(|character| format!("##{character}")),
    );
    let whole: BTreeSet<String> = words.iter().map(|word| word.trim_start_matches(BLANK).to_lowercase()).collect();
    lines.extend(whole.into_iter().filter(|word| word.len() > 1));
    lines.join("\n") + "\n"
}

/// The vocabulary and the merges that spell each word from its beginning.
fn byte_pairs(words: &BTreeSet<String>) -> (Value, String) {
    let mut tokens: Vec<String> = ["<s>", "<pad>", "</s>", "<unk>"].map(str::to_owned).to_vec();
    tokens.extend(CHARACTERS.chars().chain([BLANK]).map(String::from));
    let mut merges = "#version: 0.2\n".to_owned();
    // Words after a blank first: of the merges that fit, the first is made, and theirs are to win over those of words
    // that begin a sentence.
    let (after_blank, at_start): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| word.starts_with(BLANK));
    let mut known: BTreeSet<String> = BTreeSet::new();
    for word in after_blank.into_iter().chain(at_start) {
        for (end, last) in word.char_indices().skip(1) {
            let (head, whole) = (&word[..end], &word[..end + last.len_utf8()]);
            if known.insert(whole.to_owned()) {
                merges.push_str(&format!("{head} {last}\n"));
                tokens.push(whole.to_owned());
            }
        }
    }
    tokens.push("<mask>".to_owned());
    let ids: Map<String, Value> = tokens.into_iter().zip(0..).map(|(token, id)| (token, json!(id))).collect();
    (Value::Object(ids), merges)
}

/// All that can be said: every word that any benchmark of any shapes dataset uses.
fn all_sentences() -> impl Iterator<Item = String> {
    let denied = ["no".to_owned()].into_iter();
    let said = all_acts().flat_map(|act| {
        let ways = act.motion().ways.iter();
        let of_ways = ways.flat_map(move |way| {
            let narrations = ARTICLES.map(|article| narrated(act, way, article));
            narrations.into_iter().chain([ordered(act, way)])
        });
        let questions =
            qa::questions(act, act).flat_map(|(_, question, answer)| [question.to_lowercase(), question, answer]);
        of_ways.chain([class(act)]).chain(questions)
    });
    said.chain(denied)
}
