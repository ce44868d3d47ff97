//! The command line: one command for each task of [`LEARNERS`], and what is done with a trained head.
//!
//! The only place for clap, indicatif, anyhow and exit codes. stdout is data, stderr is for people.

mod attention_maps;
mod cache_clips;
mod common;
mod evaluate;
mod export;
mod heartbeat;
#[path = "../../../src/cli/help.rs"]
mod help;
mod lr_find;
mod predict;
mod progress;
#[path = "../../../src/cli/reference.rs"]
mod reference;
mod runs;
mod shell;
mod summary;
mod synthetic;
#[path = "../../../src/cli/table.rs"]
mod table;
mod train;
mod version;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::builder::EnumValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Args, ColorChoice, Command, FromArgMatches};

use egofx::durable;
use egofx::heads::HeadError;
use egofx_train::error::TrainError;
use egofx_train::registry::LEARNERS;
use egofx_train::{native, provenance};

const ABOUT: &str = "Train and score heads on features that egofx extracted, and backbones on videos.";
const EXAMPLE: &str = "\
A typical session, from features to a scored submission:

  egofx-train nlq -c training/configs/nlq_egovlp.toml --features features/egovlp_nlq \\
      --tokens features/egovlp_nlq_tokens --train nlq_train.json --val nlq_val.json -o runs/nlq
  egofx-train predict runs/nlq --features features/egovlp_nlq --tokens features/egovlp_nlq_tokens \\
      --annotations nlq_val.json -o submission.json
  egofx eval nlq --predictions submission.json -a nlq_val.json

A run that was stopped goes on from its last checkpoint: give the same command again with --resume.";

/// The commands, in the groups and the order in which `egofx-train --help` lists them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Heads, on features", &["nlq", "mq", "qfvs"]),
    ("Backbones, on videos", &["pretrain", "mir", "charades", "oscc", "pnr", "egotaskqa"]),
    ("With what was trained", &["predict", "evaluate", "export", "attention-maps"]),
    ("Before a training", &["lr-find", "cache-clips", "synthetic"]),
    ("Shell", &["completions", "man", "help"]),
];

/// The command line of `egofx-train`.
fn command(color: ColorChoice) -> Command {
    let mut tasks: Vec<&str> = LEARNERS.iter().map(|head| head.task).collect();
    tasks.dedup();
    let task = |task: &&'static str| {
        let heads = LEARNERS.iter().filter(|head| head.task == *task);
        let list: Vec<String> = heads.clone().map(|head| format!("  {:<14} {}", head.name, head.about)).collect();
        train::options(task, train::Train::augment_args(Command::new(*task)))
            .about(format!("{}.", heads.clone().next().map_or("", |head| head.task_about)))
            .after_help(format!("Learners, as `learner` in the experiment file:\n{}", list.join("\n")))
    };
    let command = Command::new("egofx-train")
        .color(color)
        .disable_version_flag(true)
        .args(global_options())
        .about(ABOUT)
        .after_help(EXAMPLE)
        .max_term_width(110)
        .override_usage("egofx-train [OPTIONS] <COMMAND>")
        .arg_required_else_help(true)
        .subcommands(tasks.iter().map(task))
        .subcommand(predict::Predict::augment_args(Command::new("predict")))
        .subcommand(evaluate::Evaluate::augment_args(Command::new("evaluate")))
        .subcommand(attention_maps::AttentionMaps::augment_args(Command::new("attention-maps").alias("attend")))
        .subcommand(export::Export::augment_args(Command::new("export")))
        .subcommand(lr_find::LrFind::augment_args(Command::new("lr-find")))
        .subcommand(cache_clips::CacheClips::augment_args(Command::new("cache-clips").alias("store")))
        .subcommand(synthetic::Synthetic::augment_args(Command::new("synthetic")))
        .subcommand(shell::Completions::augment_args(Command::new("completions")))
        .subcommand(shell::Man::augment_args(Command::new("man")))
        .subcommand(shell::CheckArgs::augment_args(Command::new("check-args")));
    help::grouped(command, GROUPS)
}

