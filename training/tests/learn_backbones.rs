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
use egofx_train::behaviour::Behaviour;
use egofx_train::experiment::Experiment;
use egofx_train::fit::{LAST_FILE, Surroundings};
use egofx_train::learner::Entry;
use egofx_train::predict::{self, Weights};
use egofx_train::ranks::World as Ranks;
use egofx_train::sources::{Sources, Split};
use egofx_train::submission::Submission;
use egofx_train::sweep::{Request, unwatched};
use egofx_train::synthetic::{World, WorldPaths};

/// libtorch has one generator for all threads, so that runs must not draw side by side.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn made(folder: &Path, world: &World) -> WorldPaths {
    world.write(folder, &worlds::tools()).unwrap()
}

/// The scores of the last epoch, which its checkpoint's predictions have too, by the evaluator called `evaluator`.
fn learnt(text: &str, sources: &Sources, folder: &Path, evaluator: &str) -> Vec<(String, f64)> {
    tuned(text, sources, folder, evaluator, &[])
}

/// As [`learnt`], from the weights of another run.
fn tuned(text: &str, sources: &Sources, folder: &Path, evaluator: &str, init: &[PathBuf]) -> Vec<(String, f64)> {
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
        init,
        begin: &|_, _, _| (),
    };
    let finished = (learner.train)(&request).unwrap();
    let scores = finished.runs[0].outcome.last.clone();
    let asked = sources.split(Split::Validation).unwrap();
    let submission = folder.join("submission");
    let names = predicted(&experiment, &folder.join(LAST_FILE), sources, &surroundings).write(&submission).unwrap();
    let evaluated = evaluated(evaluator, &submission, names.as_deref(), asked);
    let (name, value) = &evaluated[0];
    assert!(scores.iter().any(|(_, score)| (score - value).abs() < 1e-9), "{name} {value}, not in {scores:?}");
    scores
}

fn predicted(experiment: &Experiment, weights: &Path, sources: &Sources, surroundings: &Surroundings) -> Submission {
    let asked = sources.split(Split::Validation).unwrap();
    let request = predict::Request {
        experiment,
        weights: &[Weights { path: weights.to_owned(), fold: String::new() }],
        sources: &Sources { annotations: vec![(Split::Whole, asked.to_owned())], ..sources.clone() },
        surroundings,
    };
    (Entry::find(&experiment.learner, weights).unwrap().predict)(&request).unwrap().submission
}

