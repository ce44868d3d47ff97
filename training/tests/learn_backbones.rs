//! Backbones learn from scratch what a made-up world of videos teaches, and nothing where its labels are shuffled.
//!
//! Small, for every run of the tests: thresholds are far from chance and below what longer runs reach; see
//! `docs/benchmarks.md`.

mod common;
#[path = "common/worlds.rs"]
mod worlds;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use egofx::metric::{EVALUATORS, Inputs};
use egofx_train::experiment::Experiment;
use egofx_train::fit::{LAST_FILE, Surroundings};
use egofx_train::learner::Entry;
use egofx_train::predict::{self, Weights};
use egofx_train::ranks::World as Ranks;
use egofx_train::sources::{Sources, Split};
use egofx_train::sweep::{Request, unwatched};
use egofx_train::synthetic::{World, WorldPaths};
use serde_json::Value;

/// libtorch has one generator for all threads, so that runs must not draw side by side.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn made(folder: &Path, world: &World) -> WorldPaths {
    world.write(folder, &worlds::tools()).unwrap()
}

/// The scores of the last epoch, which its checkpoint's predictions have too, by the evaluator called `evaluator`.
fn learnt(text: &str, sources: &Sources, folder: &Path, evaluator: &str) -> Vec<(String, f64)> {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    tch::set_num_threads(1);
    let experiment = Experiment::parse(text).unwrap();
    let learner = Entry::find(&experiment.learner, folder).unwrap();
    let (world, interrupted) = (Ranks::single(), AtomicBool::new(false));
    let surroundings = Surroundings {
        device: common::device(),
        threads: 2,
        world: &world,
        interrupted: &interrupted,
        watch: &unwatched,
    };
    let request = Request {
        experiment: &experiment,
        sources,
        folder,
        surroundings: &surroundings,
        resume: false,
        init: &[],
        begin: &|_, _, _| (),
    };
    let finished = (learner.train)(&request).unwrap();
    let scores = finished.runs[0].outcome.last.clone();
    let asked = sources.split(Split::Validation).unwrap();
    let request = predict::Request {
        experiment: &experiment,
        weights: &[Weights { path: folder.join(LAST_FILE), fold: String::new() }],
        sources: &Sources { annotations: vec![(Split::Whole, asked.to_owned())], ..sources.clone() },
        surroundings: &surroundings,
    };
    let predicted = (learner.predict)(&request).unwrap();
    expect_score(evaluator, &predicted.submission, asked, &scores);
    scores
}

/// The evaluator's first number is among the scores.
fn expect_score(evaluator: &str, submission: &Value, annotations: &Path, scores: &[(String, f64)]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("submission.json");
    std::fs::write(&path, submission.to_string()).unwrap();
    let evaluator = EVALUATORS.iter().find(|found| found.name == evaluator).unwrap();
    let inputs = Inputs::default().file("predictions", path).file("annotations", annotations);
    let report = (evaluator.evaluate)(&inputs).unwrap();
    let (name, values) = &report.grids[0].rows[0];
    assert!(scores.iter().any(|(_, score)| (score - values[0]).abs() < 1e-9), "{name} {values:?}, not in {scores:?}");
}

fn of(scores: &[(String, f64)], name: &str) -> f64 {
    scores.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name} in {scores:?}")).1
}

fn sources(videos: &Path, train: &Path, val: &Path, tokenizer: Option<&PathBuf>) -> Sources {
    Sources {
        videos: vec![videos.to_owned()],
        tokenizer: tokenizer.cloned(),
        annotations: vec![(Split::Train, train.to_owned()), (Split::Validation, val.to_owned())],
        memory_bytes: 4 << 30,
        bases: worlds::bases(),
        ..Sources::default()
    }
}

fn with(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the experiment has no {from}");
        text.replace(from, to)
    })
}

#[test]
fn a_pretrained_backbone_tells_clips_of_different_videos_apart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World { videos: [60, 8], clips_per_video: 15, questions: 60, ..worlds::least() };
    let paths = made(folder.path(), &world);
    let sources = sources(&paths.videos, &paths.egoclip, &paths.egomcq, Some(&paths.tokenizers[1]));
    let text = include_str!("../configs/synthetic_pretrain_egovlpv2.toml");
    let text = with(text, &[("epochs = 30", "epochs = 5"), ("lr = 1e-3", "lr = 1.5e-3"), ("clip = 1.0", "clip = 5.0")]);
    let scores = learnt(&text, &sources, &folder.path().join("run"), "egomcq");
    println!("{scores:?}");
    // One of five is chance.
    assert!(of(&scores, "inter-video") > 0.5, "{scores:?}");
}

#[test]
fn changes_of_state_are_learnt_and_shuffled_ones_are_not() {
    let accuracy = |shuffled: bool| {
        let folder = tempfile::tempdir().unwrap();
        let world = World { changes: [180, 60], shuffled, ..worlds::least() };
        let paths = made(folder.path(), &world);
        let sources = sources(&paths.videos, &paths.oscc[0], &paths.oscc[1], None);
        let scores =
            learnt(include_str!("../configs/synthetic_oscc.toml"), &sources, &folder.path().join("run"), "oscc");
        println!("{scores:?}");
        of(&scores, "accuracy")
    };
    let (learnt, shuffled) = (accuracy(false), accuracy(true));
    assert!(learnt > 0.85, "{learnt}");
    assert!(shuffled < 0.7, "{shuffled}");
}

#[test]
fn questions_about_clips_are_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let world = World { intervals: [100, 24, 2], ..worlds::least() };
    let paths = made(folder.path(), &world);
    let qa = |split: &str| paths.qa_videos.with_file_name(format!("qa/direct/formatted_{split}_qas_encode.json"));
    let sources = sources(&paths.qa_videos, &qa("train"), &qa("val"), Some(&paths.tokenizers[1]));
    let text = include_str!("../configs/synthetic_egotaskqa.toml");
    let scores =
        learnt(&with(text, &[("epochs = 30", "epochs = 10")]), &sources, &folder.path().join("run"), "egotaskqa");
    println!("{scores:?}");
    assert!(of(&scores, "pooled") > 0.45, "{scores:?}");
}
