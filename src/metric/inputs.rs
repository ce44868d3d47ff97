//! What an evaluator is given: files and choices by their names.
//!
//! Not for reading the files. An evaluator asks only for names that it declares, so that its help lists all of them.

use std::path::{Path, PathBuf};

use super::{Compat, MetricError};

/// A file that an evaluator reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Its name, as typed: `predictions`.
    pub name: &'static str,
    /// What the file holds, in sentences for people.
    pub about: &'static str,
    /// Whether it must be given.
    pub need: Need,
}

/// How many files of a kind there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
}

/// Something that can be chosen beside the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its name, as typed: `split`.
    pub name: &'static str,
    /// How to choose, in sentences for people.
    pub about: &'static str,
    /// What can be chosen, the default first; empty where any text can be given, or none.
    pub values: &'static [&'static str],
}

/// What a person has given.
#[derive(Debug, Clone)]
pub struct Inputs {
    files: Vec<(String, PathBuf)>,
    choices: Vec<(String, String)>,
    /// Whether faults of the originals are reproduced.
    pub compat: Compat,
    /// Whether predictions that leave something out, or name something unknown, are scored all the same.
    pub allow_missing: bool,
}

impl Default for Inputs {
    fn default() -> Self {
        Self { files: Vec::new(), choices: Vec::new(), compat: Compat::AsReleased, allow_missing: false }
    }
}

impl Inputs {
    /// Adds a file of the kind `name`.
    #[must_use]
    pub fn file(mut self, name: &str, path: impl Into<PathBuf>) -> Self {
        self.files.push((name.to_owned(), path.into()));
        self
    }

    /// Chooses `value` for `name`.
    #[must_use]
    pub fn choose(mut self, name: &str, value: &str) -> Self {
        self.choices.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The file of a kind, if one was given.
    pub(super) fn optional<'i>(&'i self, name: &str) -> Option<&'i Path> {
        self.files.iter().find(|(given, _)| given == name).map(|(_, path)| path.as_path())
    }

    /// The file of a kind; without it there is an error that says what it should hold.
    pub(super) fn one<'i>(&'i self, input: &Input) -> Result<&'i Path, MetricError> {
        let missing = || MetricError::Missing { name: input.name, about: input.about };
        self.optional(input.name).ok_or_else(missing)
    }

    /// What was chosen, else the default; `None` where there is no default.
    pub(super) fn chosen<'i>(&'i self, choice: &Choice) -> Option<&'i str> {
        let given = self.choices.iter().rev().find(|(given, _)| given == choice.name);
        given.map(|(_, value)| value.as_str()).or(choice.values.first().copied())
    }
}
