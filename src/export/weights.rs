//! The weight file: what the graphs of one export use of a checkpoint, each form of each tensor once.
//!
//! Not for deciding which weights a graph needs. Invariant: one tensor is in memory at a time, and only finite numbers
//! reach the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::batch_norm::BatchNorm;
use super::error::ExportError;
use super::onnx::{self, DataType, TensorProto};
use crate::checkpoint::{Checkpoint, Dtype, Tensor};
use crate::digest::Hasher;

/// Larger tensors begin on a page, so that a runtime can map them.
const PAGE_BYTES: u64 = 4096;
/// Smaller ones on a cache line.
const LINE_BYTES: u64 = 64;

/// A tensor of the checkpoint, in the form that a graph wants it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight {
    key: String,
    rows: Option<(usize, usize)>,
    norm: Option<BatchNorm>,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Plain,
    Transposed,
    Int8,
    Int8Filters,
    Int8Scale,
}

impl Weight {
    /// The tensor as it is.
    pub fn plain(key: &str) -> Self {
        Self { key: key.to_owned(), rows: None, norm: None, form: Form::Plain }
    }

    /// The weights of the convolution `conv`, with the batch norm behind it folded in.
    pub fn filters(conv: &str, norm: &BatchNorm) -> Self {
        Self { norm: Some(norm.clone()), ..Self::plain(&format!("{conv}.weight")) }
    }

    /// The bias that this leaves.
    pub fn folded_bias(norm: &BatchNorm) -> Self {
        Self { norm: Some(norm.clone()), ..Self::plain(&bias_of(norm)) }
    }

    /// Only these rows of it.
    pub fn rows(mut self, rows: Option<Range<usize>>) -> Self {
        self.rows = rows.map(|rows| (rows.start, rows.end));
        self
    }

    /// A matrix `[out, in]` as `[in, out]`; a convolution's further dimensions count as one.
    pub fn transposed(mut self) -> Self {
        self.form = Form::Transposed;
        self
    }

    /// A matrix `[out, in]` as int8 `[in, out]`, each column divided by its [scale](Self::int8_scale).
    pub fn int8(mut self) -> Self {
        self.form = Form::Int8;
        self
    }

    /// The weights `[out, in, ...]` of a convolution as int8, each `out` divided by its [scale](Self::int8_scale).
    pub fn int8_filters(mut self) -> Self {
        self.form = Form::Int8Filters;
        self
    }

    /// The scales `[out]` of the int8 forms: the largest magnitude of each column over 127.
    pub fn int8_scale(mut self) -> Self {
        self.form = Form::Int8Scale;
        self
    }

    /// The name of its initializer.
    pub fn name(&self) -> String {
        let rows = self.rows.map_or(String::new(), |(from, to)| format!("[{from}:{to}]"));
        let form = match self.form {
            Form::Plain => "",
            Form::Transposed => ".T",
            Form::Int8 | Form::Int8Filters => ".int8",
            Form::Int8Scale => ".scale",
        };
        let folded = if self.norm.is_some() { ".folded" } else { "" };
        format!("{}{rows}{folded}{form}", self.key)
    }
}

/// A weight in the file.
#[derive(Debug, Clone)]
struct Placed {
    element: DataType,
    dims: Vec<usize>,
    offset: u64,
    length: u64,
}

/// A weight file that is being written.
pub struct WeightFile<'c> {
    checkpoint: &'c Checkpoint,
    /// Floating-point weights become this, if not left as the checkpoint has them.
    float: Option<DataType>,
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
    hash: Hasher,
    placed: BTreeMap<Weight, Placed>,
}

impl<'c> WeightFile<'c> {
    /// An empty file `folder/name` for weights of `checkpoint`.
    pub fn create(
        checkpoint: &'c Checkpoint,
        float: Option<DataType>,
        folder: &Path,
        name: String,
    ) -> Result<Self, ExportError> {
        let path = folder.join(&name);
        let file = BufWriter::new(File::create(&path).map_err(ExportError::io(&path))?);
        let (hash, placed) = (Hasher::default(), BTreeMap::new());
        Ok(Self { checkpoint, float, name, path, file, length: 0, hash, placed })
    }

    /// The weight's place in the file, where it is put unless it is there already.
    ///
    /// # Errors
    /// If the tensor cannot be read, is not of floats or not finite, or if the disk is full.
    pub fn place(&mut self, weight: &Weight) -> Result<TensorProto, ExportError> {
        if !self.placed.contains_key(weight) {
            let placed = self.append(weight)?;
            self.placed.insert(weight.clone(), placed);
        }
        let Placed { element, dims, offset, length } = &self.placed[weight];
        Ok(onnx::external(&weight.name(), *element, dims, &self.name, *offset, *length))
    }

    /// Puts all that has its place on disk, for a graph that is run before the file is complete.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn flush(&mut self) -> Result<(), ExportError> {
        self.file.flush().map_err(ExportError::io(&self.path))
    }

    /// Completes the file: its name and its SHA-256.
    pub fn finish(mut self) -> Result<(String, String), ExportError> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        flushed.map_err(ExportError::io(&self.path))?;
        Ok((self.name, self.hash.finish()))
    }

    fn append(&mut self, weight: &Weight) -> Result<Placed, ExportError> {
        let tensor = folded(self.checkpoint, weight)?;
        let (element, dims, bytes) = formed(&weight.key, tensor, weight, self.float)?;
        let align = if bytes.len() as u64 >= 16 * PAGE_BYTES { PAGE_BYTES } else { LINE_BYTES };
        let padding = vec![0; (self.length.next_multiple_of(align) - self.length) as usize];
        for part in [&padding, &bytes] {
            let written = self.file.write_all(part).and_then(|()| self.hash.write_all(part));
            written.map_err(ExportError::io(&self.path))?;
        }
        let offset = self.length + padding.len() as u64;
        self.length = offset + bytes.len() as u64;
        Ok(Placed { element, dims, offset, length: bytes.len() as u64 })
    }
}

