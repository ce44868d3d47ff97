//! `egofx try-device`: whether a provider works, and gives what the cards of graphs say; for `auto` alone.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use egofx::backbone::{Card, Device, GraphSession, Precision, Runtime, SessionOptions, try_provider};

use super::args::OnnxRuntime;
use super::setup::{self, Golden};

/// Say whether a device works, and meets the golden outputs of graphs as nearly as their cards say.
#[derive(Args)]
#[command(hide = true)]
pub struct TryDevice {
    device: Device,
    #[arg(long, default_value = "fp32")]
    precision: Precision,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, value_name = "DIR", default_value = "onnx")]
    models: PathBuf,
    /// The name of a card in the folder of models.
    #[arg(long = "graph", value_name = "NAME")]
    graphs: Vec<String>,
    #[command(flatten)]
    onnx_runtime: OnnxRuntime,
}

impl TryDevice {
    /// Ends with 2 and the reason where it does not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (device, precision) = (self.device, self.precision);
        let options = SessionOptions { device, precision, threads: self.threads, rearrange: false };
        let runtime = Runtime::load(&self.onnx_runtime.library_search(), device.provider)?;
        try_provider(&runtime, options)?;
        for name in &self.graphs {
            let card = Card::read(&self.models, name)?;
            let mut graph = GraphSession::open(&runtime, &card.graph_path(&self.models), options)?;
            let found = card.golden.error(&graph.run(&card.golden.feeds(&card.inputs, 0))?);
            setup::check_golden(&card, found, options, Golden::AsTheCard)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
