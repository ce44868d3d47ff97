//! Layers that all towers share: linear maps, norms, masks and attention over heads.
//!
//! Not for any one model. Invariant: a layer's weights are named as in the checkpoint, and its arithmetic is that of
//! the original PyTorch module.

use std::ops::Range;

use super::batch_norm::BatchNorm;
use super::graph::{Graph, Value};
use super::onnx::Attribute;
use super::weights::Weight;
use crate::arch::Activation;
use crate::backbone::GraphPrecision;

/// `x W^T + b`: PyTorch's `Linear` named `key`, its matrix stored transposed.
pub fn linear(g: &mut Graph, key: &str, x: &Value) -> Value {
    linear_rows(g, &format!("{key}.weight"), Some(&format!("{key}.bias")), None, x)
}

/// [`linear`] without a bias.
pub fn linear_no_bias(g: &mut Graph, key: &str, x: &Value) -> Value {
    linear_rows(g, &format!("{key}.weight"), None, None, x)
}

/// The part of a [`linear`] map that gives the outputs `rows`.
pub fn linear_rows_of(g: &mut Graph, key: &str, rows: Range<usize>, x: &Value) -> Value {
    linear_rows(g, &format!("{key}.weight"), Some(&format!("{key}.bias")), Some(rows), x)
}

/// The same where the names of matrix and bias are not those of a `Linear`.
pub fn packed_rows_of(g: &mut Graph, [weight, bias]: [&str; 2], rows: Range<usize>, x: &Value) -> Value {
    linear_rows(g, weight, Some(bias), Some(rows), x)
}

/// `x M`: a matrix named `key` that is used as it is stored.
pub fn times(g: &mut Graph, key: &str, x: &Value) -> Value {
    let matrix = g.weight(Weight::plain(key));
    g.op("MatMul", &[x, &matrix], &[])
}

fn linear_rows(g: &mut Graph, weight: &str, bias: Option<&str>, rows: Option<Range<usize>>, x: &Value) -> Value {
    let matrix = Weight::plain(weight).rows(rows.clone());
    let product = match g.variant.precision {
        GraphPrecision::Int8 => {
            let (x, matrix) = (g.quantized(x), g.dequantized(matrix));
            g.op("MatMul", &[&x, &matrix], &[])
        }
        GraphPrecision::Fp32 | GraphPrecision::Fp16 => {
            let matrix = g.weight(matrix.transposed());
            g.op("MatMul", &[x, &matrix], &[])
        }
    };
    let Some(bias) = bias else { return product };
    let bias = g.weight(Weight::plain(bias).rows(rows));
    g.op("Add", &[&product, &bias], &[])
}

