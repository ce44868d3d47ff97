//! Tensors as they lie in a checkpoint: element type, shape, bytes.
//!
//! Not for arithmetic. Invariant: bytes are little-endian, contiguous and row-major, whatever the file's layout was.

use half::{bf16, f16};

use super::{CheckpointError, Dtype};

/// What a tensor is, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// Whether there can be such a tensor: extents other than 0 and the size of an element have a product that memory can
    /// be addressed by. All of what follows relies on it, and so do the libraries that arrays are handed to.
    pub(super) fn is_possible(&self) -> bool {
        let extents = self.shape.iter().filter(|extent| **extent > 0);
        let bytes = extents.copied().try_fold(self.dtype.size_bytes(), usize::checked_mul);
        bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok())
    }

    /// Number of elements; 1 for a scalar.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of bytes.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size_bytes()
    }
}

/// A tensor in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements: little-endian, contiguous, row-major.
    pub bytes: Vec<u8>,
}

/// What `torch.save` takes besides state dicts: tensors, and plain values around them.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Text(String),
    /// A tensor.
    Tensor(Tensor),
    /// A tensor that is fetched when its turn comes.
    Announced(TensorInfo),
    /// A list.
    List(Vec<Value>),
    /// A dict of strings, in the order in which they are written.
    Dict(Vec<(String, Value)>),
}

impl Tensor {
    /// What it is, without its bytes.
    pub fn info(&self) -> TensorInfo {
        TensorInfo { dtype: self.dtype, shape: self.shape.clone() }
    }

    /// A tensor of whole numbers, which are as many as `shape` says.
    pub fn from_i64(shape: Vec<usize>, values: &[i64]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { dtype: Dtype::I64, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    /// A tensor of 32-bit whole numbers, which are as many as `shape` says.
    pub fn from_i32(shape: Vec<usize>, values: &[i32]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { dtype: Dtype::I32, shape, bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect() }
    }

    /// A tensor of one axis of truth values.
    pub fn from_bools(values: &[bool]) -> Self {
        Self {
            dtype: Dtype::Bool,
            shape: vec![values.len()],
            bytes: values.iter().map(|&value| value.into()).collect(),
        }
    }

    /// A 0-dimensional tensor of double precision, which is what a Python float becomes in a batch.
    pub fn scalar_f64(value: f64) -> Self {
        Self { dtype: Dtype::F64, shape: vec![], bytes: value.to_le_bytes().to_vec() }
    }

    /// A tensor of `values`, which are as many as `shape` says.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        let mut bytes = vec![0; size_of_val(values)];
        for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        Self { dtype: Dtype::F32, shape, bytes }
    }

    /// The elements as f32; f64 is rounded to the nearest.
    ///
    /// # Errors
    /// [`CheckpointError::NotFloat`] for integers and bools.
    pub fn to_f32(&self) -> Result<Vec<f32>, CheckpointError> {
        Ok(match self.dtype {
            Dtype::F64 => self.map(|bytes| f64::from_le_bytes(bytes) as f32),
            Dtype::F32 => self.map(f32::from_le_bytes),
            Dtype::F16 => self.map(|bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::Bf16 => self.map(|bytes| bf16::from_le_bytes(bytes).to_f32()),
            other => return Err(CheckpointError::NotFloat { found: other.name() }),
        })
    }

    fn map<const N: usize>(&self, value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (elements, _) = self.bytes.as_chunks::<N>();
        elements.iter().map(|bytes| value(*bytes)).collect()
    }
}

/// Index, in row-major order, of the first element that is NaN or infinite; `None` for integers.
pub fn first_non_finite(tensor: &Tensor) -> Option<usize> {
    if tensor.dtype == Dtype::F64 {
        let (elements, _) = tensor.bytes.as_chunks::<8>();
        return elements.iter().position(|bytes| !f64::from_le_bytes(*bytes).is_finite());
    }
    tensor.to_f32().ok()?.iter().position(|value| !value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_type_becomes_f32() {
        let values = [1.5f32, -0.25, 0.0];
        let tensor = |dtype, bytes: Vec<u8>| Tensor { dtype, shape: vec![3], bytes };
        let f64s = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
        let f16s = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let bf16s = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        assert_eq!(Tensor::from_f32(vec![3], &values).to_f32().unwrap(), values);
        for (dtype, bytes) in [(Dtype::F64, f64s), (Dtype::F16, f16s), (Dtype::Bf16, bf16s)] {
            assert_eq!(tensor(dtype, bytes).to_f32().unwrap(), values, "{dtype}");
        }
        let error = tensor(Dtype::U8, vec![1, 2, 3]).to_f32().unwrap_err();
        assert_eq!(error.to_string(), "expected a tensor of floats, found u8");
    }

    #[test]
    fn what_is_not_finite_is_found() {
        assert_eq!(first_non_finite(&Tensor::from_f32(vec![3], &[1.0, 2.0, f32::NAN])), Some(2));
        assert_eq!(first_non_finite(&Tensor::from_f32(vec![2], &[f32::NEG_INFINITY, 2.0])), Some(0));
        assert_eq!(first_non_finite(&Tensor::from_f32(vec![0], &[])), None);
        let finite_but_large = Tensor { dtype: Dtype::F64, shape: vec![], bytes: 1e300f64.to_le_bytes().into() };
        assert_eq!(first_non_finite(&finite_but_large), None, "an f64 is not judged by its rounding");
        assert_eq!(first_non_finite(&Tensor { dtype: Dtype::I8, shape: vec![1], bytes: vec![255] }), None);
    }

    #[test]
    fn a_scalar_has_one_element() {
        let info = TensorInfo { dtype: Dtype::I64, shape: vec![] };
        assert_eq!((info.elements(), info.bytes()), (1, 8));
    }
}
