//! `egofx-train export`: the weights of a trained head and nothing else, or the head as a graph.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use egofx::backbone::{LibrarySearch, Provider, Runtime};
use egofx::export::Validator;
use egofx::meter::Meter;
use egofx::metric::postprocess::read_classes;
use egofx::places::bases;
use egofx_train::checkpoint::{self, Tensors};
use egofx_train::onnx::Request;
use egofx_train::predict::kept_classes;
use egofx_train::registry::Entry;
use egofx_train::trainer::BEST_FILE;

use super::runs::Trained;
use super::tell;

/// Write the weights of a trained head as safetensors, under the names of the official code, with the experiment in the
/// header. The official code loads them: `model.load_state_dict(safetensors.torch.load_file(FILE))`. With --onnx, write the
/// head as an ONNX graph with a model card, by which `egofx predict` predicts without libtorch.
#[derive(Args)]
pub struct Export {
    /// The folder of a run, or a checkpoint. With --onnx also an experiment with folds, each of which becomes a graph, and with
    /// --config somebody else's state dict of that head.
    run: PathBuf,
    /// The file to write; with --onnx the folder.
    #[arg(short, long, value_name = "PATH")]
    out: PathBuf,
    /// Write a graph (<learner>.onnx), its weights and its card, which holds a golden input and output. Of vslnet, vsgn,
    /// actionformer and qfvs.
    #[arg(long)]
    onnx: bool,
    /// The experiment that somebody else's weights belong to.
    #[arg(short, long, value_name = "FILE", requires = "onnx")]
    config: Option<PathBuf>,
    /// The weights of the last epoch, not those of the best validation.
    #[arg(long, requires = "onnx")]
    last: bool,
    /// Names and numbers of the classes: moment_classes_idx.json. For heads of mq; without it those that training kept.
    #[arg(long, value_name = "FILE", requires = "onnx")]
    classes: Option<PathBuf>,
    /// Licence of the weights, for the card.
    #[arg(long, value_name = "TEXT", default_value = "not stated", requires = "onnx")]
    licence: String,
    /// The ONNX Runtime library that the graph is run with once [default: .runtime/, else the Python environment's].
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH")]
    ort_lib: Option<PathBuf>,
}

impl Export {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        if self.onnx {
            return self.graphs();
        }
        let path = if self.run.is_dir() { self.run.join(BEST_FILE) } else { self.run.clone() };
        let saved = checkpoint::open(&path)?;
        Entry::find(&saved.experiment.learner, &path)?;
        let weights: Tensors = saved.weights()?;
        let mut metadata = checkpoint::about(&saved.experiment);
        metadata.insert("format".to_owned(), "pt".to_owned());
        checkpoint::write(&self.out, &weights, &metadata).context("cannot export")?;
        tell(format_args!("{}: {} tensors of {}", self.out.display(), weights.len(), saved.experiment.learner));
        Ok(())
    }

    /// One graph, or one for each fold.
    fn graphs(&self) -> anyhow::Result<()> {
        let trained = Trained::find(&self.run, self.config.as_deref(), self.last)?;
        let Trained { entry, experiment, weights, .. } = &trained;
        let classes = self.classes(entry.task)?;
        let search = LibrarySearch { explicit: self.ort_lib.clone(), bases: bases() };
        let runtime = Runtime::load(&search, Provider::Cpu)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let validator = Validator { runtime: &runtime, threads, windows: vec![], meter: Meter::default() };
        for one in weights {
            let card = (entry.onnx)(&Request {
                experiment,
                weights: one,
                classes: classes.clone(),
                licence: self.licence.clone(),
                validator: &validator,
                folder: &self.out,
            })?;
            let inputs: Vec<String> = card.inputs.iter().map(ToString::to_string).collect();
            tell(format_args!("{}: takes {}", self.out.join(&card.graph).display(), inputs.join(", ")));
        }
        tell(format_args!("predict with it by\n  egofx predict {} --head {} ...", entry.task, self.out.display()));
        Ok(())
    }

    /// The classes of a head of MQ; of other heads none.
    fn classes(&self, task: &str) -> anyhow::Result<Vec<String>> {
        if task != "mq" {
            return Ok(vec![]);
        }
        let kept = self.classes.clone().or_else(|| kept_classes(&self.run));
        let about = "moment_classes_idx.json of the training that made the weights";
        let path = kept.with_context(|| format!("--classes is needed: {about}"))?;
        read_classes(Path::new(&path)).map_err(anyhow::Error::from)
    }
}
