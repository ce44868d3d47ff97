//! `egofx-train synthetic`: a made-up benchmark that can be learnt.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use egofx_train::synthetic::{Mq, Nlq, Qfvs};

use super::tell;

/// Make up a benchmark that can be learnt: stores, and annotations in the official schema. To try the commands without a
/// data set, and to see that training works on a machine. training/configs/synthetic_*.toml are experiments for it.
#[derive(Args)]
pub struct Synthetic {
    /// The benchmark.
    task: Task,
    /// The folder to write.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Everything depends on it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give each query, clip or summary the truth of another one: nothing is left to learn, and scores must stay at chance.
    #[arg(long)]
    shuffled: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Task {
    Nlq,
    Mq,
    Qfvs,
}

impl Synthetic {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        let Self { task, ref out, seed, shuffled } = self;
        match task {
            Task::Nlq => drop(Nlq::small(seed, shuffled).write(out)?),
            Task::Mq => drop(Mq::small(seed, shuffled).write(out)?),
            Task::Qfvs => drop(Qfvs::small(seed, shuffled).write(out)?),
        }
        tell(format_args!("{}: a synthetic benchmark of seed {seed}", out.display()));
        Ok(())
    }
}
