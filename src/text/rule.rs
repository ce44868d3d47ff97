//! Which model reads text, and how each stage of the original code prepares, pads and truncates it.
//!
//! Not for splitting text into tokens. Invariant: one rule for each pair of stage and model, and no rule is longer than
//! [`MODEL_MAX`].

use std::borrow::Cow;
use std::str::FromStr;

use super::{Preparation, TextError, clip};

/// The most tokens that either tower takes: DistilBERT's 512 positions, and RoBERTa's 514 less the two that it leaves out.
pub const MODEL_MAX: usize = 512;

/// A model whose text tower takes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextModel {
    /// EgoVLP: DistilBERT, uncased WordPiece.
    EgoVlp,
    /// EgoVLPv2: RoBERTa, byte-level BPE.
    EgoVlpV2,
    /// LaViLa: CLIP, byte-level BPE with ends of words. Its models with DistilBERT read as EgoVLP does.
    Lavila,
}

impl TextModel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EgoVlp, Self::EgoVlpV2, Self::Lavila];

    /// Short name, as typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::EgoVlp => "egovlp",
            Self::EgoVlpV2 => "egovlpv2",
            Self::Lavila => "lavila",
        }
    }

    /// The kind of vocabulary, for people.
    pub fn kind(self) -> &'static str {
        match self {
            Self::EgoVlp => "uncased WordPiece (DistilBERT)",
            Self::EgoVlpV2 => "byte-level BPE (RoBERTa)",
            Self::Lavila => "byte-level BPE with ends of words (CLIP)",
        }
    }

    /// The special tokens: opening, closing, padding, unknown, mask. CLIP has but the first two: its rows are filled up with
    /// id 0, which is a usual token.
    pub(super) fn special_tokens(self) -> [&'static str; 5] {
        match self {
            Self::EgoVlp => ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"],
            Self::EgoVlpV2 => ["<s>", "</s>", "<pad>", "<unk>", "<mask>"],
            Self::Lavila => [clip::MARKS[0], clip::MARKS[1], "!", clip::MARKS[1], clip::MARKS[1]],
        }
    }

    /// The Hugging Face repositories that hold the vocabulary: today's name, and the one that redirects to it.
    pub(super) fn repositories(self) -> [&'static str; 2] {
        match self {
            Self::EgoVlp => ["distilbert/distilbert-base-uncased", "distilbert-base-uncased"],
            Self::EgoVlpV2 => ["FacebookAI/roberta-base", "roberta-base"],
            Self::Lavila => ["openai/clip-vit-base-patch16", "openai/clip-vit-large-patch14"],
        }
    }

    /// How to come by the vocabulary.
    pub(super) fn remedy(self) -> String {
        let [repository, _] = self.repositories();
        let by_hand = match self {
            Self::EgoVlp => "vocab.txt",
            Self::EgoVlpV2 => "vocab.json and merges.txt",
            Self::Lavila => "vocab.json and merges.txt (or bpe_simple_vocab_16e6.txt.gz of the package clip-anytorch)",
        };
        format!(
            "run `hf download {repository} tokenizer.json` (`huggingface-cli download` in older versions), or put \
             tokenizer.json, or {by_hand}, of https://huggingface.co/{repository} into a folder and name that with \
             --tokenizer"
        )
    }
}

impl FromStr for TextModel {
    type Err = TextError;

    fn from_str(name: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|model| model.name() == name);
        found.ok_or_else(|| TextError::UnknownModel { name: name.to_owned() })
    }
}

/// How long rows are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// As long as the longest row of the batch.
    Longest,
    /// So many tokens.
    Fixed(usize),
}

