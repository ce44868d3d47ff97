//! What an evaluation came to: numbers with their names, and what they are numbers of.
//!
//! Not for printing. Scores are fractions or seconds as computed, never rounded; NaN stays NaN (JSON writes it as
//! null). Every prediction and every truth that the scores leave out is counted in a [`Coverage`].

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Compat, MetricError};

/// How many examples of what is missing or unknown are kept.
const EXAMPLES: usize = 3;

/// The numbers of one benchmark.
#[derive(Debug, Clone)]
pub struct Report {
    /// The evaluator's name.
    pub benchmark: &'static str,
    /// Whether faults of the original were reproduced; `None` where that makes no difference.
    pub compat: Option<Compat>,
    /// The scores, as people compare them.
    pub grids: Vec<Grid>,
    /// What was scored, what is missing.
    pub coverage: Coverage,
    /// What a reader of the numbers should know, in sentences.
    pub notes: Vec<String>,
    /// Scores by class, query or video, for programs.
    pub details: Map<String, Value>,
}

/// Scores that belong together, in rows and columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// What the numbers are.
    pub unit: Unit,
    /// Column names; one empty name where there is one column only.
    pub columns: Vec<String>,
    /// Rows with their names, a value for each column.
    pub rows: Vec<(String, Vec<f64>)>,
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A fraction, which people read as a percentage.
    Fraction,
    /// Seconds.
    Seconds,
}

impl Grid {
    /// Fractions in one column.
    pub fn list(rows: &[(&str, f64)]) -> Self {
        let rows = rows.iter().map(|(name, value)| ((*name).to_owned(), vec![*value])).collect();
        Self { unit: Unit::Fraction, columns: vec![String::new()], rows }
    }

    /// Name and value of each score: row and column, separated by a blank.
    pub fn scores(&self) -> impl Iterator<Item = (String, f64)> {
        self.rows.iter().flat_map(|(row, values)| {
            let name = move |column: &String| format!("{row} {column}").trim().to_owned();
            self.columns.iter().map(name).zip(values.iter().copied())
        })
    }
}

impl Report {
    /// All scores by name.
    pub fn scores(&self) -> impl Iterator<Item = (String, f64)> {
        self.grids.iter().flat_map(Grid::scores)
    }

    /// The score of that name; NaN where there is none, as for a score that is undefined.
    pub fn score(&self, name: &str) -> f64 {
        self.scores().find(|(found, _)| found == name).map_or(f64::NAN, |(_, value)| value)
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let scores: Map<String, Value> = self.scores().map(|(name, value)| (name, value.into())).collect();
        serde_json::json!({
            "benchmark": self.benchmark,
            "compat": self.compat.map(Compat::name),
            "scores": scores,
            "coverage": self.coverage,
            "notes": self.notes,
            "details": self.details,
        })
    }
}

/// What was asked, what was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// What is counted, in the plural: `queries`.
    pub of: &'static str,
    /// How many the annotations ask for.
    pub expected: usize,
    /// How many of those have a prediction.
    pub answered: usize,
    /// Those that have none.
    pub missing: Group,
    /// Predictions about something that is not in the annotations.
    pub unknown: Group,
    /// Predictions about something that has one already; the first counts.
    pub repeated: Group,
}

/// How many there are, and the first ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// How many.
    pub count: usize,
    /// The first ones.
    pub examples: Vec<String>,
}

impl Group {
    /// Counts one more.
    pub(super) fn add(&mut self, example: impl fmt::Display) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example.to_string());
        }
    }
}

impl fmt::Display for Group {
    /// `7 (clip-1, clip-2, clip-3, ...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.count > self.examples.len() { ", ..." } else { "" };
        write!(f, "{} ({}{more})", self.count, self.examples.join(", "))
    }
}

impl Coverage {
    /// Nothing was asked yet.
    pub fn new(of: &'static str) -> Self {
        Self { of, ..Self::default() }
    }

    /// Whether there is one prediction for everything and none for anything else.
    pub fn is_complete(&self) -> bool {
        [&self.missing, &self.unknown, &self.repeated].iter().all(|group| group.count == 0)
    }

    /// An incomplete coverage is an error unless it is allowed.
    pub(super) fn check(self, path: &Path, allowed: bool) -> Result<Self, MetricError> {
        if allowed || self.is_complete() {
            return Ok(self);
        }
        Err(MetricError::Incomplete { path: path.to_owned(), coverage: Box::new(self) })
    }
}

impl fmt::Display for Coverage {
    /// `3867 of 3874 queries, missing 7 (...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {}", self.answered, self.expected, self.of)?;
        for (name, group) in [("missing", &self.missing), ("unknown", &self.unknown), ("repeated", &self.repeated)] {
            if group.count > 0 {
                write!(f, ", {name} {group}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage() -> Coverage {
        let mut coverage = Coverage { expected: 9, answered: 4, ..Coverage::new("queries") };
        (0..5).for_each(|number| coverage.missing.add(number));
        coverage.unknown.add("x");
        coverage
    }

    #[test]
    fn what_is_missing_is_an_error_that_counts_it_unless_it_is_allowed() {
        let error = coverage().check(Path::new("pred.json"), false).unwrap_err().to_string();
        let expected =
            "pred.json: 4 of 9 queries, missing 5 (0, 1, 2, ...), unknown 1 (x); --allow-missing scores what is there";
        assert_eq!(error, expected);
        assert_eq!(coverage().check(Path::new("pred.json"), true).unwrap(), coverage());
        assert!(Coverage::new("queries").check(Path::new("pred.json"), false).is_ok());
    }

    #[test]
    fn scores_are_named_by_row_and_column_and_nan_is_null() {
        let grid = Grid {
            unit: Unit::Fraction,
            columns: vec!["IoU>0.3".into(), "IoU>0.5".into()],
            rows: vec![("R@1".into(), vec![0.5, f64::NAN])],
        };
        let report = Report {
            benchmark: "nlq",
            compat: Some(Compat::Fixed),
            grids: vec![grid, Grid::list(&[("mIoU", 0.25)])],
            coverage: coverage(),
            notes: Vec::new(),
            details: Map::new(),
        };
        let json = report.json();
        assert_eq!(json["scores"], serde_json::json!({"R@1 IoU>0.3": 0.5, "R@1 IoU>0.5": null, "mIoU": 0.25}));
        assert_eq!((json["compat"].as_str(), json["coverage"]["missing"]["count"].as_u64()), (Some("fixed"), Some(5)));
        assert_eq!(report.score("mIoU"), 0.25);
        assert!(report.score("mAP").is_nan());
    }
}
