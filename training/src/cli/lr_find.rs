//! `egofx-train lr-find`: suggests a learning rate.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::Args;
use serde_json::json;

use egofx::stop::Stop;
use egofx_train::distributed::World;
use egofx_train::lr_find::{CURVE_FILE, LrFound, Request, TABLE_FILE};
use egofx_train::trainer::context::Surroundings;
use egofx_train::trainer::lr_range::LrRange;

use super::common::{Chosen, Data, Log, Place, Splits};
use super::progress::Progress;
use super::{say, tell};

/// Suggest a learning rate: steps as in training while the rate rises, a table and a curve of the losses, and the rate at which
/// the smoothed loss falls most steeply. Of a grid, several seeds or folds the first run is taken. Weights are not kept.
#[derive(Args)]
pub struct LrFind {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    splits: Splits,
    /// The folder to write lr_find.csv and lr_find.svg into.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Start from these weights, as in training.
    #[arg(long, value_name = "FILE")]
    init: Vec<PathBuf>,
    /// The first rate.
    #[arg(long, value_name = "LR", default_value_t = 1e-8)]
    min_lr: f64,
    /// The last rate.
    #[arg(long, value_name = "LR", default_value_t = 1.0)]
    max_lr: f64,
    /// How many steps; fewer are made where the smoothed loss is four times its least value.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    num_training: u64,
    /// Print the points and the suggestion as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    log: Log,
}

impl LrFind {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        self.log.open()?;
        let range = self.range()?;
        let experiment = self.chosen.read()?;
        let head = self.chosen.learner(&experiment)?;
        let mut sources = self.data.sources();
        sources.annotations = self.splits.given();
        let (found, threads) = self.place.find()?;
        tell(format_args!("{} for {}, {}", head.name, head.task, experiment.compat.name()));
        let progress = Progress::new(&experiment.train.monitor, true);
        let watch = |event: &_| progress.show(event);
        let surroundings = Surroundings {
            device: found.device,
            threads,
            world: &World::single(),
            // There is nothing to be gone on with: signals end it as they end any program.
            stop: &Stop::default(),
            watch: &watch,
        };
        let request = Request {
            experiment: &experiment,
            sources: &sources,
            folder: &self.out,
            surroundings: &surroundings,
            init: &self.init,
            range,
        };
        let found = (head.lr_find)(&request).map_err(|error| progress.failure(error))?;
        progress.finish();
        self.say(&found)
    }

    fn range(&self) -> anyhow::Result<LrRange> {
        let Self { min_lr, max_lr, num_training, .. } = *self;
        ensure!(min_lr.is_finite() && min_lr > 0.0, "--min-lr is {min_lr}, expected a number above 0");
        ensure!(max_lr.is_finite() && max_lr > min_lr, "--max-lr is {max_lr}, expected more than --min-lr, {min_lr}");
        Ok(LrRange { min_lr, max_lr, num_training })
    }

    fn say(&self, found: &LrFound) -> anyhow::Result<()> {
        let LrFound { points, suggestion } = found;
        tell(format_args!("{} steps; their losses: {}", points.len(), self.out.join(TABLE_FILE).display()));
        tell(format_args!("the curve: {}", self.out.join(CURVE_FILE).display()));
        if self.json {
            let points = points.iter().map(|point| json!([point.lr, point.loss, point.smoothed_loss]));
            let points = points.collect::<Vec<_>>();
            let columns = ["lr", "loss", "smoothed_loss"];
            return say(&format!("{:#}\n", json!({"suggestion": suggestion, "columns": columns, "points": points})));
        }
        match suggestion {
            Some(lr) => say(&format!("suggested: train.optimizer.lr = {lr:.2e}\n")),
            None => bail!(
                "no suggestion out of {} steps: the loss never falls, or rose too early; try a smaller --min-lr or more \
                 steps (--num-training)",
                points.len()
            ),
        }
    }
}
