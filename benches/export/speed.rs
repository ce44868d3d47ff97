//! Video towers of EgoVLP and LaViLa, and SlowFast: exported graphs against PyTorch, round by round, and how near their rows are.
//!
//! Not for what made either fast or slow. Invariant: all get the same windows. PyTorch's time begins at normalised
//! floats, egofx's at `uint8` frames.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use super::peer::Peer;
use super::worker::Request;
use crate::support::model::{self, Model};
use crate::support::{self, Fallible, Spread, cosine, row, show};

/// Rounds that count, after one that does not.
const ROUNDS: usize = 5;

/// What is measured.
struct Case {
    what: &'static str,
    /// What PyTorch runs, in `benches/reference`.
    script: &'static str,
    /// Windows of a batch, and their frames.
    batch: usize,
    frames: usize,
    variants: &'static [Variant],
}

/// What is compared: label, who runs it, graph, precision. The first that can run is what the others are compared with.
type Variant = (&'static str, Who, &'static str, &'static str);

/// Who runs a variant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Torch,
    Cpu,
    OpenVino,
}

const EGOVLP: Case =
    Case { what: "EgoVLP's video tower", script: "egovlp_video.py", batch: 4, frames: 4, variants: EGOVLP_VARIANTS };

const LAVILA: Case = Case {
    what: "LaViLa's base video tower",
    script: "lavila_video.py",
    batch: 4,
    frames: 4,
    variants: LAVILA_VARIANTS,
};

/// A batch of one would be run twice over, see `GraphSession::run_rows`.
const SLOWFAST: Case =
    Case { what: "SlowFast 8x8 R101", script: "slowfast_video.py", batch: 2, frames: 32, variants: SLOWFAST_VARIANTS };

const EGOVLP_VARIANTS: &[Variant] = &[
    ("PyTorch fp32", Who::Torch, "", "fp32"),
    ("PyTorch bf16 (autocast)", Who::Torch, "", "bf16"),
    ("cpu, fp32", Who::Cpu, model::VIDEO, "fp32"),
    ("cpu, int8 graph", Who::Cpu, model::VIDEO_INT8, "fp32"),
    ("openvino, fp32", Who::OpenVino, model::VIDEO, "fp32"),
    ("openvino, bf16", Who::OpenVino, model::VIDEO, "bf16"),
    ("openvino, int8 graph, bf16", Who::OpenVino, model::VIDEO_INT8, "bf16"),
];

const LAVILA_VARIANTS: &[Variant] = &[
    ("PyTorch fp32", Who::Torch, "", "fp32"),
    ("PyTorch bf16 (autocast)", Who::Torch, "", "bf16"),
    ("cpu, fp32", Who::Cpu, model::LAVILA_VIDEO, "fp32"),
    ("cpu, int8 graph", Who::Cpu, model::LAVILA_VIDEO_INT8, "fp32"),
    ("openvino, fp32", Who::OpenVino, model::LAVILA_VIDEO, "fp32"),
    ("openvino, bf16", Who::OpenVino, model::LAVILA_VIDEO, "bf16"),
    ("openvino, int8 graph, bf16", Who::OpenVino, model::LAVILA_VIDEO_INT8, "bf16"),
];

const SLOWFAST_VARIANTS: &[Variant] = &[
    ("PyTorch fp32", Who::Torch, "", "fp32"),
    ("PyTorch bf16 (autocast)", Who::Torch, "", "bf16"),
    ("cpu, fp32", Who::Cpu, model::SLOWFAST_VIDEO, "fp32"),
    ("cpu, int8 graph", Who::Cpu, model::SLOWFAST_VIDEO_INT8, "fp32"),
    ("openvino, fp32", Who::OpenVino, model::SLOWFAST_VIDEO, "fp32"),
    ("openvino, bf16", Who::OpenVino, model::SLOWFAST_VIDEO, "bf16"),
    ("openvino, int8 graph, bf16", Who::OpenVino, model::SLOWFAST_VIDEO_INT8, "bf16"),
];

/// What came of a variant.
struct Outcome {
    label: &'static str,
    seconds: Vec<f64>,
    rows: Vec<Vec<f32>>,
    /// Why it cannot be had, if it cannot.
    fault: Option<String>,
}

/// EgoVLP.
pub fn run() -> Fallible {
    compare(&EGOVLP, &model::egovlp()?)
}

/// LaViLa's base.
pub fn lavila() -> Fallible {
    compare(&LAVILA, &model::lavila()?)
}

/// SlowFast. `taskset -c 0 cargo bench --bench export -- slowfast` is what one thread does.
pub fn slowfast() -> Fallible {
    compare(&SLOWFAST, &model::slowfast()?)
}

fn compare(case: &Case, model: &Model) -> Fallible {
    let mut peers = Peers::start(case, model)?;
    let mut outcomes = measure(case, model, &mut peers);
    for outcome in &outcomes {
        if let Some(fault) = &outcome.fault {
            let why = fault.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
            println!("{} cannot run: {why}", outcome.label);
        }
    }
    outcomes.retain(|outcome| outcome.fault.is_none());
    report(case, &outcomes, peers.version.as_deref());
    Ok(())
}

