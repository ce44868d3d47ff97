//! `egofx completions`: what a shell needs to complete our words.

use std::process::ExitCode;

use clap::{Args, CommandFactory};

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
        clap_complete::generate(self.shell, &mut super::Cli::command(), "egofx", &mut script);
        super::say(&String::from_utf8(script)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
