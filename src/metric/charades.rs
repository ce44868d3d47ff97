//! Charades-Ego: mean average precision of 157 actions over whole videos.
//!
//! After the metrics of [EgoVLPv2](https://github.com/facebookresearch/EgoVLPv2) and EgoVLP, which differ where a class
//! occurs in no video. Not for the similarity of videos and sentences. A video without any action ranks behind all
//! others in every class.

use std::collections::HashMap;
use std::path::Path;

use ndarray::{Array2, ArrayView2};
use serde_json::{Map, json};

use super::arrays::{Rows, check_columns, read_matrix};
use super::report::{Coverage, Grid};
use super::{Evaluator, Input, Inputs, MetricError, Need, Report, rank};
use crate::benchmark::Tally;
use crate::benchmark::table::Table;

/// How many actions there are: `c000` to `c156`.
pub const NUM_CLASSES: usize = 157;

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "The scores, a matrix [videos, 157], .npy: each video against the sentences of the classes c000 to c156.",
    need: Need::One,
};
const ANNOTATIONS: Input =
    Input { name: "annotations", about: "The test videos: CharadesEgo_v1_test_only1st.csv.", need: Need::One };
const VIDEO_IDS: Input = Input {
    name: "video-ids",
    about: "What the rows of the matrix are: ids, one on each line. Without it, the order of the annotations.",
    need: Need::Optional,
};

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "charades",
    about: "Charades-Ego: mAP over 157 actions",
    inputs: &[PREDICTIONS, ANNOTATIONS, VIDEO_IDS],
    choices: &[],
    fixes: None,
    evaluate,
};

/// The numbers of Charades-Ego.
#[derive(Debug, Clone, PartialEq)]
pub struct CharadesScore {
    /// Average precision of each class; NaN where it occurs in no video.
    pub average_precision: Vec<f64>,
}

impl CharadesScore {
    /// The mean over classes that occur, as in EgoVLPv2. NaN where none does.
    pub fn mean_of_occurring(&self) -> f64 {
        let occurring: Vec<f64> = self.average_precision.iter().copied().filter(|value| !value.is_nan()).collect();
        occurring.iter().sum::<f64>() / occurring.len() as f64
    }

    /// The mean over all classes, as in EgoVLP: NaN as soon as one of them does not occur.
    pub fn mean_of_all(&self) -> f64 {
        self.average_precision.iter().sum::<f64>() / self.average_precision.len() as f64
    }
}

/// Scores a matrix `[videos, classes]` against labels of the same shape.
///
/// # Errors
///
/// Labels of another shape.
pub fn score(scores: ArrayView2<f64>, labels: ArrayView2<bool>) -> Result<CharadesScore, MetricError> {
    if scores.dim() != labels.dim() {
        let (expected, found) = (format!("{:?}", labels.dim()), format!("{:?}", scores.dim()));
        return Err(MetricError::Mismatch { what: "scores by video and class", expected, found });
    }
    let has_label: Vec<bool> = labels.outer_iter().map(|row| row.iter().any(|label| *label)).collect();
    let of_class = |class: usize| {
        let score = |video: usize| if has_label[video] { scores[(video, class)] } else { f64::NEG_INFINITY };
        average_precision(&rank::order(scores.nrows(), score), |video| labels[(video, class)])
    };
    Ok(CharadesScore { average_precision: (0..scores.ncols()).map(of_class).collect() })
}

/// The mean of precision at the ranks of positives; NaN without any.
fn average_precision(ranking: &[usize], is_positive: impl Fn(usize) -> bool) -> f64 {
    let (mut found, mut total) = (0.0, 0.0);
    for (rank, _) in ranking.iter().enumerate().filter(|(_, video)| is_positive(**video)) {
        found += 1.0;
        total += found / (rank + 1) as f64;
    }
    total / found
}

/// Ids of the videos, and what happens in each.
struct Truth {
    ids: Vec<String>,
    labels: Array2<bool>,
    dropped: usize,
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let truth = read_truth(inputs.one(&ANNOTATIONS)?)?;
    let scores = read_matrix(path)?;
    check_columns(path, scores.view(), NUM_CLASSES)?;
    let rows = Rows::of(inputs, VIDEO_IDS.name, path, scores.nrows(), &truth.ids, "videos")?;
    let labels = truth.labels.select(ndarray::Axis(0), &rows.kept());
    let score = score(rows.select(scores.view()).view(), labels.view())?;
    let coverage = rows.coverage.check(path, inputs.allow_missing)?;
    Ok(Report { notes: notes(&score, labels.view(), truth.dropped), ..report(&score, coverage) })
}

/// The report of a score, for those who have scores without files.
pub fn report(score: &CharadesScore, coverage: Coverage) -> Report {
    let grids = vec![Grid::list(&[
        ("mAP (classes that occur, EgoVLPv2)", score.mean_of_occurring()),
        ("mAP (all classes, EgoVLP)", score.mean_of_all()),
    ])];
    let mut details = Map::new();
    details.insert("average_precision".to_owned(), json!(score.average_precision));
    Report { benchmark: EVALUATOR.name, compat: None, grids, coverage, notes: Vec::new(), details }
}

