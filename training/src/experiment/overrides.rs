//! Values that are set on the command line, over those of the experiment file: `--set train.batch=16`.
//!
//! Not for reading files. Invariant: what is set has the type that the key had before, where it had one.

use std::fmt::{self, Display};
use std::str::FromStr;

use toml::{Table, Value};

use super::extends::GRID;
use super::renamed;

/// Most keys that are suggested.
const MOST_NEAR: usize = 4;

/// One value that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Its key, dotted.
    key: String,
    /// The value, as typed.
    value: String,
}

impl FromStr for Override {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, as in train.batch=16")?;
        let (key, value) = (key.trim(), value.trim());
        if key.split('.').any(str::is_empty) {
            return Err("expected a key with dots, as in train.batch=16".to_owned());
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// As typed.
impl Display for Override {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "{}={}", self.key, self.value)
    }
}

impl Override {
    /// Sets the value in `table`, which has today's words. A key that is new in its table is left to whoever knows that table's keys.
    ///
    /// # Errors
    /// A value of another type, a key in no table, a key that the grid varies.
    pub(super) fn apply(&self, table: &mut Table) -> Result<(), String> {
        let key = renamed::key(&self.key);
        let is_within = |one: &str, other: &str| one.strip_prefix(other).is_some_and(|rest| rest.starts_with('.'));
        let is_varied = |varied: &&str| *varied == key || is_within(varied, &key) || is_within(&key, varied);
        let grid = table.get(GRID).and_then(Value::as_table).into_iter().flat_map(Table::keys);
        let varied: Vec<String> = grid.map(|varied| renamed::key(varied)).collect();
        if let Some(varied) = varied.iter().map(String::as_str).find(is_varied) {
            return Err(format!("--set {self}: the grid of the file varies {varied}; set `grid` itself"));
        }
        let unknown = unknown(&self.to_string(), &key, &dotted_keys(table));
        let (path, last) = key.rsplit_once('.').unwrap_or(("", &key));
        let mut parts = path.split('.').filter(|part| !part.is_empty());
        let place = parts.try_fold(table, |table, part| table.get_mut(part)?.as_table_mut());
        let place = place.ok_or(unknown)?;
        let value = self.typed(place.get(last))?;
        place.insert(last.to_owned(), renamed::value(&self.key, &value));
        Ok(())
    }

    /// The value, as a value of the type that `present` has.
    fn typed(&self, present: Option<&Value>) -> Result<Value, String> {
        let text = self.value.as_str();
        let literal = toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut table| table.remove("v"));
        match (present, literal) {
            (Some(Value::String(_)), Some(Value::String(found))) => Ok(found.into()),
            (Some(Value::String(_)), _) | (None, None) => Ok(text.into()),
            (Some(Value::Float(_)), Some(Value::Integer(found))) => Ok((found as f64).into()),
            // Whether it may be a fraction is said by whoever reads it.
            (Some(Value::Integer(_)), Some(found @ Value::Float(_))) => Ok(found),
            (Some(present), Some(found)) if present.same_type(&found) => Ok(found),
            (None, Some(found)) => Ok(found),
            (Some(present), _) => Err(format!("--set {self}: expected {}, as {present} is", type_name(present))),
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// `why` an experiment with the values of `set` cannot be used, behind those of them that are at fault: each without which the others
/// `fit` or, if there is no such one, all of them where the file fits without any.
pub(super) fn blamed(set: &[Override], why: String, fits: impl Fn(&[Override]) -> bool) -> String {
    if is_blamed(&why) {
        return why;
    }
    let without = |at: usize| [&set[..at], &set[at + 1..]].concat();
    let mut culprits: Vec<&Override> = (0..set.len()).filter(|&at| fits(&without(at))).map(|at| &set[at]).collect();
    if culprits.is_empty() && set.len() > 1 && fits(&[]) {
        culprits = set.iter().collect();
    }
    if culprits.is_empty() {
        return why;
    }
    let named: Vec<String> = culprits.iter().map(|one| format!("--set {one}")).collect();
    format!("{}: {why}", named.join(", "))
}

/// Whether that is said of a value that was set.
pub(super) fn is_blamed(why: &str) -> bool {
    why.starts_with("--set ")
}

/// `why` an experiment with the keys of `table` cannot be used, in the words of the one of `set` that it is about: a key that was
/// set, and that nothing knows.
pub(super) fn explained(set: &[Override], table: &Table, why: String) -> String {
    let Some(field) = quoted(&why, "unknown field `").next() else { return why };
    let is_it = |one: &&Override| renamed::key(&one.key).rsplit('.').next() == Some(field);
    let Some(culprit) = set.iter().find(is_it) else { return why };
    let key = renamed::key(&culprit.key);
    let beside = key.rsplit_once('.').map_or(String::new(), |(table, _)| format!("{table}."));
    // Those that may be left out are in no table.
    let optional = quoted(&why, "expected ").chain(quoted(&why, ", ")).map(|name| format!("{beside}{name}"));
    let known: Vec<String> = dotted_keys(table).into_iter().chain(optional).filter(|known| *known != key).collect();
    unknown(&culprit.to_string(), &key, &known)
}

/// What stands in backquotes in `text`, from the place where `before` ends.
fn quoted<'t>(text: &'t str, before: &str) -> impl Iterator<Item = &'t str> {
    let rest = text.split_once(before).map_or("", |(_, rest)| rest);
    let skipped = usize::from(!before.ends_with('`'));
    rest.split('`').skip(skipped).step_by(2)
}

