//! Graphs that tests write, and ONNX Runtime, which runs them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use egofx::backbone::{
    Device, Feed, GraphSession, HeadCard, LibrarySearch, Outputs, Precision, Provider, Runtime, SessionOptions,
};
use egofx::checkpoint::Checkpoint;
use egofx::compat::Compat;
use egofx::export::{Graph, HeadPlan, HeadWeights, Validator, export_head};
use egofx_train::checkpoint::{Tensors, write};
use tch::{Kind, Tensor};

use super::device::device;

pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let search = LibrarySearch { bases: vec![root], ..Default::default() };
    Runtime::load(&search, Provider::Cpu).expect("ONNX Runtime is needed; run `make setup`")
});

pub fn validator() -> Validator<'static> {
    Validator { runtime: &RUNTIME, threads: 1, windows: vec![], meter: Default::default() }
}

/// All outputs of a graph, by name.
pub fn run(path: &Path, feeds: &[Feed]) -> Outputs {
    let device = Device { provider: Provider::Cpu, ordinal: 0 };
    let options = SessionOptions { device, precision: Precision::Fp32, threads: 1, rearrange: true };
    GraphSession::open(&RUNTIME, path, options).unwrap().run(feeds).unwrap()
}

fn shape(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|size| size as usize).collect()
}

pub fn floats<'f>(name: &'static str, tensor: &Tensor) -> Feed<'f> {
    let flat = tensor.to_kind(Kind::Float).contiguous().flatten(0, -1);
    Feed::Floats(name, Vec::<f32>::try_from(flat).unwrap().into(), shape(tensor))
}

pub fn ints<'f>(name: &'static str, tensor: &Tensor) -> Feed<'f> {
    let flat = tensor.to_kind(Kind::Int64).contiguous().flatten(0, -1);
    Feed::Ints(name, Vec::<i64>::try_from(flat).unwrap().into(), shape(tensor))
}

/// What a head's graph of these weights gives, inner states as `probe.<name>`.
pub fn head_outputs<const N: usize>(
    build: impl Fn(&mut Graph) + 'static,
    weights: &Tensors,
    dims: [(&str, usize); N],
    feeds: &[Feed],
) -> Outputs {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write(&path, weights, &BTreeMap::new()).unwrap();
    let head = HeadCard {
        learner: "head".into(),
        compat: Compat::Fixed,
        fold: String::new(),
        batch: 1,
        classes: vec![],
        settings: Default::default(),
    };
    let dims = dims.into_iter().map(|(name, length)| (name.to_owned(), length)).collect();
    let plan = HeadPlan { about: "a head".into(), build: Box::new(build), dims, outside: "none", head };
    let from = HeadWeights {
        weights: &Checkpoint::open(&path).unwrap(),
        checkpoint: "weights".into(),
        checkpoint_sha256: String::new(),
        licence: "MIT".into(),
    };
    export_head(&plan, &from, &validator(), (folder.path(), "head"), true).unwrap();
    run(&folder.path().join("head.onnx"), feeds)
}

/// An output in the shape of `like`.
pub fn output(outputs: &Outputs, name: &str, like: &Tensor) -> Tensor {
    let values = &outputs.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no output {name}")).1;
    Tensor::from_slice(values).view(like.size().as_slice()).to_device(device())
}
