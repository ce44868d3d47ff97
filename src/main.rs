//! The `egofx` program: parses the command line, runs one command, ends with its exit code.
//!
//! Not for doing anything itself. Exit codes: 0 all is well; 1 finished, but something failed; 2 bad arguments, recipe or
//! environment, before any decoding; 130 interrupted.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    match arguments.run() {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(cli::BAD_REQUEST)
        }
    }
}
