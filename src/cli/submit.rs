//! `egofx submit`: a command that takes `--shard`, for an engine that runs it on many machines.
//!
//! Not for what scripts say, see `egofx::submit`. Invariants: what is wrong with the command is said here, before any node is
//! asked for; without `--now` nothing is written and nothing started.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};

use egofx::submit::k8s::{K8s, Volume};
use egofx::submit::slurm::{self, Container, Slurm};
use egofx::submit::{Job, Parts, SubmitError, hyperqueue, k8s, local};

use super::sharded::{Sharded, Survey};
use super::{FAILED, engines, plural, say, tell};

/// Absent videos that are named.
const MOST_NAMED: usize = 5;

/// Run extract, resize or chunk in parts: by Slurm, HyperQueue, Kubernetes, or here.
///
/// The command stands behind --, as it would be given here, without --shard; `egofx-train cache-clips` is one too. It is checked as it would be on a node: arguments,
/// manifest, recipes, models, and whether the videos are there. Then the engine's script is printed, or handed to the engine with
/// --now. Parts that are preempted, whose time is over or that are killed go on by themselves.
///
/// egofx submit slurm --shards 16 --cpus 8 --now -- extract -m all.csv -p egovlp_nlq -o /shared/features
///
/// Give it again with --missing in place of --shards for what is left after failures.
#[derive(Args)]
pub struct Submit {
    #[command(subcommand)]
    engine: Engine,
}

#[derive(Subcommand)]
enum Engine {
    /// A batch script whose job array has a task for each part.
    ///
    /// The script asks for its own requeue when its time is nearly over, goes on after preemption (PreemptMode REQUEUE and CANCEL) and
    /// when the run was killed, and leaves alone what somebody cancelled. It needs nothing but bash and Slurm's commands.
    Slurm(Box<SlurmOptions>),
    /// A script whose task array has a task for each part.
    Hyperqueue(Box<HyperqueueOptions>),
    /// The manifest of an indexed Job with a pod for each part. Needs Kubernetes 1.29 or later.
    ///
    /// Manifest, recipes and videos are looked at here, under the paths that the pods use: with --unchecked where those are not here.
    K8s(Box<K8sOptions>),
    /// A script that runs the parts as processes of this machine; --now runs it in the foreground.
    Local(Box<LocalOptions>),
}

/// What all engines are told.
#[derive(Args)]
struct Common {
    /// Parts that the plan is cut into. Each video is in one of them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), required_unless_present = "missing")]
    shards: Option<u32>,
    /// Only the parts that have work left, by what the stores hold, and that nobody is at. As many parts as before, unless --shards
    /// says otherwise.
    #[arg(long)]
    missing: bool,
    /// Hand it to the engine now, and keep it in the folder of --logs. Without, it is printed and nothing else is done.
    #[arg(long)]
    now: bool,
    /// Cores of each part.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cpus: Option<u32>,
    /// GPUs of each part [default: those of the command's --device].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=64))]
    gpus: Option<u32>,
    /// Parts that run at the same time, at most [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    parallel: Option<u32>,
    /// How often a part is begun again that was killed, by the end of memory for instance. One that was preempted is begun again as
    /// often as that happens.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(..=1000))]
    retries: u32,
    /// The name in the engine's lists [default: egofx-extract, ...].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The folder for what the parts say [default: <the command's --out>/logs].
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// The program on the nodes [default: this one, by its full path; in containers egofx].
    #[arg(long, value_name = "PROGRAM")]
    program: Option<String>,
    /// Do not look at the command's files: where they are on the nodes and not here.
    #[arg(long, conflicts_with = "missing")]
    unchecked: bool,
    /// The command, behind --: extract, resize or chunk, or egofx-train cache-clips, with their arguments.
    ///
    /// Of cache-clips only the arguments are looked at beforehand.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Args)]
struct SlurmOptions {
    #[command(flatten)]
    common: Common,
    /// The time limit of a part, as Slurm takes it (90, 8:00:00, 1-12). What is not done by then goes on in the next turn.
    #[arg(long, value_name = "TIME", value_parser = slurm::seconds)]
    time: Option<u64>,
    /// Set the time limit by a measurement on this machine, as `egofx plan --probe` makes it: of so many seconds of video.
    #[arg(long, value_name = "SEC", num_args = 0..=1, default_missing_value = "10", conflicts_with = "time")]
    probe: Option<f64>,
    /// Run the command in a container: apptainer:IMAGE or pyxis:IMAGE.
    #[arg(long, value_name = "KIND:IMAGE")]
    container: Option<Container>,
    /// A folder that the container is given: PATH, or PATH:PATH_INSIDE.
    #[arg(long, value_name = "PATH", requires = "container")]
    bind: Vec<String>,
    /// A further option of sbatch, such as --sbatch=--partition=gpu or --sbatch "-A project".
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Slurm's MaxArraySize; more parts become several arrays [default: what `scontrol show config` says, else 1001].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    max_array: Option<u32>,
}

#[derive(Args)]
struct HyperqueueOptions {
    #[command(flatten)]
    common: Common,
    /// A further option of hq submit, such as --hq=--priority=3.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    hq: Vec<String>,
}

#[derive(Args)]
struct K8sOptions {
    #[command(flatten)]
    common: Common,
    /// The image that has the program.
    #[arg(long)]
    image: String,
    /// A claim of a volume and the folder where pods find it: data:/data.
    #[arg(long, value_name = "CLAIM:PATH")]
    volume: Vec<Volume>,
    /// Memory of a pod, such as 8Gi.
    #[arg(long, value_name = "AMOUNT")]
    memory: Option<String>,
    /// The namespace.
    #[arg(long)]
    namespace: Option<String>,
}

#[derive(Args)]
struct LocalOptions {
    #[command(flatten)]
    common: Common,
}

impl Submit {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.engine {
            Engine::Slurm(options) => options.run(),
            Engine::Hyperqueue(options) => options.run(),
            Engine::K8s(options) => options.run(),
            Engine::Local(options) => options.run(),
        }
    }
}

