//! The `egofx-train` program: parses the command line, runs one command, ends with its exit code.
//!
//! Not for doing anything itself. Exit codes: 0 all is well; 1 a run failed; 2 bad arguments, experiment or data, before
//! any step; 75 stopped by the cluster, to be given again; 130 interrupted.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(cli::exit_code(&error))
        }
    }
}
