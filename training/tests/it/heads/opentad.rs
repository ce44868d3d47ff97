//! ActionFormer as OpenTAD has it, against golden data of its code; `tests/data/opentad/README.md` says how it was made.
//!
//! Not for what both expressions share beyond that, see `actionformer`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use egofx::metric::Window;
use egofx::metric::postprocess::actionformer::within_classes;
use egofx::metric::postprocess::{self, Clip, Proposal, opentad::POSTPROCESSOR};
use egofx_train::heads::actionformer::decode::{DecodeSettings, Suppression, in_seconds, proposals};
use egofx_train::heads::actionformer::head::ActionFormerHead;
use egofx_train::heads::actionformer::loss::{Losses, losses, next_normaliser};
use egofx_train::heads::actionformer::opentad::in_network;
use egofx_train::heads::actionformer::targets::{Event, FeatureGrid, Targets};
use egofx_train::heads::actionformer::{ActionFormer, Output, Settings, Variant, WHOLE_CLIP, batch, decays, graph};
use egofx_train::learner::{Model, weights};
use egofx_train::optimizer::{Optimizer, OptimizerKind, OptimizerSettings};
use serde_json::Value;
use tch::{Kind, Tensor, nn, no_grad};

use crate::support::device::device;
use crate::support::graphs::{floats, head_outputs, ints, output};

/// Of everything in single precision; single and double precision differ by a twentieth of it.
const TOLERANCE: f64 = 2e-5;
/// Of proposals, in steps of some eighty.
const STEPS: f64 = 1e-4;
/// Of a gradient, as a part of its largest value.
const GRADIENT: f64 = 1e-4;
/// Of gradients that are zero but for rounding.
const ZERO_GRADIENT: f64 = 1e-8;
const DIM: i64 = 6;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/opentad").join(name)
}

fn info() -> Value {
    serde_json::from_slice(&std::fs::read(data("info.json")).unwrap()).unwrap()
}

fn tensors(name: &str) -> BTreeMap<String, Tensor> {
    let tensors = Tensor::read_safetensors(data(name)).unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, tensor.to_device(device()))).collect()
}

fn settings() -> Settings {
    Settings {
        embed_dim: 16,
        num_heads: 4,
        window: 5,
        embedding_layers: 2,
        stem_blocks: 2,
        branch_blocks: 3,
        max_length: 64,
        classes: 5,
        regression_ranges: vec![[0.0, 4.0], [2.0, 8.0], [4.0, 16.0], [8.0, 10000.0]],
        head_layers: 3,
        dropout: 0.0,
        // For its scales; nothing here is dropped.
        drop_path: 0.1,
        prior_probability: 0.01,
        centre_radius: 1.5,
        first_normaliser: 100.0,
        crop_ratio: [0.9, 1.0],
        truncation_threshold: 0.3,
        variant: Variant {
            branch_windows: vec![5, WHOLE_CLIP, WHOLE_CLIP],
            input_dropout: 0.2,
            norm_eps: Some(1e-6),
            remask: true,
            all_candidates: true,
            tight_crops: true,
        },
    }
}

struct Golden {
    store: nn::VarStore,
    network: ActionFormer,
}

/// A network with the mean weights of their checkpoint.
fn golden(settings: &Settings) -> Golden {
    let store = nn::VarStore::new(device());
    let network = ActionFormer::new(&store.root(), DIM, settings).unwrap();
    ActionFormerHead::load(&data("checkpoint.pth"), &weights(&store)).unwrap();
    Golden { store, network }
}

/// Clips as one batch, with their mask.
fn clips<const N: usize>(names: [&str; N]) -> (Tensor, Tensor) {
    let inputs = tensors("inputs.safetensors");
    let clips = names.map(|name| inputs[&format!("feats.{name}")].shallow_clone());
    batch(&clips, DIM, &settings()).unwrap()
}

impl Golden {
    fn output(&self, (features, mask): &(Tensor, Tensor)) -> Output {
        self.network.forward(features, mask, false).unwrap()
    }

    fn level(&self, index: usize) -> Tensor {
        let (features, mask) = clips(["a", "b"]);
        self.network.pyramid(&features, &mask, false).unwrap()[index].0.shallow_clone()
    }
}

