//! The ONNX file format: generated message types and short ways to make the ones that an exporter needs.
//!
//! Not for what a graph computes. Invariant: what is made here is valid ONNX by construction (types, names, locations).

#[rustfmt::skip]
#[allow(missing_docs, clippy::all)]
mod types;

pub use types::tensor_proto::{DataLocation, DataType};
pub use types::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
};

use types::attribute_proto::AttributeType;
use types::{tensor_shape_proto, type_proto};

pub use crate::backbone::Dim;

/// The operator set that graphs are written in: `Gelu` came with 20, and OpenVINO 2025 does not read all of 23.
pub const OPSET: i64 = 21;
/// The version of the file format that goes with it.
pub const IR_VERSION: i64 = 10;

/// A node's setting.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// A number.
    Int(i64),
    /// Numbers.
    Ints(Vec<i64>),
    /// A real number.
    Float(f32),
    /// A word.
    Text(&'static str),
}

/// `name = value` on a node.
pub fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut made = AttributeProto { name: Some(name.to_owned()), ..Default::default() };
    let kind = match value {
        Attribute::Int(i) => {
            made.i = Some(*i);
            AttributeType::Int
        }
        Attribute::Ints(list) => {
            made.ints.clone_from(list);
            AttributeType::Ints
        }
        Attribute::Float(f) => {
            made.f = Some(*f);
            AttributeType::Float
        }
        Attribute::Text(word) => {
            made.s = Some(word.as_bytes().to_vec());
            AttributeType::String
        }
    };
    made.r#type = Some(kind as i32);
    made
}

/// An input or output of a graph.
pub fn value_info(name: &str, element: DataType, shape: &[Dim]) -> ValueInfoProto {
    use tensor_shape_proto::dimension::Value;
    let dimension = |dim: &Dim| tensor_shape_proto::Dimension {
        denotation: None,
        value: Some(match dim {
            Dim::Fixed(n) => Value::DimValue(i64::try_from(*n).expect("a dim fits into 63 bits")),
            Dim::Named(name) => Value::DimParam(name.clone()),
        }),
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(element as i32),
        shape: Some(TensorShapeProto { dim: shape.iter().map(dimension).collect() }),
    };
    let typed = TypeProto { denotation: None, value: Some(type_proto::Value::TensorType(tensor)) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(typed), ..Default::default() }
}

/// The element type of an input or output.
pub fn element(info: &ValueInfoProto) -> DataType {
    tensor_of(info).and_then(|tensor| tensor.elem_type?.try_into().ok()).unwrap_or(DataType::Undefined)
}

/// The shape of an input or output.
pub fn shape(info: &ValueInfoProto) -> Vec<Dim> {
    use tensor_shape_proto::dimension::Value;
    let dims = tensor_of(info).and_then(|tensor| tensor.shape.as_ref()).map_or(&[][..], |shape| &shape.dim);
    let dim = |dim: &tensor_shape_proto::Dimension| match &dim.value {
        Some(Value::DimValue(n)) => Dim::Fixed(u64::try_from(*n).expect("dims are written from unsigned ones")),
        Some(Value::DimParam(name)) => Dim::Named(name.clone()),
        None => Dim::Named(String::new()),
    };
    dims.iter().map(dim).collect()
}

fn tensor_of(info: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match info.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor),
        _ => None,
    }
}

/// A tensor whose values stand in the graph's own file.
pub fn constant(name: &str, element: DataType, dims: &[usize], raw: Vec<u8>) -> TensorProto {
    let dims = dims.iter().map(|&n| n as i64).collect();
    let (name, data_type) = (Some(name.to_owned()), Some(element as i32));
    TensorProto { dims, data_type, name, raw_data: Some(raw), ..Default::default() }
}

/// A tensor whose values stand in `file`, beside the graph.
pub fn external(name: &str, element: DataType, dims: &[usize], file: &str, offset: u64, length: u64) -> TensorProto {
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    TensorProto {
        external_data: vec![
            entry("location", file.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ],
        data_location: Some(DataLocation::External as i32),
        raw_data: None,
        ..constant(name, element, dims, Vec::new())
    }
}

/// A whole file around `graph`.
pub fn model(graph: GraphProto, domains: &[(&str, i64)], facts: &[(&str, String)]) -> ModelProto {
    let entry = |(key, value): &(&str, String)| StringStringEntryProto {
        key: Some((*key).to_owned()),
        value: Some(value.clone()),
    };
    let opset = |(domain, version): &(&str, i64)| OperatorSetIdProto {
        domain: Some((*domain).to_owned()),
        version: Some(*version),
    };
    ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: domains.iter().map(opset).collect(),
        producer_name: Some("egofx".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        metadata_props: facts.iter().map(entry).collect(),
        graph: Some(graph),
        ..Default::default()
    }
}
