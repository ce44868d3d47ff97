//! The worker's side of the line protocol: graphs on one device, timed where they run.
//!
//! Not for comparing. Invariant: a graph is opened once, and opening it is in no time.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use egofx::backbone::{
    Backbone, ClipBatch, Device, Feed, GraphSession, Input, OnnxBackbone, Precision, Runtime, SessionOptions, Towers,
};
use egofx::pixels::Pixels;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{self, Fallible, timed};

/// Every so manieth number of a long output is in an answer.
const SAMPLED: usize = 997;

/// A line of stdin.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum Request {
    /// Windows through a video graph: `{"seconds": 1.2, "rows": [[...], ...]}`.
    Windows { models: PathBuf, card: String, precision: String, batch: usize, frames: usize, seed: usize },
    /// Numbers through a graph whose inputs all have that shape: `{"seconds": 1.2, "sample": [...]}`.
    Numbers { graph: PathBuf, shape: Vec<usize> },
}

/// Answers until stdin ends.
pub fn serve(device: &str) -> Fallible {
    let device: Device = device.parse()?;
    let runtime = support::runtime_for(device.provider)?;
    let mut worker = Worker { runtime, device, backbones: BTreeMap::new(), graphs: BTreeMap::new() };
    for line in io::stdin().lines() {
        let answer = worker.answer(&line?).unwrap_or_else(|error| json!({"error": error.to_string()}));
        println!("{answer}");
    }
    Ok(())
}

struct Worker {
    runtime: Runtime,
    device: Device,
    backbones: BTreeMap<(String, String), OnnxBackbone>,
    graphs: BTreeMap<PathBuf, GraphSession>,
}

impl Worker {
    fn answer(&mut self, line: &str) -> Fallible<Value> {
        match serde_json::from_str(line)? {
            Request::Windows { models, card, precision, batch, frames, seed } => {
                let backbone = self.backbone(&models, card, precision)?;
                let input = backbone.towers().frames().ok_or("the backbone takes no frames")?;
                let pixels = pixels(batch, frames, seed, input.height as usize, input.width as usize);
                let batch = ClipBatch { clips: batch, frames, pixels: Pixels::U8(pixels) };
                let (rows, cost) = timed(|| backbone.forward(&Input::Windows(&batch)));
                let rows: Vec<Vec<f32>> = rows?.rows().into_iter().map(|row| row.to_vec()).collect();
                Ok(json!({"seconds": cost.wall, "rows": rows}))
            }
            Request::Numbers { graph, shape } => {
                let graph = self.graph(graph)?;
                let [inputs, _] = graph.signature();
                let feed = |(i, name)| Feed::Floats(name, numbers(i, shape.iter().product()).into(), shape.clone());
                let feeds: Vec<Feed> = inputs.iter().map(|(name, _)| name.as_str()).enumerate().map(feed).collect();
                let (outputs, cost) = timed(|| graph.run(&feeds));
                let sample: Vec<f32> = outputs?[0].1.iter().step_by(SAMPLED).copied().collect();
                Ok(json!({"seconds": cost.wall, "sample": sample}))
            }
        }
    }

    fn backbone(&mut self, models: &Path, card: String, precision: String) -> Fallible<&mut OnnxBackbone> {
        let options = self.options(precision.parse()?);
        let key = (card, precision);
        if !self.backbones.contains_key(&key) {
            let towers = Towers::single(models, &key.0, "embedding")?;
            self.backbones.insert(key.clone(), OnnxBackbone::load(&self.runtime, models, &towers, options)?);
        }
        Ok(self.backbones.get_mut(&key).ok_or("the backbone is gone")?)
    }

    fn graph(&mut self, path: PathBuf) -> Fallible<&mut GraphSession> {
        if !self.graphs.contains_key(&path) {
            let graph = GraphSession::open(&self.runtime, &path, self.options(Precision::Fp32))?;
            self.graphs.insert(path.clone(), graph);
        }
        Ok(self.graphs.get_mut(&path).ok_or("the graph is gone")?)
    }

    fn options(&self, precision: Precision) -> SessionOptions {
        SessionOptions { device: self.device, precision, threads: support::cores().len(), rearrange: true }
    }
}

/// The windows that `windows` in `benches/reference/egovlp_video.py` makes, before they are resized.
fn pixels(batch: usize, frames: usize, seed: usize, height: usize, width: usize) -> Vec<u8> {
    let frame = height * width * 3;
    let at = |i: usize| {
        let (b, f) = (i / (frame * frames), i / frame % frames);
        let (y, x, c) = (i / (width * 3) % height, i / 3 % width, i % 3);
        (7 * f + 3 * y + 5 * x + 11 * c + 29 * (seed + b)) as u8
    };
    (0..batch * frames * frame).map(at).collect()
}

/// Numbers between -1 and 1 in no order that a head or a token could notice, others for each input.
fn numbers(input: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| (7919 * (i + 31 * input) % 2003) as f32 / 1001.0 - 1.0).collect()
}
