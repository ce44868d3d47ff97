//! `egofx-train export`: the weights of a trained head and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use egofx_train::checkpoint::{self, Tensors};
use egofx_train::registry::Entry;
use egofx_train::trainer::BEST_FILE;

use super::tell;

/// Write the weights of a trained head as safetensors, under the names of the official code, with the experiment in the
/// header. The official code loads them: `model.load_state_dict(safetensors.torch.load_file(FILE))`.
#[derive(Args)]
pub struct Export {
    /// The folder of a run, or a checkpoint.
    run: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl Export {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        let path = if self.run.is_dir() { self.run.join(BEST_FILE) } else { self.run.clone() };
        let saved = checkpoint::open(&path)?;
        Entry::find(&saved.experiment.learner, &path)?;
        let weights: Tensors = saved.weights()?;
        let metadata = BTreeMap::from([
            ("format".to_owned(), "pt".to_owned()),
            ("egofx.experiment".to_owned(), saved.experiment.to_toml()),
        ]);
        checkpoint::write(&self.out, &weights, &metadata).context("cannot export")?;
        tell(format_args!("{}: {} tensors of {}", self.out.display(), weights.len(), saved.experiment.learner));
        Ok(())
    }
}
