//! VSLNet and SnAG from annotations and stores to a scored submission, on a synthetic NLQ that can be learnt.

use std::path::{Path, PathBuf};

use egofx::stop::{Cause, Stop};
use egofx_train::checkpoint;
use egofx_train::distributed::World;
use egofx_train::error::TrainError;
use egofx_train::experiment::Experiment;
use egofx_train::predict::{self, Prediction, Weights};
use egofx_train::registry::Entry;
use egofx_train::sources::{Sources, Split};
use egofx_train::sweep::{Finished, Request, unwatched};
use egofx_train::synthetic::{Nlq, NlqPaths};
use egofx_train::trainer::context::{Event, Surroundings};
use egofx_train::trainer::{BEST_FILE, LAST_FILE};

use crate::scored;
use crate::support::alone;
use crate::support::device::device;

/// The experiment that `training/README.md` tries first.
const EXPERIMENT: &str = include_str!("../../configs/synthetic_nlq.toml");

/// Another head on the same data.
const SNAG: &str = include_str!("../../configs/synthetic_nlq_snag.toml");

fn synthetic(folder: &Path, shuffled: bool) -> NlqPaths {
    Nlq::small(3, shuffled).write(folder).unwrap()
}

fn sources(paths: &NlqPaths) -> Sources {
    let [train, val] = paths.annotations.clone();
    Sources {
        features: Some(paths.features.clone()),
        tokens: Some(paths.tokens.clone()),
        annotations: vec![(Split::Train, train), (Split::Validation, val)],
        memory_bytes: 1 << 30,
        ..Sources::default()
    }
}

fn surroundings<'s>(world: &'s World, stop: &'s Stop, watch: &'s dyn Fn(&Event)) -> Surroundings<'s> {
    Surroundings { device: device(), threads: 1, world, stop, watch }
}

fn train(
    text: &str,
    sources: &Sources,
    folder: &Path,
    resume: bool,
    surroundings: &Surroundings,
) -> Result<Finished, TrainError> {
    let experiment = Experiment::parse(text).unwrap();
    let head = Entry::find(&experiment.learner, folder).unwrap();
    let request = Request {
        experiment: &experiment,
        sources,
        folder,
        surroundings,
        resume,
        init: &[],
        start: None,
        begin: &|_, _, _| (),
    };
    (head.train)(&request)
}

fn undisturbed(text: &str, sources: &Sources, folder: &Path) -> Finished {
    train(text, sources, folder, false, &surroundings(&World::single(), &Stop::default(), &unwatched)).unwrap()
}

fn best(finished: &Finished, name: &str) -> f64 {
    finished.points()[0].1[name].0.mean
}

#[test]
fn planted_windows_are_found_and_the_submission_scores_what_validation_said() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let paths = synthetic(folder.path(), false);
    let sources = sources(&paths);
    let run = folder.path().join("run");
    let finished = undisturbed(EXPERIMENT, &sources, &run);
    let reached = best(&finished, "R@1 IoU>0.5");
    assert!(reached >= 0.9, "R@1 at IoU 0.5 is {reached}");
    for file in ["metrics.jsonl", "curves.svg", "summary.json", "experiment.toml", BEST_FILE, LAST_FILE] {
        assert!(run.join(file).metadata().unwrap().len() > 100, "{file}");
    }
    let submission = folder.path().join("submission.json");
    let written = predicted(&run, &sources, &paths.annotations[1]).write(&submission).unwrap();
    let report = scored::by_command(&written.command);
    assert_eq!(report.coverage.answered, 30 * 4);
    for name in ["R@1 IoU>0.3", "R@1 IoU>0.5", "R@5 IoU>0.5", "mIoU"] {
        let (found, said) = (report.score(name), best(&finished, name));
        assert!((found - said).abs() < 1e-6, "{name}: egofx eval says {found}, validation said {said}");
    }
}

fn predicted(run: &Path, sources: &Sources, annotations: &Path) -> Prediction {
    let saved = checkpoint::open(&run.join(BEST_FILE)).unwrap();
    let sources = Sources { annotations: vec![(Split::Whole, annotations.to_owned())], ..sources.clone() };
    let stop = Stop::default();
    let world = World::single();
    let request = predict::Request {
        experiment: &saved.experiment,
        weights: &[Weights { path: run.join(BEST_FILE), fold: String::new() }],
        sources: &sources,
        surroundings: &surroundings(&world, &stop, &unwatched),
    };
    (Entry::find(&saved.experiment.learner, run).unwrap().predict)(&request).unwrap().prediction
}

/// Windows of a clip are about an eighth of it or shorter: a window placed anywhere seldom overlaps one by half.
#[test]
fn shuffled_labels_stay_at_chance() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(&synthetic(folder.path(), true));
    let text = EXPERIMENT.replace("epochs = 20", "epochs = 5");
    let reached = best(&undisturbed(&text, &sources, &folder.path().join("run")), "R@1 IoU>0.5");
    assert!(reached <= 0.35, "R@1 at IoU 0.5 is {reached}");
}

/// Of fewer clips: what SnAG finds in few epochs.
fn snag(text: &str, folder: &Path, shuffled: bool) -> (f64, NlqPaths, Sources) {
    let paths = Nlq { clips: [60, 15], ..Nlq::small(3, shuffled) }.write(folder).unwrap();
    let sources = sources(&paths);
    let finished = undisturbed(text, &sources, &folder.join("run"));
    let reached = best(&finished, "R@1 IoU>0.5");
    println!("SnAG: {reached:.3}");
    (reached, paths, sources)
}

