//! Trains on features that `egofx` extracted. Not there yet: this program only says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("egofx-train: heads and pretraining are not there yet; `egofx` extracts the features they will use");
    ExitCode::from(2)
}
