//! `egofx convert`: features in the form that other people's training code reads.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use egofx::convert::{CONSUMERS, Clips, Consumer, Job, METADATA_FILE, Need, Written, convert};
use egofx::features::{Joined, Missing, Resample, RowRule, Source};
use egofx::labels::nlq::MAX_POSITIONS;
use egofx::manifest::Manifest;
use egofx::queries::Queries;

use super::args::Joining;
use super::progress::{Progress, Reporting};
use super::{plural, say_json, tell};

/// Write features in the form that other people's training code reads.
///
/// OUT is a folder, written under another name and renamed when all of it is there; egofx.json in it says where the features
/// came from and what was done to them. Rows pass as they are unless an option below says otherwise.
#[derive(Args)]
#[command(after_help = formats_help())]
pub struct Convert {
    /// The feature set (features/<name>, or a folder that holds one). Not for formats that take none.
    features: Option<PathBuf>,
    /// Feature sets whose features are put behind those of FEATURES, row by row; without FEATURES the first one comes first.
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with = "zero_tail")]
    join: Vec<PathBuf>,
    #[command(flatten)]
    joining: Joining,
    /// The form; see below.
    #[arg(long, value_name = "FORMAT", value_parser = CONSUMERS.iter().map(|c| c.name).collect::<Vec<_>>())]
    to: String,
    /// The folder to write.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// What is asked about the clips: the table that `egofx manifest` writes beside the manifest [default: with -m, the
    /// <manifest>.queries.csv beside it, if it is there].
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// The manifest: where clips lie in their videos, for clips of which the feature set does not tell.
    #[arg(short, long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// The feature set of the queries' tokens, for formats that hold both.
    #[arg(long, value_name = "DIR")]
    tokens: Option<PathBuf>,
    /// For qfvs-pt: the feature set by whose rows, one per shot, videos are cut into segments.
    #[arg(long, value_name = "DIR")]
    shots: Option<PathBuf>,
    /// For qfvs-pt: the folder Dense_per_shot_tags.
    #[arg(long, value_name = "DIR")]
    tags: Option<PathBuf>,
    /// What becomes of rows that have no features, which nothing reads as such: refuse them, write zeros, leave NaN, or
    /// leave the rows out (later rows then move up, and row numbers no longer tell the time).
    #[arg(long, value_name = "RULE", default_value = "refuse")]
    missing: MissingRule,
    /// At most N rows per unit: longer ones become means of their rows by VSLNet's rule. VSLNet does that itself when it
    /// loads features; for what does not.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "resample_rows_per_sec")]
    resample_rows: Option<u32>,
    /// F rows per second by the rows' own times: means where that is fewer, the row that is there where it is more. 1.875 puts
    /// EgoVLP's 1.87 on Ego4D's grid.
    #[arg(long, value_name = "F", value_parser = positive, alias = "resample-fps")]
    resample_rows_per_sec: Option<f64>,
    /// Write rows that are more than a row away from i / rows_per_sec as they are, where the form has no times: what the
    /// original code leaves of files that it takes for 30 frames a second.
    #[arg(long)]
    allow_drift: bool,
    /// Set the last rows, as many as are no whole group of 4, to zero: what EgoVLP's own extraction left, and what its
    /// published numbers were made with.
    #[arg(long)]
    zero_tail: bool,
    /// Positions of the head that will be trained, in which egovlpv2-nlq counts its labels.
    #[arg(long, value_name = "N", default_value_t = MAX_POSITIONS as u32, value_parser = clap::value_parser!(u32).range(1..))]
    max_pos_len: u32,
    /// Numbers of the classes, {name: number}, moment_classes_idx.json for instance [default: those that occur, by name].
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Replace what an earlier conversion wrote to OUT.
    #[arg(long)]
    force: bool,
    /// Print what was written as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reporting: Reporting,
}

#[derive(Clone, Copy, ValueEnum)]
enum MissingRule {
    Refuse,
    Zero,
    Nan,
    Drop,
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("expected a positive number, found {text:?}"))?;
    if number.is_finite() && number > 0.0 {
        Ok(number)
    } else {
        Err(format!("expected a positive number, found {text}"))
    }
}

