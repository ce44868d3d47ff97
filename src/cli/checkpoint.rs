//! `egofx checkpoint`: what is in a checkpoint, and the same weights in another container.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use egofx::checkpoint::{Checkpoint, TensorInfo, WRAPPER_PREFIX, is_running_statistic, write_safetensors, write_torch};
use egofx::durable;
use egofx::export::{Differences, MODELS, Model};

use super::table::Column::Left;
use super::table::Table;
use super::{bytes, plural, say, say_json, tell};

/// Tensors listed without `--all`.
const LISTED: usize = 20;

/// Show what a checkpoint holds and of which model it is, or convert it.
///
/// Reads .pth, .pt, .tar of any age, and safetensors. The file is known by its content, not by its name. Nothing in a pickle is ever run, and only names and shapes are
/// read: a file of several GB is shown at once.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct CheckpointCommand {
    /// The checkpoint.
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// List every tensor, not only the first of them.
    #[arg(long)]
    all: bool,
    /// Print as JSON on stdout; it lists every tensor.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    Convert(Convert),
}

/// Write a checkpoint's weights, and nothing else of it, as .safetensors or .pth.
///
/// A .pth has them under the key state_dict, and torch.load(weights_only=True) opens it.
#[derive(Args)]
struct Convert {
    /// The checkpoint.
    input: PathBuf,
    /// The file to write: .safetensors, .pth or .pt.
    output: PathBuf,
    /// Put this before every name of a .pth: `module.` for loaders that cut it off again.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
}

impl CheckpointCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match (self.action, self.file) {
            (Some(Action::Convert(convert)), _) => convert.run()?,
            (None, Some(file)) => show(&file, self.all, self.json)?,
            (None, None) => bail!("expected a checkpoint"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(path: &Path, all: bool, as_json: bool) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(path)?;
    let mut summary = summary(&checkpoint, path)?;
    let model = Recognised::of(&checkpoint);
    if as_json {
        summary["model"] = serde_json::to_value(&model)?;
        summary["known_models"] = MODELS.iter().map(|model| model.name).collect();
        let tensor = |(name, info): (&String, &TensorInfo)| json!({"name": name, "dtype": info.dtype.name(), "shape": info.shape});
        summary["tensors"] = checkpoint.tensors().iter().map(tensor).collect();
        return say_json(&summary);
    }
    let shown = if all { usize::MAX } else { LISTED };
    let model = format!("{:<28} {}\n", "model", described(model.as_ref()));
    say(&format!("{}{model}\n{}", lines(&summary), table(checkpoint.tensors(), shown)))
}

/// The model that a checkpoint claims to be of, and how well its tensors fit.
#[derive(Serialize)]
struct Recognised {
    name: String,
    about: &'static str,
    /// Whether `egofx export` takes the checkpoint, as far as names and shapes tell.
    fits: bool,
    /// Why no sizes can be read off the tensors.
    fault: Option<String>,
    #[serde(flatten)]
    differences: Differences,
}

impl Recognised {
    fn of(checkpoint: &Checkpoint) -> Option<Self> {
        let model = Model::recognise(checkpoint)?;
        // Names and shapes do not depend on the size of a head.
        let (name, fault, differences) = match model.plan(checkpoint, 1) {
            Ok(plan) => (plan.name.clone(), None, model.differences(checkpoint, &plan)),
            Err(error) => (model.name.to_owned(), Some(error.to_string()), Differences::default()),
        };
        let fits = fault.is_none() && differences.is_empty();
        Some(Self { name, about: model.about, fits, fault, differences })
    }
}

/// The model for people.
fn described(model: Option<&Recognised>) -> String {
    let Some(Recognised { name, about, fits, fault, differences }) = model else {
        let known = MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", ");
        return format!("none that egofx exports ({known})");
    };
    match fault {
        _ if *fits => format!("{name}: {about}; every tensor is there"),
        Some(fault) => format!("{name}, which it does not fit:\n  {fault}"),
        None => format!("{name}, which it does not fit:{differences}"),
    }
}

