//! The runs that a command line names: a run, an experiment with folds, or a checkpoint.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use egofx_train::checkpoint;
use egofx_train::experiment::Experiment;
use egofx_train::predict::Weights;
use egofx_train::sweep;
use egofx_train::trainer::{BEST_FILE, LAST_FILE};

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
