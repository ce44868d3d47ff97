//! Training steps of ActionFormer and of QFVS's summariser on the CPU, against the same heads in PyTorch: forward, losses, backward,
//! clip, AdamW; with one thread and with two.
//!
//! `cargo bench --bench heads`; it needs `make setup-torch`. As in `vslnet`: the same weights, batch and threads, losses compared
//! first, timed in turn. Nothing fails by the clock.

#[path = "side/report.rs"]
mod report;
mod side;

use std::path::Path;

use egofx::compat::Compat;
use egofx_train::heads::actionformer::targets::Targets;
use egofx_train::heads::actionformer::{self, ActionFormer};
use egofx_train::heads::qfvs::{self, Summariser};
use egofx_train::native::{self, AdamStep, Decay};
use serde_json::{Value, json};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use report::rounds;
use side::{Fallible, Theirs};

const STEPS: usize = 1;
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn main() -> Fallible<()> {
    native::keep_freed_memory();
    println!("batches a second: ours, PyTorch's; PyTorch's time over ours, in the middle and of each round");
    for threads in [1, 2] {
        tch::set_num_threads(threads);
        for head in [actionformer as fn() -> Fallible<Ours>, summariser] {
            compare(head()?, threads)?;
        }
    }
    Ok(())
}

fn compare(mut ours: Ours, threads: i32) -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    ours.write(folder.path())?;
    let arguments = [ours.name.to_owned(), ours.settings.to_string(), threads.to_string()];
    let mut theirs = Theirs::start("heads.py", folder.path(), &arguments)?;
    let (here, there) = (ours.loss(), theirs.number("loss", "loss")?);
    if (here - there).abs() > 1e-4 * there.abs() {
        return Err(format!("{}: the losses differ: {here} here, {there} in PyTorch", ours.name).into());
    }
    let what = format!("{:<13} {threads} threads", ours.name);
    rounds((&what, STEPS as f64), STEPS, |steps| ours.learn(steps), &mut theirs)
}

/// A head of this package with a batch and the state of its optimiser.
struct Ours {
    name: &'static str,
    settings: Value,
    store: VarStore,
    batch: Vec<(&'static str, Tensor)>,
    /// The loss of the batch, with or without what is dropped in training.
    loss: Box<dyn Fn(bool) -> Tensor>,
    optimizer: AdamW,
}

impl Ours {
    /// Weights and batch, for the other side.
    fn write(&self, folder: &Path) -> Fallible<()> {
        let weights = self.store.variables().into_iter().map(|(name, weight)| (format!("w.{name}"), weight.detach()));
        let batch = self.batch.iter().map(|(name, tensor)| (format!("in.{name}"), tensor.to_kind(Kind::Float)));
        Ok(Tensor::write_npz(&weights.chain(batch).collect::<Vec<_>>(), folder.join("data.npz"))?)
    }

    fn loss(&self) -> f64 {
        tch::no_grad(|| (self.loss)(false)).double_value(&[])
    }

