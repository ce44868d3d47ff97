//! The forms that attention in groups could have in a graph: the measurement that chose the exported one.
//!
//! The exported form is cut out of the exported graph, so it cannot grow old here; the others are the same with one
//! operator in place of products and softmax. Not for whole models. Invariant: all forms give the same numbers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use egofx::export::onnx::{
    self, Attribute, DataType, Dim, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use prost::Message;
use serde_json::Value;

use super::peer::Peer;
use super::worker::Request;
use crate::support::model;
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
    let shape = [BATCH, 1 + FRAMES * PATCHES, WIDTH].map(|n| n as usize).to_vec();
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

/// The first block's attention along `axis`: from queries, keys and values to what goes into the projection.
fn cut(exported: &GraphProto, axis: Axis) -> Fallible<GraphProto> {
    // Only attention gathers: keys and values into groups.
    let mut gathers = exported.node.iter().enumerate().filter(|(_, node)| node.op_type() == "Gather");
    let (begin, keys) = gathers.nth(2 * axis as usize).ok_or("the graph gathers no keys")?;
    let end =
        exported.node[begin..].iter().find(|node| node.op_type() == "Concat").ok_or("no Concat ends attention")?;
    let mut graph = GraphProto {
        name: Some("attention".into()),
        node: exported.node.clone(),
        initializer: exported.initializer.clone(),
        output: vec![tokens(&end.output[0])],
        ..Default::default()
    };
    // The tables of groups are made from the count of tokens, which the keys have too.
    for node in graph.node.iter_mut().filter(|node| node.op_type() == "Shape") {
        node.input = vec![keys.input[0].clone()];
    }
    graph.input = prune(&mut graph).iter().map(|name| tokens(name)).collect();
    if graph.input.len() == 3 { Ok(graph) } else { Err("attention does not begin at three biases any more".into()) }
}

/// `[B, N, width]`, in or out.
fn tokens(name: &str) -> ValueInfoProto {
    let shape = [Dim::Named("B".into()), Dim::Named("N".into()), Dim::Fixed(WIDTH as u64)];
    onnx::value_info(name, DataType::Float, &shape)
}

/// Drops what the output does not need, and what comes before attention: maps, whose last step is to add a bias. Gives
/// the names of these sums.
fn prune(graph: &mut GraphProto) -> BTreeSet<String> {
    let mut needed = BTreeSet::from([graph.output[0].name().to_owned()]);
    let (mut kept, mut sums) = (Vec::new(), BTreeSet::new());
    for node in graph.node.drain(..).rev() {
        if !node.output.iter().any(|name| needed.contains(name)) {
            continue;
        }
        if node.op_type() == "Add" {
            sums.extend(node.output);
        } else {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|tensor| needed.contains(tensor.name()));
    sums
}

/// `primitives` with `operator` for the patches; groups become entries of the batch, as it wants them.
fn with(primitives: &GraphProto, axis: Axis, operator: &Operator) -> Fallible<GraphProto> {
    let gathers: Vec<&NodeProto> = primitives.node.iter().filter(|node| node.op_type() == "Gather").collect();
    let [k, v] = gathers.as_slice() else { return Err("keys and values are not gathered any more".into()) };
    let mut inputs = primitives.input.iter().map(ValueInfoProto::name);
    let q = inputs.find(|name| *name != k.input[0] && *name != v.input[0]).ok_or("no queries")?;
    let mut graph = primitives.clone();
    let mut end = graph.node.pop().ok_or("the graph is empty")?;
    let members = if let Axis::Time = axis { FRAMES } else { PATCHES };
    let mut add = Addition { graph: &mut graph };
    let q = add.patches(q);
    let q = if let Axis::Time = axis { add.turned(&q, FRAMES, PATCHES) } else { q };
    let q = add.reshaped(&q, &[-1, members, WIDTH]);
    let [k, v] = [k, v].map(|gather| add.reshaped(&gather.output[0], &[-1, 1 + members, WIDTH]));
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
