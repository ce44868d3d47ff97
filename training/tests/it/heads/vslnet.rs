//! VSLNet against the public implementation: every stage, the losses, their gradients, spans, names and sizes.
//!
//! `data/vslnet/` holds a reduced network's inputs (`in.*`), weights (`w.*`) and outputs (`out.*`), for both predictors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use egofx::compat::Compat;
use egofx_train::heads::vslnet::decode::top_spans;
use egofx_train::heads::vslnet::loss::{Losses, Targets, losses};
use egofx_train::heads::vslnet::{Dims, Input, PredictorKind, Settings, Vslnet, VslnetError, decays, graph};
use egofx_train::learner::weights;
use serde_json::Value;
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use crate::support::device::device;
use crate::support::graphs::{floats, head_outputs, ints, output};

/// Single precision through some forty layers: the largest difference seen is 5e-6, of values up to 10.
const STAGE: f64 = 1e-5;
/// Of a gradient's norm; sums in another order differ by less.
const GRADIENT: f64 = 1e-4;
/// Of gradients that are zero but for rounding: a bias of keys moves all scores of a row alike.
const ZERO_GRADIENT: f64 = 1e-5;

fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/data/vslnet", name].iter().collect()
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(data("expected.json")).unwrap()).unwrap()
}

fn settings(predictor: PredictorKind) -> Settings {
    Settings { embed_dim: 16, num_heads: 4, max_position_embeddings: 12, dropout: 0.2, predictor, small: false }
}

const DIMS: Dims = Dims { video: 6, query: 10 };

/// A reduced head with the weights of a golden file.
struct Golden {
    tensors: BTreeMap<String, Tensor>,
    expected: Value,
    store: VarStore,
    head: Vslnet,
}

impl Golden {
    fn new(name: &str, settings: &Settings, compat: Compat) -> Self {
        let file = data(&format!("{name}.safetensors"));
        let tensors: BTreeMap<String, Tensor> = Tensor::read_safetensors(file)
            .unwrap()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.to_device(device())))
            .collect();
        let store = VarStore::new(device());
        let head = Vslnet::new(&store.root(), DIMS, settings, compat).unwrap();
        tch::no_grad(|| {
            for (name, mut weight) in store.variables() {
                weight.copy_(&tensors[&format!("w.{name}")]);
            }
        });
        Self { tensors, expected: expected()[name].take(), store, head }
    }

    fn transformer() -> Self {
        Self::new("transformer", &settings(PredictorKind::Transformer), Compat::AsReleased)
    }

    fn both() -> [Self; 2] {
        [Self::transformer(), Self::new("rnn", &settings(PredictorKind::Rnn), Compat::AsReleased)]
    }

    fn small(compat: Compat) -> Self {
        let settings = Settings { small: true, ..settings(PredictorKind::Transformer) };
        Self::new("transformer", &settings, compat)
    }

    fn tensor(&self, name: &str) -> Tensor {
        self.tensors[name].shallow_clone()
    }

    fn input(&self) -> Input {
        let [video, query] = ["in.video_features", "in.query_features"].map(|name| self.tensor(name));
        let [video_mask, query_mask] = ["in.video_mask", "in.query_mask"].map(|name| self.tensor(name));
        self.head.input(video, &video_mask, query, &query_mask).unwrap()
    }

    fn lengths(&self) -> Vec<usize> {
        let lengths = self.tensor("in.video_mask").sum_dim_intlist(1, false, Kind::Int64);
        Vec::<i64>::try_from(lengths).unwrap().into_iter().map(|length| length as usize).collect()
    }

    fn losses(&self) -> Losses {
        let targets = Targets {
            starts: self.tensor("in.start_labels"),
            ends: self.tensor("in.end_labels"),
            highlights: self.tensor("in.highlight_labels").to_kind(Kind::Float),
        };
        let input = self.input();
        losses(&self.head.forward(&input, false), &targets, &input)
    }

    fn number(&self, name: &str) -> f64 {
        self.expected[name].as_f64().unwrap()
    }
}

