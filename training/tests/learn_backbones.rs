//! Backbones learn from scratch what a made-up world of videos teaches, and nothing where its labels are shuffled.
//!
//! Small, for every run of the tests: thresholds are far from chance and below what longer runs reach; see
//! `docs/benchmarks.md`.

mod common;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use egofx::decode::Tools;
use egofx_train::experiment::Experiment;
use egofx_train::fit::Surroundings;
use egofx_train::learner::Entry;
use egofx_train::ranks::World as Ranks;
use egofx_train::sources::{Sources, Split};
use egofx_train::sweep::{Request, unwatched};
use egofx_train::synthetic::{World, WorldPaths};

/// libtorch has one generator for all threads, so that runs must not draw side by side.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn made(folder: &Path, world: &World) -> WorldPaths {
    world.write(folder, &Tools::find(None, None, &[]).unwrap()).unwrap()
}

/// A world that holds nearly nothing, to be filled where a test needs it.
fn empty() -> World {
    World {
        side: 48,
        videos: [1, 5],
        clips_per_video: 5,
        questions: 10,
        changes: [2, 2],
        kitchens: [2, 2],
        homes: [2, 2],
        intervals: [2, 2, 2],
        ..World::small(3, false)
    }
}

/// The scores of the last epoch.
fn learnt(text: &str, sources: &Sources, folder: &Path) -> Vec<(String, f64)> {
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
    finished.runs[0].outcome.last.clone()
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
    let world = World { videos: [60, 8], clips_per_video: 15, questions: 60, ..empty() };
    let paths = made(folder.path(), &world);
    let sources = sources(&paths.videos, &paths.egoclip, &paths.egomcq, Some(&paths.tokenizers[1]));
    let text = include_str!("../configs/synthetic_pretrain_egovlpv2.toml");
    let text = with(text, &[("epochs = 30", "epochs = 5"), ("lr = 1e-3", "lr = 1.5e-3"), ("clip = 1.0", "clip = 5.0")]);
    let scores = learnt(&text, &sources, &folder.path().join("run"));
    println!("{scores:?}");
    // One of five is chance.
    assert!(of(&scores, "inter-video") > 0.5, "{scores:?}");
}

#[test]
fn changes_of_state_are_learnt_and_shuffled_ones_are_not() {
    let accuracy = |shuffled: bool| {
        let folder = tempfile::tempdir().unwrap();
        let world = World { changes: [180, 60], shuffled, ..empty() };
        let paths = made(folder.path(), &world);
        let sources = sources(&paths.videos, &paths.oscc[0], &paths.oscc[1], None);
        let scores = learnt(include_str!("../configs/synthetic_oscc.toml"), &sources, &folder.path().join("run"));
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
    let world = World { intervals: [100, 24, 2], ..empty() };
    let paths = made(folder.path(), &world);
    let qa = |split: &str| paths.qa_videos.with_file_name(format!("qa/direct/formatted_{split}_qas_encode.json"));
    let sources = sources(&paths.qa_videos, &qa("train"), &qa("val"), Some(&paths.tokenizers[1]));
    let text = include_str!("../configs/synthetic_egotaskqa.toml");
    let scores = learnt(&with(text, &[("epochs = 30", "epochs = 10")]), &sources, &folder.path().join("run"));
    println!("{scores:?}");
    assert!(of(&scores, "pooled") > 0.45, "{scores:?}");
}
