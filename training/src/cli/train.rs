//! `egofx-train TASK`: trains all runs of an experiment.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use egofx_train::device::Found;
use egofx_train::distributed::World;
use egofx_train::error::TrainError;
use egofx_train::experiment::Experiment;
use egofx_train::native;
use egofx_train::provenance::{self, Inputs, Start, Versions};
use egofx_train::registry::{Entry, LEARNERS};
use egofx_train::sources::{OPTIONS, Sources};
use egofx_train::sweep::{EXPERIMENT_FILE, Request};
use egofx_train::trainer::context::Surroundings;

use super::common::{BackendChoice, Chosen, Data, Joined, Log, Place, Splits};
use super::progress::Progress;
use super::{now, say, summary, tell};

/// Arguments of every task.
#[derive(Args)]
pub struct Train {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    splits: Splits,
    /// The folder of the runs: checkpoints, metrics.jsonl, TensorBoard's events, curves.svg, summary.json, provenance.json.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Start from these weights: a checkpoint of egofx-train, or an official state dict of the same head or backbone. For
    /// pretraining also what the originals start from, each a file of its own: a ViT, and a DistilBERT or RoBERTa.
    #[arg(long, value_name = "FILE")]
    init: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    log: Log,
    /// How processes that were launched together (by torchrun, srun, or RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT) talk:
    /// auto is nccl on GPUs and gloo on the CPU.
    #[arg(long, value_enum, default_value_t = BackendChoice::Auto)]
    backend: BackendChoice,
    /// Go on where an earlier run in the same folder stopped. It computes what it would have computed anyway.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Remove what an earlier experiment left in the folder.
    #[arg(long)]
    force: bool,
    /// Print the results of the runs as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Train {
    /// Trains for `task`.
    pub fn run(self, task: &str) -> anyhow::Result<()> {
        self.log.open()?;
        let experiment = self.chosen.read()?;
        let head = self.chosen.check(&experiment, |experiment| self.head(task, experiment))?;
        let mut sources = self.data.sources();
        sources.annotations = self.splits.given();
        let Joined { found, threads, world, stop } = self.place.join(self.backend, "after this step")?;
        world.on_rank0(|| if self.force { clear(&self.out) } else { Ok(()) })?;
        if world.is_rank0() {
            tell(format_args!("{} for {task}, {}", head.name, experiment.compat.name()));
        }
        let start = world.is_rank0().then(|| self.start(head, &sources, &found, &world));
        let progress = Progress::new(&experiment.train.monitor, world.is_rank0());
        let watch = |event: &_| progress.show(event);
        let surroundings = Surroundings { device: found.device, threads, world: &world, stop: &stop, watch: &watch };
        let begin = |folder: &Path, number: usize, count: usize| {
            if !world.is_rank0() {
                return;
            }
            progress.begin(&format!("run {number} of {count}: {}", folder.display()));
        };
        let request = Request {
            experiment: &experiment,
            sources: &sources,
            folder: &self.out,
            surroundings: &surroundings,
            resume: self.resume,
            init: &self.init,
            start: start.as_ref(),
            begin: &begin,
        };
        let finished = (head.train)(&request).map_err(|error| progress.failure(error))?;
        progress.finish();
        if !world.is_rank0() {
            return Ok(());
        }
        if self.json {
            return say(&(serde_json::to_string_pretty(&finished.json())? + "\n"));
        }
        say(&summary::of(&finished))
    }

    /// What is put on record of this start.
    fn start(&self, head: &Entry, sources: &Sources, found: &Found, world: &World) -> Start {
        let reads_videos = head.reads.contains(&"videos");
        // Whoever reads videos says what is wrong with it.
        let tools = reads_videos.then(|| sources.ffmpeg.tools().ok()).flatten();
        Start {
            date: now(),
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            set: self.chosen.set.iter().map(ToString::to_string).collect(),
            versions: Versions {
                egofx_train: provenance::VERSION.to_owned(),
                commit: provenance::commit().to_owned(),
                libtorch: native::libtorch_version(),
                hdf5: egofx::store::hdf5_version(),
                ffmpeg: tools.map(|tools| tools.version.clone()),
            },
            device: found.to_string(),
            threads: tch::get_num_threads() as usize,
            workers: self.place.workers(),
            processes: world.place().size,
            inputs: Inputs::of(&self.chosen.config, sources, &self.init),
        }
    }

    fn head(&self, task: &str, experiment: &Experiment) -> Result<&'static Entry, TrainError> {
        let config = &self.chosen.config;
        let head = Entry::find(&experiment.learner, config)?;
        let why = |why| TrainError::Experiment { path: config.clone(), why };
        if head.task != task {
            return Err(why(format!("{} is for {}, not for {task}", head.name, head.task)));
        }
        // Every point of the grid, so that the last does not fail after hours.
        for member in experiment.members().map_err(why)? {
            let explained = |why| experiment.explained(&self.chosen.set, why);
            (head.check)(&member.experiment).map_err(explained).map_err(why)?;
        }
        Ok(head)
    }
}

/// The options of `task`: help shows those that it reads, and what belongs to other tasks is accepted by [`expect_read`] only.
pub fn options(task: &str, command: Command) -> Command {
    unread(task).fold(command, |command, option| command.mut_arg(id(option), |arg| arg.hide(true)))
}

/// Refuses an option that names what `task` does not read, which would do nothing.
pub fn expect_read(task: &str, matches: &ArgMatches) -> anyhow::Result<()> {
    let is_given = |option: &&str| matches.value_source(&id(option)) == Some(ValueSource::CommandLine);
    match unread(task).find(is_given) {
        Some(option) => {
            bail!("egofx-train {task} does not read --{option}: leave it out, or see egofx-train {task} --help")
        }
        None => Ok(()),
    }
}

/// What other tasks read.
fn unread(task: &str) -> impl Iterator<Item = &'static str> {
    let reads = LEARNERS.iter().find(|head| head.task == task).map_or(&[][..], |head| head.reads);
    OPTIONS.iter().copied().filter(|option| !reads.contains(option))
}

/// As the parser calls an option.
fn id(option: &str) -> String {
    option.replace('-', "_")
}

/// Removes an experiment's folder, and nothing that is none.
fn clear(folder: &Path) -> Result<(), TrainError> {
    if folder.join(EXPERIMENT_FILE).is_file() {
        std::fs::remove_dir_all(folder).map_err(TrainError::io("remove", folder))?;
    }
    Ok(())
}