/// Probabilities of the classes and proposals in steps, at the points within a clip of a batch.
fn predictions(output: &Output, clip: i64) -> [Tensor; 2] {
    let within = output.mask().get(clip).nonzero().squeeze_dim(1);
    let points = output.points();
    let (place, stride) = (points.narrow(1, 0, 1), points.narrow(1, 3, 1));
    let offsets = output.offsets().get(clip) * stride;
    let windows = Tensor::cat(&[&place - offsets.narrow(1, 0, 1), &place + offsets.narrow(1, 1, 1)], 1);
    [output.logits().get(clip).sigmoid(), windows].map(|all| all.index_select(0, &within))
}

#[track_caller]
fn close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let largest = (found - expected).abs().max().double_value(&[]);
    println!("{what}: {largest:.2e}");
    assert!(largest < tolerance, "{what} differs by {largest}");
}

#[track_caller]
fn close_number(found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    println!("{what}: {:.2e}", (found - expected).abs());
    assert!((found - expected).abs() < tolerance, "{what} is {found}, expected {expected}");
}

#[test]
fn levels_probabilities_and_proposals_are_the_originals() {
    let (golden, expected) = (golden(&settings()), tensors("expected.safetensors"));
    for index in 0..4 {
        let name = format!("neck.level{index}");
        close(&golden.level(index), &expected[&name], TOLERANCE, &name);
    }
    let (together, long) = (golden.output(&clips(["a", "b"])), golden.output(&clips(["long"])));
    for (output, clip, name) in [(&together, 0, "a"), (&together, 1, "b"), (&long, 0, "long")] {
        let [likely, windows] = predictions(output, clip);
        close(&likely, &expected[&format!("scores.{name}")], TOLERANCE, &format!("scores {name}"));
        close(&windows, &expected[&format!("proposals.{name}")], STEPS, &format!("proposals {name}"));
    }
}

/// The convolutions before the outer norms are so small that the epsilons of these decide.
#[test]
fn norms_have_the_epsilons_of_the_original() {
    let (golden, expected) = (golden(&settings()), tensors("expected_lowvar.safetensors"));
    no_grad(|| {
        for (name, mut variable) in golden.store.variables() {
            let is_conv = ["backbone.embd.", "cls_head.head.", "reg_head.head."].iter().any(|at| name.starts_with(at));
            if is_conv && name.ends_with("conv.weight") {
                let _ = variable.g_mul_scalar_(0.0015);
            }
        }
    });
    close(&golden.level(0), &expected["neck.level0"], TOLERANCE, "level 0");
    let [likely, windows] = predictions(&golden.output(&clips(["b"])), 0);
    close(&likely, &expected["scores.b"], TOLERANCE, "scores");
    close(&windows, &expected["proposals.b"], STEPS, "proposals");
}

/// Each setting that differs changes what is predicted, so that the golden data would tell.
#[test]
fn every_part_of_the_variant_matters() {
    let (clips, expected) = (clips(["a", "b"]), tensors("expected.safetensors"));
    let Variant { branch_windows, norm_eps, remask, .. } = settings().variant;
    let original = Variant::default();
    for (what, variant) in [
        ("windows", Variant { branch_windows: original.branch_windows.clone(), norm_eps, remask, ..original.clone() }),
        ("masks", Variant { branch_windows: branch_windows.clone(), norm_eps, ..original.clone() }),
        ("epsilons", Variant { branch_windows, remask, ..original }),
    ] {
        let golden = golden(&Settings { variant, ..settings() });
        let differs = |clip, name: &str| {
            let windows = &predictions(&golden.output(&clips), clip)[1];
            (windows - &expected[&format!("proposals.{name}")]).abs().max().double_value(&[])
        };
        assert!(differs(0, "a").max(differs(1, "b")) > STEPS, "{what}");
    }
}

#[test]
fn the_graph_computes_what_the_network_computes() {
    let golden = golden(&settings());
    for names in [&["a", "b"][..], &["long"][..]] {
        let (features, mask) = match names {
            ["long"] => clips(["long"]),
            _ => clips(["a", "b"]),
        };
        let feeds = [floats("features", &features), ints("mask", &mask.squeeze_dim(1))];
        let outputs = head_outputs(graph(DIM, &settings()), &weights(&golden.store), [("B", 1), ("T", 8)], &feeds);
        for (index, (level, _)) in golden.network.pyramid(&features, &mask, false).unwrap().iter().enumerate() {
            let name = format!("probe.level{index}");
            close(&output(&outputs, &name, level), level, TOLERANCE, &name);
        }
        let network = golden.output(&(features, mask));
        let likely: Vec<Tensor> = network.levels.iter().map(|level| level.probabilities()).collect();
        let likely = Tensor::cat(&likely, 1);
        close(&output(&outputs, "probabilities", &likely), &likely, TOLERANCE, "probabilities");
        close(&output(&outputs, "offsets", &network.offsets()), &network.offsets(), TOLERANCE, "offsets");
    }
}