/// The name of a batch norm's bias.
fn bias_of(norm: &BatchNorm) -> String {
    format!("{}.bias", norm.name())
}

/// The tensor of a weight, in single precision if a batch norm is folded in.
fn folded(checkpoint: &Checkpoint, weight: &Weight) -> Result<Tensor, ExportError> {
    let tensor = checkpoint.read(&weight.key)?;
    let Some(norm) = &weight.norm else { return Ok(tensor) };
    let (key, affine) = (&weight.key, norm.read(checkpoint)?);
    let values = floats(key, &tensor)?;
    let values = if *key == bias_of(norm) { affine.bias() } else { affine.folded(&values) };
    Ok(Tensor::from_f32(tensor.shape, &values))
}

/// Its values, which are finite numbers.
fn floats(key: &str, tensor: &Tensor) -> Result<Vec<f32>, ExportError> {
    if !tensor.dtype.is_float() {
        return Err(ExportError::NotFloat { tensor: key.to_owned(), found: tensor.dtype.name() });
    }
    let values = tensor.to_f32()?;
    check_finite(key, &values)?;
    Ok(values)
}

/// A tensor in the form that is wanted: element type, dims and bytes.
fn formed(
    key: &str,
    tensor: Tensor,
    weight: &Weight,
    float: Option<DataType>,
) -> Result<(DataType, Vec<usize>, Vec<u8>), ExportError> {
    let (own, mut dims) = (tensor.dtype, tensor.shape.clone());
    let mut values = floats(key, &tensor)?;
    drop(tensor);
    if let Some((from, to)) = weight.rows {
        let width: usize = dims[1..].iter().product();
        values = values[from * width..to * width].to_vec();
        dims[0] = to - from;
    }
    let element = float.unwrap_or(onnx_type(own));
    let (out, of) = (dims.first().copied().unwrap_or(1), dims.iter().skip(1).product());
    Ok(match weight.form {
        Form::Plain => (element, dims, bytes(&values, element)),
        Form::Transposed => (element, vec![of, out], bytes(&transposed(&values, out, of), element)),
        Form::Int8 => (DataType::Int8, vec![of, out], transposed(&int8(&values, of), out, of)),
        Form::Int8Filters => (DataType::Int8, dims, int8(&values, of)),
        Form::Int8Scale => (DataType::Float, vec![out], bytes(&scales(&values, of), DataType::Float)),
    })
}

fn check_finite(key: &str, values: &[f32]) -> Result<(), ExportError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(position) => Err(ExportError::NotFinite { tensor: key.to_owned(), position, value: values[position] }),
    }
}

/// The element type that keeps what the checkpoint has; double precision is more than any operator here computes in.
fn onnx_type(own: Dtype) -> DataType {
    match own {
        Dtype::F16 => DataType::Float16,
        Dtype::Bf16 => DataType::Bfloat16,
        _ => DataType::Float,
    }
}

fn bytes(values: &[f32], element: DataType) -> Vec<u8> {
    match element {
        DataType::Float16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        DataType::Bfloat16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// `[rows, columns]` as `[columns, rows]`, by tiles, so that neither side is walked against the cache.
fn transposed<T: Copy + Default>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    const TILE: usize = 32;
    let mut out = vec![T::default(); values.len()];
    for (row, column) in (0..rows).step_by(TILE).flat_map(|r| (0..columns).step_by(TILE).map(move |c| (r, c))) {
        for c in column..columns.min(column + TILE) {
            for r in row..rows.min(row + TILE) {
                out[c * rows + r] = values[r * columns + c];
            }
        }
    }
    out
}

fn scales(values: &[f32], columns: usize) -> Vec<f32> {
    let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    // A row of zeros is zero by any scale.
    values.chunks(columns).map(|row| if largest(row) == 0.0 { 1.0 } else { largest(row) / 127.0 }).collect()
}

fn int8(values: &[f32], columns: usize) -> Vec<u8> {
    let scales = scales(values, columns);
    let quantized =
        |(i, v): (usize, &f32)| (v / scales[i / columns]).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
    values.iter().enumerate().map(quantized).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_matrix_has_its_columns_as_rows_whatever_its_size() {
        for (rows, columns) in [(1, 1), (3, 5), (32, 32), (33, 70), (100, 1)] {
            let values: Vec<usize> = (0..rows * columns).collect();
            let out = transposed(&values, rows, columns);
            for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                assert_eq!(out[c * rows + r], values[r * columns + c]);
            }
        }
    }

    #[test]
    fn int8_is_within_half_a_scale_and_a_zero_row_stays_zero() {
        let values = [0.5, -1.27, 0.013, 0.0, 0.0, 0.0];
        let (scales, quantized) = (scales(&values, 3), int8(&values, 3));
        for (i, v) in values.iter().enumerate() {
            let back = f32::from(quantized[i] as i8) * scales[i / 3];
            assert!((back - v).abs() <= scales[i / 3] / 2.0 * 1.001, "{v}: {back}");
        }
    }
}
