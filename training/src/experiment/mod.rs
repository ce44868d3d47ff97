//! An experiment: everything that decides its numbers, in one TOML file.
//!
//! Not for paths, devices or threads, which are flags. No key has a default unless leaving it out is a choice of its own;
//! unknown keys are errors that list the known ones. A `[grid]` makes one experiment of each combination of its lists.

mod extends;
mod overrides;
mod renamed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use egofx::compat::Compat;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::error::TrainError;
use crate::optimizer::OptimizerSettings;
use crate::precision::Precision;
use crate::schedule::Schedule;

pub use self::overrides::Override;

/// The keys that every experiment has; the rest are the learner's own tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// A line of [`LEARNERS`](crate::registry::LEARNERS).
    pub learner: String,
    /// Whether faults of the originals are reproduced, in training and by the evaluators.
    pub compat: Compat,
    /// One run for each.
    pub seeds: Vec<u64>,
    /// How it is trained.
    pub train: Train,
    /// Lists of values by dotted keys: one experiment for each combination.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grid: BTreeMap<String, Vec<Value>>,
    /// The learner's tables.
    #[serde(flatten)]
    pub own: Table,
}

/// The `[train]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Samples in a step, of all ranks together.
    pub batch: usize,
    /// Samples that are validated together, where that is another number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_batch: Option<usize>,
    /// Parts in which a rank computes its samples of a step one after the other, for want of memory; absent: all at once.
    /// A loss that sets samples against each other does so within a part only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grad_accum_steps: Option<usize>,
    /// What operators that gain from it compute in; absent: single precision everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Whether the samples that do not fill a last batch are left out of an epoch.
    pub drop_last: bool,
    /// Passes over the samples.
    pub epochs: u64,
    /// Passes that the schedule of the learning rate spreads over, where the run ends before the last of them; absent: `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_epochs: Option<u64>,
    /// Validations in an epoch, equally far apart, one at its end.
    pub validations_per_epoch: u64,
    /// Steps between two checkpoints within an epoch; absent: one at the end of each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<u64>,
    /// Steps between two lines of losses, rates and speed in `metrics.jsonl`; absent: 50, in epochs of 200 steps or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_steps: Option<u64>,
    /// Steps of the run between two validations, beside those of `validations_per_epoch`; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_steps: Option<u64>,
    /// Whether there is a validation before the first step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub eval_on_start: bool,
    /// Epochs between two checkpoints that are kept; absent: none but the last and the best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every_n_epochs: Option<u64>,
    /// How many of the best validations' checkpoints are kept; absent: the best alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_top_k: Option<u64>,
    /// The score that picks the best checkpoint, as `egofx eval` names it: the highest, or the lowest of losses and distances.
    pub monitor: String,
    /// Epochs without a better score after which a run ends; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// The norm to which gradients are scaled down; absent: they are left as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f64>,
    /// Validate and keep a running mean of the weights, with this decay; absent: the weights themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// How weights are changed.
    pub optimizer: OptimizerSettings,
    /// How the learning rate runs.
    pub schedule: Schedule,
}

/// Largest count of steps, samples and passes: the product of any two is a number of steps still.
const MOST_COUNTED: u64 = 1 << 31;
/// Largest whole number in a learner's tables: no layer is as wide, no sequence as long.
const MOST_WHOLE: i64 = 1 << 24;

impl Train {
    fn check_shares(&self) -> Result<(), String> {
        if let Some(norm) = self.max_grad_norm.filter(|norm| !(norm.is_finite() && *norm > 0.0)) {
            return Err(format!("train.max_grad_norm is {norm}, expected a number above 0"));
        }
        match self.ema.filter(|decay| !(0.0..=1.0).contains(decay)) {
            Some(decay) => Err(format!("train.ema is {decay}, expected 0 to 1")),
            None => Ok(()),
        }
    }
}

/// Bounds what a learner's tables hold, so that products of any two values are in range; each learner checks the rest.
fn check_whole_numbers(key: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Integer(number) if !(-MOST_WHOLE..=MOST_WHOLE).contains(number) => {
            Err(format!("{key} is {number}, expected at most {MOST_WHOLE}"))
        }
        Value::Float(number) if !number.is_finite() => Err(format!("{key} is {number}, expected a number")),
        Value::Table(table) => {
            table.iter().try_for_each(|(name, value)| check_whole_numbers(&format!("{key}.{name}"), value))
        }
        Value::Array(values) => values.iter().try_for_each(|value| check_whole_numbers(key, value)),
        _ => Ok(()),
    }
}

