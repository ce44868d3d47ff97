//! The commands of engines: where they are, and what they are handed.
//!
//! Not for what a script says. Invariant: what an engine says of it goes to the user as it is.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use egofx::child;
use egofx::places::search_path;
use egofx::submit::{Job, slurm};

use super::outputs::{Output, write_all};

/// How long Slurm is waited for when it is asked for the size of its arrays.
const PATIENCE: Duration = Duration::from_secs(20);

/// The script's place on disk, which all nodes see as they see the outputs. One that is being run is replaced, not changed.
pub fn keep(job: &Job, script: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new(&job.logs);
    std::fs::create_dir_all(folder).with_context(|| format!("--logs {}", folder.display()))?;
    let path = folder.join(format!("{}.sh", job.name));
    let write = |file: &mut dyn Write| Ok(file.write_all(script.as_bytes())?);
    write_all(&[Output { path: &path, write: &write }], true)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Runs a command of an engine, which speaks for itself.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| name.clone())?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

/// A command of an engine on the PATH.
pub fn find(name: &str, of: &str) -> anyhow::Result<PathBuf> {
    let found = on_path(name);
    found.with_context(|| {
        format!("{name} is not on the PATH: --now hands the script to {of}; without --now it is printed")
    })
}

/// A program on the PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    child::find(Path::new(name), &search_path())
}

/// MaxArraySize, if Slurm is here.
pub fn max_array() -> Option<u32> {
    let output = child::output(Command::new(on_path("scontrol")?).args(["show", "config"]), PATIENCE).ok()?;
    slurm::max_array(&String::from_utf8_lossy(&output.stdout))
}
