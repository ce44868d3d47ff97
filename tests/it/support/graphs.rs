//! What the tests of exported graphs share: ONNX Runtime, golden files, tiny checkpoints and comparisons.
//!
//! Not for judging. Invariant: the checkpoints' weights are those that the golden files were made with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use egofx::arch::{Architecture, SlowFastConfig};
use egofx::backbone::{
    BackboneError, Card, Device, Dim, Element, Feed, GraphPrecision, GraphSession, LibrarySearch, OnnxBackbone,
    Outputs, Precision, Provider, Runtime, SessionOptions, Towers,
};
use egofx::checkpoint::{Checkpoint, Tensor, TensorInfo, write_safetensors};
use egofx::export::{self, MODELS, Options, Plan, Scale, TokenGrid, Validator};

use super::{Workshop, checkout, videos};

pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let search = LibrarySearch { bases: vec![checkout().to_owned()], ..Default::default() };
    Runtime::load(&search, Provider::Cpu).expect("ONNX Runtime is needed; run `make setup`")
});

/// Tensors of a safetensors file.
pub struct Golden(pub Checkpoint);

impl Golden {
    pub fn open(name: &str) -> Self {
        Self(Checkpoint::open(&videos::data("backbones").join(name)).unwrap())
    }

    pub fn floats(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensor = self.0.read(name).unwrap();
        (tensor.shape.clone(), tensor.to_f32().unwrap())
    }

    pub fn ints(&self, name: &str) -> (Vec<usize>, Vec<i64>) {
        let Tensor { shape, bytes, .. } = self.0.read(name).unwrap();
        (shape, bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect())
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.0.tensors().keys().cloned().collect()
    }

    pub fn pixels(&self, name: &str) -> Feed<'static> {
        let (shape, values) = self.floats(name);
        Feed::Floats("pixels", values.into(), shape)
    }

    /// `text_X.<ids>` and `text_X.mask`.
    pub fn text(&self, name: &str, ids: &str) -> [Feed<'static>; 2] {
        let ((shape, ids), (_, mask)) = (self.ints(&format!("{name}.{ids}")), self.ints(&format!("{name}.mask")));
        [Feed::Ints("ids", ids.into(), shape.clone()), Feed::Ints("mask", mask.into(), shape)]
    }
}

pub fn validator() -> Validator<'static> {
    Validator { runtime: &RUNTIME, threads: 1, windows: Vec::new(), meter: Default::default() }
}

const OPTIONS: SessionOptions = SessionOptions {
    device: Device { provider: Provider::Cpu, ordinal: 0 },
    precision: Precision::Fp32,
    threads: 1,
    rearrange: true,
};

pub fn session(folder: &Path, name: &str) -> GraphSession {
    GraphSession::open(&RUNTIME, &folder.join(format!("{name}.onnx")), OPTIONS).unwrap()
}

/// The same, with `frames` in float32.
pub fn session_for_floats(folder: &Path, name: &str) -> Result<GraphSession, BackboneError> {
    GraphSession::open_for_floats(&RUNTIME, &folder.join(format!("{name}.onnx")), "frames", OPTIONS)
}

pub fn backbone(models: &Path, towers: &Towers) -> OnnxBackbone {
    OnnxBackbone::load(&RUNTIME, models, towers, OPTIONS).unwrap()
}

pub fn output<'o>(outputs: &'o Outputs, name: &str) -> &'o [f32] {
    &outputs.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no output {name}")).1
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

