//! VSGN against the original's numbers (`tests/data/vsgn`): a small network on synthetic features, stage by stage.
//!
//! Not for training runs. The data are synthetic; they hold a network of 64 cells, 32 channels and 5 classes.

use std::collections::{BTreeMap, HashMap};

use egofx::checkpoint;
use egofx::compat::Compat::{self, AsReleased, Fixed};
use egofx_train::checkpoint::load_weights;
use egofx_train::heads::vsgn::loss::{Losses, Truth, curve_loss, losses};
use egofx_train::heads::vsgn::matching::{Truths, matches, overlaps};
use egofx_train::heads::vsgn::targets::{self, Grid};
use egofx_train::heads::vsgn::{Output, Settings, SettingsError, Vsgn, anchors, decode, graph, neighbours};
use egofx_train::learner::weights;
use egofx_train::tasks::mq::Moment;
use egofx_train::tensors::{matrix, tensor};
use serde_json::Value;
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use crate::support::device::device;
use crate::support::graphs::{floats, head_outputs, ints, output as of_graph};

/// Of single precision through a dozen layers whose sums run in another order.
const TOLERANCE: f64 = 1e-5;
/// Boxes are up to 64 cells, and the coarsest anchors' codes are multiplied by 160.
const BOX_TOLERANCE: f64 = 1e-4;

fn data(name: &str) -> String {
    format!("{}/tests/data/vsgn/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn tensors() -> HashMap<String, Tensor> {
    Tensor::read_safetensors(data("vsgn.safetensors"))
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_device(device())))
        .collect()
}

