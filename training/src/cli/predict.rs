//! `egofx-train predict`: a submission out of a trained head.

use std::path::PathBuf;

use clap::Args;

use egofx_train::predict::Predicted;

use super::common::{Data, Log, Place};
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
        let trained = self.named.trained()?;
        let Predicted { prediction, scores } =
            trained.apply(&self.data, &self.annotations, &self.place, |entry, request| (entry.predict)(request))?;
        let written = prediction.write(&self.out)?;
        tell(format_args!("{}: predictions for {} samples", self.out.display(), prediction.samples));
        if let Some(names) = &written.names {
            tell(format_args!("{}: the names of its rows", names.display()));
        }
        tell(format_args!("{}: how they are to be scored", written.scoring.display()));
        match scores.transpose()? {
            Some(scores) => {
                let table = summary::scores(&[(String::new(), scores)], &trained.experiment.train.monitor);
                tell(format_args!("scores:\n{}", table.trim_end()));
            }
            None => tell("the annotations have no truths, so there are no scores"),
        }
        tell(format_args!("score them, where the annotations have the truth, by\n  {}", written.command_line()));
        Ok(())
    }
}