fn events() -> [Vec<Event>; 2] {
    let event = |(start, end, class)| Event { start, end, class };
    [
        vec![(3.25, 17.3125, 1), (37.0, 38.875, 3), (7.0, 44.5, 4), (4.0, 16.0, 0), (30.0, 50.0, 2)],
        vec![(1.0, 12.0, 0), (12.0, 40.5, 2)],
    ]
    .map(|events: Vec<(f32, f32, i64)>| events.into_iter().map(event).collect())
}

fn targets(output: &Output, all_candidates: bool) -> Targets {
    let variant = Variant { all_candidates, ..settings().variant };
    let settings = Settings { variant, ..settings() };
    Targets::new(&output.points(), &output.mask(), &events(), &settings).unwrap()
}

#[test]
fn points_learn_the_classes_of_all_candidates_and_the_shortest_ones_offsets() {
    let (output, expected) = (golden(&settings()).output(&clips(["a", "b"])), tensors("train.safetensors"));
    assert_eq!(output.points(), expected["points"]);
    let valid = output.mask().unsqueeze(-1);
    for (all_candidates, name) in [(true, "all_events"), (false, "shortest_events")] {
        let found = targets(&output, all_candidates);
        // Neither learns from padding.
        let expected_classes = &expected[&format!("{name}.class_targets")];
        assert_eq!(&found.classes * &valid, expected_classes * &valid, "{name}");
        let positive = found.positive.unsqueeze(-1);
        close(&(&found.offsets * &positive), &(&expected["offset_targets"] * &positive), TOLERANCE, "offset targets");
        assert!(positive.any().int64_value(&[]) == 1);
    }
}

fn golden_losses(golden: &Golden, all_candidates: bool, previous: f64) -> (Losses, f64) {
    let output = golden.output(&clips(["a", "b"]));
    let targets = targets(&output, all_candidates);
    let normaliser = next_normaliser(previous, targets.positives());
    (losses(&output, &targets, normaliser), normaliser)
}

#[test]
fn losses_and_their_normaliser_are_the_originals() {
    let (golden, info) = (golden(&settings()), info());
    for (all_candidates, name) in [(true, "all_events"), (false, "shortest_events")] {
        let (found, normaliser) = golden_losses(&golden, all_candidates, 100.0);
        let expected = &info[name];
        close_number(found.classification.double_value(&[]), &expected["cls_loss"], 1e-6, "class loss");
        close_number(found.regression.double_value(&[]), &expected["reg_loss"], 1e-6, "regression loss");
        close_number(found.total.double_value(&[]), &expected["cost"], 1e-6, "loss");
        close_number(normaliser, &expected["loss_normalizer_after"], 1e-4, "normaliser");
    }
}

#[test]
fn gradients_are_the_originals() {
    let golden = golden(&settings());
    golden_losses(&golden, true, 100.0).0.total.backward();
    let variables = golden.store.variables();
    let mut compared = 0;
    for (name, expected) in tensors("train.safetensors") {
        let Some(name) = name.strip_prefix("grad.") else { continue };
        let shape: Vec<usize> = expected.size().iter().map(|&size| size as usize).collect();
        let (inside, _) = in_network(name, &shape).unwrap();
        let found = variables[&inside].grad();
        let expected = expected.reshape(found.size());
        let largest = expected.abs().max().double_value(&[]);
        let differs = (found - expected).abs().max().double_value(&[]);
        assert!(differs < GRADIENT * largest + ZERO_GRADIENT, "{name} differs by {differs} of {largest}");
        compared += 1;
    }
    assert_eq!(compared, variables.len());
}

#[test]
fn what_decays_is_what_decays_in_the_original() {
    let info = info();
    let kept: Vec<String> = serde_json::from_value(info["no_decay"].clone()).unwrap();
    let kept: Vec<String> = kept.iter().filter_map(|name| Some(in_network(name, &[])?.0)).collect();
    for name in golden(&settings()).store.variables().keys() {
        assert_eq!(decays(name), !kept.contains(name), "{name}");
    }
}

