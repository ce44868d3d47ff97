//! What heads of one benchmark learn in the same number of steps, from batches of as many samples, and from shuffled labels.
//!
//! Not for speed. Each head has the rate, the schedule and the optimiser of its own small experiment, over the steps of the run.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use egofx_train::experiment::Experiment;
use egofx_train::experiment::Override;
use egofx_train::sources::Sources;
use egofx_train::sweep::Done;
use egofx_train::synthetic::{Mq, Nlq};
use egofx_train::trainer::context::Event;

use crate::Fallible;

/// Seeds of weights and of the order of samples.
const SEEDS: [u64; 2] = [1, 2];

/// Heads that are compared.
struct Comparison {
    /// What chooses it on the command line.
    name: &'static str,
    about: &'static str,
    sources: fn(&Path, bool) -> Fallible<Sources>,
    /// Lengths of runs in epochs, which have as many steps for all heads.
    epochs: &'static [u64],
    /// How long labels that are shuffled are learnt from.
    shuffled_epochs: u64,
    scores: &'static [&'static str],
    contenders: &'static [Contender],
}

struct Contender {
    name: &'static str,
    config: &'static str,
    set: &'static [&'static str],
    /// Epochs that the schedule spreads over for each epoch of the run.
    schedule: f64,
}

const COMPARISONS: [Comparison; 3] = [
    Comparison {
        name: "equal-nlq",
        about: "NLQ: 240 clips of 40 rows with 4 queries each to learn from, 120 queries to score; 32 queries a step",
        sources: |folder, shuffled| crate::nlq_sources(folder, &Nlq::small(1, shuffled)),
        epochs: &[2, 5, 10],
        shuffled_epochs: 5,
        scores: &["R@1 IoU>0.3", "R@1 IoU>0.5"],
        contenders: &[
            Contender { name: "VSLNet", config: "synthetic_nlq.toml", set: &[], schedule: 1.0 },
            Contender {
                name: "SnAG",
                config: "synthetic_nlq_snag.toml",
                // 16 pairs of queries.
                set: &["train.batch=16"],
                schedule: 1.0,
            },
        ],
    },
    Comparison {
        name: "equal-mq",
        about: "MQ: 32 clips of 64 rows with 3 moments of 4 classes each to learn from, 16 to score; 4 clips a step",
        sources: |folder, shuffled| crate::mq_sources(folder, &Mq::small(1, shuffled)),
        epochs: &[4, 8, 16],
        shuffled_epochs: 8,
        scores: &["average mAP"],
        contenders: &ACTIONFORMERS,
    },
    Comparison {
        name: "equal-mq-noise",
        about: "the same MQ under two and a half times as much noise",
        sources: |folder, shuffled| crate::mq_sources(folder, &Mq { noise: 1.5, ..Mq::small(1, shuffled) }),
        epochs: &[4, 8, 16, 32],
        shuffled_epochs: 8,
        scores: &["average mAP"],
        contenders: &ACTIONFORMERS,
    },
];

const ACTIONFORMERS: [Contender; 2] = [
    Contender { name: "ActionFormer", config: "synthetic_mq_actionformer.toml", set: &[], schedule: 1.0 },
    Contender {
        name: "by OpenTAD's options",
        config: "synthetic_mq_actionformer.toml",
        set: &[
            "model.branch_blocks=3",
            "model.regression_ranges=[[0.0, 4.0], [2.0, 8.0], [4.0, 16.0], [8.0, 10000.0]]",
            "model.variant={ branch_windows = [5, -1, -1], input_dropout = 0.2, norm_eps = 1e-6, remask = true, \
             all_candidates = true, tight_crops = true }",
            "decode.min_length=-1.0",
            "decode.most=5000",
            "decode.suppression=\"opentad\"",
            "train.schedule.full_within_warmup=true",
        ],
        schedule: 1.25,
    },
];

/// Prints a table for each comparison that is `wanted`; all where nothing is.
pub fn run(wanted: &[String]) -> Fallible<()> {
    for comparison in &COMPARISONS {
        if wanted.is_empty() || wanted.iter().any(|one| one == comparison.name) {
            comparison.print()?;
        }
    }
    Ok(())
}

impl Comparison {
    fn print(&self) -> Fallible<()> {
        println!("\nat equal steps, seeds {SEEDS:?}; {}", self.about);
        let columns: String = self.scores.iter().map(|score| format!("{score:>26}")).collect();
        println!("{:>6}  {:<22}{columns}", "steps", "head");
        let epochs = self.epochs.iter().map(|&epochs| (epochs, false));
        for (epochs, shuffled) in epochs.chain([(self.shuffled_epochs, true)]) {
            let folder = tempfile::tempdir()?;
            let sources = (self.sources)(folder.path(), shuffled)?;
            let mut first = None;
            for (number, contender) in self.contenders.iter().enumerate() {
                let (steps, runs) = contender.train(&sources, &folder.path().join(number.to_string()), epochs)?;
                if *first.get_or_insert(steps) != steps {
                    return Err(format!("{}: {steps} steps where another head has {first:?}", contender.name).into());
                }
                let scores: String =
                    self.scores.iter().map(|score| format!("{:>26}", of_seeds(&runs, score))).collect();
                let labels = if shuffled { ", labels shuffled" } else { "" };
                println!("{steps:>6}  {:<22}{scores}{labels}", contender.name);
            }
        }
        Ok(())
    }
}

/// The mean over seeds of a score of the last epoch, and that of each.
fn of_seeds(runs: &[Done], name: &str) -> String {
    let last =
        |run: &Done| run.outcome.last.iter().find(|(score, _)| score == name).map_or(f64::NAN, |(_, last)| *last);
    let each: Vec<f64> = runs.iter().map(last).collect();
    let mean = each.iter().sum::<f64>() / each.len() as f64;
    let each: Vec<String> = each.iter().map(|score| format!("{score:.3}")).collect();
    format!("{mean:.3} ({})", each.join(", "))
}

impl Contender {
    /// The steps of a run, and the run of each seed.
    fn train(&self, sources: &Sources, folder: &Path, epochs: u64) -> Fallible<(u64, Vec<Done>)> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(self.config);
        let mut set: Vec<String> = self.set.iter().map(|&one| one.to_owned()).collect();
        set.extend([format!("seeds={SEEDS:?}"), format!("train.epochs={epochs}")]);
        if self.schedule > 1.0 {
            set.push(format!("train.schedule_epochs={}", (epochs as f64 * self.schedule).round()));
        }
        let set = set.iter().map(|one| one.parse()).collect::<Result<Vec<Override>, _>>()?;
        let steps = AtomicU64::new(0);
        let count = |event: &Event| {
            if matches!(event, Event::Stepped { .. }) {
                steps.fetch_add(1, Ordering::Relaxed);
            }
        };
        let finished = crate::finished(&Experiment::read_with(&path, &set)?, sources, folder, &count)?;
        Ok((steps.into_inner() / SEEDS.len() as u64, finished.runs))
    }
}
