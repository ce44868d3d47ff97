//! `egofx compare`: do two sets of features say the same, and if not, where they came apart?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;

use egofx::compare::{Comparison, DimMismatch, Pair, Signature, compare};
use egofx::ids::{ClipUid, UnitUid};
use egofx::import::FeatureFiles;
use egofx::ndarray::Array2;
use egofx::store::{Committed, StoreReader, feature_sets};

use super::table::Column::{Left, Right};
use super::table::{Column, Table};
use super::{FAILED, plural, say, say_json, tell};

/// Clips in the table without --all.
const LISTED: usize = 20;

/// Compare features of the same clips, row by row.
///
/// Ours with ours, or with what others have released: A and B are a feature set, a folder of .pt, .npy or .npz files, an LMDB, or an HDF5 file: whatever `egofx import` takes. Where they differ, the table says how: other
/// row counts, other rows, rows that moved (drift), zeros, and differences that are known by name. The exit code is 0 if
/// all clips are there on both sides and the same up to --min-cosine, 1 if not, 2 if there is nothing to compare.
#[derive(Args)]
pub struct Compare {
    /// One side.
    a: PathBuf,
    /// The other side.
    b: PathBuf,
    /// Smallest cosine of two rows that count as the same. 0.999 is what half precision and other decoders leave; give
    /// 0.99999 for the same model on another machine.
    #[arg(long, value_name = "COSINE", default_value_t = 0.999, value_parser = cosine)]
    min_cosine: f64,
    /// Compare only the clips that both sides have, and say nothing of the others.
    #[arg(long)]
    common: bool,
    /// List every clip, not only the first that differ.
    #[arg(long)]
    all: bool,
    /// Print as JSON on stdout; it lists every clip.
    #[arg(long)]
    json: bool,
}

fn cosine(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (-1.0..=1.0).contains(number));
    number.ok_or_else(|| format!("expected a number from -1 to 1, found {text:?}"))
}

/// Features of one side, wherever they lie.
enum Side {
    Store(Box<(StoreReader, Committed)>),
    Files(FeatureFiles),
}

impl Side {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let sets = if path.is_dir() { feature_sets(path)? } else { vec![] };
        match sets.as_slice() {
            [] => {
                let files = FeatureFiles::open(&[path.to_owned()])?;
                super::import::tell_aside(&files);
                Ok(Self::Files(files))
            }
            [set] => {
                let store = StoreReader::open(set)?;
                let committed = store.committed()?;
                Ok(Self::Store(Box::new((store, committed))))
            }
            _ => anyhow::bail!("{}: {} feature sets; name the folder of one", path.display(), sets.len()),
        }
    }

    fn units(&self) -> BTreeSet<UnitUid> {
        match self {
            Self::Store(store) => store.1.iter().map(|entry| entry.unit_uid.clone()).collect(),
            Self::Files(files) => files.clips().map(UnitUid::from).collect(),
        }
    }

    fn read(&self, unit: &UnitUid) -> anyhow::Result<Array2<f32>> {
        let found = match self {
            Self::Store(open) => {
                let (store, committed) = &**open;
                committed.get(unit).map(|entry| store.read_entry(entry)).transpose()?.map(|unit| unit.features)
            }
            Self::Files(files) => files.read(&ClipUid::parse(unit.as_str())?)?,
        };
        found.with_context(|| format!("{unit} is gone"))
    }
}

/// What came of one unit.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Compared(Comparison),
    Unlike(DimMismatch),
}

#[derive(Serialize)]
struct Report<'r> {
    a: &'r Path,
    b: &'r Path,
    min_cosine: f64,
    same: bool,
    overall: Overall,
    only_in_a: Vec<UnitUid>,
    only_in_b: Vec<UnitUid>,
    units: BTreeMap<UnitUid, Outcome>,
}

