//! What `egofx extract` tells at its end: `report.json`, or the report of a part and with it those of all, a summary for people, the exit code.
//!
//! Not for finding out what is true. Invariant: the report's exit code is the command's.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::{Value, json};

use egofx::durable;
use egofx::feature_set::{FeatureSet, PerSet};
use egofx::manifest::Manifest;
use egofx::pipeline::{self, Report};
use egofx::report::{self, PlannedSet};
use egofx::shard::Shard;
use egofx::store::{PlannedUnit, Store};

use super::compute::Settled;
use super::{FAILED, complain, plural, say, tell};

/// What is told at the end of a run.
pub struct Account<'a> {
    /// The folder of the stores.
    pub out: &'a Path,
    /// The part that was done.
    pub shard: Shard,
    /// The manifest's file.
    pub manifest_path: &'a Path,
    /// Whether the report goes to stdout.
    pub json: bool,
    /// Whether people are told nothing but what went wrong.
    pub quiet: bool,
    /// What was asked for.
    pub manifest: &'a Manifest,
    /// The feature sets.
    pub sets: &'a PerSet<FeatureSet>,
    /// Where they went.
    pub stores: &'a PerSet<Store>,
    /// What the whole plan holds, all parts of it.
    pub promised: &'a PerSet<Vec<PlannedUnit>>,
    /// What is wrong with the stores.
    pub trouble: &'a [String],
    /// What models ran on.
    pub settled: &'a Settled,
}

impl Account<'_> {
    /// Writes the report, and tells people; the exit code.
    pub fn publish(&self, report: &Report) -> anyhow::Result<ExitCode> {
        let json = self.report_of(report)?;
        let text = serde_json::to_string_pretty(&json)?;
        if let Err(error) = self.write(&text) {
            complain(&error);
        }
        self.complaints(report);
        let said = if self.json {
            say(&(text + "\n"))
        } else if self.quiet {
            Ok(())
        } else {
            self.summary(report);
            say(&self.stores.values().map(|store| format!("{}\n", store.path().display())).collect::<String>())
        };
        let code = self.code(report);
        if let Err(error) = said {
            complain(&error);
            return Ok(ExitCode::from(code.max(FAILED)));
        }
        Ok(ExitCode::from(code))
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        let path = self.out.join(report::name_of(self.shard));
        durable::write_bytes(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
        if self.shard != Shard::WHOLE {
            report::merge(self.out, self.shard, &self.planned()).context("the reports of parts are not merged")?;
        }
        Ok(())
    }

    fn planned(&self) -> Vec<PlannedSet<'_>> {
        let sets = self.stores.iter().map(|(id, store)| PlannedSet { store, units: &self.promised[id] });
        sets.collect()
    }

    fn code(&self, report: &Report) -> u8 {
        let failed = !self.trouble.is_empty() || !report.failures.is_empty() || !self.manifest.rejected.is_empty();
        match report.stopped {
            Some(cause) => cause.exit_code(),
            None if failed || report.unreached() > 0 => FAILED,
            None => 0,
        }
    }

    fn report_of(&self, report: &Report) -> anyhow::Result<Value> {
        let mut json = serde_json::to_value(report)?;
        let failures: Vec<Value> = report
            .failures
            .iter()
            .map(|f| json!({"feature_set": self.sets[f.set].recipe.name, "unit_uid": f.unit_uid, "video_uid": f.video_uid, "why": f.why}))
            .collect();
        json["failures"] = Value::Array(failures);
        json["unreached"] = json!(report.unreached());
        json["rejected"] = json!(self.manifest.rejected.iter().map(ToString::to_string).collect::<Vec<_>>());
        json["device"] = serde_json::to_value(self.settled.reported())?;
        json["trouble"] = json!(self.trouble);
        json["feature_sets"] = json!(self.sets.values().map(|set| &set.recipe.name).collect::<Vec<_>>());
        json["part"] = json!(self.shard.to_string());
        json["plan"] = json!(report::plan_id(&self.planned()));
        json["exit_code"] = json!(self.code(report));
        Ok(json)
    }

    fn complaints(&self, report: &Report) {
        for rejected in &self.manifest.rejected {
            tell(format_args!("egofx: manifest {}: {rejected}", self.manifest_path.display()));
        }
        for failure in &report.failures {
            let set = &self.sets[failure.set].recipe.name;
            tell(format_args!("egofx: {set} {}: {}", failure.unit_uid, failure.why));
        }
        self.trouble.iter().for_each(|trouble| tell(format_args!("egofx: {trouble}")));
    }

    fn summary(&self, report: &Report) {
        let per = |n: f64| if report.elapsed_sec > 0.0 { n / report.elapsed_sec } else { 0.0 };
        tell(format_args!(
            "{} committed, {} done before, {} failed, {} not reached",
            plural(report.committed, "unit"),
            report.done_before,
            report.failures.len(),
            report.unreached()
        ));
        if let Some(shared) = &report.shared {
            tell(format_args!(
                "shared: {} of other parts, {} of this part by others; {} taken over, {} computed twice",
                plural(shared.taken_units, "unit"),
                shared.made_elsewhere,
                plural(shared.taken_over, "video"),
                shared.computed_twice
            ));
        }
        if report.committed + report.failures.len() == 0 {
            return;
        }
        tell(format_args!(
            "{} rows ({} missing) from {:.1} s of video in {:.1} s: {:.1} rows/s, {:.1} times real time",
            report.rows,
            report.missing_rows,
            report.video_sec,
            report.elapsed_sec,
            per(report.rows as f64),
            per(report.video_sec)
        ));
        tell(format_args!(
            "{} frames decoded, {} dropped before decoding, {} piped, decode multiplicity {:.2}",
            report.frames_decoded, report.frames_dropped, report.frames_piped, report.decode_multiplicity
        ));
        let stage = |s: &pipeline::StageStats| format!("{} {:.0} %", s.stage, 100.0 * s.busy_share);
        let stages: Vec<String> = report.stages.iter().map(stage).collect();
        let bottleneck = report.bottleneck().map_or("none", |s| s.stage);
        tell(format_args!("busy: {}; bottleneck: {bottleneck}", stages.join(", ")));
    }
}
