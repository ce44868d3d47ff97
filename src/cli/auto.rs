//! `--device auto`: what a store was begun with; for a new one the fastest provider that is here, works, and gives the model's rows.
//!
//! A provider is tried in a process of its own, since a process loads one ONNX Runtime and no other, and what is broken in a driver
//! may take it along. Not for the order of providers, see `egofx::backbone`. Invariant: nothing is written.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, ensure};

use egofx::backbone::{Device, Machine, Precision, Provider, missing_library};
use egofx::child;
use egofx::feature_set::{FeatureSet, PerSet};
use egofx::store::{STORE_FILE, StoreReader};

use super::args::OnnxRuntime;

/// How long a trial may take: a large model is read, and TensorRT builds an engine for minutes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What a provider is tried on.
pub struct Trial<'t> {
    onnx_runtime: &'t OnnxRuntime,
    precision: Precision,
    arguments: Vec<OsString>,
}

/// What was taken, and what was not.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The devices.
    pub devices: Vec<Device>,
    /// Providers that are faster and were not taken, and why.
    pub passed_over: Vec<String>,
    /// What would be faster.
    pub faster: Vec<String>,
    /// The store that was begun with it.
    begun: Option<PathBuf>,
}

/// A store, and what it was begun with.
pub struct Begun {
    store: PathBuf,
    devices: Vec<Device>,
}

impl<'t> Trial<'t> {
    /// Whether providers work at all.
    pub fn of_providers(onnx_runtime: &'t OnnxRuntime) -> Self {
        Self { onnx_runtime, precision: Precision::Fp32, arguments: Vec::new() }
    }

    /// Whether providers give what the cards of the graphs of `sets` say.
    pub fn of_models(
        onnx_runtime: &'t OnnxRuntime,
        precision: Precision,
        threads: usize,
        models: &Path,
        sets: &PerSet<FeatureSet>,
    ) -> Self {
        let words = |option: &str, value: &str| [option.into(), value.into()];
        let mut arguments: Vec<OsString> = vec!["--models".into(), models.into()];
        arguments.extend(words("--threads", &threads.to_string()));
        let names: BTreeSet<&str> =
            sets.values().flat_map(|set| set.towers.cards()).map(|card| card.name.as_str()).collect();
        arguments.extend(names.into_iter().flat_map(|name| words("--graph", name)));
        Self { onnx_runtime, precision, arguments }
    }

    /// Tries `provider` in a process of its own: nothing, or why it cannot be taken.
    fn fault(&self, provider: Provider) -> Option<String> {
        let program = match std::env::current_exe() {
            Ok(program) => program,
            Err(error) => return Some(error.to_string()),
        };
        let mut command = Command::new(program);
        command.args(["try-device", provider.name(), "--precision", self.precision.name()]).args(&self.arguments);
        command
            .args(self.onnx_runtime.ort_lib.iter().flat_map(|library| [OsStr::new("--ort-lib"), library.as_os_str()]));
        child::end_with_us(&mut command);
        match child::output(&mut command, PATIENCE) {
            Err(crash) => Some(crash.to_string()),
            Ok(tried) if tried.status.success() => None,
            Ok(tried) => Some(reason(&tried.stderr)),
        }
    }
}

/// Why a trial failed, by what it `said`: the library that it misses, or its last words.
fn reason(said: &str) -> String {
    if let Some(library) = missing_library(said) {
        return format!("{library} is missing");
    }
    let last = said.trim().lines().next_back().unwrap_or("it ended without a word");
    let words = last.trim_start_matches("egofx: ");
    // What is known here need not be advised.
    words.split(" (the provider comes with").next().unwrap_or(words).to_owned()
}

/// What `--device auto` takes for a new store.
pub fn choose(trial: &Trial) -> anyhow::Result<Choice> {
    let search = trial.onnx_runtime.library_search();
    let tried = Provider::by_speed(trial.precision);
    let mut passed_over = Vec::new();
    for &provider in tried {
        // The last resort is loaded anyway, and says then what is wrong with it.
        let fault = if provider == Provider::Cpu {
            None
        } else if search.has(provider) {
            trial.fault(provider)
        } else {
            continue;
        };
        match fault {
            Some(why) => passed_over.push(format!("{}: {why}", provider.name())),
            None => return Ok(Choice::fastest(provider, passed_over, trial)),
        }
    }
    let needs = tried.iter().map(|provider| format!("{} ({})", provider.name(), provider.setup()));
    let passed = if passed_over.is_empty() { String::new() } else { format!("; {}", passed_over.join("; ")) };
    bail!(
        "no device here computes in {}: that needs {}{passed}",
        trial.precision,
        needs.collect::<Vec<_>>().join(" or ")
    )
}

