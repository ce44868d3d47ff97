//! Contract and header as named values, the form in which files carry them as attributes.
//!
//! Not for where a format puts them. Invariant: what `of` writes, `parse` reads back unchanged, in typed form (HDF5
//! attributes) and in text form (Parquet key-value metadata) alike.

use serde_json::{Map, Value};

use super::contract::{Contract, UnitHeader};

/// Fields whose text form is JSON; all others are texts and stand for themselves.
const NOT_TEXT: [&str; 12] = [
    "schema_version",
    "dim",
    "rows_per_sec",
    FPS,
    "window_frames",
    "rows",
    "start_sec",
    "end_sec",
    "source_bytes",
    "source_fps",
    "source_frames",
    "notes",
];

/// What schema 2 calls `rows_per_sec`.
const FPS: &str = "fps";

/// Every field of the contract, then every field of the header; a unit without a span has no `start_sec` and `end_sec`.
///
/// # Errors
/// Those of serde.
pub fn of(contract: &Contract, header: &UnitHeader) -> serde_json::Result<Map<String, Value>> {
    let mut fields = of_contract(contract)?;
    if let Value::Object(own) = serde_json::to_value(header)? {
        fields.extend(own);
    }
    Ok(fields)
}

/// Every field of the contract, under the names of its schema.
///
/// # Errors
/// Those of serde.
pub fn of_contract(contract: &Contract) -> serde_json::Result<Map<String, Value>> {
    // A struct is an object; serde has no way to say so.
    let Value::Object(fields) = serde_json::to_value(contract)? else { return Ok(Map::new()) };
    let named = |name: String| if contract.is_schema_2() && name == "rows_per_sec" { FPS.to_owned() } else { name };
    Ok(fields.into_iter().map(|(name, value)| (named(name), value)).collect())
}

/// The reverse of [`of`]; fields of neither are ignored, a missing or mistyped one is an error.
///
/// # Errors
/// A field that is missing or has another type.
pub fn parse(fields: Map<String, Value>) -> serde_json::Result<(Contract, UnitHeader)> {
    let fields = Value::Object(fields);
    Ok((serde_json::from_value(fields.clone())?, serde_json::from_value(fields)?))
}

/// A value as text.
pub fn to_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The value of field `name` from its text.
///
/// # Errors
/// A text that is no JSON where the field is no text.
pub fn from_text(name: &str, text: &str) -> serde_json::Result<Value> {
    if NOT_TEXT.contains(&name) { serde_json::from_str(text) } else { Ok(Value::String(text.to_owned())) }
}

impl Contract {
    /// The first field in which `self` differs from a stored contract, with the stored and the own value as text; `None`
    /// if all fields are equal. Fields that only the stored one has are ignored: `schema_version` guards those.
    pub fn first_difference(&self, stored: &Value) -> Option<Difference> {
        let own = of_contract(self).expect("a derived Serialize of plain data");
        own.iter().filter(|(field, wanted)| stored.get(field) != Some(wanted)).map(Difference::new(stored)).next()
    }
}

/// One field in which two contracts differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Name of the field.
    pub field: String,
    /// Its stored value; of a longer text the first line that differs.
    pub stored: String,
    /// The value that was expected, likewise.
    pub wanted: String,
}

impl Difference {
    fn new(stored: &Value) -> impl Fn((&String, &Value)) -> Self {
        move |(field, wanted)| {
            let stored = stored.get(field).map_or("(absent)".into(), to_text);
            let (stored, wanted) = first_differing_line(&stored, &to_text(wanted));
            Self { field: field.clone(), stored, wanted }
        }
    }
}

fn first_differing_line(stored: &str, wanted: &str) -> (String, String) {
    let lines = stored.lines().count().max(wanted.lines().count());
    let line = |text: &str, index: usize| text.lines().nth(index).unwrap_or("(end of text)").to_owned();
    (0..lines)
        .map(|index| (line(stored, index), line(wanted, index)))
        .find(|(stored, wanted)| stored != wanted)
        .unwrap_or_else(|| (format!("{stored:?}"), format!("{wanted:?}")))
}

#[cfg(test)]
mod tests {
    use super::super::contract::Dtype;
    use super::super::samples;
    use super::*;

    #[test]
    fn fields_round_trip_typed_and_as_text() {
        let spans = [None, crate::time::TimeSpan::new(0.1, 0.7)];
        for (schema_version, span) in [2, 3].into_iter().flat_map(|version| spans.map(|span| (version, span))) {
            let contract = Contract { schema_version, ..samples::contract("hdf5", Dtype::F16) };
            let mut header = samples::header("123", 5);
            header.span = span;
            let fields = of(&contract, &header).unwrap();
            let texts = fields.iter().map(|(name, value)| (name.clone(), from_text(name, &to_text(value)).unwrap()));
            assert_eq!(texts.collect::<Map<_, _>>(), fields);
            assert!(fields.contains_key(if schema_version == 2 { FPS } else { "rows_per_sec" }));
            assert_eq!(parse(fields).unwrap(), (contract, header));
        }
    }

    #[test]
    fn exactly_the_fields_that_are_no_texts_are_listed() {
        let mut header = samples::header("a", 1);
        header.span = crate::time::TimeSpan::new(0.0, 1.0);
        let fields = of(&samples::contract("hdf5", Dtype::F32), &header).unwrap();
        let mut found: Vec<_> = fields.iter().filter(|(_, v)| !v.is_string()).map(|(name, _)| name.as_str()).collect();
        let mut listed: Vec<_> = NOT_TEXT.into_iter().filter(|name| *name != FPS).collect();
        found.sort();
        listed.sort();
        assert_eq!(found, listed);
    }

    #[test]
    fn contracts_differ_in_their_first_differing_field() {
        let wanted = samples::contract("hdf5", Dtype::F32);
        let stored = |change: fn(&mut Contract)| {
            let mut other = wanted.clone();
            change(&mut other);
            serde_json::to_value(other).unwrap()
        };
        let differing = |stored: &Value| wanted.first_difference(stored).map(|found| found.field);
        assert_eq!(differing(&stored(|_| ())), None);
        assert_eq!(differing(&stored(|c| c.fingerprint = "x".into())).unwrap(), "fingerprint");
        let both = stored(|c| (c.fingerprint, c.dim) = ("x".into(), 7));
        assert_eq!(differing(&both).unwrap(), "dim");
        assert_eq!(differing(&Value::Null).unwrap(), "schema_version");
    }

    #[test]
    fn of_a_long_text_the_first_differing_line_is_named() {
        let wanted = samples::contract("hdf5", Dtype::F32);
        let mut stored = wanted.clone();
        stored.recipe = "a = 1\nb = 3\n".into();
        let found = wanted.first_difference(&serde_json::to_value(stored).unwrap()).unwrap();
        assert_eq!((found.stored.as_str(), found.wanted.as_str()), ("b = 3", "b = 2"));
        assert_eq!(first_differing_line("a\n", "a").0, "\"a\\n\"");
    }
}
