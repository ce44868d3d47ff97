//! `egofx-train evaluate` gives the losses and scores that the training's own validation had for the same checkpoint.

use std::path::Path;
use std::process::Output;

use egofx_train::checkpoint;
use egofx_train::metrics_log::{METRICS_FILE, read};
use egofx_train::synthetic::{Mq, Nlq, Qfvs, ShapesPaths};
use serde_json::Value;

use crate::support::{self, experiments::smaller};

/// Far above the last bits, and far below what another validation has.
const NEAR: f64 = 1e-6;

fn program(folder: &Path, line: &str) -> Output {
    let mut command = support::program();
    command.args(line.split(' ')).current_dir(folder).env("OMP_NUM_THREADS", "1").output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn run(folder: &Path, line: &str) -> Output {
    let output = program(folder, line);
    assert!(output.status.success(), "{line}: {}", words(&output));
    output
}

/// A shipped experiment in `folder`, of one epoch of small batches.
fn experiment(folder: &Path, name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (key, value) in [("epochs = ", "1"), ("batch = ", "4")] {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        text = text.replace(&format!("\n{line}\n"), &format!("\n{key}{value}\n"));
    }
    std::fs::write(folder.join("x.toml"), text).unwrap();
}

/// What the validation of the best checkpoint measured.
fn validated(run: &Path) -> Vec<(String, f64)> {
    let best = checkpoint::open(&run.join("best.safetensors")).unwrap().progress.best.unwrap();
    let entries = read(&run.join(METRICS_FILE)).unwrap();
    let entry = entries.iter().find(|entry| entry.split == "val" && entry.step == best.step).unwrap();
    entry.metrics.iter().map(|(name, value)| (name.clone(), value.as_f64().unwrap_or(f64::NAN))).collect()
}

#[track_caller]
fn same(scores: &Value, expected: &[(String, f64)]) {
    assert_eq!(scores.as_object().unwrap().len(), expected.len(), "{scores}, not {expected:?}");
    for (name, value) in expected {
        let found = scores[name].as_f64().unwrap_or(f64::NAN);
        assert!((found - value).abs() < NEAR || (found.is_nan() && value.is_nan()), "{name}: {found}, not {value}");
    }
}

/// Trains, and evaluates the folder of the run.
#[track_caller]
fn as_validated(folder: &Path, task: &str, data: &str, [train, val]: [&str; 2]) {
    run(folder, &format!("{task} -c x.toml {data} --device cpu --train {train} --val {val} -o run"));
    let output = run(folder, &format!("evaluate run {data} --device cpu --annotations {val} --json"));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["task"], task);
    same(&json["scores"], &validated(&folder.join("run")));
}

fn name<'p>(folder: &Path, path: &'p Path) -> &'p str {
    path.strip_prefix(folder).unwrap().to_str().unwrap()
}

#[test]
fn nlq_is_scored_as_it_was_validated_and_a_split_without_windows_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    experiment(folder, "synthetic_nlq.toml");
    Nlq { clips: [24, 8], ..Nlq::small(1, false) }.write(folder).unwrap();
    let data = "--features nlq-windows --tokens nlq-tokens";
    as_validated(folder, "nlq", data, ["nlq_train.json", "nlq_val.json"]);

    let told = run(folder, &format!("predict run {data} --device cpu --annotations nlq_val.json -o x.json"));
    let scores = validated(&folder.join("run"));
    let score = scores.iter().find(|(name, _)| name == "R@1 IoU>0.3").unwrap().1;
    let row = words(&told).lines().find(|line| line.contains("R@1 IoU>0.3")).unwrap().to_owned();
    assert!(row.ends_with(&format!(" {:.2}", 100.0 * score)), "{row}, not {score}");
    let table =
        String::from_utf8(run(folder, &format!("evaluate run {data} --annotations nlq_val.json")).stdout).unwrap();
    assert!(table.contains("* R@1 IoU>0.5") && table.contains("loss"), "{table}");

    // As the test split is published.
    let text = std::fs::read_to_string(folder.join("nlq_val.json")).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    without_windows(&mut json);
    std::fs::write(folder.join("test.json"), json.to_string()).unwrap();
    let told = run(folder, &format!("predict run {data} --device cpu --annotations test.json -o y.json"));
    assert!(words(&told).contains("the annotations have no truths"), "{}", words(&told));
    let refused = program(folder, &format!("evaluate run {data} --device cpu --annotations test.json"));
    assert_eq!(refused.status.code(), Some(2), "{}", words(&refused));
    assert!(words(&refused).contains("test.json: expected samples with their truths"), "{}", words(&refused));
}

