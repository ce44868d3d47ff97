//! Slurm: a batch script whose array has a task for each part.
//!
//! Not for asking Slurm anything. Sources: the manual pages of `sbatch`, `srun`, `scontrol` and `squeue` of 22.05 and later; what a
//! job is sent when it is preempted, cancelled and requeued was observed on 22.05. The script goes on by itself after preemption
//! (PreemptMode REQUEUE and CANCEL), the end of its time and a killed run; `slurm.sh` is the part of it that is always the same.

use std::str::FromStr;

use super::parts::ranges;
use super::quote::directive;
use super::{Job, SubmitError};
use crate::shell::quoted;

/// MaxArraySize where Slurm is not asked: its own default.
pub const MAX_ARRAY: u32 = 1001;

/// The variable that says to a script what its array's indices are short of.
pub const OFFSET: &str = "EGOFX_OFFSET";

/// The shortest time limit that is made of a measurement, and what such limits are multiples of, in seconds.
const STEP_SEC: u64 = 600;

/// How long before the end of its time a part is warned, beyond its `--grace`: for its last seconds, its requeue, and the half minute in
/// which Slurm looks at times.
const MARGIN_SEC: u64 = 60;

/// Options that the script depends on, and what to give instead.
const OWNED: [(&str, &str); 9] = [
    ("--array", "--shards says how many parts there are"),
    ("-a", "--shards says how many parts there are"),
    ("--signal", "--grace of the command says how long its end may take"),
    ("--no-requeue", "a part that is stopped is called again"),
    ("--ntasks", "a part is one task"),
    ("-n", "a part is one task"),
    ("--open-mode", "a part that is called again goes on with its log"),
    ("--wrap", "the command stands behind --"),
    ("--time", "give --time to submit"),
];

/// What is asked of Slurm.
#[derive(Debug, Clone, Default)]
pub struct Slurm {
    /// Parts that run at the same time, at most.
    pub parallel: Option<u32>,
    /// MaxArraySize of the cluster: indices of arrays are below it.
    pub max_array: u32,
    /// The time limit of a part in seconds.
    pub time_sec: Option<u64>,
    /// What the command runs in.
    pub container: Option<Container>,
    /// Folders that the container is given, `PATH` or `PATH:PATH`.
    pub binds: Vec<String>,
    /// Further options of sbatch, as they stand behind `#SBATCH`.
    pub options: Vec<String>,
}

/// What a command runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Container {
    /// `apptainer exec IMAGE`.
    Apptainer(String),
    /// `srun --container-image=IMAGE`, of NVIDIA's plugin.
    Pyxis(String),
}

impl FromStr for Container {
    type Err = SubmitError;

    fn from_str(text: &str) -> Result<Self, SubmitError> {
        match text.split_once(':') {
            Some(("apptainer", image)) if !image.is_empty() => Ok(Self::Apptainer(image.to_owned())),
            Some(("pyxis", image)) if !image.is_empty() => Ok(Self::Pyxis(image.to_owned())),
            _ => Err(SubmitError::Form {
                what: "--container",
                found: text.to_owned(),
                expected: "apptainer:IMAGE or pyxis:IMAGE",
            }),
        }
    }
}

/// One array of a job: Slurm limits the indices of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// What is added to an index to give the part; EGOFX_OFFSET of the environment says it to the script.
    pub offset: u32,
    /// What `--array` is given: indices, and how many at a time.
    pub array: String,
}

/// The arrays of `job`: one, unless it has more parts than an array may have.
pub fn windows(job: &Job, slurm: &Slurm) -> Vec<Window> {
    let most = slurm.max_array.saturating_sub(1).max(1);
    let offset = |part: u32| (part - 1) / most * most;
    let chunks: Vec<&[u32]> = job.parts.list().chunk_by(|a, b| offset(*a) == offset(*b)).collect();
    let at_once = slurm.parallel.map(|parallel| (parallel / chunks.len().max(1) as u32).max(1));
    let window = |parts: &&[u32]| {
        let offset = offset(parts[0]);
        let indices = ranges(&parts.iter().map(|part| part - offset).collect::<Vec<_>>());
        Window { offset, array: indices + &at_once.map(|at_once| format!("%{at_once}")).unwrap_or_default() }
    };
    chunks.iter().map(window).collect()
}

