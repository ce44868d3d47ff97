//! SnAG against numbers that the authors' code computed; `tests/data/snag/README.md` says how they were made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use egofx::checkpoint;
use egofx::heads::actionformer::FeatureGrid;
use egofx::metric::Window;
use egofx::metric::postprocess::actionformer::{POSTPROCESSOR, soft_nms};
use egofx::metric::postprocess::{Proposal, Settings as Suppression};
use egofx_train::checkpoint::load_weights;
use egofx_train::heads::actionformer::{Output, points};
use egofx_train::heads::snag::decode::{DecodeSettings, candidates, in_seconds, suppressed};
use egofx_train::heads::snag::head::SnagHead;
use egofx_train::heads::snag::loss::{Losses, losses, next_normaliser};
use egofx_train::heads::snag::targets::{Event, Targets};
use egofx_train::heads::snag::{Input, Settings, Snag, SnagError, decays, padded};
use egofx_train::learner::Model;
use egofx_train::optimizer::{Optimizer, OptimizerKind, OptimizerSettings};
use egofx_train::schedule::{Schedule, Warmup};
use serde_json::Value;
use tch::{Kind, Tensor, nn};

use crate::support::device::device;

/// Of all stages in single precision; what was measured is 2e-6 and less.
const TOLERANCE: f64 = 2e-5;
/// Of ends in seconds.
const SECONDS: f64 = 1e-4;
/// Of gradients, by the greatest number of each.
const GRADIENT: f64 = 1e-4;
/// Rows and tokens.
const DIMS: [i64; 2] = [10, 12];
/// Tokens of the longest query that is learnt.
const TOKENS: i64 = 10;
const GRID: FeatureGrid = FeatureGrid { fps: 30.0, stride_frames: 16.0, window_frames: 32.0 };
/// Weights that the second set has smaller, so that epsilons show.
const LOWERED: [&str; 3] = ["vid_net.embd_convs", "text_net.embd_fc", "text_net.attn_pool.attn.proj"];

const DECODE: DecodeSettings = DecodeSettings {
    min_probability: 0.001,
    most: 2000,
    min_length: 0.1,
    sigma: 0.9,
    min_score: 0.001,
    windows: 5,
    voting: 0.95,
};

fn settings() -> Settings {
    Settings {
        embed_dim: 16,
        text_embed_dim: 12,
        num_heads: 4,
        window: 5,
        embedding_layers: 2,
        fusion_layers: 2,
        head_layers: 2,
        regression_ranges: vec![[0.0, 4.0], [2.0, 8.0], [4.0, 16.0], [8.0, 65.0]],
        row_stride: 1,
        max_length: 64,
        max_tokens: TOKENS as usize,
        max_queries: 2,
        truncation_threshold: 0.5,
        dropout: 0.0,
        drop_path: 0.0,
        label_smoothing: 0.2,
        centre_radius: 1.5,
        first_normaliser: 10.0,
    }
}

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/snag").join(name)
}

fn tensors(name: &str) -> BTreeMap<String, Tensor> {
    let read = Tensor::read_safetensors(data(&format!("{name}.safetensors"))).unwrap();
    read.into_iter().map(|(name, tensor)| (name, tensor.to_device(device()))).collect()
}

fn numbers() -> Value {
    serde_json::from_slice(&std::fs::read(data("numbers.json")).unwrap()).unwrap()
}

#[track_caller]
fn close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.size(), expected.size(), "{what}");
    let largest = (found - expected).abs().max().double_value(&[]);
    println!("{what}: {largest:.2e}");
    assert!(largest < TOLERANCE, "{what} differs by {largest}");
}

struct Golden {
    store: nn::VarStore,
    network: Snag,
    inputs: BTreeMap<String, Tensor>,
}