pub fn max_abs(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

/// A checkpoint of the tensors that `read` gives.
pub fn made(folder: &Path, base: &Checkpoint, read: impl Fn(&str) -> Option<Tensor>) -> Checkpoint {
    let tensor = |name: &str| read(name).unwrap_or_else(|| base.read(name).unwrap());
    let info = |name: &String| {
        let Tensor { dtype, shape, .. } = tensor(name);
        (name.clone(), TensorInfo { dtype, shape })
    };
    let tensors: BTreeMap<_, _> = base.tensors().keys().map(info).collect();
    let path = folder.join("made.safetensors");
    write_safetensors(&path, &tensors, &mut |name| Ok(tensor(name)), &BTreeMap::new()).unwrap();
    Checkpoint::open(&path).unwrap()
}

pub fn egovlp() -> Checkpoint {
    Checkpoint::open(&videos::data("checkpoints/egovlp_tiny.pth")).unwrap()
}

pub fn egovlpv2_small() -> Checkpoint {
    Checkpoint::open(&videos::data("checkpoints/egovlpv2_tiny_smallproj.pth")).unwrap()
}

/// SlowFast of few and narrow blocks.
pub fn slowfast() -> Checkpoint {
    Checkpoint::open(&videos::data("checkpoints/slowfast_tiny.pyth")).unwrap()
}

/// Its sizes, for frames of `image_size` pixels: the last pool takes 2 x 2 where the published one takes 7 x 7.
pub fn slowfast_config(image_size: usize) -> SlowFastConfig {
    let sizes = SlowFastConfig { stem_dims: [8, 2], depths: [1, 2, 2, 1], ..SlowFastConfig::tiny() };
    SlowFastConfig { image_size, pool_size: 2, num_classes: 5, ..sizes }
}

/// Its graphs.
pub fn slowfast_into(
    checkpoint: &Checkpoint,
    image_size: usize,
    folder: &Path,
    debug: bool,
    further: &[GraphPrecision],
) {
    let model = MODELS.iter().find(|model| model.name == SlowFastConfig::NAME).unwrap();
    let plan = Plan::of(&slowfast_config(image_size));
    assert!(model.differences(checkpoint, &plan).is_empty(), "{}", model.differences(checkpoint, &plan));
    export::export_plan(checkpoint, model, plan, &options(debug, further), &validator(), folder).unwrap();
}

/// EgoVLPv2 with its 3-layer projectors: the other tensors are those of the small-projector checkpoint.
pub fn egovlpv2(folder: &Path) -> Checkpoint {
    let projectors = Golden::open("egovlpv2/projectors.safetensors").0;
    joined(folder, &egovlpv2_small(), |name| !name.contains("_proj."), &projectors)
}

/// The tensors of `base` that are `kept`, and those of `other`.
pub fn joined(folder: &Path, base: &Checkpoint, kept: impl Fn(&str) -> bool, other: &Checkpoint) -> Checkpoint {
    let mut tensors = other.tensors().clone();
    tensors
        .extend(base.tensors().iter().filter(|(name, _)| kept(name)).map(|(name, info)| (name.clone(), info.clone())));
    let mut read = |name: &str| if other.tensors().contains_key(name) { other.read(name) } else { base.read(name) };
    let path = folder.join("joined.safetensors");
    write_safetensors(&path, &tensors, &mut read, &BTreeMap::new()).unwrap();
    Checkpoint::open(&path).unwrap()
}

/// Those of the tokens too.
pub fn tokens_into(checkpoint: &Checkpoint, head_size: usize, grid: TokenGrid, folder: &Path) {
    let options = Options { head_size, tokens: Some(grid), ..options(true, &[]) };
    export::export(checkpoint, &options, &validator(), folder).unwrap();
}

/// Graphs of a checkpoint whose heads have 16 numbers.
pub fn exported_into(checkpoint: &Checkpoint, folder: &Path, debug: bool, further: &[GraphPrecision]) {
    export::export(checkpoint, &options(debug, further), &validator(), folder).unwrap();
}

fn options(debug: bool, further: &[GraphPrecision]) -> Options {
    let further = further.to_vec();
    Options { head_size: 16, further, debug, tokens: None, licence: "MIT".into(), force: false }
}

/// A folder for graphs that all tests of this program share, empty.
pub fn shared(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// Graphs of all tiny models in single precision, debug graphs among them, made once.
pub static EXPORTED: LazyLock<PathBuf> = LazyLock::new(|| {
    let (folder, work) = (shared("export_graphs"), tempfile::tempdir().unwrap());
    for checkpoint in [egovlp(), egovlpv2(work.path())] {
        exported_into(&checkpoint, &folder, true, &[]);
    }
    slowfast_into(&slowfast(), 96, &folder, true, &[]);
    folder
});

/// Graphs of LaViLa's base and large models of random weights with tokens of 32 values, made once.
pub static LAVILA: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = shared("export_lavila");
    let model = MODELS.iter().find(|model| model.name == "lavila").unwrap();
    for (name, plan) in model.published(Scale::Tiny) {
        if ["lavila-base", "lavila-large"].contains(&name.as_str()) {
            exported_into(&Checkpoint::seeded(&name, 1, plan.parameters), &folder, false, &[]);
        }
    }
    folder
});

