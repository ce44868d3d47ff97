//! EgoVLP's video tower on a GPU: every provider and precision beside PyTorch's, and whole runs with each.
//!
//! For `make gpu-check`; the CPU gives the rows that the others are compared with. What cannot be run is named with its reason.
//! Invariant: all get the same windows, and the first round of each does not count.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::gpu_table::{Line, table};
use super::peer::Peer;
use super::worker::Request;
use crate::support::model::{self, Model};
use crate::support::{self, Fallible, Spread, cosine, inputs, process};

/// Rounds that count.
const ROUNDS: usize = 10;
/// Windows of a batch on a GPU, and their frames.
const BATCH: usize = 32;
const FRAMES: usize = 4;
/// Rows that are compared with the CPU's, which is slow.
const COMPARED: usize = 2;
/// Operations of a window, two for each product of a matrix multiplication.
const OPERATIONS: f64 = 185e9;

/// Who runs it: device, graph, precision. The first is the reference.
const VARIANTS: &[(&str, &str, &str)] = &[
    ("cpu", model::VIDEO, "fp32"),
    ("cuda", model::VIDEO, "fp32"),
    ("cuda", model::VIDEO, "tf32"),
    ("cuda", model::VIDEO_FP16, "fp16"),
    ("tensorrt", model::VIDEO_FP16, "fp16"),
];
/// What PyTorch runs: half precision by scaled_dot_product_attention, eager and compiled.
const OF_TORCH: &[&str] = &["fp16-sdpa", "fp16-sdpa-compile"];

pub fn run() -> Fallible {
    let model = model::egovlp()?;
    let mut torch = Peer::torch_on_gpu(&model.weights)?;
    let mut lines = Vec::new();
    let mut reference = Vec::new();
    for &(device, card, precision) in VARIANTS {
        match variant(&model, device, card, precision) {
            Ok((mut line, rows)) => {
                if reference.is_empty() {
                    reference = rows;
                } else {
                    line.cosine = Some(nearness(&reference, &rows));
                }
                line.dense = torch.as_mut().and_then(|peer| dense(peer, precision).ok());
                lines.push(line);
            }
            Err(fault) => println!("{device} {precision} cannot run: {fault}"),
        }
    }
    for mode in torch.iter_mut().flat_map(|peer| {
        OF_TORCH.iter().map(|mode| (mode, of_torch(&model, peer, mode, &reference))).collect::<Vec<_>>()
    }) {
        match mode {
            (_, Ok(line)) => lines.push(line),
            (mode, Err(fault)) => println!("PyTorch {mode} cannot run: {fault}"),
        }
    }
    support::head(&format!(
        "EgoVLP's video tower, batches of {BATCH} windows of {FRAMES} frames (the CPU: {COMPARED})"
    ));
    println!("\n{}", table(&lines, OPERATIONS));
    Ok(())
}

/// Times a graph on a device and a whole run with it; the first rows of the batch.
fn variant(model: &Model, device: &str, card: &str, precision: &str) -> Fallible<(Line, Vec<Vec<f32>>)> {
    let (on_cpu, mut peer) = (device == "cpu", Peer::on(device, Stdio::inherit())?);
    let (batch, rounds) = if on_cpu { (COMPARED, 1) } else { (BATCH, ROUNDS) };
    let request = serde_json::to_value(Request::Windows {
        models: model.folder.clone(),
        card: card.to_owned(),
        precision: precision.to_owned(),
        batch,
        frames: FRAMES,
        seed: 0,
    })?;
    let mut rows = Value::Null;
    let mut seconds = Spread::default();
    for round in 0..=rounds {
        let mut answer = peer.ask(&request)?;
        let taken = answer["seconds"].as_f64().ok_or("no seconds in the answer")?;
        if round > 0 {
            seconds.push(taken / batch as f64);
        }
        rows = answer["rows"].take();
    }
    drop(peer);
    let (provider, precision) = (device.to_owned(), precision.to_owned());
    let line = Line { provider, window_sec: seconds.median(), ..Line::default() };
    let line = if on_cpu { line } else { with_run(line, model, device, &precision)? };
    Ok((Line { precision, ..line }, serde_json::from_value(rows)?))
}

/// Adds what a whole run came to.
fn with_run(line: Line, model: &Model, device: &str, precision: &str) -> Fallible<Line> {
    let recipe = inputs::folder().join("gpu.toml");
    let text = fs::read_to_string(inputs::recipe_file("gpu-tiny", inputs::DENSE)?)?;
    fs::write(&recipe, text.replace("\"tiny\"", &format!("{:?}", model::VIDEO)))?;
    let (manifest, out) = (inputs::manifest("gpu", &inputs::long(5)?, None)?, support::scratch("gpu")?);
    let models = model.folder.display().to_string();
    let flags = ["--device", device, "--precision", precision, "--models", &models, "--hwaccel", "cuda"];
    let report = process::extract(&manifest, &[recipe], &out, &flags)?.report;
    let number = |value: &Value| value.as_f64().ok_or("a number is wanting in the report");
    let decode = report["stages"].as_array().and_then(|stages| stages.iter().find(|s| s["stage"] == "decode"));
    let busy = number(&decode.ok_or("no decode stage in the report")?["busy_sec"])?;
    Ok(Line {
        decode_rate: Some(number(&report["frames_decoded"])? / busy),
        real_time: Some(number(&report["video_sec"])? / number(&report["elapsed_sec"])?),
        ..line
    })
}

fn of_torch(model: &Model, peer: &mut Peer, mode: &str, reference: &[Vec<f32>]) -> Fallible<Line> {
    let out = model.folder.join("torch.json");
    let request = json!({"run": mode, "batch": BATCH, "frames": FRAMES, "repeat": ROUNDS, "out": out});
    let answer = peer.ask(&request)?;
    let rows = rows_of(&out)?;
    Ok(Line {
        provider: "PyTorch".to_owned(),
        precision: mode.to_owned(),
        window_sec: answer["seconds"].as_f64().ok_or("no seconds in the answer")? / BATCH as f64,
        dense: dense(peer, "fp16").ok(),
        cosine: Some(nearness(reference, &rows)),
        ..Line::default()
    })
}

fn rows_of(path: &Path) -> Fallible<Vec<Vec<f32>>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn nearness(reference: &[Vec<f32>], rows: &[Vec<f32>]) -> f64 {
    reference.iter().zip(rows).map(|(a, b)| cosine(a, b)).collect::<Spread>().min()
}

/// Operations a second of a large matrix product in `precision`, by PyTorch.
fn dense(peer: &mut Peer, precision: &str) -> Fallible<f64> {
    let answer = peer.ask(&json!({"dense": precision}))?;
    Ok(answer["operations_per_sec"].as_f64().ok_or("no rate in the answer")?)
}
