//! Files of features that `torch.save` wrote, of either form: their tensors and arrays, and the plain values beside them.
//!
//! A tensor or NumPy array alone, or a dict around some, as a zip (PyTorch 1.6 and later) or in the form before that.
//! Not for weights, which are [`super::Checkpoint`]'s. Invariants: nothing in a pickle is run, and no size that a file
//! claims is believed before it is compared with the bytes that are there.

use std::fs;
use std::path::{Path, PathBuf};

use super::storages::{self, Storages};
use super::torch::{GROWTH, SMALL_BYTES};
use super::tree::{Id, Node, Pickle};
use super::{CheckpointError, Dtype, Tensor, TensorInfo};
use crate::foreign;

/// Deepest dict in a dict that is looked at.
const DEEPEST: usize = 4;
/// Most values that are looked at for arrays.
const MOST_VISITS: usize = 1 << 16;

/// A file of features, its values read and its tensors not.
#[derive(Debug)]
pub struct Saved {
    path: PathBuf,
    pickle: Pickle,
    storages: Storages,
}

/// A tensor of torch's or an array of NumPy's, not read yet.
struct Found {
    info: TensorInfo,
    elements: Elements,
}

/// Where its elements lie.
enum Elements {
    /// In a storage, from an element on, with steps in elements.
    Storage { key: String, offset: usize, strides: Vec<usize> },
    /// In the pickle itself.
    Inline { bytes: Id, big_endian: bool, fortran: bool },
}

impl Saved {
    /// Opens a file of either form; `None` for a file of another kind (safetensors, torch's form before 0.1.10).
    ///
    /// # Errors
    /// [`CheckpointError::NotACheckpoint`], [`CheckpointError::Damaged`], [`CheckpointError::Truncated`],
    /// [`CheckpointError::TooLarge`], [`CheckpointError::Io`].
    pub fn open(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let opened = foreign::parse(|| storages::open(path)).unwrap_or_else(CheckpointError::panicked(path))?;
        Ok(opened.map(|(pickle, storages)| Self { path: path.to_owned(), pickle, storages }))
    }

    /// Names of the tensors and arrays and what they are, in the order of the file. One that is all of the file has the
    /// empty name, one in a dict in a dict a name with dots.
    pub fn arrays(&self) -> Vec<(String, TensorInfo)> {
        self.named().into_iter().filter_map(|(name, id)| Some((name, self.found(id)?.info))).collect()
    }

