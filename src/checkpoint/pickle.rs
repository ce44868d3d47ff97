//! The pickle of a state dict or of plain values, as `torch.save` writes it: protocol 2, tensors as references to storages.
//!
//! Writing only; reading is `pytorch-reader`'s and, of files of features, `unpickle`'s. Invariant: it names nothing but `OrderedDict`, `_rebuild_tensor_v2` and
//! classes of storages, all of which `torch.load(weights_only=True)` allows.

use std::collections::BTreeMap;

use super::{Dtype, Tensor, TensorInfo, Value};

/// A pickle under construction.
pub(super) struct Pickle(Vec<u8>);

/// `{"state_dict": OrderedDict(...)}` with `prefix` before each name; tensor `i` lies in storage `i`.
pub(super) fn state_dict(tensors: &BTreeMap<String, TensorInfo>, prefix: &str) -> Vec<u8> {
    let mut pickle = Pickle::new(2);
    pickle.op(b'}').text("state_dict").ordered_dict().op(b'(');
    for (index, (name, info)) in tensors.iter().enumerate() {
        pickle.text(&format!("{prefix}{name}")).tensor(index, info);
    }
    pickle.op(b'u').op(b's').op(b'.');
    pickle.0
}

/// The pickle of `value`, and its tensors: the one at index `i` lies in storage `i`. `None` for one that is announced.
pub(super) fn value(value: &Value) -> (Vec<u8>, Vec<Option<&Tensor>>) {
    let (mut pickle, mut tensors) = (Pickle::new(2), Vec::new());
    pickle.value(value, &mut tensors).op(b'.');
    (pickle.0, tensors)
}

impl Pickle {
    fn value<'v>(&mut self, value: &'v Value, tensors: &mut Vec<Option<&'v Tensor>>) -> &mut Self {
        match value {
            Value::None => self.op(b'N'),
            Value::Bool(value) => self.op(if *value { 0x88 } else { 0x89 }),
            Value::Int(value) => self.integer(*value),
            Value::Float(value) => self.float(*value),
            Value::Text(text) => self.text(text),
            Value::Tensor(tensor) => {
                tensors.push(Some(tensor));
                self.tensor(tensors.len() - 1, &tensor.info())
            }
            Value::Announced(info) => {
                tensors.push(None);
                self.tensor(tensors.len() - 1, info)
            }
            Value::List(items) => {
                self.op(b']').op(b'(');
                for item in items {
                    self.value(item, tensors);
                }
                self.op(b'e')
            }
            Value::Dict(entries) => {
                self.op(b'}').op(b'(');
                for (name, value) in entries {
                    self.text(name).value(value, tensors);
                }
                self.op(b'u')
            }
        }
    }

    /// The beginning of a pickle of that protocol.
    pub(super) fn new(protocol: u8) -> Self {
        Self(vec![0x80, protocol])
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn op(&mut self, code: u8) -> &mut Self {
        self.0.push(code);
        self
    }

    /// `BINBYTES`, of protocol 3.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.op(b'B').0.extend((bytes.len() as u32).to_le_bytes());
        self.0.extend(bytes);
        self
    }

    /// `BINUNICODE`.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.op(b'X').0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    /// `BININT`, or `LONG1` where 31 bits are not enough.
    pub(super) fn int(&mut self, value: usize) -> &mut Self {
        match i32::try_from(value) {
            Ok(small) => self.op(b'J').0.extend(small.to_le_bytes()),
            // Nine bytes, so that the sign bit is clear.
            Err(_) => self.op(0x8a).op(9).0.extend((value as u128).to_le_bytes().iter().take(9)),
        }
        self
    }

    /// `BININT`, or `LONG1` where 32 bits are not enough.
    pub(super) fn integer(&mut self, value: i64) -> &mut Self {
        match i32::try_from(value) {
            Ok(small) => self.op(b'J').0.extend(small.to_le_bytes()),
            Err(_) => self.op(0x8a).op(8).0.extend(value.to_le_bytes()),
        }
        self
    }

    /// `BINFLOAT`.
    fn float(&mut self, value: f64) -> &mut Self {
        self.op(b'G').0.extend(value.to_be_bytes());
        self
    }

    /// `GLOBAL`.
    pub(super) fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.op(b'c').0.extend(format!("{module}\n{name}\n").as_bytes());
        self
    }

    pub(super) fn ordered_dict(&mut self) -> &mut Self {
        self.global("collections", "OrderedDict").op(b')').op(b'R')
    }

    pub(super) fn ints(&mut self, values: &[usize]) -> &mut Self {
        self.op(b'(');
        for &value in values {
            self.int(value);
        }
        self.op(b't')
    }

    /// `_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.
    fn tensor(&mut self, index: usize, info: &TensorInfo) -> &mut Self {
        self.global("torch._utils", "_rebuild_tensor_v2").op(b'(');
        self.op(b'(').text("storage").global("torch", storage(info.dtype)).text(&index.to_string()).text("cpu");
        self.int(info.elements()).op(b't').op(b'Q');
        self.int(0).ints(&info.shape).ints(&strides(&info.shape));
        self.op(0x89).ordered_dict().op(b't').op(b'R')
    }
}

/// Strides of a contiguous tensor, in elements.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1);
    }
    strides
}

/// The class that torch keeps elements of `dtype` in.
pub(super) fn storage(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F64 => "DoubleStorage",
        Dtype::F32 => "FloatStorage",
        Dtype::F16 => "HalfStorage",
        Dtype::Bf16 => "BFloat16Storage",
        Dtype::I64 => "LongStorage",
        Dtype::I32 => "IntStorage",
        Dtype::I16 => "ShortStorage",
        Dtype::I8 => "CharStorage",
        Dtype::U8 => "ByteStorage",
        Dtype::Bool => "BoolStorage",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_those_of_a_contiguous_tensor() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[2, 0, 4]), [4, 4, 1]);
        assert!(strides(&[]).is_empty());
    }

    #[test]
    fn integers_beyond_31_bits_are_written_whole() {
        let mut pickle = Pickle(vec![]);
        pickle.int(1 << 31).int(5);
        assert_eq!(pickle.0, [0x8a, 9, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, b'J', 5, 0, 0, 0]);
    }
}
