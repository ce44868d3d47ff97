//! QFVS: how well the shots of a summary match those of the true one, by the concepts that they show.
//!
//! After `semantic_evaluation.py` of [EgoVLPv2](https://github.com/facebookresearch/EgoVLPv2). Not for choosing shots
//! out of a video's features. Shots are numbered from 1 in files, as in the official ones, and from 0 in code.

mod matching;
mod summaries;
mod tags;

use serde_json::{Map, json};

use super::report::{Coverage, Grid, Unit};
use super::{Compat, Evaluator, Input, Inputs, MetricError, Need, Report};

pub use matching::{SemanticMatch, semantic_iou, semantic_match, summary_of};
pub use summaries::{Summaries, Summary};
pub use tags::{ShotTags, WHAT, answer, read_tags, tags_of};

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "The summaries, by video and pair of concepts. A folder like the official one \
            (P01/Cupglass_Desk_oracle.txt, a shot from 1 on each line), or JSON: {\"P01\": {\"Cupglass_Desk\": \
            [1, 39, ...]}}; {\"scores\": [...]} in place of the shots, one for each shot of the video, takes the best \
            2 % of them.",
    need: Need::One,
};
const ANNOTATIONS: Input =
    Input { name: "annotations", about: "The truth: the folder Oracle_Summaries.", need: Need::One };
const TAGS: Input = Input {
    name: "tags",
    about: "The concepts of each shot: Tags.mat as published, or JSON: {\"P01\": [[0, 1, ...], ...]}.",
    need: Need::One,
};

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "qfvs",
    about: "query-focused summaries: precision, recall and F1 of matched shots",
    inputs: &[PREDICTIONS, ANNOTATIONS, TAGS],
    choices: &[],
    fixes: Some("a summary that matches nothing has F1 0 instead of 0/0, which spoils the mean"),
    evaluate,
};

/// Means over queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QfvsScore {
    /// Mean precision.
    pub precision: f64,
    /// Mean recall.
    pub recall: f64,
    /// Mean F1; not the F1 of the means.
    pub f1: f64,
    /// Queries whose F1 is 0/0.
    pub undefined: usize,
}

/// The means over the queries of a video; NaN without any.
pub fn score(matches: &[SemanticMatch], compat: Compat) -> QfvsScore {
    let mean = |value: fn(&SemanticMatch) -> f64| matches.iter().map(value).sum::<f64>() / matches.len() as f64;
    let undefined = matches.iter().filter(|found| found.f1().is_nan()).count();
    let f1 = match compat {
        Compat::AsReleased => mean(SemanticMatch::f1),
        Compat::Fixed => mean(|found| if found.f1().is_nan() { 0.0 } else { found.f1() }),
    };
    QfvsScore { precision: mean(|found| found.precision), recall: mean(|found| found.recall), f1, undefined }
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let truths = Summaries::read(inputs.one(&ANNOTATIONS)?)?;
    let tags_path = inputs.one(&TAGS)?;
    let tags = read_tags(tags_path)?;
    let machine = Summaries::read(path)?;
    let coverage = coverage(&truths, &machine).check(path, inputs.allow_missing)?;
    let mut rows = Vec::new();
    let mut details = Map::new();
    for (video, queries) in &truths.videos {
        let tags = tags_of(&tags, video, tags_path)?;
        let mut matches = Vec::new();
        for (query, truth) in queries {
            let Some(machine) = machine.find(video, query) else { continue };
            let found = semantic_match(tags, &machine.shots(tags.len(), path)?, &truth.shots(tags.len(), path)?)?;
            let numbers = json!({"precision": found.precision, "recall": found.recall, "f1": found.f1()});
            details.insert(format!("{video} {query}"), numbers);
            matches.push(found);
        }
        if !matches.is_empty() {
            rows.push((video.clone(), score(&matches, inputs.compat)));
        }
    }
    Ok(report(&rows, coverage, inputs.compat, details))
}

fn coverage(truths: &Summaries, machine: &Summaries) -> Coverage {
    let mut coverage = Coverage::new("queries");
    for (video, query) in truths.names() {
        coverage.expected += 1;
        match machine.find(video, query) {
            Some(_) => coverage.answered += 1,
            None => coverage.missing.add(format_args!("{video}/{query}")),
        }
    }
    for (video, query) in machine.names().filter(|(video, query)| truths.find(video, query).is_none()) {
        coverage.unknown.add(format_args!("{video}/{query}"));
    }
    coverage
}

