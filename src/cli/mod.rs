//! The command line: one file per subcommand, words in and words out.
//!
//! The only place for clap, indicatif, anyhow and exit codes; nothing imports it but `main`. stdout is data, stderr is for
//! people. Invariant: a request that cannot be met ends with 2, failed units and devices end with 1.

mod account;
mod args;
mod ask;
mod ask_head;
mod ask_recipe;
mod audit;
mod auto;
mod checkpoint;
mod chunk;
mod compare;
mod compute;
mod convert;
mod demo;
mod doctor;
mod engines;
mod estimate;
mod eval;
mod export;
mod extract;
mod fetching;
mod frames;
mod help;
mod import;
mod index;
mod inspect;
mod interrupt;
mod logging;
mod manifest;
mod mcq;
mod outputs;
mod plan;
mod postprocess;
mod predict;
mod progress;
mod recipes;
mod reference;
mod report;
mod resize;
mod search;
mod search_output;
mod search_page;
mod setup;
mod sharded;
mod sharing;
mod shell;
mod similarity;
mod status;
mod submit;
mod sync;
mod table;
mod tokenize;
mod transcode;
mod try_device;
mod verify;
mod version;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use egofx::convert::ConvertError;
use egofx::metric::qfvs;
use egofx::search::SearchError;
use egofx::store::StoreError;
use egofx::{durable, foreign, text};

/// Exit code: something failed, units or a device.
pub const FAILED: u8 = 1;
/// Exit code: nothing failed, and not all is done yet.
pub const UNFINISHED: u8 = 3;
/// Exit code: bad arguments, recipe or environment, found before any decoding.
pub const BAD_REQUEST: u8 = 2;

/// Egocentric video in, verified benchmark features out.
///
/// A typical session:
///
///   egofx manifest folder --videos full_scale/ -o all.csv    which videos and clips there are
///   egofx plan -m all.csv -p egovlp_nlq                      windows, hours, bytes
///   egofx extract -m all.csv -p egovlp_nlq -o features/
///   egofx verify features/                                   every planned row is there and true
///   egofx report features/ -m all.csv                        a page to look at it
///
/// A run that was killed goes on where it was: give the same command again.
#[derive(Parser)]
#[command(name = "egofx", version, about, long_about, max_term_width = 110, verbatim_doc_comment)]
#[command(disable_version_flag = true, arg_required_else_help = true, override_usage = "egofx [OPTIONS] <COMMAND>")]
pub struct Cli {
    /// Write all that is said on stderr to the end of FILE too, each line with its time, and a line for each unit (as -v).
    #[arg(long, value_name = "FILE", global = true, display_order = 900)]
    log_file: Option<PathBuf>,
    /// Whether stderr and help are coloured; auto: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", global = true, display_order = 901, default_value = "auto")]
    color: ColorChoice,
    /// Print the version; with -v also the commit, and the versions of ffmpeg, HDF5 and ONNX Runtime.
    #[arg(short = 'V', long, display_order = 902)]
    version: bool,
    /// Say more on stderr: -v what happens, a line for each unit; -vv each decision; -vvv ffmpeg's own words.
    #[arg(short, long, global = true, display_order = 903, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands, in the groups and the order in which `egofx --help` lists them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Prepare", &["manifest", "audit", "resize", "chunk"]),
    ("Extract", &["demo", "recipes", "plan", "extract", "submit"]),
    ("Check", &["status", "verify", "inspect", "report", "compare", "doctor"]),
    ("Exchange", &["convert", "import", "frames", "sync"]),
    ("Search", &["ask", "search", "index"]),
    ("Score", &["predict", "mcq", "similarity", "eval", "postprocess"]),
    ("Models", &["export", "checkpoint", "tokenize"]),
    ("Shell", &["completions", "man", "help"]),
];

/// The command line of `egofx`.
pub fn command(color: ColorChoice) -> clap::Command {
    help::grouped(Cli::command().color(color), GROUPS)
}

#[derive(Subcommand)]
enum Command {
    Export(Box<export::ExportCommand>),
    Manifest(manifest::Manifest),
    Audit(audit::Audit),
    Resize(Box<resize::Resize>),
    Chunk(Box<chunk::Chunk>),
    Recipes(recipes::Recipes),
    Plan(Box<plan::PlanCommand>),
    Extract(Box<extract::Extract>),
    Submit(submit::Submit),
    Status(status::Status),
    Verify(verify::Verify),
    Inspect(inspect::Inspect),
    Report(Box<report::Report>),
    Convert(Box<convert::Convert>),
    Import(Box<import::Import>),
    Frames(Box<frames::Frames>),
    Sync(Box<sync::Sync>),
    Compare(compare::Compare),
    Checkpoint(checkpoint::CheckpointCommand),
    Tokenize(tokenize::Tokenize),
    Predict(Box<predict::Predict>),
    Mcq(mcq::Mcq),
    Similarity(similarity::Similarity),
    Ask(ask::Ask),
    Search(Box<search::Search>),
    Index(index::IndexCommand),
    Eval(eval::Eval),
    Postprocess(Box<postprocess::PostprocessCommand>),
    Doctor(doctor::Doctor),
    Demo(demo::Demo),
    Completions(shell::Completions),
    Man(shell::Man),
    CheckArgs(shell::CheckArgs),
    TryDevice(try_device::TryDevice),
}

