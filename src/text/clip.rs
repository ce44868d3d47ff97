//! CLIP's tokenizer (LaViLa's): byte-level BPE whose words end with a mark, from OpenAI's file or Hugging Face's.
//!
//! Not for what becomes of a sentence before ([`repair`](super::repair)). Invariant: ids are those of `simple_tokenizer.py`
//! in openai/CLIP.

use std::io::Read;

use flate2::read::GzDecoder;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer as Inner};

/// The marks around a sentence, which are the last ids.
pub const MARKS: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];
/// What the name of OpenAI's file begins with.
pub const FILE: &str = "bpe_simple_vocab";
/// What ends a word.
pub const WORD_END: &str = "</w>";
/// Lines of the file that are merges: from the second one on.
const MERGES: usize = 49152 - 256 - 2;
/// Unpacked, OpenAI's file has 3 MB.
const MOST_BYTES: u64 = 64 << 20;
/// Words, digits one by one, and everything else; the endings of English apart.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The lines of `bytes`, which may be packed by gzip.
fn unpacked(bytes: &[u8]) -> Result<String, tokenizers::Error> {
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(bytes).take(MOST_BYTES).read_to_string(&mut text)?;
    } else {
        bytes.take(MOST_BYTES).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// The tokenizer of OpenAI's file, which lists merges only: ids follow from their order.
pub fn of_merges(bytes: &[u8]) -> Result<Inner, tokenizers::Error> {
    let text = unpacked(bytes)?;
    let pairs = text.lines().skip(1).take(MERGES).map(|line| line.split_once(' '));
    let merges: Option<Vec<(String, String)>> = pairs.map(|pair| pair.map(|(a, b)| (a.into(), b.into()))).collect();
    let merges = merges.filter(|merges| merges.len() == MERGES);
    let merges = merges.ok_or_else(|| format!("expected a line and {MERGES} lines of two parts each"))?;
    let bytes = byte_characters();
    let ended = bytes.iter().map(|c| format!("{c}{WORD_END}"));
    let single = bytes.iter().map(char::to_string).chain(ended);
    let merged = merges.iter().map(|(a, b)| format!("{a}{b}"));
    let names = single.chain(merged).chain(MARKS.map(str::to_owned));
    build(names.zip(0..).collect(), merges)
}

/// The tokenizer of a vocabulary and its merges.
pub fn build(vocabulary: Vocab, merges: Vec<(String, String)>) -> Result<Inner, tokenizers::Error> {
    let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).end_of_word_suffix(WORD_END.to_owned()).build()?;
    let mut inner = Inner::new(bpe);
    let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::new(false, true, false);
    inner.with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])));
    inner.add_special_tokens(MARKS.map(|mark| AddedToken::from(mark, true)).to_vec())?;
    Ok(inner)
}

/// GPT-2's characters for bytes, in the order of their ids: those that can be printed stand for themselves, the others
/// for characters from U+0100 on.
fn byte_characters() -> Vec<char> {
    let is_printed = |byte: &u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let printed = (0..=255_u8).filter(is_printed).map(char::from);
    let count = (0..=255_u8).filter(|byte| !is_printed(byte)).count() as u32;
    printed.chain((0..count).filter_map(|place| char::from_u32(256 + place))).collect()
}

#[cfg(test)]
mod tests;
