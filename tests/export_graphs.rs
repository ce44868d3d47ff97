//! Exported graphs among themselves: what is served is what was compared with the original code, whole or in halves, alone
//! or in a batch, and in files that other tools read too.

mod common;
mod graphs;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use egofx::backbone::{Card, Dim, Element, Feed, Outputs};
use egofx::checkpoint::{Checkpoint, Dtype, Tensor};
use egofx::export::onnx::{DataType, IR_VERSION, ModelProto, OPSET};
use egofx::export::{self, Arithmetic, MODELS, Model, Options, Scale};
use graphs::{Golden, cosine, egovlp, egovlpv2, judge, made, max_abs, output, session};
use prost::Message;
use support::{Workshop, python};

/// Largest difference between ways to the same output that add in another order.
const EQUAL: f32 = 2e-6;
/// Largest difference between frames prepared in the graph and outside of it.
const PREPARED: f32 = 2e-5;

/// Graphs of both tiny models in every precision, debug graphs among them, made once.
static EXPORTED: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export_graphs");
    let _ = fs::remove_dir_all(&folder);
    let work = tempfile::tempdir().unwrap();
    for checkpoint in [egovlp(), egovlpv2(work.path())] {
        export(&checkpoint, &folder, true, &[Arithmetic::Fp16, Arithmetic::Int8]);
    }
    folder
});

fn export(checkpoint: &Checkpoint, folder: &Path, debug: bool, further: &[Arithmetic]) {
    let options = Options { head_size: 16, further: further.to_vec(), debug, licence: "MIT".into() };
    export::export(checkpoint, &options, &judge(), folder).unwrap();
}

/// Names of the graphs that are made for use, in every precision.
fn served() -> Vec<String> {
    Card::names(&EXPORTED).into_iter().filter(|name| !name.ends_with("_debug")).collect()
}

/// Those of single precision.
fn single() -> Vec<String> {
    served().into_iter().filter(|name| !name.ends_with("_fp16") && !name.ends_with("_int8")).collect()
}

/// A number that looks random, the same on every run.
fn noise(row: usize, i: usize) -> u32 {
    let mixed = (row as u32 + 1).wrapping_mul(0x9E37_79B9) ^ (i as u32).wrapping_mul(0x85EB_CA6B);
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x2C1B_3C6D);
    mixed ^ mixed >> 12
}

/// Inputs of a graph whose batch is made of `rows`: equal numbers are equal rows. `F`, `L` and `N` are as long as `length`
/// says.
fn batch(card: &Card, rows: &[usize], length: fn(&str) -> usize) -> Vec<Feed<'static>> {
    card.inputs.iter().map(|input| feed(input, rows, length, pad(card))).collect()
}

fn feed(input: &egofx::backbone::Tensor, rows: &[usize], length: fn(&str) -> usize, pad: i64) -> Feed<'static> {
    let long = |dim: &Dim| match dim {
        Dim::Fixed(n) => *n as usize,
        Dim::Named(name) => length(name),
    };
    let inner: Vec<usize> = input.shape[1..].iter().map(long).collect();
    let shape = [&[rows.len()], inner.as_slice()].concat();
    let count: usize = inner.iter().product();
    let all = || rows.iter().flat_map(|&row| (0..count).map(move |i| (row, i)));
    // Row 1 has a word less than row 0, and so on.
    let is_word = |(row, i): (usize, usize)| i + row < count;
    let word = |(row, i)| if is_word((row, i)) { i64::from(noise(row, i) % 150) + 5 } else { pad };
    let name: &'static str = input.name.clone().leak();
    match input.dtype {
        Element::Uint8 => Feed::Bytes(name, all().map(|(row, i)| noise(row, i) as u8).collect(), shape),
        Element::Float32 => {
            let at = |(row, i)| noise(row, i) as f32 / u32::MAX as f32 * 4.0 - 2.0;
            Feed::Floats(name, all().map(at).collect(), shape)
        }
        Element::Int64 if name == "mask" => Feed::Ints(name, all().map(|at| is_word(at).into()).collect(), shape),
        Element::Int64 => Feed::Ints(name, all().map(word).collect(), shape),
    }
}

/// The token that fills up.
fn pad(card: &Card) -> i64 {
    if card.name.starts_with("egovlpv2") { 1 } else { 0 }
}

fn usual(dim: &str) -> usize {
    match dim {
        "F" => 4,
        "L" => 7,
        "N" => 17,
        other => panic!("a new dimension {other}"),
    }
}

