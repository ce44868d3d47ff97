//! The summary head learns a synthetic QFVS from its files to a scored submission.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use egofx::compat::Compat;
use egofx::metric::qfvs::{Summaries, read_tags, semantic_match};
use egofx::stop::{Cause, Stop};
use egofx_train::distributed::World;
use egofx_train::error::TrainError;
use egofx_train::experiment::Experiment;
use egofx_train::heads::qfvs::head::{QfvsHead, Tables};
use egofx_train::learner::{Dataset, Model, Task};
use egofx_train::predict::{self, Prediction, Weights};
use egofx_train::registry::Entry;
use egofx_train::rng::{self, Purpose};
use egofx_train::sources::{Sources, Split};
use egofx_train::sweep::{self, Done, Finished, Request, Spread};
use egofx_train::synthetic::{Qfvs, QfvsPaths};
use egofx_train::trainer::context::{Event, Surroundings};
use egofx_train::trainer::{BEST_FILE, LAST_FILE, Run};
use tch::Tensor;
use tch::nn::VarStore;

use crate::scored;
use crate::support::alone;
use crate::support::device::device;

/// The experiment for `egofx-train synthetic qfvs`.
const EXPERIMENT: &str = include_str!("../../configs/synthetic_qfvs.toml");

fn qfvs() -> Qfvs {
    Qfvs::small(1, false)
}

/// A synthetic benchmark and what is read of it.
struct Shop {
    folder: tempfile::TempDir,
    paths: QfvsPaths,
    sources: Sources,
    _alone: MutexGuard<'static, ()>,
}

