//! The file of a graph that takes `uint8`, so that it takes `float32`.
//!
//! Graphs of frames cast them to floats before anything is computed, and a cast of what is a float already changes nothing.
//! So one value of the file is another: the element type that the input is declared to have. Not for graphs that compute on
//! `uint8`: ONNX Runtime refuses those, because their types do not fit any more. Invariant: no other byte changes, whatever
//! the file holds that this program does not know.
//!
//! Source of the field numbers: `onnx.proto`.

use std::ops::Range;

const MODEL_GRAPH: u64 = 7;
const GRAPH_INPUT: u64 = 11;
const VALUE_NAME: u64 = 1;
const VALUE_TYPE: u64 = 2;
const TYPE_TENSOR: u64 = 1;
const TENSOR_ELEMENT: u64 = 1;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: u8 = 1;
/// `TensorProto.DataType.UINT8`.
const UINT8: u8 = 2;

/// Declares the `input` of the ONNX file `model` to be `float32`.
///
/// # Errors
/// What is missing: the file is no ONNX file, or has no such input of `uint8`.
pub(super) fn take_floats(model: &mut [u8], input: &str) -> Result<(), String> {
    let place = element_of(model, input).ok_or_else(|| format!("the file declares no uint8 input {input:?}"))?;
    model[place] = FLOAT;
    Ok(())
}

/// Where the element type of `input` stands, which is `uint8`.
fn element_of(model: &[u8], input: &str) -> Option<usize> {
    let graph = field(model, 0..model.len(), MODEL_GRAPH)?;
    let is_named = |value: &Range<usize>| {
        field(model, value.clone(), VALUE_NAME).is_some_and(|name| &model[name] == input.as_bytes())
    };
    let value = fields(model, graph, GRAPH_INPUT).find(is_named)?;
    let tensor = field(model, field(model, value, VALUE_TYPE)?, TYPE_TENSOR)?;
    let element = field(model, tensor, TENSOR_ELEMENT)?;
    (model[element.clone()] == [UINT8]).then_some(element.start)
}

fn field(bytes: &[u8], message: Range<usize>, number: u64) -> Option<Range<usize>> {
    fields(bytes, message, number).next()
}

/// Where the contents of the fields `number` of a protobuf message stand; those before damage, if there is any.
fn fields(bytes: &[u8], message: Range<usize>, number: u64) -> impl Iterator<Item = Range<usize>> {
    let mut at = message.start;
    let next = move || {
        if at >= message.end {
            return None;
        }
        let (key, start) = varint(bytes, at)?;
        let (start, length) = match key & 7 {
            0 => (start, varint(bytes, start)?.1 - start),
            1 => (start, 8),
            2 => {
                let (length, start) = varint(bytes, start)?;
                (start, usize::try_from(length).ok()?)
            }
            5 => (start, 4),
            _ => return None,
        };
        at = start.checked_add(length).filter(|&end| end <= message.end)?;
        Some((key >> 3, start..at))
    };
    std::iter::from_fn(next).filter(move |(found, _)| *found == number).map(|(_, content)| content)
}

/// A number of seven bits a byte, the lowest first, and where it ends.
fn varint(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.get(start..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, start + i + 1));
        }
    }
    None
}

#[cfg(test)]
#[cfg(feature = "export")]
mod tests {
    use prost::Message;

    use super::*;
    use crate::backbone::Dim;
    use crate::export::onnx::{DataType, GraphProto, model, value_info};

    fn file(element: DataType) -> Vec<u8> {
        let shape = [Dim::Named("B".into()), Dim::Fixed(300)];
        let input = |name: &str, element| value_info(name, element, &shape);
        let inputs = vec![input("ids", DataType::Int64), input("frames", element), input("frames2", DataType::Uint8)];
        let graph = GraphProto { name: Some("g".repeat(200)), input: inputs, ..Default::default() };
        model(graph, &[("", 21)], &[("a", "b".into())]).encode_to_vec()
    }

    #[test]
    fn the_declared_type_of_one_input_changes_and_nothing_else() {
        let mut bytes = file(DataType::Uint8);
        take_floats(&mut bytes, "frames").unwrap();
        assert_eq!(bytes, file(DataType::Float));
    }

    #[test]
    fn what_is_no_such_graph_is_refused_unchanged() {
        for (bytes, input) in [
            (file(DataType::Uint8), "pixels"),
            (file(DataType::Float), "frames"),
            (file(DataType::Uint8), "ids"),
            (vec![0xFF; 64], "frames"),
            (Vec::new(), "frames"),
        ] {
            let mut changed = bytes.clone();
            let why = take_floats(&mut changed, input).unwrap_err();
            assert_eq!((why, changed), (format!("the file declares no uint8 input {input:?}"), bytes));
        }
        let whole = file(DataType::Uint8);
        for length in 0..whole.len() {
            // Cut anywhere it is refused, or was changed where the whole file would have been.
            let mut cut = whole[..length].to_vec();
            if take_floats(&mut cut, "frames").is_ok() {
                assert_eq!(cut, file(DataType::Float)[..length]);
            }
        }
    }
}
