//! `egofx-train TASK`: trains all runs of an experiment.

use std::path::{Path, PathBuf};

use clap::Args;

use egofx_train::error::TrainError;
use egofx_train::experiment::Experiment;
use egofx_train::registry::Entry;
use egofx_train::sources::Split;
use egofx_train::sweep::{EXPERIMENT_FILE, Request};
use egofx_train::trainer::context::Surroundings;

use super::common::{BackendChoice, Data, Joined, Log, Place};
use super::progress::Progress;
use super::{say, summary, tell};

/// Arguments of every task.
#[derive(Args)]
pub struct Train {
    /// The experiment: everything that decides the numbers. training/configs/ has one for each published setting.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    data: Data,
    /// Annotations to learn from, as published.
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// Annotations to validate on, as published.
    #[arg(long, value_name = "FILE")]
    val: Option<PathBuf>,
    /// Annotations of a benchmark that is not divided: for qfvs the folder that `egofx manifest qfvs` reads.
    #[arg(long, value_name = "PATH")]
    annotations: Option<PathBuf>,
    /// The folder of the runs: checkpoints, metrics.jsonl, TensorBoard's events, curves.svg, summary.json.
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
        let experiment = Experiment::read(&self.config)?;
        let head = self.head(task, &experiment)?;
        let mut sources = self.data.sources();
        let given = [(Split::Train, &self.train), (Split::Validation, &self.val), (Split::Whole, &self.annotations)];
        sources.annotations = given.into_iter().filter_map(|(split, path)| Some((split, path.clone()?))).collect();
        let Joined { found, threads, world, stop } = self.place.join(self.backend, "after this step")?;
        world.on_rank0(|| if self.force { clear(&self.out) } else { Ok(()) })?;
        if world.is_rank0() {
            tell(format_args!("{} for {task}, {}", head.name, experiment.compat.name()));
        }
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

    fn head(&self, task: &str, experiment: &Experiment) -> Result<&'static Entry, TrainError> {
        let head = Entry::find(&experiment.learner, &self.config)?;
        let why = |why| TrainError::Experiment { path: self.config.clone(), why };
        if head.task != task {
            return Err(why(format!("{} is for {}, not for {task}", head.name, head.task)));
        }
        // Every point of the grid, so that the last does not fail after hours.
        for member in experiment.members().map_err(why)? {
            (head.check)(&member.experiment).map_err(why)?;
        }
        Ok(head)
    }
}

/// Removes an experiment's folder, and nothing that is none.
fn clear(folder: &Path) -> Result<(), TrainError> {
    if folder.join(EXPERIMENT_FILE).is_file() {
        std::fs::remove_dir_all(folder).map_err(TrainError::io("remove", folder))?;
    }
    Ok(())
}
