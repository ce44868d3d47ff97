//! Features of a video from end to end, each in a process of its own: `egofx extract` against a reader of video frames and
//! PyTorch, as `benches/reference/extract.py` puts them together.
//!
//! `make bench-peers` brings what is compared with; without it nothing is measured. All get the same file, the same frames of
//! each window and the same weights (EgoVLP's size, random), and their rows are compared.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use egofx::decode::{FfmpegSource, FrameSource, HwAccel};
use egofx::plan::Layout;
use egofx::recipe::Recipe;
use egofx::store::StoreReader;
use serde::Deserialize;

use support::model::{self, Model};
use support::process::{self, Observed};
use support::{Cost, Fallible, Spread, cosine, inputs, python, root, row, show, timed};

/// Rounds of all, in turns, unless another number is given: `cargo bench --bench peers -- 1`.
const ROUNDS: usize = 3;
/// Windows of a batch.
const BATCH: usize = 4;
const MB: f64 = 1e6;

/// How features are made.
enum How {
    /// By `egofx extract` with this graph, device and precision.
    Egofx { graph: &'static str, device: &'static str, precision: &'static str },
    /// By this reader and PyTorch at this precision.
    Torch { reader: &'static str, precision: &'static str },
}

/// The first is what the others are compared with.
const VARIANTS: &[(&str, How)] = &[
    ("decord, PyTorch fp32", How::Torch { reader: "decord", precision: "fp32" }),
    ("decord, PyTorch bf16", How::Torch { reader: "decord", precision: "bf16" }),
    ("TorchCodec, PyTorch fp32", How::Torch { reader: "torchcodec", precision: "fp32" }),
    ("TorchCodec, PyTorch bf16", How::Torch { reader: "torchcodec", precision: "bf16" }),
    ("egofx, cpu, fp32", How::Egofx { graph: model::VIDEO, device: "cpu", precision: "fp32" }),
    ("egofx, cpu, int8", How::Egofx { graph: model::VIDEO_INT8, device: "cpu", precision: "fp32" }),
    ("egofx, openvino, bf16", How::Egofx { graph: model::VIDEO, device: "openvino", precision: "bf16" }),
    ("egofx, openvino, int8", How::Egofx { graph: model::VIDEO_INT8, device: "openvino", precision: "bf16" }),
];

/// What came of a variant.
#[derive(Default)]
struct Outcome {
    wall: Vec<f64>,
    cpu: Vec<f64>,
    /// Seconds until the first frame is asked for, of those that tell.
    ready: Spread,
    /// Largest peak memory of the process, bytes.
    peak: u64,
    rows: Vec<Vec<f32>>,
}

/// What `extract.py` writes.
#[derive(Deserialize)]
struct Features {
    rows: Vec<Vec<f32>>,
    ready: f64,
}

fn main() -> Fallible {
    let Some((_, versions)) = python::readers() else {
        println!("PyTorch, decord and TorchCodec are not installed here (make bench-peers): nothing to compare with");
        return Ok(());
    };
    let case =
        Case { model: model::egovlp()?, video: inputs::short()?, windows: inputs::folder().join("windows.json") };
    let windows = case.write_windows()?;
    let present: Vec<_> = VARIANTS.iter().filter(|(_, how)| how.is_present()).collect();
    let mut outcomes: Vec<(&str, Outcome)> = present.iter().map(|(label, _)| (*label, Outcome::default())).collect();
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    for _ in 0..rounds {
        for ((label, how), (_, outcome)) in present.iter().zip(&mut outcomes) {
            case.measure(how, outcome).map_err(|why| format!("{label}: {why}"))?;
        }
    }
    let threads = support::cores().len();
    support::head(&format!("20 s of 454x256, {windows} windows of 4 frames, {threads} threads ({versions})"));
    report(&outcomes);
    Ok(())
}

fn report(outcomes: &[(&str, Outcome)]) {
    let Some(((first, reference), _)) = outcomes.split_first() else { return };
    let over = |own: &[f64], others: &[f64]| own.iter().zip(others).map(|(a, b)| a / b).collect::<Spread>();
    for (label, outcome) in outcomes {
        show(&format!("{label}: wall time over that of {first}"), &over(&outcome.wall, &reference.wall), 3, "");
        show("  processor time over its", &over(&outcome.cpu, &reference.cpu), 3, "");
        row(
            "  peak memory, without that of a decoder that is a process of its own",
            &format!("{:.0} MB", outcome.peak as f64 / MB),
            "",
        );
        let cosines: Spread = reference.rows.iter().zip(&outcome.rows).map(|(a, b)| cosine(a, b)).collect();
        row(&format!("  lowest cosine to its rows, of {}", outcome.rows.len()), &format!("{:.6}", cosines.min()), "");
        let wall: Spread = outcome.wall.iter().copied().collect();
        show("  seconds, which say more about the machine", &wall, 1, " s");
        if !outcome.ready.min().is_nan() {
            show("    of these before the first frame is asked for", &outcome.ready, 1, " s");
        }
    }
}

impl How {
    fn is_present(&self) -> bool {
        let openvino = matches!(self, Self::Egofx { device: "openvino", .. });
        if openvino && !root().join(".runtime/openvino").is_dir() {
            println!("OpenVINO is not installed here (make setup-openvino): without it");
            return false;
        }
        true
    }
}

/// What all get.
struct Case {
    model: Model,
    video: PathBuf,
    windows: PathBuf,
}

impl Case {
    /// The frames of each window, by egofx's own grid; how many windows.
    fn write_windows(&self) -> Fallible<usize> {
        let source = FfmpegSource { tools: support::tools()?, threads: 0, hwaccel: HwAccel::None };
        let recipe = Recipe::read(&self.recipe(model::VIDEO)?)?;
        let video = source.probe(&self.video, None)?;
        let frames = recipe.frames().ok_or("the recipe sees no frames")?;
        let windows = Layout::new(&video, &frames, recipe.body.compat, None)?.frames;
        fs::write(&self.windows, serde_json::to_string(&windows)?)?;
        Ok(windows.len())
    }

