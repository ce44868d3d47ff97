//! `egofx inspect`: what is in a feature file or a store.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use egofx::foreign::{self, Fault, Request};
use egofx::store::{Contract, FORMATS, StoreReader, Unit, feature_sets};

use super::{bytes, say, say_json};

/// Show what a feature file or a store holds: contract, source, rows, times, norms.
#[derive(Args)]
pub struct Inspect {
    /// A unit's file (.h5, .parquet), a feature set, or a folder of several.
    path: PathBuf,
    /// Print as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let shown = if self.path.is_file() { vec![file(&self.path)?] } else { stores(&self.path)? };
        if self.json {
            say_json(&shown)?;
        } else {
            say(&shown.iter().map(|one| lines(one, 0) + "\n").collect::<String>())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What [`answer`] is asked for by.
pub const WHAT: &str = "inspect";

/// What a unit's file holds, as JSON, for the process that shows it.
pub fn answer(path: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&read(path)?)?)
}

/// A file alone may be anybody's, with no ledger to tell what it must be.
fn file(path: &Path) -> anyhow::Result<Value> {
    match foreign::ask(&Request { what: WHAT, path: path.to_owned(), name: String::new() }) {
        None => read(path),
        Some(Ok(shown)) => Ok(serde_json::from_slice(&shown)?),
        Some(Err(Fault::Refused(words))) if words.contains(&*path.to_string_lossy()) => bail!("{words}"),
        Some(Err(fault)) => bail!("{}: expected a unit's file, found {fault}", path.display()),
    }
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let format = FORMATS.iter().find(|format| format.extension == extension).with_context(|| {
        let known: Vec<&str> = FORMATS.iter().map(|format| format.extension).collect();
        format!("{}: expected a file named .{}", path.display(), known.join(" or ."))
    })?;
    let unit = (format.read)(path)?;
    let mut shown = contract(&unit.contract);
    shown["header"] = serde_json::to_value(&unit.header)?;
    shown["shape"] = json!(unit.features.shape());
    shown["rows"] = rows(&unit);
    Ok(shown)
}

fn rows(unit: &Unit) -> Value {
    let norms: Vec<f64> = unit
        .features
        .outer_iter()
        .zip(&unit.meta)
        .filter(|(_, meta)| !meta.missing)
        .map(|(row, _)| row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt())
        .collect();
    let mean = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
    json!({
        "count": unit.meta.len(),
        "padded": unit.meta.iter().filter(|row| row.padded).count(),
        "missing": unit.meta.iter().filter(|row| row.missing).count(),
        "start_sec": unit.meta.first().map(|row| row.start_sec),
        "end_sec": unit.meta.last().map(|row| row.end_sec),
        "norm_mean": mean,
        "norm_min": norms.iter().copied().reduce(f64::min),
        "norm_max": norms.iter().copied().reduce(f64::max),
    })
}

fn stores(path: &Path) -> anyhow::Result<Vec<Value>> {
    let sets = feature_sets(path)?;
    ensure!(!sets.is_empty(), "{}: no feature set here or one folder below", path.display());
    sets.iter().map(|set| store(set)).collect()
}

fn store(path: &Path) -> anyhow::Result<Value> {
    let store = StoreReader::open(path)?;
    let (planned, committed) = (store.planned()?, store.committed()?);
    let sum = |value: fn(&egofx::store::LedgerEntry) -> u64| committed.iter().map(value).sum::<u64>();
    let mut shown = contract(store.contract());
    shown["path"] = json!(path);
    shown["providers"] = json!(store.providers()?.join("; "));
    shown["units"] = json!({
        "planned": planned.len(),
        "committed": committed.len(),
        "rows": sum(|entry| entry.rows),
        "padded": sum(|entry| entry.padded_rows),
        "missing": sum(|entry| entry.missing_rows),
        "size": bytes(sum(|entry| entry.bytes)),
    });
    Ok(shown)
}

/// The contract, but for the recipe's text.
fn contract(contract: &Contract) -> Value {
    let mut shown = serde_json::to_value(contract).expect("a derived Serialize of plain data");
    if let Some(fields) = shown.as_object_mut() {
        fields.shift_remove("recipe");
    }
    shown
}

fn lines(value: &Value, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let line = |(name, value): (&String, &Value)| match value {
        Value::Object(_) => format!("{pad}{name}\n{}", lines(value, indent + 2)),
        Value::String(text) => format!("{pad}{name:<20} {text}\n"),
        _ => format!("{pad}{name:<20} {value}\n"),
    };
    value.as_object().into_iter().flatten().map(line).collect()
}
