//! ActionFormer against golden data of the authors' code; `tests/data/actionformer/README.md` says how it was made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use egofx::checkpoint;
use egofx::metric::Window;
use egofx::metric::postprocess::actionformer::{POSTPROCESSOR, across_classes, within_classes};
use egofx::metric::postprocess::{self, Clip, Proposal};
use egofx_train::checkpoint::load_weights;
use egofx_train::heads::actionformer::decode::{DecodeSettings, Suppression, in_seconds, proposals};
use egofx_train::heads::actionformer::loss::{Losses, centre_diou, focal, losses, next_normaliser};
use egofx_train::heads::actionformer::points;
use egofx_train::heads::actionformer::targets::{Event, FeatureGrid, Targets};
use egofx_train::heads::actionformer::{
    ActionFormer, ActionFormerError, Output, Settings, Variant, batch, decays, graph,
};
use egofx_train::learner::weights;
use serde_json::Value;
use tch::{Kind, Tensor, nn};

use crate::support::device::device;
use crate::support::graphs::{floats, head_outputs, ints, output};

/// Of all stages in single precision; what was measured is below 1e-6 nearly everywhere.
const TOLERANCE: f64 = 1e-5;
/// Of gradients that are zero but for rounding.
const ZERO_GRADIENT: f64 = 1e-8;
const DIM: i64 = 6;
const GRID: FeatureGrid = FeatureGrid { fps: 30.0, stride_frames: 16.0, window_frames: 16.0 };
/// Beyond all detections of the golden clip.
const DURATION_SEC: f64 = 100.0;
const DECODE: DecodeSettings = DecodeSettings {
    min_probability: 0.001,
    most_per_level: 5000,
    min_length: 0.05,
    most: None,
    suppression: Suppression::ActionFormer,
};

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/actionformer").join(name)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(data("expected.json")).unwrap()).unwrap()
}

fn tensors() -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(data("actionformer.safetensors"))
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_device(device())))
        .collect()
}

fn settings() -> Settings {
    Settings {
        embed_dim: 32,
        num_heads: 4,
        window: 9,
        embedding_layers: 2,
        stem_blocks: 2,
        branch_blocks: 2,
        max_length: 64,
        classes: 5,
        regression_ranges: vec![[0.0, 4.0], [2.0, 8.0], [4.0, 10000.0]],
        head_layers: 3,
        dropout: 0.0,
        drop_path: 0.0,
        prior_probability: 0.01,
        centre_radius: 1.5,
        first_normaliser: 100.0,
        crop_ratio: [0.9, 1.0],
        truncation_threshold: 0.3,
        variant: Variant::default(),
    }
}

/// The configuration for EgoVLP's features of Ego4D.
fn full_size() -> Settings {
    let ranges = [4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 10000.0];
    Settings {
        embed_dim: 384,
        branch_blocks: 7,
        max_length: 1024,
        classes: 110,
        regression_ranges: ranges
            .iter()
            .enumerate()
            .map(|(l, most)| [[0.0, 2f64.powi(l as i32)][usize::from(l > 0)], *most])
            .collect(),
        dropout: 0.1,
        drop_path: 0.1,
        ..settings()
    }
}

fn close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let largest = (found - expected).abs().max().double_value(&[]);
    println!("{what}: {largest:.2e}");
    assert!(largest < TOLERANCE, "{what} differs by {largest}");
}

struct Golden {
    store: nn::VarStore,
    network: ActionFormer,
    tensors: BTreeMap<String, Tensor>,
    features: Tensor,
    mask: Tensor,
}

fn golden() -> Golden {
    let store = nn::VarStore::new(device());
    let network = ActionFormer::new(&store.root(), DIM, &settings()).unwrap();
    let tensors = tensors();
    tch::no_grad(|| {
        for (name, mut variable) in store.variables() {
            variable.copy_(&tensors[&format!("w.{name}")]);
        }
    });
    let clips = [&tensors["in.feats_a"], &tensors["in.feats_b"]].map(Tensor::shallow_clone);
    let (features, mask) = batch(&clips, DIM, &settings()).unwrap();
    Golden { store, network, tensors, features, mask }
}

impl Golden {
    fn output(&self, train: bool) -> Output {
        self.network.forward(&self.features, &self.mask, train).unwrap()
    }
}