impl Shop {
    fn new(qfvs: &Qfvs) -> Self {
        let alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let paths = qfvs.write(folder.path()).unwrap();
        let sources = Sources {
            features: Some(paths.features.clone()),
            shots: Some(paths.shots.clone()),
            tags: Some(paths.tags.clone()),
            annotations: vec![(Split::Whole, paths.oracle_summaries.clone())],
            memory_bytes: 1 << 30,
            ..Sources::default()
        };
        Self { folder, paths, sources, _alone: alone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn train(&self, experiment: &Experiment, name: &str) -> Result<Finished, TrainError> {
        self.train_watched(experiment, name, false, &Stop::default(), &sweep::unwatched)
    }

    fn train_watched(
        &self,
        experiment: &Experiment,
        name: &str,
        resume: bool,
        stop: &Stop,
        watch: &dyn Fn(&Event),
    ) -> Result<Finished, TrainError> {
        let head = head();
        (head.check)(experiment).unwrap();
        let surroundings = Surroundings { device: device(), threads: 1, world: &World::single(), stop, watch };
        (head.train)(&Request {
            experiment,
            sources: &self.sources,
            folder: &self.path(name),
            surroundings: &surroundings,
            resume,
            init: &[],
            start: None,
            begin: &|_, _, _| (),
        })
    }

    /// What is wrong with these annotations.
    fn refused(&self) -> String {
        self.open().err().unwrap().to_string()
    }

    /// What a run does before it trains.
    fn open(&self) -> Result<<QfvsHead as Model>::Task, TrainError> {
        let experiment = Experiment::parse(EXPERIMENT).unwrap();
        let Dataset { task, .. } = Dataset::<QfvsHead>::open(Path::new("experiment.toml"), &experiment, &self.sources)?;
        task.expect_truths()?;
        Ok(task)
    }
}

fn head() -> &'static Entry {
    Entry::find("qfvs", Path::new("experiment.toml")).unwrap()
}

fn f1(scores: &[(String, f64)]) -> f64 {
    scores.iter().find(|(name, _)| name == "F1").unwrap().1
}

/// Mean over folds of the best F1.
fn best_f1(finished: &Finished) -> f64 {
    let best = finished.runs.iter().map(|run| f1(&run.outcome.best.as_ref().unwrap().scores));
    best.sum::<f64>() / finished.runs.len() as f64
}

/// The four checkpoints of the best validations predict, each what it has not seen. Tags are not needed for that, but named in
/// the command that scores.
fn predicted(shop: &Shop, experiment: &Experiment, finished: &Finished) -> Prediction {
    let of = |run: &Done| Weights { path: run.folder.join(BEST_FILE), fold: run.fold.clone() };
    let weights: Vec<Weights> = finished.runs.iter().map(of).collect();
    let stop = Stop::default();
    let surroundings =
        Surroundings { device: device(), threads: 1, world: &World::single(), stop: &stop, watch: &sweep::unwatched };
    let request =
        predict::Request { experiment, weights: &weights, sources: &shop.sources, surroundings: &surroundings };
    let prediction = (head().predict)(&request).unwrap().prediction;
    assert_eq!(prediction.samples, 40);
    prediction
}

#[test]
fn it_learns_and_its_submission_has_the_scores_of_its_validations() {
    let shop = Shop::new(&qfvs());
    let experiment = Experiment::parse(EXPERIMENT).unwrap();
    let finished = shop.train(&experiment, "runs").unwrap();
    let folds: Vec<&str> = finished.runs.iter().map(|run| run.fold.as_str()).collect();
    assert_eq!(folds, ["P01", "P02", "P03", "P04"]);
    // The true summaries score 1.
    assert!(best_f1(&finished) >= 0.9, "{}", best_f1(&finished));

    let written = predicted(&shop, &experiment, &finished).write(&shop.path("submission.json")).unwrap();
    let report = scored::by_command(&written.command);
    assert_eq!(report.coverage.to_string(), "40 of 40 queries");
    for run in &finished.runs {
        for (name, validated) in run.outcome.best.iter().flat_map(|best| &best.scores) {
            if !name.ends_with("loss") {
                assert_eq!(report.score(&format!("{} {name}", run.fold)), *validated, "{} {name}", run.fold);
            }
        }
    }
}

/// Mean and deviation of the mean F1 over all pairs of all videos, if each video has the same three random shots as a
/// summary for all its pairs: of all that knows nothing of the tags, that varies most.
fn chance(paths: &QfvsPaths) -> Spread {
    let truths = Summaries::read(&paths.oracle_summaries).unwrap();
    let tags = read_tags(&paths.tags).unwrap();
    let mut draw = rng::generator(1, Purpose::Weights);
    let mut mean_f1 = || {
        let mut all = vec![];
        for ((video, queries), (name, tags)) in truths.videos.iter().zip(&tags) {
            assert_eq!(video, name);
            let mut shots: Vec<usize> = (0..tags.len()).collect();
            rng::shuffle(&mut shots, &mut draw);
            for (_, truth) in queries {
                let truth = truth.shots(tags.len(), &paths.tags).unwrap();
                let found = semantic_match(tags, &shots[..3], &truth).unwrap().f1();
                all.push(if found.is_nan() { 0.0 } else { found });
            }
        }
        all.iter().sum::<f64>() / all.len() as f64
    };
    Spread::of(&(0..1000).map(|_| mean_f1()).collect::<Vec<_>>())
}

#[test]
fn it_learns_nothing_where_there_is_nothing_to_learn() {
    let shop = Shop::new(&Qfvs::small(1, true));
    let finished = shop.train(&Experiment::parse(EXPERIMENT).unwrap(), "runs").unwrap();
    let chance = chance(&shop.paths);
    // The last, for the best of twenty validations is above chance.
    let found = finished.runs.iter().map(|run| f1(&run.outcome.last)).sum::<f64>() / 4.0;
    println!("{found} where chance is {} +- {}", chance.mean, chance.deviation);
    assert!((found - chance.mean).abs() < 4.0 * chance.deviation, "{found}, {chance:?}");
}

#[test]
fn it_learns_as_released_too() {
    let shop = Shop::new(&qfvs());
    let mut experiment = Experiment::parse(EXPERIMENT).unwrap();
    experiment.compat = Compat::AsReleased;
    let data = Dataset::<QfvsHead>::open(Path::new("experiment.toml"), &experiment, &shop.sources).unwrap();
    let stop = Stop::default();
    let surroundings =
        Surroundings { device: device(), threads: 1, world: &World::single(), stop: &stop, watch: &sweep::unwatched };
    let (fold, member) = (&data.task.folds()[3], &experiment.members().unwrap()[0]);
    let run = Run::<QfvsHead>::open(&surroundings, member, &data, fold, &shop.path("run"), false, &[]).unwrap();
    let best = run.train().unwrap().best.unwrap();
    assert!(best.score >= 0.9, "{best:?}");
}

#[test]
fn a_run_that_was_interrupted_ends_with_the_same_weights() {
    let shop = Shop::new(&Qfvs { shots: 60, pairs: 4, ..qfvs() });
    // With something that is drawn in each step.
    let text = EXPERIMENT.replace("dropout = 0.0", "dropout = 0.2").replace("epochs = 20", "epochs = 3");
    let experiment = Experiment::parse(&text).unwrap();
    let undisturbed = shop.train(&experiment, "undisturbed").unwrap();

    let stop = Stop::default();
    let watch = |event: &Event| {
        if matches!(event, Event::Epoch { epoch: 2, .. }) {
            stop.ask(Cause::Interrupted);
        }
    };
    let stopped = shop.train_watched(&experiment, "resumed", false, &stop, &watch).unwrap_err().to_string();
    let text = "interrupted in epoch 3 after step 1, where a checkpoint was written; --resume goes on from there";
    assert_eq!(stopped, text);
    let resumed = shop.train_watched(&experiment, "resumed", true, &Stop::default(), &sweep::unwatched).unwrap();
    for (run, other) in undisturbed.runs.iter().zip(&resumed.runs) {
        assert_eq!(run.outcome.best, other.outcome.best);
        let [run, other] = [run, other].map(|run| {
            let read = Tensor::read_safetensors(run.folder.join(LAST_FILE)).unwrap();
            read.into_iter().collect::<BTreeMap<_, _>>()
        });
        assert_eq!(run.len(), other.len());
        for (name, tensor) in &run {
            assert!(tensor.equal(&other[name]), "{name}");
        }
    }
}

#[test]
fn the_published_setting_makes_a_network() {
    let _alone = alone();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/qfvs_egovlpv2.toml");
    let experiment = Experiment::read(&path).unwrap();
    (head().check)(&experiment).unwrap();
    let store = VarStore::new(device());
    let mut settings: Tables = experiment.settings().unwrap();
    QfvsHead::new(&store.root(), &settings, experiment.compat).unwrap();
    let rate = |step| experiment.train.optimizer.lr * experiment.train.schedule.factor(step, 35, 700);
    assert_eq!((rate(0), rate(70)), (0.0, 1e-5));
    assert!((rate(700) - 1e-8).abs() < 1e-15);
    settings.features.dim = 256;
    let why = QfvsHead::new(&store.root(), &settings, experiment.compat).err().unwrap();
    assert_eq!(why, "model.embed_dim is 768, expected features.dim = 256");
}

#[test]
fn labels_are_what_the_files_say_and_folds_leave_one_video_out() {
    let shop = Shop::new(&qfvs());
    let data = shop.open().unwrap();
    for fold in data.folds() {
        assert_eq!((fold.train.len(), fold.validation.len()), (30, 10));
        assert!(fold.validation.iter().all(|&number| data.video(number).uid.as_str() == fold.name));
        assert!(fold.train.iter().all(|number| !fold.validation.contains(number)));
    }
    let number = data.samples().into_iter().find(|&number| data.video(number).uid.as_str() == "P02").unwrap();
    let (sample, labels) = (data.sample(number).clone(), data.labels(number));
    let [first, second] = &sample.concepts;
    assert_eq!(sample.prompts, [format!("P02_{first}"), format!("P02_{second}"), format!("P02_{first}_{second}")]);
    let text = std::fs::read_to_string(shop.paths.shot_tags.join("P02/P02.txt")).unwrap();
    let oracle = shop.paths.oracle_summaries.join(format!("P02/{first}_{second}_oracle.txt"));
    let oracle: Vec<usize> =
        std::fs::read_to_string(oracle).unwrap().lines().map(|shot| shot.parse().unwrap()).collect();
    assert_eq!((text.lines().count(), labels.dim()), (150, (150, 3)));
    for (shot, line) in text.lines().enumerate() {
        let expected = [line.contains(first.as_str()), line.contains(second.as_str()), oracle.contains(&(shot + 1))];
        assert_eq!(labels.row(shot).to_vec(), expected.map(|asked| f32::from(u8::from(asked))), "{shot}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut shop = Shop::new(&Qfvs { shots: 60, ..qfvs() });
    let paths = shop.paths.clone();
    assert_eq!(shop.open().unwrap().folds().len(), 4);

    shop.sources.tags = None;
    let text = "--tags is needed: the concepts of each shot, by which summaries are scored: Tags.mat as published";
    assert_eq!(shop.refused(), text);
    let experiment = Experiment::parse(EXPERIMENT).unwrap();
    assert_eq!(shop.train(&experiment, "refused").unwrap_err().to_string(), text);
    assert!(!shop.path("refused").exists());
    shop.sources.tags = Some(shop.path("none.json"));
    assert!(shop.refused().contains("none.json: "), "{}", shop.refused());
    std::fs::write(shop.path("few.json"), r#"{"P01": [[0]]}"#).unwrap();
    shop.sources.tags = Some(shop.path("few.json"));
    assert!(shop.refused().ends_with("expected 60 shots of P01, as there are features, found 1"), "{}", shop.refused());
    shop.sources.tags = Some(paths.tags.clone());

    let oracle = |name: &str, shots: &str| {
        let path = paths.oracle_summaries.join(format!("{name}_oracle.txt"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, shots).unwrap();
        path
    };
    let more = oracle("P05/Concept00_Concept01", "1\n");
    let text = "no features for 1 of 5 videos (P05); --allow-missing leaves them out";
    assert!(shop.refused().ends_with(text), "{}", shop.refused());
    let other = oracle("P01/Concept00_Other", "1\n");
    std::fs::remove_file(more).unwrap();
    let text = "no features for 1 of 41 pairs of concepts (P01_Other of P01_Concept00_Other); --allow-missing leaves \
                them out";
    assert!(shop.refused().ends_with(text), "{}", shop.refused());
    shop.sources.allow_missing = true;
    assert_eq!(shop.open().unwrap().samples().len(), 40);
    shop.sources.allow_missing = false;
    std::fs::remove_file(other).unwrap();

    let late = oracle("P01/Concept00_Concept01", "61\n");
    let text = "expected shots from 1 to 60, found 61 in P01/Concept00_Concept01";
    assert!(shop.refused().ends_with(text), "{}", shop.refused());
    std::fs::write(&late, "").unwrap();
    let text = "expected at least one shot, found none in P01/Concept00_Concept01";
    assert!(shop.refused().ends_with(text), "{}", shop.refused());
    std::fs::write(&late, "1\n").unwrap();

    std::fs::remove_dir_all(&paths.shot_tags).unwrap();
    let text = "expected the folder Dense_per_shot_tags in it or beside it, with the concepts to learn, found none";
    assert!(shop.refused().ends_with(text), "{}", shop.refused());
    shop.sources.annotations = vec![(Split::Train, paths.oracle_summaries.clone())];
    assert!(shop.refused().starts_with("--annotations is needed: the folder Oracle_Summaries"), "{}", shop.refused());
}