/// One run of an experiment: no grid, one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its folder below that of the experiment; empty if it is the only one.
    pub folder: PathBuf,
    /// The values that the grid gave it.
    pub point: Vec<(String, Value)>,
    /// Whatever it draws is drawn from this.
    pub seed: u64,
    /// Its settings; `seeds` has this seed alone and `grid` is empty.
    pub experiment: Experiment,
}

impl Experiment {
    /// Reads a file with those that it extends, and checks what is not the learner's.
    ///
    /// # Errors
    /// [`TrainError::Experiment`] or [`TrainError::Io`].
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        Self::read_with(path, &[])
    }

    /// The same with some values `set`, the later over the earlier.
    ///
    /// # Errors
    /// As for [`read`](Self::read); values and keys that do not fit are named as they were typed.
    pub fn read_with(path: &Path, set: &[Override]) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
        let why = |why| TrainError::Experiment { path: path.to_owned(), why };
        match (extends::resolved(path, &text)?, set) {
            (Some((table, base)), _) => Self::with_values(table, set).map_err(|error| {
                let of_file = || format!("{} (it extends {base}, which may hold the key)", error.trim_end());
                why(if overrides::is_blamed(&error) { error } else { of_file() })
            }),
            (None, []) => Self::parse(&text).map_err(why),
            (None, _) => {
                let table = toml::from_str(&text).map_err(|error| why(error.to_string()))?;
                Self::with_values(table, set).map_err(why)
            }
        }
    }

    /// Out of the text of a file that extends none; keys of version 0.1 are read as what they are called today.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(mut table) = toml::from_str::<Table>(text) {
            if let Some(base) = table.get(extends::EXTENDS) {
                return Err(format!("extends = {base}: only a file can extend another"));
            }
            if renamed::modernise(&mut table)? {
                return Self::of(table);
            }
        }
        // Out of the text, so that errors say the line.
        toml::from_str::<Self>(text).map_err(|error| error.to_string())?.checked()
    }

    fn with_values(mut table: Table, set: &[Override]) -> Result<Self, String> {
        renamed::modernise(&mut table)?;
        let with = |set: &[Override]| Self::on_top(table.clone(), set);
        with(set).map_err(|why| overrides::blamed(set, why, |others| with(others).is_ok()))
    }

    fn on_top(mut table: Table, set: &[Override]) -> Result<Self, String> {
        set.iter().try_for_each(|one| one.apply(&mut table))?;
        Self::of(table.clone()).map_err(|why| overrides::explained(set, &table, why))
    }

    fn of(table: Table) -> Result<Self, String> {
        table.try_into::<Self>().map_err(|error| error.to_string())?.checked()
    }

    fn checked(self) -> Result<Self, String> {
        self.check()?;
        // Every point of the grid must be an experiment.
        self.members()?;
        Ok(self)
    }

    /// `why` the learner does not take this experiment, in the words of the one of `set` that it is about.
    pub fn explained(&self, set: &[Override], why: String) -> String {
        overrides::explained(set, &Table::try_from(self).unwrap_or_default(), why)
    }

    /// What `check` makes of this experiment, which was read from the file at `path` with some values `set`: an error about the file
    /// names those of them that are at fault.
    ///
    /// # Errors
    /// Those of `check`.
    pub fn checked_by<T>(
        &self,
        (path, set): (&Path, &[Override]),
        check: impl Fn(&Self) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let fits = |set: &[Override]| Self::read_with(path, set).is_ok_and(|experiment| check(&experiment).is_ok());
        check(self).map_err(|error| match error {
            TrainError::Experiment { path, why } => {
                TrainError::Experiment { path, why: overrides::blamed(set, why, fits) }
            }
            other => other,
        })
    }

    fn check(&self) -> Result<(), String> {
        let Train {
            batch,
            epochs,
            schedule_epochs,
            validations_per_epoch,
            validation_batch,
            grad_accum_steps,
            checkpoint_steps,
            log_steps,
            validation_steps,
            save_every_n_epochs,
            save_top_k,
            ..
        } = self.train;
        let counts = [
            ("train.batch", Some(batch as u64)),
            ("train.validation_batch", validation_batch.map(|samples| samples as u64)),
            ("train.grad_accum_steps", grad_accum_steps.map(|parts| parts as u64)),
            ("train.epochs", Some(epochs)),
            ("train.schedule_epochs", schedule_epochs),
            ("train.validations_per_epoch", Some(validations_per_epoch)),
            ("train.checkpoint_steps", checkpoint_steps),
            ("train.log_steps", log_steps),
            ("train.validation_steps", validation_steps),
            ("train.save_every_n_epochs", save_every_n_epochs),
            ("train.save_top_k", save_top_k),
        ];
        for (key, count) in counts.into_iter().filter_map(|(key, count)| Some((key, count?))) {
            if !(1..=MOST_COUNTED).contains(&count) {
                return Err(format!("{key} is {count}, expected 1 to {MOST_COUNTED}"));
            }
        }
        if let Some(longer) = schedule_epochs.filter(|longer| *longer < epochs) {
            return Err(format!("train.schedule_epochs is {longer}, expected at least train.epochs, {epochs}"));
        }
        if schedule_epochs.is_some() && !self.train.schedule.depends_on_total() {
            return Err(
                "train.schedule_epochs is given, but train.schedule does not depend on the number of epochs".to_owned()
            );
        }
        self.train.check_shares()?;
        self.train.optimizer.check()?;
        self.train.schedule.check()?;
        self.own.iter().try_for_each(|(key, value)| check_whole_numbers(key, value))?;
        if self.seeds.is_empty() {
            return Err("seeds is empty, expected at least one".to_owned());
        }
        Ok(())
    }

    /// The learner's own tables as its settings.
    ///
    /// # Errors
    /// Unknown or missing keys, values of other types.
    pub fn settings<S: DeserializeOwned>(&self) -> Result<S, String> {
        self.own.clone().try_into().map_err(|error: toml::de::Error| error.to_string())
    }

    /// One member for each point of the grid and each seed.
    ///
    /// # Errors
    /// A key of the grid that no table has, or a value that does not fit.
    pub fn members(&self) -> Result<Vec<Member>, String> {
        let mut points: Vec<Vec<(String, Value)>> = vec![vec![]];
        for (key, values) in &self.grid {
            if values.is_empty() {
                return Err(format!("grid.{key:?} is empty, expected a list of values"));
            }
            let with = |point: &Vec<_>, value: &Value| [&point[..], &[(key.clone(), value.clone())]].concat();
            points = points.iter().flat_map(|point| values.iter().map(move |value| with(point, value))).collect();
        }
        let seeds = |point| self.seeds.iter().map(move |&seed| (point, seed));
        points.iter().flat_map(seeds).map(|(point, seed)| self.member(point, seed)).collect()
    }

    fn member(&self, point: &[(String, Value)], seed: u64) -> Result<Member, String> {
        let plain = Self { grid: BTreeMap::new(), seeds: vec![seed], ..self.clone() };
        let mut table = Table::try_from(&plain).map_err(|error| error.to_string())?;
        let mut folder = PathBuf::new();
        for (key, value) in point {
            set(&mut table, &renamed::key(key), &renamed::value(key, value))?;
            folder.push(folder_name(key, value));
        }
        if self.seeds.len() > 1 {
            folder.push(format!("seed-{seed}"));
        }
        let experiment: Self = table.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        experiment.check()?;
        Ok(Member { folder, point: point.to_vec(), seed, experiment })
    }

    /// The file that says the same.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

