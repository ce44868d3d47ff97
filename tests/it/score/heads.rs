//! `egofx predict` by a graph that stands for a trained head: it is fed what a store holds, and what is no head is refused.
//!
//! Not for the networks: those of training write graphs of their own, and compare them there.

use std::fs;
use std::path::Path;

use egofx::backbone::{Card, HeadCard};
use egofx::checkpoint::{Checkpoint, Init, ParamSpec};
use egofx::compat::Compat;
use egofx::export::layers::slice;
use egofx::export::onnx::{Attribute, DataType};
use egofx::export::{Graph, HeadPlan, HeadWeights, Value, Weight, dims, export_head};
use egofx::features::average;
use egofx::heads::predict::OpenHead;
use egofx::heads::spans::Clips;
use egofx::heads::{Files, Split};
use egofx::ids::VideoUid;
use egofx::meter::Meter;
use egofx::ndarray::s;
use egofx::queries::Queries;
use egofx::store::RowKind;
use serde_json::Value as Json;

use crate::support::graphs::{RANDOM, RUNTIME, validator};
use crate::support::stores::{Made, contract, store, value, values};
use crate::support::{Workshop, checkout};

/// Rows of the clip, and numbers in each.
const ROWS: usize = 16;
const DIM: usize = 3;
/// Seconds of the clip.
const DURATION: f64 = 480.0;

/// A head whose likeliest start is where a row's first number is greatest, and whose likeliest end where its second one is.
fn build(g: &mut Graph, [dim, token_dim]: [usize; 2]) {
    let video = g.input("video", DataType::Float, &dims(&["B", "L"], &[dim]));
    let mask = g.input("video_mask", DataType::Int64, &dims(&["B", "L"], &[]));
    g.input("query", DataType::Float, &dims(&["B", "Q"], &[token_dim]));
    g.input("query_mask", DataType::Int64, &dims(&["B", "Q"], &[]));
    let scale = g.weight(Weight::plain("scale"));
    let video = g.op("Mul", &[&video, &scale], &[]);
    let mask = g.op("Cast", &[&mask], &[("to", Attribute::Int(DataType::Float as i64))]);
    let (one, most, axis) = (g.float(1.0), g.float(1e30), g.ints(&[2]));
    let bias = g.op("Sub", &[&mask, &one], &[]);
    let bias = g.op("Mul", &[&bias, &most], &[]);
    for (name, column) in [("start", 0), ("end", 1)] {
        let logits = slice(g, &video, 2, column..column + 1);
        let logits: Value = g.op("Squeeze", &[&logits, &axis], &[]);
        let logits = g.op("Add", &[&logits, &bias], &[]);
        let likely = g.op("Softmax", &[&logits], &[("axis", Attribute::Int(1))]);
        g.output(name, &likely, &dims(&["B", "L"], &[]));
    }
}

/// Writes the head of `learner` and its card into `folder`.
fn head(folder: &Path, learner: &str) -> Card {
    head_of(folder, learner, [DIM, 4])
}

/// The same for rows and tokens of so many numbers.
pub fn head_of(folder: &Path, learner: &str, [dim, token_dim]: [usize; 2]) -> Card {
    let settings =
        format!("positions = 64\n[features]\ndim = {dim}\nrows_per_sec = 1.87\n[tokens]\ndim = {token_dim}\n");
    let head = HeadCard {
        learner: learner.into(),
        compat: Compat::Fixed,
        fold: String::new(),
        batch: 2,
        classes: vec![],
        settings: toml::from_str(&settings).unwrap(),
    };
    let dims = [("B", 2), ("L", 7), ("Q", 3)].map(|(name, length)| (name.to_owned(), length)).into();
    let plan = HeadPlan {
        about: "a head".into(),
        build: Box::new(move |g| build(g, [dim, token_dim])),
        dims,
        outside: "none",
        head,
    };
    let scale = ParamSpec { name: "scale".into(), shape: vec![dim], init: Init { mean: 3.0, std: 0.0 } };
    let from = HeadWeights {
        weights: &Checkpoint::seeded("threes", 0, vec![scale]),
        checkpoint: "best.safetensors".into(),
        checkpoint_sha256: "ab".repeat(32),
        licence: "MIT".into(),
    };
    export_head(&plan, &from, &validator(), (folder, learner), false).unwrap()
}

