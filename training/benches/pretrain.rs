//! Steps of EgoVLPv2's pretraining against the same steps in PyTorch: both towers alone, fused with hidden words, fused with
//! mined pairs, the three losses, backward, clipping, AdamW.
//!
//! `cargo bench --bench pretrain`; it needs `make setup-torch`. On the CPU a small network in single precision; where
//! `EGOFX_TRAIN_DEVICE=cuda`, the published one, 32 clips in bf16 with recomputation, with the memory that each side takes of
//! the card. Both sides have the same weights, batch, pairs and threads, and are timed in turn: other work on the machine
//! meets both. First their losses are compared. The share of the matrix rate is that of the operations of a step (those of the
//! recomputation left out) over its time, against what a large matrix product reaches on the same device in the same run.
//! Nothing fails by the clock.

mod side;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use egofx_train::backbones::{EgoVlpV2, EgoVlpV2Config, Projector, TextConfig, TimeInit, VideoConfig};
use egofx_train::device::{Choice, find};
use egofx_train::losses::{classification, cosine, egonce, mlm_loss};
use egofx_train::optimizer::{LrMult, Optimizer, OptimizerKind, OptimizerSettings, ParamGroup};
use egofx_train::precision::{Precision, within};
use serde_json::json;
use tch::nn::VarStore;
use tch::{Cuda, Device, Kind, Tensor};

use side::{Fallible, Theirs, median};

const THREADS: i32 = 2;
const ROUNDS: usize = 5;
const STEPS: usize = 2;
const FRAMES: i64 = 4;
const TOKENS: i64 = 16;

/// What is computed, and how.
struct Case {
    settings: EgoVlpV2Config,
    batch: i64,
    precision: Option<Precision>,
    activation_checkpointing: bool,
    device: Device,
}

impl Case {
    fn of(device: Device) -> Self {
        let is_full = device != Device::Cpu;
        let pick = |full: usize, small: usize| if is_full { full } else { small };
        let (embed_dim, depth, mlp_dim) = (pick(768, 192), pick(12, 6), pick(3072, 768));
        let video = VideoConfig {
            image_size: pick(224, 96),
            patch_size: 16,
            embed_dim,
            depth,
            num_heads: pick(12, 4),
            mlp_dim,
            num_frames: FRAMES as usize,
            time_init: TimeInit::Rand,
            initializer_range: 0.02,
        };
        let text = TextConfig {
            embed_dim,
            num_heads: pick(12, 4),
            mlp_dim,
            // Both sides have the same loss without it.
            dropout: 0.0,
            ..TextConfig::base(pick(50265, 2000), pick(514, 34), depth)
        };
        let (projector, num_fused_layers) = (Projector::full(pick(4096, 512)), depth / 2);
        let settings =
            EgoVlpV2Config { video, text, projector, num_fused_layers, cross_attn_gate_init: 0.5, answers: None };
        let precision = is_full.then_some(Precision::Bf16);
        Self { settings, batch: pick(32, 8) as i64, precision, activation_checkpointing: is_full, device }
    }

    /// Multiplications and additions of a step: three passes through both towers, forward once and backward twice.
    fn operations(&self) -> f64 {
        let EgoVlpV2Config { video, text, num_fused_layers: fused, .. } = &self.settings;
        let [width, hidden, depth, fused] = [video.embed_dim, video.mlp_dim, video.depth, *fused].map(|n| n as f64);
        let (patches, words, frames) = (video.num_patches() as f64, TOKENS as f64, FRAMES as f64);
        let tokens = 1.0 + frames * patches;
        let pixels = 3.0 * (video.patch_size * video.patch_size) as f64;
        // Two attentions of four maps each, and the MLP.
        let block = tokens * (8.0 * width * width + 2.0 * width * hidden)
            + 2.0 * tokens * width * (patches + frames + 2.0)
            + 2.0 * 2.0 * tokens * width;
        let layer = words * (4.0 * width * width + 2.0 * width * hidden) + 2.0 * words * words * width;
        let meeting = tokens * 2.0 * width * width
            + words * 2.0 * width * width
            + words * 2.0 * width * width
            + tokens * 2.0 * width * width
            + 4.0 * tokens * words * width;
        let pass = depth * (block + layer) + tokens * pixels * width;
        let heads = words * width * (width + text.vocab_size as f64);
        2.0 * 3.0 * self.batch as f64 * (3.0 * pass + 2.0 * fused * meeting + heads)
    }
}

