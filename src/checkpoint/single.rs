//! Files that hold one tensor, bare or as the only one of a dict: how features are passed around.
//!
//! Not for weights. `pytorch-reader` wants a dict at the top, so a bare tensor is given one, in a temporary copy of its
//! file. Invariant: as everywhere here, nothing in a pickle is run.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use pytorch_reader::{PickleValue, PytorchReader};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::torch::{TENSOR, check_zip, refused};
use super::{Checkpoint, CheckpointError, Container, Tensor, sniff};

/// The name that a bare tensor is given.
const NAME: &str = "tensor";

/// The tensor of a file that `torch.save` (or safetensors) wrote: the value itself, or the only tensor of a dict.
///
/// # Errors
/// [`CheckpointError::NotOneTensor`] if there are several, and the reading variants.
pub fn read_one_tensor(path: &Path) -> Result<Tensor, CheckpointError> {
    if sniff::container(path)? == Container::TorchZip {
        check_zip(path)?;
        let value = PytorchReader::read_pickle_data(path, None).map_err(|error| refused(path, error))?;
        if matches!(&value, PickleValue::Unsupported(kind) if kind == TENSOR) {
            return read_bare(path);
        }
    }
    read_only(path, path)
}

/// The only tensor of the dict in `file`, which stands for `path`.
fn read_only(file: &Path, path: &Path) -> Result<Tensor, CheckpointError> {
    let checkpoint = Checkpoint::open(file)?;
    let names: Vec<String> = checkpoint.tensors().keys().cloned().collect();
    match names.as_slice() {
        [name] => checkpoint.read(name),
        _ => Err(CheckpointError::NotOneTensor { path: path.to_owned(), found: names }),
    }
}

fn read_bare(path: &Path) -> Result<Tensor, CheckpointError> {
    let copy = tempfile::NamedTempFile::new().map_err(CheckpointError::io("copy", path))?;
    wrap(path, copy.as_file()).map_err(CheckpointError::io("copy", path))?;
    read_only(copy.path(), path)
}

/// Writes the archive at `path` to `out` with a dict around its value.
fn wrap(path: &Path, out: &File) -> io::Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut wrapped = ZipWriter::new(BufWriter::new(out));
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        if name.ends_with("data.pkl") {
            wrapped.start_file(name, SimpleFileOptions::default().compression_method(CompressionMethod::Stored))?;
            let mut pickled = Vec::new();
            entry.read_to_end(&mut pickled)?;
            wrapped.write_all(&in_dict(&pickled))?;
        } else {
            drop(entry);
            let entry = archive.by_index_raw(index)?;
            wrapped.raw_copy_file(entry)?;
        }
    }
    wrapped.finish()?.flush()?;
    let mut out = out;
    out.rewind()
}

/// `{NAME: value}` for the pickle of `value`: the dict and the key before it, `SETITEM` before its `STOP`.
fn in_dict(pickled: &[u8]) -> Vec<u8> {
    let (start, body) = match pickled {
        [0x80, protocol, body @ ..] => ([0x80, *protocol], body),
        body => ([0x80, 2], body),
    };
    let body = body.strip_suffix(b".").unwrap_or(body);
    let mut wrapped = [&start[..], b"}X"].concat();
    wrapped.extend((NAME.len() as u32).to_le_bytes());
    wrapped.extend(NAME.as_bytes());
    wrapped.extend(body);
    wrapped.extend(b"s.");
    wrapped
}

#[cfg(test)]
mod tests {
    use super::super::{Value, none_announced, write_torch_value};
    use super::*;

    fn written(value: &Value) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_torch_value(file.as_file(), value, none_announced).unwrap();
        file
    }

    fn tensor() -> Tensor {
        Tensor::from_f32(vec![2, 3], &[1.0, -2.0, 0.5, f32::NAN, 0.0, 1e-30])
    }

    #[test]
    fn a_bare_tensor_and_the_only_one_of_a_dict_are_read() {
        let dict = Value::Dict(vec![
            ("fps".into(), Value::Float(1.87)),
            ("features".into(), Value::Tensor(tensor())),
            ("rows".into(), Value::Int(-5_000_000_000)),
            ("more".into(), Value::List(vec![Value::None, Value::Bool(true), Value::Text("\u{e9}".into())])),
        ]);
        for value in [Value::Tensor(tensor()), dict] {
            assert_eq!(read_one_tensor(written(&value).path()).unwrap(), tensor());
        }
    }

    #[test]
    fn several_tensors_are_refused_by_name() {
        let pair = |name: &str| (name.to_owned(), Value::Tensor(tensor()));
        let file = written(&Value::Dict(vec![pair("video"), pair("text")]));
        let error = read_one_tensor(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("expected one tensor, or a dict with one, found \"text\", \"video\""), "{error}");
    }

    #[test]
    fn other_values_and_other_files_are_refused() {
        let list = written(&Value::List(vec![Value::Tensor(tensor())]));
        assert!(matches!(read_one_tensor(list.path()), Err(CheckpointError::NotACheckpoint { .. })));
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "404: Not Found").unwrap();
        assert!(matches!(read_one_tensor(text.path()), Err(CheckpointError::NotACheckpoint { .. })));
    }
}
