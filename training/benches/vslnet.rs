//! Training steps of VSLNet on the CPU, against the same head in PyTorch: forward, losses, backward, clip, AdamW.
//!
//! `cargo bench --bench vslnet`; it needs `make setup-torch`. Both sides have the same weights, batch and threads, and
//! are timed in turn: other work on the machine meets both. First their losses without dropout are compared. Nothing
//! fails by the clock.

#[path = "side/report.rs"]
mod report;
mod side;

use std::path::Path;

use egofx::compat::Compat;
use egofx_train::heads::vslnet::loss::{Targets, losses};
use egofx_train::heads::vslnet::{Dims, Input, PredictorKind, Settings, Vslnet, decays};
use egofx_train::native::{self, AdamStep, Decay};
use serde_json::json;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use report::rounds;
use side::{Fallible, Theirs};

const BATCH: i64 = 32;
const POSITIONS: i64 = 256;
const TOKENS: i64 = 15;
const STEPS: usize = 2;
const LR: f64 = 1e-4;
const DECAY: f64 = 0.01;

fn main() -> Fallible<()> {
    native::keep_freed_memory();
    println!("VSLNet, batch {BATCH}, {POSITIONS} positions, {TOKENS} tokens; batch items per second");
    println!(
        "threads width    predictor      ours   PyTorch; PyTorch's time over ours, in the middle and of each round"
    );
    for threads in [1, 2] {
        for (dim, predictor) in [
            (256, PredictorKind::Transformer),
            (768, PredictorKind::Transformer),
            (256, PredictorKind::Rnn),
            (768, PredictorKind::Rnn),
        ] {
            compare(dim, predictor, threads)?;
        }
    }
    Ok(())
}

fn compare(dim: i64, predictor: PredictorKind, threads: i32) -> Fallible<()> {
    tch::set_num_threads(threads);
    let mut ours = Ours::new(dim, predictor)?;
    let folder = tempfile::tempdir()?;
    ours.write(folder.path())?;
    let settings = &ours.settings;
    let settings = json!({
        "video_dim": dim,
        "query_dim": dim,
        "width": settings.embed_dim,
        "heads": settings.num_heads,
        "positions": settings.max_position_embeddings,
        "dropout": settings.dropout,
        "predictor": settings.predictor,
    });
    let mut theirs = Theirs::start("vslnet.py", folder.path(), &[settings.to_string(), threads.to_string()])?;
    let (here, there) = (ours.loss(), theirs.number("loss", "loss")?);
    if (here - there).abs() > 1e-4 * there.abs() {
        return Err(format!("the losses differ: {here} here, {there} in PyTorch").into());
    }
    let name = format!("{predictor:?}").to_lowercase();
    let what = format!("{threads:>7} {dim:>5} {name:>12}");
    rounds((&what, BATCH as f64 * STEPS as f64), STEPS, |steps| ours.learn(steps), &mut theirs)
}

/// The head of this package with its batch and the state of its optimiser.
struct Ours {
    settings: Settings,
    store: VarStore,
    head: Vslnet,
    batch: Vec<(&'static str, Tensor)>,
    input: Input,
    targets: Targets,
    optimizer: AdamW,
}

impl Ours {
    fn new(dim: i64, predictor: PredictorKind) -> Fallible<Self> {
        let settings = Settings {
            embed_dim: 128,
            num_heads: 8,
            max_position_embeddings: POSITIONS,
            dropout: 0.2,
            predictor,
            small: false,
        };
        tch::manual_seed(1);
        let store = VarStore::new(Device::Cpu);
        let head = Vslnet::new(&store.root(), Dims { video: dim, query: dim }, &settings, Compat::AsReleased)?;
        let batch = batch(dim);
        let part = |at: usize| batch[at].1.shallow_clone();
        let input = head.input(part(0), &part(1), part(2), &part(3))?;
        let targets = Targets { starts: part(4), ends: part(5), highlights: part(6) };
        let optimizer = AdamW::new(&store);
        Ok(Self { settings, store, head, batch, input, targets, optimizer })
    }