/// Frames `[.., side, side, 3]` as the original transforms prepare them for a debug graph: `[.., 3, image, image]`.
fn prepared(frames: &[u8], side: usize, image: usize) -> Vec<f32> {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const STD: [f32; 3] = [0.229, 0.224, 0.225];
    let taps = |i: usize| {
        let place = ((i as f32 + 0.5) * (side as f32 / image as f32) - 0.5).max(0.0);
        (place as usize, (place as usize + 1).min(side - 1), place.fract())
    };
    let one = |frame: &[u8], i: usize| {
        let (c, (top, bottom, v), (left, right, u)) = (i / (image * image), taps(i / image % image), taps(i % image));
        let at = |y: usize, x: usize| f32::from(frame[(y * side + x) * 3 + c]) / 255.0;
        let row = |y: usize| at(y, left) * (1.0 - u) + at(y, right) * u;
        (row(top) * (1.0 - v) + row(bottom) * v - MEAN[c]) / STD[c]
    };
    let frames = frames.chunks(side * side * 3);
    frames.flat_map(|frame| (0..3 * image * image).map(move |i| one(frame, i))).collect()
}

/// What a debug graph takes in place of `feed`.
fn as_pixels(feed: Feed<'static>) -> Feed<'static> {
    let Feed::Bytes(_, frames, shape) = feed else { return feed };
    let (side, image) = (shape[2], 32);
    assert_eq!(export::frame_side(image), side);
    Feed::Floats("pixels", prepared(&frames, side, image), vec![shape[0], shape[1], 3, image, image])
}

/// Every output of `found`, by name, within `limit` of `expected`; the largest difference.
#[track_caller]
fn agree(what: &str, found: &Outputs, expected: &Outputs, limit: f32) -> f32 {
    let off = |(name, values): &(String, Vec<f32>)| {
        let off = max_abs(values, output(expected, name));
        assert!(off <= limit, "{what}: {name} is off by {off:e}");
        off
    };
    found.iter().map(off).fold(0.0, f32::max)
}

#[test]
fn a_served_graph_computes_what_its_debug_graph_computes() {
    let lengths: [fn(&str) -> usize; 5] = [
        |dim| if dim == "F" { 1 } else { usual(dim) },
        usual,
        |dim| if dim == "F" { 5 } else { usual(dim) },
        |dim| if dim == "F" { 8 } else { usual(dim) },
        |dim| if dim == "F" { 16 } else { usual(dim) },
    ];
    for name in single() {
        let card = Card::read(&EXPORTED, &name).unwrap();
        let (mut graph, mut debug) = (session(&EXPORTED, &name), session(&EXPORTED, &format!("{name}_debug")));
        let takes_frames = card.inputs.iter().any(|input| input.dtype == Element::Uint8);
        let mut worst = 0.0_f32;
        for length in if takes_frames { &lengths[..] } else { &lengths[1..2] } {
            let feeds = batch(&card, &[0, 1], *length);
            let found = graph.run(&feeds).unwrap();
            let expected = debug.run(&feeds.into_iter().map(as_pixels).collect::<Vec<_>>()).unwrap();
            worst = worst.max(agree(&name, &found, &expected, PREPARED));
        }
        println!("{name}: within {worst:.1e} of its debug graph");
    }
}

#[test]
fn two_halves_are_the_whole_and_a_lower_half_serves_many() {
    let card = |name: &str| Card::read(&EXPORTED, &format!("egovlpv2_{name}")).unwrap();
    let run = |name: &str, feeds: &[Feed]| session(&EXPORTED, &format!("egovlpv2_{name}")).run(feeds).unwrap();
    let fused = run("fused", &{
        let mut feeds = batch(&card("fused"), &[0, 1, 2], usual);
        feeds[0] = batch(&card("fused"), &[3, 3, 3], usual).remove(0);
        feeds
    });
    let mut tokens = run("lower_video", &batch(&card("lower_video"), &[3], usual)).remove(0).1;
    let [ids, mask] = batch(&card("lower_text"), &[0, 1, 2], usual).try_into().unwrap();
    let words = run("lower_text", &[ids, mask.clone()]).remove(0).1;
    let width = words.len() / (3 * 7);
    tokens = tokens.repeat(3);
    let upper = run(
        "upper",
        &[
            Feed::Floats("video_tokens", tokens, vec![3, 17, width]),
            Feed::Floats("text_tokens", words, vec![3, 7, width]),
            mask,
        ],
    );
    assert_eq!(upper.len(), 4);
    println!("split: within {:.1e} of the whole", agree("upper", &upper, &fused, EQUAL));
}

/// The part of all outputs that belongs to row `i` of `rows`.
fn row_of(outputs: &Outputs, i: usize, rows: usize) -> Vec<f32> {
    let part = |values: &[f32]| {
        let length = values.len() / rows;
        values[i * length..][..length].to_vec()
    };
    outputs.iter().flat_map(|(_, values)| part(values)).collect()
}

/// Half precision is for GPUs: the CPU's kernels round a number by its place in the batch. Measured: 2e-3 on outputs of
/// unit size, two units in the last place.
#[test]
fn a_row_has_the_same_bits_in_every_batch() {
    const HALF: f32 = 5e-3;
    for name in served() {
        let card = Card::read(&EXPORTED, &name).unwrap();
        let mut graph = session(&EXPORTED, &name);
        let three = graph.run(&batch(&card, &[0, 1, 2], usual)).unwrap();
        for pair in [[0, 1], [2, 0], [1, 1], [2, 2]] {
            let two = graph.run(&batch(&card, &pair, usual)).unwrap();
            for (i, row) in pair.into_iter().enumerate() {
                let (found, expected) = (row_of(&two, i, 2), row_of(&three, row, 3));
                let off = max_abs(&found, &expected);
                let equal = found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                let half = name.ends_with("_fp16") && off <= HALF;
                assert!(equal || half, "{name}: row {row} in {pair:?} is off by {off:e}");
            }
        }
    }
}

#[test]
fn padding_changes_no_sentence() {
    for name in ["egovlp_text", "egovlpv2_text"] {
        let card = Card::read(&EXPORTED, name).unwrap();
        let mut graph = session(&EXPORTED, name);
        let mut pooled = |length: usize| {
            let mut ids: Vec<i64> = (0..5).map(|i| i64::from(noise(9, i) % 150) + 5).collect();
            let mut mask = vec![1; 5];
            ids.resize(length, pad(&card));
            mask.resize(length, 0);
            let feeds = [("ids", ids), ("mask", mask)].map(|(name, values)| Feed::Ints(name, values, vec![1, length]));
            output(&graph.run(&feeds).unwrap(), "pooled").to_vec()
        };
        let alone = pooled(5);
        for length in [6, 9, 30] {
            let off = max_abs(&alone, &pooled(length));
            assert!(off <= EQUAL, "{name}: padded to {length} tokens it is off by {off:e}");
        }
    }
}

/// What frame `f` has more than frame 0, if all frames are alike: their rows of the temporal table differ.
fn temporal_rows(model: &str, frames: usize) -> Vec<Vec<f32>> {
    let pixels = Feed::Floats("pixels", vec![0.25; frames * 3 * 32 * 32], vec![1, frames, 3, 32, 32]);
    let outputs = session(&EXPORTED, &format!("{model}_video_debug")).run(&[pixels]).unwrap();
    let tokens = output(&outputs, "probe.video.embedded");
    let width = tokens.len() / (1 + 4 * frames);
    let patch = |f: usize| &tokens[(1 + 4 * f) * width..][..width];
    (0..frames).map(|f| patch(f).iter().zip(patch(0)).map(|(a, b)| a - b).collect()).collect()
}

/// EgoVLP gives frames beyond its table no embedding; EgoVLPv2 cuts its table or stretches it, linearly and with its ends
/// at the ends.
#[test]
fn temporal_tables_are_cut_continued_and_stretched_as_the_original_loads_them() {
    for (model, counts) in [("egovlp", &[4, 8, 16, 20][..]), ("egovlpv2", &[2, 5, 16])] {
        let golden = Golden::open(&format!("{model}/expected.safetensors"));
        for &frames in counts {
            let (shape, table) = golden.floats(&format!("temporal_at_load.t{frames}"));
            assert_eq!(shape[1], frames);
            if (model, frames) == ("egovlp", 20) {
                assert!(table[16 * shape[2]..].iter().all(|v| *v == 0.0));
            }
            let rows: Vec<&[f32]> = table.chunks(shape[2]).collect();
            for (f, found) in temporal_rows(model, frames).iter().enumerate() {
                let expected: Vec<f32> = rows[f].iter().zip(rows[0]).map(|(a, b)| a - b).collect();
                let off = max_abs(found, &expected);
                assert!(off <= EQUAL, "{model}: row {f} of {frames} is off by {off:e}");
            }
        }
    }
}

#[test]
fn onnx_itself_accepts_every_graph() {
    let shop = Workshop::new();
    std::os::unix::fs::symlink(&*EXPORTED, shop.path("graphs")).unwrap();
    let program = r#"
import glob, json, os, onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
found = {}
for path in sorted(glob.glob("graphs/*.onnx")):
    debug = path.endswith("_debug.onnx")
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    files = set()
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            size = os.path.getsize("graphs/" + info.location)
            assert info.offset + info.length <= size, (path, tensor.name)
            assert info.offset % (4096 if info.length >= 65536 else 64) == 0, (path, tensor.name)
            files.add(info.location)
        else:
            assert len(tensor.raw_data) <= 65536, (path, tensor.name, len(tensor.raw_data))
    for value in list(model.graph.input) + list(model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            named = dim.dim_param in ("B", "F", "L", "N") or debug and dim.dim_param.startswith("probe.")
            assert dim.dim_value > 0 or named, (path, value.name, dim)
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names) and all(names), path
    opsets = {o.domain: o.version for o in model.opset_import}
    found[os.path.basename(path)] = [model.ir_version, opsets.pop(""), sorted(opsets), sorted(files)]
print(json.dumps(found))
"#;
    let found = python(&shop, program);
    let graphs = found.as_object().unwrap();
    assert_eq!(graphs.len(), 4 * (2 + 6));
    for (name, facts) in graphs {
        let (model, suffix) =
            (name.split('_').next().unwrap(), ["_fp16", "_int8"].into_iter().find(|s| name.contains(s)));
        let weights = format!("{model}{}.weights", suffix.unwrap_or_default());
        assert_eq!((&facts[0], &facts[1]), (&IR_VERSION.into(), &OPSET.into()), "{name}");
        assert_eq!((&facts[2], &facts[3]), (&serde_json::json!([]), &serde_json::json!([weights])), "{name}");
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read(e.path()).unwrap())).collect()
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes_and_one_file_of_weights() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    folders.iter().for_each(|folder| export(&egovlp(), folder.path(), false, &[Arithmetic::Fp16]));
    let [first, second] = folders.map(|folder| files(folder.path()));
    assert!(first == second);
    let weights: Vec<_> = first.keys().filter(|name| name.ends_with(".weights")).collect();
    assert_eq!(weights, ["egovlp.weights", "egovlp_fp16.weights"]);
    assert_eq!(first.len(), 2 + 2 * 2 * 2, "{:?}", first.keys());
}

