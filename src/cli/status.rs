//! `egofx status`: how far stores are, while runs write to them and after.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use indicatif::HumanDuration;

use egofx::meter::Activity;
use egofx::status::{StoreStatus, Worker};
use egofx::store::feature_sets;

use super::table::{Column, Table};
use super::{FAILED, UNFINISHED, bytes, plural, say, say_json};

/// Show how far stores are, while runs write to them and after.
///
/// Tells what is done, failed and in flight, how fast each part is and how long it will take, and locks nothing. Of each part also how
/// busy decoding and inference are, how many units it took from other parts, how many videos it took over from runs that died, and
/// how many units it computed twice; after its end, by its report. Ends with 0 if
/// every planned unit is there, with 1 if some failed and nobody is at the rest, with 3 if not all is done yet.
#[derive(Args)]
pub struct Status {
    /// Feature sets, or folders of several.
    #[arg(required = true, value_name = "STORE")]
    paths: Vec<PathBuf>,
    /// Show it again every SECONDS until all is done or has failed.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
    /// Print as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Status {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        loop {
            let stores = self.read()?;
            if self.json {
                say_json(&stores)?;
            } else {
                stores.iter().try_for_each(|store| say(&text(store)))?;
            }
            let code = code(&stores);
            match self.watch.filter(|_| code == UNFINISHED) {
                Some(seconds) => thread::sleep(Duration::from_secs(seconds)),
                None => return Ok(ExitCode::from(code)),
            }
        }
    }

    fn read(&self) -> anyhow::Result<Vec<StoreStatus>> {
        let mut stores = Vec::new();
        for path in &self.paths {
            let sets = feature_sets(path)?;
            ensure!(!sets.is_empty(), "{}: no feature set here or one folder below", path.display());
            for set in sets {
                stores.push(StoreStatus::read(&set)?);
            }
        }
        Ok(stores)
    }
}

/// What is failed stays so while nobody is at anything; before that, all may still be done.
fn code(stores: &[StoreStatus]) -> u8 {
    let lives = |store: &StoreStatus| store.workers.iter().any(|worker| worker.is_alive);
    let has_claims = |store: &StoreStatus| store.in_flight.iter().any(|video| !video.is_stale);
    let at_work = stores.iter().any(|store| lives(store) || has_claims(store));
    let failed = stores.iter().any(|store| !store.failed.is_empty());
    match stores.iter().all(StoreStatus::is_done) {
        true => 0,
        false if failed && !at_work => FAILED,
        false => UNFINISHED,
    }
}

fn text(store: &StoreStatus) -> String {
    let left = store.remaining_sec.map(|sec| format!(", {} left", HumanDuration(Duration::from_secs_f64(sec))));
    let head = format!(
        "{}: {} of {} done, {} failed, {} in flight, {} rows, {}{}\n",
        store.feature_set,
        store.done,
        plural(store.planned, "unit"),
        store.failed.len(),
        plural(store.in_flight.len(), "video"),
        store.rows,
        bytes(store.bytes),
        left.unwrap_or_default(),
    );
    [head, workers(store), in_flight(store), failed(store)].concat()
}

fn workers(store: &StoreStatus) -> String {
    if store.workers.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        Column::Left("part"),
        Column::Left(""),
        Column::Right("units"),
        Column::Right("rows"),
        Column::Right("rows/s"),
        Column::Right("decode"),
        Column::Right("infer"),
        Column::Right("taken"),
        Column::Right("taken over"),
        Column::Right("twice"),
        Column::Right("last commit"),
        Column::Left("run"),
    ]);
    let slow: Vec<&str> = store.stragglers().into_iter().map(|worker| worker.shard.as_str()).collect();
    for worker in &store.workers {
        let state = match (worker.is_alive, worker.has_died) {
            (true, _) if slow.contains(&worker.shard.as_str()) => "slow",
            (true, _) => "at work",
            (false, true) => "died",
            (false, false) => "",
        };
        table.row(row(worker, state));
    }
    table.to_string()
}

fn row(worker: &Worker, state: &str) -> [String; 12] {
    let activity = worker.activity.as_ref();
    let rate = worker.rows_per_sec.or(activity.map(|activity| activity.rows_per_sec));
    let busy = |stage: &str| {
        let share = activity.and_then(|activity| activity.busy(stage));
        share.map(|share| format!("{:.0} %", 100.0 * share)).unwrap_or_default()
    };
    let count = |of: fn(&Activity) -> u64| activity.map(|activity| of(activity).to_string()).unwrap_or_default();
    [
        worker.shard.clone(),
        state.to_owned(),
        worker.units.to_string(),
        worker.rows.to_string(),
        rate.map(|rate| format!("{rate:.1}")).unwrap_or_default(),
        busy("decode"),
        busy("infer"),
        count(|activity| activity.taken_units),
        count(|activity| activity.taken_over),
        count(|activity| activity.computed_twice),
        worker.last_commit_sec.map(|sec| format!("{sec:.0} s ago")).unwrap_or_default(),
        worker.holder.clone(),
    ]
}

fn in_flight(store: &StoreStatus) -> String {
    let line = |video: &egofx::status::InFlight| {
        let silent = if video.is_stale { ", to be taken over" } else { "" };
        let (uid, sec) = (&video.video_uid, video.silence_sec);
        format!("  {uid}: process {} on host {}, heard of {sec:.0} s ago{silent}\n", video.pid, video.host)
    };
    store.in_flight.iter().map(line).collect()
}

fn failed(store: &StoreStatus) -> String {
    store.failed.iter().map(|unit| format!("  {} failed: {}\n", unit.unit_uid, unit.why)).collect()
}
