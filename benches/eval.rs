//! How long the evaluators take on data of the real size, made here from a fixed seed.
//!
//! `cargo bench --bench eval`. Files are read as a person's would be; what is timed is the whole evaluation, reading
//! included. Nothing fails by the clock.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use egofx::compat::Compat;
use egofx::metric::{
    EVALUATORS, Inputs, mir,
    mq::Annotations,
    postprocess::{POSTPROCESSORS, Proposals, postprocess},
    qfvs,
};

use support::{Fallible, Spread, row, show, timed};

const RUNS: usize = 5;
/// NLQ's validation split, version 1.
const QUERIES: usize = 3874;
/// MQ's: clips, truths in each, classes; and proposals as a head gives them.
const CLIPS: usize = 290;
const TRUTHS: usize = 15;
const CLASSES: usize = 110;
const PROPOSALS: usize = 2000;
/// EPIC-KITCHENS-100's test split.
const RETRIEVAL: (usize, usize) = (9668, 3842);

/// Numbers from a fixed seed.
struct Random(Xoshiro256PlusPlus);

impl Random {
    fn new() -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(5))
    }

    fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.unit() * end as f64) as usize
    }

    /// A window within 480 seconds.
    fn window(&mut self) -> (f64, f64) {
        let start = 470.0 * self.unit();
        (start, (start + 30.0 * self.unit()).min(480.0))
    }
}

fn main() -> Fallible {
    let folder = support::scratch("eval")?;
    nlq(&folder)?;
    moments(&folder)?;
    retrieval()?;
    summaries()
}

/// Times an evaluator over files.
fn evaluate(name: &str, inputs: &Inputs) -> Fallible<Spread> {
    let evaluator = EVALUATORS.iter().find(|evaluator| evaluator.name == name).ok_or("no such evaluator")?;
    let mut seconds = Spread::default();
    for _ in 0..RUNS {
        let (report, cost) = timed(|| (evaluator.evaluate)(inputs));
        report?;
        seconds.push(cost.wall);
    }
    Ok(seconds)
}

fn nlq(folder: &Path) -> Fallible {
    support::head("NLQ: 3874 queries, 5 windows each");
    let (annotations, predictions) = (folder.join("nlq_val.json"), folder.join("nlq_pred.json"));
    let mut random = Random::new();
    let (mut clips, mut results) = (Vec::new(), Vec::new());
    for clip in 0..QUERIES.div_ceil(12) {
        let mut queries = Vec::new();
        for index in 0..12.min(QUERIES - 12 * clip) {
            let (start, end) = random.window();
            queries.push(format!("{{\"query\": \"Where?\", \"clip_start_sec\": {start}, \"clip_end_sec\": {end}}}"));
            let windows: Vec<String> = (0..5).map(|_| format!("{:?}", <[f64; 2]>::from(random.window()))).collect();
            results.push(format!(
                "{{\"clip_uid\": \"clip-{clip}\", \"annotation_uid\": \"a\", \"query_idx\": {index}, \
                 \"predicted_times\": [{}]}}",
                windows.join(", ")
            ));
        }
        clips.push(format!(
            "{{\"clip_uid\": \"clip-{clip}\", \"annotations\": [{{\"annotation_uid\": \"a\", \
             \"language_queries\": [{}]}}]}}",
            queries.join(", ")
        ));
    }
    let videos = format!("{{\"videos\": [{{\"video_uid\": \"v\", \"clips\": [{}]}}]}}", clips.join(", "));
    fs::write(&annotations, videos)?;
    fs::write(&predictions, format!("{{\"results\": [{}]}}", results.join(", ")))?;
    let inputs = Inputs::default().file("annotations", annotations).file("predictions", predictions);
    show("evaluation with its files, below 1 s", &evaluate("nlq", &inputs)?, 3, " s");
    Ok(())
}

