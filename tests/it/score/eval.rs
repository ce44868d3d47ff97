//! `egofx eval` and `egofx postprocess`: official numbers from the program, and what it says when files do not fit.
//!
//! The numbers themselves are tested beside each evaluator. Invariant: nothing is written where a command fails.

use std::fs;

use egofx::compat::Compat;
use egofx::metric::Scoring;
use serde_json::Value;

use crate::support::{Outcome, Workshop, checkout, json};

/// A file of `tests/data/metrics`.
fn data(name: &str) -> String {
    checkout().join("tests/data/metrics").join(name).display().to_string()
}

fn eval(arguments: &str) -> Outcome {
    Workshop::new().egofx(&format!("eval {arguments}"))
}

fn nlq(flags: &str) -> Outcome {
    eval(&format!("nlq -p {} -a {} {flags}", data("nlq/pred.json"), data("nlq/gt.json")))
}

#[test]
fn the_table_is_for_people_and_json_for_machines() {
    let outcome = nlq("--allow-missing").ends_with(0);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "nlq, as-released: 7 of 8 queries");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["IoU>0.3", "IoU>0.5", "IoU>0.01"]);
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["R@1", "42.86", "28.57", "57.14"]);
    assert_eq!(lines.last().unwrap().split_whitespace().collect::<Vec<_>>(), ["mIoU", "NaN"]);
    outcome
        .says(&["note: 1 with an overlap of 0/0", "egofx: incomplete: 7 of 8 queries, missing 1 (clip-0003/ann-01/1)"]);
    let report = json(&nlq("--allow-missing --json").ends_with(0).stdout);
    assert_eq!(report["scores"]["R@1 IoU>0.5"], 2.0 / 7.0);
    assert_eq!((&report["scores"]["mIoU"], &report["compat"]), (&Value::Null, &"as-released".into()));
    assert_eq!(report["coverage"]["missing"]["examples"], serde_json::json!(["clip-0003/ann-01/1"]));
}

#[test]
fn fixed_is_a_choice_that_is_printed() {
    let outcome = nlq("--allow-missing --compat fixed").ends_with(0);
    assert!(outcome.stdout.starts_with("nlq, fixed: 7 of 8 queries\n"), "{outcome}");
    assert!(!outcome.stdout.contains("NaN"), "{outcome}");
}

/// As `egofx-train predict` leaves them.
#[test]
fn predictions_with_a_note_are_scored_as_it_says_and_nothing_else() {
    let shop = Workshop::new();
    let predictions = shop.path("pred.json");
    fs::copy(checkout().join("tests/data/metrics/nlq/pred.json"), &predictions).unwrap();
    let scoring = Scoring::of(&predictions, "nlq", Compat::Fixed).unwrap();
    fs::write(Scoring::path(&predictions), scoring.to_json()).unwrap();
    let eval =
        |flags: &str| shop.egofx(&format!("eval nlq -p pred.json -a {} --allow-missing {flags}", data("nlq/gt.json")));
    let outcome = eval("").ends_with(0);
    assert!(outcome.stdout.starts_with("nlq, fixed: 7 of 8 queries\n"), "{outcome}");
    assert_eq!(outcome.stdout, eval("--compat fixed").ends_with(0).stdout);
    eval("--compat as-released").ends_with(2).says(&["pred.json.scoring.json: ", "leave --compat out"]);
    fs::write(&predictions, "{}").unwrap();
    eval("").ends_with(2).says(&["pred.json.scoring.json: expected the SHA-256 of "]);
}

#[test]
fn an_incomplete_submission_is_a_bad_request_that_counts() {
    let outcome = nlq("").ends_with(2);
    assert_eq!(outcome.stdout, "");
    outcome.says(&["pred.json: 7 of 8 queries, missing 1 (clip-0003/ann-01/1); --allow-missing scores what is there"]);
}

#[test]
fn every_benchmark_says_what_it_reads() {
    let all = eval("--help").ends_with(0).stdout;
    for evaluator in egofx::metric::EVALUATORS {
        assert!(all.contains(evaluator.about), "{}: {all}", evaluator.name);
        let help = eval(&format!("{} --help", evaluator.name)).ends_with(0).stdout;
        let flags = evaluator.inputs.iter().map(|input| input.name).chain(evaluator.choices.iter().map(|c| c.name));
        for flag in flags.chain(["allow-missing", "json"]) {
            assert!(help.contains(&format!("--{flag}")), "{}: {help}", evaluator.name);
        }
        assert_eq!(help.contains("--compat"), evaluator.fixes.is_some(), "{}", evaluator.name);
        eval(evaluator.name).ends_with(2).says(&["required"]);
    }
    eval("ego5d").ends_with(2).says(&["unrecognized subcommand 'ego5d'"]);
    eval("nlq --tags x").ends_with(2).says(&["unexpected argument '--tags'"]);
}

#[test]
fn files_that_are_none_are_named() {
    let shop = Workshop::new();
    shop.write("pred.json", "{\"results\": [");
    let annotations = data("nlq/gt.json");
    shop.egofx(&format!("eval nlq -p pred.json -a {annotations}")).ends_with(2).says(&["pred.json: results", "line 1"]);
    shop.egofx(&format!("eval nlq -p nowhere.json -a {annotations}"))
        .ends_with(2)
        .says(&["nowhere.json: cannot be read: No such file"]);
    shop.egofx(&format!("eval nlq -p pred.json -a {}", data("mq/moments_val.json")))
        .ends_with(2)
        .says(&["moments_val.json: "]);
    shop.write("scores.npy", "no numbers");
    shop.write("egomcq.json", "{\"0\": {\"answer\": 1, \"types\": 1}}");
    shop.egofx("eval egomcq -p scores.npy -a egomcq.json").ends_with(2).says(&["scores.npy: no .npy matrix of floats"]);
}

