//! The head of query-focused summaries against what the original computes; `data/qfvs/README.md` says where that is
//! from.

use std::collections::BTreeMap;

use egofx::compat::Compat::{self, AsReleased, Fixed};
use egofx_train::heads::qfvs::loss::{Scored, loss};
use egofx_train::heads::qfvs::summary::in_order;
use egofx_train::heads::qfvs::{QfvsError, Settings, Summariser, graph, lr_scale, places, positions};
use egofx_train::learner::weights;
use egofx_train::tasks::qfvs::summary;
use serde_json::Value;
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use crate::support::device::device;
use crate::support::graphs::{floats, head_outputs, ints, output};

/// Two layers in single precision, summed in another order.
const TOLERANCE: f64 = 1e-5;
/// Of norms of gradients, relative.
const GRADIENT_TOLERANCE: f64 = 1e-4;
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/qfvs");

fn settings() -> Settings {
    Settings { embed_dim: 16, num_heads: 2, depth: 2, mlp_dim: 2048, dropout: 0.1, head_dropout: 0.2 }
}

fn tensors() -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(format!("{DATA}/summary_head.safetensors"))
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_device(device())))
        .collect()
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("{DATA}/expected.json")).unwrap()).unwrap()
}

/// A head with the original weights.
fn head(compat: Compat, tensors: &BTreeMap<String, Tensor>) -> (VarStore, Summariser) {
    let store = VarStore::new(device());
    let head = Summariser::new(&store.root(), &settings(), compat).unwrap();
    for (name, mut variable) in store.variables() {
        match tensors.get(&format!("w.{name}")) {
            Some(weight) => tch::no_grad(|| variable.copy_(weight)),
            None => assert!(name.starts_with("encoder_layer."), "no weight for {name}"),
        }
    }
    (store, head)
}

#[track_caller]
fn close(found: &Tensor, wanted: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.size(), wanted.size(), "{what}");
    let difference = (found - wanted).abs().max().double_value(&[]);
    println!("{what}: largest difference {difference:e}");
    assert!(difference <= tolerance, "{what}: largest difference {difference:e}");
}

#[test]
fn parameters_have_the_original_names_and_shapes() {
    let store = VarStore::new(device());
    Summariser::new(&store.root(), &settings(), AsReleased).unwrap();
    let found: BTreeMap<String, Vec<i64>> =
        store.variables().into_iter().map(|(name, variable)| (name, variable.size())).collect();
    let wanted: BTreeMap<String, Vec<i64>> = serde_json::from_value(expected()["parameters"].clone()).unwrap();
    assert_eq!(found, wanted);
    let trained = wanted.keys().filter(|name| !name.starts_with("encoder_layer.")).count();
    assert_eq!(store.trainable_variables().len(), trained, "the layer that is only copied is not trained");
}

#[test]
fn as_released_adds_one_to_the_logits_of_places_without_a_shot() {
    let tensors = tensors();
    let (_store, head) = head(AsReleased, &tensors);
    let (features, seg_len) = (&tensors["in.features"], &tensors["in.seg_len"]);
    let encoded = head.encode(features, seg_len, false).unwrap();
    close(&encoded.squeeze_dim(0), &tensors["out.encoder_float_mask"], TOLERANCE, "encoder");
    close(&head.forward(features, seg_len, false).unwrap(), &tensors["out.scores"], TOLERANCE, "scores");
}

#[test]
fn fixed_leaves_out_places_without_a_shot() {
    let tensors = tensors();
    let (_store, head) = head(Fixed, &tensors);
    let (features, seg_len) = (moved(&tensors["in.features"]), &tensors["in.seg_len"]);
    // The last segment has no shot, so that nothing is promised of it.
    let shown = |values: &Tensor| values.narrow(0, 0, 2);
    let encoded = head.encode(&features, seg_len, false).unwrap().squeeze_dim(0);
    close(&shown(&encoded), &shown(&tensors["out.encoder_bool_mask"]), TOLERANCE, "encoder");
    let scores = head.forward(&features, seg_len, false).unwrap().squeeze_dim(0);
    close(&shown(&scores), &shown(&tensors["out.scores_bool_mask"].squeeze_dim(0)), TOLERANCE, "scores");
    assert!(bool::try_from(head.forward(&features, seg_len, false).unwrap().isfinite().all()).unwrap());
}

/// The stored values are of the original positions: what a head with the standard ones needs to see to compute the
/// same.
fn moved(features: &Tensor) -> Tensor {
    features + positions(200, 16, AsReleased) - positions(200, 16, Fixed)
}