    fn recipe(&self, graph: &str) -> Fallible<PathBuf> {
        inputs::recipe_of(graph, graph, inputs::EGOVLP)
    }

    fn measure(&self, how: &How, outcome: &mut Outcome) -> Fallible {
        let (seen, cost) = match how {
            How::Egofx { graph, device, precision } => self.egofx(graph, device, precision, outcome),
            How::Torch { reader, precision } => self.torch(reader, precision, outcome),
        }?;
        outcome.wall.push(seen.wall);
        outcome.cpu.push(cost.cpu);
        outcome.peak = outcome.peak.max(seen.peak);
        Ok(())
    }

    fn egofx(&self, graph: &str, device: &str, precision: &str, outcome: &mut Outcome) -> Fallible<(Observed, Cost)> {
        let (manifest, recipe) = (inputs::manifest("short", &self.video, None)?, self.recipe(graph)?);
        let (out, batch) = (support::scratch("peers")?, BATCH.to_string());
        let models = self.model.folder.to_string_lossy();
        let more = ["--models", &models, "--device", device, "--precision", precision, "--batch-size", &batch];
        let (seen, cost) = timed(|| process::extract(&manifest, &[recipe], &out, &more));
        let seen = seen?;
        outcome.rows = rows(&out.join(graph))?;
        Ok((seen, cost))
    }

    fn torch(&self, reader: &str, precision: &str, outcome: &mut Outcome) -> Fallible<(Observed, Cost)> {
        let (mut python, _) = python::readers().ok_or("Python's packages are gone")?;
        let out = support::scratch("peers")?.join("features.json");
        python.arg(root().join("benches/reference/extract.py"));
        python.args([&self.model.weights, &self.video, &self.windows]).arg("--out").arg(&out);
        python.args(["--reader", reader, "--precision", precision, "--batch", &BATCH.to_string()]);
        let threads = support::cores().len().to_string();
        python.args(["--threads", &threads]).stdin(Stdio::null()).stdout(Stdio::null());
        let (seen, cost) = timed(|| process::run(&mut python, None));
        let seen = seen?;
        let Features { rows, ready } = serde_json::from_slice(&fs::read(out)?)?;
        outcome.rows = rows;
        outcome.ready.push(ready);
        Ok((seen, cost))
    }
}

/// All rows of the one unit of a store.
fn rows(store: &Path) -> Fallible<Vec<Vec<f32>>> {
    let reader = StoreReader::open(store)?;
    let committed = reader.committed()?;
    let entry = committed.iter().next().ok_or("the store has no unit")?;
    Ok(reader.read_entry(entry)?.features.rows().into_iter().map(|row| row.to_vec()).collect())
}