fn main() -> Fallible<()> {
    tch::set_num_threads(THREADS);
    let named = std::env::var("EGOFX_TRAIN_DEVICE").unwrap_or("cpu".to_owned());
    let case = Case::of(find(named.parse::<Choice>()?)?.device);
    let free = used_mib(case.device);
    let mut ours = Ours::new(&case)?;
    let folder = tempfile::tempdir()?;
    ours.write(folder.path())?;
    let here = ours.loss()?;
    ours.seconds(1)?;
    let own = used_mib(case.device);
    let settings = json!({
        "depth": case.settings.video.depth,
        "heads": case.settings.video.num_heads,
        "fused": case.settings.num_fused_layers,
        "patch": case.settings.video.patch_size,
        "recompute": case.activation_checkpointing,
        "bf16": case.precision.is_some(),
        "device": if case.device == Device::Cpu { "cpu" } else { "cuda" },
    });
    let mut theirs = Theirs::start("pretrain.py", folder.path(), &[settings.to_string(), THREADS.to_string()])?;
    let there = theirs.number("loss", "loss")?;
    let tolerance = if case.precision.is_some() { 2e-2 } else { 1e-4 };
    if (here - there).abs() > tolerance * there.abs() {
        return Err(format!("the losses differ: {here} here, {there} in PyTorch").into());
    }
    theirs.number("1", "seconds")?;
    let both = used_mib(case.device);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push((ours.seconds(STEPS)?, theirs.number(&STEPS.to_string(), "seconds")?));
    }
    report(&case, &rounds);
    if let (Some(free), Some(own), Some(both)) = (free, own, both) {
        println!("memory of the card: {} MiB here, {} MiB in PyTorch", own - free, both - own);
    }
    Ok(())
}

fn report(case: &Case, rounds: &[(f64, f64)]) {
    let rate = |seconds: f64| case.batch as f64 * STEPS as f64 / seconds;
    let (ours, theirs) =
        (median(rounds.iter().map(|round| rate(round.0))), median(rounds.iter().map(|round| rate(round.1))));
    let ratios: Vec<f64> = rounds.iter().map(|round| round.1 / round.0).collect();
    let shown: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    let VideoConfig { embed_dim, depth, image_size, .. } = case.settings.video;
    println!(
        "EgoVLPv2, embed_dim {embed_dim}, depth {depth}, {FRAMES} frames of {image_size}, batch {}, {:?}",
        case.batch, case.device
    );
    println!("clips per second: {ours:.1} here, {theirs:.1} in PyTorch; ratio {:.2}", median(ratios.iter().copied()));
    println!("ratio of each round: {}", shown.join(" "));
    let (most, reached) = (matrix_rate(case), case.operations() * ours / case.batch as f64);
    let share = 100.0 * reached / most;
    println!("{:.2} TFLOP/s of {:.2} that a matrix product reaches: {share:.0} %", reached / 1e12, most / 1e12);
}

/// Operations per second of a large matrix product.
fn matrix_rate(case: &Case) -> f64 {
    let kind = if case.precision.is_some() { Kind::BFloat16 } else { Kind::Float };
    let side = if case.device == Device::Cpu { 2048 } else { 8192 };
    let matrix = Tensor::randn([side, side], (Kind::Float, case.device)).to_kind(kind);
    let product = || drop(matrix.matmul(&matrix));
    product();
    wait(case.device);
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        product();
        wait(case.device);
        start.elapsed().as_secs_f64()
    });
    2.0 * (side as f64).powi(3) / median(rounds)
}

/// Until a GPU has done what it was told.
fn wait(device: Device) {
    if let Device::Cuda(number) = device {
        Cuda::synchronize(number as i64);
    }
}