/// Takes away what says where the answers lie.
fn without_windows(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            if fields.contains_key("query") {
                fields.retain(|name, _| !name.ends_with("_sec") && !name.ends_with("_frame"));
            }
            fields.values_mut().for_each(without_windows);
        }
        Value::Array(values) => values.iter_mut().for_each(without_windows),
        _ => {}
    }
}

#[test]
fn mq_is_scored_as_it_was_validated_with_what_a_head_keeps_beside_its_weights() {
    for (learner, rows) in [("actionformer", 64), ("vsgn", 64)] {
        let made = tempfile::tempdir().unwrap();
        let folder = made.path();
        experiment(folder, &format!("synthetic_mq_{learner}.toml"));
        let paths = Mq { clips: [12, 4], rows, ..Mq::small(1, false) }.write(folder).unwrap();
        let data = format!("--features {}", name(folder, &paths.features));
        as_validated(folder, "mq", &data, paths.annotations.each_ref().map(|path| name(folder, path)));
    }
}

#[test]
fn each_fold_of_qfvs_is_scored_by_the_run_that_left_it_out() {
    let made = tempfile::tempdir().unwrap();
    let folder = made.path();
    experiment(folder, "synthetic_qfvs.toml");
    let paths = Qfvs { shots: 230, pairs: 4, ..Qfvs::small(1, false) }.write(folder).unwrap();
    let [features, shots, tags] = [&paths.features, &paths.shots, &paths.tags].map(|path| name(folder, path));
    let data = format!(
        "--features {features} --shots {shots} --tags {tags} --annotations {} --device cpu",
        name(folder, &paths.oracle_summaries)
    );
    run(folder, &format!("qfvs -c x.toml {data} -o run"));
    let json: Value = serde_json::from_slice(&run(folder, &format!("evaluate run {data} --json")).stdout).unwrap();
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 4);
    let mut sum = 0.0;
    for one in runs {
        same(&one["scores"], &validated(&folder.join(format!("run/fold-{}", one["fold"].as_str().unwrap()))));
        sum += one["scores"]["F1"].as_f64().unwrap();
    }
    assert!((json["scores"]["F1"].as_f64().unwrap() - sum / 4.0).abs() < NEAR);
    let table = String::from_utf8(run(folder, &format!("evaluate run {data}")).stdout).unwrap();
    assert!(table.contains("P01") && table.contains("mean"), "{table}");
}

/// Of the experiment at `x.toml` in `folder`.
fn backbone_as_validated(folder: &Path, task: &str, train: &Path, val: &Path) {
    let ShapesPaths { videos, qa_videos, tokenizers, .. } = super::world();
    let videos = if task == "egotaskqa" { qa_videos } else { videos };
    let data = format!("--videos {} --tokenizer {}", videos.display(), tokenizers[1].display());
    as_validated(folder, task, &data, [train, val].map(|path| path.to_str().unwrap()));
}

#[test]
fn backbones_are_scored_as_they_were_validated() {
    let ShapesPaths { egoclip, egomcq, charades, .. } = super::world();
    for (task, config, train, val) in [
        ("pretrain", "synthetic_pretrain_egovlpv2.toml", egoclip, egomcq),
        ("charades", "synthetic_charades.toml", &charades.train, &charades.test),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::rename(smaller(folder.path(), config), folder.path().join("x.toml")).unwrap();
        backbone_as_validated(folder.path(), task, train, val);
    }
}

#[test]
#[ignore = "long: four trainings of backbones"]
fn all_other_backbones_are_scored_as_they_were_validated() {
    let ShapesPaths { oscc, epic, qa, .. } = super::world();
    let [questions, validated, _] = &qa[0].questions;
    for (task, train, val) in [
        ("oscc", &oscc[0], &oscc[1]),
        ("pnr", &oscc[0], &oscc[1]),
        ("mir", &epic[0].clips, &epic[1].clips),
        ("egotaskqa", questions, validated),
    ] {
        let folder = tempfile::tempdir().unwrap();
        experiment(folder.path(), &format!("synthetic_{task}.toml"));
        backbone_as_validated(folder.path(), task, train, val);
    }
}
