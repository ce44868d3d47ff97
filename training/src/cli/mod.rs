//! The command line: one command for each task of [`LEARNERS`], and what is done with a trained head.
//!
//! The only place for clap, indicatif, anyhow and exit codes. stdout is data, stderr is for people.

mod attend;
mod common;
mod export;
mod predict;
mod progress;
mod store;
mod synthetic;
mod table;
mod train;

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;
use clap::{Args, Command, FromArgMatches};

use egofx_train::error::TrainError;
use egofx_train::learner::LEARNERS;

const ABOUT: &str = "Train and score heads on features that egofx extracted, and backbones on videos.";
const EXAMPLE: &str = "\
A typical session, from features to a scored submission:

  egofx-train nlq -c training/configs/nlq_egovlp.toml --features features/egovlp_nlq \\
      --tokens features/egovlp_nlq_tokens --train nlq_train.json --val nlq_val.json -o runs/nlq
  egofx-train predict runs/nlq --features features/egovlp_nlq --tokens features/egovlp_nlq_tokens \\
      --annotations nlq_val.json -o submission.json
  egofx eval nlq -p submission.json -a nlq_val.json

A run that was stopped goes on from its last checkpoint: give the same command again with --resume.";

fn command() -> Command {
    let mut tasks: Vec<&str> = LEARNERS.iter().map(|head| head.task).collect();
    tasks.dedup();
    let task = |task: &&'static str| {
        let heads = LEARNERS.iter().filter(|head| head.task == *task);
        let list: Vec<String> = heads.map(|head| format!("  {:<14} {}", head.name, head.about)).collect();
        train::Train::augment_args(Command::new(*task))
            .about(if *task == "pretrain" {
                "Train a backbone on narrated videos.".to_owned()
            } else {
                format!("Train for {}.", task.to_uppercase())
            })
            .after_help(format!("Learners, as `learner` in the experiment file:\n{}", list.join("\n")))
    };
    Command::new("egofx-train")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(EXAMPLE)
        .max_term_width(110)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(tasks.iter().map(task))
        .subcommand(predict::Predict::augment_args(Command::new("predict")))
        .subcommand(attend::Attend::augment_args(Command::new("attend")))
        .subcommand(export::Export::augment_args(Command::new("export")))
        .subcommand(store::Store::augment_args(Command::new("store")))
        .subcommand(synthetic::Synthetic::augment_args(Command::new("synthetic")))
}

/// Runs the command that was asked for.
pub fn run() -> anyhow::Result<()> {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("predict", matches)) => predict::Predict::from_arg_matches(matches)?.run(),
        Some(("attend", matches)) => attend::Attend::from_arg_matches(matches)?.run(),
        Some(("export", matches)) => export::Export::from_arg_matches(matches)?.run(),
        Some(("store", matches)) => store::Store::from_arg_matches(matches)?.run(),
        Some(("synthetic", matches)) => synthetic::Synthetic::from_arg_matches(matches)?.run(),
        Some((task, matches)) => train::Train::from_arg_matches(matches)?.run(task),
        None => Ok(()),
    }
}

/// What ends a run that had begun is 1, what ends it before that 2, Ctrl-C 130.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<TrainError>() {
        Some(TrainError::Interrupted { .. }) => 130,
        _ if progress::has_begun() => 1,
        _ => 2,
    }
}

/// Writes an error for people, causes included; many an error quotes its cause already.
pub fn complain(error: &anyhow::Error) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    tell(format_args!("egofx-train: {text}"));
}

/// Writes a line for people to stderr. Where that cannot be written to, there is nobody to tell.
fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes data to stdout. A reader that has seen enough (`| head`) is no error.
fn say(data: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