fn notes(score: &CharadesScore, labels: ArrayView2<bool>, dropped: usize) -> Vec<String> {
    let absent = score.average_precision.iter().filter(|value| value.is_nan()).count();
    let unlabelled = labels.outer_iter().filter(|row| !row.iter().any(|label| *label)).count();
    let counts = [
        (absent, "classes occur in no video"),
        (unlabelled, "videos without an action rank behind all others"),
        (dropped, "actions of the annotations are no class from c000 to c156"),
    ];
    counts.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect()
}

/// The columns `id` and `actions`, which is `c092 11.90 21.20;c147 0.00 12.60` or empty.
fn read_truth(path: &Path) -> Result<Truth, MetricError> {
    let mut table = Table::open(path, b',')?;
    let (id, actions) = (table.column("id")?, table.column("actions")?);
    let mut tally = Tally::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    let (mut ids, mut happening, mut dropped) = (Vec::new(), Vec::new(), 0);
    while let Some(row) = table.next(&mut tally)? {
        let name = row.cell(id).to_owned();
        let video = *places.entry(name.clone()).or_insert(ids.len());
        if video == ids.len() {
            ids.push(name);
        }
        for action in row.cell(actions).split(';').map(str::trim).filter(|action| !action.is_empty()) {
            match class_of(action) {
                Some(class) => happening.push((video, class)),
                None => dropped += 1,
            }
        }
    }
    if let Some(finding) = tally.dropped.first() {
        return Err(MetricError::unexpected(path, "rows like the header", finding.to_string()));
    }
    let mut labels = Array2::from_elem((ids.len(), NUM_CLASSES), false);
    happening.into_iter().for_each(|place| labels[place] = true);
    Ok(Truth { ids, labels, dropped })
}

fn class_of(action: &str) -> Option<usize> {
    let class: usize = action.split_whitespace().next()?.strip_prefix('c')?.parse().ok()?;
    Some(class).filter(|class| *class < NUM_CLASSES)
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::super::samples;
    use super::*;

    #[track_caller]
    fn of(case: &serde_json::Value) -> CharadesScore {
        score(samples::matrix(&case["scores"]).view(), samples::matrix(&case["labels"]).mapv(|l| l > 0.0).view())
            .unwrap()
    }

    #[test]
    fn precision_is_the_original_one_by_both_conventions_for_absent_classes() {
        let worked = samples::json("charades_worked.json");
        let found = of(&worked);
        for (class, precision) in found.average_precision.iter().enumerate() {
            samples::close(*precision, &worked["ap"][class], "average precision");
        }
        samples::close(found.mean_of_occurring(), &worked["mAP_nanmean"], "mAP");
        assert!(found.mean_of_all().is_nan());
        for case in samples::json("charades.json")["cases"].as_array().unwrap() {
            let found = of(case);
            samples::close(found.mean_of_all(), &case["v1"]["mAP"], "EgoVLP");
            samples::close(found.mean_of_occurring(), &case["v2"]["mAP"], "EgoVLPv2");
            for (class, precision) in found.average_precision.iter().enumerate() {
                samples::close(*precision, &case["v2"]["per_class_ap"][class], "average precision");
            }
        }
    }

    #[test]
    fn a_video_without_an_action_ranks_last_whatever_its_score() {
        let scores = array![[0.9], [0.1]];
        assert_eq!(score(scores.view(), array![[false], [true]].view()).unwrap().average_precision, [1.0]);
    }

    #[test]
    fn another_shape_is_refused() {
        let error = score(array![[0.1]].view(), array![[true, false]].view()).unwrap_err().to_string();
        assert_eq!(error, "scores by video and class: expected (1, 2), found (1, 1)");
    }

    #[test]
    fn rows_are_found_by_id_and_missing_ones_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let csv = "id,actions\nA,c001 0 1;c156 2 3\nB,\nC,c001 4 5;c157 0 1\n";
        let mut scores = Array2::zeros((3, NUM_CLASSES));
        (scores[(0, 1)], scores[(1, 1)]) = (0.2, 0.9);
        let path = folder.path().join("scores.npy");
        ndarray_npy::write_npy(&path, &scores).unwrap();
        let inputs = Inputs::default().file("annotations", file("test.csv", csv)).file("predictions", &path);
        let report = evaluate(&inputs).unwrap();
        assert_eq!(report.notes[0], "155 classes occur in no video");
        assert_eq!(report.notes[2], "1 actions of the annotations are no class from c000 to c156");
        assert_eq!(report.score("mAP (classes that occur, EgoVLPv2)"), 1.0);
        let mut inputs = inputs.file("video-ids", file("ids", "C\nA\nX\n"));
        let text = evaluate(&inputs).unwrap_err().to_string();
        assert!(text.contains("2 of 3 videos, missing 1 (B), unknown 1 (X)"), "{text}");
        inputs.allow_missing = true;
        assert!(evaluate(&inputs).is_ok());
        file("ids", "C\nA\n");
        let text = evaluate(&inputs).unwrap_err().to_string();
        assert!(text.contains("ids: expected 3 names, one for each row of"), "{text}");
    }
}
