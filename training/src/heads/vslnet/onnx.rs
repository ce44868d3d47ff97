//! VSLNet as a graph, by the names of its weights: what [`Vslnet`](super::Vslnet) computes when it is evaluated.
//!
//! Not for spans, which `egofx::heads::vslnet` makes of the probabilities. Layers are those of the original code (26hzhang/VSLNet,
//! `model/layers.py`; the small head and its quirk are EgoVLPv2's, `EgoNLQ/model`); the probes have the names of
//! [`Stages`](super::Stages). Invariant: video and query may have any length that the table of positions has.

use egofx::compat::Compat;
use egofx::export::layers::{attention, concat, layer_norm, linear, slice, transpose};
use egofx::export::onnx::{Attribute, DataType};
use egofx::export::{Graph, Value, Weight, dims};

use super::encoder::BLOCKS;
use super::layers::{KERNEL, NORM_EPS, PADDED};
use super::settings::{Dims, PredictorKind, Settings};

/// Writes the graph: `video` `[B, L, D]` and `query` `[B, Q, E]` with their masks, to the probabilities `start` and `end`
/// `[B, L]`.
pub(super) fn build(g: &mut Graph, widths: Dims, settings: &Settings, compat: Compat) {
    let (video, video_mask) = input(g, "video", "L", widths.video);
    let (query, query_mask) = input(g, "query", "Q", widths.query);
    let video = linear(g, "video_affine.linear.conv1d", &video);
    let query = linear(g, "query_affine", &query);
    g.probe("video_affine", &video, 3);
    g.probe("query_affine", &query, 3);
    let query = encoder(g, "feature_encoder", settings, &query, &query_mask);
    let encoded = encoder(g, "feature_encoder", settings, &video, &video_mask);
    g.probe("video_encoded", &encoded, 3);
    g.probe("query_encoded", &query, 3);
    let attended = match settings.small {
        true => encoded.clone(),
        false => cq_attention(g, [&encoded, &query], [&video_mask, &query_mask]),
    };
    g.probe("cq_attention", &attended, 3);
    let joined = cq_concat(g, &attended, &query, &query_mask);
    g.probe("cq_concat", &joined, 3);
    let gated = gated(g, &joined, &video_mask);
    g.probe("gated", &gated, 3);
    // EgoVLPv2's small head overwrites what it predicted from the gated features.
    let predicted = if settings.small && compat == Compat::AsReleased { &encoded } else { &gated };
    let [start, end] = g.scope("predictor", |g| conditioner(g, settings, predicted, &video_mask));
    for (name, features) in [("start", &start), ("end", &end)] {
        let logits = end_block(g, &format!("predictor.{name}_block"), features, predicted, &video_mask);
        g.probe(&format!("{name}_logits"), &logits, 2);
        let probabilities = softmax(g, &logits, 1);
        g.output(name, &probabilities, &dims(&["B", "L"], &[]));
    }
}

/// A mask in the forms that layers take.
struct Mask {
    /// `[B, L]`, 1 at positions that are there and 0 at padding.
    valid: Value,
    /// `[B, L]`, 0 at positions that are there and -1e30 at padding (`mask_logits` of the original).
    bias: Value,
}

fn input(g: &mut Graph, name: &str, length: &str, width: i64) -> (Value, Mask) {
    let values = g.input(name, DataType::Float, &dims(&["B", length], &[width as usize]));
    let mask = g.input(&format!("{name}_mask"), DataType::Int64, &dims(&["B", length], &[]));
    let valid = g.op("Cast", &[&mask], &[("to", Attribute::Int(DataType::Float as i64))]);
    let (one, padded) = (g.float(1.0), g.float(PADDED as f32));
    let absent = g.op("Sub", &[&one, &valid], &[]);
    let bias = g.op("Mul", &[&absent, &padded], &[]);
    (values, Mask { valid, bias })
}

fn softmax(g: &mut Graph, x: &Value, axis: i64) -> Value {
    g.op("Softmax", &[x], &[("axis", Attribute::Int(axis))])
}

fn unsqueeze(g: &mut Graph, x: &Value, axes: &[i64]) -> Value {
    let axes = g.ints(axes);
    g.op("Unsqueeze", &[x, &axes], &[])
}

fn squeeze(g: &mut Graph, x: &Value, axis: i64) -> Value {
    let axes = g.ints(&[axis]);
    g.op("Squeeze", &[x, &axes], &[])
}