#[test]
fn the_graph_computes_what_the_network_and_the_original_compute() {
    for compat in [AsReleased, Fixed] {
        let tensors = tensors();
        let (store, head) = head(compat, &tensors);
        let features = &tensors["in.features"];
        let features = if compat == Fixed { moved(features) } else { features.shallow_clone() };
        let seg_len = &tensors["in.seg_len"];
        let places = Tensor::arange(200, (Kind::Int64, device()));
        let mask = places.lt_tensor(&seg_len.unsqueeze(-1)).flatten(0, 1);
        let feeds = [floats("features", &features.flatten(0, 1)), ints("mask", &mask)];
        let dims = [("N", 2), ("L", 9)];
        let outputs = head_outputs(graph(&settings(), compat), &weights(&store), dims, &feeds);
        let encoded = head.encode(&features, seg_len, false).unwrap();
        let scores = head.forward(&features, seg_len, false).unwrap();
        close(&output(&outputs, "probe.encoded", &encoded), &encoded, TOLERANCE, "encoder, network and graph");
        let found = output(&outputs, "scores", &scores);
        close(&found, &scores, TOLERANCE, "scores, network and graph");
        // Nothing is promised of the last segment, which has no shot.
        let (name, segments) = if compat == Fixed { ("out.scores_bool_mask", 2) } else { ("out.scores", 3) };
        let shown = |values: &Tensor| values.narrow(1, 0, segments);
        close(&shown(&found), &shown(&tensors[name]), TOLERANCE, "scores, graph and original");
    }
}

#[test]
fn as_released_doubles_the_exponents_of_positions() {
    close(&positions(200, 16, AsReleased), &tensors()["out.pe"].squeeze_dim(0), 1e-6, "width 16");
    let table = positions(200, 768, AsReleased);
    let expected = &expected()["positional_encoding_768"];
    let row = |key: &str| Tensor::from_slice(&serde_json::from_value::<Vec<f32>>(expected[key].clone()).unwrap());
    for place in [1, 7, 199] {
        let first = table.get(place).narrow(0, 0, 8);
        close(&first, &row(&format!("pos{place}_first8")), 1e-6, "width 768");
    }
    close(&table.get(199).narrow(0, 766, 2), &row("pos199_last2"), 1e-6, "width 768, last");
}

#[test]
fn fixed_has_the_standard_positions() {
    let table = positions(5, 4, Fixed);
    let row = Tensor::from_slice(&[3f64.sin(), 3f64.cos(), 0.03f64.sin(), 0.03f64.cos()]);
    close(&table.get(3), &row.to_kind(Kind::Float), 1e-7, "width 4");
}

#[test]
fn losses_and_gradients_are_those_of_torch() {
    for (compat, name) in [(AsReleased, "compat"), (Fixed, "fixed")] {
        let tensors = tensors();
        let (store, head) = head(compat, &tensors);
        let one = &tensors["in.features"];
        let two = Tensor::cat(&[one, &one.flip([2])], 0);
        let seg_len = &tensors["label.seg_len"];
        let see = |features: Tensor| if compat == Fixed { moved(&features) } else { features };
        // A head as it was meant would drop something in training.
        let train = compat == AsReleased;
        let scores = [two.shallow_clone(), &two * 0.5, -&two].map(|f| head.forward(&see(f), seg_len, train).unwrap());
        let label = |prompt: &str| &tensors[&format!("label.{prompt}")];
        let [first, second, oracle] = &scores;
        let prompts = [
            Scored { scores: first, labels: label("concept_1") },
            Scored { scores: second, labels: label("concept_2") },
            Scored { scores: oracle, labels: label("oracle") },
        ];
        let loss = total(prompts, seg_len);
        loss.backward();
        let expected = &expected()["losses"][name];
        let wanted = expected["loss"].as_f64().unwrap();
        assert!((loss.double_value(&[]) - wanted).abs() < TOLERANCE, "{name}: {loss:?}, expected {wanted}");
        compare_gradients(&store, &expected["grad_norms"]);
    }
}

fn total(prompts: [Scored; 3], seg_len: &Tensor) -> Tensor {
    let [first, second, oracle] = prompts.map(|prompt| loss(prompt, seg_len));
    first + second + oracle
}

