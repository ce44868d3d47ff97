//! From a vocabulary's files to the tokenizer that transformers would build of them.
//!
//! Not for encoding. Invariant: special ids come from the vocabulary by their names, and a tokenizer that leaves here puts
//! the opening and the closing one around every sentence.

use std::fs;
use std::path::{Path, PathBuf};

use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, Model, Tokenizer as Inner};

use super::{TextError, TextModel, clip};
use crate::foreign::{self, Fault, Request};

/// What [`answer`] is asked for by.
pub const WHAT: &str = "tokenizer";
/// What a reader makes of a byte of a vocabulary, in bytes.
const GROWTH: u64 = 64;

/// Reads a tokenizer and says nothing if that goes well, for a program that tries files for another ([`foreign::serve`]).
///
/// # Errors
/// What is wrong with it.
pub fn answer(path: &Path) -> Result<Vec<u8>, String> {
    let files = Files::at(path).map_err(|error| error.to_string())?;
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    foreign::expect(path, length.saturating_mul(GROWTH))?;
    let (inner, ..) = files.caught().map_err(|error| error.to_string())?;
    // Patterns may be what takes long.
    inner.encode_fast("where did I put the knife?", true).map_err(|error| error.to_string())?;
    Ok(Vec::new())
}

/// A vocabulary's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Files {
    /// A whole tokenizer.
    Json(PathBuf),
    /// `vocab.txt`.
    WordPiece(PathBuf),
    /// `vocab.json` and `merges.txt`.
    Bpe(PathBuf, PathBuf),
    /// OpenAI's `bpe_simple_vocab_16e6.txt.gz`, packed or not.
    Clip(PathBuf),
}

impl Files {
    /// What `path` stands for: a file of a vocabulary, or a folder with one.
    pub(super) fn at(path: &Path) -> Result<Self, TextError> {
        fs::metadata(path).map_err(|source| TextError::Io { path: path.to_owned(), source })?;
        let found = if path.is_dir() { Self::in_folder(path) } else { Self::of_file(path) };
        let files = found.ok_or_else(|| TextError::NoVocabulary { path: path.to_owned() })?;
        if let Self::Bpe(vocabulary, merges) = &files {
            let halves = [(merges, vocabulary), (vocabulary, merges)];
            if let Some((have, lacks)) = halves.into_iter().find(|(_, lacks)| !lacks.is_file()) {
                return Err(TextError::HalfVocabulary { have: have.clone(), lacks: lacks.clone() });
            }
        }
        Ok(files)
    }

    /// A whole tokenizer is taken before its parts.
    pub(super) fn in_folder(folder: &Path) -> Option<Self> {
        let names = [
            "tokenizer.json",
            "vocab.json",
            "merges.txt",
            "vocab.txt",
            "bpe_simple_vocab_16e6.txt.gz",
            "bpe_simple_vocab_16e6.txt",
        ];
        let there = names.map(|name| folder.join(name));
        there.iter().find(|path| path.is_file()).and_then(|path| Self::of_file(path))
    }

    fn of_file(path: &Path) -> Option<Self> {
        match path.file_name()?.to_str()? {
            "vocab.json" | "merges.txt" => {
                Some(Self::Bpe(path.with_file_name("vocab.json"), path.with_file_name("merges.txt")))
            }
            name if name.starts_with(clip::FILE) => Some(Self::Clip(path.to_owned())),
            name if name.ends_with(".json") => Some(Self::Json(path.to_owned())),
            name if name.ends_with(".txt") => Some(Self::WordPiece(path.to_owned())),
            _ => None,
        }
    }

    /// The file that messages name.
    pub(super) fn path(&self) -> &Path {
        let (Self::Json(path) | Self::WordPiece(path) | Self::Bpe(path, _) | Self::Clip(path)) = self;
        path
    }