/// Every variant that somebody is there for, in turns.
fn measure(case: &Case, model: &Model, peers: &mut Peers) -> Vec<Outcome> {
    let present = case.variants.iter().filter(|variant| peers.of(variant.1).is_some());
    let empty = |label| Outcome { label, seconds: Vec::new(), rows: Vec::new(), fault: None };
    let mut outcomes: Vec<Outcome> = present.map(|variant| empty(variant.0)).collect();
    for round in 0..=ROUNDS {
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.fault.is_none()) {
            match peers.forward(case, model, outcome.label) {
                Ok((seconds, rows)) => {
                    // The first is for warming up.
                    outcome.seconds.extend((round > 0).then_some(seconds));
                    outcome.rows = rows;
                }
                Err(fault) => outcome.fault = Some(fault.to_string()),
            }
        }
    }
    outcomes
}

fn report(case: &Case, outcomes: &[Outcome], version: Option<&str>) {
    let Case { what, batch, frames, .. } = case;
    let Some((reference, others)) = outcomes.split_first() else { return };
    let version = version.map_or(String::new(), |version| format!(" (PyTorch {version})"));
    let threads = support::cores().len();
    let name = reference.label;
    support::head(&format!("{what}, {batch} windows of {frames} frames, {threads} threads{version}"));
    for other in others {
        let label = other.label;
        let ratios: Spread = other.seconds.iter().zip(&reference.seconds).map(|(a, b)| a / b).collect();
        show(&format!("{label}: time over that of {name}"), &ratios, 3, "");
        let fastest = other.spread().min() / reference.spread().min();
        row(&format!("{label}: the fastest run of each"), &format!("{fastest:.3}"), "");
    }
    support::head("The same: how near the rows are");
    for other in others {
        let cosines: Spread = reference.rows.iter().zip(&other.rows).map(|(a, b)| cosine(a, b)).collect();
        row(&format!("{}: lowest cosine to {name}", other.label), &format!("{:.6}", cosines.min()), "");
        if other.label.ends_with("fp32") {
            row(
                &format!("{}: largest difference from {name}", other.label),
                &format!("{:.1e}", other.off(reference)),
                "",
            );
        }
    }
    support::head("The same: seconds a window, which say more about the machine than about the program");
    for outcome in outcomes {
        show(outcome.label, &outcome.spread_of(*batch), 3, " s");
    }
}

impl Outcome {
    /// Seconds a batch.
    fn spread(&self) -> Spread {
        self.spread_of(1)
    }

    /// Seconds a window, `batch` of which were run at once.
    fn spread_of(&self, batch: usize) -> Spread {
        self.seconds.iter().map(|seconds| seconds / batch as f64).collect()
    }

    /// The largest difference of a number.
    fn off(&self, reference: &Self) -> f32 {
        let pairs = reference.rows.iter().flatten().zip(self.rows.iter().flatten());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }
}

/// The processes that run the variants.
struct Peers {
    torch: Option<Peer>,
    version: Option<String>,
    cpu: Peer,
    openvino: Option<Peer>,
}

impl Peers {
    fn start(case: &Case, model: &Model) -> Fallible<Self> {
        let (torch, version) = Peer::torch(case.script, &model.weights)?.unzip();
        Ok(Self { torch, version, cpu: Peer::cpu()?, openvino: Peer::openvino(Stdio::inherit())? })
    }

    fn of(&mut self, who: Who) -> Option<&mut Peer> {
        match who {
            Who::Torch => self.torch.as_mut(),
            Who::Cpu => Some(&mut self.cpu),
            Who::OpenVino => self.openvino.as_mut(),
        }
    }

    /// Seconds and rows of the variant `label`.
    fn forward(&mut self, case: &Case, model: &Model, label: &str) -> Fallible<(f64, Vec<Vec<f32>>)> {
        let Case { batch, frames, variants, .. } = *case;
        let variant = variants.iter().find(|variant| variant.0 == label).ok_or("no such variant")?;
        let (_, who, card, precision) = *variant;
        let out = model.folder.join("torch.json");
        let request = match who {
            Who::Torch => json!({"run": precision, "batch": batch, "frames": frames, "seed": 0, "out": out}),
            Who::Cpu | Who::OpenVino => serde_json::to_value(Request::Windows {
                models: model.folder.clone(),
                card: card.to_owned(),
                precision: precision.to_owned(),
                batch,
                frames,
                seed: 0,
            })?,
        };
        let mut answer: Value = self.of(who).ok_or("it is not running")?.ask(&request)?;
        let rows = if who == Who::Torch { serde_json::from_slice(&fs::read(out)?)? } else { answer["rows"].take() };
        Ok((answer["seconds"].as_f64().ok_or("no seconds in the answer")?, serde_json::from_value(rows)?))
    }
}