/// Element types of the weights that a graph has outside of its file.
fn stored(folder: &Path, graph: &str) -> BTreeSet<DataType> {
    let bytes = fs::read(folder.join(format!("{graph}.onnx"))).unwrap();
    let graph = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
    let outside = graph.initializer.iter().filter(|tensor| !tensor.external_data.is_empty());
    outside.map(|tensor| DataType::try_from(tensor.data_type()).unwrap()).collect()
}

#[test]
fn a_checkpoint_of_half_precision_stays_half_and_computes_nearly_the_same() {
    let base = egovlp();
    for (dtype, stored_as, widest) in [(Dtype::F16, DataType::Float16, 2e-3), (Dtype::Bf16, DataType::Bfloat16, 2e-2)] {
        let folder = tempfile::tempdir().unwrap();
        let half = made(folder.path(), &base, |name| Some(halved(base.read(name).unwrap(), dtype)));
        export(&half, folder.path(), false, &[]);
        let bytes = |folder: &Path| fs::metadata(folder.join("egovlp.weights")).unwrap().len();
        assert!(bytes(folder.path()) < bytes(&EXPORTED) * 6 / 10);
        for name in ["egovlp_video", "egovlp_text"] {
            assert_eq!(stored(folder.path(), name), BTreeSet::from([stored_as]), "{name}");
            let feeds = batch(&Card::read(folder.path(), name).unwrap(), &[0, 1], usual);
            let [found, expected] = [folder.path(), &EXPORTED].map(|folder| session(folder, name).run(&feeds).unwrap());
            for (output, expected) in found.iter().zip(&expected) {
                let (off, cosine) = (max_abs(&output.1, &expected.1), cosine(&output.1, &expected.1));
                println!("{name} {} of {dtype}: max abs {off:.1e}, cosine {cosine:.7}", output.0);
                let scale = expected.1.iter().fold(1.0_f32, |most, v| most.max(v.abs()));
                assert!(off <= widest * scale && cosine >= 0.9999, "{name} {}: {off:e} {cosine}", output.0);
            }
        }
    }
}

fn halved(tensor: Tensor, dtype: Dtype) -> Tensor {
    let values = tensor.to_f32().unwrap();
    let bits = |v: f32| match dtype {
        Dtype::F16 => half::f16::from_f32(v).to_bits(),
        _ => half::bf16::from_f32(v).to_bits(),
    };
    Tensor { dtype, shape: tensor.shape, bytes: values.into_iter().flat_map(|v| bits(v).to_le_bytes()).collect() }
}

#[test]
fn the_published_models_have_the_published_numbers_of_parameters() {
    let sizes = |model: &Model| {
        let plan = (model.sized)(Scale::Full);
        (model.name, plan.layout.parameters.len(), plan.parameters())
    };
    let found: Vec<_> = MODELS.iter().map(sizes).collect();
    assert_eq!(found, [("egovlp", 327, 180_934_400), ("egovlpv2", 557, 381_611_623)]);
}