#[test]
fn six_steps_change_the_weights_as_in_the_original() {
    let (golden, info, expected) = (golden(&settings()), info(), tensors("train.safetensors"));
    let adamw = OptimizerSettings {
        kind: OptimizerKind::Adamw,
        lr: 1e-3,
        weight_decay: 0.05,
        betas: [0.9, 0.999],
        eps: 1e-8,
        head_lr_mult: 1.0,
    };
    let mut optimizer = Optimizer::new(&golden.store, &adamw, ActionFormerHead::param_group);
    let mut normaliser = 100.0;
    for (number, step) in info["steps"].as_array().unwrap().iter().enumerate() {
        let (found, next) = golden_losses(&golden, true, normaliser);
        normaliser = next;
        found.total.backward();
        close_number(found.total.double_value(&[]), &step["cost"], TOLERANCE, &format!("loss of step {number}"));
        let norm = optimizer.clip_grad_norm(Some(1.0)).unwrap();
        close_number(norm, &step["grad_norm"], TOLERANCE, "its gradient norm");
        optimizer.step(step["lr"].as_f64().unwrap() / adamw.lr).unwrap();
        optimizer.zero_grad().unwrap();
    }
    let variables = golden.store.variables();
    let mut compared = 0;
    for (name, expected) in &expected {
        let Some(name) = name.strip_prefix("after6.") else { continue };
        let variable = &variables[&in_network(name, &[]).unwrap().0];
        close(variable, &expected.reshape(variable.size()), TOLERANCE, name);
        compared += 1;
    }
    assert!(compared > 10, "{compared}");
}

/// What is left of the two hundred best predictions of a clip.
fn detections(output: &Output, clip: i64, (duration_sec, fps): (f64, f32)) -> Vec<Proposal> {
    let decode = DecodeSettings {
        min_probability: 0.001,
        most_per_level: 200,
        min_length: -1.0,
        most: Some(200),
        suppression: Suppression::OpenTad,
    };
    let candidates = proposals(output, clip, &decode);
    assert_eq!(candidates.len(), 200);
    let clip = Clip { duration_sec, asked: None };
    let grid = FeatureGrid { fps, stride_frames: 16.0, window_frames: 16.0 };
    let postprocessor = decode.suppression.postprocessor();
    (postprocessor.tracks)(&in_seconds(&candidates, &grid), &clip, &postprocessor.defaults).detected
}

/// Rounded numbers may differ by one unit, and those that are equal may change places.
#[test]
fn detections_are_the_originals() {
    let (output, info) = (golden(&settings()).output(&clips(["a", "b"])), info());
    for (index, name, times) in [(0, "a", (34.5, 29.97)), (1, "b", (22.0, 30.0))] {
        let found = detections(&output, index, times);
        let processed = &info["post_processing"];
        assert_eq!(found.len() as i64, processed["sliding_count"][name].as_i64().unwrap(), "{name}");
        assert!(found.is_sorted_by(|a, b| a.score >= b.score), "{name}");
        let best = processed["sliding"][name].as_array().unwrap();
        let expected_count = best.len();
        for expected in best {
            let class = expected["label"].as_str().unwrap().trim_start_matches('c').parse::<usize>().unwrap() + 1;
            let near = |a: f64, b: &Value, unit: f64| (a - b.as_f64().unwrap()).abs() < 1.01 * unit;
            let is_it = |found: &&Proposal| {
                found.class == class
                    && near(found.score, &expected["score"], 1e-4)
                    && near(found.window.start_sec, &expected["segment"][0], 0.01)
                    && near(found.window.end_sec, &expected["segment"][1], 0.01)
            };
            assert!(found.iter().take(expected_count + 10).any(|one| is_it(&one)), "{name} {expected}");
        }
    }
}