fn golden() -> Golden {
    let store = nn::VarStore::new(device());
    let network = Snag::new(&store.root(), DIMS, &settings()).unwrap();
    let weights = tensors("weights");
    tch::no_grad(|| {
        for (name, mut variable) in store.variables() {
            variable.copy_(&weights[&name].view(variable.size().as_slice()));
        }
    });
    Golden { store, network, inputs: tensors("inputs") }
}

impl Golden {
    /// Videos with so many queries each, padded to `tokens`.
    fn input(&self, videos: &[(&str, i64)], tokens: i64) -> Input {
        let cpu = |name: String| self.inputs[&name].to_device(tch::Device::Cpu);
        let rows: Vec<Tensor> = videos.iter().map(|(name, _)| cpu(format!("vid.{name}"))).collect();
        let length = settings().padded_length(rows.iter().map(|rows| rows.size()[1]).max().unwrap());
        let (video, video_mask) = padded("a clip", &rows, DIMS[0], length).unwrap();
        let queries =
            (0_i64..).zip(videos).flat_map(|(owner, (name, count))| (0..*count).map(move |i| (owner, name, i)));
        let queries: Vec<_> = queries.collect();
        let words: Vec<Tensor> = queries.iter().map(|(_, name, i)| cpu(format!("text.{name}.{i}"))).collect();
        let (tokens, token_mask) = padded("a query", &words, DIMS[1], tokens).unwrap();
        let owners = Tensor::from_slice(&queries.iter().map(|(owner, _, _)| *owner).collect::<Vec<_>>());
        Input { video, video_mask: video_mask.unsqueeze(1), tokens, token_mask, owners }
            .map(|tensor| tensor.to_device(device()))
    }

    /// What is learnt from.
    fn batch(&self) -> Input {
        self.input(&[("a", 2), ("b", 1)], TOKENS)
    }

    fn output(&self, train: bool) -> Output {
        self.network.forward(&self.batch(), train).unwrap()
    }
}

fn events() -> Vec<Event> {
    vec![Event { start: 10.3, end: 17.9 }, Event { start: 40.0, end: 42.9 }, Event { start: -0.7, end: 23.5 }]
}

fn targets(output: &Output) -> Targets {
    Targets::new(&output.points(), &output.mask(), &events(), &settings())
}

/// As the program has it for the configuration of Ego4D.
fn full_size() -> Settings {
    let level = |level: i32| [if level == 0 { 0.0 } else { 2f64.powi(level) }, 2f64.powi(level + 2)];
    let mut regression_ranges: Vec<[f64; 2]> = (0..8).map(level).collect();
    regression_ranges[7][1] = 2305.0;
    Settings {
        embed_dim: 384,
        text_embed_dim: 768,
        window: 19,
        regression_ranges,
        row_stride: 2,
        max_length: 2304,
        max_tokens: 24,
        dropout: 0.1,
        drop_path: 0.1,
        ..settings()
    }
}

#[test]
fn names_and_shapes_are_those_of_the_state_dict() {
    let found: BTreeMap<String, i64> =
        golden().store.variables().into_iter().map(|(name, variable)| (name, variable.numel() as i64)).collect();
    let expected: BTreeMap<String, i64> =
        tensors("weights").into_iter().map(|(name, weight)| (name, weight.numel() as i64)).collect();
    assert_eq!(found, expected);
    let variables = golden().store.variables();
    for (name, shape) in [
        ("fusion.ln_out.weight", &[16, 1][..]),
        ("vid_net.branch.1.drop_path_attn.scale", &[1, 16, 1]),
        ("reg_head.scales.3.scale", &[]),
        ("fusion.layers.1.xattn.xattn.proj.weight", &[32, 16, 1]),
    ] {
        assert_eq!(variables[name].size(), shape, "{name}");
    }
}

