//! The forms that attention in groups could have in a graph: the measurement that chose the exported one.
//!
//! The exported form is cut out of the exported graph, so it cannot grow old here; the others are the same with one
//! operator in place of products and softmax. Not for whole models. Invariant: all forms give the same numbers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use egofx::export::onnx::{self, Attribute, DataType, Dim, GraphProto, ModelProto, NodeProto, TensorProto};
use prost::Message;
use serde_json::Value;

use super::model;
use super::peer::Peer;
use super::worker::Request;
use crate::support::{self, Fallible, Spread, cosine, inputs, row, show};

const ROUNDS: usize = 15;
const BATCH: i64 = 4;
const FRAMES: i64 = 4;
const PATCHES: i64 = 196;
const HEADS: i64 = 12;
const WIDTH: i64 = 768;

/// What makes a group, in the order in which a block attends.
#[derive(Clone, Copy)]
enum Axis {
    Time,
    Space,
}

/// An operator in place of the exported primitives: label, domain, name, and how it calls its count of heads.
type Operator = (&'static str, &'static str, &'static str, &'static [&'static str]);

const OPERATORS: &[Operator] = &[
    ("Attention (opset 23)", "", "Attention", &["q_num_heads", "kv_num_heads"]),
    ("MultiHeadAttention (com.microsoft)", "com.microsoft", "MultiHeadAttention", &["num_heads"]),
];

pub fn run() -> Fallible {
    let model = model::egovlp()?;
    let exported = ModelProto::decode(&*fs::read(model.folder.join(format!("{}.onnx", model::VIDEO)))?)?;
    let exported = exported.graph.ok_or("the exported file has no graph")?;
    // A form that it refuses is an answer, and no complaint.
    let (mut cpu, mut openvino) = (Peer::cpu()?, Peer::openvino(Stdio::null())?);
    support::head(&format!(
        "Attention in groups, {BATCH} windows of {FRAMES} frames: operators against the primitives"
    ));
    for (axis, name) in [(Axis::Time, "time"), (Axis::Space, "space")] {
        let primitives = cut(&exported, axis)?;
        let mut graphs = vec![("primitives", write(&format!("{name}_primitives"), &primitives)?)];
        for operator in OPERATORS {
            let graph = with(&primitives, axis, operator)?;
            graphs.push((operator.0, write(&format!("{name}_{}", operator.2), &graph)?));
        }
        compare(&mut cpu, name, &graphs)?;
        if let Some(openvino) = &mut openvino {
            for (label, graph) in &graphs {
                let taken = openvino.ask(&request(graph)?).is_ok();
                row(&format!("{name}, {label}: OpenVINO takes it whole"), if taken { "yes" } else { "no" }, "");
            }
        }
    }
    Ok(())
}

/// Times of all graphs over the first's.
fn compare(peer: &mut Peer, axis: &str, graphs: &[(&str, PathBuf)]) -> Fallible {
    let mut seconds = vec![Vec::new(); graphs.len()];
    let mut samples: Vec<Vec<f32>> = vec![Vec::new(); graphs.len()];
    for round in 0..=ROUNDS {
        for (i, (_, graph)) in graphs.iter().enumerate() {
            let mut answer = peer.ask(&request(graph)?)?;
            // The first is for warming up.
            seconds[i].extend(answer["seconds"].as_f64().filter(|_| round > 0));
            samples[i] = serde_json::from_value(answer["sample"].take())?;
        }
    }
    for (i, (label, _)) in graphs.iter().enumerate().skip(1) {
        let nearness = cosine(&samples[0], &samples[i]);
        if nearness.is_nan() || nearness < 0.99999 {
            return Err(format!("{axis}, {label}: not the same attention, cosine {nearness}").into());
        }
        let ratios: Spread = seconds[i].iter().zip(&seconds[0]).map(|(a, b)| a / b).collect();
        show(&format!("{axis}, {label}: cpu, time over that of the primitives"), &ratios, 3, "");
    }
    Ok(())
}

fn request(graph: &Path) -> serde_json::Result<Value> {
    let shape = [BATCH, 1 + FRAMES * PATCHES, 3 * WIDTH].map(|n| n as usize).to_vec();
    serde_json::to_value(Request::Numbers { graph: graph.to_owned(), shape })
}

fn write(name: &str, graph: &GraphProto) -> Fallible<PathBuf> {
    let folder = inputs::folder().join("attention");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.onnx"));
    let opset = if graph.node.iter().any(|node| node.op_type() == "Attention") { 23 } else { onnx::OPSET };
    let model = onnx::model(graph.clone(), &[("", opset), ("com.microsoft", 1)], &[]);
    fs::write(&path, model.encode_to_vec())?;
    Ok(path)
}

/// The first block's attention along `axis`: from `qkv` to what goes into the projection.
fn cut(exported: &GraphProto, axis: Axis) -> Fallible<GraphProto> {
    let mut splits = exported.node.iter().enumerate().filter(|(_, node)| node.op_type() == "Split");
    let (begin, split) = splits.nth(axis as usize).ok_or("the graph has no Split of q, k and v")?;
    let end = exported.node[begin..].iter().find(|node| node.op_type() == "Concat").ok_or("no Concat after Split")?;
    let (qkv, out) = (split.input[0].clone(), end.output[0].clone());
    let tokens = || Dim::Named("N".into());
    let shape = |width: i64| [Dim::Named("B".into()), tokens(), Dim::Fixed(width as u64)];
    let mut graph = GraphProto {
        name: Some("attention".into()),
        node: exported.node.clone(),
        initializer: exported.initializer.clone(),
        input: vec![onnx::value_info(&qkv, DataType::Float, &shape(3 * WIDTH))],
        output: vec![onnx::value_info(&out, DataType::Float, &shape(WIDTH))],
        ..Default::default()
    };
    // The tables of groups are made from the count of tokens, which `qkv` has too.
    for node in graph.node.iter_mut().filter(|node| node.op_type() == "Shape" && node.input[0] != "frames") {
        node.input = vec![qkv.clone()];
    }
    prune(&mut graph);
    Ok(graph)
}

/// Drops what the output does not need, and what makes the input.
fn prune(graph: &mut GraphProto) {
    let (input, output) = (graph.input[0].name().to_owned(), graph.output[0].name().to_owned());
    let mut needed = BTreeSet::from([output]);
    let mut kept: Vec<NodeProto> = Vec::new();
    for node in graph.node.drain(..).rev() {
        if node.output.iter().any(|name| needed.contains(name) && *name != input) {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|tensor| needed.contains(tensor.name()));
}

/// `primitives` with `operator` for the patches; groups become entries of the batch, as it wants them.
fn with(primitives: &GraphProto, axis: Axis, operator: &Operator) -> Fallible<GraphProto> {
    let find = |kind: &str, input: &str| {
        let mut nodes = primitives.node.iter();
        nodes.find(|node| node.op_type() == kind && node.input[0] == input).map(|node| node.output[0].clone())
    };
    let [q, k, v] = primitives.node.iter().find(|node| node.op_type() == "Split").map_or(&[][..], |n| &n.output) else {
        return Err("the graph has no Split of q, k and v".into());
    };
    let (k, v) = (find("Gather", k).ok_or("no Gather of k")?, find("Gather", v).ok_or("no Gather of v")?);
    let mut graph = primitives.clone();
    let mut end = graph.node.pop().ok_or("the graph is empty")?;
    let members = if let Axis::Time = axis { FRAMES } else { PATCHES };
    let mut add = Addition { graph: &mut graph };
    let q = add.patches(q);
    let q = if let Axis::Time = axis { add.turned(&q, FRAMES, PATCHES) } else { q };
    let q = add.reshaped(&q, &[-1, members, WIDTH]);
    let [k, v] = [k, v].map(|x| add.reshaped(&x, &[-1, 1 + members, WIDTH]));
    let mixed = add.operator(operator, &[&q, &k, &v]);
    let mixed = if let Axis::Time = axis { add.turned(&mixed, PATCHES, FRAMES) } else { mixed };
    end.input[1] = add.reshaped(&mixed, &[-1, FRAMES * PATCHES, WIDTH]);
    graph.node.push(end);
    prune(&mut graph);
    Ok(graph)
}

/// Nodes that are added to a graph.
struct Addition<'g> {
    graph: &'g mut GraphProto,
}

impl Addition<'_> {
    fn op(&mut self, domain: &str, kind: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let name = format!("added {}", self.graph.node.len());
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some(kind.to_owned()),
            domain: Some(domain.to_owned()),
            attribute: attributes.iter().map(|(name, value)| onnx::attribute(name, value)).collect(),
            ..Default::default()
        });
        name
    }

    fn operator(&mut self, (_, domain, kind, counts): &Operator, inputs: &[&str]) -> String {
        let scale = Attribute::Float(((WIDTH / HEADS) as f32).powf(-0.5));
        let counts = counts.iter().map(|&count| (count, Attribute::Int(HEADS)));
        self.op(domain, kind, inputs, &counts.chain([("scale", scale)]).collect::<Vec<_>>())
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = format!("added ints {}", self.graph.initializer.len());
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor: TensorProto = onnx::constant(&name, DataType::Int64, &[values.len()], raw);
        self.graph.initializer.push(tensor);
        name
    }

    /// Without the class token.
    fn patches(&mut self, x: &str) -> String {
        let (from, to, axis) = (self.ints(&[1]), self.ints(&[i64::MAX]), self.ints(&[1]));
        self.op("", "Slice", &[x, &from, &to, &axis], &[])
    }

    fn reshaped(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.ints(shape);
        self.op("", "Reshape", &[x, &shape], &[])
    }

    /// `outer` times `inner` tokens of each window in the other order.
    fn turned(&mut self, x: &str, outer: i64, inner: i64) -> String {
        let x = self.reshaped(x, &[BATCH, outer, inner, WIDTH]);
        self.op("", "Transpose", &[&x], &[("perm", Attribute::Ints(vec![0, 2, 1, 3]))])
    }
}
