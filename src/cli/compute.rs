//! `--device`, `--precision` and what goes with them: how models are run.
//!
//! Not for trying what is at hand, see `auto`. Invariant: `auto` becomes devices once for a run, before any library is loaded.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

use egofx::backbone::{Backbone, Device, DeviceOption, LibrarySearch, Precision, Provider, Runtime};
use egofx::feature_set::{FeatureSet, PerSet};
use egofx::report::ReportedDevice;
use egofx::store::providers_of;

use super::args::{OnnxRuntime, cores};
use super::auto::{self, Choice, Trial};
use super::setup;

/// How models are run.
#[derive(Args)]
pub struct Compute {
    /// Where models run: auto, cpu, openvino, cuda[:N] or tensorrt[:N]; several, with commas, share the work.
    ///
    /// auto goes on with what a store was begun with. For a new store it takes the fastest of cuda, openvino and cpu that is here, works
    /// and meets the model's golden output as nearly as its card says; it tells which, and what would be faster. cpu is the reference,
    /// bit for bit. openvino is for Intel and AMD server CPUs (make setup-openvino). cuda and tensorrt want `make setup-gpu`
    /// and an NVIDIA driver. What is asked for by name and cannot be had is an error, never a silent CPU run.
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_delimiter = ',', env = egofx::places::DEVICE, hide_env_values = true)]
    device: Vec<DeviceOption>,
    /// Arithmetic in the model: fp32; bf16 on openvino (2.4 times faster than cpu, cosine 0.99997) and tensorrt; tf32 on
    /// cuda; fp16 on cuda and tensorrt, int8 on any device, by the graphs that `egofx export --precision fp16` and int8 made
    /// (what int8 leaves is bf16 on openvino where the processor has it, else fp32). Recorded with the features; a store
    /// holds one precision.
    #[arg(long, default_value = "fp32")]
    pub precision: Precision,
    /// Windows per model input [default: 8 on CPUs, 32 on GPUs]. Changes speed and memory, not features.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Threads of a model on the CPU, and of each decoder [default: all cores].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// The folder in which tensorrt keeps the engines that it builds, which takes minutes, and what it timed [default:
    /// ~/.cache/egofx/tensorrt, or below XDG_CACHE_HOME].
    #[arg(long, value_name = "DIR")]
    engine_cache: Option<PathBuf>,
    #[command(flatten)]
    onnx_runtime: OnnxRuntime,
}

/// What models run on.
pub struct Settled {
    /// The devices.
    pub devices: Vec<Device>,
    /// The arithmetic.
    pub precision: Precision,
    /// What a person should know of it although it was asked for.
    pub remarks: Vec<String>,
    threads: usize,
    batch_size: usize,
    engines: Option<PathBuf>,
    search: LibrarySearch,
    choice: Option<Choice>,
}

impl Compute {
    /// The devices that were asked for by name; none for `auto`.
    fn named(&self) -> anyhow::Result<Vec<Device>> {
        let named = |option: &DeviceOption| match option {
            DeviceOption::Named(device) => Some(*device),
            DeviceOption::Auto => None,
        };
        let devices: Vec<Device> = self.device.iter().filter_map(named).collect();
        ensure!(
            devices.is_empty() || devices.len() == self.device.len(),
            "--device auto cannot be mixed with others: it finds out itself what is here"
        );
        devices.iter().try_for_each(|device| device.check_precision(self.precision))?;
        let openvino = devices.iter().filter(|device| device.provider == Provider::OpenVino).count();
        ensure!(
            openvino == 0 || openvino == devices.len(),
            "--device openvino has an ONNX Runtime of its own and cannot be mixed with others"
        );
        Ok(devices)
    }

    /// What was asked for, where nobody needs to know what `auto` comes to: on a login node for instance.
    pub fn unsettled(&self) -> anyhow::Result<Settled> {
        self.on(self.named()?, None)
    }

    /// What models run on: what was asked for; or what the `stores` were begun with; or the fastest here for the models of `sets`.
    pub fn settle(&self, stores: &[PathBuf], models: &Path, sets: &PerSet<FeatureSet>) -> anyhow::Result<Settled> {
        let named = self.named()?;
        if named.is_empty() {
            let trial = Trial::of_models(&self.onnx_runtime, self.precision, self.threads(1), models, sets);
            let begun = auto::begun_with(stores, self.precision)?;
            let choice = begun.map_or_else(|| auto::choose(&trial), |begun| Ok(Choice::kept(begun)))?;
            return self.on(choice.devices.clone(), Some(choice));
        }
        let settled = self.on(named, None)?;
        let remarks = auto::differing(stores, &settled.providers())?;
        Ok(Settled { remarks, ..settled })
    }

