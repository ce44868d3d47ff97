//! `egofx tokenize`: what a text tower is given for a sentence.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use egofx::places::hub_caches;
use egofx::text::{Encoded, Padding, RULES, TextModel, TokenizationRule, Tokenizer};

use super::table::Column::{Left, Right};
use super::table::Table;
use super::{plural, say, say_json, tell};

/// Show the token ids that a text tower is given, as a line of JSON a sentence.
///
/// The tokenizers are not part of egofx. Without --tokenizer they are looked for in the local Hugging Face cache
/// (HF_HUB_CACHE, HF_HOME, ~/.cache/huggingface); nothing is fetched.
#[derive(Args)]
pub struct Tokenize {
    /// The sentences, one batch [default: the lines of stdin].
    #[arg(value_name = "SENTENCE")]
    sentences: Vec<String>,
    /// The stage of the original code whose lengths count; --rules lists them.
    #[arg(long, value_name = "NAME", required_unless_present = "rules")]
    rule: Option<String>,
    /// The model: egovlp (DistilBERT's tokens), egovlpv2 (RoBERTa's) or lavila (CLIP's).
    #[arg(long, required_unless_present = "rules")]
    model: Option<TextModel>,
    /// tokenizer.json, vocab.txt, vocab.json (merges.txt beside it), bpe_simple_vocab_16e6.txt.gz, or a folder of these.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// List the rules: each model's stages, and how they treat sentences.
    #[arg(long, conflicts_with_all = ["rule", "tokenizer", "sentences"])]
    rules: bool,
    /// With --rules: print as JSON.
    #[arg(long, requires = "rules")]
    json: bool,
}

impl Tokenize {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match (&self.rule, self.model) {
            (Some(rule), Some(model)) => self.tokenize(TokenizationRule::find(rule, model)?)?,
            (_, model) => list(model, self.json)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn tokenize(&self, rule: &TokenizationRule) -> anyhow::Result<()> {
        let tokenizer = match &self.tokenizer {
            Some(path) => Tokenizer::open(path)?,
            None => Tokenizer::find(rule.model, &hub_caches())?,
        };
        let sentences = self.sentences()?;
        let encoded = tokenizer.encode(rule, &sentences)?;
        let lines = sentences.iter().enumerate().map(|(row, text)| line(&tokenizer, rule, &encoded, row, text));
        say(&lines.collect::<String>())?;
        let shortened = encoded.cut.iter().filter(|&&cut| cut > 0).count();
        if shortened > 0 {
            let (sentences, most, note) = (plural(shortened, "sentence"), rule.max_length, rule.about_cut());
            tell(format_args!("{sentences} cut to {most} tokens{note}"));
        }
        Ok(())
    }

    fn sentences(&self) -> anyhow::Result<Vec<String>> {
        if !self.sentences.is_empty() {
            return Ok(self.sentences.clone());
        }
        let lines: Vec<String> = io::stdin().lock().lines().collect::<Result<_, _>>().context("stdin")?;
        ensure!(!lines.is_empty(), "no sentence: give some as arguments, or as lines of stdin");
        Ok(lines)
    }
}

fn line(tokenizer: &Tokenizer, rule: &TokenizationRule, encoded: &Encoded, row: usize, text: &str) -> String {
    let ids = encoded.ids.row(row).to_vec();
    let tokens: Vec<Option<String>> = ids.iter().map(|&id| tokenizer.token(id)).collect();
    let mask = encoded.mask.row(row).to_vec();
    let (prepared, cut) = (rule.prepare(text), encoded.cut[row]);
    let told = json!({"text": text, "prepared": prepared, "ids": ids, "mask": mask, "tokens": tokens, "cut": cut});
    format!("{told}\n")
}

fn list(model: Option<TextModel>, as_json: bool) -> anyhow::Result<()> {
    let rules: Vec<&TokenizationRule> =
        RULES.iter().filter(|rule| model.is_none_or(|model| rule.model == model)).collect();
    if as_json {
        return say_json(&rules.into_iter().map(rule_json).collect::<Vec<_>>());
    }
    let titles = [Left("model"), Left("rule"), Left("padding"), Right("most"), Left("sentence"), Left("stage")];
    let mut table = Table::new(&titles);
    rules.into_iter().for_each(|rule| table.row(cells(rule)));
    say(&table.to_string())
}

fn cells(rule: &TokenizationRule) -> [String; 6] {
    let TokenizationRule { name, model, preparation, padding, max_length, about, .. } = rule;
    let padding = if let Padding::Fixed(length) = padding { length.to_string() } else { "longest".to_owned() };
    [model.name(), name, &padding, &max_length.to_string(), preparation.name(), about].map(str::to_owned)
}

fn rule_json(rule: &TokenizationRule) -> serde_json::Value {
    let length = if let Padding::Fixed(length) = rule.padding { Some(length) } else { None };
    json!({
        "model": rule.model.name(), "rule": rule.name, "padded_to": length, "max_length": rule.max_length,
        "sentence": rule.preparation.name(), "about": rule.about,
    })
}