#[test]
fn moments_are_scored_by_both_protocols() {
    let (submission, annotations) = (data("mq/submission_expected.json"), data("mq/moments_val.json"));
    let report = json(&eval(&format!("mq -p {submission} -a {annotations} --json")).ends_with(0).stdout);
    assert!((report["scores"]["average mAP"].as_f64().unwrap() - 0.846875).abs() < 1e-12);
    assert_eq!(report["scores"]["recall tIoU>0.5 @1x"], 0.75);
    assert_eq!(report["details"]["average_precision"]["use_phone"][0], 0.6875);
    let other = eval(&format!("mq -p {submission} -a {annotations} --protocol actionformer")).ends_with(0);
    assert!(other.stdout.starts_with("mq: 3 of 3 clips\n"), "{other}");
    other.says(&["recall is not comparable with Ego4D's"]);
}

/// The fixture's proposals as VSGN's tables, in `proposals`.
fn proposals(shop: &Workshop) {
    fs::create_dir(shop.path("proposals")).unwrap();
    let file = json(&fs::read_to_string(data("mq/proposals.json")).unwrap());
    for (clip, rows) in file["clips"].as_object().unwrap() {
        let cell = |cell: &Value| cell.to_string();
        let line = |row: &Value| row.as_array().unwrap().iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
        let lines: String = rows.as_array().unwrap().iter().map(line).collect();
        shop.write(&format!("proposals/{clip}.csv"), format!("xmin,xmax,score,label\n{lines}"));
    }
}

fn postprocess(shop: &Workshop, method: &str, flags: &str) -> Outcome {
    let (annotations, classes) = (data("mq/moments_val.json"), data("mq/moment_classes_idx.json"));
    shop.egofx(&format!("postprocess {method} -p proposals -a {annotations} --classes {classes} -o out.json {flags}"))
}

#[test]
fn proposals_become_the_original_submission_and_its_score() {
    let shop = Workshop::new();
    proposals(&shop);
    postprocess(&shop, "vsgn", "").ends_with(0).says(&["vsgn, as-released: 3 clips, 39 moments detected"]);
    let written = json(&fs::read_to_string(shop.path("out.json")).unwrap());
    let expected = json(&fs::read_to_string(data("mq/submission_expected.json")).unwrap());
    assert_eq!(written, expected);
    let report = shop.egofx(&format!("eval mq -p out.json -a {} --json", data("mq/moments_val.json"))).ends_with(0);
    assert!((json(&report.stdout)["scores"]["average mAP"].as_f64().unwrap() - 0.846875).abs() < 1e-12);
    postprocess(&shop, "vsgn", "").ends_with(0);
    postprocess(&shop, "vsgn", "--compat fixed")
        .ends_with(2)
        .says(&["out.json exists already", "--force overwrites it"]);
    postprocess(&shop, "vsgn", "--force --compat fixed")
        .ends_with(0)
        .says(&["vsgn, fixed: 3 clips, 42 moments detected"]);
}

#[test]
fn anybodys_detections_are_processed_again() {
    let shop = Workshop::new();
    let detections = data("mq/detections_expected.json");
    let annotations = data("mq/moments_val.json");
    shop.egofx(&format!("postprocess actionformer -p {detections} -a {annotations} -o new/out.json"))
        .ends_with(0)
        .says(&["actionformer, as-released: 3 clips, 39 moments detected"]);
    shop.egofx(&format!("eval mq -p new/out.json -a {annotations}")).ends_with(0);
    shop.egofx(&format!("postprocess vsgn -p {detections} -a {annotations} -o b.json --voting 0.9"))
        .ends_with(2)
        .says(&["--voting belongs to actionformer"]);
    assert!(!shop.path("b.json").exists());
}

#[test]
fn clips_without_proposals_are_counted_and_nothing_is_written() {
    let shop = Workshop::new();
    proposals(&shop);
    fs::remove_file(shop.path("proposals/clip-2.csv")).unwrap();
    let counted = "2 of 3 clips, missing 1 (clip-2)";
    postprocess(&shop, "vsgn", "").ends_with(2).says(&[counted]);
    assert!(!shop.path("out.json").exists());
    postprocess(&shop, "vsgn", "--allow-missing").ends_with(0).says(&[counted]);
    let written = json(&fs::read_to_string(shop.path("out.json")).unwrap());
    assert_eq!(written["detect_results"]["clip-2"], serde_json::json!([]));
    shop.write("proposals/clip-2.csv", "xmin,xmax,score,label\n1,2,0.5,77\n");
    postprocess(&shop, "vsgn", "--force")
        .ends_with(2)
        .says(&["clip-2.csv: expected three numbers and a class below 5 in row 1, found 1,2,0.5,77"]);
    let annotations = data("mq/moments_val.json");
    shop.egofx(&format!("postprocess vsgn -p proposals -a {annotations} -o c.json"))
        .ends_with(2)
        .says(&["--classes is needed"]);
}
