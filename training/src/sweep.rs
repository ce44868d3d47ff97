//! All runs of an experiment: each point of its grid, each seed, each fold, one after the other.
//!
//! Not for a single run, see `trainer`. Results of runs are set side by side: the mean over folds is a seed's score, mean and
//! spread over seeds are a point's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use egofx::durable;
use serde_json::{Value, json};

use crate::curves;
use crate::error::TrainError;
use crate::experiment::{Experiment, Member};
use crate::learner::{Dataset, Model, Task};
use crate::metrics_log::METRICS_FILE;
use crate::provenance::{self, Start};
use crate::scores::LOSS;
use crate::sources::Sources;
use crate::trainer::context::{Event, Surroundings};
use crate::trainer::{LAST_FILE, Outcome, Run};

/// The experiment as it was run, in the folder of its runs.
pub const EXPERIMENT_FILE: &str = "experiment.toml";
/// The curves, as SVG.
pub const CURVES_FILE: &str = "curves.svg";
/// Results of the runs.
pub const SUMMARY_FILE: &str = "summary.json";

/// What is asked for.
pub struct Request<'r> {
    /// The experiment.
    pub experiment: &'r Experiment,
    /// What it reads.
    pub sources: &'r Sources,
    /// Where it writes.
    pub folder: &'r Path,
    /// Where it computes.
    pub surroundings: &'r Surroundings<'r>,
    /// Go on where an earlier process stopped.
    pub resume: bool,
    /// Files of first weights, the later over the earlier.
    pub init: &'r [PathBuf],
    /// What is put on record of this start.
    pub start: Option<&'r Start>,
    /// Called before each run with its folder, its number from 1, and how many there are.
    pub begin: &'r dyn Fn(&Path, usize, usize),
}

/// One run and its result.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its folder.
    pub folder: PathBuf,
    /// Its point of the grid, as `key = value` lines.
    pub point: String,
    /// Its seed.
    pub seed: u64,
    /// Its fold; empty where there is only one.
    pub fold: String,
    /// Its result.
    pub outcome: Outcome,
}

/// Results of all runs.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The score that picks checkpoints.
    pub select: String,
    /// The runs, in the order in which they were made.
    pub runs: Vec<Done>,
}

/// A score over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Standard deviation of a sample; NaN for a single seed.
    pub deviation: f64,
    /// Seeds.
    pub count: usize,
}

/// By the name of a score: of the runs' best validations, and of their last.
pub type Spreads = BTreeMap<String, (Spread, Spread)>;

impl Spread {
    /// Of these values.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self { mean, deviation: (squares / (count as f64 - 1.0)).sqrt(), count }
    }
}

/// Trains all runs of an experiment with model `M`.
///
/// # Errors
/// The first run's that fails; runs before it are finished and their checkpoints stay.
pub fn run<M: Model>(request: &Request) -> Result<Finished, TrainError> {
    let Request { experiment, folder, .. } = request;
    let path = folder.join(EXPERIMENT_FILE);
    let why = |why| TrainError::Experiment { path: path.clone(), why };
    let members = experiment.members().map_err(why)?;
    let world = request.surroundings.world;
    world.on_rank0(|| expect_room(request))?;
    let (mut runs, mut opened, mut is_kept) = (Vec::new(), None, false);
    for (number, member) in members.iter().enumerate() {
        // Samples depend on the model's own tables and on the switch only: runs that share these share the samples.
        let key = (member.experiment.compat, member.experiment.own.clone());
        if opened.as_ref().is_none_or(|(known, _)| *known != key) {
            let data = Dataset::<M>::open(&path, &member.experiment, request.sources)?;
            data.task.expect_truths()?;
            expect_score(&member.experiment, &data.task).map_err(why)?;
            opened = Some((key, data));
            is_kept = false;
        }
        let Some((_, data)) = &opened else { continue };
        let folds = data.task.folds();
        for (place, fold) in folds.iter().enumerate() {
            let folder = run_folder(request.folder, member, &fold.name);
            (request.begin)(&folder, number * folds.len() + place + 1, members.len() * folds.len());
            let Request { surroundings, resume, init, .. } = *request;
            if runs.is_empty() {
                let planned = |member| folds.iter().map(move |fold| run_folder(request.folder, member, &fold.name));
                let planned: Vec<PathBuf> = members.iter().flat_map(planned).collect();
                world.on_rank0(|| expect_planned(request.folder, &planned))?;
            }
            let run = Run::open(surroundings, member, data, fold, &folder, resume, init)?;
            // Not before it is known that this can be gone on with.
            if !std::mem::replace(&mut is_kept, true) {
                world.on_rank0(|| keep(request, &data.task, runs.is_empty()))?;
            }
            let outcome = run.train()?;
            world.on_rank0(|| draw(&[&folder], &member.experiment.train.monitor, &folder))?;
            runs.push(done(member, &fold.name, folder, outcome));
        }
    }
    let finished = Finished { select: experiment.train.monitor.clone(), runs };
    world.on_rank0(|| {
        if finished.runs.len() > 1 {
            draw(&finished.runs.iter().map(|run| run.folder.as_path()).collect::<Vec<_>>(), &finished.select, folder)?;
        }
        finished.write(folder)
    })?;
    Ok(finished)
}

