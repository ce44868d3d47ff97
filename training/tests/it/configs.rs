//! The files of `configs/`: each is read, and its head takes it.
//!
//! Not for the numbers that they reach, which need the data sets.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use egofx::digest;
use egofx_train::experiment::Experiment;
use egofx_train::registry::Entry;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

/// Those that are whole: what they share lies in `bases/`.
pub fn files() -> Vec<PathBuf> {
    let is_file = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let paths = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(is_file).collect();
    files.sort();
    files
}

/// What they share.
pub fn bases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("bases")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_file_is_an_experiment_of_its_head() {
    let mut made = HashSet::new();
    for path in files() {
        let experiment = Experiment::read(&path).unwrap();
        let head = Entry::find(&experiment.learner, &path).unwrap();
        // One network of each kind and size is made.
        if made.insert((experiment.learner.clone(), format!("{:?}", experiment.own))) {
            (head.check)(&experiment).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        }
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = stem.strip_prefix("synthetic_").unwrap_or(stem);
        let name = name.strip_prefix("finetune_").unwrap_or(name);
        let name = name.strip_prefix("epic_").unwrap_or(name);
        assert!([head.task, head.name].iter().any(|known| name.starts_with(known)), "{name}: {}", head.task);
    }
    assert!(files().len() >= 5);
}

#[test]
fn what_a_head_does_not_take_is_refused() {
    for (file, set, why) in [
        ("mq_vsgn_egovlp", "model.embed_dim=250", "embed_dim is 250, expected a multiple of 32"),
        ("mq_vsgn_egovlp", "model.tower_conv=4", "unknown field `tower_conv`"),
        ("mq_actionformer_egovlp", "model.num_heads=5", "num_heads is 5, expected a divisor of embed_dim, 384"),
        ("mq_actionformer_egovlp", "code={}", "unknown field `code`"),
    ] {
        let path = folder().join(format!("{file}.toml"));
        let experiment = Experiment::read_with(&path, &[set.parse().unwrap()]).unwrap();
        let found = (Entry::find(&experiment.learner, &path).unwrap().check)(&experiment).unwrap_err();
        assert!(found.contains(why), "{found}");
    }
}

/// Bases, and whatever else a file is made of, may be arranged anew; what it says may not change by that. Where a setting is to change,
/// its line here changes with it: the message has the new one.
#[test]
fn files_resolve_to_the_experiments_that_they_have_been() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/experiments.sha256");
    let line = |path: &PathBuf| {
        let resolved = Experiment::read(path).unwrap().to_toml();
        format!("{}  {}", digest::text(&resolved), path.file_name().unwrap().display())
    };
    let found: Vec<String> = files().iter().map(line).collect();
    let known = std::fs::read_to_string(list).unwrap();
    let known: Vec<&str> = known.lines().collect();
    let other: Vec<&String> = found.iter().filter(|line| !known.contains(&line.as_str())).collect();
    assert!(other.is_empty() && known.len() == found.len(), "SHA-256 of the resolved file: {other:#?}");
}

#[test]
fn every_base_is_extended() {
    let bases = bases();
    let texts: Vec<String> = files().iter().chain(&bases).map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for base in &bases {
        let name = base.file_name().unwrap().to_str().unwrap();
        let extends = [format!("extends = \"bases/{name}\""), format!("extends = \"{name}\"")];
        assert!(texts.iter().any(|text| extends.iter().any(|line| text.contains(line))), "{name}");
    }
}