#[test]
fn suppression_by_two_widths_is_the_originals() {
    let case = &info()["post_processing"]["nms"];
    let rows = |of: &Value| -> Vec<Proposal> {
        let number = |value: &Value| value.as_f64().unwrap();
        let columns = of["segments"].as_array().unwrap().iter().zip(of["scores"].as_array().unwrap());
        let columns = columns.zip(of["labels"].as_array().unwrap());
        let row = |((segment, score), label): ((&Value, &Value), &Value)| Proposal {
            window: Window::new(number(&segment[0]), number(&segment[1])),
            score: number(score),
            class: number(label) as usize + 1,
        };
        columns.map(row).collect()
    };
    for (sigma, name) in [(2.0, "sigma_2"), (0.9, "sigma_0.9")] {
        let settings = postprocess::Settings { sigma, ..POSTPROCESSOR.defaults };
        let (found, expected) = (within_classes(&rows(case), &settings), rows(&case[name]));
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((found.class, found.window), (expected.class, expected.window), "{name}");
            assert!((found.score - expected.score).abs() < 1e-6, "{name}: {found:?} {expected:?}");
        }
    }
}

/// Of features with one channel, either nothing or twice the whole clip is left at a rate of a half.
#[test]
fn channels_of_the_input_are_dropped_from_the_whole_clip() {
    let variant = Variant { input_dropout: 0.5, ..Variant::default() };
    let settings = Settings { drop_path: 0.0, variant, ..settings() };
    let store = nn::VarStore::new(device());
    let network = ActionFormer::new(&store.root(), 1, &settings).unwrap();
    let features = Tensor::randn([1, 1, 64], (Kind::Float, device()));
    let mask = Tensor::ones([1, 1, 64], (Kind::Bool, device()));
    let logits = |features: &Tensor, train| no_grad(|| network.forward(features, &mask, train).unwrap().logits());
    let possible = [&features * 0.0, &features * 2.0].map(|features| logits(&features, false));
    let mut seen = [0, 0];
    for _ in 0..40 {
        let found = logits(&features, true);
        let which = possible.iter().position(|one| one.allclose(&found, 1e-5, 1e-6, false));
        seen[which.expect("one of both")] += 1;
    }
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
    assert!(!possible[0].allclose(&possible[1], 1e-5, 1e-6, false));
}

#[test]
fn variants_that_no_network_has_are_refused() {
    let refused = |variant: Variant| Settings { variant, ..settings() }.check().unwrap_err().to_string();
    let base = settings().variant;
    assert!(settings().check().is_ok());
    let expected = "expected 3 numbers, each -1 or odd and at least 3";
    let windows = |branch_windows: Vec<i64>| refused(Variant { branch_windows, ..base.clone() });
    assert_eq!(windows(vec![5, -1]), format!("variant.branch_windows is [5, -1], {expected}"));
    assert_eq!(windows(vec![5, 4, -1]), format!("variant.branch_windows is [5, 4, -1], {expected}"));
    assert_eq!(
        windows(vec![7, -1, -1]),
        "variant.branch_windows is [7, -1, -1], expected windows whose blocks, (window - 1) * 2^level steps, divide the longest, 12"
    );
    let dropout = refused(Variant { input_dropout: 1.0, ..base.clone() });
    assert_eq!(dropout, "variant.input_dropout is 1, expected at least 0 and below 1");
    assert_eq!(refused(Variant { norm_eps: Some(0.0), ..base }), "variant.norm_eps is 0, expected above 0");
}

#[test]
fn what_is_as_in_the_original_is_not_written() {
    let original = Settings { variant: Variant::default(), ..settings() };
    let text = toml::to_string(&original).unwrap();
    assert!(!text.contains("variant"), "{text}");
    assert_eq!(toml::from_str::<Settings>(&text).unwrap(), original);
    let text = toml::to_string(&settings()).unwrap();
    assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings());
    assert!(toml::from_str::<Settings>(&text.replace("remask", "remsak")).is_err());
}

/// What is wrong is said before anything is overwritten.
#[test]
fn checkpoints_of_other_sizes_are_refused() {
    let store = nn::VarStore::new(device());
    ActionFormer::new(&store.root(), DIM, &Settings { classes: 4, ..settings() }).unwrap();
    let error = ActionFormerHead::load(&data("checkpoint.pth"), &weights(&store)).unwrap_err().to_string();
    assert!(error.contains("cls_head.cls_head.conv.bias is [5], expected [4]"), "{error}");
    let store = nn::VarStore::new(device());
    ActionFormer::new(&store.root(), DIM, &Settings { drop_path: 0.0, ..settings() }).unwrap();
    let error = ActionFormerHead::load(&data("checkpoint.pth"), &weights(&store)).unwrap_err().to_string();
    assert!(error.contains("drop_path_attn.scale is unknown"), "{error}");
}
