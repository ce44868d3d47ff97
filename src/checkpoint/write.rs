//! Writes tensors as safetensors or as `torch.save` would.
//!
//! Not for choosing them. Invariant: one tensor is in memory at a time, and the final name only ever points to a complete
//! file whose bytes have reached the device.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::safetensors::stored_name;
use super::{CheckpointError, Tensor, TensorInfo, pickle};

/// Alignment of tensors in a `.pth`, which is torch's own.
const TORCH_ALIGNMENT: u16 = 64;
/// Alignment of the tensors' beginning in safetensors, as its authors advise.
const SAFETENSORS_ALIGNMENT: usize = 8;
/// The folder inside of a `.pth`; torch takes any.
const ROOT: &str = "archive";

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
        let mut zip = ZipWriter::new(file);
        let mut entry =
            |name: &str, bytes: &[u8]| stored(&mut zip, name, bytes).map_err(CheckpointError::io("write", path));
        entry("data.pkl", &pickle::state_dict(tensors, prefix))?;
        entry("byteorder", b"little")?;
        for (index, (name, info)) in tensors.iter().enumerate() {
            entry(&format!("data/{index}"), &announced(name, info, read)?.bytes)?;
        }
        entry("version", b"3\n")?;
        zip.finish().map(|_| ()).map_err(|error| CheckpointError::io("write", path)(error.into()))
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
    let mut zip = ZipWriter::new(out);
    stored(&mut zip, "data.pkl", &pickled)?;
    stored(&mut zip, "byteorder", b"little")?;
    for (index, tensor) in tensors.iter().enumerate() {
        match tensor {
            Some(tensor) => stored(&mut zip, &format!("data/{index}"), &tensor.bytes)?,
            None => {
                let absent = || io::Error::new(io::ErrorKind::InvalidInput, "an announced tensor did not come");
                stored(&mut zip, &format!("data/{index}"), &fetch()?.ok_or_else(absent)?.bytes)?;
            }
        }
    }
    stored(&mut zip, "version", b"3\n")?;
    Ok(zip.finish().map_err(io::Error::from)?.flush()?)
}

/// For values without announced tensors.
pub fn none_announced() -> io::Result<Option<Tensor>> {
    Ok(None)
}

/// One entry, uncompressed and aligned.
fn stored<W: Write + Seek>(zip: &mut ZipWriter<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(bytes.len() as u64 >= u64::from(u32::MAX))
        .with_alignment(TORCH_ALIGNMENT);
    zip.start_file(format!("{ROOT}/{name}"), options)?;
    zip.write_all(bytes)
}

/// The tensor of a name, as announced.
fn announced(name: &str, info: &TensorInfo, read: &mut ReadTensor) -> Result<Tensor, CheckpointError> {
    let tensor = read(name)?;
    if tensor.bytes.len() == info.bytes() && tensor.dtype == info.dtype && tensor.shape == info.shape {
        return Ok(tensor);
    }
    Err(CheckpointError::Announced { tensor: name.to_owned(), expected: info.bytes(), found: tensor.bytes.len() })
}

/// Writes a temporary sibling, synced and renamed to `path` if `write` succeeds, removed if not.
fn in_place(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let temporary = sibling(path);
    let result = written(path, &temporary, write);
    if result.is_err()
        && let Err(error) = fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove the temporary file {}: {error}", temporary.display());
    }
    result
}

fn written(
    path: &Path,
    temporary: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let mut file = BufWriter::new(File::create(temporary).map_err(CheckpointError::io("create", temporary))?);
    write(&mut file)?;
    let synced = file.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
    synced.map_err(CheckpointError::io("write", temporary))?;
    fs::rename(temporary, path).map_err(CheckpointError::io("rename a temporary file to", path))?;
    sync_folder(path).map_err(CheckpointError::io("sync the folder of", path))
}

/// Makes the rename survive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|file| file.sync_all()) {
        // Some network and FUSE file systems cannot sync a folder; their renames are as durable as they get.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

/// `path` with the process in its name, so that two writers do not share it.
fn sibling(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}