/// Two queries without windows, one clip, and its rows and tokens in stores.
fn shop() -> Workshop {
    let shop = Workshop::new();
    let annotations = fs::read_to_string(checkout().join("tests/data/annotations/nlq_test_unannotated.json")).unwrap();
    let one = r#"{"query":"Where was the cup?"}"#;
    assert!(annotations.contains(one));
    shop.write("nlq.json", annotations.replace(one, &format!(r#"{one},{{"query":"Who came in?"}}"#)));
    shop.egofx("manifest nlq --annotations nlq.json -o nlq.csv").ends_with(0);
    let queries = Queries::read(&shop.path("nlq.queries.csv")).unwrap();
    let clip = Made::windows("clip-7", "video-3", Some((10.0, 490.0)), ROWS);
    store(&shop.path("out"), &contract("windows", RowKind::Window, DIM, 1.87), &[clip]);
    let tokens = queries.iter().flat_map(|query| (0..5).map(move |token| (Some(query.id.to_owned()), token > 3)));
    let tokens =
        Made { clip: None, span: None, rows: tokens.collect(), ..Made::windows("video-3", "video-3", None, 0) };
    store(&shop.path("out"), &contract("tokens", RowKind::Token, 4, 0.0), &[tokens]);
    shop
}

const PREDICT: &str =
    "predict nlq --head heads --features out/windows --tokens out/tokens --annotations nlq.json -o nlq_out.json";

#[test]
fn a_head_predicts_by_what_the_store_holds() {
    let shop = shop();
    let card = head(&shop.path("heads"), "vslnet");
    assert_eq!(Card::read(&shop.path("heads"), "vslnet").unwrap(), card, "a card is read as it was written");
    let told = shop.egofx(PREDICT).ends_with(0);
    told.says(&[
        "vslnet, fixed: predictions for 2 samples in nlq_out.json",
        "nlq_out.json.scoring.json: how they are to be scored",
        "egofx eval nlq --predictions nlq_out.json --annotations nlq.json --compat fixed",
    ]);
    let found: Json = serde_json::from_slice(&fs::read(shop.path("nlq_out.json")).unwrap()).unwrap();
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|one| one["query_idx"].as_i64().unwrap()).collect::<Vec<_>>(), [0, 1]);
    let number = |column| move |row: usize| 3.0 * value("clip-7", row, column);
    let (start, end) = (number(0), number(1));
    let spans = (0..ROWS).flat_map(|first| (first..ROWS).map(move |last| (first, last)));
    let best = spans.max_by(|a, b| (start(a.0) + end(a.1)).total_cmp(&(start(b.0) + end(b.1)))).unwrap();
    let expected = [best.0, best.1 + 1].map(|row| row as f64 / ROWS as f64 * DURATION);
    for one in results {
        assert_eq!((one["clip_uid"].as_str(), one["annotation_uid"].as_str()), (Some("clip-7"), Some("ann-7")));
        let windows: Vec<[f64; 2]> = serde_json::from_value(one["predicted_times"].clone()).unwrap();
        assert_eq!((windows.len(), windows[0]), (5, expected));
    }
    // The file of the graph names the head as well as its folder does, and predicts the same.
    let again = PREDICT.replace("--head heads", "--head heads/vslnet.onnx").replace("nlq_out.json", "again.json");
    shop.egofx(&again).ends_with(0);
    assert!(fs::read(shop.path("again.json")).unwrap() == fs::read(shop.path("nlq_out.json")).unwrap());
}

#[test]
fn a_video_without_annotations_is_asked_clip_by_clip() {
    let shop = Workshop::new();
    head(&shop.path("heads"), "vslnet");
    let clips = Clips::of(&VideoUid::parse("v").unwrap(), 600.0).unwrap();
    shop.write("nlq.json", clips.annotations("Where was the cup?").to_string());
    // Rows of the whole video, out of which those of each half are cut.
    let rows = (600.0 * 1.87) as usize;
    store(&shop.path("out"), &contract("windows", RowKind::Window, DIM, 1.87), &[Made::windows("v", "v", None, rows)]);
    let tokens = ["v-0000_0", "v-0001_0"].map(|query| (Some(query.to_owned()), false)).to_vec();
    let tokens = Made { clip: None, rows: tokens, ..Made::windows("v", "v", None, 0) };
    store(&shop.path("out"), &contract("tokens", RowKind::Token, 4, 0.0), &[tokens]);
    let files = Files {
        features: Some(shop.path("out/windows")),
        tokens: Some(shop.path("out/tokens")),
        annotations: vec![(Split::Whole, shop.path("nlq.json"))],
        ..Files::default()
    };
    let mut open = OpenHead::open(&RUNTIME, &shop.path("heads"), "nlq", 1).unwrap();
    let submission = open.predict(&files, &Meter::default()).unwrap().submission;
    let spans = clips.spans(&submission, [599.0, 1.0]).unwrap();
    assert_eq!(spans.len(), 10);
    for (number, span) in spans.iter().enumerate() {
        let (clip, start, end) = if number < 5 { ("v-0001", 300.0, 600.0) } else { ("v-0000", 0.0, 300.0) };
        assert_eq!(span.clip_uid, clip);
        assert!(start <= span.start_sec && span.start_sec < span.end_sec && span.end_sec <= end, "{span:?}");
    }
    // The likeliest span of each half, by its own rows.
    for (span, start) in [(&spans[0], 300.0), (&spans[5], 0.0)] {
        let first = (start * 1.87) as usize;
        let last = (((start + 300.0) * 1.87) as usize + 1).min(rows);
        let seen = average(values("v", rows, DIM).slice(s![first..last, ..]), 64);
        let count = seen.nrows();
        let likely = |first: usize, last: usize| 3.0 * (seen[[first, 0]] + seen[[last, 1]]);
        let all = (0..count).flat_map(|first| (first..count).map(move |last| (first, last)));
        let best = all.map(|(first, last)| likely(first, last)).fold(f32::MIN, f32::max);
        let place = |sec: f64| ((sec - start) / 300.0 * count as f64).round() as usize;
        let found = likely(place(span.start_sec), place(span.end_sec) - 1);
        assert!((found - best).abs() < 1e-4, "{span:?}: {found}, {best}");
    }
}

#[test]
fn stores_of_other_features_and_benchmarks_of_other_heads_are_refused() {
    let shop = shop();
    head(&shop.path("heads"), "vslnet");
    let refused = |arguments: &str, words: &[&str]| {
        shop.egofx(arguments).ends_with(2).says(words);
        assert!(!shop.path("nlq_out.json").exists());
    };
    let with = |from: &str, to: &str| PREDICT.replace(from, to);
    refused(&with("out/windows", "out/tokens"), &["out/tokens: dim is 4, the head takes 3"]);
    refused(&with("--tokens out/tokens", ""), &["--tokens is needed: the feature set of the queries' tokens"]);
    refused(
        &with("predict nlq", "predict mq"),
        &["vslnet.toml: expected a head for mq (vsgn, actionformer), found vslnet"],
    );
    refused(&with("--head heads", "--head nowhere"), &["nowhere: entity not found"]);
    refused(&with("nlq.json -o", "nlq.csv -o"), &["nlq.csv"]);
    fs::create_dir(shop.path("empty")).unwrap();
    let none = "empty: expected the card of a head (`egofx-train export --onnx` writes it), found none";
    refused(&with("--head heads", "--head empty"), &[none]);
    // A backbone's card is none of a head; of two heads one has to be named.
    let backbone = format!("--head {}/egovlp_text.onnx", RANDOM.display());
    refused(
        &with("--head heads", &backbone),
        &["egovlp_text.toml: expected the card of a head", "found that of EgoVLP"],
    );
    head(&shop.path("heads"), "actionformer");
    refused(
        PREDICT,
        &["heads: expected one head, or the folds of one, found actionformer, vslnet; name the graph of one"],
    );
}

#[test]
fn a_damaged_graph_and_one_that_computes_something_else_are_refused() {
    let shop = shop();
    head(&shop.path("heads"), "vslnet");
    let path = |name: &str| shop.path("heads").join(name);
    let graph = fs::read(path("vslnet.onnx")).unwrap();
    let mut damaged = graph.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    fs::write(path("vslnet.onnx"), damaged).unwrap();
    shop.egofx(PREDICT).ends_with(2).says(&["vslnet.onnx has sha256", "one of them was replaced"]);
    fs::write(path("vslnet.onnx"), graph).unwrap();
    let weights = fs::read(path("vslnet.weights")).unwrap();
    fs::write(path("vslnet.weights"), vec![0; weights.len()]).unwrap();
    shop.egofx(PREDICT).ends_with(2).says(&["vslnet.weights has sha256"]);
    fs::write(path("vslnet.weights"), weights).unwrap();
    // A card whose golden output is another one.
    let card = fs::read_to_string(path("vslnet.toml")).unwrap();
    let mut table: toml::Table = toml::from_str(&card).unwrap();
    let first = table["golden"]["outputs"][0]["values"].as_array_mut().unwrap();
    first[0] = toml::Value::Float(first[0].as_float().unwrap() + 0.01);
    fs::write(path("vslnet.toml"), toml::to_string(&table).unwrap()).unwrap();
    shop.egofx(PREDICT).ends_with(2).says(&["vslnet.toml: expected golden outputs within", "a difference of 1.0e-2"]);
    // Settings that no head has.
    fs::write(path("vslnet.toml"), card.replace("positions = 64", "position = 64")).unwrap();
    shop.egofx(PREDICT).ends_with(2).says(&["vslnet.toml", "position"]);
    fs::write(path("vslnet.toml"), card).unwrap();
    shop.egofx(PREDICT).ends_with(0);
}
