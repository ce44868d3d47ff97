//! `egofx completions` and `egofx man`: what shells and manual readers are given of the command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::outputs::{Output, write_all};
use super::{help, say};

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
        clap_complete::generate(self.shell, &mut super::command(), "egofx", &mut script);
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
}

impl Man {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let pages = help::manual(&super::command())?;
        let Some(folder) = &self.out else {
            let (_, first) = pages.first().context("no manual page")?;
            say(&String::from_utf8_lossy(first))?;
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for (name, page) in &pages {
            let write = |file: &mut dyn Write| Ok(file.write_all(page)?);
            write_all(&[Output { path: &folder.join(name), write: &write }], self.force)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
