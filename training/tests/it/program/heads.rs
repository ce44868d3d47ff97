//! Heads as graphs, end to end: a run becomes a graph, and with it `egofx predict` predicts what `egofx-train predict` predicts.

use std::path::{Path, PathBuf};

use egofx::features::Joined;
use egofx::heads::predict::OpenHead;
use egofx::heads::{Files, HeadError, Split, Written};
use egofx::meter::Meter;
use egofx_train::synthetic::{Mq, Nlq, Qfvs};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::graphs::RUNTIME;
use crate::support::program;

/// How far a score of a graph may be from that of the network.
const SCORE: f64 = 1e-5;
/// Ends of moments, in seconds: they are numbers of cells, up to some hundred, in single precision.
const SECONDS: f64 = 1e-3;

/// A folder with a synthetic benchmark and an experiment of one epoch.
struct Shop(TempDir);

impl Shop {
    fn new(config: &str, changes: &[(&str, &str)]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(config);
        let mut text = std::fs::read_to_string(path).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{config} has no {from}");
            text = text.replace(from, to);
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.toml"), text).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn run(&self, line: &str) -> String {
        let mut command = program();
        let done = command.args(line.split(' ')).current_dir(&self.0).env("OMP_NUM_THREADS", "1").output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{line}: {told}");
        told
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// What `egofx predict` does.
    fn predict(&self, task: &str, files: &Files, out: &str) -> Result<Written, HeadError> {
        let mut head = OpenHead::open(&RUNTIME, &self.path("head"), task, 1)?;
        head.predict(files, &Meter::default())?.write(&self.path(out))
    }
}

fn files(features: &Path, annotations: &Path) -> Files {
    Files {
        features: Some(features.to_owned()),
        annotations: vec![(Split::Whole, annotations.to_owned())],
        memory_bytes: 1 << 30,
        ..Files::default()
    }
}

#[test]
fn vslnet_predicts_the_same_spans_as_a_graph() {
    let shop = Shop::new("synthetic_nlq.toml", &[("epochs = 20", "epochs = 1")]);
    let paths = Nlq { clips: [24, 8], ..Nlq::small(1, false) }.write(shop.0.path()).unwrap();
    let data = "--features nlq-windows --tokens nlq-tokens --device cpu";
    shop.run(&format!("nlq -c x.toml {data} --train nlq_train.json --val nlq_val.json -o run"));
    shop.run(&format!("predict run {data} --annotations nlq_val.json -o network.json"));
    let told = shop.run("export run --onnx -o head");
    assert!(told.contains("head/vslnet.onnx: takes video float32 [B, L, "), "{told}");
    let read = Files { tokens: Some(paths.tokens.clone()), ..files(&paths.features, &paths.annotations[1]) };
    let written = shop.predict("nlq", &read, "graph.json").unwrap();
    assert!(written.command_line().starts_with("egofx eval nlq --predictions "), "{}", written.command_line());
    assert!(shop.json("network.json")["results"].as_array().unwrap().len() > 8);
    assert_eq!(shop.json("graph.json"), shop.json("network.json"));
    assert_eq!(shop.json("graph.json.scoring.json"), shop.json("network.json.scoring.json"));

    // A store of other features, and a benchmark that it is no head for.
    let other = Files { features: Some(paths.tokens), ..read.clone() };
    let why = shop.predict("nlq", &other, "x.json").unwrap_err().to_string();
    assert!(why.contains("nlq-tokens: dim is 12, the head takes 16"), "{why}");
    let why = shop.predict("mq", &read, "x.json").unwrap_err().to_string();
    assert!(why.ends_with("vslnet.toml: expected a head for mq (vsgn, actionformer), found vslnet"), "{why}");
    let why = shop.predict("nlq", &Files { tokens: None, ..read }, "x.json").unwrap_err().to_string();
    assert!(why.starts_with("--tokens is needed"), "{why}");
    assert!(!shop.path("x.json").exists());
}

/// A head that learns on two feature sets side by side predicts as a graph on the same two, and its record names both.
#[test]
fn vslnet_learns_on_joined_feature_sets() {
    let shop = Shop::new("synthetic_nlq.toml", &[("epochs = 20", "epochs = 1")]);
    let paths = Nlq { clips: [24, 8], ..Nlq::small(1, false) }.write(shop.0.path()).unwrap();
    let joined = "--features nlq-windows --features nlq-windows --tokens nlq-tokens --device cpu";
    shop.run(&format!("nlq -c x.toml --set features.dim=32 {joined} --train nlq_train.json --val nlq_val.json -o run"));
    shop.run(&format!("predict run {joined} --annotations nlq_val.json -o network.json"));
    shop.run("export run --onnx -o head");
    let stores = Joined { stores: vec![paths.features.clone()], ..Joined::default() };
    let tokens = Some(paths.tokens.clone());
    let read = Files { tokens, joined: stores, ..files(&paths.features, &paths.annotations[1]) };
    shop.predict("nlq", &read, "graph.json").unwrap();
    assert_eq!(shop.json("graph.json"), shop.json("network.json"));
    let starts = shop.json("run/provenance.json");
    let names: Vec<&Value> = starts[0]["stores"].as_array().unwrap().iter().map(|store| &store["option"]).collect();
    assert_eq!(names, ["features", "features", "tokens"]);
    let alone = Files { joined: Joined::default(), ..read };
    let why = shop.predict("nlq", &alone, "x.json").unwrap_err().to_string();
    assert!(why.contains("nlq-windows: dim is 16, the head takes 32"), "{why}");
}

/// Detections of a clip: label, score, start and end.
fn detections(list: &Value) -> Vec<(String, f64, [f64; 2])> {
    let number = |value: &Value| value.as_f64().unwrap();
    let of = |one: &Value| {
        let segment = &one["segment"];
        (one["label"].as_str().unwrap().to_owned(), number(&one["score"]), [number(&segment[0]), number(&segment[1])])
    };
    list.as_array().unwrap().iter().map(of).collect()
}

/// Both lists have the same detections with the same scores, best first; what has the least score of a list that was cut off may
/// be missing in the other one.
fn same_detections(clip: &str, network: &Value, graph: &Value) {
    let (network, graph) = (detections(network), detections(graph));
    assert!(graph.is_sorted_by(|a, b| a.1 >= b.1), "{clip}");
    let least = network.iter().chain(&graph).map(|one| one.1).fold(f64::INFINITY, f64::min);
    for (from, to) in [(&network, &graph), (&graph, &network)] {
        let mut left: Vec<_> = to.iter().collect();
        for (label, score, [start, end]) in from {
            let is_it = |other: &&(String, f64, [f64; 2])| {
                let (named, likely, segment) = other;
                let near = |a: f64, b: f64| (a - b).abs() < SECONDS;
                named == label && (likely - score).abs() < SCORE && near(segment[0], *start) && near(segment[1], *end)
            };
            match left.iter().position(is_it) {
                Some(place) => drop(left.remove(place)),
                None => assert!(score - least < SCORE, "{clip}: no {label} {start} to {end} with {score}"),
            }
        }
    }
}

fn heads_of_mq_agree(learner: &str, rows: usize, changes: &[(&str, &str)]) {
    let changes = [&[("epochs = 8", "epochs = 1")], changes].concat();
    let shop = Shop::new(&format!("synthetic_mq_{learner}.toml"), &changes);
    let paths = Mq { clips: [12, 4], rows, ..Mq::small(1, false) }.write(shop.0.path()).unwrap();
    let features = paths.features.file_name().unwrap().to_str().unwrap();
    let [train, val] = paths.annotations.each_ref().map(|path| path.file_name().unwrap().to_str().unwrap());
    shop.run(&format!("mq -c x.toml --features {features} --device cpu --train {train} --val {val} -o run"));
    shop.run(&format!("predict run --features {features} --device cpu --annotations {val} -o network.json"));
    shop.run("export run --onnx -o head");
    shop.predict("mq", &files(&paths.features, &paths.annotations[1]), "graph.json").unwrap();
    let (network, graph) = (shop.json("network.json"), shop.json("graph.json"));
    let clips = network["detect_results"].as_object().unwrap();
    assert_eq!(clips.len(), 4);
    for (clip, list) in clips {
        assert!(list.as_array().unwrap().len() > 4, "{clip}");
        same_detections(clip, list, &graph["detect_results"][clip]);
    }
}

#[test]
fn actionformer_proposes_the_same_moments_as_a_graph() {
    heads_of_mq_agree("actionformer", 64, &[]);
}

/// With all that OpenTAD does otherwise, but for rounding, which may round either way.
#[test]
fn a_variant_of_actionformer_proposes_the_same_moments_as_a_graph() {
    let variant = "[model.variant]\nbranch_windows = [5, -1]\ninput_dropout = 0.2\nnorm_eps = 1e-6\nremask = true\n\
                   all_candidates = true\ntight_crops = true\n\n[decode]\nmost = 500\n";
    heads_of_mq_agree("actionformer", 64, &[("min_length = 0.05", "min_length = -1.0"), ("[decode]\n", variant)]);
}

/// The sizes of the checkpoint that OpenTAD wrote, in an experiment.
const OPENTAD: &[(&str, &str)] = &[
    ("dim = 16", "dim = 6"),
    ("embed_dim = 32", "embed_dim = 16"),
    ("num_heads = 2", "num_heads = 4"),
    ("embedding_layers = 1", "embedding_layers = 2"),
    ("stem_blocks = 1", "stem_blocks = 2"),
    ("branch_blocks = 2", "branch_blocks = 3"),
    ("classes = 4", "classes = 5"),
    ("[4.0, 10000.0]", "[4.0, 16.0], [8.0, 10000.0]"),
    ("head_layers = 2", "head_layers = 3"),
    ("drop_path = 0.0", "drop_path = 0.1"),
    ("min_length = 0.05", "min_length = -1.0\nmost = 200\nsuppression = \"opentad\""),
    ("[decode]\n", "[model.variant]\nbranch_windows = [5, -1, -1]\nnorm_eps = 1e-6\nremask = true\n\n[decode]\n"),
];

#[test]
fn a_checkpoint_of_opentad_predicts() {
    let shop = Shop::new("synthetic_mq_actionformer.toml", OPENTAD);
    Mq { clips: [2, 3], dim: 6, classes: 5, ..Mq::small(1, false) }.write(shop.0.path()).unwrap();
    let labels = ["Background", "class_000", "class_001", "class_002", "class_003", "class_004"];
    let classes: serde_json::Map<String, Value> =
        labels.map(str::to_owned).into_iter().zip((0..).map(Value::from)).collect();
    std::fs::write(shop.path("classes.json"), serde_json::to_vec(&classes).unwrap()).unwrap();
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/opentad/checkpoint.pth");
    let data = "--features mq-windows --annotations moments_val.json --classes classes.json --device cpu";
    shop.run(&format!("predict {} -c x.toml {data} -o mq.json", weights.display()));
    let written = shop.json("mq.json");
    let clips = written["detect_results"].as_object().unwrap();
    assert_eq!(clips.len(), 3);
    for (clip, list) in clips {
        let found = detections(list);
        assert!(!found.is_empty() && found.is_sorted_by(|a, b| a.1 >= b.1), "{clip}");
        let is_round = |value: f64, parts: f64| (value * parts - (value * parts).round()).abs() < 1e-6;
        let are_round = |(_, score, [start, end]): &(String, f64, [f64; 2])| {
            is_round(*score, 1e4) && is_round(*start, 100.0) && is_round(*end, 100.0)
        };
        assert!(found.iter().all(are_round), "{clip}");
    }
}

/// By the weights of the golden data, which are not even read.
#[test]
fn snag_is_refused_as_a_graph_by_what_to_do_instead() {
    let shop = Shop::new("synthetic_nlq_snag.toml", &[]);
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/snag/weights.safetensors");
    let line = ["export", weights.to_str().unwrap(), "-c", "x.toml", "--onnx", "-o", "head"];
    let done = program().args(line).current_dir(&shop.0).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && told.contains("weights.safetensors: snag has no ONNX graph"), "{told}");
    assert!(told.contains("`egofx-train predict` predicts with its weights"), "{told}");
    assert!(!shop.path("head").exists());
}