/// The score that picks checkpoints must be one that the task has, which no predictions at all have by name as well.
fn expect_score<T: Task>(experiment: &Experiment, task: &T) -> Result<(), String> {
    let scores = task.score(&[]).map_err(|error| error.to_string())?;
    let known: Vec<&str> = [LOSS].into_iter().chain(scores.iter().map(|(name, _)| name.as_str())).collect();
    let select = experiment.train.monitor.as_str();
    if known.contains(&select) {
        return Ok(());
    }
    Err(format!("train.monitor is {select:?}, expected one of {}", known.join(", ")))
}

/// The curves of some runs in one SVG, `curves.svg` in `folder`.
fn draw(runs: &[&Path], select: &str, folder: &Path) -> Result<(), TrainError> {
    let runs: Vec<curves::Run> =
        runs.iter().map(|run| curves::Run::read(&run.join(METRICS_FILE))).collect::<Result<_, _>>()?;
    Ok(curves::draw(&runs, select, &folder.join(CURVES_FILE))?)
}

fn done(member: &Member, fold: &str, folder: PathBuf, outcome: Outcome) -> Done {
    let lines = member.point.iter().map(|(key, value)| format!("{key} = {value}"));
    let point = lines.collect::<Vec<_>>().join(", ");
    Done { folder, point, seed: member.seed, fold: fold.to_owned(), outcome }
}

fn run_folder(folder: &Path, member: &Member, fold: &str) -> PathBuf {
    let folder = folder.join(&member.folder);
    if fold.is_empty() { folder } else { folder.join(format!("fold-{fold}")) }
}

/// Refuses a folder that holds a run, unless that is gone on with.
fn expect_room(request: &Request) -> Result<(), TrainError> {
    if request.folder.join(EXPERIMENT_FILE).exists() && !request.resume {
        return Err(TrainError::Exists { path: request.folder.to_owned() });
    }
    Ok(())
}

/// Refuses to go on beside runs that are not `planned`: with another grid or other seeds they lie in other folders, and would be made
/// anew without a word.
fn expect_planned(folder: &Path, planned: &[PathBuf]) -> Result<(), TrainError> {
    let other = runs_below(folder).into_iter().find(|run| !planned.contains(run));
    let first = planned.first().map_or(folder, PathBuf::as_path);
    other.map_or(Ok(()), |run| {
        let expected = format!("only runs of this grid, these seeds and folds, such as {}", first.display());
        Err(TrainError::unexpected(folder, expected, format!("{}; take another folder for them", run.display())))
    })
}

/// Keeps the experiment, what it was started with and what predictions need, beside the runs.
fn keep<T: Task>(request: &Request, task: &T, is_first: bool) -> Result<(), TrainError> {
    let path = request.folder.join(EXPERIMENT_FILE);
    std::fs::create_dir_all(request.folder).map_err(TrainError::io("create", request.folder))?;
    durable::write_bytes(&path, request.experiment.to_toml().as_bytes()).map_err(TrainError::io("write", &path))?;
    if let Some(start) = request.start.filter(|_| is_first) {
        provenance::append(request.folder, start)?;
    }
    task.keep(request.folder)
}

