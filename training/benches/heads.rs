//! Training steps of ActionFormer, of the same by OpenTAD's options, of SnAG and of QFVS's summariser on the CPU, against the same
//! heads in PyTorch: forward, losses, backward, clip, AdamW; with one thread and with two.
//!
//! `cargo bench --bench heads`; `-- snag` times the heads of that name only. It needs `make setup-torch`. As in `vslnet`: the same
//! weights, batch and threads, losses compared first, timed in turn. Nothing fails by the clock.

#[path = "side/report.rs"]
mod report;
mod side;

use std::path::Path;

use egofx::compat::Compat;
use egofx_train::experiment::Experiment;
use egofx_train::heads::actionformer::{self, ActionFormer};
use egofx_train::heads::qfvs::{self, Summariser};
use egofx_train::heads::snag::{self, Snag};
use egofx_train::native::{self, AdamStep, Decay};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use report::rounds;
use side::{Fallible, Theirs};

const STEPS: usize = 1;
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
/// Relative difference of the losses of both sides, at most. A key outside of the clip that is not masked, or another epsilon, is 3e-5.
const AGREE: f64 = 1e-5;

/// A head by the name that chooses it.
type Case = (&'static str, fn() -> Fallible<Ours>);

const CASES: [Case; 4] = [
    ("actionformer", || actionformer("actionformer", "mq_actionformer_egovlp.toml")),
    ("opentad", || actionformer("opentad", "mq_actionformer_egovlp_opentad.toml")),
    ("snag", snag),
    ("qfvs", summariser),
];

fn main() -> Fallible<()> {
    native::keep_freed_memory();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    println!("batches a second: ours, PyTorch's; PyTorch's time over ours, in the middle and of each round");
    for threads in [1, 2] {
        tch::set_num_threads(threads);
        for (name, head) in &CASES {
            if wanted.is_empty() || wanted.iter().any(|one| one == name) {
                compare(head()?, threads)?;
            }
        }
    }
    Ok(())
}

fn compare(mut ours: Ours, threads: i32) -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    ours.write(folder.path())?;
    let arguments = [ours.peer.to_owned(), ours.settings.to_string(), threads.to_string()];
    let mut theirs = Theirs::start("heads.py", folder.path(), &arguments)?;
    let (here, there) = (ours.loss(), theirs.number("loss", "loss")?);
    let apart = (here - there).abs() / there.abs();
    if apart.is_nan() || apart > AGREE {
        return Err(format!("{}: the losses differ: {here} here, {there} in PyTorch", ours.name).into());
    }
    println!("{}: the losses are {here:.6} and {there:.6}, {apart:.1e} apart", ours.name);
    let what = format!("{:<13} {threads} threads", ours.name);
    rounds((&what, STEPS as f64), STEPS, |steps| ours.learn(steps), &mut theirs)
}

/// A head of this package with a batch and the state of its optimiser.
struct Ours {
    name: &'static str,
    /// What the other side calls it.
    peer: &'static str,
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

/// The tables of a shipped experiment.
fn tables<T: DeserializeOwned>(config: &str) -> Fallible<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(config);
    Ok(Experiment::read(&path)?.settings()?)
}

/// Adds noise to what starts out constant: biases, norms, and the scales of residual branches, which are so small at first that
/// losses would agree whatever the branches compute.
fn stir(store: &VarStore) {
    let mut weights: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    weights.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, mut weight) in weights.into_iter().filter(|(_, weight)| weight.max() == weight.min()) {
        tch::no_grad(|| weight.copy_(&(&weight + weight.randn_like() * 0.2)));
    }
}

fn part(tensor: &Tensor) -> Tensor {
    tensor.shallow_clone()
}

/// ActionFormer by an experiment on EgoVLP's features of Ego4D: two clips of which one fills all positions.
fn actionformer(name: &'static str, config: &str) -> Fallible<Ours> {
    let actionformer::head::Tables { features, model: settings, .. } = tables(config)?;
    let (dim, classes) = (features.dim as i64, settings.classes);
    tch::manual_seed(1);
    let store = VarStore::new(Device::Cpu);
    let head = ActionFormer::new(&store.root(), dim, &settings)?;
    stir(&store);
    let clips = [settings.max_length, 890].map(|length| Tensor::randn([dim, length], FLOAT));
    let (features, mask) = actionformer::batch(&clips, dim, &settings)?;
    let points = tch::no_grad(|| head.forward(&features, &mask, false))?.mask();
    let positive = Tensor::rand(points.size(), FLOAT).lt(0.1).logical_and(&points);
    let [clips, count] = points.size()[..] else { return Err("points are no matrix".into()) };
    let classes = Tensor::rand([clips, count, classes], FLOAT).lt(0.01).to_kind(Kind::Float) * positive.unsqueeze(-1);
    let offsets = Tensor::rand([clips, count, 2], FLOAT) * 4.0;
    let targets = actionformer::targets::Targets { classes, offsets, positive };
    let batch = vec![
        ("features", part(&features)),
        ("mask", part(&mask)),
        ("classes", part(&targets.classes)),
        ("offsets", part(&targets.offsets)),
        ("positive", part(&targets.positive)),
    ];
    let decay = 0.05;
    let network = json!({ "inputs": dim, "settings": settings });
    let optimizer = AdamW::new(&store, decay);
    let normaliser = settings.first_normaliser;
    let loss = move |train| {
        let output = head.forward(&features, &mask, train).expect("the batch fits");
        actionformer::loss::losses(&output, &targets, normaliser).total
    };
    let settings = json!({ "decay": decay, "network": network });
    Ok(Ours { name, peer: "actionformer", settings, store, batch, loss: Box::new(loss), optimizer })
}