/// Sums over all units.
#[derive(Default, Serialize)]
struct Overall {
    units: usize,
    units_that_differ: usize,
    rows: Pair,
    cosine_min: Option<f64>,
    /// Lower median of the units' medians.
    cosine_median: Option<f64>,
    max_abs: f64,
    zero_rows: Pair,
    nan_rows: Pair,
    signatures: BTreeMap<Signature, usize>,
}

impl Compare {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let report = self.report()?;
        if self.json {
            say_json(&report)?;
        } else {
            say(&self.table(&report))?;
        }
        Ok(ExitCode::from(if report.same { 0 } else { FAILED }))
    }

    fn report(&self) -> anyhow::Result<Report<'_>> {
        let (a, b) = (Side::open(&self.a)?, Side::open(&self.b)?);
        let (in_a, in_b) = (a.units(), b.units());
        let only = |one: &BTreeSet<UnitUid>, other: &BTreeSet<UnitUid>| -> Vec<UnitUid> {
            if self.common { vec![] } else { one.difference(other).cloned().collect() }
        };
        let (only_in_a, only_in_b) = (only(&in_a, &in_b), only(&in_b, &in_a));
        let mut units = BTreeMap::new();
        for unit in in_a.intersection(&in_b) {
            let outcome = match compare(a.read(unit)?.view(), b.read(unit)?.view(), self.min_cosine) {
                Ok(comparison) => Outcome::Compared(comparison),
                Err(mismatch) => Outcome::Unlike(mismatch),
            };
            units.insert(unit.clone(), outcome);
        }
        self.check(&units, &in_a, &in_b)?;
        let overall = Overall::of(&units, self.min_cosine);
        let same = overall.units_that_differ == 0 && only_in_a.is_empty() && only_in_b.is_empty();
        let (a, b) = (self.a.as_path(), self.b.as_path());
        Ok(Report { a, b, min_cosine: self.min_cosine, same, overall, only_in_a, only_in_b, units })
    }

    /// Whether there was anything to compare.
    fn check(
        &self,
        units: &BTreeMap<UnitUid, Outcome>,
        in_a: &BTreeSet<UnitUid>,
        in_b: &BTreeSet<UnitUid>,
    ) -> anyhow::Result<()> {
        let name = |units: &BTreeSet<UnitUid>| units.first().map(ToString::to_string).unwrap_or_default();
        ensure!(
            !units.is_empty(),
            "nothing to compare: no clip is in both; the first of A is {:?}, of B {:?}",
            name(in_a),
            name(in_b)
        );
        let unlike = units.values().find_map(|outcome| match outcome {
            Outcome::Unlike(mismatch) => Some(mismatch),
            Outcome::Compared(_) => None,
        });
        let all_unlike = units.values().all(|outcome| matches!(outcome, Outcome::Unlike(_)));
        if let Some(mismatch) = unlike.filter(|_| all_unlike) {
            anyhow::bail!("nothing to compare: {mismatch} ({} and {})", self.a.display(), self.b.display());
        }
        Ok(())
    }

    fn table(&self, report: &Report) -> String {
        let is_listed = |outcome: &&Outcome| self.all || !is_same(outcome, self.min_cosine);
        let listed: Vec<(&UnitUid, &Outcome)> = report.units.iter().filter(|(_, outcome)| is_listed(outcome)).collect();
        let shown = if self.all { listed.len() } else { LISTED };
        let (mut table, mut unlike) = (Table::new(&COLUMNS), String::new());
        for (unit, outcome) in listed.iter().take(shown) {
            match outcome {
                Outcome::Compared(found) => table.row(cells(unit, found)),
                Outcome::Unlike(mismatch) => unlike += &format!("{unit}: {mismatch}\n"),
            }
        }
        let compared = listed.iter().take(shown).any(|(_, outcome)| matches!(outcome, Outcome::Compared(_)));
        let mut text = if compared { table.to_string() } else { String::new() } + &unlike;
        if listed.len() > shown {
            text += &format!("and {} that differ; --all lists them\n", listed.len() - shown);
        }
        self.tell_missing(report);
        text + &summary(report)
    }

    fn tell_missing(&self, report: &Report) {
        for (side, units) in [("A", &report.only_in_a), ("B", &report.only_in_b)] {
            if let Some(first) = units.first() {
                tell(format_args!("{} only in {side}, {first} for instance", plural(units.len(), "clip")));
            }
        }
    }
}