/// The batch script: of the first array, where there are several.
///
/// # Errors
/// [`SubmitError`].
pub fn script(job: &Job, slurm: &Slurm) -> Result<String, SubmitError> {
    let windows = windows(job, slurm);
    let heading = job.heading("Slurm", &how(job, &windows));
    let directives = directives(job, slurm, &windows)?;
    let settings = job.settings(&format!("launch=({})\n", launch(job, slurm).join(" ")));
    Ok(format!("#!/bin/bash\n{heading}{directives}{settings}{BODY}"))
}

const BODY: &str = include_str!("slurm.sh");

/// How the script is submitted, for its reader.
fn how(job: &Job, windows: &[Window]) -> Vec<String> {
    let mut lines = vec![format!("Submit it by: mkdir -p {} && sbatch THIS_FILE", quoted(&job.logs))];
    if let [_, more @ ..] = windows
        && !more.is_empty()
    {
        lines.push("An array of this cluster cannot have all parts. Submit the others by:".to_owned());
        let command =
            |window: &Window| format!("  {OFFSET}={} sbatch --array={} THIS_FILE", window.offset, window.array);
        lines.extend(more.iter().map(command));
    }
    lines
}

fn directives(job: &Job, slurm: &Slurm, windows: &[Window]) -> Result<String, SubmitError> {
    let warn_sec = job.grace_sec + MARGIN_SEC;
    if let Some(time_sec) = slurm.time_sec.filter(|time_sec| *time_sec <= 2 * warn_sec) {
        return Err(SubmitError::TooShort { time_sec, warn_sec });
    }
    let mut lines = vec![
        directive("job-name", &line("the name", &job.name)?),
        directive("array", windows.first().map_or("", |window| &window.array)),
        directive("ntasks", "1"),
    ];
    lines.extend(job.cpus.map(|cpus| directive("cpus-per-task", &cpus.to_string())));
    lines.extend((job.gpus > 0).then(|| directive("gres", &format!("gpu:{}", job.gpus))));
    lines.extend(slurm.time_sec.map(|time_sec| directive("time", &time(time_sec))));
    lines.push(directive("signal", &format!("B:USR1@{warn_sec}")));
    lines.extend(["--requeue".to_owned(), directive("open-mode", "append")]);
    lines.push(directive("output", &(log_pattern(&job.logs)? + "/%A_%a.log")));
    for option in &slurm.options {
        lines.push(passed_on(option)?);
    }
    Ok(lines.iter().map(|line| format!("#SBATCH {line}\n")).collect())
}

/// What starts the command: `srun`, and a container.
fn launch(job: &Job, slurm: &Slurm) -> Vec<String> {
    let mut words = vec!["srun".to_owned(), "--ntasks=1".to_owned()];
    // Since 22.05 a step does not take over what its job asked for.
    words.extend(job.cpus.map(|cpus| format!("--cpus-per-task={cpus}")));
    match &slurm.container {
        None => {}
        Some(Container::Pyxis(image)) => {
            let mounts: Vec<String> = slurm.binds.iter().map(|bind| both_sides(bind)).collect();
            words.push(format!("--container-image={image}"));
            words.extend((!mounts.is_empty()).then(|| format!("--container-mounts={}", mounts.join(","))));
            words.push(format!("--container-workdir={}", job.folder));
        }
        Some(Container::Apptainer(image)) => {
            words.extend(["apptainer".to_owned(), "exec".to_owned(), "--pwd".to_owned(), job.folder.clone()]);
            words.extend((job.gpus > 0).then(|| "--nv".to_owned()));
            words.extend(slurm.binds.iter().flat_map(|bind| ["--bind".to_owned(), bind.clone()]));
            words.push(image.clone());
        }
    }
    words.iter().map(|word| quoted(word)).collect()
}

