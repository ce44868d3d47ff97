//! ActionFormer as a graph, by the names of its weights: what [`ActionFormer`](super::ActionFormer) computes when it is evaluated.
//!
//! After the authors' code (happyharrycn/actionformer_release, `libs/modeling/{blocks,backbones,necks,meta_archs}.py`). Not for
//! proposals, which `egofx::heads::actionformer` makes. Values are `[B, C, T]`, masks `[B, 1, T]` floats of 0 and 1. Invariant: T
//! may be any multiple of [`Settings::length_multiple`].

use std::ops::Range;

use egofx::export::layers::{concat, reshape, slice, transpose};
use egofx::export::onnx::{Attribute, DataType};
use egofx::export::{Graph, Value, Weight, dims};
use tch::{Device, Tensor};

use super::layers::{NORM_EPS, outer_eps};
use super::points::positions;
use super::settings::Settings;
use crate::nn::EXCLUDED;

/// Writes the graph: `features` `[B, D, T]` and their `mask` `[B, T]` to `probabilities` `[B, P, classes]` and `offsets`
/// `[B, P, 2]` of the points of all levels, finest first.
pub(super) fn build(g: &mut Graph, input_dim: usize, settings: &Settings) {
    let mut shape = dims(&["B"], &[input_dim]);
    shape.extend(dims(&["T"], &[]));
    let features = g.input("features", DataType::Float, &shape);
    let mask = g.input("mask", DataType::Int64, &dims(&["B", "T"], &[]));
    let mask = g.op("Cast", &[&mask], &[("to", Attribute::Int(DataType::Float as i64))]);
    let axis = g.ints(&[1]);
    let mask = g.op("Unsqueeze", &[&mask, &axis], &[]);
    let embedding = (["backbone.embd", "backbone.embd_norm"], settings.embedding_layers);
    let embedded = tower(g, settings, embedding, &features, &mask);
    let positions = positions_at(g, settings, &features);
    let positions = g.op("Mul", &[&positions, &mask], &[]);
    let mut state = (g.op("Add", &[&embedded, &positions], &[]), mask);
    for index in 0..settings.stem_blocks {
        state = block(g, &format!("backbone.stem.{index}"), settings, 0, &state);
    }
    let mut levels = vec![state];
    for index in 0..settings.branch_blocks {
        let next = block(g, &format!("backbone.branch.{index}"), settings, levels.len(), &levels[levels.len() - 1]);
        levels.push(next);
    }
    let (mut probabilities, mut offsets) = (vec![], vec![]);
    for (index, (x, mask)) in levels.iter().enumerate() {
        let x = channel_norm(g, &format!("neck.fpn_norms.{index}"), x, outer_eps(settings));
        g.probe(&format!("level{index}"), &x, 3);
        let [likely, distances] = level(g, settings, index, &x, mask);
        probabilities.push(likely);
        offsets.push(distances);
    }
    for (name, parts, width) in [("probabilities", probabilities, settings.classes as usize), ("offsets", offsets, 2)] {
        let joined = concat(g, 1, &parts.iter().collect::<Vec<_>>());
        g.output(name, &joined, &dims(&["B", "P"], &[width]));
    }
}

/// The heads at one level (`PtTransformerClsHead`, `PtTransformerRegHead`): probabilities `[B, T, classes]`, 0 outside of the
/// clip, and offsets `[B, T, 2]`.
fn level(g: &mut Graph, settings: &Settings, index: usize, x: &Value, mask: &Value) -> [Value; 2] {
    let hidden = tower(g, settings, (["cls_head.head", "cls_head.norm"], settings.head_layers - 1), x, mask);
    let logits = masked_conv(g, "cls_head.cls_head", &hidden, mask, Shape::BIASED);
    let likely = g.op("Sigmoid", &[&logits], &[]);
    let likely = g.op("Mul", &[&likely, mask], &[]);
    let hidden = tower(g, settings, (["reg_head.head", "reg_head.norm"], settings.head_layers - 1), x, mask);
    let distances = masked_conv(g, "reg_head.offset_head", &hidden, mask, Shape::BIASED);
    let scale = g.weight(Weight::plain(&format!("reg_head.scale.{index}.scale")));
    let distances = g.op("Mul", &[&distances, &scale], &[]);
    let distances = g.op("Relu", &[&distances], &[]);
    [likely, distances].map(|x| transpose(g, &x, &[0, 2, 1]))
}

