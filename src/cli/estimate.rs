//! How long a run will take: a short stretch of the longest video and a few batches, measured and scaled up.
//!
//! Not a benchmark: it shares the machine with whatever else runs. Invariant: nothing is written.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use egofx::backbone::{Backbone, ClipBatch, VideoCard};
use egofx::decode::{FfmpegSource, FrameSource, HwAccel, VideoInfo};
use egofx::plan::{Layout, Plan};
use egofx::recipe::{Recipe, Transform};
use egofx::time::TimeSpan;

use super::args::Programs;
use super::extract::Compute;
use super::setup;

/// Batches per model after the first, which is not counted.
const BATCHES: usize = 2;

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
    recipes: &[Recipe],
    cards: &[VideoCard],
    models: &Path,
    compute: &Compute,
    programs: &Programs,
    seconds: f64,
) -> anyhow::Result<Option<Estimate>> {
    let source = FfmpegSource { tools: programs.tools()?, threads: compute.decoder_threads(), hwaccel: HwAccel::None };
    let opened = plan.jobs.iter().filter_map(|job| source.probe(job.path.as_ref()?, job.fps).ok()).next();
    let Some(video) = opened else { return Ok(None) };
    let decode_sec = plan.cost_sec() * decode_rate(&source, &video, recipes, seconds);
    let runtime = compute.runtime(programs)?;
    let (device, threads) = (&compute.device[..1], compute.threads());
    let backbones = setup::backbones(&runtime, models, cards, device, compute.precision, threads)?;
    let mut infer_sec = 0.0;
    for (i, backbone) in backbones.into_iter().flatten().enumerate() {
        let windows: u64 = plan.units.iter().filter(|unit| unit.recipe == i).map(|unit| unit.estimated_rows).sum();
        let frames = recipes[i].body.grid.frames() as usize;
        infer_sec += windows as f64 * window_sec(backbone, frames, compute.batch_size()?)?;
    }
    infer_sec /= compute.device.len() as f64;
    Ok(Some(Estimate { decode_sec, infer_sec, total_sec: decode_sec.max(infer_sec) }))
}

/// Seconds of wall time per second of video.
fn decode_rate(source: &FfmpegSource, video: &VideoInfo, recipes: &[Recipe], seconds: f64) -> f64 {
    let line = &video.timeline;
    let end_sec = (line.start_sec() + seconds).min(line.end_sec());
    let span = TimeSpan::new(line.start_sec().max(0.0), end_sec);
    let layouts = recipes.iter().filter_map(|recipe| Layout::new(video, recipe, span).ok());
    let mut wanted: Vec<u64> = layouts.flat_map(|layout| layout.frames).flatten().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut transforms: Vec<Transform> = recipes.iter().map(|recipe| recipe.body.transform).collect();
    transforms.sort_unstable();
    transforms.dedup();
    let started = Instant::now();
    let frames = source.open(video, &wanted, &transforms).filter(Result::is_ok).count();
    log::info!("probe: {frames} frames of {}", video.path.display());
    started.elapsed().as_secs_f64() / (end_sec - line.start_sec()).max(1e-3)
}

/// Seconds per window.
fn window_sec(mut backbone: Box<dyn Backbone>, frames: usize, clips: usize) -> anyhow::Result<f64> {
    let input = &backbone.card().input;
    let pixels = clips * frames * (input.height * input.width * 3) as usize;
    // Not zeros: some kernels are faster on them.
    let batch = ClipBatch { clips, frames, pixels: (0..pixels).map(|i| (i % 251) as u8).collect() };
    backbone.forward(&batch)?;
    let started = Instant::now();
    for _ in 0..BATCHES {
        backbone.forward(&batch)?;
    }
    Ok(started.elapsed().as_secs_f64() / (BATCHES * clips) as f64)
}

impl Estimate {
    /// For people.
    pub fn line(&self) -> String {
        let shown = |sec: f64| indicatif::HumanDuration(std::time::Duration::from_secs_f64(sec)).to_string();
        let (decode, infer) = (shown(self.decode_sec), shown(self.infer_sec));
        format!("about {}: decoding alone {decode} per decoder, models alone {infer}\n", shown(self.total_sec))
    }
}