/// Of clips within the table of positions, and beyond it.
#[test]
fn the_graph_computes_what_the_network_computes() {
    let golden = golden();
    let (features, mask) = (&golden.features, &golden.mask);
    let longer = Tensor::cat(&[features, &features.flip([2]).narrow(2, 0, 32)], 2);
    let all = Tensor::ones([longer.size()[0], 1, 96], (Kind::Bool, device()));
    for (features, mask) in [(features, mask), (&longer, &all)] {
        let feeds = [floats("features", features), ints("mask", &mask.squeeze_dim(1))];
        let dims = [("B", 1), ("T", 32)];
        let outputs = head_outputs(graph(DIM, &settings()), &weights(&golden.store), dims, &feeds);
        let pyramid = golden.network.pyramid(features, mask, false).unwrap();
        for (index, (level, _)) in pyramid.iter().enumerate() {
            let name = format!("level{index}");
            close(&output(&outputs, &format!("probe.{name}"), level), level, &name);
        }
        let network = golden.network.forward(features, mask, false).unwrap();
        let likely: Vec<Tensor> = network.levels.iter().map(|level| level.probabilities()).collect();
        let likely = Tensor::cat(&likely, 1);
        close(&output(&outputs, "probabilities", &likely), &likely, "probabilities");
        close(&output(&outputs, "offsets", &network.offsets()), &network.offsets(), "offsets");
    }
}

/// A network with the learned scales of its residual branches, as the shipped configuration has them.
#[test]
fn the_graph_scales_residual_branches_as_the_network_does() {
    let settings = Settings { drop_path: 0.1, ..settings() };
    let store = nn::VarStore::new(device());
    let network = ActionFormer::new(&store.root(), DIM, &settings).unwrap();
    tch::no_grad(|| {
        for (name, mut variable) in store.variables() {
            if name.contains("drop_path") {
                let _ = variable.fill_(0.7);
            }
        }
    });
    let golden = golden();
    let feeds = [floats("features", &golden.features), ints("mask", &golden.mask.squeeze_dim(1))];
    let outputs = head_outputs(graph(DIM, &settings), &weights(&store), [("B", 1), ("T", 32)], &feeds);
    let network = network.forward(&golden.features, &golden.mask, false).unwrap();
    close(&output(&outputs, "offsets", &network.offsets()), &network.offsets(), "offsets");
}

fn events(expected: &Value) -> Vec<Vec<Event>> {
    let clip = |name: &str| {
        let clip = &expected["gt"][name];
        let rows = clip["grid"].as_array().unwrap().iter().zip(clip["labels"].as_array().unwrap());
        let number = |value: &Value| value.as_f64().unwrap() as f32;
        rows.map(|(row, class)| Event { start: number(&row[0]), end: number(&row[1]), class: class.as_i64().unwrap() })
            .collect()
    };
    vec![clip("a"), clip("b")]
}

fn targets(output: &Output) -> Targets {
    Targets::new(&output.points(), &output.mask(), &events(&expected()), &settings()).unwrap()
}