fn global_options() -> [Arg; 3] {
    [
        Arg::new("color")
            .long("color")
            .value_name("WHEN")
            .global(true)
            .display_order(901)
            .default_value("auto")
            .value_parser(EnumValueParser::<ColorChoice>::new())
            .help("Whether help is coloured; auto: on a terminal, unless NO_COLOR is set"),
        Arg::new("version")
            .short('V')
            .long("version")
            .display_order(902)
            .action(ArgAction::SetTrue)
            .help("Print the version; with -v also the commit, and the versions of libtorch, ffmpeg and HDF5"),
        Arg::new("verbose")
            .short('v')
            .long("verbose")
            .display_order(903)
            .action(ArgAction::SetTrue)
            .requires("version")
            .help("With --version: say more"),
    ]
}

/// Runs the command that was asked for.
pub fn run() -> anyhow::Result<()> {
    native::keep_freed_memory();
    provenance::set_commit(help::commit());
    let matches = command(help::color_asked(std::env::args_os())).get_matches();
    if matches.get_flag("version") {
        return version::show(matches.get_flag("verbose"));
    }
    match matches.subcommand() {
        Some(("predict", matches)) => predict::Predict::from_arg_matches(matches)?.run(),
        Some(("evaluate", matches)) => evaluate::Evaluate::from_arg_matches(matches)?.run(),
        Some(("lr-find", matches)) => lr_find::LrFind::from_arg_matches(matches)?.run(),
        Some(("attention-maps", matches)) => attention_maps::AttentionMaps::from_arg_matches(matches)?.run(),
        Some(("export", matches)) => export::Export::from_arg_matches(matches)?.run(),
        Some(("cache-clips", matches)) => cache_clips::CacheClips::from_arg_matches(matches)?.run(),
        Some(("synthetic", matches)) => synthetic::Synthetic::from_arg_matches(matches)?.run(),
        Some(("completions", matches)) => shell::Completions::from_arg_matches(matches)?.run(),
        Some(("check-args", matches)) => shell::CheckArgs::from_arg_matches(matches)?.run(),
        Some(("man", matches)) => shell::Man::from_arg_matches(matches)?.run(),
        Some((task, matches)) => {
            train::expect_read(task, matches)?;
            train::Train::from_arg_matches(matches)?.run(task)
        }
        None => command(ColorChoice::Auto)
            .error(ErrorKind::MissingSubcommand, "a command is needed: `egofx-train --help` lists them")
            .exit(),
    }
}

/// An error that ended a run after it had begun.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failed(TrainError);

/// What ends a run that had begun is 1, what ends it before that 2 unless a device failed, Ctrl-C 130, a cluster 75.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let failed = error.downcast_ref::<Failed>().map(|Failed(error)| error);
    match failed.or_else(|| error.downcast_ref()) {
        Some(TrainError::Interrupted { cause, .. } | TrainError::Stopped { cause, .. }) => cause.exit_code(),
        _ if failed.is_some() => 1,
        Some(TrainError::Io { cause, .. }) if durable::is_of_device(cause) => 1,
        None if matches!(error.downcast_ref(), Some(HeadError::Io { source, .. }) if durable::is_of_device(source)) => {
            1
        }
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

/// The file of `--log-file`.
static LOG: Mutex<Option<File>> = Mutex::new(None);

/// Opens the file to which everything that is told is appended.
fn log_to(path: &Path) -> anyhow::Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot open {} to log to it", path.display()))?;
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    Ok(())
}

/// Writes a line for people to stderr and to the log. Where that cannot be written to, there is nobody to tell.
fn tell(line: impl Display) {
    tell_to(true, &line);
}

/// Writes a line to the log, and to stderr where no bar shows the same.
fn tell_without_terminal(line: &str) {
    tell_to(!io::stderr().is_terminal(), &line);
}

/// Both under one lock, so that lines of several threads have one order.
fn tell_to(stderr: bool, line: &impl Display) {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    if stderr {
        let _ = writeln!(io::stderr(), "{line}");
    }
    if let Some(file) = log.as_mut() {
        let _ = writeln!(file, "{} {line}", now());
    }
}

/// The time, in UTC.
fn now() -> String {
    utc(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// Seconds since 1970 as `2026-01-31T23:59:59Z`. Days to dates after Howard Hinnant's `civil_from_days`.
fn utc(unix_sec: u64) -> String {
    let (days, sec) = (unix_sec / 86400, unix_sec % 86400);
    // Days since the first of March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (sec / 3600, sec / 60 % 60, sec % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Writes data to stdout. A reader that has seen enough (`| head`) is no error.
fn say(data: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}
