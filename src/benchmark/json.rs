//! JSON of the benchmarks, read as strictly as its meaning needs and no more.
//!
//! Unknown fields are ignored, and what the official files leave out or set to null is optional in the types of each
//! benchmark. Not for meaning. A field of another type is an error that names file, line, column and the field's path.

use std::fmt;
use std::fs;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::BenchmarkError;

/// Reads a whole file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, BenchmarkError> {
    let bytes = fs::read(path).map_err(|cause| BenchmarkError::Read { path: path.to_owned(), cause })?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let at = match error.path().to_string() {
            path if path == "." => "malformed json".to_owned(),
            path => path,
        };
        BenchmarkError::Json { path: path.to_owned(), at, cause: error.into_inner() }
    })?;
    let end = |cause| BenchmarkError::Json { path: path.to_owned(), at: "behind the end".to_owned(), cause };
    reader.end().map_err(end)?;
    Ok(parsed)
}

/// A value that only passes through: texts as they are, null as nothing, all else as JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Cell(pub String);

impl Cell {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        }))
    }
}

/// The entries of an object, in the order of the file.
#[derive(Debug)]
pub(crate) struct Pairs<T>(pub Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor(PhantomData)).map(Self)
    }
}

struct PairsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for PairsVisitor<T> {
    type Value = Vec<(String, T)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read(file.path()).map_err(|error| {
            let text = error.to_string();
            text.strip_prefix(&format!("{}: ", file.path().display())).unwrap().to_owned()
        })
    }

    #[test]
    fn errors_name_the_field_and_the_place() {
        let error = of::<Pairs<Vec<f64>>>("{\"a\": [1],\n \"b\": [2, \"x\"]}").unwrap_err();
        assert_eq!(error, "b[1]: invalid type: string \"x\", expected f64 at line 2 column 13");
        let error = of::<Pairs<f64>>("{\"a\": 1").unwrap_err();
        assert!(error.contains("EOF while parsing an object at line 1 column 7"), "{error}");
        assert!(of::<f64>("1 2").unwrap_err().starts_with("behind the end: trailing characters at line 1"), "");
        assert!(of::<Vec<f64>>("").unwrap_err().starts_with("malformed json: EOF"));
        assert!(matches!(read::<f64>(Path::new("/nowhere.json")), Err(BenchmarkError::Read { .. })));
    }

    #[test]
    fn objects_keep_their_order_and_cells_any_value() {
        let pairs: Pairs<Cell> =
            of("\u{feff}{\"9\": null, \"10\": \"a \\\"b\\\"\", \"1\": [1, \"x\"], \"2\": true}").unwrap();
        let texts: Vec<_> = pairs.0.iter().map(|(key, cell)| (key.as_str(), cell.as_str())).collect();
        assert_eq!(texts, [("9", ""), ("10", "a \"b\""), ("1", "[1,\"x\"]"), ("2", "true")]);
    }
}
