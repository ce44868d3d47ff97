//! `egofx demo`: the whole way once, on a clip that is part of the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use egofx::durable;

use super::args::parsed;
use super::extract::Extract;
use super::report::Report;
use super::say;

/// The files that the demo needs, by their names below its folder.
const FILES: [(&str, &[u8]); 4] = [
    ("demo.csv", include_bytes!("../../manifests/demo.csv")),
    ("demo.mp4", include_bytes!("../../manifests/demo.mp4")),
    ("onnx/tiny.onnx", include_bytes!("../../onnx/tiny.onnx")),
    ("onnx/tiny.toml", include_bytes!("../../onnx/tiny.toml")),
];
/// The recipes that it runs.
const RECIPES: [&str; 2] = ["demo", "demo_dense"];

/// Extract two feature sets of a bundled clip, show them, and say how to open them.
///
/// Everything is in the program: a real clip of 13 seconds, its manifest, two recipes and a small graph with random weights, so
/// that the features mean nothing but all else is as in a real run. Needs ffmpeg and ONNX Runtime, no checkpoint.
#[derive(Args)]
pub struct Demo {
    /// Where the clip, its manifest, the graph and the features go.
    #[arg(short, long, value_name = "DIR", default_value = "egofx-demo")]
    out: PathBuf,
}

impl Demo {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        for (name, bytes) in FILES {
            write(&self.out.join(name), bytes)?;
        }
        let code = extract(&self.out)?.run()?;
        if code == ExitCode::SUCCESS {
            report(&self.out)?.run()?;
            say(&how_to_open(&self.out.join("features")))?;
        }
        Ok(code)
    }
}

/// Writes a file of the demo, unless it is there already.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let folder = path.parent().context("a file of the demo lies in its folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    durable::write_bytes(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// `egofx extract`, with the arguments that a user would give.
fn extract(folder: &Path) -> anyhow::Result<Extract> {
    let (manifest, models, out) = (folder.join("demo.csv"), folder.join("onnx"), folder.join("features"));
    let mut arguments = vec!["-m".into(), manifest.into_os_string()];
    arguments.extend(["--models".into(), models.into_os_string(), "-o".into(), out.into_os_string()]);
    arguments.extend(RECIPES.iter().flat_map(|recipe| ["-p".into(), (*recipe).into()]));
    parsed(arguments)
}

/// `egofx report` of what was extracted.
fn report(folder: &Path) -> anyhow::Result<Report> {
    parsed([folder.join("features").into_os_string(), "-m".into(), folder.join("demo.csv").into_os_string()])
}

fn how_to_open(features: &Path) -> String {
    let path = features.join(RECIPES[0]);
    format!(
        "
In Python:

    import egofx
    store = egofx.open({path:?})
    for unit in store.values(): print(unit.uid, unit.features.shape, unit.start_sec[:3])
"
    )
}