    /// Weights and batch, for the other side.
    fn write(&self, folder: &Path) -> Fallible<()> {
        let weights = self.store.variables().into_iter().map(|(name, weight)| (format!("w.{name}"), weight.detach()));
        let batch = self.batch.iter().map(|(name, tensor)| (format!("in.{name}"), tensor.shallow_clone()));
        Ok(Tensor::write_npz(&weights.chain(batch).collect::<Vec<_>>(), folder.join("data.npz"))?)
    }

    fn loss(&self) -> f64 {
        tch::no_grad(|| losses(&self.head.forward(&self.input, false), &self.targets, &self.input).total)
            .double_value(&[])
    }

    fn learn(&mut self, steps: usize) -> Fallible<()> {
        for _ in 0..steps {
            let output = self.head.forward(&self.input, true);
            losses(&output, &self.targets, &self.input).total.backward();
            self.optimizer.step()?;
        }
        Ok(())
    }
}

/// A batch as NLQ's are: most clips fill all positions, queries differ in length.
fn batch(dim: i64) -> Vec<(&'static str, Tensor)> {
    let float = (Kind::Float, Device::Cpu);
    let mask = |most: i64, length: &dyn Fn(i64) -> i64| {
        let lengths: Vec<i64> = (0..BATCH).map(length).collect();
        let positions = Tensor::arange(most, (Kind::Int64, Device::Cpu));
        positions.lt_tensor(&Tensor::from_slice(&lengths).unsqueeze(1)).to_kind(Kind::Float)
    };
    let video_mask = mask(POSITIONS, &|clip| if clip % 4 == 3 { POSITIONS - 40 - clip } else { POSITIONS });
    let query_mask = mask(TOKENS, &|clip| TOKENS - clip % 8);
    let positions = Tensor::arange(POSITIONS, (Kind::Int64, Device::Cpu));
    let starts = Tensor::randint(180, [BATCH], (Kind::Int64, Device::Cpu));
    let ends = &starts + 4;
    let inside = positions.ge_tensor(&starts.unsqueeze(1)).logical_and(&positions.le_tensor(&ends.unsqueeze(1)));
    vec![
        ("video", Tensor::randn([BATCH, POSITIONS, dim], float) * video_mask.unsqueeze(2)),
        ("video_mask", video_mask),
        ("query", Tensor::randn([BATCH, TOKENS, dim], float)),
        ("query_mask", query_mask),
        ("starts", starts),
        ("ends", ends),
        ("highlights", inside.to_kind(Kind::Float)),
    ]
}

/// HuggingFace's AdamW by the fused Adam: eps is added before the bias correction, so that it is corrected too, and the
/// weights decay after the step.
struct AdamW {
    weights: Vec<Tensor>,
    decaying: Vec<Tensor>,
    means: Vec<Tensor>,
    squares: Vec<Tensor>,
    counts: Vec<Tensor>,
    steps: i32,
}

impl AdamW {
    fn new(store: &VarStore) -> Self {
        let named = store.variables();
        let weights: Vec<Tensor> = named.values().map(Tensor::shallow_clone).collect();
        let zeros = || weights.iter().map(|weight| weight.detach().zeros_like()).collect();
        let count = |_: &Tensor| Tensor::zeros([], (Kind::Float, Device::Cpu));
        Self {
            decaying: named.iter().filter(|(name, _)| decays(name)).map(|(_, weight)| weight.shallow_clone()).collect(),
            means: zeros(),
            squares: zeros(),
            counts: weights.iter().map(count).collect(),
            weights,
            steps: 0,
        }
    }

    /// Clips the gradients to a norm of 1, steps, and drops them.
    fn step(&mut self) -> Fallible<()> {
        let grads: Vec<Tensor> = self.weights.iter().map(Tensor::grad).collect();
        native::scale(&grads, (1.0 / (native::norm(&grads)? + 1e-6)).min(1.0))?;
        self.steps += 1;
        let eps = 1e-6 / (1.0 - 0.999f64.powi(self.steps)).sqrt();
        let step = AdamStep { lr: LR, betas: (0.9, 0.999), decay: 0.0, eps, kind: Decay::L2 };
        native::adam(step, &self.weights, &grads, &self.means, &self.squares, &self.counts)?;
        native::scale(&self.decaying, 1.0 - LR * DECAY)?;
        Ok(native::zero_grad(&self.weights)?)
    }
}