/// How one stage of the original code treats the sentences of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizationRule {
    /// The stage; unique among the rules of one model.
    pub name: &'static str,
    /// The model.
    pub model: TextModel,
    /// What becomes of a sentence first.
    pub preparation: Preparation,
    /// How long rows are made.
    pub padding: Padding,
    /// The most tokens in a row, `<s>` and `</s>` included.
    pub max_length: usize,
    /// Whether a sentence that is too long keeps its closing token.
    pub keeps_end: bool,
    /// The stage in words.
    pub about: &'static str,
}

/// All rules. EgoVLP pads to the longest row everywhere. Which file and which function each follows, and what was compared,
/// is in `docs/book/src/appendix/fidelity.md`.
pub const RULES: &[TokenizationRule] = &[
    longest("pretrain", TextModel::EgoVlp, "EgoClip pretraining"),
    longest("egomcq", TextModel::EgoVlp, "EgoMCQ; one question is a batch"),
    longest("nlq", TextModel::EgoVlp, "NLQ text features (run/test_nlq.py); one query is a batch"),
    asked("nlq-vslnet", longest("", TextModel::EgoVlp, "NLQ as EgoVLP's VSLNet reads it; one query is a batch")),
    longest("epic-train", TextModel::EgoVlp, "EPIC-Kitchens MIR fine-tuning"),
    longest("epic", TextModel::EgoVlp, "EPIC-Kitchens MIR evaluation"),
    longest("charades-train", TextModel::EgoVlp, "Charades-Ego fine-tuning"),
    longest("charades", TextModel::EgoVlp, "Charades-Ego evaluation"),
    fixed("pretrain", 15, "EgoClip pretraining"),
    longest("egomcq", TextModel::EgoVlpV2, "EgoMCQ; one question is a batch"),
    asked("nlq", fixed("", 30, "NLQ feature extraction")),
    fixed("qfvs", 15, "query-focused video summarisation"),
    fixed("epic-train", 30, "EPIC-Kitchens MIR fine-tuning"),
    longest("epic", TextModel::EgoVlpV2, "EPIC-Kitchens MIR evaluation"),
    fixed("charades-train", 15, "Charades-Ego fine-tuning"),
    fixed("charades", 30, "Charades-Ego evaluation"),
    TokenizationRule {
        preparation: Preparation::Stripped,
        ..fixed("egotaskqa", 30, "EgoTaskQA, training and evaluation")
    },
    clip_rule("egomcq", "EgoMCQ"),
    clip_rule("nlq", "NLQ, of the official files; ours, LaViLa has none"),
    clip_rule("epic", "EPIC-Kitchens MIR evaluation"),
    clip_rule("charades", "Charades-Ego evaluation: the names of the classes"),
];

const fn longest(name: &'static str, model: TextModel, about: &'static str) -> TokenizationRule {
    let (padding, max_length) = (Padding::Longest, MODEL_MAX);
    let (preparation, keeps_end) = (Preparation::AsAnnotated, true);
    TokenizationRule { name, model, preparation, padding, max_length, keeps_end, about }
}

/// CLIP's, which fills up to 77 tokens; nothing reads what stands behind the end mark. What is too long loses it.
const fn clip_rule(name: &'static str, about: &'static str) -> TokenizationRule {
    let (preparation, keeps_end) = (Preparation::Cleaned, false);
    TokenizationRule { preparation, keeps_end, max_length: 77, ..longest(name, TextModel::Lavila, about) }
}

const fn fixed(name: &'static str, length: usize, about: &'static str) -> TokenizationRule {
    let (model, padding, max_length) = (TextModel::EgoVlpV2, Padding::Fixed(length), length);
    let (preparation, keeps_end) = (Preparation::AsAnnotated, true);
    TokenizationRule { name, model, preparation, padding, max_length, keeps_end, about }
}

/// `rule`, of sentences out of VSLNet's prepared files.
const fn asked(name: &'static str, rule: TokenizationRule) -> TokenizationRule {
    TokenizationRule { name, preparation: Preparation::Question, ..rule }
}

