//! `egofx-train evaluate`: losses and scores of trained weights on a split.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use egofx_train::experiment::Experiment;
use egofx_train::predict::Evaluated;
use egofx_train::registry::Entry;

use super::common::{Data, Log, Place};
use super::runs::Named;
use super::{say, summary};

/// Score a trained head or backbone on a split: the losses and scores that training's validation has for these weights.
#[derive(Args)]
pub struct Evaluate {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    data: Data,
    /// The split, with its truths: annotations as published.
    #[arg(long, value_name = "PATH")]
    annotations: PathBuf,
    /// Print the scores as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    log: Log,
}

impl Evaluate {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        self.log.open()?;
        let trained = self.named.trained()?;
        let evaluated =
            trained.apply(&self.data, &self.annotations, &self.place, |entry, request| (entry.evaluate)(request))?;
        if self.json {
            let json = json_of(trained.entry, &trained.experiment, &evaluated);
            return say(&(serde_json::to_string_pretty(&json)? + "\n"));
        }
        say(&table_of(&trained.experiment, &evaluated))
    }
}

/// Means over folds.
fn means(evaluated: &[Evaluated]) -> Vec<(String, f64)> {
    let Some(first) = evaluated.first() else { return vec![] };
    let of = |(place, (name, _)): (usize, &(String, f64))| {
        let values = evaluated.iter().filter_map(|one| one.scores.get(place)).map(|(_, value)| value);
        (name.clone(), values.sum::<f64>() / evaluated.len() as f64)
    };
    first.scores.iter().enumerate().map(of).collect()
}

/// A column for each fold and one for their mean; without folds one column.
fn table_of(experiment: &Experiment, evaluated: &[Evaluated]) -> String {
    let title =
        |one: &Evaluated| if one.weights.fold.is_empty() { "score".to_owned() } else { one.weights.fold.clone() };
    let mut columns: Vec<_> = evaluated.iter().map(|one| (title(one), one.scores.clone())).collect();
    if evaluated.len() > 1 {
        columns.push(("mean".to_owned(), means(evaluated)));
    }
    summary::scores(&columns, &experiment.train.monitor)
}

fn json_of(head: &Entry, experiment: &Experiment, evaluated: &[Evaluated]) -> Value {
    let scores = |scores: &[(String, f64)]| -> Map<String, Value> {
        scores.iter().map(|(name, value)| (name.clone(), Value::from(*value))).collect()
    };
    let run = |one: &Evaluated| {
        json!({
            "weights": one.weights.path, "fold": one.weights.fold, "samples": one.samples, "scores": scores(&one.scores),
        })
    };
    json!({
        "task": head.task, "learner": head.name, "compat": experiment.compat.name(), "monitor": experiment.train.monitor,
        "scores": scores(&means(evaluated)), "runs": evaluated.iter().map(run).collect::<Vec<_>>(),
    })
}