/// Graphs of both tiny models of random weights, as the program makes them, once. Nothing writes to them.
pub static RANDOM: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = shared("export_random");
    for model in ["egovlp", "egovlpv2"] {
        let out = folder.display();
        Workshop::new().egofx(&format!("export --random {model} --tiny --seed 3 --out {out}")).ends_with(0);
    }
    folder
});

/// A number that looks random, the same on every run.
pub fn noise(row: usize, i: usize) -> u32 {
    let mixed = (row as u32 + 1).wrapping_mul(0x9E37_79B9) ^ (i as u32).wrapping_mul(0x85EB_CA6B);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x2C1B_3C6D);
    mixed ^ mixed >> 12
}

/// Inputs of a graph whose batch is made of `rows`: equal numbers are equal rows. `F`, `L` and `N` are as long as `length`
/// says.
pub fn batch(card: &Card, rows: &[usize], length: fn(&str) -> usize) -> Vec<Feed<'static>> {
    card.inputs.iter().map(|input| feed(input, rows, length, pad(card))).collect()
}

pub fn feed(input: &egofx::backbone::Tensor, rows: &[usize], length: fn(&str) -> usize, pad: i64) -> Feed<'static> {
    let long = |dim: &Dim| match dim {
        Dim::Fixed(n) => *n as usize,
        Dim::Named(name) => length(name),
    };
    let inner: Vec<usize> = input.shape[1..].iter().map(long).collect();
    let shape = [&[rows.len()], inner.as_slice()].concat();
    let count: usize = inner.iter().product();
    let all = || rows.iter().flat_map(|&row| (0..count).map(move |i| (row, i)));
    // Row 1 has a word less than row 0, and so on.
    let is_word = |(row, i): (usize, usize)| i + row < count;
    let word = |(row, i)| if is_word((row, i)) { i64::from(noise(row, i) % 150) + 5 } else { pad };
    let name: &'static str = input.name.clone().leak();
    match input.dtype {
        Element::Uint8 => Feed::Bytes(name, all().map(|(row, i)| noise(row, i) as u8).collect(), shape),
        Element::Float32 => {
            let at = |(row, i)| noise(row, i) as f32 / u32::MAX as f32 * 4.0 - 2.0;
            Feed::Floats(name, all().map(at).collect(), shape)
        }
        Element::Int64 if name == "mask" => Feed::Ints(name, all().map(|at| is_word(at).into()).collect(), shape),
        Element::Int64 => Feed::Ints(name, all().map(word).collect(), shape),
    }
}

/// The token that fills up.
pub fn pad(card: &Card) -> i64 {
    if card.name.starts_with("egovlpv2") { 1 } else { 0 }
}

pub fn usual(dim: &str) -> usize {
    match dim {
        "F" => 4,
        "L" => 7,
        "N" => 17,
        other => panic!("a new dimension {other}"),
    }
}

/// The part of all outputs that belongs to row `i` of `rows`.
pub fn row_of(outputs: &Outputs, i: usize, rows: usize) -> Vec<f32> {
    let part = |values: &[f32]| {
        let length = values.len() / rows;
        values[i * length..][..length].to_vec()
    };
    outputs.iter().flat_map(|(_, values)| part(values)).collect()
}

/// Whether rows have the same bits alone, in pairs and among three; `half` is how far those of half precision may be.
pub fn rows_do_not_depend_on_their_batch(folder: &Path, name: &str, half: f32) {
    let card = Card::read(folder, name).unwrap();
    let mut graph = session(folder, name);
    let three = graph.run(&batch(&card, &[0, 1, 2], usual)).unwrap();
    for pair in [[0, 1], [2, 0], [1, 1], [2, 2]] {
        let two = graph.run(&batch(&card, &pair, usual)).unwrap();
        for (i, row) in pair.into_iter().enumerate() {
            let (found, expected) = (row_of(&two, i, 2), row_of(&three, row, 3));
            let off = max_abs(&found, &expected);
            let equal = found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(equal || half > 0.0 && off <= half, "{name}: row {row} in {pair:?} is off by {off:e}");
        }
    }
}
