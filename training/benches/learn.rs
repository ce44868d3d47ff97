//! What the heads reach on synthetic benchmarks larger than those of the tests, and with shuffled labels; how much of the
//! time steps wait for batches.
//!
//! `cargo bench --bench learn`, ten minutes on two cores; `-- qfvs` runs the heads of that name only. Nothing fails by a score or by the clock: a promise that is missed
//! is printed like any other.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use egofx_train::experiment::Experiment;
use egofx_train::fit::Surroundings;
use egofx_train::learner::Entry;
use egofx_train::ranks::World;
use egofx_train::sources::{Sources, Split};
use egofx_train::sweep::{Request, unwatched};
use egofx_train::synthetic::{Mq, Nlq, Qfvs};
use tch::Device;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// A head, what it should reach, and the changes that make its small experiment fit the larger benchmark.
struct Case {
    config: &'static str,
    promise: &'static str,
    changes: &'static [(&'static str, &'static str)],
    sources: fn(&Path, bool) -> Fallible<Sources>,
}

const CASES: [Case; 4] = [
    Case {
        config: include_str!("../configs/synthetic_nlq.toml"),
        promise: "0.9",
        changes: &[("width = 32", "width = 64"), ("positions = 40", "positions = 120")],
        sources: nlq,
    },
    Case {
        config: include_str!("../configs/synthetic_mq_vsgn.toml"),
        promise: "0.8",
        changes: &[("length = 64", "length = 128"), ("classes = 5", "classes = 11"), ("epochs = 8", "epochs = 12")],
        sources: mq,
    },
    Case {
        config: include_str!("../configs/synthetic_mq_actionformer.toml"),
        promise: "0.8",
        changes: &[
            ("max_length = 64", "max_length = 128"),
            ("classes = 4", "classes = 10"),
            ("epochs = 8", "epochs = 12"),
        ],
        sources: mq,
    },
    Case { config: include_str!("../configs/synthetic_qfvs.toml"), promise: "0.9", changes: &[], sources: qfvs },
];

fn nlq(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let paths = Nlq { clips: [400, 80], rows: 120, ..Nlq::small(1, shuffled) }.write(folder)?;
    let [train, val] = paths.annotations;
    let annotations = vec![(Split::Train, train), (Split::Validation, val)];
    Ok(Sources { features: Some(paths.features), tokens: Some(paths.tokens), annotations, ..room() })
}

fn mq(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let paths =
        Mq { clips: [120, 40], rows: 128, classes: 10, moments_per_clip: 6, ..Mq::small(1, shuffled) }.write(folder)?;
    let [train, val] = paths.annotations;
    let annotations = vec![(Split::Train, train), (Split::Validation, val)];
    Ok(Sources { features: Some(paths.features), annotations, ..room() })
}

fn qfvs(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let paths = Qfvs { shots: 400, concepts: 8, pairs: 20, ..Qfvs::small(1, shuffled) }.write(folder)?;
    Ok(Sources {
        features: Some(paths.features),
        shots: Some(paths.shots),
        annotations: vec![(Split::Whole, paths.oracle_summaries)],
        tags: Some(paths.tags),
        ..room()
    })
}

fn room() -> Sources {
    Sources { memory_bytes: 1 << 30, ..Sources::default() }
}

fn main() -> Fallible<()> {
    println!(
        "{:<13} {:>16} {:>8} {:>9} {:>9} {:>10} {:>8}",
        "head", "score", "promise", "reached", "shuffled", "samples/s", "waiting"
    );
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_wanted = |case: &&Case| wanted.is_empty() || wanted.iter().any(|name| case.config.contains(name));
    for case in CASES.iter().filter(is_wanted) {
        let (score, reached, rate, waiting, head) = train(case, false)?;
        let (_, shuffled, ..) = train(case, true)?;
        let share = 100.0 * waiting;
        println!(
            "{head:<13} {score:>16} {:>8} {reached:>9.3} {shuffled:>9.3} {rate:>10.0} {share:>6.1} %",
            case.promise
        );
    }
    Ok(())
}

/// Name and mean of the score of the last epoch, samples per second, share of waiting, and the head.
fn train(case: &Case, shuffled: bool) -> Fallible<(String, f64, f64, f64, &'static str)> {
    let folder = tempfile::tempdir()?;
    let sources = (case.sources)(folder.path(), shuffled)?;
    let text = case.changes.iter().fold(case.config.to_owned(), |text, (from, to)| text.replace(from, to));
    let experiment = Experiment::parse(&text)?;
    let head = Entry::find(&experiment.learner, folder.path())?;
    let interrupted = AtomicBool::new(false);
    let surroundings = Surroundings {
        device: Device::Cpu,
        threads: 1,
        world: &World::single(),
        interrupted: &interrupted,
        watch: &unwatched,
    };
    let finished = (head.train)(&Request {
        experiment: &experiment,
        sources: &sources,
        folder: &folder.path().join("run"),
        surroundings: &surroundings,
        resume: false,
        init: &[],
        begin: &|_, _, _| (),
    })?;
    let (_, last) = finished.points()[0].1[&finished.select];
    let (mut seconds, mut waiting, mut samples) = (0.0, 0.0, 0);
    for run in &finished.runs {
        seconds += run.outcome.waited.total.as_secs_f64();
        waiting += run.outcome.waited.waiting.as_secs_f64();
        samples += run.outcome.samples;
    }
    Ok((finished.select.clone(), last.mean, samples as f64 / seconds, waiting / seconds, head.name))
}
