//! How long a run will take: a short stretch of the longest video and a few batches, measured and scaled up.
//!
//! Not a benchmark: it shares the machine with whatever else runs. Invariant: nothing is written.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use egofx::backbone::{Backbone, ClipBatch, Input, PairedSentence, Sentence, Towers};
use egofx::decode::{FrameSource, Transform, VideoInfo};
use egofx::feature_set::{FeatureSet, PerSet};
use egofx::pixels::Pixels;
use egofx::plan::{Layout, Plan};
use egofx::time::TimeSpan;

use super::compute::Settled;

/// Batches per model after the first, which is not counted.
const BATCHES: usize = 2;
/// Sentences that a clip is asked, as NLQ's are on average.
const SENTENCES: usize = 12;
/// Tokens of a sentence.
const TOKENS: usize = 15;

/// A prediction.
#[derive(Serialize)]
pub struct Estimate {
    /// Seconds that decoding alone takes, with one decoder.
    decode_sec: f64,
    /// Seconds that the models alone take, on all devices together.
    infer_sec: f64,
    /// The longer of the two: the stages run side by side.
    total_sec: f64,
}

/// Measures; `None` if no video of the plan can be opened.
pub fn estimate(
    plan: &Plan,
    sets: &PerSet<FeatureSet>,
    models: &Path,
    settled: &Settled,
    source: &dyn FrameSource,
    seconds: f64,
) -> anyhow::Result<Option<Estimate>> {
    let opened = plan.jobs.iter().filter_map(|job| source.probe(job.path.as_ref()?, job.fps).ok()).next();
    let Some(video) = opened else { return Ok(None) };
    let decode_sec = plan.cost_sec() * decode_rate(source, &video, sets, seconds);
    let (_runtime, backbones) = settled.first().load(models, sets)?;
    let mut infer_sec = 0.0;
    for (set, backbone) in backbones.into_iter().flatten() {
        let rows: u64 = plan.tasks.iter().filter(|task| task.set == set).map(|task| task.estimated_rows).sum();
        let frames = sets[set].recipe.frames().map_or(0, |frames| frames.grid.frames() as usize);
        infer_sec += rows as f64 * row_sec(backbone, frames, settled.batch_size())?;
    }
    infer_sec /= settled.devices.len() as f64;
    Ok(Some(Estimate { decode_sec, infer_sec, total_sec: decode_sec.max(infer_sec) }))
}

/// Seconds of wall time per second of video.
fn decode_rate(source: &dyn FrameSource, video: &VideoInfo, sets: &PerSet<FeatureSet>, seconds: f64) -> f64 {
    let line = &video.timeline;
    let end_sec = (line.start_sec() + seconds).min(line.end_sec());
    let span = TimeSpan::new(line.start_sec().max(0.0), end_sec);
    let recipes = || sets.values().map(|set| &set.recipe);
    let layouts = recipes().filter_map(|r| Layout::new(video, &r.frames()?, r.body.compat, span).ok());
    let mut wanted: Vec<u64> = layouts.flat_map(|layout| layout.frames).flatten().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut transforms: Vec<Transform> = recipes().filter_map(|recipe| recipe.body.transform).collect();
    transforms.sort_unstable();
    transforms.dedup();
    let started = Instant::now();
    let frames = source.open(video, &wanted, &transforms).filter(Result::is_ok).count();
    log::info!("probe: {frames} frames of {}", video.name().display());
    started.elapsed().as_secs_f64() / (end_sec - line.start_sec()).max(1e-3)
}

/// Seconds per row.
fn row_sec(mut backbone: Box<dyn Backbone>, frames: usize, clips: usize) -> anyhow::Result<f64> {
    let pixels =
        backbone.towers().frames().map_or(0, |input| clips * frames * (input.height * input.width * 3) as usize);
    // Not zeros: some kernels are faster on them.
    let batch = ClipBatch { clips, frames, pixels: Pixels::U8((0..pixels).map(|i| (i % 251) as u8).collect()) };
    let sentences: Vec<Arc<Sentence>> = (0..clips).map(sentence).collect();
    let pairs: Vec<PairedSentence> =
        (0..SENTENCES).map(|i| PairedSentence { windows: 0..clips, sentence: sentence(i) }).collect();
    let input = match backbone.towers() {
        Towers::Video(_) => Input::Windows(&batch),
        Towers::Text(_) => Input::Sentences(&sentences),
        Towers::Fused(_) => Input::Pairs(&batch, &pairs),
    };
    let mut rows = backbone.forward(&input)?.nrows();
    let started = Instant::now();
    for _ in 0..BATCHES {
        rows = backbone.forward(&input)?.nrows();
    }
    Ok(started.elapsed().as_secs_f64() / (BATCHES * rows) as f64)
}

/// A sentence of the length that most have, unlike the others.
fn sentence(number: usize) -> Arc<Sentence> {
    let ids = (0..TOKENS).map(|at| 3 + ((7 * at + 13 * number) % 20) as i64).collect();
    Arc::new(Sentence { ids, mask: vec![1; TOKENS] })
}

impl Estimate {
    /// Seconds of a run on one machine.
    pub fn total_sec(&self) -> f64 {
        self.total_sec
    }

    /// For people.
    pub fn line(&self) -> String {
        let time = |sec: f64| std::time::Duration::try_from_secs_f64(sec).unwrap_or(std::time::Duration::MAX);
        let shown = |sec: f64| indicatif::HumanDuration(time(sec)).to_string();
        let (decode, infer) = (shown(self.decode_sec), shown(self.infer_sec));
        format!("about {}: decoding alone {decode} per decoder, models alone {infer}\n", shown(self.total_sec))
    }
}