/// What the evaluator says of a submission.
fn evaluated(evaluator: &str, submission: &Path, names: Option<&Path>, annotations: &Path) -> Vec<(String, f64)> {
    let found = EVALUATORS.iter().find(|found| found.name == evaluator).unwrap();
    let mut inputs = Inputs::default().file("predictions", submission).file("annotations", annotations);
    inputs.compat = Behaviour::Fixed.compat();
    if let Some(names) = names {
        inputs = inputs.file(if evaluator == "mir" { "clip-ids" } else { "video-ids" }, names);
    }
    if evaluator == "mir" {
        let stem = annotations.file_stem().unwrap().to_str().unwrap();
        inputs = inputs.file("sentences", annotations.with_file_name(format!("{stem}_sentence.csv")));
    }
    (found.evaluate)(&inputs).unwrap().scores().collect()
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

/// Pretraining of the towers, of both together from these, and both benchmarks of retrieval before and after tuning on them.
#[test]
fn a_pretrained_backbone_tells_clips_apart_and_is_tuned_to_retrieve() {
    let folder = tempfile::tempdir().unwrap();
    let world = World {
        videos: [60, 8],
        clips_per_video: 15,
        questions: 60,
        kitchens: [24, 6],
        homes: [12, 30],
        ..worlds::least()
    };
    let paths = made(folder.path(), &world);
    let of_files = |train: &Path, val: &Path| sources(&paths.videos, train, val, Some(&paths.tokenizers[1]));
    // Places and times that count for less are learnt later, and what things are sooner.
    let all = with(
        include_str!("../configs/synthetic_pretrain_egovlpv2.toml"),
        &[("initializer_range = 0.5", "initializer_range = 0.02")],
    );
    let alone = [("epochs = 30", "epochs = 7"), ("words = 1.0, matching = 2.0", "words = 0.0, matching = 0.0")];
    let run = folder.path().join("run");
    let mcq = of_files(&paths.egoclip, &paths.egomcq);
    let scores = learnt(&with(&all, &alone), &mcq, &run, "egomcq");
    println!("{scores:?}");
    // One of five is chance.
    assert!(of(&scores, "inter-video") > 0.6, "{scores:?}");
    assert!(of(&scores, "fusion inter-video") < 0.4, "{scores:?}");

    let init = [run.join(LAST_FILE)];
    let fused = with(&all, &[("epochs = 30", "epochs = 5")]);
    let scores = tuned(&fused, &mcq, &folder.path().join("fused"), "egomcq", &init);
    println!("{scores:?}");
    assert!(of(&scores, "fusion inter-video") > 0.5, "{scores:?}");

    let tune = |text: &str, name: &str, [train, val]: [&Path; 2], score: &str| {
        let sources = of_files(train, val);
        // A rate of next to nothing leaves the weights as they are.
        let before = with(text, &[("epochs = 20", "epochs = 1"), ("lr = 3e-4", "lr = 1e-12")]);
        let before = of(&tuned(&before, &sources, &folder.path().join(format!("{name}-0")), name, &init), score);
        let after = with(text, &[("lr = 3e-4", "lr = 1e-3")]);
        let after = of(&tuned(&after, &sources, &folder.path().join(name), name, &init), score);
        println!("{name}: {score} {before} before, {after} after tuning");
        assert!(after > before + 0.015, "{name}: {before} before, {after} after tuning");
        after
    };
    let [train, test] = [&paths.epic[0].clips, &paths.epic[1].clips].map(PathBuf::as_path);
    let text = include_str!("../configs/synthetic_mir.toml");
    // Of a network that has learnt nothing it is 0.54.
    assert!(tune(text, "mir", [train, test], "nDCG average") > 0.65);
    let text = include_str!("../configs/synthetic_charades.toml");
    let classes = "mAP (classes that occur, EgoVLPv2)";
    assert!(tune(text, "charades", [&paths.charades.train, &paths.charades.test], classes) > 0.25);
}

/// Whether a thing changes, and from the tower that knows it, when.
#[test]
fn changes_of_state_are_learnt_and_shuffled_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let world = |name: &str, changes: [usize; 2], shuffled: bool| {
        let folder = folder.path().join(name);
        let paths = made(&folder, &World { changes, shuffled, ..worlds::least() });
        (sources(&paths.videos, &paths.oscc[0], &paths.oscc[1], None), folder)
    };
    let oscc = with(include_str!("../configs/synthetic_oscc.toml"), &[("epochs = 30", "epochs = 15")]);
    let accuracy = |(sources, folder): &(Sources, PathBuf)| {
        let scores = learnt(&oscc, sources, &folder.join("oscc"), "oscc");
        println!("{scores:?}");
        of(&scores, "accuracy")
    };
    let (told, shuffled) = (world("told", [600, 90], false), world("shuffled", [180, 90], true));
    let (learnt, shuffled) = (accuracy(&told), accuracy(&shuffled));
    // Two thirds of the clips have a change.
    assert!(learnt > 0.9, "{learnt}");
    assert!(shuffled < 0.7, "{shuffled}");

    let (sources, folder) = told;
    let init = [folder.join("oscc").join(LAST_FILE)];
    let pnr = include_str!("../configs/synthetic_pnr.toml");
    let scores = tuned(&with(pnr, &[("epochs = 50", "epochs = 40")]), &sources, &folder.join("pnr"), "pnr", &init);
    println!("{scores:?}");
    // Seconds; of a network that always says the middle 1.5.
    assert!(of(&scores, "keyframe distance") < 1.0, "{scores:?}");
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
