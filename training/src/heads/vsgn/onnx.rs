//! VSGN as a graph, by the names of its weights: what [`Vsgn`](super::Vsgn) computes.
//!
//! After the original (coolbay/VSGN, `Models/{VSGN,XGPN,Head,BoundaryAdjust}.py`). Not for proposals, which `egofx::heads::vsgn`
//! makes. Values are `[B, C, L]`. Invariant: of cells at one distance to another, the graph and libtorch may take different ones
//! as neighbours, which matters only where those differ in what they send.

use egofx::export::layers::{concat, linear, reshape, slice, transpose};
use egofx::export::onnx::{Attribute, DataType};
use egofx::export::{Graph, Value, Weight, dims};

use super::anchors::{self, MOST_RATIO, WEIGHTS};
use super::boundary::FRACTION;
use super::layers::GROUPS;
use super::settings::Settings;

/// `eps` of `torch.nn.GroupNorm`.
const NORM_EPS: f32 = 1e-5;

/// Writes the graph: `features` `[B, D, T]` to the boxes in cells `[B, A, 2]` and their class `probabilities` `[B, A, classes]`,
/// and to the likelihoods `starts` and `ends` `[B, T]`. Where clips are stitched to their copies, `copy_mask` `[B, T]` is 1 in the
/// cells behind the first of the copy, and 0 everywhere in clips without one.
pub(super) fn build(g: &mut Graph, input_dim: usize, settings: &Settings) {
    let length = settings.length as usize;
    let features = g.input("features", DataType::Float, &dims(&["B"], &[input_dim, length]));
    let copies = settings.stitching.then(|| copy_starts(g, settings));
    let encoded = encode(g, settings, &features, copies.as_ref());
    let decoded = decode(g, settings, &encoded);
    let heads: Vec<[Value; 2]> = decoded.iter().map(|level| anchor_head(g, settings, level)).collect();
    let [scores, codes] = [(0, settings.classes), (1, 2)].map(|(part, numbers)| {
        // From fine to coarse.
        let levels: Vec<&Value> = heads.iter().rev().map(|head| &head[part]).collect();
        by_anchor(g, &levels, numbers)
    });
    let boxes = boxes(g, settings, &codes);
    g.probe("boxes", &boxes, 3);
    let finest = &decoded[decoded.len() - 1];
    let adjusted = adjusted(g, settings, &boxes, finest);
    let probabilities = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(2))]);
    g.output("boxes", &adjusted, &dims(&["B", "A"], &[2]));
    g.output("probabilities", &probabilities, &dims(&["B", "A"], &[settings.classes as usize]));
    for (name, key) in [("starts", "head_startness"), ("ends", "head_endness")] {
        let curve = curve(g, key, finest);
        g.output(name, &curve, &dims(&["B"], &[length]));
    }
}

/// The first cell of each clip's copy, `[B, 1]`; the grid's end for clips without.
fn copy_starts(g: &mut Graph, settings: &Settings) -> Value {
    let mask = g.input("copy_mask", DataType::Int64, &dims(&["B"], &[settings.length as usize]));
    let (axis, length) = (g.ints(&[1]), g.int(settings.length));
    let cells = g.op("ReduceSum", &[&mask, &axis], &[]);
    g.op("Sub", &[&length, &cells], &[])
}

/// What a convolution has besides its weight and bias.
#[derive(Clone, Copy)]
struct Shape {
    stride: i64,
    padding: i64,
}

fn conv(g: &mut Graph, key: &str, x: &Value, shape: Shape) -> Value {
    let weights = ["weight", "bias"].map(|name| g.weight(Weight::plain(&format!("{key}.{name}"))));
    let attributes = [
        ("strides", Attribute::Ints(vec![shape.stride])),
        ("pads", Attribute::Ints(vec![shape.padding, shape.padding])),
    ];
    g.op("Conv", &[x, &weights[0], &weights[1]], &attributes)
}

