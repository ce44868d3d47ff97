//! Experiment files that extend others: a file and its bases, as one table.
//!
//! Not for what the keys mean. Invariant: the files of a chain are all different.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::renamed;
use crate::error::TrainError;

/// The key that names a file's base.
pub(super) const EXTENDS: &str = "extends";
/// The table of the keys that are varied.
pub(super) const GRID: &str = "grid";
/// The key that says which other keys a table has.
const KIND: &str = "kind";

/// The table of the file at `path`, whose text was read, on top of its bases, in today's words and without `extends`, and what the
/// file calls its base; `None` if it extends nothing.
///
/// # Errors
/// A base that is missing or no TOML, and a chain that comes back to a file that it has.
pub(super) fn resolved(path: &Path, text: &str) -> Result<Option<(Table, String)>, TrainError> {
    // What is wrong with the text itself is said by whoever parses it with its lines.
    let Ok(table) = toml::from_str::<Table>(text) else { return Ok(None) };
    let Some(base) = table.get(EXTENDS).map(Value::to_string) else { return Ok(None) };
    Ok(Some((on_bases(path, table, &mut Vec::new())?, base)))
}

/// `table`, which the file at `path` holds, on top of its bases; `chain` has the files that led here.
fn on_bases(path: &Path, mut table: Table, chain: &mut Vec<PathBuf>) -> Result<Table, TrainError> {
    let why = |why| TrainError::Experiment { path: path.to_owned(), why };
    renamed::modernise(&mut table).map_err(why)?;
    let Some(named) = table.remove(EXTENDS) else { return Ok(table) };
    let Some(name) = named.as_str() else {
        return Err(why(format!("extends is {named}, expected the path of a file, in quotes")));
    };
    let base = path.parent().unwrap_or(Path::new("")).join(name);
    chain.push(path.to_owned());
    if chain.iter().any(|file| is_same(file, &base)) {
        let files: Vec<String> = chain.iter().chain([&base]).map(|file| file.display().to_string()).collect();
        return Err(why(format!("extends is a circle: {}", files.join(" extends "))));
    }
    let text = std::fs::read_to_string(&base).map_err(|error| {
        why(format!("extends = {name:?}: cannot read {}: {error}; the path counts from this file", base.display()))
    })?;
    let of_base = |error: toml::de::Error| TrainError::Experiment { path: base.clone(), why: error.to_string() };
    let below = on_bases(&base, toml::from_str(&text).map_err(of_base)?, chain)?;
    Ok(merged(without_varied(below, &table), table))
}

/// `below` without what its grid says of keys that `above` sets.
fn without_varied(mut below: Table, above: &Table) -> Table {
    let is_set = |key: &str| {
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| above.get(part));
        parts.fold(first, |value, part| value?.as_table()?.get(part)).is_some()
    };
    if let Some(Value::Table(grid)) = below.get_mut(GRID) {
        grid.retain(|key, _| !is_set(&renamed::key(key)));
    }
    below
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