#[test]
fn names_and_shapes_are_those_of_the_state_dict() {
    let golden = golden();
    let found: BTreeMap<String, Vec<i64>> =
        golden.store.variables().into_iter().map(|(name, variable)| (name, variable.size())).collect();
    let expected: BTreeMap<String, Vec<i64>> = serde_json::from_value(expected()["state_dict_shapes"].clone()).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn the_real_network_has_the_parameters_of_the_original() {
    let count = |settings: &Settings| {
        let store = nn::VarStore::new(device());
        ActionFormer::new(&store.root(), 256, settings).unwrap();
        store.trainable_variables().iter().map(|variable| variable.numel()).sum::<usize>()
    };
    assert_eq!(count(&Settings { drop_path: 0.0, ..full_size() }), 18_668_664);
    // Two scales for each of nine blocks, which exist only at a rate above zero.
    assert_eq!(count(&full_size()), 18_668_664 + 2 * 9 * 384);
}

#[test]
fn scales_of_drop_path_have_the_names_of_the_original() {
    let store = nn::VarStore::new(device());
    ActionFormer::new(&store.root(), DIM, &Settings { drop_path: 0.1, ..settings() }).unwrap();
    let variables = store.variables();
    for name in ["backbone.stem.1.drop_path_attn.scale", "backbone.branch.0.drop_path_mlp.scale"] {
        assert_eq!(variables[name].size(), [1, 32, 1]);
        assert!((variables[name].mean(Kind::Double).double_value(&[]) - 1e-4).abs() < 1e-10);
    }
}

#[test]
fn first_biases_are_zero_but_for_the_prior_of_the_classes() {
    let store = nn::VarStore::new(device());
    ActionFormer::new(&store.root(), DIM, &settings()).unwrap();
    for (name, variable) in store.variables() {
        let expected = match &*name {
            "cls_head.cls_head.conv.bias" => -(99_f64.ln()),
            name if name.ends_with("bias") => 0.0,
            name if name.ends_with("scale") || !decays(name) => 1.0,
            _ => continue,
        };
        assert!((variable - expected).abs().max().double_value(&[]) < 1e-6, "{name}");
    }
}

#[test]
fn weights_of_convolutions_decay_and_nothing_else() {
    let variables = golden().store.variables();
    let weights: Vec<_> = variables.iter().filter(|(name, _)| decays(name)).collect();
    assert!(weights.iter().all(|(name, weight)| name.ends_with("weight") && weight.dim() == 3 && weight.size()[0] > 1));
    // Norms have shape [1, C, 1]; all other weights are of convolutions.
    let convolutions = variables.iter().filter(|(name, v)| name.ends_with("weight") && v.size()[0] > 1).count();
    assert_eq!(weights.len(), convolutions);
    assert!(!decays("backbone.stem.1.drop_path_attn.scale"));
}

#[test]
fn features_of_every_level_are_the_originals() {
    let golden = golden();
    assert_eq!(golden.mask.to_kind(Kind::Float), golden.tensors["in.batched_mask"]);
    let pyramid = golden.network.pyramid(&golden.features, &golden.mask, false).unwrap();
    assert_eq!(pyramid.len(), 3);
    for (level, (features, _)) in pyramid.iter().enumerate() {
        close(features, &golden.tensors[&format!("out.fpn_{level}")], &format!("features {level}"));
    }
}

#[test]
fn logits_offsets_and_points_are_the_originals() {
    let golden = golden();
    let output = golden.output(false);
    for (index, level) in output.levels.iter().enumerate() {
        let expected = |name: &str| &golden.tensors[&format!("out.{name}_{index}")];
        close(&level.logits.transpose(1, 2), expected("cls_logits"), &format!("logits {index}"));
        close(&level.offsets.transpose(1, 2), expected("offsets"), &format!("offsets {index}"));
    }
    assert_eq!(output.points(), golden.tensors["out.points"]);
    let ranges = &settings().regression_ranges;
    assert_eq!(points::of_pyramid(64, ranges, device()), output.points());
    assert_eq!(points::masks(&golden.mask, ranges.len()), output.mask());
}

#[test]
fn training_without_dropping_is_the_same_as_testing() {
    let golden = golden();
    assert_eq!(golden.output(true).logits(), golden.output(false).logits());
}

#[test]
fn events_in_seconds_lie_where_the_original_puts_them() {
    let clip = &expected()["gt"]["a"];
    for (seconds, steps) in clip["seconds"].as_array().unwrap().iter().zip(clip["grid"].as_array().unwrap()) {
        for end in 0..2 {
            assert_eq!(f64::from(GRID.step_from_sec(seconds[end].as_f64().unwrap())), steps[end].as_f64().unwrap());
        }
    }
}

#[test]
fn targets_are_the_originals() {
    let golden = golden();
    let found = targets(&golden.output(false));
    assert_eq!(found.positives(), expected()["num_positive"].as_i64().unwrap());
    assert_eq!(found.classes, golden.tensors["out.cls_targets"]);
    // The original leaves distances to some event at points that have none.
    let assigned = golden.tensors["out.cls_targets"].sum_dim_intlist([-1_i64].as_slice(), true, Kind::Float).gt(0.0);
    assert!(assigned.any().int64_value(&[]) == 1);
    close(&found.offsets, &(&golden.tensors["out.offset_targets"] * assigned), "offset targets");
}

fn golden_losses(golden: &Golden) -> (Losses, f64) {
    let output = golden.output(true);
    let targets = targets(&output);
    let normaliser = next_normaliser(settings().first_normaliser, targets.positives());
    (losses(&output, &targets, normaliser), normaliser)
}

#[test]
fn losses_and_their_normaliser_are_the_originals() {
    let (found, normaliser) = golden_losses(&golden());
    let expected = expected();
    let pairs = [(found.classification, "cls_loss"), (found.regression, "reg_loss"), (found.total, "final_loss")];
    for (found, name) in pairs {
        let difference = (found.double_value(&[]) - expected["losses"][name].as_f64().unwrap()).abs();
        println!("{name}: {difference:.2e}");
        assert!(difference < 1e-6, "{name} differs by {difference}");
    }
    assert!((normaliser - expected["loss_normaliser_after_one_step"].as_f64().unwrap()).abs() < 1e-9);
}

#[test]
fn norms_of_all_gradients_are_the_originals() {
    let golden = golden();
    golden_losses(&golden).0.total.backward();
    let expected = expected();
    let norms = expected["grad_norms"].as_object().unwrap();
    let variables = golden.store.variables();
    assert_eq!(variables.len(), norms.len());
    let mut worst: f64 = 0.0;
    for (name, variable) in variables {
        let (found, expected) = (variable.grad().norm().double_value(&[]), norms[&name].as_f64().unwrap());
        if expected < ZERO_GRADIENT {
            assert!(found < ZERO_GRADIENT, "{name}: {found}, expected zero");
            continue;
        }
        worst = worst.max((found / expected - 1.0).abs());
        assert!((found / expected - 1.0).abs() < 1e-4, "{name}: {found}, expected {expected}");
    }
    println!("gradients: {worst:.2e}");
}

#[test]
fn each_loss_is_the_originals() {
    let expected = expected();
    let numbers = |value: &Value| -> Tensor {
        let rows: Vec<Vec<f32>> = serde_json::from_value(value.clone()).unwrap();
        Tensor::from_slice2(&rows)
    };
    let case = &expected["ctr_diou"];
    let found = centre_diou(&numbers(&case["pred"]), &numbers(&case["target"]));
    let per_interval: Vec<f32> = serde_json::from_value(case["per_item"].clone()).unwrap();
    close(&found, &Tensor::from_slice(&per_interval), "centre-distance IoU");
    let case = &expected["focal"];
    let found = focal(&numbers(&case["logits"]), &numbers(&case["targets"]), 0.25).sum(Kind::Float).double_value(&[]);
    assert!((found - case["sum"].as_f64().unwrap()).abs() < 1e-7);
}

#[test]
fn without_positives_there_is_no_regression_loss_and_gradients_are_finite() {
    let golden = golden();
    let output = golden.output(true);
    let targets = Targets::new(&output.points(), &output.mask(), &[vec![], vec![]], &settings()).unwrap();
    let found = losses(&output, &targets, next_normaliser(100.0, targets.positives()));
    assert_eq!(found.regression.double_value(&[]), 0.0);
    found.total.backward();
    for (name, variable) in golden.store.variables() {
        assert!(variable.grad().isfinite().all().int64_value(&[]) == 1, "{name}");
    }
}

/// What is left of proposals of a clip, in seconds.
fn detections(proposals: &[Proposal], duration_sec: f64) -> Vec<Proposal> {
    let settings = postprocess::Settings { most: 50, ..POSTPROCESSOR.defaults };
    let clip = Clip { duration_sec, asked: None };
    (POSTPROCESSOR.tracks)(&in_seconds(proposals, &GRID), &clip, &settings).detected
}

#[test]
fn detections_are_the_originals() {
    let (golden, expected) = (golden(), expected());
    let candidates = proposals(&golden.output(false), 0, &DECODE);
    assert_eq!(candidates.len() as i64, expected["pre_nms_count_video_a"].as_i64().unwrap());
    let found = detections(&candidates, DURATION_SEC);
    let expected = &expected["detections_video_a"];
    assert_eq!(found.len() as i64, expected["count"].as_i64().unwrap());
    for (found, expected) in found.iter().zip(expected["top10"].as_array().unwrap()) {
        assert_eq!(found.class as i64, expected["label"].as_i64().unwrap() + 1, "0 is background");
        assert!((found.score - expected["score"].as_f64().unwrap()).abs() < TOLERANCE, "{found:?} {expected}");
        // The golden times are rounded to four digits.
        for (found, expected) in <[f64; 2]>::from(found.window).into_iter().zip(expected["segment"].as_array().unwrap())
        {
            assert!((found - expected.as_f64().unwrap()).abs() < 6e-5, "{found} {expected}");
        }
    }
}

#[test]
fn detections_are_cut_to_the_clip_and_capped_by_level() {
    let output = golden().output(false);
    let candidates = proposals(&output, 0, &DECODE);
    let found = detections(&candidates, 5.0);
    assert!(found.iter().all(|found| found.window.start_sec >= 0.0 && found.window.end_sec <= 5.0));
    assert!(found.iter().any(|found| found.window.end_sec == 5.0));
    let few = proposals(&output, 0, &DecodeSettings { most_per_level: 3, min_length: -1.0, ..DECODE });
    assert_eq!(few.len(), 9);
    let most = candidates.iter().map(|proposal| proposal.score).fold(0.0, f64::max);
    assert!(few[..3].windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(proposals(&output, 0, &DecodeSettings { min_probability: most as f32, ..DECODE }).is_empty());
}

#[test]
fn suppression_is_the_originals() {
    let case = &expected()["soft_nms"];
    let row = |place: usize, of: &Value| Proposal {
        window: Window::new(of["segments"][place][0].as_f64().unwrap(), of["segments"][place][1].as_f64().unwrap()),
        score: of["scores"][place].as_f64().unwrap(),
        class: of["classes"][place].as_u64().unwrap() as usize,
    };
    let input: Vec<Proposal> = (0..5).map(|place| row(place, case)).collect();
    let settings = POSTPROCESSOR.defaults;
    let pairs = [
        (within_classes(&input, &settings), "multiclass"),
        (across_classes(&input, &settings, 0.95), "class_agnostic_with_voting_0p95"),
    ];
    for (found, name) in pairs {
        assert_eq!(found.len(), 5);
        for (place, found) in found.iter().enumerate() {
            let expected = row(place, &case[name]);
            assert_eq!(found.class, expected.class);
            assert!((found.score - expected.score).abs() < 1e-6, "{name}: {found:?} {expected:?}");
            assert!((found.window.start_sec - expected.window.start_sec).abs() < 1e-5);
            assert!((found.window.end_sec - expected.window.end_sec).abs() < 1e-5);
        }
    }
}

#[test]
fn a_clip_is_the_same_alone_as_in_a_batch() {
    let golden = golden();
    let together = golden.output(false);
    for (index, name) in ["in.feats_a", "in.feats_b"].into_iter().enumerate() {
        let (features, mask) = batch(&[golden.tensors[name].shallow_clone()], DIM, &settings()).unwrap();
        let alone = golden.network.forward(&features, &mask, false).unwrap();
        let clip = index as i64;
        close(&alone.logits().get(0), &together.logits().get(clip), "logits");
        close(&alone.offsets().get(0), &together.offsets().get(clip), "offsets");
        assert_eq!(alone.mask().get(0), together.mask().get(clip));
    }
}

#[test]
fn clips_beyond_the_greatest_length_stretch_the_positions() {
    let golden = golden();
    let long = Tensor::cat(&[&golden.tensors["in.feats_a"], &golden.tensors["in.feats_a"]], 1).narrow(1, 0, 70);
    let (features, mask) = batch(&[long.shallow_clone()], DIM, &settings()).unwrap();
    assert_eq!(features.size(), [1, 6, 96], "a multiple of 32, by 4 steps at either side and two halvings");
    let output = golden.network.forward(&features, &mask, false).unwrap();
    let lengths: Vec<i64> = output.levels.iter().map(|level| level.points.size()[0]).collect();
    assert_eq!(lengths, [96, 48, 24]);
    assert_eq!(output.mask().sum(Kind::Int64).int64_value(&[]), 70 + 35 + 18);
    assert_eq!(
        golden.network.forward(&features, &mask, true).unwrap_err(),
        ActionFormerError::TooLong { length: 96, max_length: 64 }
    );
    let short = golden.tensors["in.feats_a"].shallow_clone();
    assert_eq!(batch(&[short, long], DIM, &settings()).unwrap_err(), ActionFormerError::Mixed(50, 70));
    // A longer table changes what every step is added, and the predictions with it.
    let whole = golden.output(false);
    let difference = (output.logits().get(0).get(0) - whole.logits().get(0).get(0)).abs().max().double_value(&[]);
    assert!(difference > 1e-4, "{difference}");
}

#[test]
fn tensors_of_other_shapes_are_refused() {
    let golden = golden();
    let refused = |features: &Tensor, mask: &Tensor| {
        golden.network.forward(features, mask, false).map(|_| ()).unwrap_err().to_string()
    };
    let (features, mask) = (&golden.features, &golden.mask);
    assert_eq!(
        refused(&features.narrow(2, 0, 48), &mask.narrow(2, 0, 48)),
        "features of shape [2, 6, 48], expected [clips, 6, a multiple of 32]"
    );
    assert_eq!(refused(features, &mask.narrow(0, 0, 1)), "a mask of shape [1, 1, 64], expected [2, 1, 64] of booleans");
    assert_eq!(
        refused(features, &mask.to_kind(Kind::Float)),
        "a mask of shape [2, 1, 64], expected [2, 1, 64] of booleans"
    );
    assert_eq!(batch(&[], DIM, &settings()).unwrap_err().to_string(), "a batch of shape [0], expected clips");
    let flat = Tensor::zeros([6], (Kind::Float, device()));
    assert_eq!(
        batch(&[flat], DIM, &settings()).unwrap_err().to_string(),
        "a clip of shape [6], expected [6, at least 1]"
    );
}

#[test]
fn settings_that_no_network_has_are_refused() {
    let refused = |settings: Settings| settings.check().unwrap_err().to_string();
    let base = settings();
    assert!(base.check().is_ok() && full_size().check().is_ok());
    assert_eq!(refused(Settings { window: 8, ..base.clone() }), "window is 8, expected odd and at least 3");
    assert_eq!(
        refused(Settings { num_heads: 3, ..base.clone() }),
        "num_heads is 3, expected a divisor of embed_dim, 32"
    );
    assert_eq!(
        refused(Settings { max_length: 80, ..base.clone() }),
        "max_length is 80, expected a multiple of 32, by window and branch_blocks"
    );
    assert_eq!(
        refused(Settings { branch_blocks: 3, ..base.clone() }),
        "regression_ranges is 3 ranges, expected one range for each of 4 levels"
    );
    assert_eq!(refused(Settings { dropout: 1.0, ..base.clone() }), "dropout is 1, expected at least 0 and below 1");
    assert_eq!(
        refused(Settings { crop_ratio: [1.0, 0.9], ..base }),
        "crop_ratio is [1, 0.9], expected two shares above 0, the lesser first"
    );
}

#[test]
fn settings_have_no_defaults_and_no_other_keys() {
    let complete = serde_json::to_value(settings()).unwrap();
    for key in complete.as_object().unwrap().keys() {
        let mut partial = complete.clone();
        partial.as_object_mut().unwrap().remove(key);
        assert!(serde_json::from_value::<Settings>(partial).is_err(), "{key} has a default");
    }
    let mut more = complete;
    more["widht"] = 1.into();
    assert!(serde_json::from_value::<Settings>(more).is_err());
}

/// A state dict with its weights times `factor`, as the authors' trainer has it.
fn state_dict(golden: &Golden, factor: f64) -> checkpoint::Value {
    let stored = |(name, weight): (String, Tensor)| {
        let weight = (weight * factor).detach();
        let mut numbers = vec![0f32; weight.numel()];
        weight.copy_data(&mut numbers, weight.numel());
        let shape = weight.size().iter().map(|&size| size as usize).collect();
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let tensor = checkpoint::Tensor { dtype: checkpoint::Dtype::F32, shape, bytes };
        (format!("module.{name}"), checkpoint::Value::Tensor(tensor))
    };
    checkpoint::Value::Dict(golden.store.variables().into_iter().map(stored).collect())
}

#[test]
fn official_files_load_by_their_names_and_running_means_come_first() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch_015.pth.tar");
    let epoch = ("epoch".to_owned(), checkpoint::Value::Int(15));
    let weights = ("state_dict".to_owned(), state_dict(&golden, 0.5));
    let means = ("state_dict_ema".to_owned(), state_dict(&golden, 1.0));
    for entries in [vec![epoch.clone(), weights, means.clone()], vec![epoch, ("state_dict".to_owned(), means.1)]] {
        let file = std::fs::File::create(&path).unwrap();
        checkpoint::write_torch_value(file, &checkpoint::Value::Dict(entries), checkpoint::none_announced).unwrap();
        let fresh = nn::VarStore::new(device());
        let loaded = ActionFormer::new(&fresh.root(), DIM, &settings()).unwrap();
        load_weights(&path, "actionformer", &fresh.variables().into_iter().collect()).unwrap();
        let found = loaded.forward(&golden.features, &golden.mask, false).unwrap();
        assert_eq!(found.logits(), golden.output(false).logits());
    }
}
