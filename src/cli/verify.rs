//! `egofx verify`: is everything there that was promised, and is it true?

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;

use egofx::store::{StoreReader, feature_sets};
use egofx::verify::{VerifyOptions, VerifyReport, verify};

use super::{FAILED, plural};

/// Check every planned unit: there, unchanged, readable, from the model that the store names, finite.
#[derive(Args)]
pub struct Verify {
    /// A feature set, or a folder of several.
    path: PathBuf,
    /// Compare lengths and checksums only; do not look at rows.
    #[arg(long)]
    checksums_only: bool,
    /// Print the verdicts as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let sets = feature_sets(&self.path)?;
        ensure!(!sets.is_empty(), "{}: no feature set here or one folder below", self.path.display());
        let mut reports = Vec::new();
        for set in &sets {
            let store = StoreReader::open(set)?;
            let options = VerifyOptions { checksums_only: self.checksums_only, ..VerifyOptions::of(store.contract()) };
            reports.push(verify(&store, options)?);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&reports)?);
        } else {
            reports.iter().for_each(print);
        }
        let sound = reports.iter().all(VerifyReport::is_sound);
        Ok(ExitCode::from(if sound { 0 } else { FAILED }))
    }
}

fn print(report: &VerifyReport) {
    let verdict = if report.is_sound() { "sound" } else { "NOT sound" };
    println!(
        "{}: {verdict}: {} of {} committed, {} rows, {} padded, {} missing",
        report.feature_set,
        report.committed,
        plural(report.planned, "unit"),
        report.rows,
        report.padded,
        report.missing
    );
    for problem in &report.problems {
        eprintln!("egofx: {} {}: {}", report.feature_set, problem.clip_uid, problem.what);
    }
    for warning in &report.warnings {
        eprintln!("egofx: {}: note: {warning}", report.feature_set);
    }
}