/// SnAG as published for NLQ: a clip of Ego4D's usual length, padded to the greatest, and two queries.
fn snag() -> Fallible<Ours> {
    let snag::head::Tables { features, tokens, model: settings, .. } = tables("nlq_snag_egovlp.toml")?;
    let (dim, token_dim) = (features.dim as i64, tokens.dim as i64);
    tch::manual_seed(1);
    let store = VarStore::new(Device::Cpu);
    let head = Snag::new(&store.root(), [dim, token_dim], &settings)?;
    stir(&store);
    let (video, video_mask) = snag::padded("a clip", &[Tensor::randn([dim, 900], FLOAT)], dim, settings.max_length)?;
    let video_mask = video_mask.unsqueeze(1);
    let queries = [settings.max_tokens as i64, 11].map(|count| Tensor::randn([token_dim, count], FLOAT));
    let (tokens, token_mask) = snag::padded("a query", &queries, token_dim, settings.max_tokens as i64)?;
    let owners = Tensor::zeros([2], (Kind::Int64, Device::Cpu));
    let ranges = &settings.regression_ranges;
    let points = actionformer::points::of_pyramid(settings.max_length, ranges, Device::Cpu);
    let within = actionformer::points::masks(&video_mask, ranges.len()).index_select(0, &owners);
    let events = [[100.3, 112.9], [391.6, 760.2]].map(|[start, end]| snag::targets::Event { start, end });
    let targets = snag::targets::Targets::new(&points, &within, &events, &settings);
    let batch = vec![
        ("video", part(&video)),
        ("video_mask", part(&video_mask)),
        ("tokens", part(&tokens)),
        ("token_mask", part(&token_mask)),
        ("owners", part(&owners)),
        ("positive", part(&targets.positive)),
        ("offsets", part(&targets.offsets)),
    ];
    let decay = 0.05;
    let network = json!({ "inputs": dim, "tokens": token_dim, "settings": settings });
    let optimizer = AdamW::new(&store, decay);
    let input = snag::Input { video, video_mask, tokens, token_mask, owners };
    let loss = move |train| {
        let output = head.forward(&input, train).expect("the batch fits");
        snag::loss::losses(&output, &targets, settings.label_smoothing, settings.first_normaliser).total
    };
    let settings = json!({ "decay": decay, "network": network });
    Ok(Ours { name: "snag", peer: "snag", settings, store, batch, loss: Box::new(loss), optimizer })
}

/// The summariser as published: of two pairs of concepts the three prompts, in segments of which the last is short.
fn summariser() -> Fallible<Ours> {
    let settings =
        qfvs::Settings { embed_dim: 768, num_heads: 2, depth: 2, mlp_dim: 2048, dropout: 0.1, head_dropout: 0.2 };
    tch::manual_seed(1);
    let store = VarStore::new(Device::Cpu);
    let head = Summariser::new(&store.root(), &settings, Compat::AsReleased)?;
    stir(&store);
    let features = Tensor::randn([6, 2, 200, 768], FLOAT);
    let seg_len = Tensor::from_slice(&[200i64, 130]).unsqueeze(0).repeat([6, 1]);
    let labels = Tensor::rand([6, 2, 200], FLOAT).lt(0.1).to_kind(Kind::Float);
    let batch = vec![("features", part(&features)), ("seg_len", part(&seg_len)), ("labels", part(&labels))];
    let decay = 0.1;
    let optimizer = AdamW::new(&store, decay);
    let loss = move |train| {
        let scores = head.forward(&features, &seg_len, train).expect("the batch fits");
        qfvs::loss::loss(qfvs::loss::Scored { scores: &scores, labels: &labels }, &seg_len)
    };
    let settings = json!({ "decay": decay, "network": {} });
    Ok(Ours { name: "qfvs", peer: "qfvs", settings, store, batch, loss: Box::new(loss), optimizer })
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