/// Sets a value that must be there already: a key that is only in the grid is a typing mistake.
fn set(table: &mut Table, key: &str, value: &Value) -> Result<(), String> {
    let absent = || format!("grid.{key:?}: there is no such key to replace");
    let mut place = table;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let entry = place.get_mut(part).ok_or_else(absent)?;
        if parts.peek().is_none() {
            *entry = value.clone();
            return Ok(());
        }
        place = entry.as_table_mut().ok_or_else(absent)?;
    }
    Err(absent())
}

/// `train.optimizer.lr` and 1e-4 become `lr-0.0001`.
fn folder_name(key: &str, value: &Value) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    format!("{last}-{}", text.chars().map(safe).collect::<String>())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An experiment of a head that has one table.
    pub(crate) const TEXT: &str = r#"
        learner = "vslnet"
        compat = "as-released"
        seeds = [1]
        [model]
        embed_dim = 4
        [train]
        batch = 2
        drop_last = false
        epochs = 3
        validations_per_epoch = 1
        monitor = "loss"
        [train.optimizer]
        kind = "hf-adamw"
        lr = 0.001
        weight_decay = 0.01
        betas = [0.9, 0.999]
        eps = 1e-6
        [train.schedule]
        kind = "constant"
    "#;

    fn with(more: &str) -> Result<Experiment, String> {
        Experiment::parse(&TEXT.replace("seeds = [1]", &format!("seeds = [1]\n{more}")))
    }

    #[test]
    fn a_file_is_read_and_written_again() {
        let experiment = Experiment::parse(TEXT).unwrap();
        assert_eq!(Experiment::parse(&experiment.to_toml()).unwrap(), experiment);
        assert_eq!(experiment.members().unwrap()[0].folder, PathBuf::new());
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only read")]
        struct Other {
            model: Table,
            data: Table,
        }
        let why = experiment.settings::<Other>().unwrap_err();
        assert!(why.contains("missing field `data`"), "{why}");
    }

    #[test]
    fn a_grid_has_a_member_for_each_combination_and_seed() {
        let mut experiment = Experiment::parse(TEXT).unwrap();
        experiment.seeds = vec![1, 2];
        experiment.grid.insert("train.optimizer.lr".into(), vec![0.1.into(), 0.01.into()]);
        experiment.grid.insert("model.embed_dim".into(), vec![4.into(), 8.into()]);
        let members = experiment.members().unwrap();
        assert_eq!(members.len(), 8);
        let last = &members[7];
        assert_eq!(last.folder, PathBuf::from("embed_dim-8/lr-0.01/seed-2"));
        assert_eq!((last.experiment.train.optimizer.lr, last.seed, &last.experiment.seeds[..]), (0.01, 2, &[2][..]));
        assert!(last.experiment.grid.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let why = |more: &str| with(more).unwrap_err();
        assert!(why("grid = { \"train.lr\" = [1] }").contains("grid.\"train.lr\": there is no such key"));
        assert!(why("grid = { \"train.batch\" = [] }").contains("is empty"));
        assert!(why("grid = { \"train.batch\" = [0] }").contains("train.batch is 0"));
        assert!(why("grid = { \"train.batch\" = [\"x\"] }").contains("invalid type"));
        for (healthy, absurd, words) in [
            ("epochs = 3", "epochs = 1000000000000000000", "train.epochs is 1000000000000000000, expected 1 to"),
            ("batch = 2", "batch = 4294967296", "train.batch is 4294967296"),
            ("embed_dim = 4", "embed_dim = 1000000000", "model.embed_dim is 1000000000, expected at most 16777216"),
            ("embed_dim = 4", "embed_dim = [[inf]]", "model.embed_dim is inf, expected a number"),
            ("lr = 0.001", "lr = -0.001", "train.optimizer.lr is -0.001, expected 0 or more"),
            ("lr = 0.001", "lr = nan", "train.optimizer.lr is NaN"),
            ("[0.9, 0.999]", "[0.9, 2.0]", "train.optimizer.betas has 2, expected 0 or more and less than 1"),
            ("eps = 1e-6", "eps = -1.0", "train.optimizer.eps is -1"),
            (
                "drop_last = false",
                "drop_last = false\nmax_grad_norm = 0.0",
                "train.max_grad_norm is 0, expected a number above 0",
            ),
            ("drop_last = false", "drop_last = false\nema = 1.5", "train.ema is 1.5, expected 0 to 1"),
            (
                "epochs = 3",
                "epochs = 3\nschedule_epochs = 2",
                "train.schedule_epochs is 2, expected at least train.epochs, 3",
            ),
            ("kind = \"constant\"", "kind = \"step-epochs\"\nevery = 0\nfactor = 0.1", "train.schedule.every is 0"),
            ("kind = \"constant\"", "kind = \"step-epochs\"\nevery = 1\nfactor = inf", "train.schedule.factor is inf"),
            ("kind = \"constant\"", "kind = \"linear\"\nwarmup = { epochs = nan }", "train.schedule.warmup is NaN"),
        ] {
            assert!(TEXT.contains(healthy), "{healthy}");
            let said = Experiment::parse(&TEXT.replacen(healthy, absurd, 1)).unwrap_err();
            assert!(said.starts_with(words), "{said}");
        }
        let typo = Experiment::parse(&TEXT.replace("drop_last", "droplast")).unwrap_err();
        assert!(typo.contains("unknown field `droplast`, expected one of `batch`, `validation_batch`"), "{typo}");
        let none = Experiment::parse(&TEXT.replace("seeds = [1]", "seeds = []")).unwrap_err();
        assert_eq!(none, "seeds is empty, expected at least one");
    }
}
