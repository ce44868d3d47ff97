//! What is said to people beside the data: log records and lines on stderr, and all of it in a file if one is named.
//!
//! Not for stdout, which is data. Invariant: the file has whatever stderr has, each line with its time, and a line for each
//! unit whatever `-v` says.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::Context;
use clap::ColorChoice;
use env_logger::{Builder, Logger, Target, WriteStyle};
use log::{Level, LevelFilter, Log, Metadata, Record};

/// What writes to the file that `--log-file` names.
static FILE: OnceLock<Logger> = OnceLock::new();

/// Begins to log: by the number of `-v` on stderr, in colours by `color`, and to the end of `file` if there is one.
///
/// # Errors
/// The file cannot be opened.
pub fn start(verbose: u8, color: ColorChoice, file: Option<&Path>) -> anyhow::Result<()> {
    let level = match verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let style = match color {
        ColorChoice::Auto => WriteStyle::Auto,
        ColorChoice::Always => WriteStyle::Always,
        ColorChoice::Never => WriteStyle::Never,
    };
    let terminal = of_level(level).write_style(style).build();
    if let Some(path) = file {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let opened = opened.with_context(|| format!("--log-file {}", path.display()))?;
        let logger = of_level(level.max(LevelFilter::Info)).target(Target::Pipe(Box::new(opened))).build();
        FILE.get_or_init(|| logger);
    }
    let most = FILE.get().map_or(LevelFilter::Off, Logger::filter).max(terminal.filter());
    // Another logger cannot have been set: the program sets one once.
    if log::set_boxed_logger(Box::new(Both(terminal))).is_ok() {
        log::set_max_level(most);
    }
    Ok(())
}

/// Other crates' records only where something is wrong.
fn of_level(level: LevelFilter) -> Builder {
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Warn).filter_module("egofx", level);
    builder
}

/// Whether there is a log file.
pub fn to_file() -> bool {
    FILE.get().is_some()
}

/// Writes a line for people to the log file, and to stderr if `on_stderr`. Where neither can be written to, there is nobody to
/// tell.
pub fn note(line: impl Display, on_stderr: bool) {
    if on_stderr {
        let _ = writeln!(io::stderr(), "{line}");
    }
    if let Some(file) = FILE.get() {
        let (line, level) = (line.to_string(), Level::Info);
        file.log(&Record::builder().args(format_args!("{line}")).level(level).target("egofx").build());
    }
}

/// Stderr, and the file.
struct Both(Logger);

impl Log for Both {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.0.enabled(metadata) || FILE.get().is_some_and(|file| file.enabled(metadata))
    }

    fn log(&self, record: &Record) {
        self.0.log(record);
        if let Some(file) = FILE.get() {
            file.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}
