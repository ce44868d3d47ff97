//! `egofx-train --version`: of the program, and with `-v` of what it runs with: what a report of a fault should begin with.

use egofx::decode::Tools;
use egofx::places::bases;
use egofx_train::native;

use super::{help, say};

/// Prints the version, and with `verbose` the commit and the versions of libtorch, ffmpeg and HDF5.
pub fn show(verbose: bool) -> anyhow::Result<()> {
    let mut with = Vec::new();
    if verbose {
        let found = Tools::find(None, None, &bases());
        let ffmpeg = found.map_or_else(|fault| fault.to_string(), |t| format!("{} {}", t.version, t.ffmpeg.display()));
        with.push(("libtorch", native::libtorch_version()));
        with.push(("ffmpeg", ffmpeg));
        with.push(("HDF5", egofx::store::hdf5_version()));
    }
    say(&help::versions("egofx-train", &with))
}