/// A kernel of 3 that keeps the length.
fn conv3(g: &mut Graph, key: &str, x: &Value) -> Value {
    conv(g, key, x, Shape { stride: 1, padding: 1 })
}

fn relu(g: &mut Graph, x: &Value) -> Value {
    g.op("Relu", &[x], &[])
}

fn squeeze(g: &mut Graph, x: &Value, axis: i64) -> Value {
    let axis = g.ints(&[axis]);
    g.op("Squeeze", &[x, &axis], &[])
}

fn unsqueeze(g: &mut Graph, x: &Value, axis: i64) -> Value {
    let axis = g.ints(&[axis]);
    g.op("Unsqueeze", &[x, &axis], &[])
}

/// The encoder's levels, from fine to coarse.
fn encode(g: &mut Graph, settings: &Settings, features: &Value, copies: Option<&Value>) -> Vec<Value> {
    let entry = conv3(g, "xGPN.conv0.0", features);
    let entry = relu(g, &entry);
    let mut encoded: Vec<Value> = Vec::with_capacity(settings.levels);
    for level in 0..settings.levels {
        let (input, key, halves) = (encoded.last().unwrap_or(&entry), format!("xGPN.levels_enc.{level}"), level > 0);
        let out = if settings.graph {
            // The first two levels have the cells of the grid as their input.
            let cells = settings.length >> level.saturating_sub(1);
            graph_level(g, &key, settings, (input, cells), copies, halves)
        } else {
            let out = conv(g, &format!("{key}.0"), input, Shape { stride: if halves { 2 } else { 1 }, padding: 1 });
            relu(g, &out)
        };
        g.probe(&format!("enc_{level}"), &out, 3);
        encoded.push(out);
    }
    encoded
}

/// A level with messages: a convolution plus the strongest message of each cell's neighbours.
fn graph_level(
    g: &mut Graph,
    key: &str,
    settings: &Settings,
    (x, count): (&Value, i64),
    copies: Option<&Value>,
    halves: bool,
) -> Value {
    g.scope(key, |g| {
        let width = settings.embed_dim;
        let cells = transpose(g, x, &[0, 2, 1]);
        let near = neighbours(g, settings, (&cells, count), copies);
        // The map of [neighbour, cell] in two halves, each applied once to every cell.
        let matrix = g.weight(Weight::plain(&format!("{key}.nconv1.mlp.weight")).transposed());
        let bias = g.weight(Weight::plain(&format!("{key}.nconv1.mlp.bias")));
        let [of_neighbour, of_cell] = [0..width, width..2 * width].map(|rows| slice(g, &matrix, 0, rows));
        let sent = g.op("MatMul", &[&cells, &of_neighbour], &[]);
        let own = g.op("MatMul", &[&cells, &of_cell], &[]);
        let own = g.op("Add", &[&own, &bias], &[]);
        // [B, L, K, C].
        let near = unsqueeze(g, &near, 3);
        let received = g.op("GatherND", &[&sent, &near], &[("batch_dims", Attribute::Int(1))]);
        let axis = g.ints(&[2]);
        let strongest = g.op("ReduceMax", &[&received, &axis], &[("keepdims", Attribute::Int(0))]);
        let messages = g.op("Add", &[&strongest, &own], &[]);
        let messages = transpose(g, &messages, &[0, 2, 1]);
        let out = conv3(g, &format!("{key}.tconv1"), x);
        let out = g.op("Add", &[&out, &messages], &[]);
        let out = relu(g, &out);
        if !halves {
            return out;
        }
        let attributes = [("kernel_shape", Attribute::Ints(vec![2])), ("strides", Attribute::Ints(vec![2]))];
        g.op("MaxPool", &[&out], &attributes)
    })
}