impl Common {
    /// What is to be run, and the command itself; nothing where nothing is left. `in_container` are programs found by name.
    fn job(&self, in_container: bool) -> anyhow::Result<Option<(Job, Sharded)>> {
        let sharded = Sharded::parse(&self.command)?;
        let Some(parts) = self.parts(&sharded, in_container)? else { return Ok(None) };
        let out = absolute(sharded.out())?;
        let logs = self.logs.as_deref().map(absolute).transpose()?.unwrap_or_else(|| out.join("logs"));
        let job = Job {
            name: self.name.clone().unwrap_or_else(|| format!("egofx-{}", sharded.name)),
            command: self.words(&sharded, in_container)?,
            folder: text(&std::env::current_dir().context("the working folder")?)?,
            logs: text(&logs)?,
            parts,
            cpus: self.cpus,
            gpus: self.gpus.unwrap_or_else(|| sharded.gpus()),
            grace_sec: sharded.grace_sec(),
            retries: self.retries,
        };
        Ok(Some((job, sharded)))
    }

    fn parts(&self, sharded: &Sharded, in_container: bool) -> anyhow::Result<Option<Parts>> {
        let survey = if self.unchecked { None } else { sharded.survey(in_container)? };
        if let Some(survey) = survey {
            complain(&survey)?;
            let asked = self.shards.filter(|&count| count as usize > survey.videos);
            asked.map_or(Ok(()), |count| Err(SubmitError::TooMany { count, videos: survey.videos }))?;
        }
        if !self.missing {
            return Ok(self.shards.map(Parts::all));
        }
        let left = sharded.left(self.shards)?;
        if !left.at_work.is_empty() {
            let parts = Parts::only(left.parts.count, left.at_work);
            tell(format_args!("at work, and left out: part {parts} of {}", parts.count));
        }
        if left.parts.list().is_empty() {
            tell(format_args!("{}: nothing is left to submit", sharded.out().display()));
            return Ok(None);
        }
        tell(format_args!("left: part {} of {}", left.parts, left.parts.count));
        Ok(Some(left.parts))
    }

    /// The command as a node is given it, but for `--shard`. Parts take videos of others as with `--shard auto`.
    fn words(&self, sharded: &Sharded, in_container: bool) -> anyhow::Result<Vec<String>> {
        let program = match &self.program {
            Some(program) => program.clone(),
            None if in_container => sharded.program_name().to_owned(),
            None => text(&sharded.program()?)?,
        };
        let steal = ["--steal", "seen"].iter().filter(|_| !sharded.says_when_to_steal);
        let has_name = self.command.first().is_some_and(|word| word == sharded.program_name());
        let given = self.command.iter().skip(usize::from(has_name));
        let words = given.map(String::as_str).chain(steal.copied()).map(str::to_owned);
        Ok(std::iter::once(program).chain(words).collect())
    }
}