    fn on(&self, devices: Vec<Device>, choice: Option<Choice>) -> anyhow::Result<Settled> {
        let (threads, search) = (self.threads(devices.len()), self.onnx_runtime.library_search());
        let batch_size = self.batch_size.unwrap_or(if devices.iter().any(is_gpu) { 32 } else { 8 });
        ensure!((1..=4096).contains(&batch_size), "--batch-size {batch_size}: expected 1 to 4096");
        let engines = self.engine_cache.clone().or_else(|| Some(egofx::places::caches()?.join("tensorrt")));
        let (precision, remarks) = (self.precision, Vec::new());
        Ok(Settled { devices, precision, remarks, threads, batch_size, engines, search, choice })
    }

    /// Threads of each of so many models on the CPU.
    fn threads(&self, models: usize) -> usize {
        self.threads.map_or_else(|| cores() / models.max(1), NonZeroUsize::get).max(1)
    }

    /// Threads of each decoder; 0 lets ffmpeg choose.
    pub fn decoder_threads(&self) -> usize {
        self.threads.map_or(0, NonZeroUsize::get)
    }
}

impl Settled {
    /// Whether a GPU computes.
    pub fn on_gpu(&self) -> bool {
        self.gpus() > 0
    }

    /// GPUs that compute.
    pub fn gpus(&self) -> u32 {
        let gpus = self.devices.iter().filter(|device| is_gpu(device));
        gpus.map(|device| device.ordinal).collect::<BTreeSet<u32>>().len() as u32
    }

    /// Whether somebody asked for it by name.
    pub fn is_asked(&self) -> bool {
        self.choice.is_none()
    }

    /// The devices, for people and units' files.
    pub fn names(&self) -> String {
        self.devices.iter().map(Device::to_string).collect::<Vec<_>>().join(",")
    }

    /// Their providers, as stores keep them.
    pub fn providers(&self) -> String {
        providers_of(&self.names())
    }

    /// What to tell of it; nothing of what was asked for.
    pub fn told(&self) -> Vec<String> {
        let lines = self.choice.iter().flat_map(Choice::lines).enumerate();
        lines.map(|(i, line)| if i == 0 { format!("device: {line}") } else { line }).collect()
    }

    /// The same for reports.
    pub fn reported(&self) -> ReportedDevice {
        let (passed_over, faster) =
            self.choice.iter().map(|c| (c.passed_over.clone(), c.faster.clone())).unzip::<_, _, Vec<_>, Vec<_>>();
        ReportedDevice {
            taken: self.names(),
            auto: !self.is_asked(),
            passed_over: passed_over.concat(),
            faster: faster.concat(),
        }
    }

    /// The first of its devices alone.
    pub fn first(&self) -> Self {
        let devices = self.devices[..1].to_vec();
        let (engines, search, choice) = (self.engines.clone(), self.search.clone(), self.choice.clone());
        Self { devices, remarks: Vec::new(), engines, search, choice, ..*self }
    }

    /// Loads ONNX Runtime, and on each device the models of `sets`.
    pub fn load(&self, models: &Path, sets: &PerSet<FeatureSet>) -> anyhow::Result<(Runtime, Backbones)> {
        let loaded = self.runtime().and_then(|runtime| {
            let sizes = (self.threads, self.batch_size);
            let backbones = setup::backbones(&runtime, models, sets, &self.devices, self.precision, sizes)?;
            Ok((runtime, backbones))
        });
        match self.choice.as_ref().and_then(Choice::remedy) {
            Some(remedy) => loaded.context(remedy),
            None => loaded,
        }
    }

    /// One library serves all devices: one with a GPU's provider has the CPU's too.
    fn runtime(&self) -> anyhow::Result<Runtime> {
        let leading = self.devices.iter().map(|device| device.provider).find(|&provider| provider != Provider::Cpu);
        let mut runtime = Runtime::load(&self.search, leading.unwrap_or(Provider::Cpu))?;
        let builds = self.devices.iter().any(|device| device.provider == Provider::TensorRt);
        runtime.engines = self.engines.clone().filter(|_| builds);
        if let Some(folder) = &runtime.engines {
            std::fs::create_dir_all(folder).with_context(|| format!("--engine-cache {}", folder.display()))?;
        }
        Ok(runtime)
    }

    /// Windows per model input.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }
}

fn is_gpu(device: &Device) -> bool {
    matches!(device.provider, Provider::Cuda | Provider::TensorRt)
}

/// On each device a backbone for each feature set.
pub type Backbones = Vec<PerSet<Box<dyn Backbone>>>;
