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
/// Windows of a model input.
const WINDOWS: usize = 2;
/// Frames of a window.
const FRAMES: usize = 4;
/// Tokens of a sentence, padding included.
const TOKENS: usize = 30;
/// Pairs of measurements.
const ROUNDS: usize = 3;

fn main() -> Fallible {
    let models = models()?;
    let runtime = support::runtime()?;
    let device = Device { provider: Provider::Cpu, ordinal: 0 };
    let threads = support::cores().len();
    let options = SessionOptions { device, precision: Precision::Fp32, threads, rearrange: true };
    let names = ["egovlpv2_lower_video", "egovlpv2_lower_text", "egovlpv2_upper"];
    let mut split = OnnxBackbone::load(&runtime, &models, &Towers::fused(&models, names, "class")?, options)?;
    let card = Card::read(&models, "egovlpv2_fused")?;
    let mut whole = GraphSession::open(&runtime, &card.graph_path(&models), options)?;
    let (windows, sentences) = (windows(), (0..SENTENCES).map(sentence).collect::<Vec<_>>());
    let pairs: Vec<PairedSentence> =
        sentences.iter().map(|sentence| PairedSentence { windows: 0..WINDOWS, sentence: sentence.clone() }).collect();

    let (mut ratio, mut apart) = (Spread::default(), 0.0_f32);
    for round in 0..=ROUNDS {
        let (rows, once) = timed(|| split.forward(&Input::Pairs(&windows, &pairs)));
        let (again, each) = timed(|| sentences.iter().map(|s| whole_tower(&mut whole, &windows, s)).collect());
        let again: Fallible<Vec<Vec<f32>>> = again;
        let (rows, again) = (rows?, again?.concat());
        apart = rows.iter().zip(&again).map(|(a, b)| (a - b).abs()).fold(apart, f32::max);
        // The first round warms both up.
        if round > 0 {
            ratio.push(once.wall / each.wall);
        }
    }
    head(&format!("{SENTENCES} sentences on {WINDOWS} windows of {FRAMES} frames, EgoVLPv2, {threads} threads"));
    show("time over that of the whole tower for each sentence, at most 0.60", &ratio, 3, "");
    row("largest difference between the two", &format!("{apart:.1e}"), "");
    Ok(())
}

/// One sentence on all windows, by the whole tower.
fn whole_tower(graph: &mut GraphSession, windows: &ClipBatch, sentence: &Sentence) -> Fallible<Vec<f32>> {
    let feeds = [
        Feed::Bytes("frames", windows.pixels.levels(), vec![WINDOWS, FRAMES, 256, 256, 3]),
        Feed::Ints("ids", sentence.ids.repeat(WINDOWS).into(), vec![WINDOWS, TOKENS]),
        Feed::Ints("mask", sentence.mask.repeat(WINDOWS).into(), vec![WINDOWS, TOKENS]),
    ];
    Ok(graph.run_one(&feeds, "class")?.1)
}

fn windows() -> ClipBatch {
    let bytes = WINDOWS * FRAMES * 256 * 256 * 3;
    ClipBatch { clips: WINDOWS, frames: FRAMES, pixels: Pixels::U8((0..bytes).map(|i| (i * 7 % 251) as u8).collect()) }
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
    if !folder.join("egovlpv2_upper.toml").exists() {
        export(&folder)?;
    }
    Ok(folder)
}

fn export(folder: &Path) -> Fallible {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egofx"));
    command.current_dir(support::root()).args(["export", "--random", "egovlpv2", "--out"]).arg(folder);
    if command.stdout(Stdio::null()).status()?.success() { Ok(()) } else { Err("egofx cannot export the model".into()) }
}