impl TokenizationRule {
    /// The rule of that name for `model`; the error lists all of the model's.
    ///
    /// # Errors
    /// [`TextError::UnknownRule`], which lists the rules of the model.
    pub fn find(name: &str, model: TextModel) -> Result<&'static Self, TextError> {
        let rules = || RULES.iter().filter(|rule| rule.model == model);
        let known = || rules().map(|rule| rule.name).collect();
        let found = rules().find(|rule| rule.name == name);
        found.ok_or_else(|| TextError::UnknownRule { name: name.to_owned(), model, known: known() })
    }

    /// What is to be said of sentences that are cut.
    pub fn about_cut(&self) -> &'static str {
        if self.keeps_end {
            ""
        } else {
            ", without the end mark, as in the original: each has the embedding of the start mark, the same for all of them"
        }
    }

    /// The sentence that the tokenizer is given.
    pub fn prepare<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.preparation.of(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rules_are_found_by_name_and_model_and_fit_the_models() {
        let names: BTreeSet<_> = RULES.iter().map(|rule| (rule.model.name(), rule.name)).collect();
        assert_eq!(names.len(), RULES.len());
        for rule in RULES {
            assert_eq!(TokenizationRule::find(rule.name, rule.model).unwrap(), rule);
            assert_eq!(rule.model.name().parse::<TextModel>().unwrap(), rule.model);
            assert!((3..=MODEL_MAX).contains(&rule.max_length) && !rule.about.is_empty(), "{rule:?}");
            assert!(matches!(rule.padding, Padding::Longest) || rule.padding == Padding::Fixed(rule.max_length));
        }
    }

    #[test]
    fn lengths_are_those_of_the_original_code() {
        let length = |name, model| TokenizationRule::find(name, model).unwrap().padding;
        for (name, expected) in
            [("pretrain", 15), ("nlq", 30), ("qfvs", 15), ("epic-train", 30), ("charades-train", 15)]
        {
            assert_eq!(length(name, TextModel::EgoVlpV2), Padding::Fixed(expected), "{name}");
        }
        assert_eq!(length("charades", TextModel::EgoVlpV2), Padding::Fixed(30));
        assert_eq!(length("egotaskqa", TextModel::EgoVlpV2), Padding::Fixed(30));
        assert_eq!(length("egomcq", TextModel::EgoVlpV2), Padding::Longest);
        assert_eq!(length("epic", TextModel::EgoVlpV2), Padding::Longest);
        assert!(RULES.iter().all(|rule| rule.model != TextModel::EgoVlp || rule.padding == Padding::Longest));
    }

    /// The originals read prepared files for NLQ, and official ones for everything else.
    #[test]
    fn nlq_is_read_from_prepared_files_and_only_egotaskqa_is_stripped_besides() {
        let of = |preparation| {
            let rules = RULES.iter().filter(move |rule| rule.preparation == preparation);
            rules.map(|rule| (rule.model.name(), rule.name)).collect::<Vec<_>>()
        };
        assert_eq!(of(Preparation::Question), [("egovlp", "nlq-vslnet"), ("egovlpv2", "nlq")]);
        assert_eq!(of(Preparation::Stripped), [("egovlpv2", "egotaskqa")]);
        let [raw, vslnet] = ["nlq", "nlq-vslnet"].map(|name| TokenizationRule::find(name, TextModel::EgoVlp).unwrap());
        assert_eq!((&*raw.prepare("Did I\n"), &*vslnet.prepare("Did I")), ("Did I\n", "did i?"));
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let text = TokenizationRule::find("mq", TextModel::EgoVlp).unwrap_err().to_string();
        assert!(
            text.starts_with("no rule of egovlp is called \"mq\", expected one of pretrain, egomcq, nlq"),
            "{text}"
        );
        let text = "egovlp3".parse::<TextModel>().unwrap_err().to_string();
        assert_eq!(text, "no text model is called \"egovlp3\", expected one of egovlp, egovlpv2, lavila");
    }
}
