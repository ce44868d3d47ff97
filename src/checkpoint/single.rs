//! The array of a file of features: what is handed around as `.pt` is a tensor, or a dict with one among other things.
//!
//! Not for weights. Invariant: where a file has several arrays that might be meant, it is refused with their names.

use std::path::Path;

use super::saved::Saved;
use super::{Checkpoint, CheckpointError, Tensor, TensorInfo};

/// Names under which rows are kept beside other arrays; the first that is there counts. `fused_video_features` is
/// EgoVLPv2's, in the dicts of its NLQ extraction.
const NAMES: [&str; 7] =
    ["features", "feature", "feats", "feat", "video_features", "fused_video_features", "embeddings"];

/// The array of a file that `torch.save` (or safetensors) wrote: the value itself, or the one array of rows in a dict,
/// scalars, masks and other things beside it not counted.
///
/// # Errors
/// [`CheckpointError::NotOneTensor`] if there are several or none, and the reading variants.
pub fn read_one_tensor(path: &Path) -> Result<Tensor, CheckpointError> {
    let Some(saved) = Saved::open(path)? else {
        let checkpoint = Checkpoint::open(path)?;
        let arrays: Vec<(String, TensorInfo)> =
            checkpoint.tensors().iter().map(|(name, info)| (name.clone(), info.clone())).collect();
        return checkpoint.read(chosen(path, &arrays)?);
    };
    saved.read(chosen(path, &saved.arrays())?)
}

/// The name of the array that is meant.
fn chosen<'a>(path: &Path, arrays: &'a [(String, TensorInfo)]) -> Result<&'a str, CheckpointError> {
    let is_rows = |info: &TensorInfo| info.dtype.is_float() && info.shape.len() >= 2;
    let rows: Vec<&str> = arrays.iter().filter(|(_, info)| is_rows(info)).map(|(name, _)| name.as_str()).collect();
    match (&rows[..], arrays) {
        ([name], _) => return Ok(*name),
        // No rows: the caller says what is wrong with the shape.
        ([], [(name, _)]) => return Ok(name),
        _ => {}
    }
    let known = NAMES.into_iter().find_map(|name| rows.iter().find(|found| **found == name));
    known.copied().ok_or_else(|| CheckpointError::NotOneTensor {
        path: path.to_owned(),
        found: arrays.iter().map(|(name, info)| format!("{name} {} {:?}", info.dtype, info.shape)).collect(),
    })
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

    fn dict(entries: Vec<(&str, Value)>) -> Value {
        Value::Dict(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    #[test]
    fn a_bare_tensor_and_the_one_of_a_dict_or_list_are_read() {
        let beside = dict(vec![
            ("fps", Value::Float(1.87)),
            ("features", Value::Tensor(tensor())),
            ("rows", Value::Int(-5_000_000_000)),
            ("mask", Value::Tensor(Tensor::from_i64(vec![1, 2], &[1, 1]))),
            ("times", Value::Tensor(Tensor::from_f32(vec![2], &[0.0, 1.0]))),
            ("more", Value::List(vec![Value::None, Value::Bool(true), Value::Text("\u{e9}".into())])),
        ]);
        for value in [Value::Tensor(tensor()), beside, Value::List(vec![Value::Tensor(tensor())])] {
            assert_eq!(read_one_tensor(written(&value).path()).unwrap(), tensor());
        }
    }

    #[test]
    fn of_several_the_one_with_a_known_name_is_read() {
        let other = || Value::Tensor(Tensor::from_f32(vec![1, 1], &[7.0]));
        let file = written(&dict(vec![("video", other()), ("feats", Value::Tensor(tensor())), ("text", other())]));
        assert_eq!(read_one_tensor(file.path()).unwrap(), tensor());
        let file = written(&dict(vec![("video", other()), ("text", other())]));
        let error = read_one_tensor(file.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("expected one tensor, or a dict with one, found \"video f32 [1, 1]\", \"text f32 [1, 1]\""),
            "{error}"
        );
    }

    #[test]
    fn other_values_and_other_files_are_refused() {
        let none = written(&Value::Text("features".into()));
        assert!(matches!(read_one_tensor(none.path()), Err(CheckpointError::NotOneTensor { .. })));
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "404: Not Found").unwrap();
        assert!(matches!(read_one_tensor(text.path()), Err(CheckpointError::NotACheckpoint { .. })));
    }
}