/// The largest difference; of logits of padding, which are -1e30, relative to that.
fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    ((a - b).abs() / b.abs().clamp_min(1e20) * 1e20).max().double_value(&[])
}

fn close(found: f64, expected: f64, relative: f64, absolute: f64) -> bool {
    (found - expected).abs() <= relative * expected.abs() + absolute
}

#[test]
fn every_stage_is_that_of_the_original() {
    for golden in Golden::both() {
        let stages = golden.head.stages(&golden.input(), false);
        let output = &stages.output;
        let found = [
            ("video_affine", &stages.video_affine),
            ("query_affine", &stages.query_affine),
            ("video_plus_pos", &stages.video_plus_pos),
            ("video_conv_block", &stages.video_conv_block),
            ("video_encoded", &stages.video_encoded),
            ("query_encoded", &stages.query_encoded),
            ("cq_attention", &stages.cq_attention),
            ("cq_concat", &stages.cq_concat),
            ("h_score", &output.highlights),
            ("gated", &stages.gated),
            ("start_logits", &output.start_logits),
            ("end_logits", &output.end_logits),
        ];
        let stored = golden.tensors.keys().filter(|name| name.starts_with("out.") && !name.contains("top5"));
        assert_eq!(stored.count(), found.len());
        for (name, tensor) in found {
            let distance = distance(tensor, &golden.tensor(&format!("out.{name}")));
            println!("{name}: {distance:.1e}");
            assert!(distance < STAGE, "{name} differs by {distance}");
        }
    }
}

/// Network and graph, stage by stage, and with the original where that has been run.
#[test]
fn the_graph_computes_what_the_network_and_the_original_compute() {
    let small =
        |compat| (Golden::small(compat), Settings { small: true, ..settings(PredictorKind::Transformer) }, compat);
    let [transformer, rnn] = Golden::both();
    let heads = [
        (transformer, settings(PredictorKind::Transformer), Compat::AsReleased),
        (rnn, settings(PredictorKind::Rnn), Compat::AsReleased),
        small(Compat::AsReleased),
        small(Compat::Fixed),
    ];
    for (golden, settings, compat) in heads {
        let feeds = [
            floats("video", &golden.tensor("in.video_features")),
            ints("video_mask", &golden.tensor("in.video_mask")),
            floats("query", &golden.tensor("in.query_features")),
            ints("query_mask", &golden.tensor("in.query_mask")),
        ];
        let dims = [("B", 2), ("L", 8), ("Q", 4)];
        let outputs = head_outputs(graph(DIMS, &settings, compat), &weights(&golden.store), dims, &feeds);
        let stages = golden.head.stages(&golden.input(), false);
        let found = [
            ("video_affine", &stages.video_affine),
            ("query_affine", &stages.query_affine),
            ("video_encoded", &stages.video_encoded),
            ("query_encoded", &stages.query_encoded),
            ("cq_attention", &stages.cq_attention),
            ("cq_concat", &stages.cq_concat),
            ("gated", &stages.gated),
            ("highlights", &stages.output.highlights),
            ("start_logits", &stages.output.start_logits),
            ("end_logits", &stages.output.end_logits),
        ];
        for (name, network) in found {
            let graph = output(&outputs, &format!("probe.{name}"), network);
            let off = distance(&graph, network);
            println!("{name}: {off:.1e}");
            assert!(off < STAGE, "{name} differs by {off}");
            if !settings.small && name != "highlights" {
                assert!(distance(&graph, &golden.tensor(&format!("out.{name}"))) < STAGE, "{name}");
            }
        }
        for (name, logits) in [("start", &stages.output.start_logits), ("end", &stages.output.end_logits)] {
            let network = logits.softmax(1, Kind::Float);
            assert!(distance(&output(&outputs, name, &network), &network) < STAGE, "{name}");
        }
    }
}

