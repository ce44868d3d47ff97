//! `egofx-train completions` and `egofx-train man`: what shells and manual readers are given of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ColorChoice};

use egofx::durable;

use super::{help, reference, say};

/// Print a completion script for a shell.
///
/// bash: egofx-train completions bash > ~/.local/share/bash-completion/completions/egofx-train
#[derive(Args)]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(ColorChoice::Auto), "egofx-train", &mut script);
        say(&String::from_utf8(script)?)
    }
}

/// Write the manual pages of all commands into a folder, or print the first.
///
/// egofx-train man -o ~/.local/share/man/man1, and then: man egofx-train-nlq
#[derive(Args)]
pub struct Man {
    /// The folder for egofx-train.1, egofx-train-nlq.1, ... [default: egofx-train.1 goes to stdout].
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the help of all commands as one page of Markdown: the book's reference.
    #[arg(long, conflicts_with = "out")]
    markdown: bool,
}

/// Say whether a command line is understood, and run nothing: for tests of documents and of scripts.
///
/// egofx-train check-args nlq -c nlq.toml -o runs/nlq
#[derive(Args)]
#[command(hide = true, disable_help_flag = true)]
pub struct CheckArgs {
    /// The arguments, without the program's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl CheckArgs {
    /// Ends with 2 and the parser's words where it does not.
    pub fn run(self) -> anyhow::Result<()> {
        Ok(reference::check(super::command(ColorChoice::Auto), self.arguments)?)
    }
}

impl Man {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        if self.markdown {
            return say(&reference::markdown(&super::command(ColorChoice::Auto)));
        }
        let pages = help::manual(&super::command(ColorChoice::Auto))?;
        let Some(folder) = &self.out else {
            let (_, first) = pages.first().context("no manual page")?;
            return say(&String::from_utf8_lossy(first));
        };
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for (name, page) in &pages {
            let path = folder.join(name);
            durable::write_bytes(&path, page).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}