impl Choice {
    /// The fastest of what was tried.
    fn fastest(provider: Provider, passed_over: Vec<String>, trial: &Trial) -> Self {
        let search = trial.onnx_runtime.library_search();
        let is_plain = trial.precision == Precision::Fp32;
        let faster = if is_plain { provider.faster(machine(), |provider| search.has(provider)) } else { Vec::new() };
        Self { devices: vec![Device { provider, ordinal: 0 }], passed_over, faster, begun: None }
    }

    /// What a store was begun with, and stays with.
    pub fn kept(Begun { store, devices }: Begun) -> Self {
        Self { devices, passed_over: Vec::new(), faster: Vec::new(), begun: Some(store) }
    }

    /// For people: what was taken, and what would be faster.
    pub fn lines(&self) -> Vec<String> {
        let taken = names(&self.devices);
        let why = match &self.begun {
            Some(store) => format!("as {} was begun", store.display()),
            None => "the fastest that is here and works".to_owned(),
        };
        let list = |what: &str, all: &[String]| (!all.is_empty()).then(|| format!("{what}: {}", all.join(", ")));
        let passed_over = list("; passed over", &self.passed_over).unwrap_or_default();
        let first = format!("{taken}, {why}{passed_over}");
        std::iter::once(first).chain(list("faster", &self.faster)).collect()
    }

    /// What can be done where a store's own provider cannot be had.
    pub fn remedy(&self) -> Option<String> {
        let (store, taken) = (self.begun.as_ref()?, names(&self.devices));
        let is_cpu = self.devices.iter().all(|device| device.provider == Provider::Cpu);
        (!is_cpu).then(|| {
            format!(
                "{} was begun with {taken}, which cannot be had here: go on where it can, or ask for what is here by name, as \
                 --device cpu (its rows differ in their last bits, and each unit says what computed it)",
                store.display()
            )
        })
    }
}

/// What the `stores` that are there were begun with; nothing where none says so, or it does not compute in `precision`, so that
/// their contracts are others.
pub fn begun_with(stores: &[PathBuf], precision: Precision) -> anyhow::Result<Option<Begun>> {
    let mut found: Option<(Begun, String)> = None;
    for (store, providers) in recorded(stores)? {
        let devices = providers.split(',').map(str::parse::<Device>).collect::<Result<Vec<_>, _>>();
        let Ok(devices) = devices else { continue };
        if devices.iter().any(|device| device.check_precision(precision).is_err()) {
            continue;
        }
        if let Some((first, other)) = &found {
            ensure!(
                *other == providers,
                "{} was begun with {other}, {} with {providers}: give each recipe a run of its own, or name one --device for both",
                first.store.display(),
                store.display()
            );
            continue;
        }
        found = Some((Begun { store, devices }, providers));
    }
    Ok(found.map(|(begun, _)| begun))
}

/// What to say where `providers` go on with `stores` that were begun with others.
pub fn differing(stores: &[PathBuf], providers: &str) -> anyhow::Result<Vec<String>> {
    let others = recorded(stores)?.into_iter().filter(|(_, begun)| begun != providers);
    let words = |(store, begun): (PathBuf, String)| {
        format!(
            "{} was begun with {begun} and goes on with {providers}, as asked: rows differ in their last bits, and each unit says what \
             computed it",
            store.display()
        )
    };
    Ok(others.map(words).collect())
}

fn recorded(stores: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for store in stores.iter().filter(|store| store.join(STORE_FILE).exists()) {
        let providers = StoreReader::open(store)?.providers()?;
        found.extend(providers.into_iter().next().map(|begun| (store.clone(), begun)));
    }
    Ok(found)
}

fn names(devices: &[Device]) -> String {
    devices.iter().map(|device| device.provider.name()).collect::<Vec<_>>().join(",")
}

/// What the kernel says of this machine.
fn machine() -> Machine {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let bf16 = flags.split_whitespace().any(|flag| matches!(flag, "avx512_bf16" | "amx_bf16"));
    let gpu = ["/proc/driver/nvidia/gpus", "/dev/nvidia0"].iter().any(|path| Path::new(path).exists());
    Machine { bf16, gpu }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_s_failure_is_the_library_that_it_misses_or_its_last_words() {
        let said = "2026 [E:onnxruntime] x\negofx: g on cuda:0: error: libcudnn.so.9: cannot open shared object file: No such file\n";
        assert_eq!(reason(said), "libcudnn.so.9 is missing");
        assert_eq!(reason("warning\negofx: no GPU (the provider comes with `make setup-gpu`; ...)\n"), "no GPU");
        assert_eq!(reason(" \n"), "it ended without a word");
    }
}