/// The table of positions `[1, C, T]`, stretched where the clip is longer than it (linear, corners not aligned).
fn positions_at(g: &mut Graph, settings: &Settings, features: &Value) -> Value {
    let (width, length) = (settings.embed_dim as usize, settings.max_length as usize);
    let table: Tensor = positions(settings.max_length, settings.embed_dim, Device::Cpu);
    let mut values = vec![0.0; width * length];
    table.contiguous().copy_data(&mut values, width * length);
    let table = g.floats("positions", &[width, length], &values);
    let steps = g.op("Shape", &[features], &[("start", Attribute::Int(2)), ("end", Attribute::Int(3))]);
    let (most, channels) = (g.ints(&[settings.max_length]), g.ints(&[settings.embed_dim]));
    let most = g.op("Max", &[&steps, &most], &[]);
    let sizes = concat(g, 0, &[&channels, &most]);
    let stretched = g.op(
        "Resize",
        &[&table, &Value::absent(), &Value::absent(), &sizes],
        &[("mode", Attribute::Text("linear")), ("coordinate_transformation_mode", Attribute::Text("half_pixel"))],
    );
    let (zero, axis) = (g.ints(&[0]), g.ints(&[1]));
    let cut = g.op("Slice", &[&stretched, &zero, &steps, &axis], &[]);
    let axis = g.ints(&[0]);
    g.op("Unsqueeze", &[&cut, &axis], &[])
}

/// What a convolution has besides its weight.
#[derive(Clone, Copy)]
struct Shape {
    stride: i64,
    group: i64,
    has_bias: bool,
}

impl Shape {
    const PLAIN: Self = Self { stride: 1, group: 1, has_bias: false };
    const BIASED: Self = Self { has_bias: true, ..Self::PLAIN };
}

/// `MaskedConv1D` of three steps.
fn masked_conv(g: &mut Graph, key: &str, x: &Value, mask: &Value, shape: Shape) -> Value {
    let out = conv(g, &format!("{key}.conv"), x, 1, shape);
    g.op("Mul", &[&out, mask], &[])
}

/// `nn.Conv1d` with so many zeros at each end.
fn conv(g: &mut Graph, key: &str, x: &Value, padding: i64, shape: Shape) -> Value {
    let Shape { stride, group, has_bias } = shape;
    let mut inputs = vec![x.clone(), g.weight(Weight::plain(&format!("{key}.weight")))];
    if has_bias {
        inputs.push(g.weight(Weight::plain(&format!("{key}.bias"))));
    }
    let attributes = [
        ("strides", Attribute::Ints(vec![stride])),
        ("pads", Attribute::Ints(vec![padding, padding])),
        ("group", Attribute::Int(group)),
    ];
    g.op("Conv", &inputs.iter().collect::<Vec<_>>(), &attributes)
}

/// One step wide, with a bias.
fn point(g: &mut Graph, key: &str, x: &Value) -> Value {
    conv(g, key, x, 0, Shape::BIASED)
}

/// `LayerNorm` over channels.
fn channel_norm(g: &mut Graph, key: &str, x: &Value, eps: f64) -> Value {
    let axis = g.ints(&[1]);
    let mean = g.op("ReduceMean", &[x, &axis], &[]);
    let centred = g.op("Sub", &[x, &mean], &[]);
    let squares = g.op("Mul", &[&centred, &centred], &[]);
    let variance = g.op("ReduceMean", &[&squares, &axis], &[]);
    let eps = g.float(eps as f32);
    let variance = g.op("Add", &[&variance, &eps], &[]);
    let deviation = g.op("Sqrt", &[&variance], &[]);
    let normed = g.op("Div", &[&centred, &deviation], &[]);
    let [weight, bias] = ["weight", "bias"].map(|name| g.weight(Weight::plain(&format!("{key}.{name}"))));
    let scaled = g.op("Mul", &[&normed, &weight], &[]);
    g.op("Add", &[&scaled, &bias], &[])
}