fn compare_gradients(store: &VarStore, expected: &Value) {
    let expected: BTreeMap<String, f64> = serde_json::from_value(expected.clone()).unwrap();
    let mut largest = 0f64;
    for (name, variable) in store.variables() {
        let Some(&wanted) = expected.get(&name) else {
            assert!(name.starts_with("encoder_layer.") && !variable.requires_grad(), "{name}");
            continue;
        };
        let difference = (variable.grad().norm().double_value(&[]) - wanted).abs() / wanted;
        largest = largest.max(difference);
        assert!(difference < GRADIENT_TOLERANCE, "{name}: {difference:e} of {wanted}");
    }
    println!("gradients: largest relative difference {largest:e}");
}

#[test]
fn a_sample_is_scored_alike_alone_and_in_a_batch() {
    let tensors = tensors();
    for compat in [AsReleased, Fixed] {
        let (_store, head) = head(compat, &tensors);
        let one = &tensors["in.features"];
        let batch = Tensor::cat(&[one, &one.flip([1]), &(one * 2.0)], 0);
        let seg_len = Tensor::from_slice(&[200i64, 37, 0, 5, 200, 199, 1, 1, 1]).view([3, 3]);
        let scores = head.forward(&batch, &seg_len, false).unwrap();
        for sample in 0..3 {
            let alone = head.forward(&batch.narrow(0, sample, 1), &seg_len.narrow(0, sample, 1), false).unwrap();
            close(&scores.narrow(0, sample, 1), &alone, TOLERANCE, "alone");
        }
    }
}

/// By how much scores of the shots change where the features of a place without a shot do.
fn leak(compat: Compat) -> f64 {
    let tensors = tensors();
    let (_store, head) = head(compat, &tensors);
    let (features, seg_len) = (&tensors["in.features"], &tensors["in.seg_len"]);
    let other = features.copy();
    let _ = other.narrow(1, 1, 1).narrow(2, 100, 1).fill_(9.0);
    let scores = |features| head.forward(features, seg_len, false).unwrap().narrow(1, 1, 1).narrow(2, 0, 37);
    (scores(features) - scores(&other)).abs().max().double_value(&[])
}

#[test]
fn only_as_released_looks_at_places_without_a_shot() {
    assert!(leak(AsReleased) > 1e-4, "{}", leak(AsReleased));
    assert_eq!(leak(Fixed), 0.0);
}

#[test]
fn places_and_segments_without_a_shot_can_be_left_away_where_places_says_so() {
    let tensors = tensors();
    for (compat, kept) in [(AsReleased, 200), (Fixed, 150)] {
        assert_eq!(places(150, compat), kept);
        let (_store, head) = head(compat, &tensors);
        let (features, seg_len) = (&tensors["in.features"], Tensor::from_slice(&[150i64, 37, 0]).unsqueeze(0));
        let whole = head.forward(features, &seg_len, false).unwrap().narrow(1, 0, 2).narrow(2, 0, 37);
        let features = features.narrow(1, 0, 2).narrow(2, 0, kept as i64);
        let part = head.forward(&features, &seg_len.narrow(1, 0, 2), false).unwrap().narrow(2, 0, 37);
        close(&part, &whole, TOLERANCE, "left away");
    }
}

#[test]
fn only_fixed_drops_values_and_only_in_training() {
    let tensors = tensors();
    let (features, seg_len) = (&tensors["in.features"], &tensors["in.seg_len"]);
    for compat in [AsReleased, Fixed] {
        let (_store, head) = head(compat, &tensors);
        let scores = |train| head.forward(features, seg_len, train).unwrap();
        assert_eq!(scores(false), scores(false));
        assert_eq!(scores(false) == scores(true), compat == AsReleased, "{compat:?}");
    }
}

#[test]
fn places_without_a_shot_cost_nothing_and_a_batch_is_the_sum_of_its_samples() {
    let scores = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 3.0, -0.25, 7.0, 7.0, 7.0]).view([2, 2, 2]);
    let labels = Tensor::from_slice(&[1i64, 0, 1, 1, 1, 0, 1, 0]).view([2, 2, 2]);
    let seg_len = Tensor::from_slice(&[2i64, 1, 1, 0]).view([2, 2]);
    let cost = |score: f64, label: f64| (1.0 + score.exp()).ln() - label * score;
    let first = (cost(0.5, 1.0) + cost(-1.0, 0.0) + cost(2.0, 1.0)) / 3.0;
    let expected = 3.0 * (first + cost(-0.25, 1.0));
    let prompt = Scored { scores: &scores, labels: &labels };
    let found = total([prompt; 3], &seg_len).double_value(&[]);
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
    let nothing = total([prompt; 3], &seg_len.zeros_like());
    assert_eq!(nothing.double_value(&[]), 0.0);
}

