//! `egofx-train predict`: a submission out of a trained head.

use std::path::PathBuf;

use clap::Args;

use egofx::stop::Stop;
use egofx_train::distributed::World;
use egofx_train::experiment::Experiment;
use egofx_train::predict::{Request, Weights, kept_classes};
use egofx_train::registry::Entry;
use egofx_train::sources::Split;
use egofx_train::trainer::context::Surroundings;

use super::common::{Data, Log, Place};
use super::progress::Progress;
use super::{runs, tell};

/// Predict with a trained head, and write a submission in the official form.
#[derive(Args)]
pub struct Predict {
    /// The folder of a run, or a file of weights: a checkpoint, or with --config somebody else's state dict of that head.
    /// The folder of an experiment with folds predicts each fold by the run that did not learn from it.
    weights: PathBuf,
    #[command(flatten)]
    data: Data,
    /// What to predict on: annotations as published, the unannotated test split included.
    #[arg(long, value_name = "PATH")]
    annotations: PathBuf,
    /// The submission to write: JSON, for mir and charades a matrix (.npy) with the names of its rows beside it (.ids). The file
    /// with .scoring.json behind its name says how it is to be scored, and `egofx eval` reads that.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The experiment that somebody else's weights belong to.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The weights of the last epoch, not those of the best validation.
    #[arg(long)]
    last: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    log: Log,
}

impl Predict {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        self.log.open()?;
        let (experiment, weights) = self.chosen()?;
        let head = Entry::find(&experiment.learner, self.config.as_deref().unwrap_or(&self.weights))?;
        let mut sources = self.data.sources();
        sources.annotations = vec![(Split::Whole, self.annotations.clone())];
        sources.classes = sources.classes.or_else(|| kept_classes(&self.weights));
        let (found, threads) = self.place.find()?;
        tell(format_args!("{} for {}, {}", head.name, head.task, experiment.compat.name()));
        let progress = Progress::new(&experiment.train.monitor, true);
        let surroundings = Surroundings {
            device: found.device,
            threads,
            world: &World::single(),
            // A prediction has nothing to be gone on with: signals end it as they end any program.
            stop: &Stop::default(),
            watch: &|event| progress.show(event),
        };
        let request =
            Request { experiment: &experiment, weights: &weights, sources: &sources, surroundings: &surroundings };
        let prediction = (head.predict)(&request).map_err(|error| progress.failure(error))?;
        let written = prediction.write(&self.out)?;
        tell(format_args!("{}: predictions for {} samples", self.out.display(), prediction.samples));
        if let Some(names) = &written.names {
            tell(format_args!("{}: the names of its rows", names.display()));
        }
        tell(format_args!("{}: how they are to be scored", written.scoring.display()));
        tell(format_args!("score them, where the annotations have the truth, by\n  {}", written.command_line()));
        Ok(())
    }

    /// The experiment and the weights that were named.
    fn chosen(&self) -> anyhow::Result<(Experiment, Vec<Weights>)> {
        if let Some(config) = &self.config {
            let weights = Weights { path: self.weights.clone(), fold: String::new() };
            return Ok((Experiment::read(config)?, vec![weights]));
        }
        runs::chosen(&self.weights, self.last)
    }
}
