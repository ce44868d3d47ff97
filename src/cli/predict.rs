//! `egofx predict`: a submission out of a store and the graph of a trained head, without libtorch.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use egofx::backbone::{Provider, Runtime};
use egofx::features::Joined;
use egofx::heads::predict::{HEADS, OpenHead};
use egofx::heads::{Files, Split};
use egofx::meter::Meter;

use super::args::{self, Joining, OnnxRuntime};
use super::progress::{Progress, Reporting};
use super::{plural, tell};

/// Predict by the graph of a trained head, and write an official submission.
///
/// `egofx-train export RUN --onnx -o DIR` writes the graph. What is predicted is what `egofx-train predict RUN` predicts: the
/// same ranks, and scores within 1e-5. Every graph is run on the golden input of its card first.
///
///   egofx predict nlq --head vslnet/ --features f/egovlp_nlq --tokens f/egovlp_nlq_tokens --annotations nlq_val.json -o nlq.json
///   egofx predict mq --head actionformer/ --features f/egovlp_mq --annotations moments_val.json -o mq.json
///   egofx predict qfvs --head qfvs/ --features f/egovlpv2_qfvs --shots f/egovlpv2_qfvs_shots --annotations Oracle_Summaries -o qfvs.json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Predict {
    /// The benchmark.
    #[arg(value_parser = tasks())]
    benchmark: String,
    /// The graph of a head (.onnx), or the folder of one; of a benchmark with folds, the folder of all of them, each of which
    /// predicts what it did not learn from.
    #[arg(long, value_name = "PATH")]
    head: PathBuf,
    /// The feature set of the clips, of the clips after they have met the queries, or of the shots. Where it is repeated, the
    /// features of all sets side by side, in this order, as the head was trained on them.
    #[arg(long, value_name = "DIR", required = true)]
    features: Vec<PathBuf>,
    #[command(flatten)]
    joining: Joining,
    /// The feature set of the queries' tokens. For nlq.
    #[arg(long, value_name = "DIR")]
    tokens: Option<PathBuf>,
    /// The feature set by whose rows, one per shot, videos are cut into segments. For qfvs.
    #[arg(long, value_name = "DIR")]
    shots: Option<PathBuf>,
    /// What to predict on: annotations as published, the unannotated test split included.
    #[arg(short, long, value_name = "PATH")]
    annotations: PathBuf,
    /// The concepts of each shot: Tags.mat, for the command that is printed. For qfvs.
    #[arg(long, value_name = "FILE")]
    tags: Option<PathBuf>,
    /// The submission to write. The file with .scoring.json behind its name says how it is to be scored, and `egofx eval` reads
    /// that.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Leave out clips and queries that have no features. Without this they are an error that counts them.
    #[arg(long)]
    allow_missing: bool,
    /// GiB of features that stay in memory; what finds no room is read again.
    #[arg(long, value_name = "GIB", default_value_t = 4.0)]
    memory: f64,
    #[command(flatten)]
    reporting: Reporting,
    #[command(flatten)]
    onnx_runtime: OnnxRuntime,
}

/// The benchmarks that heads are for, each once.
fn tasks() -> Vec<&'static str> {
    let mut tasks: Vec<_> = HEADS.iter().map(|head| head.task).collect();
    tasks.dedup();
    tasks
}

impl Predict {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = Runtime::load(&self.onnx_runtime.library_search(), Provider::Cpu)?;
        let mut head = OpenHead::open(&runtime, &self.head, &self.benchmark, args::cores())?;
        let meter = Meter::default();
        let progress = Progress::of_meter(&meter, "samples", self.reporting.shown(false));
        let prediction = head.predict(&self.files(), &meter)?;
        progress.finish();
        let written = prediction.write(&self.out)?;
        let compat = prediction.compat.name();
        let samples = plural(prediction.samples, "sample");
        tell(format_args!("{}, {compat}: predictions for {samples} in {}", head.head.name, self.out.display()));
        tell(format_args!("{}: how they are to be scored", written.scoring.display()));
        tell(format_args!("score them, where the annotations have the truth, by\n  {}", written.command_line()));
        Ok(ExitCode::SUCCESS)
    }

    fn files(&self) -> Files {
        Files {
            features: self.features.first().cloned(),
            joined: Joined { stores: self.features.iter().skip(1).cloned().collect(), rule: self.joining.rule() },
            tokens: self.tokens.clone(),
            shots: self.shots.clone(),
            annotations: vec![(Split::Whole, self.annotations.clone())],
            classes: None,
            tags: self.tags.clone(),
            allow_missing: self.allow_missing,
            memory_bytes: (self.memory.max(0.0) * f64::from(1 << 30)) as u64,
        }
    }
}
