//! What the tests of backbones share: tiny networks with the weights of the golden files, and comparisons.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use egofx_train::backbones::load::{self, CheckpointFormat};
use egofx_train::backbones::{EgoVlp, EgoVlpConfig, EgoVlpV2, EgoVlpV2Config, Projector, TextConfig, VideoConfig};
use egofx_train::checkpoint::Tensors;
use tch::nn::VarStore;
use tch::{Kind, Tensor, no_grad};

use crate::support::device::device;

/// Largest difference of outputs; the original differs by 3e-6 from itself between versions of its libraries.
pub const OUTPUT: f64 = 2e-5;
/// Of inner states, likewise 1.3e-5.
pub const STATE: f64 = 5e-5;

pub fn root(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../tests/data", name].iter().collect()
}

/// The tensors of a safetensors file, on the device of the tests.
pub fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let read = Tensor::read_safetensors(path).unwrap().into_iter();
    read.map(|(name, tensor)| (name, tensor.to_device(device()))).collect()
}

/// Inputs and outputs of a model.
pub struct Golden {
    pub inputs: BTreeMap<String, Tensor>,
    pub expected: BTreeMap<String, Tensor>,
}

impl Golden {
    /// `expected` is `expected` or `expected_lowvar`.
    pub fn open(model: &str, expected: &str) -> Self {
        let file = |name: &str| tensors(&root(&format!("backbones/{model}/{name}.safetensors")));
        Self { inputs: file("inputs"), expected: file(expected) }
    }

    pub fn input(&self, name: &str) -> &Tensor {
        &self.inputs[name]
    }

    /// Ids and mask.
    pub fn text(&self, name: &str) -> [&Tensor; 2] {
        [self.input(&format!("{name}.ids")), self.input(&format!("{name}.mask"))]
    }

    /// Asserts that `found` is what was computed under `name`, within `limit`.
    #[track_caller]
    pub fn compare(&self, name: &str, found: &Tensor, limit: f64) {
        let expected = self.expected.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(found.size(), expected.size(), "{name}");
        let off = off(found, expected);
        println!("{name}: {off:.1e}");
        assert!(off <= limit, "{name} is off by {off:e}");
    }
}

/// The largest difference; infinite where one is no number.
pub fn off(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    let off = (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[]);
    if off.is_nan() { f64::INFINITY } else { off }
}

pub fn video(frames: i64) -> VideoConfig {
    VideoConfig { image_size: 32, ..VideoConfig::tiny(frames as usize) }
}

pub fn egovlp_config(frames: i64) -> EgoVlpConfig {
    EgoVlpConfig { video: video(frames), text: TextConfig::base(200, 40, 6).into_tiny(), projection_dim: 8 }
}

pub fn egovlpv2_config(frames: i64, projector: Projector) -> EgoVlpV2Config {
    let text = TextConfig::base(200, 42, 12).into_tiny();
    let (video, num_fused_layers) = (video(frames), 6);
    EgoVlpV2Config { video, text, projector, num_fused_layers, cross_attn_gate_init: 0.0, answers: None }
}

pub const FULL: Projector = Projector::full(16);
pub const SMALL: Projector = Projector::Small { dim: 256 };

pub fn variables(store: &VarStore) -> Tensors {
    store.variables().into_iter().collect()
}

pub fn fill(store: &VarStore, path: &Path, format: &CheckpointFormat, fresh: &[&str]) -> load::Loaded {
    load::load(path, format, fresh, &variables(store)).unwrap()
}

/// EgoVLP for `frames` frames with the weights of the original checkpoint.
pub fn egovlp(frames: i64) -> (VarStore, EgoVlp) {
    let store = VarStore::new(device());
    let model = EgoVlp::new(&store.root(), &egovlp_config(frames), false).unwrap();
    fill(&store, &root("checkpoints/egovlp_tiny.pth"), &load::EGOVLP, &[]);
    (store, model)
}

/// EgoVLPv2, likewise; its large projectors are in a file of their own.
pub fn egovlpv2(frames: i64, projector: Projector) -> (VarStore, EgoVlpV2) {
    let store = VarStore::new(device());
    let model = EgoVlpV2::new(&store.root(), &egovlpv2_config(frames, projector), false).unwrap();
    let kept: &[&str] = if projector == SMALL { &[] } else { &["txt_proj.", "vid_proj."] };
    fill(&store, &root("checkpoints/egovlpv2_tiny_smallproj.pth"), &load::EGOVLPV2, kept);
    if projector == FULL {
        let mut variables = variables(&store);
        for (name, value) in tensors(&root("backbones/egovlpv2/projectors.safetensors")) {
            no_grad(|| variables.get_mut(&name).unwrap().copy_(&value));
        }
    }
    (store, model)
}

/// Multiplies weights so that every norm sees a variance of about its epsilon.
pub fn lower_variance(store: &VarStore, model: &str) {
    let text = std::fs::read_to_string(root(&format!("backbones/{model}/lowvar.json"))).unwrap();
    let factors: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).unwrap();
    let mut variables = variables(store);
    for (factor, names) in factors {
        let factor: f64 = factor.strip_prefix("factor_").unwrap().parse().unwrap();
        for name in names {
            let weight = variables.get_mut(&name).unwrap_or_else(|| panic!("no {name}"));
            let _ = no_grad(|| weight.g_mul_scalar_(factor));
        }
    }
}