/// What is taken of the card's memory, by anyone.
fn used_mib(device: Device) -> Option<i64> {
    let Device::Cuda(number) = device else { return None };
    let arguments = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", &format!("--id={number}")];
    let output = Command::new("nvidia-smi").args(arguments).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// The network of this package with its batch.
struct Ours<'c> {
    case: &'c Case,
    store: VarStore,
    model: EgoVlpV2,
    optimizer: Optimizer,
    batch: Vec<(&'static str, Tensor)>,
}

impl<'c> Ours<'c> {
    fn new(case: &'c Case) -> Fallible<Self> {
        tch::manual_seed(1);
        let store = VarStore::new(case.device);
        let model = EgoVlpV2::new(&store.root(), &case.settings, case.activation_checkpointing)?;
        let settings = OptimizerSettings {
            kind: OptimizerKind::Adamw,
            lr: 1e-5,
            weight_decay: 0.01,
            betas: [0.9, 0.999],
            eps: 1e-8,
            head_lr_mult: 1.0,
        };
        let all = |_: &str, _: &[i64]| ParamGroup { decays: true, lr_mult: LrMult::Base };
        let optimizer = Optimizer::new(&store, &settings, all);
        Ok(Self { case, model, optimizer, batch: batch(case), store })
    }

    /// Weights and batch, for the other side.
    fn write(&self, folder: &Path) -> Fallible<()> {
        let cpu = |tensor: &Tensor| tensor.detach().to_device(Device::Cpu);
        let weights = self.store.variables().into_iter().map(|(name, weight)| (format!("w.{name}"), cpu(&weight)));
        let batch = self.batch.iter().map(|(name, tensor)| (format!("in.{name}"), cpu(tensor)));
        Ok(Tensor::write_npz(&weights.chain(batch).collect::<Vec<_>>(), folder.join("data.npz"))?)
    }

    fn get(&self, name: &str) -> &Tensor {
        let found = self.batch.iter().find(|(found, _)| *found == name);
        &found.unwrap_or_else(|| panic!("the batch has no {name}")).1
    }

    fn forward(&self) -> Fallible<Tensor> {
        Ok(within(self.case.precision, self.case.device, || {
            let [frames, ids, mask] = ["frames", "ids", "mask"].map(|name| self.get(name));
            let texts = self.model.text(ids, mask, true).pooled;
            let sim = cosine(&texts, &self.model.video(frames, true));
            let egonce_loss = egonce(&sim, &self.get("positives").ne(0), 0.05);
            let fused = self.model.fused(frames, self.get("hidden_ids"), mask, true);
            let words = mlm_loss(&self.model.mlm(&fused), self.get("hidden_labels"));
            let [video, text] = ["video_index", "text_index"].map(|name| self.get(name));
            let row = |rows: &Tensor, index: &Tensor| rows.index_select(0, index);
            let fused = self.model.fused(&row(frames, video), &row(ids, text), &row(mask, text), true);
            Ok(egonce_loss + words + 2.0 * classification(&self.model.vtm(&fused), self.get("match")))
        })?)
    }

    fn loss(&self) -> Fallible<f64> {
        Ok(tch::no_grad(|| self.forward())?.double_value(&[]))
    }

    fn seconds(&mut self, steps: usize) -> Fallible<f64> {
        let start = Instant::now();
        for _ in 0..steps {
            self.forward()?.backward();
            self.optimizer.clip_grad_norm(Some(1.0))?;
            self.optimizer.step(1.0)?;
            self.optimizer.zero_grad()?;
        }
        wait(self.case.device);
        Ok(start.elapsed().as_secs_f64())
    }
}

/// A batch as EgoClip's are: sentences of different lengths, a hidden word in seven, half of the pairs right.
fn batch(case: &Case) -> Vec<(&'static str, Tensor)> {
    let (int, count, image) = ((Kind::Int64, Device::Cpu), case.batch, case.settings.video.image_size as i64);
    let lengths = Tensor::from_slice(&(0..count).map(|row| TOKENS - row % 8).collect::<Vec<_>>());
    let mask = Tensor::arange(TOKENS, int).lt_tensor(&lengths.unsqueeze(1)).to_kind(Kind::Int64);
    // Above all specials; padding is 1.
    let ids = Tensor::randint_low(10, case.settings.text.vocab_size as i64, [count, TOKENS], int);
    let ids: Tensor = &ids * &mask + mask.eq(0).to_kind(Kind::Int64);
    let is_hidden = Tensor::arange(count * TOKENS, int).view([count, TOKENS]).remainder(7).eq(3) * mask.ne(0);
    let rows = Tensor::arange(count, int);
    let right = rows.remainder(2).eq(0);
    let others = rows.roll([1], [0]);
    let all = [
        ("frames", Tensor::randn([count, FRAMES, 3, image, image], (Kind::Float, Device::Cpu))),
        ("positives", Tensor::eye(count, int)),
        ("hidden_ids", ids.masked_fill(&is_hidden, 4)),
        ("hidden_labels", ids.masked_fill(&is_hidden.logical_not(), -100)),
        ("video_index", rows.where_self(&right, &others)),
        ("match", right.to_kind(Kind::Int64)),
        ("text_index", rows),
        ("ids", ids),
        ("mask", mask),
    ];
    all.map(|(name, tensor)| (name, tensor.to_device(case.device))).into()
}