/// The nearest cells of every cell, itself among them, `[B, L, K]`; see [`neighbours`](super::graph::neighbours).
fn neighbours(g: &mut Graph, settings: &Settings, (cells, count): (&Value, i64), copies: Option<&Value>) -> Value {
    let distances = distances(g, cells);
    let Some(copies) = copies else { return nearest(g, &distances, settings.neighbours) };
    let half = settings.neighbours / 2;
    let first = nearest(g, &distances, half);
    let infinite = g.doubles("infinity", &[], &[f64::INFINITY]);
    let both = both_in_copy(g, settings, copies, count);
    let left = g.op("Where", &[&both, &infinite, &distances], &[]);
    let shape = g.op("Shape", &[&first], &[]);
    let infinities = g.op("Expand", &[&infinite, &shape], &[]);
    let left = g.op("ScatterElements", &[&left, &first, &infinities], &[("axis", Attribute::Int(2))]);
    let second = nearest(g, &left, settings.neighbours - half);
    concat(g, 2, &[&first, &second])
}

/// Squared distances between cells by a matrix product in double precision, `[B, L, L]`: squares order cells as distances do.
fn distances(g: &mut Graph, cells: &Value) -> Value {
    let precise = g.op("Cast", &[cells], &[("to", Attribute::Int(DataType::Double as i64))]);
    let turned = transpose(g, &precise, &[0, 2, 1]);
    let product = g.op("MatMul", &[&precise, &turned], &[]);
    let minus_two = g.doubles("minus two", &[], &[-2.0]);
    let product = g.op("Mul", &[&product, &minus_two], &[]);
    let squares = g.op("Mul", &[&precise, &precise], &[]);
    let axis = g.ints(&[2]);
    let of_cell = g.op("ReduceSum", &[&squares, &axis], &[]);
    let of_other = transpose(g, &of_cell, &[0, 2, 1]);
    let sum = g.op("Add", &[&of_cell, &of_other], &[]);
    g.op("Add", &[&sum, &product], &[])
}

fn nearest(g: &mut Graph, distances: &Value, count: i64) -> Value {
    let count = g.ints(&[count]);
    let [_, cells] =
        g.ops("TopK", &[distances, &count], &[("axis", Attribute::Int(2)), ("largest", Attribute::Int(0))]);
    cells
}

/// Pairs of cells that both lie in the copy, `[B, L, L]`, at a level of `count` cells.
fn both_in_copy(g: &mut Graph, settings: &Settings, copies: &Value, count: i64) -> Value {
    let (cells, length) = (g.int(count), g.int(settings.length));
    let start = g.op("Mul", &[copies, &cells], &[]);
    // Integers of ONNX are divided without the rest.
    let start = g.op("Div", &[&start, &length], &[]);
    let all: Vec<i64> = (0..count).collect();
    let all = g.ints(&all);
    let in_copy = g.op("GreaterOrEqual", &[&all, &start], &[]);
    let (rows, columns) = (unsqueeze(g, &in_copy, 2), unsqueeze(g, &in_copy, 1));
    g.op("And", &[&rows, &columns], &[])
}

/// The decoder's levels, from coarse to fine.
fn decode(g: &mut Graph, settings: &Settings, encoded: &[Value]) -> Vec<Value> {
    let mut decoded: Vec<Value> = Vec::with_capacity(settings.levels);
    for (place, encoded) in encoded.iter().rev().enumerate() {
        let input = match decoded.last() {
            None => encoded.clone(),
            Some(coarser) => {
                let lateral = conv3(g, &format!("xGPN.levels2.{}.0", place - 1), encoded);
                let lateral = relu(g, &lateral);
                let up = conv_transpose(g, &format!("xGPN.levels_dec.{}.0", place - 1), coarser);
                let up = relu(g, &up);
                g.op("Add", &[&lateral, &up], &[])
            }
        };
        let merged = conv3(g, &format!("xGPN.levels1.{place}.0"), &input);
        let merged = relu(g, &merged);
        g.probe(&format!("dec_{place}"), &merged, 3);
        decoded.push(merged);
    }
    decoded
}