    /// The tokenizer, whose it is, and its special tokens.
    pub(super) fn load(&self) -> Result<(Inner, TextModel, Specials), TextError> {
        // The reader believes lengths and patterns, so that another process has to find out what they come to.
        match foreign::ask(&Request { what: WHAT, path: self.path().to_owned(), name: String::new() }) {
            // In its own words.
            None | Some(Ok(_) | Err(Fault::Refused(_))) => {}
            Some(Err(fault)) => return Err(broken(self.path(), fault.to_string().into())),
        }
        self.caught()
    }

    fn caught(&self) -> Result<(Inner, TextModel, Specials), TextError> {
        let parsed = foreign::parse(|| self.parsed());
        parsed.unwrap_or_else(|panicked| Err(broken(self.path(), panicked.to_string().into())))
    }

    fn parsed(&self) -> Result<(Inner, TextModel, Specials), TextError> {
        let (inner, model) = match self {
            Self::Json(path) => whole(path)?,
            Self::WordPiece(path) => (wordpiece(path)?, TextModel::EgoVlp),
            Self::Bpe(vocabulary, merges) => byte_level_bpe(vocabulary, merges)?,
            Self::Clip(path) => {
                let inner = clip::of_merges(&read(path)?).map_err(|why| broken(path, why))?;
                (enclosed(inner, TextModel::Lavila), TextModel::Lavila)
            }
        };
        let specials = Specials::of(&inner, model, self.path())?;
        check(&inner, model, specials, self.path())?;
        Ok((inner, model, specials))
    }
}

fn whole(path: &Path) -> Result<(Inner, TextModel), TextError> {
    let mut inner = Inner::from_bytes(read(path)?).map_err(|why| broken(path, why))?;
    let model = match inner.get_model() {
        ModelWrapper::WordPiece(_) => TextModel::EgoVlp,
        ModelWrapper::BPE(bpe) if bpe.end_of_word_suffix.as_deref() == Some(clip::WORD_END) => TextModel::Lavila,
        ModelWrapper::BPE(_) => TextModel::EgoVlpV2,
        _ => {
            let kinds = TextModel::ALL.map(TextModel::kind).join(" or ");
            return Err(unsuited(path, format!("is none of the tokenizers that are known here, {kinds}")));
        }
    };
    // A file may say how it was last used; here a rule decides.
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|why| broken(path, why))?;
    Ok((inner, model))
}

fn wordpiece(path: &Path) -> Result<Inner, TextError> {
    let vocabulary = WordPiece::read_bytes(&read(path)?).map_err(|why| broken(path, why))?;
    let built = WordPiece::builder().vocab(vocabulary).unk_token("[UNK]".to_owned()).build();
    let mut inner = Inner::new(built.map_err(|why| broken(path, why))?);
    let [start, end] = ends(&inner, TextModel::EgoVlp);
    inner.with_normalizer(Some(BertNormalizer::default())).map_err(|why| broken(path, why))?;
    inner.with_pre_tokenizer(Some(BertPreTokenizer));
    inner.with_post_processor(Some(BertProcessing::new(end, start)));
    mark_specials(inner, TextModel::EgoVlp, path)
}

/// RoBERTa's tokenizer, or CLIP's where the vocabulary has its marks.
fn byte_level_bpe(path: &Path, merges: &Path) -> Result<(Inner, TextModel), TextError> {
    let names = [path, merges].map(|file| file.to_string_lossy());
    let failed = |why: tokenizers::Error| broken(path, format!("with {}: {why}", names[1]).into());
    let (vocabulary, pairs) = BPE::read_file(&names[0], &names[1]).map_err(failed)?;
    if vocabulary.contains_key(clip::MARKS[0]) {
        let inner = clip::build(vocabulary, pairs).map_err(failed)?;
        return Ok((enclosed(inner, TextModel::Lavila), TextModel::Lavila));
    }
    let built = BPE::builder().vocab_and_merges(vocabulary, pairs).unk_token("<unk>".to_owned()).build();
    let mut inner = Inner::new(built.map_err(failed)?);
    let [start, end] = ends(&inner, TextModel::EgoVlpV2);
    inner.with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)));
    inner.with_post_processor(Some(RobertaProcessing::new(end, start).add_prefix_space(false)));
    Ok((mark_specials(inner, TextModel::EgoVlpV2, path)?, TextModel::EgoVlpV2))
}

