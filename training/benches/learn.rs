//! What heads and backbones reach on synthetic benchmarks larger than those of the tests, and with shuffled labels; how much of
//! the time steps wait for batches; what heads of one benchmark reach in as many steps.
//!
//! `cargo bench --bench learn`, twenty minutes on two cores for the heads and two hours for the backbones; `-- qfvs` runs the
//! learners of that name only, `-- equal-nlq equal-mq` the comparisons at equal steps. Nothing fails by a score or by the clock: a
//! promise that is missed is printed like any other.

#[path = "side/equal_steps.rs"]
mod equal_steps;
#[path = "../tests/it/support/shapes.rs"]
mod shapes;

use std::path::Path;

use egofx::stop::Stop;
use egofx_train::distributed::World;
use egofx_train::experiment::Experiment;
use egofx_train::registry::Entry;
use egofx_train::sources::{Ffmpeg, Sources, Split};
use egofx_train::sweep::{Finished, Request, unwatched};
use egofx_train::synthetic::{Mq, Nlq, Qfvs, ShapesDataset, ShapesPaths};
use egofx_train::trainer::context::{Event, Surroundings};
use tch::Device;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// A learner, what it should reach, and the changes that make its small experiment fit the larger benchmark.
struct Case {
    config: &'static str,
    promise: &'static str,
    /// Whether labels are shuffled as well, for comparison.
    shuffled: bool,
    changes: &'static [(&'static str, &'static str)],
    sources: fn(&Path, bool) -> Fallible<Sources>,
}

const CASES: [Case; 12] = [
    Case {
        config: include_str!("../configs/synthetic_nlq.toml"),
        promise: "0.9",
        shuffled: true,
        changes: &[
            ("embed_dim = 32", "embed_dim = 64"),
            ("max_position_embeddings = 40", "max_position_embeddings = 120"),
        ],
        sources: nlq,
    },
    Case {
        config: include_str!("../configs/synthetic_mq_vsgn.toml"),
        promise: "0.8",
        shuffled: true,
        changes: &[("length = 64", "length = 128"), ("classes = 5", "classes = 11"), ("epochs = 8", "epochs = 12")],
        sources: mq,
    },
    Case {
        config: include_str!("../configs/synthetic_mq_actionformer.toml"),
        promise: "0.8",
        shuffled: true,
        changes: &[
            ("max_length = 64", "max_length = 128"),
            ("classes = 4", "classes = 10"),
            ("epochs = 8", "epochs = 12"),
        ],
        sources: mq,
    },
    Case {
        config: include_str!("../configs/synthetic_qfvs.toml"),
        promise: "0.9",
        shuffled: true,
        changes: &[],
        sources: qfvs,
    },
    Case { config: PRETRAIN, promise: "0.8", shuffled: true, changes: &[LARGER], sources: pretrain },
    Case {
        config: PRETRAIN,
        promise: "",
        shuffled: false,
        changes: &[LARGER, ("egonce = 1.0", "egonce = 0.0")],
        sources: pretrain,
    },
    Case {
        config: PRETRAIN,
        promise: "",
        shuffled: false,
        changes: &[LARGER, ("words = 1.0", "words = 0.0")],
        sources: pretrain,
    },
    Case {
        config: PRETRAIN,
        promise: "",
        shuffled: false,
        changes: &[LARGER, ("vtm = 2.0", "vtm = 0.0")],
        sources: pretrain,
    },
    Case {
        config: include_str!("../configs/synthetic_mir.toml"),
        promise: "",
        shuffled: true,
        changes: &[FROM_SCRATCH],
        sources: mir,
    },
    Case {
        config: include_str!("../configs/synthetic_oscc.toml"),
        promise: "",
        shuffled: true,
        changes: &[],
        sources: changes,
    },
    Case {
        config: include_str!("../configs/synthetic_pnr.toml"),
        promise: "",
        shuffled: true,
        changes: &[],
        sources: times,
    },
    Case {
        config: include_str!("../configs/synthetic_egotaskqa.toml"),
        promise: "",
        shuffled: true,
        changes: &[],
        sources: answers,
    },
];

const PRETRAIN: &str = include_str!("../configs/synthetic_pretrain_egovlpv2.toml");
/// Twice the clips of the small dataset.
const LARGER: (&str, &str) = ("epochs = 30", "epochs = 20");
const FROM_SCRATCH: (&str, &str) = ("lr = 3e-4", "lr = 1e-3");

fn dataset(folder: &Path, dataset: &ShapesDataset) -> Fallible<ShapesPaths> {
    Ok(dataset.write(folder, &shapes::tools())?)
}

/// A dataset that holds nearly nothing, to be filled where a case needs it.
fn least(shuffled: bool) -> ShapesDataset {
    let ShapesDataset { seed, side, clips_per_video, .. } = ShapesDataset::small(1, shuffled);
    ShapesDataset { seed, side, clips_per_video, shuffled, ..shapes::least() }
}

fn videos(videos: &Path, paths: &ShapesPaths, [train, val]: [&Path; 2]) -> Sources {
    Sources {
        videos: vec![videos.to_owned()],
        tokenizer: Some(paths.tokenizers[1].clone()),
        annotations: vec![(Split::Train, train.to_owned()), (Split::Validation, val.to_owned())],
        ffmpeg: Ffmpeg::in_one_of(shapes::bases(), None),
        memory_bytes: 6 << 30,
        ..Sources::default()
    }
}

