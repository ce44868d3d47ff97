//! `egofx audit`: what is wrong with the videos of a manifest, before a GPU is booked.
//!
//! Not for judging: that is the library's. Invariant: every video of the manifest is counted once.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;

use egofx::audit::{Finding, Severity, audit};
use egofx::decode::{FfmpegSource, HwAccel};
use egofx::ids::VideoUid;
use egofx::manifest::{Manifest, Video};
use egofx::meter::Meter;
use egofx::probes::{Keeping, KeepingSource};

use super::args::{Ffmpeg, cores};
use super::fetching::Fetching;
use super::progress::{Progress, Reporting};
use super::table::Column::Left;
use super::table::Table;
use super::{FAILED, plural, say, say_json, tell};

/// Check the videos of a manifest by their containers alone, without decoding.
///
/// One line for each finding, in the manifest's order. `error`: rows will be missing. `warning`: rows may differ from
/// those of the original code or from what the manifest says. `note`: worth knowing. The exit code is 1 if there are
/// errors or lines of the manifest that cannot be used.
#[derive(Args)]
pub struct Audit {
    /// Videos and clips: our CSV, Ego4D's manifest.csv or ego4d.json.
    #[arg(short, long, value_name = "FILE")]
    manifest: PathBuf,
    /// Folders that are searched, with all folders below, for videos whose path the manifest does not give.
    #[arg(long, value_name = "DIR")]
    videos: Vec<PathBuf>,
    /// Output folder of extractions: what they have found of videos is taken from there, and what is found here kept for them.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Files that are looked at side by side [default: one per core]; more pays on network file systems.
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    fetching: Fetching,
    #[command(flatten)]
    ffmpeg: Ffmpeg,
    /// Print the findings as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reporting: Reporting,
}

#[derive(Serialize)]
struct Row {
    video_uid: VideoUid,
    severity: Severity,
    what: String,
    #[serde(flatten)]
    finding: Finding,
}

#[derive(Serialize)]
struct Report {
    videos: usize,
    videos_with_errors: usize,
    videos_with_warnings: usize,
    rejected: Vec<String>,
    findings: Vec<Row>,
}

impl Audit {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut manifest = Manifest::read(&self.manifest)?;
        manifest.locate(&self.videos)?;
        let source = FfmpegSource { tools: self.ffmpeg.known_tools()?, threads: 1, hwaccel: HwAccel::None };
        let inner = self.fetching.source(source, &manifest, None, Arc::default())?;
        let source = KeepingSource { inner, keeping: self.out.as_deref().map(Keeping::of) };
        let jobs = self.jobs.map_or_else(cores, NonZeroUsize::get);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build()?;
        let meter = Meter::default();
        meter.expect(manifest.videos.len());
        let progress = Progress::of_meter(&meter, "videos", self.reporting.shown(self.json));
        let judge = |video: &Video| {
            let found = audit(video, &source);
            log::info!("{}: {}", video.uid, plural(found.len(), "finding"));
            meter.done(0);
            found
        };
        let found: Vec<Vec<Finding>> = pool.install(|| manifest.videos.par_iter().map(judge).collect());
        progress.finish();
        let report = Report::new(&manifest, found);
        if self.json {
            say_json(&report)?;
        } else {
            say(&report.table())?;
        }
        report.summary();
        let sound = report.videos_with_errors == 0 && report.rejected.is_empty();
        Ok(ExitCode::from(if sound { 0 } else { FAILED }))
    }
}

impl Report {
    fn new(manifest: &Manifest, found: Vec<Vec<Finding>>) -> Self {
        let with = |severity| found.iter().filter(|of| of.iter().any(|f| f.severity() == severity)).count();
        let (videos_with_errors, videos_with_warnings) = (with(Severity::Error), with(Severity::Warning));
        let rows = |(video, found): (&Video, Vec<Finding>)| {
            let video_uid = video.uid.clone();
            let row = move |finding: Finding| Row {
                video_uid: video_uid.clone(),
                severity: finding.severity(),
                what: finding.to_string(),
                finding,
            };
            found.into_iter().map(row)
        };
        Self {
            videos: manifest.videos.len(),
            videos_with_errors,
            videos_with_warnings,
            rejected: manifest.rejected.iter().map(ToString::to_string).collect(),
            findings: manifest.videos.iter().zip(found).flat_map(rows).collect(),
        }
    }

    fn table(&self) -> String {
        let mut table = Table::new(&[Left(""), Left(""), Left("")]);
        for row in &self.findings {
            let severity = match row.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            table.row([severity, row.video_uid.as_str(), &row.what]);
        }
        table.to_string()
    }

    fn summary(&self) {
        self.rejected.iter().for_each(|rejected| tell(format_args!("egofx: manifest: {rejected}")));
        let (videos, errors, warnings) = (self.videos, self.videos_with_errors, self.videos_with_warnings);
        tell(format_args!("{} checked, {errors} with errors, {warnings} with warnings", plural(videos, "video")));
    }
}