#[test]
fn losses_are_those_of_the_original() {
    for golden in Golden::both() {
        let Losses { localisation, highlight, total } = golden.losses();
        for (name, loss) in
            [("localization_loss", localisation), ("highlight_loss", highlight), ("total_loss_lambda5", total)]
        {
            let (found, expected) = (loss.double_value(&[]), golden.number(name));
            println!("{name}: {found} for {expected}");
            assert!(close(found, expected, 1e-6, 0.0), "{name} is {found}, expected {expected}");
        }
    }
}

#[test]
fn gradients_are_those_of_the_original() {
    for golden in Golden::both() {
        golden.losses().total.backward();
        let (weights, mut squares, mut worst) = (golden.store.variables(), 0.0, 0f64);
        let norms = golden.expected["grad_norms"].as_object().unwrap();
        assert_eq!(norms.len(), weights.len());
        for (name, expected) in norms {
            let (found, expected) = (weights[name].grad().norm().double_value(&[]), expected.as_f64().unwrap());
            assert!(close(found, expected, GRADIENT, ZERO_GRADIENT), "{name}: {found}, expected {expected}");
            worst = worst.max((found - expected).abs() / expected.max(1e-3));
            squares += found * found;
        }
        println!("largest relative difference of a norm: {worst:.1e}");
        assert!(close(squares.sqrt(), golden.number("grad_norm_total"), 1e-5, 0.0));
    }
}

#[test]
fn spans_are_those_of_the_original() {
    for golden in Golden::both() {
        let output = golden.head.forward(&golden.input(), false);
        let found = top_spans(&output.start_logits, &output.end_logits, &golden.lengths());
        let found: Vec<Vec<[usize; 2]>> =
            found.iter().map(|spans| spans.iter().map(|span| [span.first, span.last]).collect()).collect();
        assert_eq!(serde_json::to_value(found).unwrap(), golden.expected["top5"]);
    }
}

#[test]
fn weights_have_the_official_names_and_shapes() {
    let shapes = |golden: &Golden| -> BTreeMap<String, Vec<i64>> {
        golden.store.variables().into_iter().map(|(name, weight)| (name, weight.size())).collect()
    };
    for golden in Golden::both() {
        let stored = golden.tensors.iter().filter_map(|(name, weight)| Some((name.strip_prefix("w.")?, weight)));
        let stored: BTreeMap<String, Vec<i64>> =
            stored.map(|(name, weight)| (name.to_owned(), weight.size())).collect();
        assert_eq!(shapes(&golden), stored);
    }
    let official: BTreeMap<String, Vec<i64>> = serde_json::from_value(expected()["state_dict_keys"].take()).unwrap();
    assert_eq!(shapes(&Golden::transformer()), official);
    let rest: BTreeMap<_, _> = official.into_iter().filter(|(name, _)| !name.starts_with("cq_attention")).collect();
    assert_eq!(shapes(&Golden::small(Compat::AsReleased)), rest);
}

