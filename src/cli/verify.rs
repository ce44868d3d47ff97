//! `egofx verify`: is everything there that was promised, and is it true?

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;

use egofx::meter::Meter;
use egofx::store::{StoreReader, feature_sets, without_contract};
use egofx::verify::{VerifyOptions, VerifyReport, verify_metered, verify_without_contract};

use super::progress::{Progress, Reporting};
use super::{FAILED, plural, say, say_json, tell};

/// Check every planned unit of a store against its record.
///
/// Is it there, unchanged, readable, from the model that the store names, and finite?
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
    #[command(flatten)]
    reporting: Reporting,
}

impl Verify {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (sets, bare) = (feature_sets(&self.path)?, without_contract(&self.path)?);
        ensure!(
            !(sets.is_empty() && bare.is_empty()),
            "{}: no feature set here or one folder below",
            self.path.display()
        );
        let (meter, mut reports) = (Meter::default(), Vec::new());
        let progress = Progress::of_meter(&meter, "units", self.reporting.shown(self.json));
        for set in &sets {
            let store = StoreReader::open(set)?;
            let options = VerifyOptions { checksums_only: self.checksums_only, ..VerifyOptions::of(store.contract()) };
            reports.push(verify_metered(&store, options, &meter)?);
        }
        reports.extend(bare.iter().map(|folder| verify_without_contract(folder)));
        progress.finish();
        if self.json {
            say_json(&reports)?;
        } else {
            reports.iter().try_for_each(print)?;
        }
        let sound = reports.iter().all(VerifyReport::is_sound);
        Ok(ExitCode::from(if sound { 0 } else { FAILED }))
    }
}

fn print(report: &VerifyReport) -> anyhow::Result<()> {
    let verdict = if report.is_sound() { "sound" } else { "NOT sound" };
    say(&format!(
        "{}: {verdict}: {} of {} committed, {} rows, {} padded, {} missing\n",
        report.feature_set,
        report.committed,
        plural(report.planned, "unit"),
        report.rows,
        report.padded,
        report.missing
    ))?;
    for problem in &report.problems {
        let unit = problem.unit_uid.as_ref().map(|unit_uid| format!(" {unit_uid}")).unwrap_or_default();
        tell(format_args!("egofx: {}{unit}: {}", report.feature_set, problem.what));
    }
    for warning in &report.warnings {
        tell(format_args!("egofx: {}: note: {warning}", report.feature_set));
    }
    Ok(())
}