/// PyTorch's `LayerNorm` over the last axis, named `key`.
pub fn layer_norm(g: &mut Graph, key: &str, eps: f64, x: &Value) -> Value {
    let weight = g.weight(Weight::plain(&format!("{key}.weight")));
    let bias = g.weight(Weight::plain(&format!("{key}.bias")));
    g.op(
        "LayerNormalization",
        &[x, &weight, &bias],
        &[("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(eps as f32))],
    )
}

/// A convolution over frames, height and width of `x` `[B, in, F, H, W]`, padded by half its kernel, with the batch norm
/// behind it folded in.
pub fn conv_norm(
    g: &mut Graph,
    conv: &str,
    norm: &BatchNorm,
    kernel: [usize; 3],
    stride: [usize; 3],
    x: &Value,
) -> Value {
    let (filters, bias) = (Weight::filters(conv, norm), g.weight(Weight::folded_bias(norm)));
    let (x, filters) = match g.variant.precision {
        GraphPrecision::Int8 => (g.quantized(x), g.dequantized_filters(filters)),
        GraphPrecision::Fp32 | GraphPrecision::Fp16 => (x.clone(), g.weight(filters)),
    };
    g.op("Conv", &[&x, &filters, &bias], &conv_attributes(kernel, stride))
}

/// What a convolution that is padded by half its kernel is told.
pub fn conv_attributes(kernel: [usize; 3], stride: [usize; 3]) -> [(&'static str, Attribute); 3] {
    let ints = |values: &[usize]| Attribute::Ints(values.iter().map(|&n| n as i64).collect());
    let pads = kernel.map(|n| n / 2);
    [("kernel_shape", ints(&kernel)), ("strides", ints(&stride)), ("pads", ints(&[pads, pads].concat()))]
}

/// `x` behind an activation.
pub fn activated(g: &mut Graph, activation: Activation, x: &Value) -> Value {
    match activation {
        Activation::Gelu => g.op("Gelu", &[x], &[]),
        Activation::QuickGelu => {
            let factor = g.float(1.702);
            let scaled = g.op("Mul", &[x, &factor], &[]);
            let gate = g.op("Sigmoid", &[&scaled], &[]);
            g.op("Mul", &[x, &gate], &[])
        }
    }
}

/// Two linear maps with the exact (erf) GELU between.
pub fn mlp(g: &mut Graph, first: &str, second: &str, x: &Value) -> Value {
    let hidden = linear(g, first, x);
    let hidden = g.op("Gelu", &[&hidden], &[]);
    linear(g, second, &hidden)
}

/// `x[:, from..to]`, along `axis`.
pub fn slice(g: &mut Graph, x: &Value, axis: i64, range: Range<i64>) -> Value {
    let (from, to, axis) = (g.ints(&[range.start]), g.ints(&[range.end]), g.ints(&[axis]));
    g.op("Slice", &[x, &from, &to, &axis], &[])
}

/// `x` in another shape: 0 keeps a dimension, -1 is what is left.
pub fn reshape(g: &mut Graph, x: &Value, shape: &[i64]) -> Value {
    let shape = g.ints(shape);
    g.op("Reshape", &[x, &shape], &[])
}

/// `x` with its axes in another order.
pub fn transpose(g: &mut Graph, x: &Value, order: &[i64]) -> Value {
    g.op("Transpose", &[x], &[("perm", Attribute::Ints(order.to_vec()))])
}

/// `a` and `b` side by side along `axis`.
pub fn concat(g: &mut Graph, axis: i64, parts: &[&Value]) -> Value {
    g.op("Concat", parts, &[("axis", Attribute::Int(axis))])
}

/// `softmax(q k^T / sqrt(head_dim) + mask) v` in each head (Vaswani et al., 2017, equation 1): `[B, N, num_heads *
/// head_dim]` of `q`, of the same shape, and `k` and `v` `[B, M, num_heads * head_dim]`. `mask` is broadcast over `[B,
/// num_heads, N, M]`.
pub fn attention(
    g: &mut Graph,
    [q, k, v]: [&Value; 3],
    num_heads: usize,
    head_dim: usize,
    mask: Option<&Value>,
) -> Value {
    let scale = g.float((head_dim as f32).powf(-0.5));
    let q = g.op("Mul", &[q, &scale], &[]);
    let [q, k, v] = [&q, k, v].map(|x| reshape(g, x, &[0, 0, num_heads as i64, head_dim as i64]));
    let q = transpose(g, &q, &[0, 2, 1, 3]);
    let (k, v) = (transpose(g, &k, &[0, 2, 3, 1]), transpose(g, &v, &[0, 2, 1, 3]));
    let scores = g.op("MatMul", &[&q, &k], &[]);
    let scores = mask.map_or(scores.clone(), |mask| g.op("Add", &[&scores, mask], &[]));
    let attn_weights = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
    let context = g.op("MatMul", &[&attn_weights, &v], &[]);
    let context = transpose(g, &context, &[0, 2, 1, 3]);
    reshape(g, &context, &[0, 0, (num_heads * head_dim) as i64])
}

/// What is added to scores so that padding has no weight: `[B, 1, 1, L]` of a mask `[B, L]` that is 1 on tokens and 0
/// on padding.
pub fn additive_mask(g: &mut Graph, mask: &Value) -> Value {
    let mask = g.op("Cast", &[mask], &[("to", Attribute::Int(g.float_type() as i64))]);
    let (one, lowest) = (g.float(1.0), g.lowest());
    let padding = g.op("Sub", &[&one, &mask], &[]);
    let bias = g.op("Mul", &[&padding, &lowest], &[]);
    let axes = g.ints(&[1, 2]);
    g.op("Unsqueeze", &[&bias, &axes], &[])
}

/// Rows `ids` of the table named `key`.
pub fn lookup(g: &mut Graph, key: &str, ids: &Value) -> Value {
    let table = g.weight(Weight::plain(key));
    g.op("Gather", &[&table, ids], &[])
}

/// The first token of `[B, L, D]`: `[B, D]`.
pub fn first(g: &mut Graph, x: &Value) -> Value {
    let one = slice(g, x, 1, 0..1);
    let axis = g.ints(&[1]);
    g.op("Squeeze", &[&one, &axis], &[])
}
