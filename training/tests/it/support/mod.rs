//! What the tests share: the device, shipped experiments made small, and small sets of videos.

pub mod device;
pub mod experiments;
pub mod graphs;
pub mod shapes;

use std::path::Path;
use std::process::Command;

/// The program, which keeps what it finds out in a folder of the tests.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egofx-train"));
    command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command
}