fn expected() -> Value {
    serde_json::from_str(&std::fs::read_to_string(data("expected.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn pairs(value: &Value) -> Tensor {
    let flat: Vec<f64> = value.as_array().unwrap().iter().flat_map(numbers).collect();
    Tensor::from_slice(&flat).to_kind(Kind::Float).view([value.as_array().unwrap().len() as i64, -1])
}

fn small() -> Settings {
    Settings {
        embed_dim: 32,
        length: 64,
        levels: 5,
        classes: 5,
        tower_convs: 4,
        anchor_scales: vec![1.0, 10.0],
        graph: true,
        neighbours: 4,
        stitching: false,
        stitch_gap: 30,
        short_ratio: 0.4,
    }
}

fn real() -> Settings {
    Settings { embed_dim: 256, length: 928, classes: 111, neighbours: 12, ..small() }
}

/// Numbers of a cell in the fixture.
const DIM: i64 = 6;

/// The fixture's network, its weights' store and all of the fixture's tensors.
fn network(settings: &Settings) -> (Vsgn, VarStore, HashMap<String, Tensor>) {
    let (store, tensors) = (VarStore::new(device()), tensors());
    let network = Vsgn::new(&store.root(), DIM, settings).unwrap();
    tch::no_grad(|| {
        for (name, mut weight) in store.variables() {
            weight.copy_(&tensors[&format!("w.{name}")]);
        }
    });
    (network, store, tensors)
}

fn output() -> (Output, VarStore, HashMap<String, Tensor>) {
    let (network, store, tensors) = network(&small());
    let output = network.forward(&tensors["in.features"], &tensors["in.num_frms"]);
    (output, store, tensors)
}

fn truth(tensors: &HashMap<String, Tensor>) -> Truth {
    let of = |name: &str| tensors[&format!("in.{name}")].shallow_clone();
    Truth {
        boxes: of("gt_bbox"),
        counts: of("num_gt"),
        action: of("gt_action"),
        start: of("gt_start"),
        end: of("gt_end"),
    }
}

#[track_caller]
fn close(name: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.size(), expected.size(), "{name}");
    let largest = (found - expected).abs().max().double_value(&[]);
    println!("{name}: largest difference {largest:e}");
    assert!(largest <= tolerance, "{name}: {largest:e}");
}

#[test]
fn every_stage_is_the_original_one() {
    let (output, _, tensors) = output();
    let levels = [
        ("enc", &output.encoded),
        ("dec", &output.decoded),
        ("cls", &output.level_scores),
        ("reg", &output.level_codes),
    ];
    for (name, levels) in levels {
        assert_eq!(levels.len(), 5);
        for (place, level) in levels.iter().enumerate() {
            let name = format!("out.{name}_{place}");
            close(&name, level, &tensors[&name], TOLERANCE);
        }
    }
    let last = [
        ("out.actionness", &output.curves.action, TOLERANCE),
        ("out.startness", &output.curves.start, TOLERANCE),
        ("out.endness", &output.curves.end, TOLERANCE),
        ("out.anchors", &output.anchors, 0.0),
        ("out.score", &output.probabilities(), TOLERANCE),
        ("out.loc", &output.boxes, BOX_TOLERANCE),
        ("out.loc_adjusted", &output.adjusted, BOX_TOLERANCE),
    ];
    for (name, found, tolerance) in last {
        close(name, found, &tensors[name], tolerance);
    }
}

#[test]
fn the_graph_computes_what_the_network_and_the_original_compute() {
    for (stitching, has_original) in [(false, true), (true, false)] {
        let settings = Settings { stitching, stitch_gap: 5, short_ratio: 0.8, ..small() };
        let (network, store, tensors) = network(&settings);
        let num_cells = &tensors["in.num_frms"];
        let around = settings.grid();
        let lengths: Vec<usize> = num_cells.iter::<i64>().unwrap().map(|cells| cells as usize).collect();
        // Clips on their grids, as they are where the network predicts: a copy without features would be all ties.
        let on_grid = |(clip, &cells): (usize, &usize)| {
            let rows = matrix(&tensors["in.features"].get(clip as i64).narrow(1, 0, cells as i64).tr());
            tensor(&around.cells(rows.view(), &around.of(cells, 1.0))).tr().to_device(device())
        };
        let features = Tensor::stack(&lengths.iter().enumerate().map(on_grid).collect::<Vec<_>>(), 0);
        let mut feeds = vec![floats("features", &features)];
        let starts: Vec<i64> = lengths.iter().map(|&cells| around.copy_from(cells).unwrap_or(64) as i64).collect();
        assert_eq!(starts.iter().any(|start| *start < 64), stitching, "a clip is stitched to its copy");
        let starts = Tensor::from_slice(&starts).to_device(device()).unsqueeze(1);
        let copies = Tensor::arange(64, (Kind::Int64, device())).unsqueeze(0).ge_tensor(&starts);
        if stitching {
            feeds.push(ints("copy_mask", &copies));
        }
        let outputs = head_outputs(graph(DIM, &settings), &weights(&store), [("B", 1)], &feeds);
        let network = network.forward(&features, num_cells);
        let close = |name: &str, found: &Tensor, original: &str, tolerance: f64| {
            let graph = of_graph(&outputs, name, found);
            close(&format!("{name}, network and graph"), &graph, found, tolerance);
            if has_original {
                let name = format!("{name}, original and graph");
                self::close(&name, &graph, &tensors[&format!("out.{original}")], tolerance);
            }
        };
        for (name, levels) in [("enc", &network.encoded), ("dec", &network.decoded)] {
            for (place, level) in levels.iter().enumerate() {
                close(&format!("probe.{name}_{place}"), level, &format!("{name}_{place}"), TOLERANCE);
            }
        }
        close("probe.boxes", &network.boxes, "loc", BOX_TOLERANCE);
        close("boxes", &network.adjusted, "loc_adjusted", BOX_TOLERANCE);
        close("probabilities", &network.probabilities(), "score", TOLERANCE);
        close("starts", &network.curves.start, "startness", TOLERANCE);
        close("ends", &network.curves.end, "endness", TOLERANCE);
    }
}

#[test]
fn a_network_without_messages_has_a_graph_too() {
    let settings = Settings { graph: false, ..small() };
    let store = VarStore::new(device());
    let network = Vsgn::new(&store.root(), DIM, &settings).unwrap();
    // The fixture has weights of a network with messages alone, and boxes of random ones may be thousands of cells wide, where
    // single precision ends.
    tch::no_grad(|| {
        for (place, (_, mut weight)) in
            store.variables().into_iter().collect::<BTreeMap<_, _>>().into_iter().enumerate()
        {
            let size = weight.size();
            let spread = 0.5 / (size[1..].iter().product::<i64>() as f64).sqrt();
            let phases = Tensor::arange(weight.numel() as i64, (Kind::Float, device())) * 1.7 + place as f64;
            weight.copy_(&(phases.sin() * spread).view(size.as_slice()));
        }
    });
    let tensors = tensors();
    let outputs = head_outputs(
        graph(DIM, &settings),
        &weights(&store),
        [("B", 1)],
        &[floats("features", &tensors["in.features"])],
    );
    let found = network.forward(&tensors["in.features"], &tensors["in.num_frms"]);
    close("boxes", &of_graph(&outputs, "boxes", &found.adjusted), &found.adjusted, BOX_TOLERANCE);
    let likely = found.probabilities();
    close("probabilities", &of_graph(&outputs, "probabilities", &likely), &likely, TOLERANCE);
}

#[test]
fn a_clip_of_a_batch_is_as_it_is_alone() {
    for stitching in [false, true] {
        let (network, _, tensors) = network(&Settings { stitching, stitch_gap: 5, short_ratio: 0.8, ..small() });
        let (features, num_cells) = (&tensors["in.features"], &tensors["in.num_frms"]);
        let together = network.forward(features, num_cells);
        for clip in 0..2 {
            let alone = network.forward(&features.narrow(0, clip, 1), &num_cells.narrow(0, clip, 1));
            let of = |stage: &Tensor, stages: &Tensor| (stage.squeeze_dim(0), stages.get(clip));
            let (scores, expected) = of(&alone.scores, &together.scores);
            close("scores", &scores, &expected, TOLERANCE);
            let (boxes, expected) = of(&alone.adjusted, &together.adjusted);
            close("boxes", &boxes, &expected, BOX_TOLERANCE);
        }
    }
}

#[test]
fn weights_have_the_original_names_and_shapes() {
    let store = VarStore::new(device());
    Vsgn::new(&store.root(), DIM, &small()).unwrap();
    let found: BTreeMap<String, Vec<i64>> =
        store.variables().iter().map(|(name, w)| (name.clone(), w.size())).collect();
    let expected: BTreeMap<String, Vec<i64>> = serde_json::from_value(expected()["state_dict_shapes"].clone()).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn networks_of_real_size_have_the_original_number_of_weights() {
    for input_dim in [2304, 256, 4096] {
        let store = VarStore::new(device());
        Vsgn::new(&store.root(), input_dim, &real()).unwrap();
        let found: usize = store.variables().values().map(Tensor::numel).sum();
        assert_eq!(found as u64, expected()["parameter_counts"][format!("input{input_dim}")].as_u64().unwrap());
    }
}

#[test]
fn without_the_graph_levels_are_plain_convolutions() {
    let store = VarStore::new(device());
    let network = Vsgn::new(&store.root(), DIM, &Settings { graph: false, ..small() }).unwrap();
    let variables = store.variables();
    assert_eq!(variables["xGPN.levels_enc.4.0.weight"].size(), [32, 32, 3]);
    assert!(variables.keys().all(|name| !name.contains("nconv1") && !name.contains("tconv1")));
    let output = network.forward(&tensors()["in.features"], &tensors()["in.num_frms"]);
    assert_eq!(output.encoded.iter().map(|level| level.size()[2]).collect::<Vec<_>>(), [64, 32, 16, 8, 4]);
    assert_eq!(output.adjusted.size(), [2, 248, 2]);
}

#[test]
fn weights_start_as_pytorchs_do() {
    let store = VarStore::new(device());
    Vsgn::new(&store.root(), 256, &real()).unwrap();
    let variables = store.variables();
    let most = |name: &str| variables[name].abs().max().double_value(&[]);
    for (name, fan_in) in [("xGPN.conv0.0.", 768.0_f64), ("xGPN.levels_enc.0.nconv1.mlp.", 512.0)] {
        for kind in ["weight", "bias"] {
            let (largest, bound) = (most(&format!("{name}{kind}")), 1.0 / fan_in.sqrt());
            assert!(largest <= bound && largest > 0.95 * bound, "{name}{kind}: {largest}, bound {bound}");
        }
    }
    assert_eq!(variables["head_dec.cls_tower.1.weight"].min().double_value(&[]), 1.0);
    assert_eq!(most("head_dec.cls_tower.1.bias"), 0.0);
}

#[test]
fn settings_that_make_no_network_are_refused() {
    let error = |settings: Settings| settings.check().unwrap_err();
    assert_eq!(error(Settings { embed_dim: 48, ..small() }), SettingsError::EmbedDim(48));
    assert_eq!(error(Settings { length: 72, ..small() }), SettingsError::Length { length: 72, levels: 5 });
    assert_eq!(error(Settings { neighbours: 9, ..small() }), SettingsError::Neighbours { neighbours: 9, most: 8 });
    assert_eq!(error(Settings { classes: 1, ..small() }).to_string(), "classes is 1: expected at least 2");
    assert_eq!(small().check(), Ok(()));
}

#[test]
fn anchors_are_the_original_ones() {
    let expected = &expected()["anchors_928"];
    let table = anchors::table(928, 5, &[1.0, 10.0]);
    assert_eq!(table.len() as u64, expected["total"].as_u64().unwrap());
    let mut first = 0;
    for (level, count) in numbers(&expected["per_level"]).into_iter().enumerate() {
        let found = anchors::tensor(&table[first..first + 4], device());
        close("anchors", &found, &pairs(&expected["first_four_per_level"][level]), 0.0);
        first += count as usize;
    }
    assert_eq!(first, table.len());
}

#[test]
fn boxes_are_coded_as_in_the_original() {
    let case = &expected()["boxcoder"];
    let (anchors, boxes) = (pairs(&case["anchors"]), pairs(&case["gt"]));
    let code = anchors::encode(&boxes, &anchors);
    close("encoded", &code, &pairs(&case["encoded"]), TOLERANCE);
    close("decoded", &anchors::decode(&code, &anchors), &pairs(&case["decoded"]), TOLERANCE);
    let found = overlaps(&anchors.unsqueeze(0), &boxes.unsqueeze(0));
    close("overlaps", &found.squeeze_dim(0), &pairs(&case["iou_anchor_rows_gt_cols"]), 1e-7);
}

/// Truths of a clip of 64 cells.
fn truths(rows: &[[f32; 3]]) -> Truths {
    let boxes = Tensor::from_slice(rows.as_flattened()).view([1, -1, 3]) / Tensor::from_slice(&[64f32, 64.0, 1.0]);
    Truths::new(&boxes, &Tensor::from_slice(&[rows.len() as i64]), 64)
}

fn positives(rows: &[[f32; 3]], compat: Compat) -> i64 {
    let anchors = anchors::tensor(&anchors::table(64, 5, &[1.0, 10.0]), device()).unsqueeze(0);
    matches(&anchors, &truths(rows), 0.5, compat).positive.sum(Kind::Int64).int64_value(&[])
}

#[test]
fn quirk_a_truth_without_length_makes_all_anchors_positive() {
    let quirk = &expected()["zero_length_gt_quirk"];
    let (one, both) = ([[10.0, 20.0, 2.0]], [[10.0, 20.0, 2.0], [63.0, 63.0, 3.0]]);
    assert_eq!(positives(&one, AsReleased), quirk["positives_without"].as_i64().unwrap());
    assert_eq!(positives(&both, AsReleased), quirk["positives_with"].as_i64().unwrap());
    assert_eq!(positives(&both, Fixed), positives(&one, Fixed));
    assert_eq!(positives(&one, Fixed), positives(&one, AsReleased));
}

#[test]
fn quirk_targets_are_cut_to_the_longest_that_the_code_tells() {
    let (anchors, truths) = (pairs(&serde_json::json!([[9.0, 9.0]])).unsqueeze(0), truths(&[[0.0, 63.0, 1.0]]));
    let length = |compat| {
        let targets = matches(&anchors, &truths, 0.5, compat).targets;
        targets.double_value(&[0, 0, 1]) - targets.double_value(&[0, 0, 0])
    };
    assert!((length(AsReleased) - 61.5).abs() < 1e-4, "62.5 less one: {}", length(AsReleased));
    assert_eq!(length(Fixed), 63.0);
}

#[test]
fn classes_follow_the_truth_that_is_overlapped_most_and_padding_is_nothing() {
    let anchors = pairs(&serde_json::json!([[10.0, 19.0], [30.0, 39.0], [50.0, 51.0]])).unsqueeze(0);
    let mut truths = truths(&[[30.0, 39.0, 1.0], [10.0, 20.0, 2.0], [50.0, 52.0, 3.0]]);
    truths.present = Tensor::from_slice(&[true, true, false]).view([1, 3]);
    let found = matches(&anchors, &truths, 0.5, AsReleased).classes;
    assert_eq!(Vec::<i64>::try_from(found.reshape([-1])).unwrap(), [2, 1, 0]);
}

fn term(losses: &Losses, name: &str) -> f64 {
    losses.named().iter().find(|(term, _)| *term == name).unwrap().1.double_value(&[])
}

#[test]
fn every_term_of_the_loss_is_the_original_one() {
    let (output, _, tensors) = output();
    let (found, expected) = (losses(&output, &truth(&tensors), AsReleased), expected());
    let names = [
        ("class", "loss_cls_dec"),
        ("regression", "loss_reg_dec"),
        ("action", "loss_action"),
        ("start", "loss_start"),
        ("end", "loss_end"),
        ("boundary", "loss_bd_adjust"),
    ];
    for (ours, theirs) in names {
        let (found, expected) = (term(&found, ours), expected["losses"][theirs].as_f64().unwrap());
        println!("{ours}: {found}, difference {:e}", found - expected);
        assert!((found - expected).abs() < TOLERANCE, "{ours}: {found}, expected {expected}");
    }
    let (total, expected) = (term(&found, "total"), expected["total"].as_f64().unwrap());
    assert!((total - expected).abs() < TOLERANCE, "{total}, expected {expected}");
}

#[test]
fn gradients_are_the_original_ones() {
    let (output, store, tensors) = output();
    losses(&output, &truth(&tensors), AsReleased).total.backward();
    let expected = expected();
    let mut largest: f64 = 0.0;
    for (name, weight) in store.variables() {
        let found = weight.grad().norm().double_value(&[]);
        let expected = expected["grad_norms"][&name].as_f64().unwrap();
        // Biases in front of group norms of one channel each move nothing: their gradients are rounding.
        if expected < TOLERANCE {
            assert!(found < TOLERANCE, "{name}: {found:e}");
            continue;
        }
        largest = largest.max((found - expected).abs() / expected);
        assert!((found - expected).abs() < 1e-4 * expected, "{name}: {found}, expected {expected}");
    }
    println!("gradient norms: largest relative difference {largest:e}");
}

#[test]
fn the_loss_of_curves_is_the_original_one() {
    let case = &expected()["bi_loss"];
    let of = |name: &str| Tensor::from_slice(&numbers(&case[name])).to_kind(Kind::Float);
    let found = curve_loss(&of("pred"), &of("gt"), AsReleased).double_value(&[]);
    assert!((found - case["value"].as_f64().unwrap()).abs() < 1e-6, "{found}");
}

#[test]
fn quirk_terms_without_positives_are_nan_as_released() {
    let (output, store, tensors) = output();
    let mut truth = truth(&tensors);
    truth.counts = truth.counts.zeros_like();
    for labels in [&mut truth.action, &mut truth.start, &mut truth.end] {
        *labels = labels.zeros_like();
    }
    let released = losses(&output, &truth, AsReleased);
    for (name, loss) in released.named() {
        assert!(loss.double_value(&[]).is_nan(), "{name}");
    }
    let fixed = losses(&output, &truth, Fixed);
    assert_eq!((term(&fixed, "regression"), term(&fixed, "boundary")), (0.0, 0.0));
    fixed.total.backward();
    for (name, weight) in store.variables() {
        assert!(weight.grad().norm().double_value(&[]).is_finite(), "{name}");
    }
    assert!(term(&fixed, "total").is_finite() && term(&fixed, "class") > 0.0);
}

/// By their distances: padded cells are all alike, and of equally near ones any may be taken, by either formula.
#[test]
fn neighbours_are_as_near_as_those_of_the_direct_formula() {
    let features = &tensors()["out.enc_0"].transpose(1, 2).contiguous();
    let precise = features.to_kind(Kind::Double);
    let squares = (precise.unsqueeze(1) - precise.unsqueeze(2)).square();
    let direct = squares.sum_dim_intlist([3i64].as_slice(), false, Kind::Double).sqrt();
    let found = neighbours(features, 4, None);
    let [nearest, taken] = [direct.topk(4, 2, false, true).0, direct.gather(2, &found, false)];
    // The product's formula takes the difference of squares, of which a root is taken: near 0 half of the digits are lost.
    let tolerance = 1e-7 * precise.abs().max().double_value(&[]) * (features.size()[2] as f64).sqrt();
    let off = (taken - nearest).abs().max().double_value(&[]);
    assert!(off < tolerance, "{off:e}, expected less than {tolerance:e}");
    let sorted = found.sort(2, false).0;
    let gaps = sorted.narrow(2, 1, 3) - sorted.narrow(2, 0, 3);
    assert!(gaps.min().int64_value(&[]) > 0, "a cell is its own neighbour, or another's, twice");
    // Where distances are well apart, the order is the same as well.
    let line = Tensor::from_slice(&[0f32, 1.0, 3.0, 7.0, 15.0, 31.0]).view([1, 6, 1]);
    let of = |cell: i64| Vec::<i64>::try_from(neighbours(&line, 3, None).get(0).get(cell)).unwrap();
    assert_eq!([of(0), of(2), of(5)], [[0, 1, 2], [2, 1, 0], [5, 4, 3]]);
}

#[test]
fn the_farther_neighbours_of_a_copy_are_in_the_clip() {
    let features = Tensor::from_slice(&[0f32, 10.0, 20.0, 1.0, 1.5, 1.6, 11.0, 12.0]).view([1, 8, 1]);
    let of = |copies: i64, cell: i64| {
        let copies = Tensor::from_slice(&[copies]);
        Vec::<i64>::try_from(neighbours(&features, 4, Some(&copies)).get(0).get(cell)).unwrap()
    };
    // Cells 4 to 7 are the copy: the two nearest may be in it, the next two may not.
    assert_eq!(of(4, 4), [4, 5, 3, 0]);
    assert_eq!(of(4, 7), [7, 6, 1, 2]);
    // A cell of the clip reaches everywhere.
    assert_eq!(of(4, 3), [3, 4, 5, 0]);
    let plain = Vec::<i64>::try_from(neighbours(&features, 4, None).get(0).get(7)).unwrap();
    assert_eq!(of(8, 7), plain);
}

#[test]
fn stitching_changes_what_short_clips_look_like_and_no_others() {
    let (plain, _, tensors) = network(&small());
    let (stitched, ..) = network(&Settings { stitching: true, stitch_gap: 4, short_ratio: 0.4, ..small() });
    let num_cells = Tensor::from_slice(&[26i64, 25]);
    let of = |network: &Vsgn| network.forward(&tensors["in.features"], &num_cells);
    let (plain, stitched) = (of(&plain), of(&stitched));
    close("long", &stitched.boxes.get(0), &plain.boxes.get(0), BOX_TOLERANCE);
    let moved = (stitched.boxes.get(1) - plain.boxes.get(1)).abs().max().double_value(&[]);
    assert!(moved > 10.0 * BOX_TOLERANCE, "25 of 64 cells are at most 0.4 of them: {moved:e}");
}

/// Moments of a fixture's clip; classes by name where they are names.
fn moments(clip: &Value, classes: &Value) -> Vec<Moment> {
    let moment = |listed: &Value| match listed.as_array() {
        Some(row) => Moment {
            start_sec: row[0].as_f64().unwrap(),
            end_sec: row[1].as_f64().unwrap(),
            class: row[2].as_u64().unwrap() as usize,
        },
        None => Moment {
            start_sec: listed["start_time"].as_f64().unwrap(),
            end_sec: listed["end_time"].as_f64().unwrap(),
            class: classes[listed["label"].as_str().unwrap()].as_u64().unwrap() as usize,
        },
    };
    clip["annotations"].as_array().unwrap().iter().map(moment).collect()
}

fn grid(length: usize, clip: &Value) -> Grid {
    Grid { length, num_cells: clip["num_frms"].as_u64().unwrap() as usize, fps: clip["fps"].as_f64().unwrap() }
}

#[test]
fn labels_of_a_long_grid_are_the_original_ones() {
    let case = &expected()["gt_encoding_928"];
    let found = targets::targets(&moments(case, &Value::Null), &grid(928, case), AsReleased);
    for (found, expected) in found.boxes.iter().zip(case["gt_bbox"].as_array().unwrap()) {
        let expected: Vec<f32> = numbers(expected).into_iter().map(|number| number as f32).collect();
        assert_eq!(found.as_slice(), expected);
    }
    let marked = |labels: &[f32]| (0..928).filter(|cell| labels[*cell] > 0.0).collect::<Vec<_>>();
    assert_eq!(marked(&found.action), (19..=75).chain([188]).collect::<Vec<_>>());
    assert_eq!((found.action[75], found.action[188]), (1.0, 2.0));
    for (name, labels) in [("start_nonzero", &found.start), ("end_nonzero", &found.end)] {
        let expected: Vec<Vec<f64>> = case[name].as_array().unwrap().iter().map(numbers).collect();
        assert_eq!(marked(labels), expected.iter().map(|row| row[0] as usize).collect::<Vec<_>>(), "{name}");
        for row in expected {
            assert!((f64::from(labels[row[0] as usize]) - row[1]).abs() < 1e-6, "{name} of {}", row[0]);
        }
    }
}

#[test]
fn labels_of_the_small_network_are_the_original_ones() {
    let (expected, tensors) = (expected(), tensors());
    for (clip, annotated) in expected["annotations"].as_array().unwrap().iter().enumerate() {
        let grid = grid(64, annotated);
        let found = targets::targets(&moments(annotated, &expected["classes"]), &grid, AsReleased);
        let of = |name: &str| tensors[&format!("in.{name}")].get(clip as i64);
        assert_eq!(found.boxes.len() as i64, of("num_gt").int64_value(&[]));
        let boxes = Tensor::from_slice(found.boxes.as_flattened()).view([-1, 3]);
        close("boxes", &boxes, &of("gt_bbox").narrow(0, 0, boxes.size()[0]), 0.0);
        for (name, labels) in [("gt_action", &found.action), ("gt_start", &found.start), ("gt_end", &found.end)] {
            close(name, &Tensor::from_slice(labels), &of(name), 1e-7);
        }
    }
}

#[test]
fn moments_behind_the_cells_are_dropped_when_fixed() {
    let behind = Moment { start_sec: 90.0, end_sec: 95.0, class: 3 };
    let within = Moment { start_sec: 1.0, end_sec: 9.0, class: 2 };
    let grid = Grid { length: 64, num_cells: 50, fps: 1.0 };
    let released = targets::targets(&[within, behind], &grid, AsReleased);
    assert_eq!((released.boxes.len(), released.boxes[1]), (2, [49.0 / 64.0, 49.0 / 64.0, 3.0]));
    assert_eq!(released.action[49], 3.0);
    let fixed = targets::targets(&[within, behind], &grid, Fixed);
    assert_eq!(fixed, targets::targets(&[within], &grid, AsReleased));
    let many = vec![within; 60];
    assert_eq!(targets::targets(&many, &grid, AsReleased).boxes.len(), targets::MOST_MOMENTS);
}

#[test]
fn features_are_padded_and_cut() {
    assert_eq!(targets::features(&[1.0, 2.0], 2, 3), [1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(targets::features(&[1.0, 2.0, 3.0, 4.0], 1, 3), [1.0, 2.0, 3.0]);
}

#[test]
fn stitched_clips_are_followed_by_their_enlarged_copy() {
    let rows = [0.0, 5.0, 1.0, 7.0, 4.0, 9.0];
    let grid = Grid { length: 12, num_cells: 3, fps: 1.0 };
    let found = Tensor::from_slice(&targets::stitched_features(&rows, 2, &grid, 2)).view([12, 2]);
    let clip = Tensor::from_slice(&rows).view([3, 2]).to_kind(Kind::Float);
    close("clip", &found.narrow(0, 0, 3), &clip, 0.0);
    assert_eq!(found.narrow(0, 3, 2).abs().max().double_value(&[]), 0.0);
    let enlarged = clip.tr().unsqueeze(0).upsample_linear1d([7i64].as_slice(), true, None);
    close("copy", &found.narrow(0, 5, 7), &enlarged.squeeze_dim(0).tr(), 1e-6);
    let moment = Moment { start_sec: 0.0, end_sec: 1.6, class: 4 };
    let labels = targets::stitched_targets(&[moment], &grid, 2, Fixed);
    // 1.6 of 3 cells round to 2; of 7 cells they are 3.7, which round to 4, behind 5 cells.
    assert_eq!(labels.boxes, [[0.0, 2.0 / 12.0, 4.0], [5.0 / 12.0, 9.0 / 12.0, 4.0]]);
    assert_eq!(labels.action, [4.0, 4.0, 4.0, 0.0, 0.0, 4.0, 4.0, 4.0, 4.0, 4.0, 0.0, 0.0]);
}

#[test]
fn proposals_are_the_networks_in_seconds() {
    let (output, _, tensors) = output();
    let clips = decode::clips(&output);
    assert_eq!(clips.len(), 2);
    for (clip, boxes) in clips.iter().zip(tensors["out.loc_adjusted"].unbind(0)) {
        let found = Tensor::from_slice(clip.boxes.as_slice().unwrap()).view([-1, 2]);
        close("boxes", &found, &boxes, BOX_TOLERANCE);
    }
    let grid = Grid { length: 64, num_cells: 50, fps: 1.875 };
    let found = clips[1].proposals(&grid, &small().grid());
    assert!(found.iter().all(|p| (1..5).contains(&p.class) && p.window.end_sec <= 49.0 / 1.875));
    // The best of class 2, by hand.
    let of = |name: &str| tensors[&format!("out.{name}")].get(1);
    let (boxes, likely) = (of("loc_adjusted").clamp(0.0, 63.0), of("score").select(1, 2));
    let at = |curve: &Tensor, place: &Tensor| {
        let cell = |place: Tensor| curve.index_select(0, &place.to_kind(Kind::Int64));
        (cell(place.floor()) + cell(place.ceil())) / 2.0
    };
    let (starts, ends) = (at(&of("startness"), &boxes.select(1, 0)), at(&of("endness"), &boxes.select(1, 1)));
    let (best, place) = (likely * starts * ends).max_dim(0, false);
    let window = boxes.get(place.int64_value(&[])).clamp(0.0, 49.0) / 1.875;
    let first = found.iter().find(|p| p.class == 2).unwrap();
    assert!((first.score - best.double_value(&[])).abs() < 1e-6);
    assert!((first.window.start_sec - window.double_value(&[0])).abs() < BOX_TOLERANCE);
    assert!((first.window.end_sec - window.double_value(&[1])).abs() < BOX_TOLERANCE);
}

#[test]
fn official_files_load_by_their_names() {
    let (network, store, tensors) = network(&small());
    let golden: BTreeMap<String, Tensor> = store.variables().into_iter().collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model_best.pth.tar");
    let infos = golden.iter().map(|(name, weight)| (name.clone(), stored(weight).info())).collect();
    checkpoint::write_torch(&path, &infos, &mut |name| Ok(stored(&golden[name])), "module.").unwrap();
    let fresh = VarStore::new(device());
    let loaded = Vsgn::new(&fresh.root(), DIM, &small()).unwrap();
    load_weights(&path, "vsgn", &fresh.variables().into_iter().collect()).unwrap();
    let of = |network: &Vsgn| network.forward(&tensors["in.features"], &tensors["in.num_frms"]).adjusted;
    assert_eq!(of(&loaded), of(&network));
}

/// A weight as files have it.
fn stored(weight: &Tensor) -> checkpoint::Tensor {
    let mut numbers = vec![0f32; weight.numel()];
    weight.copy_data(&mut numbers, weight.numel());
    let shape = weight.size().iter().map(|&size| size as usize).collect();
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    checkpoint::Tensor { dtype: checkpoint::Dtype::F32, shape, bytes }
}