/// What is said of a checkpoint before its tensors are listed.
fn summary(checkpoint: &Checkpoint, path: &Path) -> anyhow::Result<Value> {
    let about = checkpoint.about();
    let mut dtypes: BTreeMap<&str, usize> = BTreeMap::new();
    for info in checkpoint.tensors().values() {
        *dtypes.entry(info.dtype.name()).or_default() += 1;
    }
    Ok(json!({
        "file": path,
        "size_bytes": path.metadata()?.len(),
        "container": about.container.name(),
        "key": about.key,
        "prefix_removed": about.prefix_removed.then_some(WRAPPER_PREFIX),
        "arch": about.arch,
        "epoch": about.epoch,
        "tensor_count": checkpoint.tensors().len(),
        "parameters": elements(checkpoint, false),
        "buffers": elements(checkpoint, true),
        "weight_bytes": checkpoint.tensors().values().map(TensorInfo::bytes).sum::<usize>(),
        "dtypes": dtypes,
        "tensors_left_aside": about.tensors_aside,
        "entries_that_are_no_tensors": about.not_tensors,
    }))
}

/// Numbers in tensors that are buffers, or in those that are parameters.
fn elements(checkpoint: &Checkpoint, buffers: bool) -> usize {
    let ignored = Model::recognise(checkpoint).map_or(&[][..], |model| model.buffers);
    let counted = |(name, info): &(&String, &TensorInfo)| {
        (ignored.contains(&name.as_str()) || is_buffer(name, info.dtype.is_float())) == buffers
    };
    checkpoint.tensors().iter().filter(counted).map(|(_, info)| info.elements()).sum()
}

/// Whether a tensor of a state dict is a buffer: a state dict does not tell, but nobody learns whole numbers, and the
/// buffers of torch's layers that are floats have these names.
fn is_buffer(name: &str, is_float: bool) -> bool {
    !is_float || is_running_statistic(name)
}

/// The summary for people: one line per field, `-` for what the file does not say.
fn lines(summary: &Value) -> String {
    let text = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.escape_debug().to_string(),
            Value::Number(number) if name.ends_with("_bytes") => {
                number.as_u64().map_or_else(|| number.to_string(), bytes)
            }
            Value::Object(counts) => {
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
            }
            Value::Array(entries) if entries.is_empty() => "none".to_owned(),
            other => other.to_string(),
        };
        format!("{:<28} {value}\n", name.trim_end_matches("_bytes").replace('_', " "))
    };
    summary.as_object().into_iter().flatten().map(text).collect()
}

fn table(tensors: &BTreeMap<String, TensorInfo>, shown: usize) -> String {
    let rows: Vec<(String, &TensorInfo)> =
        tensors.iter().take(shown).map(|(name, info)| (name.escape_debug().to_string(), info)).collect();
    let mut list = Table::new(&[Left("name"), Left("dtype"), Left("shape")]);
    rows.iter().for_each(|(name, info)| list.row([name.clone(), info.dtype.to_string(), format!("{:?}", info.shape)]));
    let mut table = list.to_string();
    let hidden = tensors.len() - rows.len();
    if hidden > 0 {
        let _ = writeln!(table, "and {}; --all lists them", plural(hidden, "more tensor"));
    }
    table
}

impl Convert {
    fn run(self) -> anyhow::Result<()> {
        let extension = self.output.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let to_torch = match extension.as_str() {
            "pth" | "pt" => true,
            "safetensors" => false,
            _ => bail!("{}: expected a name that ends with .safetensors, .pth or .pt", self.output.display()),
        };
        ensure!(to_torch || self.prefix.is_none(), "--prefix is for .pth and .pt, not for {}", self.output.display());
        durable::clean(&self.output).with_context(|| self.output.display().to_string())?;
        let occupied = !self.force && self.output.exists();
        ensure!(!occupied, "{} exists already; --force overwrites it", self.output.display());
        let checkpoint = Checkpoint::open(&self.input)?;
        let mut read = |name: &str| checkpoint.read(name);
        if to_torch {
            let prefix = self.prefix.as_deref().unwrap_or_default();
            write_torch(&self.output, checkpoint.tensors(), &mut read, prefix)?;
        } else {
            write_safetensors(&self.output, checkpoint.tensors(), &mut read, &provenance(&checkpoint)?)?;
        }
        tell(format_args!("{}: {}", self.output.display(), plural(checkpoint.tensors().len(), "tensor")));
        Ok(())
    }
}

/// Where the weights came from, for the header of a safetensors file.
fn provenance(checkpoint: &Checkpoint) -> anyhow::Result<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::from([
        // What loaders for torch look for.
        ("format".to_owned(), "pt".to_owned()),
        ("source".to_owned(), checkpoint.name().to_owned()),
        ("source_sha256".to_owned(), checkpoint.sha256()?),
    ]);
    metadata.extend(checkpoint.about().epoch.map(|epoch| ("epoch".to_owned(), epoch.to_string())));
    Ok(metadata)
}