#[test]
fn weights_of_convolutions_decay_and_nothing_else() {
    let numbers = numbers();
    let still: Vec<&str> = numbers["no_decay"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in golden().store.variables().keys() {
        assert_eq!(decays(name), !still.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn first_biases_are_zero_and_residual_branches_start_small() {
    let store = nn::VarStore::new(device());
    Snag::new(&store.root(), DIMS, &settings()).unwrap();
    for (name, variable) in store.variables() {
        let expected = match &*name {
            name if name.contains("drop_path") => 1e-4,
            name if name.ends_with("bias") => 0.0,
            name if !decays(name) => 1.0,
            _ => continue,
        };
        assert!((variable - expected).abs().max().double_value(&[]) < 1e-8, "{name}");
    }
}

#[test]
fn clips_and_words_are_the_originals() {
    let (golden, expected) = (golden(), tensors("expected"));
    let input = golden.batch();
    let levels = golden.network.pyramid(&input, false).unwrap();
    assert_eq!(levels.len(), 4);
    for (index, level) in levels.iter().enumerate() {
        close(&level.values, &expected[&format!("branch{index}")], &format!("level {index}"));
    }
    close(&golden.network.words(&input).unwrap().values, &expected["text.with_background"], "words");
    for index in [0, 2] {
        let fused = golden.network.first_fusion(&levels[index], &input, false).unwrap();
        close(&fused.values, &expected[&format!("fusion.layer0.level{index}")], &format!("fusion at level {index}"));
    }
}

#[test]
fn logits_offsets_and_points_are_the_originals() {
    let (golden, expected) = (golden(), tensors("expected"));
    let output = golden.output(false);
    close(&output.logits().squeeze_dim(-1), &expected["logits"], "logits");
    close(&output.offsets(), &expected["offsets"], "offsets");
    assert_eq!(output.mask().to_kind(Kind::Uint8), expected["masks"]);
    assert_eq!(output.points(), expected["points"]);
    assert_eq!(points::of_pyramid(64, &settings().regression_ranges, device()), output.points());
}

#[test]
fn with_small_variances_epsilons_are_the_originals() {
    let (golden, expected) = (golden(), tensors("expected_lowvar"));
    tch::no_grad(|| {
        for (name, mut variable) in golden.store.variables() {
            if LOWERED.iter().any(|lowered| name.starts_with(lowered)) {
                let _ = variable.g_mul_scalar_(0.003);
            }
        }
    });
    let output = golden.output(false);
    close(&golden.network.words(&golden.batch()).unwrap().values, &expected["text.with_background"], "words");
    close(&output.logits().squeeze_dim(-1), &expected["logits"], "logits");
    close(&output.offsets(), &expected["offsets"], "offsets");
}

#[test]
fn training_without_dropping_is_the_same_as_testing() {
    let golden = golden();
    assert_eq!(golden.output(true).logits(), golden.output(false).logits());
}

#[test]
fn targets_are_the_originals() {
    let (golden, expected) = (golden(), tensors("expected"));
    let found = targets(&golden.output(false));
    assert_eq!(found.positives(), 14);
    assert_eq!(found.positive.to_kind(Kind::Uint8), expected["labels"]);
    let at_positives = found.offsets.masked_select(&found.positive.unsqueeze(-1)).view([-1, 2]);
    close(&at_positives, &expected["target_offsets_at_positives"], "target offsets");
}

#[test]
fn seconds_become_the_steps_of_the_original() {
    for (sec, step) in [(1.2, 1.25), (3.4, 5.375), (0.0, -1.0), (50.0, 92.75), (120.0, 224.0)] {
        assert!((f64::from(GRID.step_from_sec(sec)) - step).abs() < 1e-5, "{sec}");
        assert!((f64::from(GRID.sec_from_step(step as f32)) - sec).abs() < 1e-5, "{step}");
    }
}

fn golden_losses(golden: &Golden) -> Losses {
    let output = golden.output(true);
    let targets = targets(&output);
    losses(&output, &targets, settings().label_smoothing, settings().first_normaliser)
}

#[test]
fn losses_and_their_normaliser_are_the_originals() {
    let (found, expected) = (golden_losses(&golden()), &numbers()["iou"]);
    let parts = [(found.classification, "cls"), (found.regression, "reg"), (found.total, "total")];
    for (found, name) in parts {
        let difference = (found.double_value(&[]) - expected[name].as_f64().unwrap()).abs();
        println!("{name}: {difference:.2e}");
        assert!(difference < 2e-6, "{name} differs by {difference}");
    }
    let after = expected["loss_norm_after"].as_f64().unwrap();
    assert!((next_normaliser(settings().first_normaliser, 14) - after).abs() < 1e-9);
}

#[test]
fn all_gradients_are_the_originals() {
    let (golden, expected) = (golden(), tensors("train"));
    golden_losses(&golden).total.backward();
    let (mut worst, mut squares) = (0f64, 0f64);
    for (name, variable) in golden.store.variables() {
        let (found, expected) = (variable.grad(), &expected[&format!("grad.{name}")]);
        let expected = expected.view(found.size().as_slice());
        squares += found.square().sum(Kind::Double).double_value(&[]);
        let (peak, apart) = (expected.abs().max(), (&found - &expected).abs().max());
        let (peak, apart) = (peak.double_value(&[]), apart.double_value(&[]));
        // What shifts all scores of a query alike has no gradient but rounding.
        let is_zero = name.ends_with("key.bias") || name.ends_with("k_norm.bias");
        assert!(apart < if is_zero { 1e-6 } else { GRADIENT * peak }, "{name}: {apart} of {peak}");
        if !is_zero {
            worst = worst.max(apart / peak);
        }
    }
    println!("gradients: {worst:.2e}");
    let norm = numbers()["iou"]["grad_norm"].as_f64().unwrap();
    assert!((squares.sqrt() / norm - 1.0).abs() < 1e-5, "{} {norm}", squares.sqrt());
}

/// A warm-up of four steps, gradients cut to a norm of 1.
#[test]
fn six_steps_are_the_originals() {
    let (golden, expected) = (golden(), tensors("train"));
    let settings = OptimizerSettings {
        kind: OptimizerKind::Adamw,
        lr: 0.01,
        weight_decay: 0.05,
        betas: [0.9, 0.999],
        eps: 1e-8,
        head_lr_mult: 1.0,
    };
    let mut optimizer = Optimizer::new(&golden.store, &settings, SnagHead::param_group);
    let mut normaliser = self::settings().first_normaliser;
    // As the shipped experiment has it.
    let schedule = Schedule::Cosine { warmup: Warmup::Steps(4), floor: 1.0, full_within_warmup: true };
    for (number_of_step, step) in (0..).zip(numbers()["steps"].as_array().unwrap()) {
        let number = |name: &str| step[name].as_f64().unwrap();
        let output = golden.output(true);
        let targets = targets(&output);
        let total = losses(&output, &targets, self::settings().label_smoothing, normaliser).total;
        assert!((total.double_value(&[]) - number("total")).abs() < TOLERANCE, "{total:?}, not {}", number("total"));
        normaliser = next_normaliser(normaliser, targets.positives());
        assert!((normaliser - number("loss_norm_after")).abs() < 1e-9);
        optimizer.zero_grad().unwrap();
        total.backward();
        let norm = optimizer.clip_grad_norm(Some(1.0)).unwrap();
        assert!((norm / number("grad_norm") - 1.0).abs() < GRADIENT, "{norm}, not {}", number("grad_norm"));
        let factor = schedule.factor(number_of_step, 1, 6);
        assert!((factor - number("lr") / settings.lr).abs() < 1e-9, "{factor} in step {number_of_step}");
        optimizer.step(factor).unwrap();
    }
    let variables = golden.store.variables();
    let after = expected.iter().filter_map(|(name, weight)| Some((name.strip_prefix("after6.")?, weight)));
    let after: Vec<_> = after.collect();
    assert!(after.len() > 30);
    for (name, weight) in after {
        close(&variables[name], &weight.view(variables[name].size().as_slice()), name);
    }
}

#[test]
fn without_positives_there_is_no_regression_loss_and_gradients_are_finite() {
    let golden = golden();
    let output = golden.output(true);
    let none = vec![Event { start: -1.0, end: -1.0 }; 3];
    let targets = Targets::new(&output.points(), &output.mask(), &none, &settings());
    let found = losses(&output, &targets, 0.2, 10.0);
    assert_eq!(found.regression.double_value(&[]), 0.0);
    found.total.backward();
    for (name, variable) in golden.store.variables() {
        assert!(variable.grad().isfinite().all().int64_value(&[]) == 1, "{name}");
    }
}

/// Rows of segments with their scores.
fn rows(of: &BTreeMap<String, Tensor>, name: &str) -> Vec<([f64; 2], f64)> {
    let (segments, scores) = (&of[&format!("{name}.segments")], &of[&format!("{name}.scores")]);
    let row = |place: i64| {
        ([segments.double_value(&[place, 0]), segments.double_value(&[place, 1])], scores.double_value(&[place]))
    };
    (0..scores.size()[0]).map(row).collect()
}

#[track_caller]
fn same_rows(found: &[Proposal], expected: &[([f64; 2], f64)], tolerance: f64, what: &str) {
    for (found, (segment, score)) in found.iter().zip(expected) {
        assert!((found.score - score).abs() < TOLERANCE, "{what}: {found:?}, not {score}");
        let window = <[f64; 2]>::from(found.window);
        let apart = (window[0] - segment[0]).abs().max((window[1] - segment[1]).abs());
        assert!(apart < tolerance, "{what}: {found:?}, not {segment:?}");
    }
}

#[test]
fn windows_of_whole_clips_are_the_originals() {
    let (golden, expected) = (golden(), tensors("inference"));
    for (video, queries) in [("a", 2), ("b", 1), ("c", 3), ("d", 1)] {
        // In evaluation no query is cut.
        let input = golden.input(&[(video, queries)], 12);
        let output = golden.network.forward(&input, false).unwrap();
        let steps = golden.inputs[&format!("vid.{video}")].size()[1];
        let duration_sec = (16.0 * steps as f64 + 20.0) / 30.0;
        for query in 0..queries {
            let name = format!("whole.{video}.{query}");
            let found = candidates(&output, query, &DECODE);
            if expected.contains_key(&format!("{name}.before_nms.scores")) {
                same_rows(&found, &rows(&expected, &format!("{name}.before_nms")), SECONDS, &format!("{name}, before"));
            }
            let kept = suppressed(&found, &DECODE);
            let known = rows(&expected, &name);
            let windows = in_seconds(&kept, &GRID, duration_sec);
            assert_eq!((kept.len(), windows.len()), (known.len(), known.len()), "{name}");
            let in_seconds: Vec<Proposal> =
                kept.iter().zip(windows).map(|(kept, window)| Proposal { window, ..*kept }).collect();
            same_rows(&in_seconds, &known, SECONDS, &name);
        }
    }
}

#[test]
fn suppression_and_voting_are_the_originals() {
    let expected = tensors("inference");
    let proposal = |(segment, score): ([f64; 2], f64)| Proposal { window: Window::from(segment), score, class: 1 };
    let given: Vec<Proposal> = rows(&expected, "nms").into_iter().map(proposal).collect();
    let soft = soft_nms(&given, &Suppression { most: 5, ..POSTPROCESSOR.defaults });
    let (known, voted) = (rows(&expected, "nms.soft"), rows(&expected, "nms.soft_voting"));
    assert_eq!((soft.len(), known.len(), voted.len()), (5, 5, 5));
    same_rows(&soft, &known, SECONDS, "soft");
    same_rows(&suppressed(&given, &DECODE), &voted, SECONDS, "with voting");
}

#[test]
fn a_query_is_the_same_alone_as_with_others() {
    let golden = golden();
    let together = golden.output(false);
    let alone = golden.network.forward(&golden.input(&[("b", 1)], 3), false).unwrap();
    close(&alone.logits().get(0), &together.logits().get(2), "logits");
    close(&alone.offsets().get(0), &together.offsets().get(2), "offsets");
}

#[test]
fn tensors_of_other_shapes_are_refused() {
    let golden = golden();
    let refused = |input: &Input, train| golden.network.forward(input, train).map(|_| ()).unwrap_err().to_string();
    let batch = golden.batch();
    let short = Input { video: batch.video.narrow(2, 0, 48), ..golden.batch() };
    assert_eq!(refused(&short, false), "features of shape [2, 10, 48], expected [clips, 10, a multiple of 32]");
    let floats = Input { video_mask: batch.video_mask.to_kind(Kind::Float), ..golden.batch() };
    let expected = "a mask of features of shape [2, 1, 64], expected [2, 1, 64] of booleans";
    assert_eq!(refused(&floats, false), expected);
    let fewer = Input { owners: batch.owners.narrow(0, 0, 2), ..golden.batch() };
    assert_eq!(refused(&fewer, false), "owners of shape [2], expected [3] of numbers of clips");
    let long = golden.input(&[("c", 1)], TOKENS);
    assert_eq!(golden.network.forward(&long, true).unwrap_err(), SnagError::TooLong { length: 128, max_length: 64 });
    let none = padded("a clip", &[], 10, 64).unwrap_err().to_string();
    assert_eq!(none, "a clip of shape [0], expected at least one");
}

#[test]
fn settings_that_no_network_has_are_refused() {
    let refused = |settings: Settings| settings.check().unwrap_err().to_string();
    let base = settings();
    assert!(base.check().is_ok() && full_size().check().is_ok());
    assert_eq!(full_size().length_multiple(), 2304);
    assert_eq!(refused(Settings { window: 8, ..base.clone() }), "window is 8, expected odd and at least 3");
    assert_eq!(
        refused(Settings { num_heads: 8, ..base.clone() }),
        "num_heads is 8, expected a divisor of embed_dim, 16, and text_embed_dim, 12"
    );
    assert_eq!(
        refused(Settings { max_length: 80, ..base.clone() }),
        "max_length is 80, expected a multiple of 32, by window and levels"
    );
    assert_eq!(refused(Settings { dropout: 1.0, ..base.clone() }), "dropout is 1, expected at least 0 and below 1");
    assert_eq!(refused(Settings { fusion_layers: 0, ..base }), "fusion_layers is 0, expected at least 1");
}

/// A state dict with its weights times `factor`, as the authors' trainer has it.
fn state_dict(golden: &Golden, factor: f64) -> checkpoint::Value {
    let stored = |(name, weight): (String, Tensor)| {
        let weight = (weight * factor).detach().to_device(tch::Device::Cpu);
        let mut numbers = vec![0f32; weight.numel()];
        weight.copy_data(&mut numbers, weight.numel());
        let shape = weight.size().iter().map(|&size| size as usize).collect();
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let tensor = checkpoint::Tensor { dtype: checkpoint::Dtype::F32, shape, bytes };
        (name, checkpoint::Value::Tensor(tensor))
    };
    checkpoint::Value::Dict(golden.store.variables().into_iter().map(stored).collect())
}

#[test]
fn official_files_load_by_their_names_and_running_means_come_first() {
    let golden = golden();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last.pth");
    let entries =
        vec![("model".to_owned(), state_dict(&golden, 0.5)), ("model_ema".to_owned(), state_dict(&golden, 1.0))];
    let file = std::fs::File::create(&path).unwrap();
    checkpoint::write_torch_value(file, &checkpoint::Value::Dict(entries), checkpoint::none_announced).unwrap();
    let fresh = nn::VarStore::new(device());
    let loaded = Snag::new(&fresh.root(), DIMS, &settings()).unwrap();
    load_weights(&path, "snag", &fresh.variables().into_iter().collect()).unwrap();
    let found = loaded.forward(&golden.batch(), false).unwrap();
    assert_eq!(found.logits(), golden.output(false).logits());
}
