//! Fused features: the lower half of the video tower once for a window, the upper half once for each of its sentences,
//! against the whole tower for each sentence.
//!
//! The first run makes a full-size EgoVLPv2 of random weights, 1.5 GB in `target/bench-data/`.

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use egofx::backbone::{
    Backbone, Card, ClipBatch, Device, Feed, GraphSession, Input, OnnxBackbone, PairedSentence, Precision, Provider,
    Sentence, SessionOptions, Towers,
};
use egofx::pixels::Pixels;

use support::{Fallible, Spread, head, inputs, row, show, timed};

/// Sentences of a clip: NLQ asks 11.8 on average.
const SENTENCES: usize = 12;
/// Windows of a model input: several, or the one that a clip may have left.
const WINDOWS: [usize; 2] = [2, 1];
/// Frames of a window.
const FRAMES: usize = 4;
/// Tokens of a sentence, padding included.
const TOKENS: usize = 30;
/// Pairs of measurements.
const ROUNDS: usize = 3;
/// The graphs of the two halves.
const HALVES: [&str; 3] = ["egovlpv2_lower_video", "egovlpv2_lower_text", "egovlpv2_upper"];

fn main() -> Fallible {
    let models = models()?;
    let runtime = support::runtime()?;
    let device = Device { provider: Provider::Cpu, ordinal: 0 };
    let threads = support::cores().len();
    let options = SessionOptions { device, precision: Precision::Fp32, threads, rearrange: true };
    let mut split = OnnxBackbone::load(&runtime, &models, &Towers::fused(&models, HALVES, "class")?, options)?;
    let card = Card::read(&models, "egovlpv2_fused")?;
    let mut whole = GraphSession::open(&runtime, &card.graph_path(&models), options)?;
    for count in WINDOWS {
        head(&format!("{SENTENCES} sentences on {count} windows of {FRAMES} frames, EgoVLPv2, {threads} threads"));
        compare(&mut split, &mut whole, count)?;
    }
    Ok(())
}

/// The halves against the whole tower, on `count` windows.
fn compare(split: &mut OnnxBackbone, whole: &mut GraphSession, count: usize) -> Fallible {
    let (windows, sentences) = (windows(count), (0..SENTENCES).map(sentence).collect::<Vec<_>>());
    let pairs: Vec<PairedSentence> =
        sentences.iter().map(|sentence| PairedSentence { windows: 0..count, sentence: sentence.clone() }).collect();
    let (mut ratio, mut cpu, mut apart) = (Spread::default(), Spread::default(), 0.0_f32);
    for round in 0..=ROUNDS {
        let (rows, once) = timed(|| split.forward(&Input::Pairs(&windows, &pairs)));
        let (again, each) = timed(|| sentences.iter().map(|s| whole_tower(whole, &windows, s)).collect());
        let again: Fallible<Vec<Vec<f32>>> = again;
        let (rows, again) = (rows?, again?.concat());
        apart = rows.iter().zip(&again).map(|(a, b)| (a - b).abs()).fold(apart, f32::max);
        // The first round warms both up.
        if round > 0 {
            ratio.push(once.wall / each.wall);
            cpu.push(once.cpu / each.cpu);
        }
    }
    show("time over that of the whole tower for each sentence, at most 0.54", &ratio, 3, "");
    show("the same of the processor's time", &cpu, 3, "");
    row("largest difference between the two", &format!("{apart:.1e}"), "");
    Ok(())
}

/// One sentence on all windows, by the whole tower.
fn whole_tower(graph: &mut GraphSession, windows: &ClipBatch, sentence: &Sentence) -> Fallible<Vec<f32>> {
    let feeds = [
        Feed::Bytes("frames", windows.pixels.levels(), vec![windows.clips, FRAMES, 256, 256, 3]),
        Feed::Ints("ids", sentence.ids.repeat(windows.clips).into(), vec![windows.clips, TOKENS]),
        Feed::Ints("mask", sentence.mask.repeat(windows.clips).into(), vec![windows.clips, TOKENS]),
    ];
    Ok(graph.run_one(&feeds, "class")?.1)
}

fn windows(clips: usize) -> ClipBatch {
    let bytes = clips * FRAMES * 256 * 256 * 3;
    ClipBatch { clips, frames: FRAMES, pixels: Pixels::U8((0..bytes).map(|i| (i * 7 % 251) as u8).collect()) }
}

/// A sentence unlike the others, half of it padding.
fn sentence(number: usize) -> Arc<Sentence> {
    let is_word = |at: usize| at < TOKENS / 2;
    let id = |at: usize| if is_word(at) { (5 + 31 * at + 101 * number) as i64 % 50_000 } else { 1 };
    Arc::new(Sentence {
        ids: (0..TOKENS).map(id).collect(),
        mask: (0..TOKENS).map(|at| i64::from(is_word(at))).collect(),
    })
}

/// The model, made once.
fn models() -> Fallible<PathBuf> {
    let folder = inputs::folder().join("egovlpv2");
    // Those of a program that divided the towers otherwise do not fit either.
    if Towers::fused(&folder, HALVES, "class").is_err() {
        export(&folder)?;
    }
    Ok(folder)
}

fn export(folder: &Path) -> Fallible {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egofx"));
    command.current_dir(support::root()).args(["export", "--random", "egovlpv2", "--out"]).arg(folder);
    if command.stdout(Stdio::null()).status()?.success() { Ok(()) } else { Err("egofx cannot export the model".into()) }
}