fn both_sides(bind: &str) -> String {
    if bind.contains(':') { bind.to_owned() } else { format!("{bind}:{bind}") }
}

/// A folder in a pattern of file names, in which `%` is special; a backslash would switch patterns off.
fn log_pattern(folder: &str) -> Result<String, SubmitError> {
    if folder.contains('\\') {
        let text = folder.to_owned();
        return Err(SubmitError::Text { what: "--logs", text, found: "a backslash", engine: "Slurm" });
    }
    Ok(line("--logs", folder)?.replace('%', "%%"))
}

/// An option of the user's.
fn passed_on(option: &str) -> Result<String, SubmitError> {
    let text = line("--sbatch", option.trim())?;
    let text = if text.starts_with('-') { text } else { format!("--{text}") };
    let name = text.split([' ', '=']).next().unwrap_or_default();
    match OWNED.iter().find(|(owned, _)| *owned == name) {
        Some((_, instead)) => Err(SubmitError::Owned { option: name.to_owned(), instead }),
        None => Ok(text),
    }
}

fn line(what: &'static str, text: &str) -> Result<String, SubmitError> {
    if text.contains(['\n', '\r', '\0']) {
        let text = text.to_owned();
        return Err(SubmitError::Text { what, text, found: "a line break", engine: "Slurm" });
    }
    Ok(text.to_owned())
}

/// Seconds as Slurm writes them: `1-02:03:04`.
pub fn time(sec: u64) -> String {
    let (days, rest) = (sec / 86_400, sec % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 { clock } else { format!("{days}-{clock}") }
}

/// Seconds of a time as Slurm takes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and
/// days-hours:minutes:seconds.
///
/// # Errors
/// [`SubmitError::Form`].
pub fn seconds(text: &str) -> Result<u64, SubmitError> {
    let parse = || {
        let (days, clock) = text.split_once('-').map_or((None, text), |(days, clock)| (Some(days), clock));
        let numbers: Vec<u64> = clock.split(':').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let clock = match (days.is_some(), numbers.as_slice()) {
            (true, [hours]) => [*hours, 0, 0],
            (true, [hours, minutes]) => [*hours, *minutes, 0],
            (false, [minutes]) => [0, *minutes, 0],
            (false, [minutes, sec]) => [0, *minutes, *sec],
            (_, [hours, minutes, sec]) => [*hours, *minutes, *sec],
            _ => return None,
        };
        let days: u64 = days.map_or(Some(0), |days| days.parse().ok())?;
        let units = [days, clock[0], clock[1], clock[2]].into_iter().zip([86_400, 3600, 60, 1]);
        units.map(|(number, unit)| number.checked_mul(unit)).try_fold(0_u64, |sum, sec| sum.checked_add(sec?))
    };
    let expected = "a time as Slurm takes it: minutes, hours:minutes:seconds or days-hours:minutes:seconds";
    parse().ok_or_else(|| SubmitError::Form { what: "--time", found: text.to_owned(), expected })
}

/// The time limit of a part where the whole of `job` takes `measured_sec` on one machine: half as much again, and its end.
pub fn limit_sec(measured_sec: f64, job: &Job) -> u64 {
    let part_sec = (1.5 * measured_sec / f64::from(job.parts.count)).ceil() as u64;
    part_sec.saturating_add(3 * (job.grace_sec + MARGIN_SEC)).div_ceil(STEP_SEC).saturating_mul(STEP_SEC)
}

/// MaxArraySize in what `scontrol show config` prints.
pub fn max_array(config: &str) -> Option<u32> {
    let value = config.lines().find_map(|line| line.strip_prefix("MaxArraySize")?.trim_start().strip_prefix('='));
    value?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