#[test]
fn vsgn_proposes_the_same_moments_as_a_graph() {
    heads_of_mq_agree("vsgn", 64, &[]);
}

#[test]
fn vsgn_stitches_the_same_clips_as_a_graph() {
    heads_of_mq_agree("vsgn", 40, &[("stitching = false", "stitching = true")]);
}

#[test]
fn each_video_of_qfvs_has_a_graph_that_summarises_it_as_its_network_does() {
    let shop = Shop::new("synthetic_qfvs.toml", &[]);
    let text = std::fs::read_to_string(shop.path("x.toml")).unwrap();
    let epochs = text.lines().find(|line| line.starts_with("epochs = ")).unwrap();
    std::fs::write(shop.path("x.toml"), text.replace(epochs, "epochs = 1")).unwrap();
    let paths = Qfvs { shots: 230, pairs: 4, ..Qfvs::small(1, false) }.write(shop.0.path()).unwrap();
    let name = |path: &Path| path.strip_prefix(shop.0.path()).unwrap().display().to_string();
    let data =
        format!("--features {} --shots {} --tags {}", name(&paths.features), name(&paths.shots), name(&paths.tags));
    let annotations = name(&paths.oracle_summaries);
    shop.run(&format!("qfvs -c x.toml {data} --annotations {annotations} --device cpu -o run"));
    shop.run(&format!("predict run {data} --annotations {annotations} --device cpu -o network.json"));
    shop.run("export run --onnx -o head");
    let names = egofx::backbone::Card::names(&shop.path("head"));
    assert_eq!(names, ["qfvs_P01", "qfvs_P02", "qfvs_P03", "qfvs_P04"]);
    let read =
        Files { shots: Some(paths.shots), tags: Some(paths.tags), ..files(&paths.features, &paths.oracle_summaries) };
    shop.predict("qfvs", &read, "graph.json").unwrap();
    assert_eq!(shop.json("network.json").as_object().unwrap().len(), 4);
    assert_eq!(shop.json("graph.json"), shop.json("network.json"));
}