/// `above` on top of `below`, table by table; a table of another kind replaces the one below.
fn merged(mut below: Table, above: Table) -> Table {
    for (key, value) in above {
        let value = match (below.remove(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !is_other_kind(&old, &new) => {
                Value::Table(merged(old, new))
            }
            (_, value) => value,
        };
        below.insert(key, value);
    }
    below
}

fn is_other_kind(old: &Table, new: &Table) -> bool {
    matches!((old.get(KIND), new.get(KIND)), (Some(old), Some(new)) if old != new)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::experiment::Experiment;
    use crate::experiment::tests::TEXT;

    fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bases")).unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn why(files: &[(&str, &str)]) -> String {
        let folder = written(files);
        let said = Experiment::read(&folder.path().join("a.toml")).unwrap_err().to_string();
        said.replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn a_chain_is_one_table_in_which_the_file_itself_wins() {
        let middle = "extends = \"../root.toml\"\nseeds = [1, 2]\n[train]\nepochs = 5\nclip = 2.0\n";
        let top = "extends = \"bases/middle.toml\"\n[train]\nepochs = 7\n[train.optimizer]\nlr = 0.5\n\
                   [train.schedule]\nkind = \"step-epochs\"\nevery = 2\nfactor = 0.5\n";
        let folder = written(&[("root.toml", TEXT), ("bases/middle.toml", middle), ("a.toml", top)]);
        let found = Experiment::read(&folder.path().join("a.toml")).unwrap();
        let alone = TEXT
            .replace("seeds = [1]", "seeds = [1, 2]")
            .replace("epochs = 3", "epochs = 7\nmax_grad_norm = 2.0")
            .replace("lr = 0.001", "lr = 0.5")
            .replace("kind = \"constant\"", "kind = \"step-epochs\"\nevery = 2\nfactor = 0.5");
        assert_eq!(found, Experiment::parse(&alone).unwrap());
        assert!(!found.to_toml().contains("extends"));
    }

    #[test]
    fn what_a_file_sets_is_not_varied_by_the_grid_of_its_base() {
        let base = format!("{TEXT}\n[grid]\n\"train.clip\" = [1.0, 2.0]\n\"train.batch\" = [3, 4]\n");
        let folder = written(&[("b.toml", &base), ("a.toml", "extends = \"b.toml\"\n[train]\nmax_grad_norm = 9.0\n")]);
        let found = Experiment::read(&folder.path().join("a.toml")).unwrap().members().unwrap();
        let of = |train: &crate::experiment::Train| (train.batch, train.max_grad_norm);
        let found: Vec<_> = found.iter().map(|member| of(&member.experiment.train)).collect();
        assert_eq!(found, [(3, Some(9.0)), (4, Some(9.0))]);
    }

    #[test]
    fn a_table_of_another_kind_replaces_the_one_below() {
        let parsed = |text: &str| toml::from_str::<Table>(text).unwrap();
        let below = parsed("s = { kind = \"cosine\", floor = 0.1 }\nt = { a = 1, b = [1, 2] }");
        let found = merged(below, parsed("s = { kind = \"constant\" }\nt = { b = [3] }"));
        assert_eq!(found, parsed("s = { kind = \"constant\" }\nt = { a = 1, b = [3] }"));
    }

    #[test]
    fn a_circle_and_a_missing_base_are_errors_that_name_the_files() {
        let [a, b] = ["extends = \"bases/b.toml\"", "extends = \"../a.toml\""];
        let said = why(&[("a.toml", a), ("bases/b.toml", b)]);
        assert_eq!(said, "bases/b.toml: extends is a circle: a.toml extends bases/b.toml extends bases/../a.toml");
        assert!(why(&[("a.toml", "extends = \"a.toml\"")]).contains("a.toml extends a.toml"));
        let said = why(&[("a.toml", "extends = \"none.toml\"")]);
        assert!(said.starts_with("a.toml: extends = \"none.toml\": cannot read none.toml: No such file"), "{said}");
        assert!(why(&[("a.toml", "extends = [1]")]).contains("extends is [1], expected the path of a file"));
        let said = why(&[("a.toml", a), ("bases/b.toml", "x = ")]);
        assert!(said.starts_with("bases/b.toml: TOML parse error"), "{said}");
        let both = "[train]\nclip = 1.0\nmax_grad_norm = 1.0";
        let said = why(&[("a.toml", a), ("bases/b.toml", both)]);
        assert_eq!(said, "bases/b.toml: train.clip and train.max_grad_norm are one setting, expected only the latter");
    }

    #[test]
    fn what_is_wrong_with_the_whole_names_the_base() {
        let said = why(&[("a.toml", "extends = \"b.toml\"\n[train]\nbach = 3"), ("b.toml", TEXT)]);
        assert!(said.starts_with("a.toml: unknown field `bach`"), "{said}");
        assert!(said.ends_with("(it extends \"b.toml\", which may hold the key)"), "{said}");
    }

    #[test]
    fn a_text_without_a_file_extends_nothing() {
        let said = Experiment::parse(&format!("extends = \"b.toml\"\n{TEXT}")).unwrap_err();
        assert!(said.starts_with("extends = \"b.toml\": only a file can extend another"), "{said}");
    }
}
