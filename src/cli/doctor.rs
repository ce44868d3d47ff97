//! `egofx doctor`: what was found on this machine, what is missing, and the command that repairs it.

use std::process::{Command, ExitCode};

use clap::Args;
use serde::Serialize;

use egofx::backbone::{Provider, Runtime, remedy};
use egofx::child;
use egofx::decode::{HwAccel, hwaccel_fault};

use super::args::{Ffmpeg, OnnxRuntime};
use super::auto::{self, Trial};
use super::{BAD_REQUEST, say, say_json};

/// Show what was found on this machine, what is missing and how to get it.
///
/// Exit code 0 if features can be extracted on the CPU, 2 if not.
#[derive(Args)]
pub struct Doctor {
    #[command(flatten)]
    ffmpeg: Ffmpeg,
    #[command(flatten)]
    onnx_runtime: OnnxRuntime,
    /// Print as JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// One thing looked for.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    /// Whether nothing works without it.
    needed: bool,
    found: Option<String>,
    /// What to do if it is missing.
    remedy: String,
}

impl Finding {
    fn new(what: &'static str, needed: bool, found: Result<String, String>, remedy: &str) -> Self {
        let remedy = match &found {
            Ok(_) => String::new(),
            Err(why) if remedy.is_empty() => why.clone(),
            Err(why) => format!("{why}; {remedy}"),
        };
        Self { what, needed, found: found.ok(), remedy }
    }
}

impl Doctor {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let findings = self.findings();
        let sound = findings.iter().all(|finding| !finding.needed || finding.found.is_some());
        if self.json {
            say_json(&findings)?;
        } else {
            let verdict = if sound { "Ready.\n" } else { "Not ready: see what is marked NEEDED.\n" };
            say(&(findings.iter().map(line).collect::<String>() + verdict))?;
        }
        Ok(ExitCode::from(if sound { 0 } else { BAD_REQUEST }))
    }

    fn findings(&self) -> Vec<Finding> {
        let tools = self.ffmpeg.tools();
        let programs =
            tools.as_ref().map(|t| format!("{} {}", t.ffmpeg.display(), t.version)).map_err(ToString::to_string);
        let program = std::env::current_exe().map(|path| path.display().to_string()).map_err(|error| error.to_string());
        let nvdec = match &tools {
            Ok(tools) => hwaccel_fault(tools, HwAccel::Cuda(0)).map_or(Ok("usable".to_owned()), Err),
            Err(_) => Err("no ffmpeg".to_owned()),
        };
        vec![
            Finding::new("egofx", true, program, ""),
            Finding::new("ffmpeg, ffprobe", true, programs, ""),
            Finding::new("HDF5", true, Ok(egofx::store::hdf5_version()), ""),
            self.runtime("ONNX Runtime", Provider::Cpu),
            self.runtime("  with OpenVINO", Provider::OpenVino),
            self.runtime("  with CUDA, TensorRT", Provider::Cuda),
            self.auto(),
            Finding::new("NVIDIA GPUs", false, gpus(), "needs an NVIDIA card and its driver"),
            Finding::new("NVDEC", false, nvdec, "--hwaccel cuda would fall back to software"),
        ]
    }

    fn runtime(&self, what: &'static str, provider: Provider) -> Finding {
        let search = self.onnx_runtime.library_search();
        let found = match search.find(provider) {
            None => Err("not found".to_owned()),
            Some(library) => Runtime::probe(&library).and_then(|minor| {
                let providers: Vec<&str> = search.providers(provider).into_iter().map(Provider::name).collect();
                let shown = format!("1.{minor} {} (providers: {})", library.display(), providers.join(", "));
                if search.has(provider) { Ok(shown) } else { Err(format!("{shown} lacks {}", provider.name())) }
            }),
        };
        Finding::new(what, provider == Provider::Cpu, found, remedy(provider))
    }

    /// What `--device auto` would take for a new store, as far as that does not depend on the model.
    fn auto(&self) -> Finding {
        let chosen = auto::choose(&Trial::of_providers(&self.onnx_runtime));
        let found = chosen.map(|choice| choice.lines().join("; ")).map_err(|error| format!("{error:#}"));
        Finding::new("--device auto", false, found, "")
    }
}

fn gpus() -> Result<String, String> {
    let mut command = Command::new("nvidia-smi");
    command.args(["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]);
    let output = child::output(&mut command, child::PATIENCE).map_err(|crash| crash.to_string())?;
    let lines = String::from_utf8_lossy(&output.stdout).trim().replace('\n', "; ");
    if output.status.success() && !lines.is_empty() { Ok(lines) } else { Err("nvidia-smi names none".to_owned()) }
}

fn line(finding: &Finding) -> String {
    match (&finding.found, finding.needed) {
        (Some(found), _) => format!("ok       {:<22} {found}\n", finding.what),
        (None, true) => format!("NEEDED   {:<22} {}\n", finding.what, finding.remedy),
        (None, false) => format!("missing  {:<22} {}\n", finding.what, finding.remedy),
    }
}