#[test]
fn a_summary_is_two_percent_of_the_shots_by_score() {
    for size in expected()["summary_size"].as_array().unwrap() {
        let (shots, length) = (size[0].as_u64().unwrap() as usize, size[1].as_u64().unwrap() as usize);
        assert_eq!(summary(&vec![0.0; shots]), (1..=length).collect::<Vec<_>>(), "the first of equal scores");
    }
    let mut scores = vec![0.0; 150];
    (scores[149], scores[20]) = (2.0, 3.0);
    assert_eq!(summary(&scores), [21, 150, 1]);
}

#[test]
fn scores_come_in_order_of_time() {
    let scores = Tensor::arange(6, (Kind::Float, device())).view([2, 3]);
    let seg_len = Tensor::from_slice(&[2i64, 1]);
    assert_eq!(in_order(&scores, &seg_len), [0.0, 1.0, 3.0]);
}

#[test]
fn a_new_head_begins_as_the_original() {
    let store = VarStore::new(device());
    let wide = Settings { embed_dim: 768, ..settings() };
    Summariser::new(&store.root(), &wide, AsReleased).unwrap();
    let variables = store.variables();
    let (bias, weight) = (&variables["summ_head.bias"], &variables["summ_head.weight"]);
    assert_eq!(bias.double_value(&[0]), f64::from(-1.91f32));
    assert!(weight.abs().max().double_value(&[]) < 0.6);
    for name in variables.keys().filter_map(|name| name.strip_prefix("encoder_layer.")) {
        let copied = &variables[&format!("encoder_layer.{name}")];
        for layer in 0..2 {
            let layer = &variables[&format!("transformer_encoder.layers.{layer}.{name}")];
            assert_eq!(layer, copied, "all layers begin as copies: {name}");
        }
    }
    let bound = |name: &str| variables[name].abs().max().double_value(&[]);
    for (name, expected) in [
        ("transformer_encoder.layers.0.self_attn.in_proj_weight", (6.0 / (4.0 * 768.0f64)).sqrt()),
        ("transformer_encoder.layers.1.linear1.weight", 1.0 / 768f64.sqrt()),
        ("projector_1.weight", 1.0 / 768f64.sqrt()),
    ] {
        assert!(bound(name) <= expected && bound(name) > 0.99 * expected, "{name}: {}, not {expected}", bound(name));
    }
    assert_eq!(bound("transformer_encoder.layers.1.self_attn.in_proj_bias"), 0.0);
}

#[test]
fn learning_rates_differ_by_the_axes_of_a_parameter() {
    assert_eq!([lr_scale(&[8, 768]), lr_scale(&[768])], [0.2, 0.0048]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let store = VarStore::new(device());
    let odd = Settings { embed_dim: 15, num_heads: 3, ..settings() };
    assert_eq!(
        Summariser::new(&store.root(), &odd, Fixed).unwrap_err(),
        QfvsError::EmbedDim { embed_dim: 15, num_heads: 3 }
    );
    let (_store, head) = head(Fixed, &tensors());
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device()));
    let error = head.forward(&zeros(&[1, 3, 201, 16]), &zeros(&[1, 3]), false).unwrap_err();
    let text = "features: expected shape [batch, segments, at most 200, 16], found [1, 3, 201, 16]";
    assert_eq!(error.to_string(), text);
    let (_store, compat) = self::head(AsReleased, &tensors());
    let error = compat.forward(&zeros(&[1, 3, 199, 16]), &zeros(&[1, 3]), false).unwrap_err();
    let text = "features: expected shape [batch, segments, 200, 16], found [1, 3, 199, 16]";
    assert_eq!(error.to_string(), text);
    let error = head.forward(&zeros(&[1, 3, 200, 16]), &zeros(&[1, 2]), false).unwrap_err();
    assert_eq!(error.to_string(), "seg_len: expected shape [1, 3], found [1, 2]");
}

#[test]
fn every_setting_is_required_and_no_other_is_known() {
    let text = toml::to_string(&settings()).unwrap();
    assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings());
    assert!(toml::from_str::<Settings>(&format!("{text}more = 1\n")).is_err());
    for line in text.lines() {
        assert!(toml::from_str::<Settings>(&text.replace(line, "")).is_err(), "{line}");
    }
}