fn report(
    videos: &[(String, QfvsScore)],
    coverage: Coverage,
    compat: Compat,
    details: Map<String, serde_json::Value>,
) -> Report {
    let numbers = |score: &QfvsScore| vec![score.precision, score.recall, score.f1];
    let mut rows: Vec<(String, Vec<f64>)> =
        videos.iter().map(|(video, score)| (video.clone(), numbers(score))).collect();
    let mean = |column: usize| rows.iter().map(|(_, row)| row[column]).sum::<f64>() / rows.len() as f64;
    let means = vec![mean(0), mean(1), mean(2)];
    rows.push(("mean of videos".to_owned(), means));
    let columns = ["precision", "recall", "F1"].map(str::to_owned).to_vec();
    let undefined: usize = videos.iter().map(|(_, score)| score.undefined).sum();
    let note = format!("{undefined} summaries match nothing: their F1 is 0/0");
    let notes = if undefined > 0 { vec![note] } else { Vec::new() };
    let grids = vec![Grid { unit: Unit::Fraction, columns, rows }];
    Report { benchmark: EVALUATOR.name, compat: Some(compat), grids, coverage, notes, details }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    const LINES: [(&str, &str); 2] = [("a_b_oracle.txt", "1\n4\n"), ("c_d_oracle.txt", "2\n\n3\n")];

    /// Truth, tags and predictions in a folder.
    fn shop(predictions: &str) -> (tempfile::TempDir, Inputs) {
        let folder = tempfile::tempdir().unwrap();
        let video = folder.path().join("truth/P01");
        std::fs::create_dir_all(&video).unwrap();
        for (name, lines) in LINES {
            std::fs::write(video.join(name), lines).unwrap();
        }
        let tags = "{\"P01\": [[1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0]]}";
        std::fs::write(folder.path().join("tags.json"), tags).unwrap();
        std::fs::write(folder.path().join("pred.json"), predictions).unwrap();
        let file = |name: &str| folder.path().join(name);
        let inputs = Inputs::default()
            .file("predictions", file("pred.json"))
            .file("annotations", file("truth"))
            .file("tags", file("tags.json"));
        (folder, inputs)
    }

    #[test]
    fn shots_are_numbered_from_one_and_queries_averaged_by_video() {
        let (_folder, inputs) = shop("{\"P01\": {\"a_b\": [1, 4], \"c_d\": [2, 1]}}");
        let report = evaluate(&inputs).unwrap();
        // Shot 2 matches itself, and shot 3 shows nothing.
        assert_eq!(report.score("P01 precision"), f64::midpoint(1.0, 0.5));
        assert_eq!(report.score("mean of videos F1"), 0.75);
        assert_eq!(report.coverage.to_string(), "2 of 2 queries");
    }

    #[test]
    fn a_summary_that_matches_nothing_poisons_the_mean_as_released_only() {
        let (_folder, mut inputs) = shop("{\"P01\": {\"a_b\": [3], \"c_d\": [2, 3]}}");
        let report = evaluate(&inputs).unwrap();
        assert!(report.score("P01 F1").is_nan());
        assert_eq!(report.notes, ["1 summaries match nothing: their F1 is 0/0"]);
        inputs.compat = Compat::Fixed;
        assert_eq!(evaluate(&inputs).unwrap().score("P01 F1"), 0.25);
    }

    #[test]
    fn scores_take_the_best_two_percent_truncated() {
        for pair in samples::json("qfvs.json")["summary_size"].as_array().unwrap() {
            let pair = samples::indices(pair);
            assert_eq!(summary_of(&vec![0.0; pair[0]]).len(), pair[1], "of {} shots", pair[0]);
        }
        let scores: Vec<f64> = (0..100).map(|shot| if shot == 7 || shot >= 98 { 1.0 } else { 0.5 }).collect();
        assert_eq!(summary_of(&scores), [7, 98], "the first of equal scores");
    }

    #[test]
    fn what_is_missing_unknown_or_out_of_range_is_named() {
        let (_folder, inputs) = shop("{\"P01\": {\"a_b\": [1]}, \"P09\": {\"a_b\": [1]}}");
        let text = evaluate(&inputs).unwrap_err().to_string();
        assert!(text.contains("1 of 2 queries, missing 1 (P01/c_d), unknown 1 (P09/a_b)"), "{text}");
        for (shots, words) in [
            ("[5]", "shots from 1 to 4, found 5 in P01/a_b"),
            ("[0]", "shots from 1 to 4, found 0 in P01/a_b"),
            ("[]", "at least one shot, found none in P01/a_b"),
            ("{\"scores\": [1, 2]}", "4 scores, found 2 in P01/a_b"),
        ] {
            let (_folder, inputs) = shop(&format!("{{\"P01\": {{\"a_b\": {shots}, \"c_d\": [1]}}}}"));
            let text = evaluate(&inputs).unwrap_err().to_string();
            assert!(text.contains("pred.json: expected ") && text.ends_with(words), "{text}");
        }
    }
}
