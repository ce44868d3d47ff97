//! `egofx-train predict`: a submission out of a trained head.

use std::path::PathBuf;

use clap::Args;

use egofx::stop::Stop;
use egofx_train::distributed::World;
use egofx_train::predict::{Predicted, Request, kept_classes};
use egofx_train::sources::Split;
use egofx_train::trainer::context::Surroundings;

use super::common::{Data, Log, Place};
use super::progress::Progress;
use super::runs::Named;
use super::{summary, tell};

/// Predict with a trained head or backbone, and write a submission in the official form.
#[derive(Args)]
pub struct Predict {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    data: Data,
    /// What to predict on: annotations as published, the unannotated test split included.
    #[arg(long, value_name = "PATH")]
    annotations: PathBuf,
    /// The submission to write: JSON, for mir and charades a matrix (.npy) with the names of its rows beside it (.ids). The file
    /// with .scoring.json behind its name says how it is to be scored, and `egofx eval` reads that.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    log: Log,
}

impl Predict {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        self.log.open()?;
        let (head, experiment, weights) = self.named.chosen()?;
        let mut sources = self.data.sources();
        sources.annotations = vec![(Split::Whole, self.annotations.clone())];
        sources.classes = sources.classes.or_else(|| kept_classes(&self.named.weights));
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
        let Predicted { prediction, scores } = (head.predict)(&request).map_err(|error| progress.failure(error))?;
        let written = prediction.write(&self.out)?;
        tell(format_args!("{}: predictions for {} samples", self.out.display(), prediction.samples));
        if let Some(names) = &written.names {
            tell(format_args!("{}: the names of its rows", names.display()));
        }
        tell(format_args!("{}: how they are to be scored", written.scoring.display()));
        match scores.transpose()? {
            Some(scores) => {
                let table = summary::scores(&[(String::new(), scores)], &experiment.train.monitor);
                tell(format_args!("scores:\n{}", table.trim_end()));
            }
            None => tell("the annotations have no truths, so there are no scores"),
        }
        tell(format_args!("score them, where the annotations have the truth, by\n  {}", written.command_line()));
        Ok(())
    }
}
