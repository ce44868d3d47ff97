//! What `torch.save` wrote: which tensors a file holds, and under which key.
//!
//! Parsing is `pytorch-reader`'s, which builds plain values from a pickle and calls nothing; this file decides what is
//! handed to it and which tensors are weights. Invariant: no size that a file claims is believed before it is compared
//! with the length of the file.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader, Tensor as Lazy};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::{CheckpointError, Container, Dtype, Tensor, TensorInfo};

/// Keys that trainers put weights under, in the order in which they are tried. Running means of weights that lie beside them come
/// first, for they are what is evaluated (ActionFormer's `state_dict_ema`, DeiT's `model_ema`). EgoTaskQA has `model_state_dict`,
/// PySlowFast `model_state`, VISSL `trunk`.
const KEYS: [&str; 7] =
    ["state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model_state", "model", "trunk"];
/// Those that are names of parts of a module too.
const PARTS: [&str; 2] = ["model", "trunk"];
/// Tensors and compressed entries may take this many times the length of their file. `torch.save` compresses nothing,
/// and only an expanded view is larger than its storage.
pub(super) const GROWTH: u64 = 16;
/// What even the smallest file may grow to: a mask of a few thousand tokens, expanded from one row.
pub(super) const SMALL_BYTES: u64 = 64 << 20;
/// An attribute of every state dict, which the library shows as one of its entries.
const ATTRIBUTE: &str = "_metadata";
/// How `pytorch-reader` names a tensor among plain values.
const TENSOR: &str = "torch.Tensor";

/// The weights of a file and what stands beside them.
pub(super) struct Torch {
    /// By the names in the file, the key taken off.
    tensors: BTreeMap<String, Lazy>,
    /// The key that held them.
    pub(super) key: Option<&'static str>,
    /// Tensors elsewhere in the file.
    pub(super) tensors_aside: usize,
    /// Entries among the weights that are no tensors.
    pub(super) not_tensors: Vec<String>,
    /// The entry `epoch`.
    pub(super) epoch: Option<i64>,
    /// The entry `arch`.
    pub(super) arch: Option<String>,
}

impl Torch {
    pub(super) fn open(path: &Path, container: Container) -> Result<Self, CheckpointError> {
        if container == Container::TorchZip {
            check_zip(path)?;
        }
        let values = PytorchReader::read_pickle_data(path, None).map_err(|error| refused(path, error))?;
        let PickleValue::Dict(top) = values else {
            let found = "one value that torch.save wrote, which is not a dict".to_owned();
            return Err(CheckpointError::NotACheckpoint { path: path.to_owned(), found });
        };
        let all = PytorchReader::new(path).map_err(|error| refused(path, error))?.into_tensors();
        check_size(path, &all)?;
        Self::chosen(path, &top, all)
    }

    /// The weights among all tensors of the file.
    fn chosen(
        path: &Path,
        top: &HashMap<String, PickleValue>,
        all: HashMap<String, Lazy>,
    ) -> Result<Self, CheckpointError> {
        let total = all.len();
        let key = key(top);
        let tensors: BTreeMap<String, Lazy> = match key {
            Some(key) => all.into_iter().filter_map(|(name, tensor)| Some((below(&name, key)?, tensor))).collect(),
            // A whole module is a tree of tensors; a flat dict may have other things beside its tensors.
            None if is_module(top) => all.into_iter().collect(),
            None => all.into_iter().filter(|(name, _)| top.get(name).is_some_and(is_tensor)).collect(),
        };
        if tensors.is_empty() {
            return Err(CheckpointError::NoTensors { path: path.to_owned(), found: sorted(top.keys()) });
        }
        Ok(Self {
            tensors_aside: total - tensors.len(),
            tensors,
            key,
            not_tensors: match key.and_then(|key| top.get(key)) {
                Some(PickleValue::Dict(weights)) => not_tensors(weights),
                _ => not_tensors(top),
            },
            epoch: if let Some(PickleValue::Int(epoch)) = top.get("epoch") { Some(*epoch) } else { None },
            arch: if let Some(PickleValue::String(arch)) = top.get("arch") { Some(arch.clone()) } else { None },
        })
    }

    /// Names in the file, and what they are.
    pub(super) fn infos(&self, path: &Path) -> Result<BTreeMap<String, TensorInfo>, CheckpointError> {
        let info = |(name, tensor): (&String, &Lazy)| {
            let dtype = dtype(tensor.dtype()).ok_or_else(|| CheckpointError::Dtype {
                path: path.to_owned(),
                tensor: name.clone(),
                found: format!("{:?}", tensor.dtype()).to_lowercase(),
            })?;
            Ok((name.clone(), TensorInfo { dtype, shape: tensor.shape().to_vec() }))
        };
        self.tensors.iter().map(info).collect()
    }

    /// The tensor that the file calls `name`, which is one of [`Torch::infos`].
    pub(super) fn read(&self, path: &Path, name: &str, info: &TensorInfo) -> Result<Tensor, CheckpointError> {
        let missing = || CheckpointError::NoTensor { checkpoint: path.display().to_string(), tensor: name.to_owned() };
        let bytes = self.tensors.get(name).ok_or_else(missing)?.read();
        let bytes = bytes.map_err(|error| refused(path, PytorchError::Io(error)))?;
        Ok(Tensor { dtype: info.dtype, shape: info.shape.clone(), bytes: little_endian(bytes, info.dtype) })
    }
}