/// Says what of the command's files is not there; that none is, is an error.
fn complain(survey: &Survey) -> anyhow::Result<()> {
    survey.rejected.iter().for_each(|rejected| tell(format_args!("egofx: manifest: {rejected}")));
    let (absent, videos) = (&survey.absent, survey.videos);
    absent.iter().take(MOST_NAMED).for_each(|video| tell(format_args!("egofx: {video}")));
    let n = absent.len();
    if n > MOST_NAMED {
        tell(format_args!("egofx: ... and {} more", n - MOST_NAMED));
    }
    ensure!(videos > 0, "the plan has no videos: there is nothing to submit");
    ensure!(
        n == 0,
        "{n} of {} not there: name their folders with --videos, take them out of the manifest, or give --unchecked to submit all the \
         same",
        plural(videos, "video")
    );
    Ok(())
}

impl SlurmOptions {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Some((job, sharded)) = self.common.job(self.container.is_some())? else { return Ok(ExitCode::SUCCESS) };
        let slurm = Slurm {
            parallel: self.common.parallel,
            max_array: self.max_array.or_else(engines::max_array).unwrap_or(slurm::MAX_ARRAY),
            time_sec: self.time_sec(&job, &sharded)?,
            container: self.container,
            binds: self.bind,
            options: self.sbatch,
        };
        let script = slurm::script(&job, &slurm)?;
        if !self.common.now {
            say(&script)?;
            return Ok(ExitCode::SUCCESS);
        }
        let sbatch = engines::find("sbatch", "Slurm")?;
        let path = engines::keep(&job, &script)?;
        let several = slurm::windows(&job, &slurm);
        for window in &several {
            let mut command = Command::new(&sbatch);
            if several.len() > 1 {
                command.arg(format!("--array={}", window.array)).env(slurm::OFFSET, window.offset.to_string());
            }
            engines::run(command.arg(&path))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The time limit: what was asked for, or half as much again as a measurement says, and what a part needs to end.
    fn time_sec(&self, job: &Job, sharded: &Sharded) -> anyhow::Result<Option<u64>> {
        let measured = match self.probe {
            Some(seconds) => sharded.probe(seconds).unwrap_or_else(|error| {
                tell(format_args!("egofx: --probe: {error:#}"));
                None
            }),
            None => None,
        };
        let limit = self.time.or_else(|| measured.map(|sec| slurm::limit_sec(sec, job)));
        if limit.is_none() {
            tell("no time limit is set, that of the partition holds: --time says one, --probe measures");
        }
        Ok(limit)
    }
}

impl HyperqueueOptions {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Some((job, _)) = self.common.job(false)? else { return Ok(ExitCode::SUCCESS) };
        let script = hyperqueue::script(&job, &self.hq)?;
        if !self.common.now {
            say(&script)?;
            return Ok(ExitCode::SUCCESS);
        }
        let hq = engines::find("hq", "HyperQueue")?;
        engines::run(Command::new(hq).args(["submit", "--directives=file"]).arg(engines::keep(&job, &script)?))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl K8sOptions {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Some((job, _)) = self.common.job(true)? else { return Ok(ExitCode::SUCCESS) };
        if !job.parts.is_all() {
            tell("an indexed Job has all indices: parts that have nothing left end at once");
        }
        let k8s = K8s {
            image: self.image,
            parallel: self.common.parallel,
            namespace: self.namespace,
            memory: self.memory,
            volumes: self.volume,
        };
        let manifest = k8s::manifest(&job, &k8s)?;
        if !self.common.now {
            say(&manifest)?;
            return Ok(ExitCode::SUCCESS);
        }
        let kubectl = engines::find("kubectl", "Kubernetes")?;
        let mut child =
            Command::new(kubectl).args(["create", "-f", "-"]).stdin(Stdio::piped()).spawn().context("kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read says why itself.
            let _ = stdin.write_all(manifest.as_bytes());
        }
        let status = child.wait().context("kubectl")?;
        Ok(ExitCode::from(if status.success() { 0 } else { FAILED }))
    }
}

impl LocalOptions {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Some((job, _)) = self.common.job(false)? else { return Ok(ExitCode::SUCCESS) };
        let script = local::script(&job, self.common.parallel);
        if !self.common.now {
            say(&script)?;
            return Ok(ExitCode::SUCCESS);
        }
        let bash = engines::find("bash", "the script")?;
        // The script is this process from here on, so that whoever signals it signals the parts.
        Err(Command::new(bash).arg(engines::keep(&job, &script)?).exec()).context("bash")
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

fn text(path: &Path) -> Result<String, SubmitError> {
    path.to_str().map(str::to_owned).ok_or_else(|| SubmitError::NotText(path.to_owned()))
}
