//! `egofx plan`: what a run would do, without doing it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;

use egofx::decode::declared_sec;
use egofx::feature_set::FeatureSet;
use egofx::ids::{SetId, UnitUid};
use egofx::manifest::{Clip, Manifest, Video, ends_far_beyond};
use egofx::plan::Plan;
use egofx::recipe::Recipe;
use egofx::store::{STORE_FILE, StoreReader};
use egofx::url;

use super::args::{Ffmpeg, Work};
use super::compute::Compute;
use super::estimate::{Estimate, estimate};
use super::fetching::Fetching;
use super::table::Column::{Left, Right};
use super::table::Table;
use super::{FAILED, bytes, plural, say, say_json, setup, tell};

/// Show what extract would do: units, windows, hours of video, bytes, time.
///
/// How long it will take is measured with --probe.
#[derive(Args)]
pub struct PlanCommand {
    #[command(flatten)]
    work: Work,
    /// Feature sets that exist already: what they hold is not planned again.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Decode so many seconds of the longest video and run the models on a few batches, and predict the time from that.
    #[arg(long, value_name = "SEC", num_args = 0..=1, default_missing_value = "10")]
    probe: Option<f64>,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    fetching: Fetching,
    #[command(flatten)]
    ffmpeg: Ffmpeg,
    /// Print the plan as JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// One feature set of a plan.
#[derive(Serialize)]
struct Row {
    feature_set: String,
    units: usize,
    rows: u64,
    row_kind: &'static str,
    dim: usize,
    feature_bytes: u64,
}

#[derive(Serialize)]
struct Outline {
    shard: String,
    videos: usize,
    videos_not_found: Vec<String>,
    rejected: Vec<String>,
    clips_far_beyond: Vec<String>,
    units: usize,
    units_done: usize,
    video_hours: f64,
    feature_sets: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
}

impl PlanCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (mut manifest, recipes) = (self.work.read_manifest()?, self.work.read_recipes()?);
        let models = self.work.models()?;
        self.ask_headers(&mut manifest);
        let towers = setup::towers(&models, &recipes, self.compute.precision)?;
        let (sets, text_inputs) = self.work.feature_sets(recipes, towers)?;
        let done = sets.try_map(|set| self.committed(&set.recipe))?;
        let wanted = self.work.wanted(&manifest, &text_inputs, &sets);
        let plan = Plan::new(wanted, self.work.shard.shard, |set, unit| done[set].contains(unit))?;
        let row = |(id, set): (SetId, &FeatureSet)| {
            let FeatureSet { recipe, towers, kind, .. } = set;
            let tasks = || plan.tasks.iter().filter(|task| task.set == id);
            let rows = tasks().map(|task| task.estimated_rows).fold(0, u64::saturating_add);
            let dim = towers.feature().dim;
            let feature_bytes = rows.saturating_mul((dim * recipe.body.output.dtype.bytes()) as u64);
            let units = tasks().map(|task| task.units().len()).sum();
            Row { feature_set: recipe.name.clone(), units, rows, row_kind: kind.name(), dim, feature_bytes }
        };
        // Nobody has asked whether an object is there: that is a request for each.
        let is_lost = |path: &PathBuf| url::of(path).is_none() && !path.exists();
        let lost = plan.jobs.iter().filter(|job| job.path.as_ref().is_none_or(is_lost));
        let estimate = match self.probe {
            Some(seconds) => {
                let threads = self.compute.decoder_threads();
                let source = self.fetching.measured(&self.ffmpeg, threads, &manifest, self.out.as_deref())?;
                let out = self.out.iter();
                let stores: Vec<PathBuf> =
                    out.flat_map(|out| sets.values().map(move |set| out.join(&set.recipe.name))).collect();
                let settled = self.compute.settle(&stores, &models, &sets)?;
                settled.told().into_iter().for_each(tell);
                estimate(&plan, &sets, &models, &settled, &source, seconds)?
            }
            None => None,
        };
        let outline = Outline {
            shard: self.work.shard.shard.to_string(),
            videos: plan.jobs.len(),
            videos_not_found: lost.map(|job| job.video_uid.to_string()).collect(),
            rejected: manifest.rejected.iter().map(ToString::to_string).collect(),
            clips_far_beyond: far_beyond(&manifest),
            units: plan.units,
            units_done: plan.done,
            video_hours: plan.cost_sec() / 3600.0,
            feature_sets: sets.iter().map(row).collect(),
            estimate,
        };
        if self.json {
            say_json(&outline)?;
        } else {
            outline.complaints();
            say(&outline.table())?;
        }
        let complaints = [&outline.videos_not_found, &outline.rejected, &outline.clips_far_beyond];
        let sound = complaints.iter().all(|list| list.is_empty());
        Ok(ExitCode::from(if sound { 0 } else { FAILED }))
    }

    /// Durations that the manifest does not give, from the files' headers: better than a guess from their size.
    fn ask_headers(&self, manifest: &mut Manifest) {
        let Ok(tools) = self.ffmpeg.known_tools() else { return };
        manifest.videos.par_iter_mut().filter(|video| video.duration_sec.is_none()).for_each(|video| {
            let path = video.path.as_ref().filter(|path| url::of(path).is_none());
            video.duration_sec = path.and_then(|path| declared_sec(&tools, path));
        });
    }

    /// What the store of `recipe` holds, by its ledger; files are not read here.
    fn committed(&self, recipe: &Recipe) -> anyhow::Result<BTreeSet<UnitUid>> {
        let store = self.out.iter().map(|out| out.join(&recipe.name)).find(|store| store.join(STORE_FILE).exists());
        let Some(store) = store else { return Ok(BTreeSet::new()) };
        let committed = StoreReader::open(&store)?.committed()?;
        Ok(committed.iter().map(|entry| entry.unit_uid.clone()).collect())
    }
}

/// Clips that end so long after their videos that no more than their own failure can come of them.
fn far_beyond(manifest: &Manifest) -> Vec<String> {
    let clips = manifest.videos.iter().flat_map(|video| video.clips.iter().map(move |clip| (video, clip)));
    let words = |(_, clip): (&Video, &Clip)| {
        let end_sec = clip.span.map_or(0.0, |span| span.end_sec);
        format!("line {}: clip {} ends at {end_sec} s, long after its video; seconds are expected", clip.line, clip.uid)
    };
    clips.filter(|(video, clip)| ends_far_beyond(clip, video)).map(words).collect()
}

impl Outline {
    fn complaints(&self) {
        self.rejected.iter().for_each(|rejected| tell(format_args!("egofx: manifest: {rejected}")));
        self.clips_far_beyond.iter().for_each(|clip| tell(format_args!("egofx: manifest: {clip}")));
        self.videos_not_found.iter().for_each(|video| tell(format_args!("egofx: {video}: no such file")));
    }

    fn table(&self) -> String {
        let mut table = format!(
            "{} of {}, {:.2} hours to decode ({} done)\n",
            plural(self.units, "unit"),
            plural(self.videos, "video"),
            self.video_hours,
            self.units_done
        );
        let columns = [Left("feature set"), Right("units"), Right("rows"), Left("of"), Right("dim"), Right("bytes")];
        let mut sets = Table::new(&columns);
        for Row { feature_set, units, rows, row_kind, dim, feature_bytes } in &self.feature_sets {
            let [units, rows, dim] = [units.to_string(), rows.to_string(), dim.to_string()];
            sets.row([feature_set, &units, &rows, *row_kind, &dim, &bytes(*feature_bytes)]);
        }
        table += &sets.to_string();
        table + &self.estimate.as_ref().map(Estimate::line).unwrap_or_default()
    }
}