fn pretrain(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let paths = dataset(folder, &ShapesDataset { videos: [320, 32], questions: 400, ..least(shuffled) })?;
    Ok(videos(&paths.videos, &paths, [&paths.egoclip, &paths.egomcq]))
}

fn mir(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let paths = dataset(folder, &ShapesDataset { kitchens: [120, 16], ..least(shuffled) })?;
    Ok(videos(&paths.videos, &paths, [&paths.epic[0].clips, &paths.epic[1].clips]))
}

fn changes(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let paths = dataset(folder, &ShapesDataset { changes: [900, 150], ..least(shuffled) })?;
    Ok(videos(&paths.videos, &paths, [&paths.oscc[0], &paths.oscc[1]]))
}

/// Changes of few kinds of things: when they happen is harder to learn than whether.
fn times(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let paths =
        dataset(folder, &ShapesDataset { changes: [600, 150], colours: 2, shapes: 2, motions: 2, ..least(shuffled) })?;
    Ok(videos(&paths.videos, &paths, [&paths.oscc[0], &paths.oscc[1]]))
}

fn answers(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let paths = dataset(folder, &ShapesDataset { intervals: [400, 60, 2], ..least(shuffled) })?;
    let file = |split: &str| folder.join(format!("qa/direct/formatted_{split}_qas_encode.json"));
    Ok(videos(&paths.qa_videos, &paths, [&file("train"), &file("val")]))
}

fn nlq(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    nlq_sources(folder, &Nlq { clips: [400, 80], rows: 120, ..Nlq::small(1, shuffled) })
}

fn nlq_sources(folder: &Path, sizes: &Nlq) -> Fallible<Sources> {
    let paths = sizes.write(folder)?;
    let [train, val] = paths.annotations;
    let annotations = vec![(Split::Train, train), (Split::Validation, val)];
    Ok(Sources { features: Some(paths.features), tokens: Some(paths.tokens), annotations, ..room() })
}

fn mq(folder: &Path, shuffled: bool) -> Fallible<Sources> {
    let sizes = Mq { clips: [120, 40], rows: 128, classes: 10, moments_per_clip: 6, ..Mq::small(1, shuffled) };
    mq_sources(folder, &sizes)
}

fn mq_sources(folder: &Path, sizes: &Mq) -> Fallible<Sources> {
    let paths = sizes.write(folder)?;
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
        "{:<17} {:>16} {:>8} {:>9} {:>9} {:>10} {:>8}",
        "head", "score", "promise", "reached", "shuffled", "samples/s", "waiting"
    );
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for case in &CASES {
        if !wanted.is_empty() && !wanted.contains(&Experiment::parse(case.config)?.learner) {
            continue;
        }
        let Reached { head, name, score, others, rate, waiting } = train(case, false)?;
        let shuffled = if case.shuffled { format!("{:.3}", train(case, true)?.score) } else { String::new() };
        println!(
            "{head:<17} {name:>16} {:>8} {score:>9.3} {shuffled:>9} {rate:>10.0} {:>6.1} %",
            case.promise,
            100.0 * waiting
        );
        case.changes.iter().filter(|(_, to)| to.ends_with("= 0.0")).for_each(|(_, to)| println!("  with {to}"));
        others.iter().for_each(|(name, score)| println!("  {name}: {score:.3}"));
    }
    equal_steps::run(&wanted)
}

/// What a learner came to.
struct Reached {
    head: &'static str,
    /// The score that is selected by.
    name: String,
    /// Its mean in the last epoch.
    score: f64,
    /// The other scores of the last epoch.
    others: Vec<(String, f64)>,
    /// Samples per second.
    rate: f64,
    /// Share of the time that was spent waiting.
    waiting: f64,
}

fn train(case: &Case, shuffled: bool) -> Fallible<Reached> {
    let folder = tempfile::tempdir()?;
    let sources = (case.sources)(folder.path(), shuffled)?;
    let text = case.changes.iter().fold(case.config.to_owned(), |text, (from, to)| text.replace(from, to));
    let experiment = Experiment::parse(&text)?;
    let finished = finished(&experiment, &sources, &folder.path().join("run"), &unwatched)?;
    let points = finished.points();
    let last = |name: &String| points[0].1[name].1.mean;
    let others = points[0].1.keys().filter(|name| **name != finished.select);
    let others = others.map(|name| (name.clone(), last(name))).collect();
    let (mut seconds, mut waiting, mut samples) = (0.0, 0.0, 0);
    for run in &finished.runs {
        seconds += run.outcome.waited.total.as_secs_f64();
        waiting += run.outcome.waited.waiting.as_secs_f64();
        samples += run.outcome.samples;
    }
    Ok(Reached {
        head: Entry::find(&experiment.learner, folder.path())?.name,
        score: last(&finished.select),
        name: finished.select.clone(),
        others,
        rate: samples as f64 / seconds,
        waiting: waiting / seconds,
    })
}

/// The runs of an experiment, on one thread.
fn finished(experiment: &Experiment, sources: &Sources, folder: &Path, watch: &dyn Fn(&Event)) -> Fallible<Finished> {
    let stop = Stop::default();
    let surroundings = Surroundings { device: Device::Cpu, threads: 1, world: &World::single(), stop: &stop, watch };
    let head = Entry::find(&experiment.learner, folder)?;
    Ok((head.train)(&Request {
        experiment,
        sources,
        folder,
        surroundings: &surroundings,
        resume: false,
        init: &[],
        start: None,
        begin: &|_, _, _| (),
    })?)
}