impl Cli {
    /// The command line that the program was given; ends the program where it is wrong, or asks for help.
    pub fn read() -> Self {
        let matches = command(help::color_asked(std::env::args_os())).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Whether it is `egofx export` that was asked for.
    pub fn is_export(&self) -> bool {
        matches!(self.command, Some(Command::Export(_)))
    }

    /// Runs the command that was asked for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        logging::start(self.verbose, self.color, self.log_file.as_deref())?;
        if self.version {
            return version::show(self.verbose > 0);
        }
        let Some(asked) = self.command else {
            command(self.color)
                .error(ErrorKind::MissingSubcommand, "a command is needed: `egofx --help` lists them")
                .exit()
        };
        match asked {
            Command::Export(command) => command.run(),
            Command::Manifest(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Resize(command) => command.run(),
            Command::Chunk(command) => command.run(),
            Command::Recipes(command) => command.run(),
            Command::Plan(command) => command.run(),
            Command::Extract(command) => command.run(),
            Command::Submit(command) => command.run(),
            Command::Status(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Report(command) => command.run(),
            Command::Convert(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::Frames(command) => command.run(),
            Command::Sync(command) => command.run(),
            Command::Compare(command) => command.run(),
            Command::Checkpoint(command) => command.run(),
            Command::Tokenize(command) => command.run(),
            Command::Predict(command) => command.run(),
            Command::Mcq(command) => command.run(),
            Command::Similarity(command) => command.run(),
            Command::Ask(command) => command.run(),
            Command::Search(command) => command.run(),
            Command::Index(command) => command.run(),
            Command::Eval(command) => command.run(),
            Command::Postprocess(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Demo(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
            Command::CheckArgs(command) => command.run(),
            Command::TryDevice(command) => command.run(),
        }
    }
}

/// Serves another process of this program, which reads files of others through this one.
pub fn read_foreign() -> ExitCode {
    let served = foreign::serve(|what, path, name| match what {
        inspect::WHAT => inspect::answer(path).map_err(|error| with_causes(&error)),
        qfvs::WHAT => qfvs::answer(path),
        text::WHAT => text::answer(path),
        _ => egofx::store::answer_about_master(what, path).unwrap_or_else(|| egofx::import::answer(what, path, name)),
    });
    ExitCode::from(if served.is_ok() { 0 } else { FAILED })
}

/// The exit code of a command that ended with `error`: 1 where a device failed, or a library that writes to it, and 2 where
/// the request cannot be met.
pub fn code_of(error: &anyhow::Error) -> u8 {
    if error.chain().any(is_failure) { FAILED } else { BAD_REQUEST }
}

fn is_failure(cause: &(dyn Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return durable::is_of_device(error);
    }
    if let Some(SearchError::Io { source, .. }) = cause.downcast_ref() {
        return durable::is_of_device(source);
    }
    match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(StoreError::DiskFull { .. } | StoreError::Write { .. } | StoreError::TakenOver { .. }), _) => true,
        (_, convert) => matches!(convert, Some(ConvertError::Write { .. })),
    }
}

/// Writes an error for people, causes included.
pub fn complain(error: &anyhow::Error) {
    tell(format_args!("egofx: {}", with_causes(error)));
}

/// An error's words and its causes' words; many an error quotes its cause already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string().trim_end().to_owned();
    for cause in error.chain().skip(1).map(|cause| cause.to_string().trim_end().to_owned()) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Writes data to stdout. A reader that has seen enough (`| head`) is no error.
fn say(data: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(data.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

/// Writes `value` as JSON to stdout.
fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    say(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Writes a line for people to stderr and to the log file.
fn tell(line: impl Display) {
    logging::note(line, true);
}

/// `n things`, or `1 thing`.
fn plural(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

/// Bytes for people.
fn bytes(n: u64) -> String {
    indicatif::BinaryBytes(n).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use egofx::features::FeatureError;
    use egofx::import::ImportError;
    use egofx::labels::LabelError;
    use egofx::pipeline::PipelineError;
    use egofx::retrieval::RetrievalError;
    use egofx::transcode::TranscodeError;

    use super::*;

    #[test]
    fn a_full_disk_ends_a_command_with_1_whatever_passes_it_on() {
        let full = || StoreError::DiskFull { path: PathBuf::from("o/tmp") };
        let of_features = || FeatureError::Store(full());
        let errors: [anyhow::Error; 9] = [
            full().into(),
            of_features().into(),
            LabelError::Features(of_features()).into(),
            ConvertError::Features(of_features()).into(),
            ConvertError::Labels(LabelError::Features(of_features())).into(),
            ImportError::Store(full()).into(),
            TranscodeError::File(full()).into(),
            RetrievalError::Store(full()).into(),
            SearchError::Store(full()).into(),
        ];
        for error in errors.into_iter().chain([PipelineError::Store(full()).into()]) {
            assert_eq!(code_of(&error), FAILED, "{error:?}");
            assert_eq!(with_causes(&error), full().to_string());
        }
    }

    #[test]
    fn a_request_that_cannot_be_met_ends_with_2() {
        let missing = StoreError::io("read", "o".as_ref(), io::ErrorKind::NotFound.into());
        assert_eq!(code_of(&TranscodeError::File(missing).into()), BAD_REQUEST);
    }
}
