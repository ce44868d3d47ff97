//! The runs that a command line names: a run, an experiment with folds, or a checkpoint.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use egofx::stop::Stop;
use egofx_train::checkpoint;
use egofx_train::distributed::World;
use egofx_train::error::TrainError;
use egofx_train::experiment::Experiment;
use egofx_train::predict::{Request, Weights, kept_classes};
use egofx_train::registry::Entry;
use egofx_train::sources::Split;
use egofx_train::sweep;
use egofx_train::trainer::context::Surroundings;
use egofx_train::trainer::{BEST_FILE, LAST_FILE};

use super::common::{Data, Place};
use super::progress::Progress;
use super::tell;

/// The weights of a command that predicts.
#[derive(Args)]
pub struct Named {
    /// The folder of a run, or a file of weights: a checkpoint, or with --config somebody else's state dict of that head.
    /// The folder of an experiment with folds predicts each fold by the run that did not learn from it.
    weights: PathBuf,
    /// The experiment that somebody else's weights belong to.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The weights of the last epoch, not those of the best validation.
    #[arg(long)]
    last: bool,
}

/// What was named, found.
pub struct Trained {
    /// The learner.
    pub entry: &'static Entry,
    /// What it was trained with.
    pub experiment: Experiment,
    /// The weights, one for each fold.
    pub weights: Vec<Weights>,
    named: PathBuf,
}

impl Named {
    /// The learner, its experiment, and the weights.
    pub fn trained(&self) -> anyhow::Result<Trained> {
        Trained::find(&self.weights, self.config.as_deref(), self.last)
    }
}

impl Trained {
    /// The learner of what is `named`, its experiment, and the weights: those of the best validation or of the `last` epoch; with a
    /// `config` those of a file that may be somebody else's.
    pub fn find(named: &Path, config: Option<&Path>, last: bool) -> anyhow::Result<Self> {
        let (experiment, weights) = match config {
            Some(_) if named.is_dir() || last => {
                let found = named.display();
                bail!("--config says what a file of weights is of: expected a file without --last, found {found}")
            }
            Some(config) => (Experiment::read(config)?, vec![Weights { path: named.to_owned(), fold: String::new() }]),
            None => chosen(named, last)?,
        };
        let entry = Entry::find(&experiment.learner, config.unwrap_or(named))?;
        Ok(Self { entry, experiment, weights, named: named.to_owned() })
    }

    /// What `act` does with these weights and `annotations`, while how far it is is shown.
    pub fn apply<T>(
        &self,
        data: &Data,
        annotations: &Path,
        place: &Place,
        act: impl FnOnce(&Entry, &Request) -> Result<T, TrainError>,
    ) -> anyhow::Result<T> {
        let Self { entry, experiment, named, weights } = self;
        let mut sources = data.sources();
        sources.annotations = vec![(Split::Whole, annotations.to_owned())];
        sources.classes = sources.classes.or_else(|| kept_classes(named));
        let (found, threads) = place.find()?;
        tell(format_args!("{} for {}, {}", entry.name, entry.task, experiment.compat.name()));
        let progress = Progress::new(&experiment.train.monitor, true);
        let surroundings = Surroundings {
            device: found.device,
            threads,
            world: &World::single(),
            // There is nothing to be gone on with: signals end it as they end any program.
            stop: &Stop::default(),
            watch: &|event| progress.show(event),
        };
        let request = Request { experiment, weights, sources: &sources, surroundings: &surroundings };
        act(entry, &request).map_err(|error| progress.failure(error))
    }
}

/// The experiment and the checkpoints of `named`: those of the best validation, or of the last epoch; one for each fold.
fn chosen(named: &Path, last: bool) -> anyhow::Result<(Experiment, Vec<Weights>)> {
    let file = if last { LAST_FILE } else { BEST_FILE };
    if last && named.is_file() {
        bail!("--last takes {LAST_FILE} of the folder of a run, and {} is a file", named.display());
    }
    let paths = if named.is_dir() { checkpoints(named, file)? } else { vec![named.to_owned()] };
    let mut chosen: Vec<Weights> = Vec::new();
    let mut experiment = None;
    for path in paths {
        let saved = checkpoint::open(&path)?;
        let known = experiment.get_or_insert_with(|| saved.experiment.clone());
        let fold = saved.progress.fold.clone();
        if *known != saved.experiment || chosen.iter().any(|other| other.fold == fold) {
            let runs = sweep::runs_below(named);
            let list: Vec<String> = runs.iter().map(|run| format!("\n  {}", run.display())).collect();
            bail!("{}: there are several runs, name one of{}", named.display(), list.concat());
        }
        chosen.push(Weights { path, fold });
    }
    let none = || format!("{}: there is no run with a {file}", named.display());
    Ok((experiment.with_context(none)?, chosen))
}

/// The checkpoints of the runs in a folder.
fn checkpoints(folder: &Path, file: &str) -> anyhow::Result<Vec<PathBuf>> {
    let runs = sweep::runs_below(folder);
    let missing = runs.iter().find(|run| !run.join(file).is_file());
    match missing {
        Some(run) => {
            bail!("{}: there is no {file}: no validation had a score; --last takes {LAST_FILE}", run.display())
        }
        None => Ok(runs.iter().map(|run| run.join(file)).collect()),
    }
}
