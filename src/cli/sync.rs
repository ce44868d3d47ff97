//! `egofx sync`: stores into object storage, and out of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Args;
use serde_json::json;

use egofx::meter::Meter;
use egofx::objects::{SyncError, SyncReport, Syncing, receive, send, stores_at};
use egofx::store::feature_sets;
use egofx::url;

use super::fetching::Storage;
use super::interrupt::Grace;
use super::progress::{Progress, Reporting};
use super::{FAILED, bytes, plural, say_json, tell};

/// Copy what stores have committed to object storage, or from there.
///
/// What is there already is not copied again. Units go first, and the ledgers that promise them last, so that whoever reads the
/// copy finds what it promises. Runs may write to the store that is sent; give the same command again for what they have
/// committed since. Each file is sent with its sha256 and asked for again once it was sent; what is fetched is hashed before it
/// has its name. Nothing is removed, and no store that holds something else is overwritten. Exit code 0: all that is committed is
/// there; 1: some of it is not (listed), and then no ledger was copied.
#[derive(Args)]
pub struct Sync {
    /// What is copied: a feature set, or a folder of several; or the URL of such, s3://BUCKET/PREFIX.
    from: PathBuf,
    /// Where it goes: a URL, or a folder. Of several feature sets each goes to a folder of its name there.
    to: PathBuf,
    /// Read objects back that were sent or there already, and hash them; what is not as recorded is sent again.
    ///
    /// Without it, the sha256 that was sent along is compared. What is on this machine is always hashed.
    #[arg(long)]
    read_back: bool,
    /// Files that are under way at a time.
    #[arg(short, long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    #[command(flatten)]
    storage: Storage,
    /// Print what was done as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    grace: Grace,
    #[command(flatten)]
    reporting: Reporting,
}

/// A store here and its copy there.
struct Way {
    store: PathBuf,
    url: String,
    /// From here to there.
    is_there: bool,
}

impl Sync {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let ways = match (url::of(&self.from), url::of(&self.to)) {
            (None, Some(url)) => self.ways_there(url)?,
            (Some(url), None) => self.ways_back(url)?,
            _ => bail!(
                "{} and {}: expected a folder of this machine and a URL s3://BUCKET/PREFIX, in either order",
                self.from.display(),
                self.to.display()
            ),
        };
        let (stop, meter) = (self.grace.listen()?.begin(), Meter::default());
        let syncing = Syncing {
            access: self.storage.access(),
            jobs: self.jobs.into(),
            read_back: self.read_back,
            stop: &stop,
            meter: &meter,
        };
        let progress = Progress::of_meter(&meter, "files", self.reporting.shown(self.json));
        let mut reports = Vec::new();
        for way in &ways {
            if stop.cause().is_none() {
                reports.push((way, way.copy(&syncing)?));
            }
        }
        progress.finish();
        if self.json {
            let of = |(way, report): &(&Way, SyncReport)| way.json(report);
            say_json(&reports.iter().map(of).collect::<Vec<_>>())?;
        }
        reports.iter().for_each(|(way, report)| self.tell(report, &way.to()));
        let whole = reports.len() == ways.len() && reports.iter().all(|(_, report)| report.complete);
        Ok(ExitCode::from(stop.cause().map_or(if whole { 0 } else { FAILED }, |cause| cause.exit_code())))
    }

    fn ways_there(&self, url: &str) -> anyhow::Result<Vec<Way>> {
        let sets = feature_sets(&self.from)?;
        ensure!(!sets.is_empty(), "{}: no feature set here or one folder below", self.from.display());
        let way = |store: PathBuf| {
            let below = store.strip_prefix(&self.from).unwrap_or(Path::new("")).to_string_lossy().into_owned();
            Way { url: joined(url, &below), store, is_there: true }
        };
        Ok(sets.into_iter().map(way).collect())
    }

    fn ways_back(&self, url: &str) -> anyhow::Result<Vec<Way>> {
        let names = stores_at(&self.storage.access(), url)?;
        ensure!(!names.is_empty(), "{url}: no feature set here or one folder below");
        let way = |name: String| Way { url: joined(url, &name), store: self.to.join(&name), is_there: false };
        Ok(names.into_iter().map(way).collect())
    }

    fn tell(&self, report: &SyncReport, to: &str) {
        let SyncReport { units, copied, copied_bytes, there, replaced, failures, .. } = report;
        for failure in failures {
            tell(format_args!("egofx: {to}: {}: {}", failure.file, failure.why));
        }
        for name in replaced {
            tell(format_args!("egofx: {to}/{name}: was not as recorded, and was replaced"));
        }
        if !self.reporting.quiet {
            let (units, copied, failed) = (plural(*units, "unit"), plural(*copied, "file"), failures.len());
            let copied_bytes = bytes(*copied_bytes);
            tell(format_args!(
                "{to}: {units}; {copied} copied ({copied_bytes}), {there} there before, {failed} failed"
            ));
        }
    }
}

impl Way {
    fn copy(&self, syncing: &Syncing) -> Result<SyncReport, SyncError> {
        if self.is_there { send(&self.store, &self.url, syncing) } else { receive(&self.url, &self.store, syncing) }
    }

    fn to(&self) -> String {
        let store = self.store.display().to_string();
        if self.is_there { self.url.clone() } else { store.trim_end_matches('/').to_owned() }
    }

    fn json(&self, report: &SyncReport) -> serde_json::Value {
        json!({"store": self.store, "url": self.url, "report": report})
    }
}

fn joined(url: &str, name: &str) -> String {
    format!("{}/{name}", url.trim_end_matches('/')).trim_end_matches('/').to_owned()
}
