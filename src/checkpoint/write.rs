//! Writes tensors as safetensors or as `torch.save` would.
//!
//! Not for choosing them. Invariant: one tensor is in memory at a time, and the final name only ever points to a complete
//! file whose bytes have reached the device.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::archive::Archive;
use super::safetensors::stored_name;
use super::{CheckpointError, Tensor, TensorInfo, pickle};
use crate::durable::{self, Existing};

/// Alignment of the tensors' beginning in safetensors, as its authors advise.
const SAFETENSORS_ALIGNMENT: usize = 8;

/// Gives the tensor of a name.
pub type ReadTensor<'a> = dyn FnMut(&str) -> Result<Tensor, CheckpointError> + 'a;

/// Writes `tensors`, each fetched with `read` when its turn comes, with `metadata` in the header.
///
/// # Errors
/// [`CheckpointError::Io`] if the file cannot be written, [`CheckpointError::Announced`] if `read` gives other tensors
/// than announced, and what `read` returns. Nothing is left behind then, and a file that was at `path` stays.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, TensorInfo>,
    read: &mut ReadTensor,
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    // Widest elements first, so that each tensor begins at a multiple of its element's size.
    let mut order: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    order.sort_by_key(|(name, info)| (std::cmp::Reverse(info.dtype.size_bytes()), *name));
    let header = header(&order, metadata);
    in_place(path, |file| {
        let written = |result: io::Result<()>| result.map_err(CheckpointError::io("write", path));
        written(file.write_all(&(header.len() as u64).to_le_bytes()))?;
        written(file.write_all(&header))?;
        for (name, info) in &order {
            written(file.write_all(&announced(name, info, read)?.bytes))?;
        }
        Ok(())
    })
}

fn header(order: &[(&String, &TensorInfo)], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut start = 0;
    for (name, info) in order {
        let end = start + info.bytes();
        let entry = json!({"dtype": stored_name(info.dtype), "shape": info.shape, "data_offsets": [start, end]});
        header.insert((*name).clone(), entry);
        start = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(SAFETENSORS_ALIGNMENT), b' ');
    text
}

/// Writes `tensors`, each fetched with `read` when its turn comes, as `torch.save({"state_dict": ...})` would, with
/// `prefix` before each name. `torch.load(weights_only=True)` opens it.
///
/// # Errors
/// As for [`write_safetensors`].
pub fn write_torch(
    path: &Path,
    tensors: &BTreeMap<String, TensorInfo>,
    read: &mut ReadTensor,
    prefix: &str,
) -> Result<(), CheckpointError> {
    in_place(path, |file| {
        let mut archive = Archive::new(file);
        let mut entry =
            |name: &str, bytes: &[u8]| archive.entry(name, bytes).map_err(CheckpointError::io("write", path));
        entry("data.pkl", &pickle::state_dict(tensors, prefix))?;
        entry("byteorder", b"little")?;
        for (index, (name, info)) in tensors.iter().enumerate() {
            entry(&format!("data/{index}"), &announced(name, info, read)?.bytes)?;
        }
        entry("version", b"3\n")?;
        archive.finish().map_err(CheckpointError::io("write", path))
    })
}

/// Writes `value` to `out` as `torch.save(value)` would; `torch.load(weights_only=True)` opens it. Not atomic: meant for
/// files of a folder that gets its name when all of them are written. `fetch` gives the tensors that are only announced,
/// in their order, so that one of them is in memory at a time.
///
/// # Errors
/// What `out` and `fetch` say, and [`io::ErrorKind::InvalidInput`] if `fetch` has no tensor of an announced one's length.
pub fn write_torch_value<W: Write + Seek, E: From<io::Error>>(
    out: W,
    value: &super::Value,
    mut fetch: impl FnMut() -> Result<Option<Tensor>, E>,
) -> Result<(), E> {
    let (pickled, tensors) = pickle::value(value);
    let mut archive = Archive::new(out);
    archive.entry("data.pkl", &pickled)?;
    archive.entry("byteorder", b"little")?;
    for (index, tensor) in tensors.iter().enumerate() {
        match tensor {
            Some(tensor) => archive.entry(&format!("data/{index}"), &tensor.bytes)?,
            None => {
                let absent = || io::Error::new(io::ErrorKind::InvalidInput, "an announced tensor did not come");
                archive.entry(&format!("data/{index}"), &fetch()?.ok_or_else(absent)?.bytes)?;
            }
        }
    }
    archive.entry("version", b"3\n")?;
    Ok(archive.finish()?)
}

/// For values without announced tensors.
///
/// # Errors
/// Never.
pub fn none_announced() -> io::Result<Option<Tensor>> {
    Ok(None)
}

/// The tensor of a name, as announced.
fn announced(name: &str, info: &TensorInfo, read: &mut ReadTensor) -> Result<Tensor, CheckpointError> {
    let tensor = read(name)?;
    if tensor.bytes.len() == info.bytes() && tensor.dtype == info.dtype && tensor.shape == info.shape {
        return Ok(tensor);
    }
    Err(CheckpointError::Announced { tensor: name.to_owned(), expected: info.bytes(), found: tensor.bytes.len() })
}

/// Writes beside `path` first; a file that is there is replaced if `write` succeeds.
fn in_place(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    durable::write(path, Existing::Replace, |error| CheckpointError::io("write", path)(error), write)
}
