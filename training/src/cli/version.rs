//! `egofx-train --version`: of the program, and with `-v` of what it runs with: what a report of a fault should begin with.

use egofx::decode::Tools;
use egofx::places::bases;
use egofx_train::native;

use super::say;

/// Prints the version, and with `verbose` the commit and the versions of libtorch, ffmpeg and HDF5.
pub fn show(verbose: bool) -> anyhow::Result<()> {
    say(&format!("egofx-train {}\n", env!("CARGO_PKG_VERSION")))?;
    if verbose {
        // Set by the Makefile; cargo compiles this file anew when it changes.
        let commit = option_env!("EGOFX_COMMIT").filter(|commit| !commit.is_empty()).unwrap_or("not recorded");
        let ffmpeg = Tools::find(None, None, &bases()).map_or_else(|fault| fault.to_string(), |tools| tools.version);
        let lines = [
            ("commit", commit.to_owned()),
            ("libtorch", native::libtorch_version()),
            ("ffmpeg", ffmpeg),
            ("HDF5", egofx::store::hdf5_version()),
        ];
        say(&lines.map(|(what, version)| format!("{what:<14}{version}\n")).concat())?;
    }
    Ok(())
}