fn is_same(outcome: &Outcome, min_cosine: f64) -> bool {
    matches!(outcome, Outcome::Compared(comparison) if comparison.is_same(min_cosine))
}

impl Overall {
    fn of(units: &BTreeMap<UnitUid, Outcome>, min_cosine: f64) -> Self {
        let mut overall = Self { units: units.len(), ..Self::default() };
        let mut medians = Vec::new();
        for outcome in units.values() {
            overall.units_that_differ += usize::from(!is_same(outcome, min_cosine));
            if let Outcome::Compared(found) = outcome {
                overall.add(found);
                medians.extend(found.cosine_median);
            }
        }
        medians.sort_by(f64::total_cmp);
        overall.cosine_median = medians.get(medians.len().saturating_sub(1) / 2).copied();
        overall
    }

    fn add(&mut self, found: &Comparison) {
        let add = |sum: &mut Pair, more: Pair| (sum.a, sum.b) = (sum.a + more.a, sum.b + more.b);
        add(&mut self.rows, found.rows);
        add(&mut self.zero_rows, found.zero_rows);
        add(&mut self.nan_rows, found.nan_rows);
        self.max_abs = self.max_abs.max(found.max_abs);
        self.cosine_min = self.cosine_min.into_iter().chain(found.cosine_min).reduce(f64::min);
        for signature in &found.signatures {
            *self.signatures.entry(*signature).or_default() += 1;
        }
    }
}

const COLUMNS: [Column; 9] = [
    Left("clip"),
    Right("rows A"),
    Right("rows B"),
    Right("cos min"),
    Right("cos median"),
    Right("max abs"),
    Right("zeros A/B"),
    Right("NaN A/B"),
    Left("drift"),
];

fn cells(unit: &UnitUid, found: &Comparison) -> [String; 9] {
    let drift = match found.drift {
        Some(drift) => format!("B[i] = A[{:.2} + {:.5} i], cos {:.4}", drift.offset, drift.stride, drift.cosine),
        None => "-".to_owned(),
    };
    [
        unit.to_string(),
        found.rows.a.to_string(),
        found.rows.b.to_string(),
        number(found.cosine_min),
        number(found.cosine_median),
        format!("{:.3e}", found.max_abs),
        format!("{}/{}", found.zero_rows.a, found.zero_rows.b),
        format!("{}/{}", found.nan_rows.a, found.nan_rows.b),
        drift,
    ]
}

fn number(cosine: Option<f64>) -> String {
    cosine.map_or("-".to_owned(), |cosine| format!("{cosine:.5}"))
}

fn summary(report: &Report) -> String {
    let Overall { units, units_that_differ, rows, cosine_min, cosine_median, max_abs, .. } = &report.overall;
    let mut text = format!(
        "{}, {units_that_differ} of them not the same up to cosine {}; rows {} and {}, cosine min {}, median {}, max abs {max_abs:.3e}\n",
        plural(*units, "clip"),
        report.min_cosine,
        rows.a,
        rows.b,
        number(*cosine_min),
        number(*cosine_median),
    );
    for (signature, count) in &report.overall.signatures {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}: {signature}", plural(*count, "clip"));
    }
    for (side, path) in [("A", report.a), ("B", report.b)] {
        let named = path.components().any(|part| part.as_os_str().to_string_lossy().ends_with("_deprecated"));
        if named {
            let _ =
                writeln!(text, "{side} lies in a folder that Ego4D calls deprecated: features from before 2022-06-07");
        }
    }
    text
}