#[test]
fn heads_of_the_official_settings_have_as_many_parameters() {
    use PredictorKind::{Rnn, Transformer};
    let counts = expected()["parameter_counts"].take();
    for (name, video, query, positions, predictor) in [
        ("slowfast2304_bert768_pos128", 2304, 768, 128, Transformer),
        ("egovlp256_text256_pos256", 256, 256, 256, Transformer),
        ("egovlpv2_768_768_pos256", 768, 768, 256, Transformer),
        ("egovlpv2_768_768_pos256_rnn", 768, 768, 256, Rnn),
    ] {
        let settings = Settings {
            embed_dim: 128,
            num_heads: 8,
            max_position_embeddings: positions,
            dropout: 0.2,
            predictor,
            small: false,
        };
        let store = VarStore::new(device());
        Vslnet::new(&store.root(), Dims { video, query }, &settings, Compat::AsReleased).unwrap();
        let count: usize = store.trainable_variables().iter().map(Tensor::numel).sum();
        assert_eq!(count as u64, counts[name].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn a_clip_alone_gives_what_it_gives_in_a_batch() {
    for golden in Golden::both() {
        let batch = golden.head.forward(&golden.input(), false);
        for clip in 0..3 {
            let one = |name: &str| golden.tensor(name).narrow(0, clip, 1);
            let [video, query] = ["in.video_features", "in.query_features"].map(one);
            let input = golden.head.input(video, &one("in.video_mask"), query, &one("in.query_mask")).unwrap();
            let single = golden.head.forward(&input, false);
            for (single, batch) in [
                (&single.highlights, &batch.highlights),
                (&single.start_logits, &batch.start_logits),
                (&single.end_logits, &batch.end_logits),
            ] {
                assert!(distance(single, &batch.narrow(0, clip, 1)) < STAGE);
            }
        }
    }
}

#[test]
fn padding_is_no_highlight_and_no_end() {
    for golden in Golden::both() {
        let stages = golden.head.stages(&golden.input(), false);
        let padding = golden.tensor("in.video_mask").eq(0.0);
        assert!(padding.sum(Kind::Int64).int64_value(&[]) > 0, "the data have padding");
        let at_padding = |tensor: &Tensor| tensor.masked_select(&padding);
        assert_eq!(at_padding(&stages.output.highlights).abs().max().double_value(&[]), 0.0);
        for logits in [&stages.output.start_logits, &stages.output.end_logits] {
            assert_eq!(at_padding(&logits.softmax(1, Kind::Float)).max().double_value(&[]), 0.0);
        }
        assert_eq!(stages.gated.masked_select(&padding.unsqueeze(2)).abs().max().double_value(&[]), 0.0);
    }
}

/// As released, EgoVLPv2's small head overwrites the ends that it predicted from the gated features.
#[test]
fn the_small_head_overwrites_its_ends() {
    let [compat, fixed] = [Compat::AsReleased, Compat::Fixed].map(|compat| {
        let golden = Golden::small(compat);
        let run = |query: Tensor| {
            let [video, video_mask, query_mask] =
                ["in.video_features", "in.video_mask", "in.query_mask"].map(|name| golden.tensor(name));
            golden.head.forward(&golden.head.input(video, &video_mask, query, &query_mask).unwrap(), false)
        };
        [run(golden.tensor("in.query_features")), run(golden.tensor("in.query_features") * -2.0)]
    });
    assert_eq!(compat[0].start_logits, compat[1].start_logits, "no query reaches the ends");
    assert_eq!(compat[0].end_logits, compat[1].end_logits);
    assert!(distance(&compat[0].highlights, &compat[1].highlights) > 1e-3, "but it reaches the highlights");
    assert!(distance(&fixed[0].start_logits, &fixed[1].start_logits) > 1e-3);
    assert!(distance(&fixed[0].end_logits, &fixed[1].end_logits) > 1e-3);
    assert_eq!(compat[0].highlights, fixed[0].highlights);
    let golden = Golden::small(Compat::AsReleased);
    let found = golden.head.stages(&golden.input(), false);
    assert!(distance(&found.video_encoded, &golden.tensor("out.video_encoded")) < STAGE);
}

#[test]
fn training_drops_and_evaluation_does_not() {
    let golden = Golden::transformer();
    let run = |train| golden.head.forward(&golden.input(), train).highlights;
    assert_eq!(run(false), run(false));
    assert!(distance(&run(true), &run(true)) > 1e-3);
}

#[test]
fn fresh_weights_are_drawn_as_the_original_draws_them() {
    for predictor in [PredictorKind::Transformer, PredictorKind::Rnn] {
        let settings = Settings {
            embed_dim: 128,
            num_heads: 8,
            max_position_embeddings: 256,
            dropout: 0.2,
            predictor,
            small: false,
        };
        let store = VarStore::new(device());
        Vslnet::new(&store.root(), Dims { video: 256, query: 256 }, &settings, Compat::AsReleased).unwrap();
        for (name, weight) in store.variables() {
            let size = weight.size();
            let (low, high) = (weight.min().double_value(&[]), weight.max().double_value(&[]));
            let bound = match size.as_slice() {
                _ if name.contains("lstm") => 1.0 / 128f64.sqrt(),
                _ if name.contains("position_embeddings") => {
                    let (mean, std) = (weight.mean(None).double_value(&[]), weight.std(true).double_value(&[]));
                    assert!(mean.abs() < 0.03 && (std - 1.0).abs() < 0.03, "{name}: {mean}, {std}");
                    continue;
                }
                [_] => {
                    let value = if name.contains("norm") && name.ends_with("weight") { 1.0 } else { 0.0 };
                    assert_eq!((low, high), (value, value), "{name}");
                    continue;
                }
                [1, 1, width] => (6.0 / (2 * width) as f64).sqrt(),
                [output, input] | [output, input, 1] => (6.0 / (output + input) as f64).sqrt(),
                [output, input, kernel] => (6.0 / ((output + input) * kernel) as f64).sqrt(),
                other => panic!("{name}: {other:?}"),
            };
            // That the extreme of n uniform draws is further than 40/n from its bound has a probability of e^-20.
            let near = |value: f64| (1.0 - 40.0 / weight.numel() as f64..=1.000001).contains(&(value / bound));
            assert!(near(high) && near(-low), "{name}: {low} to {high}, expected ±{bound}");
        }
    }
}

#[test]
fn biases_and_layer_norms_do_not_decay() {
    let names = Golden::transformer().store.variables().into_keys().collect::<Vec<_>>();
    let decaying = names.iter().filter(|name| decays(name)).count();
    assert_eq!((names.len(), decaying), (92, 39));
    assert!(!decays("encoder.LayerNorm.weight") && !decays("predictor.start_layer_norm.weight"));
    assert!(decays("feature_encoder.pos_embedding.position_embeddings.weight") && decays("cq_attention.w4C"));
}

#[test]
fn batches_and_settings_that_do_not_fit_are_refused() {
    let golden = Golden::transformer();
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device()));
    let refused = |video: &[i64], video_mask: &[i64], query: &[i64], query_mask: &[i64]| {
        let input = golden.head.input(zeros(video), &zeros(video_mask), zeros(query), &zeros(query_mask));
        input.unwrap_err().to_string()
    };
    let (query, query_mask) = ([2, 3, 10], [2, 3]);
    let text = refused(&[2, 4, 7], &[2, 4], &query, &query_mask);
    assert_eq!(text, "vslnet: video has shape [2, 4, 7], expected [2, 4, 6]");
    let text = refused(&[2, 4, 6], &[2, 5], &query, &query_mask);
    assert_eq!(text, "vslnet: the mask of video has shape [2, 5], expected [2, 4]");
    let text = refused(&[3, 4, 6], &[3, 4], &query, &query_mask);
    assert_eq!(text, "vslnet: query has shape [2, 3, 10], expected [3, 3, 10]");
    let text = refused(&[2, 13, 6], &[2, 13], &query, &query_mask);
    assert_eq!(text, "vslnet: video has 13 positions, expected 1 to 12");
    let settings = Settings { num_heads: 5, ..settings(PredictorKind::Rnn) };
    let store = VarStore::new(device());
    let error = Vslnet::new(&store.root(), DIMS, &settings, Compat::AsReleased).unwrap_err();
    assert_eq!(error, VslnetError::Setting { name: "num_heads", found: 5.0, expected: "a divisor of embed_dim" });
}

#[test]
fn settings_are_read_whole_or_not_at_all() {
    let text = "embed_dim = 16\nnum_heads = 4\nmax_position_embeddings = 12\ndropout = 0.2\npredictor = \"rnn\"\nsmall = false\n";
    assert_eq!(toml::from_str::<Settings>(text).unwrap(), settings(PredictorKind::Rnn));
    for line in text.lines() {
        let rest = text.replace(&format!("{line}\n"), "");
        assert!(toml::from_str::<Settings>(&rest).is_err(), "without {line}");
    }
    assert!(toml::from_str::<Settings>(&format!("{text}depth = 1\n")).is_err());
}
