//! Finding a learning rate: the range test of an experiment's first run, and what its curve suggests.
//!
//! Not for the steps, see `trainer`. Nothing is kept of the weights. The suggestion is Lightning's: where the smoothed loss falls
//! most steeply over steps, the first ten and the last one left out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use egofx::durable;

use crate::curves;
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::learner::{Dataset, Model, Task};
use crate::sources::Sources;
use crate::trainer::Run;
use crate::trainer::context::Surroundings;
use crate::trainer::lr_range::{LrPoint, LrRange};

/// The table: rate, loss, smoothed loss.
pub const TABLE_FILE: &str = "lr_find.csv";
/// The curve, as SVG.
pub const CURVE_FILE: &str = "lr_find.svg";
/// The first points, of which a running mean says little.
const SKIP_BEGIN: usize = 10;
/// The last points, at which the loss rises.
const SKIP_END: usize = 1;

/// What is asked for.
pub struct Request<'r> {
    /// The experiment.
    pub experiment: &'r Experiment,
    /// What it reads.
    pub sources: &'r Sources,
    /// Where the table and the curve are written.
    pub folder: &'r Path,
    /// Where it computes.
    pub surroundings: &'r Surroundings<'r>,
    /// Files of first weights, the later over the earlier.
    pub init: &'r [PathBuf],
    /// The rates that are tried.
    pub range: LrRange,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct LrFound {
    /// The steps.
    pub points: Vec<LrPoint>,
    /// The rate that is suggested; `None` where there are too few points, or the loss never falls.
    pub suggestion: Option<f64>,
}

/// Tests model `M`.
///
/// # Errors
/// As for [`Run::open`] and [`Run::lr_range`]; rates that are none.
pub fn run<M: Model>(request: &Request) -> Result<LrFound, TrainError> {
    let Request { experiment, sources, folder, surroundings, init, range } = *request;
    let why = |why| TrainError::Experiment { path: folder.to_owned(), why };
    if experiment.train.optimizer.lr <= 0.0 {
        return Err(why(
            "train.optimizer.lr is 0, expected more: rates of single parameters are reckoned from it".to_owned()
        ));
    }
    let members = experiment.members().map_err(why)?;
    let data = Dataset::<M>::open(folder, &members[0].experiment, sources)?;
    data.task.expect_truths()?;
    let folds = data.task.folds();
    let points = Run::open(surroundings, &members[0], &data, &folds[0], folder, false, init)?.lr_range(&range)?;
    if points.is_empty() {
        return Err(why(format!(
            "the loss of the first step, at the rate {:e}, is not a number: try another --init or precision",
            range.min_lr
        )));
    }
    let found = LrFound { suggestion: suggestion(&points), points };
    found.write(folder)?;
    Ok(found)
}

impl LrFound {
    fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let mut table = "lr,loss,smoothed_loss\n".to_owned();
        for LrPoint { lr, loss, smoothed_loss } in &self.points {
            let _ = writeln!(table, "{lr:e},{loss},{smoothed_loss}");
        }
        let path = folder.join(TABLE_FILE);
        durable::write_bytes(&path, table.as_bytes()).map_err(TrainError::io("write", &path))?;
        let losses: Vec<[f64; 3]> =
            self.points.iter().map(|point| [point.lr, point.loss, point.smoothed_loss]).collect();
        Ok(curves::lr_find::draw(&losses, self.suggestion, &folder.join(CURVE_FILE))?)
    }
}

/// Where the smoothed loss falls most steeply.
fn suggestion(points: &[LrPoint]) -> Option<f64> {
    let points = points.get(SKIP_BEGIN..points.len().checked_sub(SKIP_END)?)?;
    let slope = |at: usize| {
        let (before, after) = (at.saturating_sub(1), (at + 1).min(points.len() - 1));
        (points[after].smoothed_loss - points[before].smoothed_loss) / (after - before).max(1) as f64
    };
    let steepest = (0..points.len()).map(|at| (at, slope(at))).min_by(|a, b| a.1.total_cmp(&b.1))?;
    (steepest.1 < 0.0).then(|| points[steepest.0].lr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(losses: impl Iterator<Item = f64>) -> Vec<LrPoint> {
        let point = |(step, loss): (i32, f64)| LrPoint { lr: 10f64.powi(step), loss, smoothed_loss: loss };
        (0..).zip(losses).map(point).collect()
    }

    #[test]
    fn the_steepest_fall_is_suggested_and_none_where_there_is_none() {
        // Flat, a fall around step 15, a rise.
        let losses = [5.0, 5.0, 5.0, 4.8, 3.0, 1.5, 1.4, 1.4, 9.0];
        let curve = points(std::iter::repeat_n(5.0, 11).chain(losses));
        assert_eq!(suggestion(&curve), Some(1e15));
        assert_eq!(suggestion(&curve[..11]), None);
        assert_eq!(suggestion(&points((0..30).map(f64::from))), None);
        assert_eq!(suggestion(&[]), None);
    }
}
