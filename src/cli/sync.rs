//! `egofx sync`: stores in object storage.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use serde_json::json;

use egofx::meter::Meter;
use egofx::objects::{SyncReport, Syncing, send};
use egofx::store::feature_sets;
use egofx::url;

use super::fetching::Storage;
use super::interrupt::Grace;
use super::progress::{Progress, Reporting};
use super::{FAILED, bytes, plural, say_json, tell};

/// Copy stores to object storage: what is committed, and nothing that is there already.
///
/// Units go first, and the ledgers that promise them last, so that whoever reads the copy finds what it promises. Runs may write
/// meanwhile; give the same command again for what they have committed since. Each file is sent with its sha256, and asked for
/// again once it was sent. Nothing is removed there. Exit code 0: all that is committed is there; 1: some of it is not (listed), and
/// no ledger was sent.
#[derive(Args)]
pub struct Sync {
    /// A feature set, or a folder of several.
    store: PathBuf,
    /// Where they go: s3://BUCKET/PREFIX. Of a folder of several each goes to a folder of its name there.
    url: String,
    /// Read objects back and hash them, those that were there already too; what is not as recorded is sent again.
    ///
    /// Without it, the sha256 that was sent along is compared.
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

impl Sync {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(
            !url::is_url(&self.store.to_string_lossy()),
            "{}: expected a folder of this machine, found a URL: stores are copied to object storage, and not from there",
            self.store.display()
        );
        let sets = feature_sets(&self.store)?;
        ensure!(!sets.is_empty(), "{}: no feature set here or one folder below", self.store.display());
        let listener = self.grace.listen()?;
        let meter = Meter::default();
        let stop = listener.begin();
        let syncing = Syncing {
            access: self.storage.access(),
            jobs: self.jobs.into(),
            read_back: self.read_back,
            stop: &stop,
            meter: &meter,
        };
        let progress = Progress::of_meter(&meter, "files", self.reporting.shown(self.json));
        let mut reports = Vec::new();
        for set in &sets {
            if stop.cause().is_none() {
                let to = self.place_of(set);
                reports.push((send(set, &to, &syncing)?, set, to));
            }
        }
        progress.finish();
        if self.json {
            let of =
                |(report, set, to): &(SyncReport, &PathBuf, String)| json!({"store": set, "url": to, "report": report});
            say_json(&reports.iter().map(of).collect::<Vec<_>>())?;
        }
        reports.iter().for_each(|(report, set, to)| self.tell(report, set, to));
        let whole = reports.iter().all(|(report, ..)| report.complete);
        let code = stop.cause().map_or(if whole { 0 } else { FAILED }, |cause| cause.exit_code());
        Ok(ExitCode::from(code))
    }

    /// Where the store in the folder `set` goes.
    fn place_of(&self, set: &Path) -> String {
        let below = set.strip_prefix(&self.store).unwrap_or(Path::new(""));
        format!("{}/{}", self.url.trim_end_matches('/'), below.display()).trim_end_matches('/').to_owned()
    }

    fn tell(&self, report: &SyncReport, set: &Path, to: &str) {
        let SyncReport { units, sent, sent_bytes, there, replaced, failures, .. } = report;
        for failure in failures {
            tell(format_args!("egofx: {}: {}: {}", set.display(), failure.file, failure.why));
        }
        for name in replaced {
            tell(format_args!("egofx: {to}/{name}: was not as recorded, and was sent again"));
        }
        if !self.reporting.quiet {
            let (units, sent) = (plural(*units, "unit"), plural(*sent, "file"));
            let failed = failures.len();
            tell(format_args!(
                "{to}: {units}; {sent} sent ({}), {there} there before, {failed} failed",
                bytes(*sent_bytes)
            ));
        }
    }
}
