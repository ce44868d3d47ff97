//! `egofx completions` and `egofx man`: what shells and manual readers are given of the command line.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ColorChoice};

use super::outputs::{Output, write_all};
use super::{help, reference, say};

/// Print a completion script for a shell.
///
/// bash: egofx completions bash > ~/.local/share/bash-completion/completions/egofx
#[derive(Args)]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(ColorChoice::Auto), "egofx", &mut script);
        say(&String::from_utf8(script)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write the manual pages of all commands into a folder, or print the first.
///
/// egofx man -o ~/.local/share/man/man1, and then: man egofx-extract
#[derive(Args)]
pub struct Man {
    /// The folder for egofx.1, egofx-extract.1, ... [default: egofx.1 goes to stdout].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite pages of another version.
    #[arg(long, requires = "out")]
    force: bool,
    /// Print the help of all commands as one page of Markdown: the book's reference.
    #[arg(long, conflicts_with_all = ["out", "force"])]
    markdown: bool,
}

/// Say whether a command line is understood, and run nothing: for tests of documents and of scripts.
///
/// egofx check-args extract -m all.csv -p egovlp_nlq -o features/
#[derive(Args)]
#[command(hide = true, disable_help_flag = true)]
pub struct CheckArgs {
    /// The arguments, without the program's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl CheckArgs {
    /// Ends with 2 and the parser's words where it does not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        reference::check(super::command(ColorChoice::Auto), self.arguments)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Man {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.markdown {
            say(&reference::markdown(&super::command(ColorChoice::Auto)))?;
            return Ok(ExitCode::SUCCESS);
        }
        let pages = help::manual(&super::command(ColorChoice::Auto))?;
        let Some(folder) = &self.out else {
            let (_, first) = pages.first().context("no manual page")?;
            say(&String::from_utf8_lossy(first))?;
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let paths: Vec<PathBuf> = pages.iter().map(|(name, _)| folder.join(name)).collect();
        let write = |page| move |file: &mut dyn Write| anyhow::Ok(file.write_all(page)?);
        let writes: Vec<_> = pages.iter().map(|(_, page)| write(page)).collect();
        let outputs = paths.iter().zip(&writes).map(|(path, write)| Output { path, write });
        write_all(&outputs.collect::<Vec<_>>(), self.force)?;
        Ok(ExitCode::SUCCESS)
    }
}