fn formats_help() -> String {
    let wants = |consumer: &Consumer| {
        let takes = &consumer.takes;
        let input = |need, what: &str| match need {
            Need::Required => Some(format!("{what} (needed)")),
            Need::Optional => Some(what.to_owned()),
            Need::Unused => None,
        };
        let inputs = [input(takes.queries, "--queries"), input(takes.tokens, "--tokens"), input(takes.clips, "-m")];
        let inputs: Vec<String> = inputs.into_iter().flatten().collect();
        if inputs.is_empty() { String::new() } else { format!("; takes {}", inputs.join(", ")) }
    };
    let lines: Vec<String> = CONSUMERS.iter().map(|c| format!("  {}\n      {}{}", c.name, c.about, wants(c))).collect();
    format!("Formats:\n{}", lines.join("\n"))
}

impl Convert {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let consumer = Consumer::named(&self.to)?;
        let job = self.job(consumer)?;
        let progress = job.source.as_ref().map(|source| {
            let shown = self.reporting.shown(self.json);
            Progress::of_meter(source.meter(), "units", shown)
        });
        let written = convert(consumer, &job, &self.out, self.force, &self.asked(consumer))?;
        drop(progress);
        self.report(&written)?;
        Ok(ExitCode::SUCCESS)
    }

    fn job(&self, consumer: &Consumer) -> anyhow::Result<Job> {
        let source = self.source()?;
        let tokens = self.tokens.as_deref().map(|path| Source::open(path, RowRule::default())).transpose()?;
        let shots = self.shots.as_deref().map(|path| Source::open(path, RowRule::default())).transpose()?;
        let manifest = self.manifest.as_deref().map(Manifest::read).transpose()?;
        let named = manifest.as_ref().zip(self.manifest.clone());
        Ok(Job {
            clips: Clips::new(named, source.as_ref()),
            source,
            tokens,
            shots,
            tags: self.tags.clone(),
            queries: self.queries(consumer).as_deref().map(Queries::read).transpose()?,
            max_positions: self.max_pos_len as usize,
            classes: self.classes.clone(),
        })
    }

    /// The feature set, or those that are joined.
    fn source(&self) -> anyhow::Result<Option<Source>> {
        let mut stores = self.features.iter().chain(&self.join);
        let Some(first) = stores.next() else { return Ok(None) };
        let joined = Joined { stores: stores.cloned().collect(), rule: self.joining.rule() };
        ensure!(
            self.join.is_empty() || !joined.stores.is_empty(),
            "--join {}: expected two feature sets or more, found one",
            first.display()
        );
        Ok(Some(Source::open_joined(first, &joined, self.rule())?))
    }

    /// The table that was named or, for a consumer that takes one, that lies beside the manifest.
    fn queries(&self, consumer: &Consumer) -> Option<PathBuf> {
        let beside = self.manifest.as_ref().map(|manifest| manifest.with_extension("queries.csv"));
        let beside = beside.filter(|path| consumer.takes.queries != Need::Unused && path.is_file());
        self.queries.clone().or(beside)
    }

    fn rule(&self) -> RowRule {
        let missing = match self.missing {
            MissingRule::Refuse => Missing::Refuse,
            MissingRule::Zero => Missing::Zero,
            MissingRule::Nan => Missing::Nan,
            MissingRule::Drop => Missing::Drop,
        };
        let rows = self.resample_rows.map(|rows| Resample::Rows(rows as usize));
        let resample = rows.or(self.resample_rows_per_sec.map(Resample::RowsPerSec));
        RowRule { missing, resample, zero_tail: self.zero_tail, allow_drift: self.allow_drift }
    }

    /// What was asked for, for the metadata.
    fn asked(&self, consumer: &Consumer) -> Value {
        let mut asked = json!(self.rule());
        asked["max_pos_len"] = json!(self.max_pos_len);
        asked["queries"] = json!(self.queries(consumer));
        asked["manifest"] = json!(self.manifest);
        asked["classes"] = json!(self.classes);
        asked["tags"] = json!(self.tags);
        asked
    }

    fn report(&self, written: &Written) -> anyhow::Result<()> {
        written.notes.iter().for_each(|note| tell(format_args!("note: {note}")));
        let (units, rows) = (plural(written.units, "record"), plural(written.rows as usize, "row"));
        tell(format_args!("{}: {units}, {rows}; {METADATA_FILE} says where they came from", self.out.display()));
        if self.json {
            let path = self.out.join(METADATA_FILE);
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            say_json(&serde_json::from_str::<Value>(&text)?)?;
        }
        Ok(())
    }
}