    /// A string of the dict that the file is.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pickle.text(self.entry(name)?)
    }

    /// A whole number of the dict that the file is: a plain one, or a tensor of one.
    pub fn int(&self, name: &str) -> Option<i64> {
        let id = self.entry(name)?;
        self.pickle.int(id).or_else(|| {
            let found = self.found(id).filter(|found| found.info.elements() == 1)?;
            let bytes = self.elements(&found).ok()?;
            Some(match found.info.dtype {
                Dtype::I64 => i64::from_le_bytes(*bytes.first_chunk()?),
                Dtype::I32 => i32::from_le_bytes(*bytes.first_chunk()?).into(),
                Dtype::I16 => i16::from_le_bytes(*bytes.first_chunk()?).into(),
                _ => return None,
            })
        })
    }

    /// The tensor or array `name`, one of [`Saved::arrays`]: contiguous, row-major.
    ///
    /// # Errors
    /// [`CheckpointError::NoTensor`], [`CheckpointError::Damaged`], [`CheckpointError::TooLarge`], [`CheckpointError::Io`].
    pub fn read(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let named = self.named().into_iter().find(|(known, _)| known == name);
        let found = named.and_then(|(_, id)| self.found(id));
        let found = found.ok_or_else(|| CheckpointError::NoTensor {
            checkpoint: self.path.display().to_string(),
            tensor: name.to_owned(),
        })?;
        let bytes = foreign::parse(|| self.elements(&found)).unwrap_or_else(CheckpointError::panicked(&self.path))?;
        Ok(Tensor { dtype: found.info.dtype, shape: found.info.shape, bytes })
    }

    fn entry(&self, name: &str) -> Option<Id> {
        let entries = self.pickle.entries(self.pickle.root)?;
        entries.iter().find(|(key, _)| self.pickle.text(*key) == Some(name)).map(|(_, value)| *value)
    }

    /// Values that may be arrays, by name.
    fn named(&self) -> Vec<(String, Id)> {
        let (mut named, mut visits) = (Vec::new(), 0);
        self.collect(self.pickle.root, "", DEEPEST, &mut visits, &mut named);
        named
    }

    /// `visits` bounds what dicts that share their values come to.
    fn collect(&self, id: Id, name: &str, depth: usize, visits: &mut usize, named: &mut Vec<(String, Id)>) {
        *visits += 1;
        if *visits > MOST_VISITS {
            return;
        }
        let join = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        let entries = self.pickle.entries(id).filter(|_| depth > 0);
        let items = match self.pickle.node(id) {
            Node::List(items) | Node::Tuple(items) if depth > 0 => Some(items),
            _ => None,
        };
        for (key, value) in entries.into_iter().flatten() {
            if let Some(key) = self.pickle.text(*key) {
                self.collect(*value, &join(key), depth - 1, visits, named);
            }
        }
        for (at, value) in items.into_iter().flatten().enumerate() {
            self.collect(*value, &join(&at.to_string()), depth - 1, visits, named);
        }
        if entries.is_none() && items.is_none() {
            named.push((name.to_owned(), id));
        }
    }

    /// The tensor or array that a value rebuilds.
    fn found(&self, id: Id) -> Option<Found> {
        let (name, arguments) = self.unwrapped(id)?;
        self.tensor(name, arguments).or_else(|| self.array(id, name, arguments))
    }

    /// The call that rebuilds a tensor, out of those that mark it as a parameter or give it another class.
    fn unwrapped(&self, id: Id) -> Option<(&str, &[Id])> {
        let mut call = self.pickle.called(id)?;
        for _ in 0..DEEPEST {
            call = match call {
                ("torch._utils._rebuild_parameter", [inner, ..]) => self.pickle.called(*inner)?,
                ("torch._tensor._rebuild_from_type_v2", [function, _class, arguments, ..]) => {
                    let Node::Global(name) = self.pickle.node(*function) else { return None };
                    (name, self.pickle.list(*arguments)?)
                }
                _ => break,
            };
        }
        Some(call)
    }

    /// `_rebuild_tensor_v2(storage, offset, shape, strides, ...)`.
    fn tensor(&self, name: &str, arguments: &[Id]) -> Option<Found> {
        if !matches!(name, "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor") {
            return None;
        }
        let [storage, offset, shape, strides, ..] = arguments else { return None };
        let (key, dtype, base) = self.storage(*storage)?;
        let sizes = |id: &Id| -> Option<Vec<usize>> {
            let items = self.pickle.list(*id)?;
            items.iter().map(|item| usize::try_from(self.pickle.int(*item)?).ok()).collect()
        };
        let offset = base.checked_add(usize::try_from(self.pickle.int(*offset)?).ok()?)?;
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        let elements = Elements::Storage { key, offset, strides };
        Some(Found { info: TensorInfo { dtype, shape }, elements }).filter(|found| found.info.is_possible())
    }

    /// `("storage", class, key, device, elements)`; before 1.6 with a view, `(key, offset, elements)`, behind it.
    fn storage(&self, id: Id) -> Option<(String, Dtype, usize)> {
        let Node::Persistent(reference) = self.pickle.node(id) else { return None };
        let items = self.pickle.list(*reference)?;
        let Node::Global(class) = self.pickle.node(*items.get(1)?) else { return None };
        let view = items.get(5).filter(|view| *self.pickle.node(**view) != Node::None);
        let base = view.map_or(Some(0), |view| self.pickle.int(*self.pickle.list(*view)?.get(1)?))?;
        Some((self.pickle.text(*items.get(2)?)?.to_owned(), storages::dtype(class)?, usize::try_from(base).ok()?))
    }

    /// `_reconstruct(ndarray, ...)` with its state `(version, shape, dtype, fortran, bytes)`, or
    /// `_frombuffer(bytes, dtype, shape, order)`.
    fn array(&self, id: Id, name: &str, arguments: &[Id]) -> Option<Found> {
        let (shape, kind, fortran, bytes) = match (name.rsplit('.').next()?, arguments) {
            ("_reconstruct", _) if name.starts_with("numpy.") => match self.pickle.state(id)? {
                [_, shape, kind, fortran, bytes] => (shape, kind, self.pickle.int(*fortran)? != 0, bytes),
                _ => return None,
            },
            ("_frombuffer", [bytes, kind, shape, order]) if name.starts_with("numpy.") => {
                (shape, kind, self.pickle.text(*order)? == "F", bytes)
            }
            _ => return None,
        };
        let (dtype, big_endian) = self.numpy_dtype(*kind)?;
        let extents = self.pickle.list(*shape)?.iter();
        let shape = extents.map(|extent| usize::try_from(self.pickle.int(*extent)?).ok()).collect::<Option<_>>()?;
        let elements = Elements::Inline { bytes: *bytes, big_endian, fortran };
        Some(Found { info: TensorInfo { dtype, shape }, elements }).filter(|found| found.info.is_possible())
    }

    /// `dtype("f4", ...)` with its state `(version, byte order, ...)`.
    fn numpy_dtype(&self, id: Id) -> Option<(Dtype, bool)> {
        let (name, arguments) = self.pickle.called(id)?;
        let text = self.pickle.text(*arguments.first()?)?;
        let order = self.pickle.state(id).and_then(|state| self.pickle.text(*state.get(1)?));
        let dtype = match text.trim_start_matches(['<', '>', '|', '=']) {
            "f8" => Dtype::F64,
            "f4" => Dtype::F32,
            "f2" => Dtype::F16,
            "i8" => Dtype::I64,
            "i4" => Dtype::I32,
            "i2" => Dtype::I16,
            "i1" => Dtype::I8,
            "u1" => Dtype::U8,
            "b1" => Dtype::Bool,
            _ => return None,
        };
        (name == "numpy.dtype").then_some((dtype, order.unwrap_or(text).starts_with('>')))
    }

    /// The elements of a tensor: little-endian, contiguous, row-major.
    fn elements(&self, found: &Found) -> Result<Vec<u8>, CheckpointError> {
        let info = &found.info;
        let size = info.dtype.size_bytes();
        let bytes = self.declared(info)?;
        match &found.elements {
            Elements::Storage { key, offset, strides } => {
                let (held, big_endian) = self.storages.read(&self.path, key)?;
                let elements = picked(&held, size, *offset, &info.shape, strides, bytes);
                let elements =
                    elements.ok_or_else(|| self.damaged(format!("storage {key:?} is shorter than its tensor")))?;
                Ok(little_endian(elements, size, big_endian))
            }
            Elements::Inline { bytes: id, big_endian, fortran } => {
                let held = self.inline(*id).filter(|held| held.len() == bytes);
                let held =
                    held.ok_or_else(|| self.damaged("an array has other bytes than its shape asks for".to_owned()))?;
                let strides = strides(&info.shape, *fortran);
                let elements = picked(&held, size, 0, &info.shape, &strides, bytes);
                let elements = elements.ok_or_else(|| self.damaged("an array is shorter than its shape".to_owned()))?;
                Ok(little_endian(elements, size, *big_endian))
            }
        }
    }

    /// Bytes that a tensor takes, which must be within reason for the file.
    fn declared(&self, info: &TensorInfo) -> Result<usize, CheckpointError> {
        let length = fs::metadata(&self.path).map_err(CheckpointError::io("read", &self.path))?.len();
        let start = info.dtype.size_bytes() as u64;
        let declared = info.shape.iter().fold(start, |sum, extent| sum.saturating_mul(*extent as u64));
        let limit = length.saturating_mul(GROWTH).saturating_add(SMALL_BYTES);
        if declared > limit {
            return Err(CheckpointError::TooLarge {
                path: self.path.clone(),
                what: "a tensor",
                declared,
                limit,
                length,
            });
        }
        Ok(declared as usize)
    }

    /// Bytes within a pickle: as they are, or as the text that protocol 2 makes of them.
    fn inline(&self, id: Id) -> Option<Vec<u8>> {
        let latin = |text: &str| text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
        match (self.pickle.node(id), self.pickle.called(id)) {
            (Node::Bytes(bytes), _) => Some(bytes.clone()),
            (_, Some(("_codecs.encode", [text, _encoding]))) => latin(self.pickle.text(*text)?),
            // bytes() is nothing.
            (_, Some(("__builtin__.bytes" | "builtins.bytes", []))) => Some(vec![]),
            (_, Some(("builtins.bytearray" | "__builtin__.bytearray", [inner, ..]))) => {
                match self.pickle.node(*inner) {
                    Node::Bytes(bytes) => Some(bytes.clone()),
                    Node::Text(text) => latin(text),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn damaged(&self, why: String) -> CheckpointError {
        CheckpointError::Damaged { path: self.path.clone(), why }
    }
}

/// Steps of a contiguous array, in elements.
fn strides(shape: &[usize], fortran: bool) -> Vec<usize> {
    if !fortran {
        return super::pickle::strides(shape);
    }
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    super::pickle::strides(&reversed).into_iter().rev().collect()
}

/// The elements of a strided view, row-major, `bytes` in all; `None` where it reaches beyond what is held.
fn picked(
    held: &[u8],
    size: usize,
    offset: usize,
    shape: &[usize],
    strides: &[usize],
    bytes: usize,
) -> Option<Vec<u8>> {
    if shape.len() != strides.len() {
        return None;
    }
    if bytes == 0 {
        return Some(vec![]);
    }
    let reach = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |sum, (extent, step)| sum.checked_add((extent - 1).checked_mul(*step)?))?;
    if reach.checked_add(1)?.checked_mul(size)? > held.len() {
        return None;
    }
    if strides == super::pickle::strides(shape) {
        return Some(held[offset * size..offset * size + bytes].to_vec());
    }
    let mut picked = Vec::with_capacity(bytes);
    let mut place = vec![0; shape.len()];
    loop {
        let at = offset + place.iter().zip(strides).map(|(index, step)| index * step).sum::<usize>();
        picked.extend_from_slice(&held[at * size..(at + 1) * size]);
        // The last axis is the fastest.
        let Some(axis) = (0..shape.len()).rev().find(|&axis| place[axis] + 1 < shape[axis]) else { break };
        place[axis] += 1;
        place[axis + 1..].fill(0);
    }
    Some(picked)
}

fn little_endian(mut bytes: Vec<u8>, size: usize, big_endian: bool) -> Vec<u8> {
    if big_endian {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::{Value, none_announced, write_torch_value};
    use super::*;

    #[test]
    fn a_view_is_read_in_its_own_order_and_not_beyond_its_storage() {
        let held: Vec<u8> = (0..12).collect();
        assert_eq!(picked(&held, 1, 0, &[3, 4], &[4, 1], 12).unwrap(), held);
        assert_eq!(picked(&held, 1, 0, &[4, 3], &[1, 4], 12).unwrap(), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(picked(&held, 2, 1, &[2], &[2], 4).unwrap(), [2, 3, 6, 7]);
        assert_eq!(picked(&held, 1, 5, &[3], &[0], 3).unwrap(), [5, 5, 5], "an expanded one");
        for (offset, shape, strides) in [(1, [3, 4], [4, 1]), (0, [3, 4], [5, 1]), (usize::MAX, [1, 1], [1, 1])] {
            assert!(picked(&held, 1, offset, &shape, &strides, 12).is_none());
        }
        assert_eq!(strides(&[2, 3, 4], true), [1, 2, 6]);
    }

    #[test]
    fn values_beside_the_tensors_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let inner = Value::Dict(vec![("mask".into(), Value::Tensor(Tensor::from_i64(vec![1, 2], &[1, 0])))]);
        let value = Value::Dict(vec![
            ("vid".into(), Value::Text("clip".into())),
            ("query_idx".into(), Value::Tensor(Tensor::from_i64(vec![], &[7]))),
            ("plain".into(), Value::Int(-3)),
            ("features".into(), Value::Tensor(Tensor::from_f32(vec![2, 1], &[1.0, 2.0]))),
            ("text_token".into(), inner),
        ]);
        write_torch_value(file.as_file(), &value, none_announced).unwrap();
        let saved = Saved::open(file.path()).unwrap().unwrap();
        let names: Vec<String> = saved.arrays().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["query_idx", "features", "text_token.mask"]);
        assert_eq!((saved.text("vid"), saved.int("query_idx"), saved.int("plain")), (Some("clip"), Some(7), Some(-3)));
        assert_eq!(saved.read("features").unwrap(), Tensor::from_f32(vec![2, 1], &[1.0, 2.0]));
        assert!(matches!(saved.read("absent"), Err(CheckpointError::NoTensor { .. })));
    }
}