/// `nn.ConvTranspose1d` that doubles the length.
fn conv_transpose(g: &mut Graph, key: &str, x: &Value) -> Value {
    let weights = ["weight", "bias"].map(|name| g.weight(Weight::plain(&format!("{key}.{name}"))));
    let attributes = [
        ("strides", Attribute::Ints(vec![2])),
        ("pads", Attribute::Ints(vec![1, 1])),
        ("output_padding", Attribute::Ints(vec![1])),
    ];
    g.op("ConvTranspose", &[x, &weights[0], &weights[1]], &attributes)
}

/// Class scores and coded boxes of a level.
fn anchor_head(g: &mut Graph, settings: &Settings, level: &Value) -> [Value; 2] {
    [("cls_tower", "cls_logits"), ("bbox_tower", "bbox_pred")].map(|(name, out)| {
        let hidden = (0..settings.tower_convs).fold(level.clone(), |x, place| {
            let convolved = conv3(g, &format!("head_dec.{name}.{}", 3 * place), &x);
            let normed = group_norm(g, &format!("head_dec.{name}.{}", 3 * place + 1), settings.embed_dim, &convolved);
            relu(g, &normed)
        });
        conv3(g, &format!("head_dec.{out}"), &hidden)
    })
}

/// `nn.GroupNorm`.
fn group_norm(g: &mut Graph, key: &str, width: i64, x: &Value) -> Value {
    let groups = reshape(g, x, &[0, GROUPS, -1]);
    let axis = g.ints(&[2]);
    let mean = g.op("ReduceMean", &[&groups, &axis], &[]);
    let centred = g.op("Sub", &[&groups, &mean], &[]);
    let squares = g.op("Mul", &[&centred, &centred], &[]);
    let variance = g.op("ReduceMean", &[&squares, &axis], &[]);
    let eps = g.float(NORM_EPS);
    let variance = g.op("Add", &[&variance, &eps], &[]);
    let deviation = g.op("Sqrt", &[&variance], &[]);
    let normed = g.op("Div", &[&centred, &deviation], &[]);
    let normed = reshape(g, &normed, &[0, width, -1]);
    let [weight, bias] = ["weight", "bias"].map(|name| {
        let values = g.weight(Weight::plain(&format!("{key}.{name}")));
        unsqueeze(g, &values, 1)
    });
    let scaled = g.op("Mul", &[&normed, &weight], &[]);
    g.op("Add", &[&scaled, &bias], &[])
}

/// Levels `[B, scales * numbers, L]` as `[B, A, numbers]`.
fn by_anchor(g: &mut Graph, levels: &[&Value], numbers: i64) -> Value {
    let all = concat(g, 2, levels);
    let all = transpose(g, &all, &[0, 2, 1]);
    reshape(g, &all, &[0, -1, numbers])
}

/// The column of `[B, A, 2]` with that number, `[B, A]`.
fn column(g: &mut Graph, x: &Value, number: i64) -> Value {
    let one = slice(g, x, 2, number..number + 1);
    squeeze(g, &one, 2)
}

/// Two columns `[B, A]` as `[B, A, 2]`.
fn joined(g: &mut Graph, columns: [&Value; 2]) -> Value {
    let [first, second] = columns.map(|column| unsqueeze(g, column, 2));
    concat(g, 2, &[&first, &second])
}

/// Boxes of their codes, in cells; see [`anchors::decode`].
fn boxes(g: &mut Graph, settings: &Settings, codes: &Value) -> Value {
    let table = anchors::table(settings.length as usize, settings.levels, &settings.anchor_scales);
    let lengths: Vec<f32> = table.iter().map(|[start, end]| end - start + 1.0).collect();
    let centres: Vec<f32> = table.iter().map(|[start, end]| (end + start) / 2.0).collect();
    let lengths = g.floats("anchor lengths", &[lengths.len()], &lengths);
    let centres = g.floats("anchor centres", &[centres.len()], &centres);
    let [by_shift, by_growth, most] = [WEIGHTS.0, WEIGHTS.1, MOST_RATIO.ln()].map(|value| g.float(value as f32));
    let shift = column(g, codes, 0);
    let shift = g.op("Div", &[&shift, &by_shift], &[]);
    let shift = g.op("Mul", &[&shift, &lengths], &[]);
    let centre = g.op("Add", &[&shift, &centres], &[]);
    let growth = column(g, codes, 1);
    let growth = g.op("Div", &[&growth, &by_growth], &[]);
    let growth = g.op("Min", &[&growth, &most], &[]);
    let ratio = g.op("Exp", &[&growth], &[]);
    let length = g.op("Mul", &[&ratio, &lengths], &[]);
    let (one, half) = (g.float(1.0), g.float(0.5));
    let reach = g.op("Sub", &[&length, &one], &[]);
    let reach = g.op("Mul", &[&reach, &half], &[]);
    let (start, end) = (g.op("Sub", &[&centre, &reach], &[]), g.op("Add", &[&centre, &reach], &[]));
    joined(g, [&start, &end])
}