/// So many masked convolutions, each with norm and ReLU.
fn tower(
    g: &mut Graph,
    settings: &Settings,
    ([convs, norms], layers): ([&str; 2], i64),
    x: &Value,
    mask: &Value,
) -> Value {
    (0..layers).fold(x.clone(), |x, index| {
        let out = masked_conv(g, &format!("{convs}.{index}"), &x, mask, Shape::PLAIN);
        let normed = channel_norm(g, &format!("{norms}.{index}"), &out, outer_eps(settings));
        let hidden = g.op("Relu", &[&normed], &[]);
        if settings.variant.remask { g.op("Mul", &[&hidden, mask], &[]) } else { hidden }
    })
}

/// `TransformerBlock`, of the stem at level 0.
fn block(g: &mut Graph, key: &str, settings: &Settings, level: usize, (x, mask): &(Value, Value)) -> (Value, Value) {
    let stride = if level == 0 { 1 } else { 2 };
    g.scope(key, |g| {
        let mask = match stride {
            1 => mask.clone(),
            _ => {
                let [start, end, axis, steps] = [0, i64::MAX, 2, stride].map(|value| g.ints(&[value]));
                g.op("Slice", &[mask, &start, &end, &axis, &steps], &[])
            }
        };
        let normed = channel_norm(g, &format!("{key}.ln1"), x, NORM_EPS);
        let attended = attention(g, &format!("{key}.attn"), settings, level, &normed, &mask);
        let skip = if stride == 1 { x.clone() } else { pooled(g, x, stride) };
        let skip = g.op("Mul", &[&skip, &mask], &[]);
        let attended = dropped(g, &format!("{key}.drop_path_attn"), settings, &attended);
        let x = g.op("Add", &[&skip, &attended], &[]);
        let normed = channel_norm(g, &format!("{key}.ln2"), &x, NORM_EPS);
        let hidden = point(g, &format!("{key}.mlp.0"), &normed);
        let hidden = g.op("Gelu", &[&hidden], &[]);
        let mixed = point(g, &format!("{key}.mlp.3"), &hidden);
        let mixed = g.op("Mul", &[&mixed, &mask], &[]);
        let mixed = dropped(g, &format!("{key}.drop_path_mlp"), settings, &mixed);
        (g.op("Add", &[&x, &mixed], &[]), mask)
    })
}

fn pooled(g: &mut Graph, x: &Value, stride: i64) -> Value {
    let attributes = [
        ("kernel_shape", Attribute::Ints(vec![3])),
        ("strides", Attribute::Ints(vec![stride])),
        ("pads", Attribute::Ints(vec![1, 1])),
    ];
    g.op("MaxPool", &[x], &attributes)
}

/// `AffineDropPath`, which scales by channel when nothing is dropped; at a rate of 0 there is none.
fn dropped(g: &mut Graph, key: &str, settings: &Settings, x: &Value) -> Value {
    if settings.drop_path == 0.0 {
        return x.clone();
    }
    let scale = g.weight(Weight::plain(&format!("{key}.scale")));
    g.op("Mul", &[x, &scale], &[])
}

/// `LocalMaskedMHCA` or, over the whole clip, `MaskedMHCA`.
fn attention(g: &mut Graph, key: &str, settings: &Settings, level: usize, x: &Value, mask: &Value) -> Value {
    let (width, heads) = (settings.embed_dim, settings.num_heads);
    let head_dim = width / heads;
    let [q, k, v] = ["query", "key", "value"].map(|name| {
        let depthwise = Shape { stride: if level == 0 { 1 } else { 2 }, group: width, has_bias: false };
        let out = masked_conv(g, &format!("{key}.{name}_conv"), x, mask, depthwise);
        let normed = channel_norm(g, &format!("{key}.{name}_norm"), &out, NORM_EPS);
        let out = point(g, &format!("{key}.{name}"), &normed);
        reshape(g, &out, &[0, heads, head_dim, -1])
    });
    let scale = g.float((head_dim as f32).sqrt().recip());
    let q = g.op("Mul", &[&q, &scale], &[]);
    let context = match settings.window_at(level) {
        Some(window) => windowed(g, window - 1, [&q, &k, &v], mask),
        None => over_clip(g, [&q, &k, &v], mask),
    };
    let context = reshape(g, &context, &[0, width, -1]);
    let out = point(g, &format!("{key}.proj"), &context);
    g.op("Mul", &[&out, mask], &[])
}