/// `FeatureEncoder`: positions, convolution blocks, one attention block.
fn encoder(g: &mut Graph, key: &str, settings: &Settings, x: &Value, mask: &Mask) -> Value {
    g.scope(key, |g| {
        let table = g.weight(Weight::plain(&format!("{key}.pos_embedding.position_embeddings.weight")));
        let shape = g.op("Shape", &[x], &[("start", Attribute::Int(1)), ("end", Attribute::Int(2))]);
        let (zero, axis) = (g.ints(&[0]), g.ints(&[0]));
        let positions = g.op("Slice", &[&table, &zero, &shape, &axis], &[]);
        let positioned = g.op("Add", &[x, &positions], &[]);
        let block = |g: &mut Graph, x, block| conv_block(g, &format!("{key}.conv_block"), block, settings, &x);
        let convolved = (0..BLOCKS).fold(positioned, |x, number| block(g, x, number));
        attention_block(g, &format!("{key}.attention_block"), settings, &convolved, mask)
    })
}

/// A layer of `DepthwiseSeparableConvBlock`.
fn conv_block(g: &mut Graph, key: &str, block: i64, settings: &Settings, x: &Value) -> Value {
    let convolutions = format!("{key}.depthwise_separable_conv.{block}");
    let normed = layer_norm(g, &format!("{key}.layer_norms.{block}"), NORM_EPS, x);
    let channels_first = transpose(g, &normed, &[0, 2, 1]);
    let weight = g.weight(Weight::plain(&format!("{convolutions}.0.weight")));
    let pads = Attribute::Ints(vec![KERNEL / 2, KERNEL / 2]);
    let group = Attribute::Int(settings.embed_dim);
    let depthwise = g.op("Conv", &[&channels_first, &weight], &[("group", group), ("pads", pads)]);
    let depthwise = transpose(g, &depthwise, &[0, 2, 1]);
    let pointwise = linear(g, &format!("{convolutions}.1"), &depthwise);
    let out = g.op("Relu", &[&pointwise], &[]);
    g.op("Add", &[x, &out], &[])
}

/// `MultiHeadAttentionBlock`, which projects the joined heads behind the first residual only.
fn attention_block(g: &mut Graph, key: &str, settings: &Settings, x: &Value, mask: &Mask) -> Value {
    let normed = layer_norm(g, &format!("{key}.layer_norm1"), NORM_EPS, x);
    let [q, k, v] = ["query", "key", "value"].map(|name| linear(g, &format!("{key}.{name}.conv1d"), &normed));
    let bias = unsqueeze(g, &mask.bias, &[1, 2]);
    let (num_heads, head_dim) = (settings.num_heads as usize, (settings.embed_dim / settings.num_heads) as usize);
    let attended = attention(g, [&q, &k, &v], num_heads, head_dim, Some(&bias));
    let residual = g.op("Add", &[x, &attended], &[]);
    let normed = layer_norm(g, &format!("{key}.layer_norm2"), NORM_EPS, &residual);
    let out = linear(g, &format!("{key}.out_layer.conv1d"), &normed);
    g.op("Add", &[&residual, &out], &[])
}

/// `CQAttention`.
fn cq_attention(g: &mut Graph, [video, query]: [&Value; 2], masks: [&Mask; 2]) -> Value {
    g.scope("cq_attention", |g| {
        let scores = trilinear(g, video, query);
        let [of_video, of_query] = [unsqueeze(g, &masks[0].bias, &[2]), unsqueeze(g, &masks[1].bias, &[1])];
        let over_query = g.op("Add", &[&scores, &of_query], &[]);
        let over_query = softmax(g, &over_query, 2);
        let over_video = g.op("Add", &[&scores, &of_video], &[]);
        let over_video = softmax(g, &over_video, 1);
        let to_query = g.op("MatMul", &[&over_query, query], &[]);
        let turned = transpose(g, &over_video, &[0, 2, 1]);
        let to_video = g.op("MatMul", &[&turned, video], &[]);
        let to_video = g.op("MatMul", &[&over_query, &to_video], &[]);
        let by_query = g.op("Mul", &[video, &to_query], &[]);
        let by_video = g.op("Mul", &[video, &to_video], &[]);
        let parts = concat(g, 2, &[video, &to_query, &by_query, &by_video]);
        linear(g, "cq_attention.cqa_linear.conv1d", &parts)
    })
}

/// `CQAttention.trilinear_attention`, `[B, L, Q]`.
fn trilinear(g: &mut Graph, video: &Value, query: &Value) -> Value {
    let weights = ["w4mlu", "w4C", "w4Q"].map(|name| g.weight(Weight::plain(&format!("cq_attention.{name}"))));
    let weighted = g.op("Mul", &[query, &weights[0]], &[]);
    let weighted = transpose(g, &weighted, &[0, 2, 1]);
    let both = g.op("MatMul", &[video, &weighted], &[]);
    let of_video = g.op("MatMul", &[video, &weights[1]], &[]);
    let of_query = g.op("MatMul", &[query, &weights[2]], &[]);
    let of_query = transpose(g, &of_query, &[0, 2, 1]);
    let sum = g.op("Add", &[&both, &of_video], &[]);
    g.op("Add", &[&sum, &of_query], &[])
}