/// Scores by name: best validation's of a run, or its last one's.
type Scores = BTreeMap<String, f64>;

impl Finished {
    /// The points of the grid in order, each with the scores of its runs' best and last validations over seeds.
    pub fn points(&self) -> Vec<(String, Spreads)> {
        let mut points: Vec<&str> = self.runs.iter().map(|run| run.point.as_str()).collect();
        points.dedup();
        points.into_iter().map(|point| (point.to_owned(), self.point(point))).collect()
    }

    fn point(&self, point: &str) -> Spreads {
        let of_point: Vec<&Done> = self.runs.iter().filter(|run| run.point == point).collect();
        let best = |run: &Done| run.outcome.best.iter().flat_map(|best| best.scores.iter().cloned()).collect();
        let last = |run: &Done| run.outcome.last.iter().cloned().collect();
        let (best, last) = (by_seed(&of_point, best), by_seed(&of_point, last));
        let names = best.iter().flat_map(|scores| scores.keys().cloned()).collect::<std::collections::BTreeSet<_>>();
        let spread = |seeds: &[Scores], name: &str| {
            Spread::of(&seeds.iter().filter_map(|scores| scores.get(name).copied()).collect::<Vec<_>>())
        };
        names.into_iter().map(|name| (name.clone(), (spread(&best, &name), spread(&last, &name)))).collect()
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let spread =
            |spread: &Spread| json!({"mean": spread.mean, "deviation": spread.deviation, "seeds": spread.count});
        let points = self.points().into_iter().map(|(point, scores)| {
            let scores: serde_json::Map<String, Value> = scores
                .iter()
                .map(|(name, (best, last))| (name.clone(), json!({"best": spread(best), "last": spread(last)})))
                .collect();
            json!({"point": point, "scores": scores})
        });
        let runs = self.runs.iter().map(|run| {
            json!({
                "folder": run.folder, "point": run.point, "seed": run.seed, "fold": run.fold,
                "epochs": run.outcome.epochs, "best": run.outcome.best,
                "last": run.outcome.last.iter().cloned().collect::<Scores>(),
            })
        });
        json!({"select": self.select, "points": points.collect::<Vec<_>>(), "runs": runs.collect::<Vec<_>>()})
    }

    fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(SUMMARY_FILE);
        let mut summary = self.json();
        summary["provenance"] = json!(provenance::read(folder)?);
        let text = serde_json::to_string_pretty(&summary).unwrap_or_default() + "\n";
        durable::write_bytes(&path, text.as_bytes()).map_err(TrainError::io("write", &path))
    }
}

/// One set of scores for each seed, the mean over its folds.
fn by_seed(runs: &[&Done], scores: impl Fn(&Done) -> Scores) -> Vec<Scores> {
    let mut seeds: BTreeMap<u64, Vec<Scores>> = BTreeMap::new();
    for run in runs {
        seeds.entry(run.seed).or_default().push(scores(run));
    }
    let mean = |folds: Vec<Scores>| {
        let names: Vec<String> = folds.first().map(|fold| fold.keys().cloned().collect()).unwrap_or_default();
        let of = |name: &String| folds.iter().filter_map(|fold| fold.get(name)).sum::<f64>() / folds.len() as f64;
        names.iter().map(|name| (name.clone(), of(name))).collect()
    };
    seeds.into_values().map(mean).collect()
}

/// Runs below `folder`: the folders that hold a checkpoint, sorted. What a killed process left half written lies in hidden ones.
pub fn runs_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        if folder.join(LAST_FILE).is_file() {
            found.push(folder.clone());
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let is_hidden = |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
        pending
            .extend(entries.filter(|entry| !is_hidden(entry)).map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found.sort();
    found
}

/// For those who do not watch.
pub fn unwatched(_: &Event) {}
