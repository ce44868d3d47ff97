//! The files of `configs/`: each is read, and its head takes it.
//!
//! Not for the numbers that they reach, which need the data sets.

use std::path::{Path, PathBuf};

use egofx_train::experiment::Experiment;
use egofx_train::registry::Entry;

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_file_is_an_experiment_of_its_head() {
    for path in files() {
        let experiment = Experiment::read(&path).unwrap();
        let head = Entry::find(&experiment.learner, &path).unwrap();
        (head.check)(&experiment).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
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
    for (file, from, to, why) in [
        ("mq_vsgn_egovlp", "embed_dim = 256", "embed_dim = 250", "embed_dim is 250, expected a multiple of 32"),
        ("mq_vsgn_egovlp", "tower_convs = 4", "tower_conv = 4", "unknown field `tower_conv`"),
        (
            "mq_actionformer_egovlp",
            "num_heads = 4",
            "num_heads = 5",
            "num_heads is 5, expected a divisor of embed_dim, 384",
        ),
        ("mq_actionformer_egovlp", "[decode]", "[code]", "unknown field `code`"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("configs/{file}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        let experiment = Experiment::parse(&text.replace(from, to)).unwrap();
        let found = (Entry::find(&experiment.learner, &path).unwrap().check)(&experiment).unwrap_err();
        assert!(found.contains(why), "{found}");
    }
}
