//! What the original code does to a sentence between its file and the tokenizer.
//!
//! Not for splitting it. Invariant: every preparation is Python's, character by character: what `str.strip` and `str.lower`
//! leave, and in that order.

use std::borrow::Cow;

use super::repair;

/// What becomes of a sentence before it is split into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// Nothing: it is read as annotated, blanks and capitals included.
    AsAnnotated,
    /// White space around it goes, and it is lowered: `sentence.strip().lower()`.
    Stripped,
    /// As [`Stripped`](Self::Stripped), of a sentence that comes out of VSLNet's prepared files: [`question`].
    Question,
    /// As CLIP's tokenizer does: repaired, HTML unescaped, single blanks, lowered.
    Cleaned,
}

impl Preparation {
    /// The sentence that the tokenizer is given.
    pub fn of(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::AsAnnotated => text.into(),
            Self::Stripped => stripped(text).into(),
            Self::Question => stripped(&question(text)).into(),
            Self::Cleaned => repair::cleaned(text).into(),
        }
    }

    /// Whether a sentence that it gave may not be what the original would have given.
    pub fn is_doubtful(self, prepared: &str) -> bool {
        self == Self::Cleaned && repair::is_doubtful(prepared)
    }

    /// It in words, as short as a column of a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsAnnotated => "as it is",
            Self::Stripped => "stripped, lower",
            Self::Question => "of VSLNet's files",
            Self::Cleaned => "repaired, lower",
        }
    }
}

/// A query as it stands in the files that VSLNet's preparation of NLQ writes (`train.json`, `val.json`, `test.json`), which
/// EgoVLP's and EgoVLPv2's code reads in place of the official ones: blanks around it go, then question marks around it,
/// then it is lowered and gets one question mark.
///
/// Blanks alone go: a sentence that ends in a line break keeps that, and the question mark before it too. Blanks before a
/// question mark stay. Source: `process_question` in `NLQ/VSLNet/utils/prepare_ego4d_dataset.py` of EGO4D/episodic-memory.
pub fn question(text: &str) -> String {
    text.trim_matches(' ').trim_matches('?').to_lowercase() + "?"
}

/// `sentence.strip().lower()`.
pub fn stripped(text: &str) -> String {
    text.trim_matches(is_python_space).to_lowercase()
}

/// What Python's `str.strip` drops: Unicode's white space, and four separators of ASCII that Unicode does not count.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_question_loses_blanks_alone_and_has_one_more_question_mark_behind_whatever_ends_it() {
        for (text, expected) in [
            ("Where is the knife?", "where is the knife?"),
            ("where is the knife", "where is the knife?"),
            (" where is the  Knife ? ", "where is the  knife ?"),
            ("??Did I??", "did i?"),
            ("Did I?\n", "did i?\n?"),
            ("\tDid I? ", "\tdid i?"),
            ("Did I?\u{a0}", "did i?\u{a0}?"),
            ("? ?", " ?"),
            ("", "?"),
        ] {
            assert_eq!(question(text), expected, "{text:?}");
        }
    }

    #[test]
    fn each_preparation_is_the_originals() {
        let text = " \u{1f}Is it A B?\n";
        assert_eq!(Preparation::AsAnnotated.of(text), text);
        assert_eq!(Preparation::Stripped.of(text), "is it a b?");
        assert_eq!(Preparation::Question.of(text), "is it a b?\n?");
        assert_eq!(Preparation::Question.of("\u{1f}A\u{1c} "), "a\u{1c}?");
    }
}