    fn learn(&mut self, steps: usize) -> Fallible<()> {
        for _ in 0..steps {
            (self.loss)(true).backward();
            self.optimizer.step()?;
        }
        Ok(())
    }
}

/// ActionFormer as for EgoVLP's features of Ego4D: two clips of which one fills all positions.
fn actionformer() -> Fallible<Ours> {
    let lasts = [4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 10000.0];
    let ranges = lasts.iter().enumerate().map(|(level, last)| [if level == 0 { 0.0 } else { last / 4.0 }, *last]);
    let settings = actionformer::Settings {
        embed_dim: 384,
        num_heads: 4,
        window: 9,
        embedding_layers: 2,
        stem_blocks: 2,
        branch_blocks: 7,
        max_length: 1024,
        classes: 110,
        regression_ranges: ranges.collect(),
        head_layers: 3,
        dropout: 0.1,
        drop_path: 0.1,
        prior_probability: 0.01,
        centre_radius: 1.5,
        first_normaliser: 100.0,
        crop_ratio: [0.9, 1.0],
        truncation_threshold: 0.3,
        variant: actionformer::Variant::default(),
    };
    tch::manual_seed(1);
    let store = VarStore::new(Device::Cpu);
    let head = ActionFormer::new(&store.root(), 256, &settings)?;
    let clips = [Tensor::randn([256, 1024], FLOAT), Tensor::randn([256, 890], FLOAT)];
    let (features, mask) = actionformer::batch(&clips, 256, &settings)?;
    let points = tch::no_grad(|| head.forward(&features, &mask, false))?.mask();
    let positive = Tensor::rand(points.size(), FLOAT).lt(0.1).logical_and(&points);
    let classes =
        Tensor::rand([2, points.size()[1], 110], FLOAT).lt(0.01).to_kind(Kind::Float) * positive.unsqueeze(-1);
    let targets = Targets { classes, offsets: Tensor::rand([2, points.size()[1], 2], FLOAT) * 4.0, positive };
    let part = |tensor: &Tensor| tensor.shallow_clone();
    let batch = vec![
        ("features", part(&features)),
        ("mask", part(&mask)),
        ("classes", part(&targets.classes)),
        ("offsets", part(&targets.offsets)),
        ("positive", part(&targets.positive)),
    ];
    let given = json!({ "dropout": settings.dropout, "drop_path": settings.drop_path });
    let optimizer = AdamW::new(&store, 0.05);
    let loss = move |train| {
        let output = head.forward(&features, &mask, train).expect("the batch fits");
        actionformer::loss::losses(&output, &targets, 100.0).total
    };
    Ok(Ours { name: "actionformer", settings: given, store, batch, loss: Box::new(loss), optimizer })
}

/// The summariser as published: of two pairs of concepts the three prompts, in segments of which the last is short.
fn summariser() -> Fallible<Ours> {
    let settings =
        qfvs::Settings { embed_dim: 768, num_heads: 2, depth: 2, mlp_dim: 2048, dropout: 0.1, head_dropout: 0.2 };
    tch::manual_seed(1);
    let store = VarStore::new(Device::Cpu);
    let head = Summariser::new(&store.root(), &settings, Compat::AsReleased)?;
    let features = Tensor::randn([6, 2, 200, 768], FLOAT);
    let seg_len = Tensor::from_slice(&[200i64, 130]).unsqueeze(0).repeat([6, 1]);
    let labels = Tensor::rand([6, 2, 200], FLOAT).lt(0.1).to_kind(Kind::Float);
    let part = |tensor: &Tensor| tensor.shallow_clone();
    let batch = vec![("features", part(&features)), ("seg_len", part(&seg_len)), ("labels", part(&labels))];
    let optimizer = AdamW::new(&store, 0.1);
    let loss = move |train| {
        let scores = head.forward(&features, &seg_len, train).expect("the batch fits");
        qfvs::loss::loss(qfvs::loss::Scored { scores: &scores, labels: &labels }, &seg_len)
    };
    Ok(Ours { name: "qfvs", settings: json!({}), store, batch, loss: Box::new(loss), optimizer })
}

/// AdamW by the fused call; all weights decay.
struct AdamW {
    decay: f64,
    weights: Vec<Tensor>,
    exp_avgs: Vec<Tensor>,
    exp_avg_sqs: Vec<Tensor>,
    steps: Vec<Tensor>,
}

impl AdamW {
    fn new(store: &VarStore, decay: f64) -> Self {
        let weights: Vec<Tensor> =
            store.variables().values().filter(|w| w.requires_grad()).map(Tensor::shallow_clone).collect();
        let zeros = || weights.iter().map(|weight| weight.detach().zeros_like()).collect();
        let steps = weights.iter().map(|_| Tensor::zeros([], FLOAT)).collect();
        Self { decay, exp_avgs: zeros(), exp_avg_sqs: zeros(), steps, weights }
    }

    /// Clips the gradients to a norm of 1, steps, and drops them.
    fn step(&mut self) -> Fallible<()> {
        let grads: Vec<Tensor> = self.weights.iter().map(Tensor::grad).collect();
        native::scale(&grads, (1.0 / (native::norm(&grads)? + 1e-6)).min(1.0))?;
        let step = AdamStep { lr: 1e-5, betas: (0.9, 0.999), decay: self.decay, eps: 1e-8, kind: Decay::Decoupled };
        native::adam(step, &self.weights, &grads, &self.exp_avgs, &self.exp_avg_sqs, &self.steps)?;
        Ok(native::zero_grad(&self.weights)?)
    }
}