/// Boxes with their ends moved (`BoundaryAdjust`).
fn adjusted(g: &mut Graph, settings: &Settings, boxes: &Value, finest: &Value) -> Value {
    let last = settings.length - 1;
    let cells = transpose(g, finest, &[0, 2, 1]);
    let (least, most) = (g.float(0.0), g.float(last as f32));
    let within = g.op("Clip", &[boxes, &least, &most], &[]);
    let (start, end) = (column(g, &within, 0), column(g, &within, 1));
    let (one, fraction) = (g.float(1.0), g.float(FRACTION as f32));
    let step = g.op("Sub", &[&end, &start], &[]);
    let step = g.op("Add", &[&step, &one], &[]);
    let step = g.op("Div", &[&step, &fraction], &[]);
    let [start, end] = [("start", start), ("end", end)].map(|(name, place)| {
        let (before, behind) = (g.op("Sub", &[&place, &step], &[]), g.op("Add", &[&place, &step], &[]));
        end_shift(g, &format!("bd_adjust.{name}_conv"), settings, &cells, [&before, &place, &behind])
    });
    let shifts = joined(g, [&start, &end]);
    g.op("Add", &[boxes, &shifts], &[])
}

/// How far an end moves, `[B, A]`, by the cells `[B, T, C]` at three places `[B, A]`.
fn end_shift(g: &mut Graph, key: &str, settings: &Settings, cells: &Value, places: [&Value; 3]) -> Value {
    let width = settings.embed_dim;
    // [inputs, taps, outputs].
    let weights = g.weight(Weight::plain(&format!("{key}.0.weight")).transposed());
    let weights = reshape(g, &weights, &[width, 3, width]);
    let (least, most) = (g.int(0), g.int(settings.length - 1));
    let mut read = g.weight(Weight::plain(&format!("{key}.0.bias")));
    for (tap, place) in (0..).zip(places) {
        let matrix = slice(g, &weights, 1, tap..tap + 1);
        let matrix = squeeze(g, &matrix, 1);
        let weighted = g.op("MatMul", &[cells, &matrix], &[]);
        // Cut off towards zero, as libtorch does.
        let cell = g.op("Cast", &[place], &[("to", Attribute::Int(DataType::Int64 as i64))]);
        let cell = g.op("Clip", &[&cell, &least, &most], &[]);
        let cell = unsqueeze(g, &cell, 2);
        let found = g.op("GatherND", &[&weighted, &cell], &[("batch_dims", Attribute::Int(1))]);
        read = g.op("Add", &[&found, &read], &[]);
    }
    let hidden = relu(g, &read);
    let out = linear(g, &format!("{key}.2"), &hidden);
    squeeze(g, &out, 2)
}

/// How likely something is, cell by cell, `[B, T]`.
fn curve(g: &mut Graph, key: &str, finest: &Value) -> Value {
    let hidden = conv3(g, &format!("{key}.0"), finest);
    let hidden = relu(g, &hidden);
    let out = conv(g, &format!("{key}.2"), &hidden, Shape { stride: 1, padding: 0 });
    let out = squeeze(g, &out, 1);
    g.op("Sigmoid", &[&out], &[])
}
