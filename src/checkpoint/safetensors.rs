//! safetensors files: the header, and tensors by positioned reads.
//!
//! Not for writing them. Invariant: after `open` every tensor's range lies within the file, no two overlap, and nothing
//! but the header has been read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ::safetensors::tensor::{Dtype as Stored, Metadata};

use super::sniff::SAFETENSORS_HEADER;
use super::{CheckpointError, Dtype, Tensor, TensorInfo};

/// Bytes before the header: its length.
const LENGTH_BYTES: u64 = 8;

/// An open file and where its tensors begin.
pub(super) struct SafeTensors {
    file: File,
    offsets: BTreeMap<String, (u64, TensorInfo)>,
    metadata: BTreeMap<String, String>,
}

impl SafeTensors {
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let mut file = File::open(path).map_err(CheckpointError::io("open", path))?;
        let length = file.metadata().map_err(CheckpointError::io("read", path))?.len();
        let header = header(path, &mut file, length)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| CheckpointError::Damaged { path: path.to_owned(), why: format!("its header: {error}") })?;
        let start = LENGTH_BYTES + header.len() as u64;
        check_length(path, start.saturating_add(metadata.data_len() as u64), length)?;
        let texts = metadata.metadata().iter().flatten().map(|(key, text)| (key.clone(), text.clone())).collect();
        Ok(Self { file, offsets: offsets(path, &metadata, start)?, metadata: texts })
    }

    /// What the header says beside the tensors.
    pub(super) fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Names in the file, and what they are.
    pub(super) fn infos(&self) -> BTreeMap<String, TensorInfo> {
        self.offsets.iter().map(|(name, (_, info))| (name.clone(), info.clone())).collect()
    }

    /// The tensor that the file calls `name`, which is one of [`SafeTensors::infos`].
    pub(super) fn read(&self, path: &Path, name: &str) -> Result<Tensor, CheckpointError> {
        let missing = || CheckpointError::NoTensor { checkpoint: path.display().to_string(), tensor: name.to_owned() };
        let (offset, info) = self.offsets.get(name).ok_or_else(missing)?;
        let mut bytes = vec![0; info.bytes()];
        self.file.read_exact_at(&mut bytes, *offset).map_err(CheckpointError::io("read", path))?;
        Ok(Tensor { dtype: info.dtype, shape: info.shape.clone(), bytes })
    }
}

/// The JSON at the beginning.
fn header(path: &Path, file: &mut File, length: u64) -> Result<Vec<u8>, CheckpointError> {
    let mut size = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut size).map_err(CheckpointError::io("read", path))?;
    let size = u64::from_le_bytes(size);
    if size > SAFETENSORS_HEADER || size > length.saturating_sub(LENGTH_BYTES) {
        let expected = format!("a header of {size} bytes");
        return Err(CheckpointError::Truncated { path: path.to_owned(), expected, length });
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header).map_err(CheckpointError::io("read", path))?;
    Ok(header)
}

/// The tensors end where the file ends.
fn check_length(path: &Path, expected: u64, length: u64) -> Result<(), CheckpointError> {
    if expected > length {
        let expected = format!("{expected} bytes by its header");
        return Err(CheckpointError::Truncated { path: path.to_owned(), expected, length });
    }
    if expected < length {
        let why = format!("its header accounts for {expected} bytes, the file has {length}");
        return Err(CheckpointError::Damaged { path: path.to_owned(), why });
    }
    Ok(())
}

fn offsets(
    path: &Path,
    metadata: &Metadata,
    start: u64,
) -> Result<BTreeMap<String, (u64, TensorInfo)>, CheckpointError> {
    let one = |(name, info): (String, &::safetensors::tensor::TensorInfo)| {
        let dtype = dtype(info.dtype).ok_or_else(|| CheckpointError::Dtype {
            path: path.to_owned(),
            tensor: name.clone(),
            found: format!("{:?}", info.dtype).to_lowercase(),
        })?;
        Ok((name, (start + info.data_offsets.0 as u64, TensorInfo { dtype, shape: info.shape.clone() })))
    };
    metadata.tensors().into_iter().map(one).collect()
}

/// The library's types and ours, both ways.
const DTYPES: [(Stored, Dtype); 10] = [
    (Stored::F64, Dtype::F64),
    (Stored::F32, Dtype::F32),
    (Stored::F16, Dtype::F16),
    (Stored::BF16, Dtype::Bf16),
    (Stored::I64, Dtype::I64),
    (Stored::I32, Dtype::I32),
    (Stored::I16, Dtype::I16),
    (Stored::I8, Dtype::I8),
    (Stored::U8, Dtype::U8),
    (Stored::BOOL, Dtype::Bool),
];

fn dtype(stored: Stored) -> Option<Dtype> {
    DTYPES.iter().find(|(theirs, _)| *theirs == stored).map(|(_, ours)| *ours)
}

/// The name that a header gives to `dtype`.
pub(super) fn stored_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F64 => "F64",
        Dtype::F32 => "F32",
        Dtype::F16 => "F16",
        Dtype::Bf16 => "BF16",
        Dtype::I64 => "I64",
        Dtype::I32 => "I32",
        Dtype::I16 => "I16",
        Dtype::I8 => "I8",
        Dtype::U8 => "U8",
        Dtype::Bool => "BOOL",
    }
}