/// The same tokenizer, which puts its model's opening and closing token around every sentence.
fn enclosed(mut inner: Inner, model: TextModel) -> Inner {
    let [start, end] = ends(&inner, model);
    inner.with_post_processor(Some(BertProcessing::new(end, start)));
    inner
}

/// The tokens around a sentence, with their ids. One that is missing is noticed when the special tokens are looked up.
fn ends(inner: &Inner, model: TextModel) -> [(String, u32); 2] {
    let [start, end, ..] = model.special_tokens();
    [start, end].map(|name| (name.to_owned(), inner.token_to_id(name).unwrap_or_default()))
}

/// Special tokens are found in a sentence before it is split, as transformers does. What the vocabulary lacks is not
/// added: it would get an id that no embedding has.
fn mark_specials(mut inner: Inner, model: TextModel, path: &Path) -> Result<Inner, TextError> {
    let known = model.special_tokens().into_iter().filter(|name| inner.get_model().token_to_id(name).is_some());
    // RoBERTa's mask takes the blank before it along.
    let tokens: Vec<AddedToken> = known.map(|name| AddedToken::from(name, true).lstrip(name == "<mask>")).collect();
    inner.add_special_tokens(tokens).map_err(|why| broken(path, why))?;
    Ok(inner)
}

/// The special tokens' ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Specials {
    /// Opens every row: `[CLS]`, `<s>`.
    pub start: i64,
    /// Closes every row: `[SEP]`, `</s>`.
    pub end: i64,
    /// Fills rows up: `[PAD]`, `<pad>`.
    pub pad: i64,
    /// Stands for what the vocabulary cannot say: `[UNK]`, `<unk>`.
    pub unknown: i64,
    /// Stands for what a model is to guess: `[MASK]`, `<mask>`.
    pub mask: i64,
}

impl Specials {
    /// The special ids of `inner`, by the names that they have in `model`'s vocabulary.
    fn of(inner: &Inner, model: TextModel, path: &Path) -> Result<Self, TextError> {
        let names = model.special_tokens();
        let ids = names.map(|name| inner.token_to_id(name));
        let [Some(start), Some(end), Some(pad), Some(unknown), Some(mask)] = ids else {
            let lacks = names.into_iter().zip(ids).filter(|(_, id)| id.is_none()).map(|(name, _)| name).collect();
            return Err(TextError::LacksTokens { path: path.to_owned(), lacks });
        };
        let [start, end, pad, unknown, mask] = [start, end, pad, unknown, mask].map(i64::from);
        Ok(Self { start, end, pad, unknown, mask })
    }
}

/// A `tokenizer.json` can be anything. Its sentences must stand between the right tokens and be read as the model's are:
/// DistilBERT's without case, RoBERTa's without a blank put before them.
fn check(inner: &Inner, model: TextModel, specials: Specials, path: &Path) -> Result<(), TextError> {
    let ids = |text: &str| -> Result<Vec<i64>, TextError> {
        let encoding = inner.encode_fast(text, true).map_err(|why| broken(path, why))?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    };
    let (found, expected) = (ids("")?, [specials.start, specials.end]);
    if found != expected {
        return Err(unsuited(path, format!("makes {found:?} of the empty sentence, expected {expected:?}")));
    }
    match model {
        TextModel::EgoVlp if ids("A")? != ids("a")? => Err(unsuited(path, "tells \"A\" from \"a\", expected not to")),
        TextModel::EgoVlpV2 if ids(" a")? == ids("a")? => {
            Err(unsuited(path, "puts a blank before sentences, expected not to"))
        }
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TextError> {
    fs::read(path).map_err(|source| TextError::Io { path: path.to_owned(), source })
}

fn broken(path: &Path, why: tokenizers::Error) -> TextError {
    TextError::Broken { path: path.to_owned(), why: why.to_string() }
}

fn unsuited(path: &Path, why: impl Into<String>) -> TextError {
    TextError::Unsuited { path: path.to_owned(), why: why.into() }
}