/// Queries in blocks that meet only the keys that they can reach; see `attention`. All are `[B, heads, head_dim, T]`.
fn windowed(g: &mut Graph, block: i64, [q, k, v]: [&Value; 3], mask: &Value) -> Value {
    // [B, heads, blocks, block, head_dim] with keys and values [.., 2 block].
    let q = reshape(g, q, &[0, 0, 0, -1, block]);
    let q = transpose(g, &q, &[0, 1, 3, 4, 2]);
    let zero = g.float(0.0);
    let [k, v] = [(k, [0, 1, 3, 2, 4]), (v, [0, 1, 3, 4, 2])].map(|(x, order)| {
        let around = around(g, x, block, &zero);
        transpose(g, &around, &order)
    });
    let scores = g.op("MatMul", &[&q, &k], &[]);
    let band = band(g, block);
    let scores = g.op("Add", &[&scores, &band], &[]);
    let excluded = excluded(g, mask, block);
    let scores = g.op("Add", &[&scores, &excluded], &[]);
    let weights = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
    let context = g.op("MatMul", &[&weights, &v], &[]);
    transpose(g, &context, &[0, 1, 4, 2, 3])
}

/// All queries to all keys of the clip; shapes are those of [`windowed`].
fn over_clip(g: &mut Graph, [q, k, v]: [&Value; 3], mask: &Value) -> Value {
    let q = transpose(g, q, &[0, 1, 3, 2]);
    let scores = g.op("MatMul", &[&q, k], &[]);
    let (one, lowest, axis) = (g.float(1.0), g.lowest(), g.ints(&[1]));
    let absent = g.op("Sub", &[&one, mask], &[]);
    let excluded = g.op("Mul", &[&absent, &lowest], &[]);
    let excluded = g.op("Unsqueeze", &[&excluded, &axis], &[]);
    let scores = g.op("Add", &[&scores, &excluded], &[]);
    let weights = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
    let weights = transpose(g, &weights, &[0, 1, 3, 2]);
    g.op("MatMul", &[v, &weights], &[])
}

/// What is added to the scores of keys outside of the clip or beyond its ends, `[B, 1, blocks, 1, 2 block]`.
fn excluded(g: &mut Graph, mask: &Value, block: i64) -> Value {
    let (one, weight, lowest) = (g.float(1.0), g.float(EXCLUDED as f32), g.lowest());
    let absent = g.op("Sub", &[&one, mask], &[]);
    let excluded = g.op("Mul", &[&absent, &weight], &[]);
    let excluded = reshape(g, &excluded, &[0, 1, 1, -1]);
    let around = around(g, &excluded, block, &lowest);
    transpose(g, &around, &[0, 1, 3, 2, 4])
}

/// `[B, H, C, T]` in blocks with the half block before and behind each, `outside` beyond both ends: `[B, H, C, blocks, 2 block]`.
fn around(g: &mut Graph, x: &Value, block: i64, outside: &Value) -> Value {
    let radius = block / 2;
    let pads = g.ints(&[0, 0, 0, radius, 0, 0, 0, radius]);
    let padded = g.op("Pad", &[x, &pads, outside], &[]);
    let blocks = reshape(g, &padded, &[0, 0, 0, -1, block]);
    // -1 is the last block, which is left out.
    let all_but_last = Range { start: 0, end: -1 };
    let (first, second) = (slice(g, &blocks, 3, all_but_last), slice(g, &blocks, 3, 1..i64::MAX));
    concat(g, 4, &[&first, &second])
}

/// 0 where a key is at most half a window away from its query, the lowest number elsewhere: `[block, 2 block]`.
fn band(g: &mut Graph, block: i64) -> Value {
    let near = |query: i64, key: i64| (0..=block).contains(&(key - query));
    let value = |query, key| if near(query, key) { 0.0 } else { f32::MIN };
    let values: Vec<f32> = (0..block).flat_map(|query| (0..2 * block).map(move |key| value(query, key))).collect();
    g.floats("band", &[block as usize, 2 * block as usize], &values)
}
