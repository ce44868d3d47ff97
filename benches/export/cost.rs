//! What exporting takes: `egofx export` of a full-size EgoVLPv2 and of a SlowFast with random weights.
//!
//! Not for the speed of the graphs. Invariant: nothing of their 1.9 GB is left behind.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::support::{self, Fallible, process, row};

const MB: f64 = 1e6;

pub fn run() -> Fallible {
    ["egovlpv2", "slowfast8x8_r101"].into_iter().try_for_each(|model| {
        let folder = support::scratch(model)?;
        let measured = measure(model, &folder);
        fs::remove_dir_all(folder)?;
        measured
    })
}

fn measure(model: &str, folder: &Path) -> Fallible {
    let out = [OsStr::new("--out"), folder.as_os_str()];
    let export = process::egofx(["export", "--random", model].map(OsStr::new).into_iter().chain(out))?;
    let weights = weights_bytes(folder)?;
    let check = process::egofx(["export", "--check"].map(OsStr::new).into_iter().chain(out))?;
    support::head(&format!("Exporting {model}, random weights, every graph run on its golden input"));
    row(
        "peak memory over the size of the weights, at most 1.3",
        &format!("{:.2}", export.peak as f64 / weights),
        "n=1",
    );
    row("  the peak", &format!("{:.0} MB", export.peak as f64 / MB), "n=1");
    row("  the weights", &format!("{:.0} MB", weights / MB), "");
    row("wall time", &format!("{:.1} s", export.wall), "n=1");
    row("egofx export --check finds the graphs whole: wall time", &format!("{:.1} s", check.wall), "n=1");
    row("  its peak memory over the size of the weights", &format!("{:.2}", check.peak as f64 / weights), "n=1");
    Ok(())
}

fn weights_bytes(folder: &Path) -> Fallible<f64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "weights") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes as f64)
}