fn moments(folder: &Path) -> Fallible {
    support::head("MQ: 290 clips, 2000 proposals each, 110 labels, 4350 truths");
    let mut random = Random::new();
    let (annotations, predictions) = (folder.join("moments_val.json"), folder.join("mq_pred.json"));
    write_moments(&annotations, &mut random)?;
    write_track(&predictions, "results", &mut random)?;
    let inputs = Inputs::default().file("annotations", &annotations).file("predictions", &predictions);
    let size = fs::metadata(&predictions)?.len() as f64 / 1e6;
    row("  its predictions", &format!("{size:.0} MB"), "");
    show("evaluation with its files, below 10 s", &evaluate("mq", &inputs)?, 2, " s");
    let other = inputs.choose("protocol", "actionformer");
    show("the same by ActionFormer's evaluator", &evaluate("mq", &other)?, 2, " s");
    let (proposals, cost) = timed(|| Proposals::read(&predictions, None));
    row("reading the proposals", &format!("{:.2} s", cost.wall), "n=1");
    let (proposals, annotations) = (proposals?, Annotations::read(&annotations, None)?);
    for method in POSTPROCESSORS {
        let (_, cost) = timed(|| postprocess(method, &proposals, &annotations, &method.defaults));
        row(&format!("post-processing by {}", method.name), &format!("{:.2} s", cost.wall), "n=1");
    }
    Ok(())
}

fn write_moments(path: &PathBuf, random: &mut Random) -> Fallible {
    let mut clips = Vec::new();
    for clip in 0..CLIPS {
        let label = |random: &mut Random| {
            let ((start, end), label) = (random.window(), random.below(CLASSES));
            format!("{{\"label\": \"label {label}\", \"primary\": true, \"start_time\": {start}, \"end_time\": {end}}}")
        };
        let labels: Vec<String> = (0..TRUTHS).map(|_| label(random)).collect();
        clips.push(format!(
            "{{\"clip_uid\": \"clip-{clip}\", \"video_start_sec\": 0, \"video_end_sec\": 480, \
             \"annotations\": [{{\"labels\": [{}]}}]}}",
            labels.join(", ")
        ));
    }
    fs::write(path, format!("{{\"videos\": [{{\"video_uid\": \"v\", \"clips\": [{}]}}]}}", clips.join(", ")))?;
    Ok(())
}

fn write_track(path: &PathBuf, track: &str, random: &mut Random) -> Fallible {
    let mut text = format!("{{\"{track}\": {{");
    for clip in 0..CLIPS {
        write!(text, "{}\"clip-{clip}\": [", if clip > 0 { ", " } else { "" })?;
        for place in 0..PROPOSALS {
            let ((start, end), label, score) = (random.window(), random.below(CLASSES), random.unit());
            let comma = if place > 0 { ", " } else { "" };
            write!(
                text,
                "{comma}{{\"label\": \"label {label}\", \"score\": {score}, \"segment\": [{start:.3}, {end:.3}]}}"
            )?;
        }
        text.push(']');
    }
    text.push_str("}}");
    fs::write(path, text)?;
    Ok(())
}

fn retrieval() -> Fallible {
    support::head("Multi-instance retrieval: 9668 clips, 3842 captions");
    let mut random = Random::new();
    let similarity = Array2::from_shape_simple_fn(RETRIEVAL, || random.unit());
    let levels = [0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.5, 1.0];
    let relevancy = Array2::from_shape_simple_fn(RETRIEVAL, || levels[random.below(levels.len())]);
    let (score, cost) = timed(|| mir::score(similarity.view(), relevancy.view(), Compat::AsReleased));
    score?;
    row("nDCG and mAP, both ways", &format!("{:.2} s", cost.wall), "n=1");
    Ok(())
}

fn summaries() -> Fallible {
    support::head("QFVS: 46 queries, 72 shots against 100, 48 concepts");
    let mut random = Random::new();
    let tags: qfvs::ShotTags = (0..3588).map(|_| (0..48).map(|_| random.unit() < 0.1).collect()).collect();
    let mut seconds = Spread::default();
    for _ in 0..RUNS {
        let mut shots = |count: usize| (0..count).map(|_| random.below(tags.len())).collect::<Vec<_>>();
        let queries: Vec<_> = (0..46).map(|_| (shots(72), shots(100))).collect();
        let matches = || queries.iter().map(|(machine, truth)| qfvs::semantic_match(&tags, machine, truth));
        let (matches, cost) = timed(|| matches().collect::<Result<Vec<_>, _>>());
        matches?;
        seconds.push(cost.wall);
    }
    show("matchings", &seconds, 3, " s");
    Ok(())
}