/// `CQConcatenate` with its `WeightedPool`.
fn cq_concat(g: &mut Graph, video: &Value, query: &Value, mask: &Mask) -> Value {
    g.scope("cq_concat", |g| {
        let pool = g.weight(Weight::plain("cq_concat.weighted_pool.weight"));
        let scores = g.op("MatMul", &[query, &pool], &[]);
        let bias = unsqueeze(g, &mask.bias, &[2]);
        let scores = g.op("Add", &[&scores, &bias], &[]);
        let weights = softmax(g, &scores, 1);
        let weights = transpose(g, &weights, &[0, 2, 1]);
        let pooled = g.op("MatMul", &[&weights, query], &[]);
        let shape = g.op("Shape", &[video], &[]);
        let pooled = g.op("Expand", &[&pooled, &shape], &[]);
        let joined = concat(g, 2, &[video, &pooled]);
        linear(g, "cq_concat.conv1d.conv1d", &joined)
    })
}

/// `HighLightLayer`, and the features by its scores.
fn gated(g: &mut Graph, joined: &Value, mask: &Mask) -> Value {
    let logits = linear(g, "highlight_layer.conv1d.conv1d", joined);
    let bias = unsqueeze(g, &mask.bias, &[2]);
    let logits = g.op("Add", &[&logits, &bias], &[]);
    let highlights = g.op("Sigmoid", &[&logits], &[]);
    let flat = squeeze(g, &highlights, 2);
    g.probe("highlights", &flat, 2);
    g.op("Mul", &[joined, &highlights], &[])
}

/// Features of start and end (`ConditionedPredictor`).
fn conditioner(g: &mut Graph, settings: &Settings, x: &Value, mask: &Mask) -> [Value; 2] {
    match settings.predictor {
        PredictorKind::Transformer => {
            let start = encoder(g, "predictor.encoder", settings, x, mask);
            let end = encoder(g, "predictor.encoder", settings, &start, mask);
            [("start", start), ("end", end)]
                .map(|(name, x)| layer_norm(g, &format!("predictor.{name}_layer_norm"), NORM_EPS, &x))
        }
        PredictorKind::Rnn => {
            let valid = unsqueeze(g, &mask.valid, &[2]);
            let start = lstm(g, "predictor.start_encoder.lstm", settings.embed_dim, x);
            let start = g.op("Mul", &[&start, &valid], &[]);
            let end = lstm(g, "predictor.end_encoder.lstm", settings.embed_dim, &start);
            [start, g.op("Mul", &[&end, &valid], &[])]
        }
    }
}

/// `nn.LSTM` of one layer and direction. PyTorch's gates are input, forget, cell, output; ONNX's input, output, forget, cell.
fn lstm(g: &mut Graph, key: &str, width: i64, x: &Value) -> Value {
    let size = width as usize;
    let mut gates = |kind: &str| {
        let key = format!("{key}.{kind}_l0");
        [0, 3, 1, 2].map(|gate| g.weight(Weight::plain(&key).rows(Some(gate * size..(gate + 1) * size))))
    };
    let [input, state] = ["weight_ih", "weight_hh"].map(&mut gates);
    let [of_input, of_state] = ["bias_ih", "bias_hh"].map(&mut gates);
    let all = |g: &mut Graph, parts: &[&Value]| {
        let joined = concat(g, 0, parts);
        unsqueeze(g, &joined, &[0])
    };
    let [input, state] = [&input, &state].map(|gates| all(g, &gates.each_ref()));
    let biases: Vec<&Value> = of_input.iter().chain(&of_state).collect();
    let biases = all(g, &biases);
    // [L, B, C], and the output [L, 1, B, C].
    let steps = transpose(g, x, &[1, 0, 2]);
    let out = g.op("LSTM", &[&steps, &input, &state, &biases], &[("hidden_size", Attribute::Int(width))]);
    let one = slice(g, &out, 1, 0..1);
    let out = squeeze(g, &one, 1);
    transpose(g, &out, &[1, 0, 2])
}

/// Logits of an end, of its features and those of the video.
fn end_block(g: &mut Graph, key: &str, end: &Value, x: &Value, mask: &Mask) -> Value {
    let joined = concat(g, 2, &[end, x]);
    let hidden = linear(g, &format!("{key}.0.conv1d"), &joined);
    let hidden = g.op("Relu", &[&hidden], &[]);
    let logits = linear(g, &format!("{key}.2.conv1d"), &hidden);
    let logits = squeeze(g, &logits, 2);
    g.op("Add", &[&logits, &mask.bias], &[])
}
