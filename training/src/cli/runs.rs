//! The runs that a command line names: a run, an experiment with folds, or a checkpoint.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use egofx_train::checkpoint;
use egofx_train::experiment::Experiment;
use egofx_train::predict::Weights;
use egofx_train::registry::Entry;
use egofx_train::sweep;
use egofx_train::trainer::{BEST_FILE, LAST_FILE};

/// The weights of a command that predicts.
#[derive(Args)]
pub struct Named {
    /// The folder of a run, or a file of weights: a checkpoint, or with --config somebody else's state dict of that head.
    /// The folder of an experiment with folds predicts each fold by the run that did not learn from it.
    pub weights: PathBuf,
    /// The experiment that somebody else's weights belong to.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The weights of the last epoch, not those of the best validation.
    #[arg(long)]
    last: bool,
}

impl Named {
    /// The learner, its experiment, and the weights.
    pub fn chosen(&self) -> anyhow::Result<(&'static Entry, Experiment, Vec<Weights>)> {
        let (experiment, weights) = match &self.config {
            Some(config) => {
                let weights = Weights { path: self.weights.clone(), fold: String::new() };
                (Experiment::read(config)?, vec![weights])
            }
            None => chosen(&self.weights, self.last)?,
        };
        let head = Entry::find(&experiment.learner, self.config.as_deref().unwrap_or(&self.weights))?;
        Ok((head, experiment, weights))
    }
}

/// The experiment and the checkpoints of `named`: those of the best validation, or of the last epoch; one for each fold.
pub fn chosen(named: &Path, last: bool) -> anyhow::Result<(Experiment, Vec<Weights>)> {
    let file = if last { LAST_FILE } else { BEST_FILE };
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
