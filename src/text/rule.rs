//! Which model reads text, and how each stage of the original code prepares, pads and truncates it.
//!
//! Not for splitting text into tokens. Invariant: one rule for each pair of stage and model, and no rule is longer than
//! [`MODEL_MAX`].

use std::borrow::Cow;
use std::str::FromStr;

use super::TextError;

/// The most tokens that either tower takes: DistilBERT's 512 positions, and RoBERTa's 514 less the two that it leaves out.
pub const MODEL_MAX: usize = 512;

/// A model whose text tower takes tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextModel {
    /// EgoVLP: DistilBERT, uncased WordPiece.
    EgoVlp,
    /// EgoVLPv2: RoBERTa, byte-level BPE.
    EgoVlpV2,
}

impl TextModel {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::EgoVlp, Self::EgoVlpV2];

    /// Short name, as typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::EgoVlp => "egovlp",
            Self::EgoVlpV2 => "egovlpv2",
        }
    }

    /// The kind of vocabulary, for people.
    pub fn kind(self) -> &'static str {
        match self {
            Self::EgoVlp => "uncased WordPiece (DistilBERT)",
            Self::EgoVlpV2 => "byte-level BPE (RoBERTa)",
        }
    }

    /// The special tokens: opening, closing, padding, unknown, mask.
    pub(super) fn special_tokens(self) -> [&'static str; 5] {
        match self {
            Self::EgoVlp => ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"],
            Self::EgoVlpV2 => ["<s>", "</s>", "<pad>", "<unk>", "<mask>"],
        }
    }

    /// The Hugging Face repositories that hold the vocabulary: today's name, and the one that redirects to it.
    pub(super) fn repositories(self) -> [&'static str; 2] {
        match self {
            Self::EgoVlp => ["distilbert/distilbert-base-uncased", "distilbert-base-uncased"],
            Self::EgoVlpV2 => ["FacebookAI/roberta-base", "roberta-base"],
        }
    }

    /// How to come by the vocabulary.
    pub(super) fn remedy(self) -> String {
        let [repository, _] = self.repositories();
        let by_hand = match self {
            Self::EgoVlp => "vocab.txt",
            Self::EgoVlpV2 => "vocab.json and merges.txt",
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
pub struct TextRule {
    /// The stage; unique among the rules of one model.
    pub name: &'static str,
    /// The model.
    pub model: TextModel,
    /// Whether sentences are lower-cased first.
    pub lower_case: bool,
    /// Whether blanks around sentences are dropped first.
    pub strip: bool,
    /// How long rows are made.
    pub padding: Padding,
    /// The most tokens in a row, `<s>` and `</s>` included.
    pub max_length: usize,
    /// The stage in words.
    pub about: &'static str,
}

/// All rules. EgoVLP pads to the longest row everywhere, and passes narrations raw.
pub const RULES: &[TextRule] = &[
    longest("pretrain", TextModel::EgoVlp, "EgoClip pretraining"),
    longest("egomcq", TextModel::EgoVlp, "EgoMCQ; one question is a batch"),
    longest("nlq", TextModel::EgoVlp, "NLQ text features; one query is a batch"),
    longest("epic-train", TextModel::EgoVlp, "EPIC-Kitchens MIR fine-tuning"),
    longest("epic", TextModel::EgoVlp, "EPIC-Kitchens MIR evaluation"),
    longest("charades-train", TextModel::EgoVlp, "Charades-Ego fine-tuning"),
    longest("charades", TextModel::EgoVlp, "Charades-Ego evaluation"),
    fixed("pretrain", 15, "EgoClip pretraining"),
    longest("egomcq", TextModel::EgoVlpV2, "EgoMCQ; one question is a batch"),
    stripped("nlq", "NLQ feature extraction"),
    fixed("qfvs", 15, "query-focused video summarisation"),
    fixed("epic-train", 30, "EPIC-Kitchens MIR fine-tuning"),
    longest("epic", TextModel::EgoVlpV2, "EPIC-Kitchens MIR evaluation"),
    fixed("charades-train", 15, "Charades-Ego fine-tuning"),
    fixed("charades", 30, "Charades-Ego evaluation"),
    stripped("egotaskqa", "EgoTaskQA, training and evaluation"),
];

const fn longest(name: &'static str, model: TextModel, about: &'static str) -> TextRule {
    let (padding, max_length) = (Padding::Longest, MODEL_MAX);
    TextRule { name, model, lower_case: false, strip: false, padding, max_length, about }
}

const fn fixed(name: &'static str, length: usize, about: &'static str) -> TextRule {
    let (model, padding, max_length) = (TextModel::EgoVlpV2, Padding::Fixed(length), length);
    TextRule { name, model, lower_case: false, strip: false, padding, max_length, about }
}

const fn stripped(name: &'static str, about: &'static str) -> TextRule {
    let rule = fixed(name, 30, about);
    TextRule { lower_case: true, strip: true, ..rule }
}

impl TextRule {
    /// The rule of that name for `model`; the error lists all of the model's.
    pub fn find(name: &str, model: TextModel) -> Result<&'static Self, TextError> {
        let rules = || RULES.iter().filter(|rule| rule.model == model);
        let known = || rules().map(|rule| rule.name).collect();
        let found = rules().find(|rule| rule.name == name);
        found.ok_or_else(|| TextError::UnknownRule { name: name.to_owned(), model, known: known() })
    }

    /// The sentence that the tokenizer is given.
    pub(super) fn prepare<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = if self.strip { text.trim_matches(is_python_space) } else { text };
        if self.lower_case { text.to_lowercase().into() } else { text.into() }
    }
}

/// What Python's `str.strip` drops: Unicode's white space, and four separators of ASCII that Unicode does not count.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
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
            assert_eq!(TextRule::find(rule.name, rule.model).unwrap(), rule);
            assert_eq!(rule.model.name().parse::<TextModel>().unwrap(), rule.model);
            assert!((3..=MODEL_MAX).contains(&rule.max_length) && !rule.about.is_empty(), "{rule:?}");
            assert!(matches!(rule.padding, Padding::Longest) || rule.padding == Padding::Fixed(rule.max_length));
        }
    }

    #[test]
    fn lengths_are_those_of_the_original_code() {
        let length = |name, model| TextRule::find(name, model).unwrap().padding;
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

    #[test]
    fn only_nlq_and_egotaskqa_of_egovlpv2_change_the_sentence() {
        let changed: Vec<_> = RULES.iter().filter(|rule| rule.prepare(" \u{1f}A B\n") != " \u{1f}A B\n").collect();
        assert!(changed.iter().all(|rule| rule.prepare(" \u{1f}A B\n") == "a b" && rule.model == TextModel::EgoVlpV2));
        assert_eq!(changed.iter().map(|rule| rule.name).collect::<Vec<_>>(), ["nlq", "egotaskqa"]);
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let text = TextRule::find("mq", TextModel::EgoVlp).unwrap_err().to_string();
        assert!(
            text.starts_with("no rule of egovlp is called \"mq\", expected one of pretrain, egomcq, nlq"),
            "{text}"
        );
        let text = "egovlp3".parse::<TextModel>().unwrap_err().to_string();
        assert_eq!(text, "no text model is called \"egovlp3\", expected one of egovlp, egovlpv2");
    }
}