#[test]
fn snag_finds_planted_windows_and_its_submission_scores_what_validation_said() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (reached, paths, sources) = snag(SNAG, folder.path(), false);
    assert!(reached >= 0.8, "R@1 at IoU 0.5 is {reached}");
    let submission = folder.path().join("submission.json");
    let written = predicted(&folder.path().join("run"), &sources, &paths.annotations[1]).write(&submission).unwrap();
    let report = scored::by_command(&written.command);
    assert_eq!(report.coverage.answered, 15 * 4);
    assert!((report.score("R@1 IoU>0.5") - reached).abs() < 1e-6);
}

#[test]
fn snag_stays_at_chance_on_shuffled_labels() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let text = SNAG.replace("epochs = 12", "epochs = 4");
    let (reached, ..) = snag(&text, folder.path(), true);
    assert!(reached <= 0.35, "R@1 at IoU 0.5 is {reached}");
}

fn bytes(run: &Path) -> Vec<u8> {
    std::fs::read(run.join(LAST_FILE)).unwrap()
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bytes() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(&synthetic(folder.path(), false));
    let text = EXPERIMENT.replace("epochs = 20", "epochs = 3");
    let [whole, stopped]: [PathBuf; 2] = ["whole", "stopped"].map(|name| folder.path().join(name));
    undisturbed(&text, &sources, &whole);
    let stop = Stop::default();
    let stop_in_the_second_epoch = |event: &Event| {
        if matches!(event, Event::Stepped { epoch: 2, step: 5, .. }) {
            stop.ask(Cause::Interrupted);
        }
    };
    let error =
        train(&text, &sources, &stopped, false, &surroundings(&World::single(), &stop, &stop_in_the_second_epoch));
    let words = error.unwrap_err().to_string();
    assert_eq!(
        words,
        "interrupted in epoch 2 after step 5, where a checkpoint was written; --resume goes on from there"
    );
    let again = train(&text, &sources, &stopped, false, &surroundings(&World::single(), &Stop::default(), &unwatched));
    assert!(matches!(again, Err(TrainError::Exists { .. })));
    let resumed =
        train(&text, &sources, &stopped, true, &surroundings(&World::single(), &Stop::default(), &unwatched)).unwrap();
    assert!(bytes(&whole) == bytes(&stopped));
    assert_eq!(resumed.runs[0].outcome.epochs, 3);
    let lines = |run: &Path| std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert_eq!(lines(&whole), lines(&stopped));
    let other = text.replace("lr = 0.003", "lr = 0.004");
    let error = train(&other, &sources, &stopped, true, &surroundings(&World::single(), &Stop::default(), &unwatched));
    let words = error.unwrap_err().to_string();
    assert!(words.ends_with("it has `lr = 0.003`, the experiment file `lr = 0.004`"), "{words}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_checkpoint() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(&synthetic(folder.path(), false));
    let run = folder.path().join("run");
    let text = EXPERIMENT.replace("lr = 0.003", "lr = 1e30").replace("max_grad_norm = 1.0", "");
    let error =
        train(&text, &sources, &run, false, &surroundings(&World::single(), &Stop::default(), &unwatched)).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("highlight loss"), "{error}");
}

#[test]
fn several_seeds_and_a_grid_are_set_side_by_side() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sources = sources(&synthetic(folder.path(), false));
    let text = EXPERIMENT.replace("epochs = 20", "epochs = 1").replace("seeds = [1]", "seeds = [1, 2]");
    let text = text.replace("[features]", "[grid]\n\"train.optimizer.lr\" = [0.003, 0.0]\n[features]");
    let run = folder.path().join("run");
    let finished = undisturbed(&text, &sources, &run);
    let points = finished.points();
    let names: Vec<&str> = points.iter().map(|(point, _)| point.as_str()).collect();
    assert_eq!(names, ["train.optimizer.lr = 0.003", "train.optimizer.lr = 0.0"]);
    assert!(points.iter().all(|(_, scores)| scores["loss"].0.count == 2 && scores["loss"].0.deviation > 0.0));
    assert!(points[0].1["loss"].0.mean < points[1].1["loss"].0.mean);
    assert!(run.join("lr-0.003/seed-2/best.safetensors").is_file());
    let summary: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary["runs"].as_array().unwrap().len(), 4);
}

#[test]
fn stores_and_annotations_that_do_not_fit_are_refused_before_any_step() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let paths = synthetic(folder.path(), false);
    let good = sources(&paths);
    let run = folder.path().join("run");
    let words = |text: &str, sources: &Sources| {
        let error = train(text, sources, &run, true, &surroundings(&World::single(), &Stop::default(), &unwatched));
        error.unwrap_err().to_string()
    };
    let text = words(&EXPERIMENT.replace("dim = 16", "dim = 256"), &good);
    assert!(text.ends_with("nlq-windows: dim is 16, the head takes 256"), "{text}");
    let text = words(&EXPERIMENT.replace("rows_per_sec = 1.875", "rows_per_sec = 1.87"), &good);
    assert!(text.ends_with("nlq-windows: rows_per_sec is 1.875, the head takes 1.87"), "{text}");
    let text = words(EXPERIMENT, &Sources { features: good.tokens.clone(), ..good.clone() });
    assert!(text.contains("nlq-tokens: dim is 12, the head takes 16"), "{text}");
    let text = words(EXPERIMENT, &Sources { tokens: None, ..good.clone() });
    assert!(text.starts_with("--tokens is needed"), "{text}");
    std::fs::remove_dir_all(paths.features.join("ledger")).unwrap();
    let text = words(EXPERIMENT, &good);
    assert!(text.contains("nlq-windows"), "{text}");
}
