//! Runs of the program `egofx` itself, watched from outside.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Fallible, root};

/// How often a running process is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// What a run of `egofx` showed.
pub struct Observed {
    /// From its start to its end, seconds.
    pub wall: f64,
    /// From its start to its first committed unit, seconds.
    pub first_unit: Option<f64>,
    /// Its own peak memory, bytes.
    pub peak: u64,
    /// The largest address space that it took, bytes.
    pub reserved: u64,
    /// The largest peak among its children, bytes.
    pub child_peak: u64,
    /// Its report, if it extracted.
    pub report: Value,
}

/// `egofx extract` of a manifest by recipes into a folder, with more arguments.
pub fn extract(manifest: &Path, recipes: &[PathBuf], out: &Path, more: &[&str]) -> Fallible<Observed> {
    let mut command = program();
    command.args(["extract", "--json", "-m"]).arg(manifest);
    for recipe in recipes {
        command.arg("-p").arg(recipe);
    }
    command.arg("-o").arg(out).args(more);
    let observed = run(&mut command, Some(out))?;
    let report = serde_json::from_slice(&fs::read(out.join("report.json"))?)?;
    Ok(Observed { report, ..observed })
}

/// `egofx` with other arguments.
pub fn egofx<'a>(arguments: impl Iterator<Item = &'a OsStr>) -> Fallible<Observed> {
    run(program().args(arguments), None)
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egofx"));
    command.current_dir(root()).stdin(Stdio::null()).stdout(Stdio::null());
    // Whatever else is installed here.
    command.env("EGOFX_DEVICE", "cpu");
    command
}

/// Any program, and the first unit that appears in the stores below `out`.
pub fn run(command: &mut Command, out: Option<&Path>) -> Fallible<Observed> {
    let started = Instant::now();
    let mut child = command.spawn()?;
    let observed = watch(&mut child, started, out)?;
    let status = child.wait()?;
    if status.success() { Ok(observed) } else { Err(format!("{command:?} ended with {status}").into()) }
}

fn watch(child: &mut Child, started: Instant, out: Option<&Path>) -> Fallible<Observed> {
    let pid = child.id();
    let mut seen = Observed { wall: 0.0, first_unit: None, peak: 0, reserved: 0, child_peak: 0, report: Value::Null };
    while child.try_wait()?.is_none() {
        if seen.first_unit.is_none() && out.is_some_and(holds_a_unit) {
            seen.first_unit = Some(started.elapsed().as_secs_f64());
        }
        // A process that is ending has no memory to tell of: what was seen before stands.
        seen.peak = seen.peak.max(bytes_of(pid, "VmHWM:"));
        seen.reserved = seen.reserved.max(bytes_of(pid, "VmPeak:"));
        let peaks = children(pid).into_iter().map(|child| bytes_of(child, "VmHWM:"));
        seen.child_peak = peaks.fold(seen.child_peak, u64::max);
        thread::sleep(GLANCE);
    }
    seen.wall = started.elapsed().as_secs_f64();
    Ok(seen)
}

/// Whether some store below `out` has a file in its `units/`.
fn holds_a_unit(out: &Path) -> bool {
    let stores = fs::read_dir(out).into_iter().flatten().flatten();
    stores.filter_map(|store| fs::read_dir(store.path().join("units")).ok()).any(|units| units.count() > 0)
}

/// A size that the kernel keeps of a process.
fn bytes_of(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|words| words.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}
