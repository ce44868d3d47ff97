//! The summary head as a graph, by the names of its weights: what [`Summariser`](super::Summariser) computes when it is evaluated.
//!
//! After `QFVS/` of EgoVLPv2, whose encoder is `torch.nn.TransformerEncoder`. Segments are rows of a batch, whichever video they
//! are of.

use egofx::compat::Compat;
use egofx::export::layers::{attention, layer_norm, linear};
use egofx::export::onnx::{Attribute, DataType};
use egofx::export::{Graph, Value, Weight, dims};
use egofx::qfvs::SHOTS;

use super::encoder::{NORM_EPS, position_values};
use super::settings::Settings;

/// Writes the graph: `features` `[N, L, D]` of segments and their `mask` `[N, L]` to `scores` `[N, L]`, of which those of places
/// without a shot mean nothing.
pub(super) fn build(g: &mut Graph, settings: &Settings, compat: Compat) {
    let width = settings.embed_dim as usize;
    let features = g.input("features", DataType::Float, &dims(&["N", "L"], &[width]));
    let mask = g.input("mask", DataType::Int64, &dims(&["N", "L"], &[]));
    let table = position_values(SHOTS as i64, settings.embed_dim, compat);
    let table = g.floats("positions", &[SHOTS, width], &table);
    let length = g.op("Shape", &[&features], &[("start", Attribute::Int(1)), ("end", Attribute::Int(2))]);
    let (zero, axis) = (g.ints(&[0]), g.ints(&[0]));
    let positions = g.op("Slice", &[&table, &zero, &length, &axis], &[]);
    let bias = bias(g, &mask, compat);
    let start = g.op("Add", &[&features, &positions], &[]);
    let encoded = (0..settings.depth).fold(start, |x, number| layer(g, number, settings, &x, &bias));
    g.probe("encoded", &encoded, 3);
    let hidden = linear(g, "projector_1", &encoded);
    let hidden = g.op("Relu", &[&hidden], &[]);
    let scores = linear(g, "summ_head", &hidden);
    let last = g.ints(&[2]);
    let scores = g.op("Squeeze", &[&scores, &last], &[]);
    g.output("scores", &scores, &dims(&["N", "L"], &[]));
}

/// What is added to scores of attention, `[N, 1, 1, L]`. As released, 1 for places without a shot; fixed, what leaves them out,
/// but in segments that have no shot.
fn bias(g: &mut Graph, mask: &Value, compat: Compat) -> Value {
    let mask = g.op("Cast", &[mask], &[("to", Attribute::Int(DataType::Float as i64))]);
    let one = g.float(1.0);
    let absent = g.op("Sub", &[&one, &mask], &[]);
    let bias = match compat {
        Compat::AsReleased => absent,
        Compat::Fixed => {
            let (lowest, axis) = (g.lowest(), g.ints(&[1]));
            let has_shots = g.op("ReduceMax", &[&mask, &axis], &[]);
            let left_out = g.op("Mul", &[&absent, &has_shots], &[]);
            g.op("Mul", &[&left_out, &lowest], &[])
        }
    };
    let axes = g.ints(&[1, 2]);
    g.op("Unsqueeze", &[&bias, &axes], &[])
}

/// `torch.nn.TransformerEncoderLayer` with the norms behind its parts.
fn layer(g: &mut Graph, number: usize, settings: &Settings, x: &Value, bias: &Value) -> Value {
    let key = format!("transformer_encoder.layers.{number}");
    let (num_heads, head_dim) = (settings.num_heads as usize, (settings.embed_dim / settings.num_heads) as usize);
    g.scope(&format!("layer{number}"), |g| {
        let [q, k, v] = [0, 1, 2].map(|part| projected(g, &key, settings, part, x));
        let attended = attention(g, [&q, &k, &v], num_heads, head_dim, Some(bias));
        let attended = linear(g, &format!("{key}.self_attn.out_proj"), &attended);
        let sum = g.op("Add", &[x, &attended], &[]);
        let x = layer_norm(g, &format!("{key}.norm1"), NORM_EPS, &sum);
        let wide = linear(g, &format!("{key}.linear1"), &x);
        let wide = g.op("Relu", &[&wide], &[]);
        let narrow = linear(g, &format!("{key}.linear2"), &wide);
        let sum = g.op("Add", &[&x, &narrow], &[]);
        layer_norm(g, &format!("{key}.norm2"), NORM_EPS, &sum)
    })
}

/// Queries (0), keys (1) or values (2): `torch.nn.MultiheadAttention` keeps the three maps in one matrix.
fn projected(g: &mut Graph, key: &str, settings: &Settings, part: usize, x: &Value) -> Value {
    let width = settings.embed_dim as usize;
    let rows = Some(part * width..(part + 1) * width);
    let matrix = Weight::plain(&format!("{key}.self_attn.in_proj_weight")).rows(rows.clone()).transposed();
    let (matrix, bias) =
        (g.weight(matrix), g.weight(Weight::plain(&format!("{key}.self_attn.in_proj_bias")).rows(rows)));
    let product = g.op("MatMul", &[x, &matrix], &[]);
    g.op("Add", &[&product, &bias], &[])
}