/// The message on a `key` that does not exist, with those of the `known` keys that it may have meant.
fn unknown(set: &str, key: &str, known: &[String]) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    // A key without its tables is meant for the one that ends like it.
    let edits = |known: &str| {
        strsim::osa_distance(key, known)
            .min(strsim::osa_distance(&last(key), &last(known)) + usize::from(key.contains('.')))
    };
    let mut near: Vec<(usize, &str)> = known.iter().map(|known| (edits(known), known.as_str())).collect();
    near.sort_unstable();
    near.dedup();
    let most = near.first().map_or(0, |(edits, _)| edits + 1);
    let near: Vec<&str> =
        near.into_iter().filter(|(edits, _)| *edits <= most).map(|(_, key)| key).take(MOST_NEAR).collect();
    format!("--set {set}: there is no key {key}, the nearest: {}", near.join(", "))
}

/// All keys of a table and of those below it, dotted.
fn dotted_keys(table: &Table) -> Vec<String> {
    let below = |(key, value): (&String, &Value)| match value {
        Value::Table(table) => {
            let inner = dotted_keys(table).into_iter().map(|inner| format!("{key}.{inner}"));
            std::iter::once(key.clone()).chain(inner).collect()
        }
        _ => vec![key.clone()],
    };
    table.iter().flat_map(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use crate::experiment::tests::TEXT;

    fn with(set: &[&str]) -> Result<Experiment, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, TEXT).unwrap();
        let set: Vec<Override> = set.iter().map(|one| one.parse().unwrap()).collect();
        let why = |error: crate::error::TrainError| error.to_string().split_once("a.toml: ").unwrap().1.to_owned();
        Experiment::read_with(&path, &set).map_err(why)
    }

    #[test]
    fn values_have_the_type_of_the_key_and_may_be_of_keys_that_were_left_out() {
        let set =
            ["train.batch=16", "train.optimizer.lr=1", "train.monitor=mIoU", "seeds=[3, 4]", "train.drop_last=true"];
        let more =
            ["train.ema=0.5", "train.schedule={ kind = \"step-epochs\", every = 2, factor = 0.5 }", "train.clip=2.0"];
        let found = with(&[&set[..], &more[..]].concat()).unwrap();
        assert_eq!((found.train.batch, found.train.optimizer.lr, &found.seeds[..]), (16, 1.0, &[3, 4][..]));
        assert_eq!((found.train.monitor.as_str(), found.train.drop_last, found.train.ema), ("mIoU", true, Some(0.5)));
        assert_eq!(found.train.max_grad_norm, Some(2.0), "in the words of version 0.1");
        assert_eq!(with(&["train.monitor=\"a b\""]).unwrap().train.monitor, "a b");
        assert_eq!(with(&["grid={ \"train.batch\" = [1, 2] }"]).unwrap().members().unwrap().len(), 2);
        assert_eq!(Experiment::parse(&found.to_toml()).unwrap(), found);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_typed() {
        let why = |set: &str| with(&[set]).unwrap_err();
        assert_eq!(why("train.batch=x"), "--set train.batch=x: expected a number, as 2 is");
        assert_eq!(why("train.batch=0"), "--set train.batch=0: train.batch is 0, expected 1 to 2147483648");
        assert!(
            why("train.batch=1.5")
                .starts_with("--set train.batch=1.5: invalid type: floating point `1.5`, expected usize")
        );
        assert_eq!(why("train.drop_last=yes"), "--set train.drop_last=yes: expected true or false, as false is");
        assert_eq!(why("train.bach=3"), "--set train.bach=3: there is no key train.bach, the nearest: train.batch");
        assert_eq!(
            why("train.patiense=3"),
            "--set train.patiense=3: there is no key train.patiense, the nearest: train.patience"
        );
        let said = why("trian.batch=3");
        assert!(
            said.starts_with("--set trian.batch=3: there is no key trian.batch, the nearest: train.batch"),
            "{said}"
        );
        assert!("train.batch".parse::<Override>().unwrap_err().contains("expected KEY=VALUE"));
        assert!("=3".parse::<Override>().is_err() && "a..b=3".parse::<Override>().is_err());
    }

    #[test]
    fn of_several_those_are_named_that_are_at_fault() {
        let why = |set: &[&str]| with(set).unwrap_err();
        let said = why(&["train.epochs=2", "seeds=[]", "train.drop_last=true"]);
        assert_eq!(said, "--set seeds=[]: seeds is empty, expected at least one");
        let falling = "train.schedule={ kind = \"linear\", warmup = { steps = 0 } }";
        let said = why(&[falling, "train.epochs=5", "seeds=[2]", "train.schedule_epochs=4"]);
        let named =
            "--set train.epochs=5, --set train.schedule_epochs=4: train.schedule_epochs is 4, expected at least";
        assert!(said.starts_with(named), "{said}");
        let said = why(&["train.batch=0", "train.batch=-1"]);
        assert!(said.starts_with("--set train.batch=0, --set train.batch=-1: "), "{said}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, TEXT.replace("batch = 2", "batch = 0")).unwrap();
        let said = Experiment::read_with(&path, &["train.epochs=4".parse().unwrap()]).unwrap_err().to_string();
        assert!(said.contains("a.toml: train.batch is 0"), "the file is at fault: {said}");
    }

    #[test]
    fn a_key_that_the_grid_varies_is_not_set() {
        let said = with(&["grid={ \"train.clip\" = [1.0] }", "train.max_grad_norm=2.0"]).unwrap_err();
        assert!(said.contains("the grid of the file varies train.max_grad_norm"), "{said}");
        let varies = "grid={ \"train.optimizer.lr\" = [1.0] }";
        let said = with(&[varies, "train.optimizer={ kind = \"adamw\", lr = 2.0 }"]).unwrap_err();
        assert!(said.contains("the grid of the file varies train.optimizer.lr"), "{said}");
    }
}