/// `pytorch-reader` gives the byte order of the machine.
fn little_endian(mut bytes: Vec<u8>, dtype: Dtype) -> Vec<u8> {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(dtype.size_bytes()).for_each(<[u8]>::reverse);
    }
    bytes
}

/// The key that holds the weights; `None` if they stand at the top.
fn key(top: &HashMap<String, PickleValue>) -> Option<&'static str> {
    // A module may have a part of that name beside others.
    let is_part = |key: &str| PARTS.contains(&key) && top.len() > 1 && is_module(top);
    KEYS.into_iter().find(|key| top.get(*key).is_some_and(holds_tensors) && !is_part(key))
}

/// Whether there are tensors and nothing else, at whatever depth: how a whole pickled module is read.
fn is_module(top: &HashMap<String, PickleValue>) -> bool {
    top.values().all(only_tensors)
}

/// What stands in `name` after `key` and a dot.
fn below(name: &str, key: &str) -> Option<String> {
    Some(name.strip_prefix(key)?.strip_prefix('.')?.to_owned())
}

fn is_tensor(value: &PickleValue) -> bool {
    matches!(value, PickleValue::Unsupported(kind) if kind == TENSOR)
}

fn holds_tensors(value: &PickleValue) -> bool {
    match value {
        PickleValue::Dict(dict) => dict.values().any(holds_tensors),
        PickleValue::List(items) => items.iter().any(holds_tensors),
        other => is_tensor(other),
    }
}

fn only_tensors(value: &PickleValue) -> bool {
    match value {
        PickleValue::Dict(dict) => dict.values().all(only_tensors),
        other => is_tensor(other),
    }
}

/// Names of the entries of `weights` in which there is no tensor.
fn not_tensors(weights: &HashMap<String, PickleValue>) -> Vec<String> {
    let others = weights.iter().filter(|(name, value)| !holds_tensors(value) && *name != ATTRIBUTE);
    sorted(others.map(|(name, _)| name))
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = names.cloned().collect();
    names.sort();
    names
}

fn dtype(dtype: DType) -> Option<Dtype> {
    Some(match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::Bf16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::Bool,
        DType::U64 | DType::U32 | DType::U16 => return None,
    })
}

/// The library's error as ours: the system's troubles apart from the file's.
fn refused(path: &Path, error: PytorchError) -> CheckpointError {
    match error {
        PytorchError::Io(error)
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            CheckpointError::io("read", path)(error)
        }
        PytorchError::Io(error) => CheckpointError::damaged(path)(error),
        error => CheckpointError::damaged(path)(error),
    }
}

/// Looks at the directory of a zip, before anything in it is read.
pub(super) fn check_zip(path: &Path) -> Result<(), CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io("open", path))?;
    let length = file.metadata().map_err(CheckpointError::io("read", path))?.len();
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| match error {
        ZipError::Io(error) => CheckpointError::io("read", path)(error),
        other => CheckpointError::Truncated {
            path: path.to_owned(),
            expected: format!("a zip with its directory at the end ({other})"),
            length,
        },
    })?;
    let pickled = archive.file_names_raw().any(|name| name.ends_with(b"data.pkl"));
    if !pickled {
        let found = "a zip archive without data.pkl, which torch.save did not write".to_owned();
        return Err(CheckpointError::NotACheckpoint { path: path.to_owned(), found });
    }
    let (stored, unpacked) = sizes(&mut archive).map_err(CheckpointError::damaged(path))?;
    bound(path, "its zip entries", stored, length, length)?;
    bound(path, "its zip entries, decompressed,", unpacked, length.saturating_mul(GROWTH), length)
}

/// Bytes that the entries claim: those stored as they are, and those that are compressed.
fn sizes(archive: &mut ZipArchive<BufReader<File>>) -> Result<(u64, u64), ZipError> {
    let (mut stored, mut unpacked) = (0u64, 0u64);
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        let sum = if entry.compression() == CompressionMethod::Stored { &mut stored } else { &mut unpacked };
        *sum = sum.saturating_add(entry.size());
    }
    Ok((stored, unpacked))
}

/// Refuses views that expand a small file into a large memory.
fn check_size(path: &Path, tensors: &HashMap<String, Lazy>) -> Result<(), CheckpointError> {
    let length = path.metadata().map_err(CheckpointError::io("read", path))?.len();
    let declared = tensors.values().fold(0u64, |sum, tensor| sum.saturating_add(tensor.byte_len() as u64));
    let limit = length.saturating_mul(GROWTH).saturating_add(SMALL_BYTES);
    bound(path, "its tensors", declared, limit, length)
}

fn bound(path: &Path, what: &'static str, declared: u64, limit: u64, length: u64) -> Result<(), CheckpointError> {
    if declared <= limit {
        return Ok(());
    }
    Err(CheckpointError::TooLarge { path: path.to_owned(), what, declared, limit, length })
}
