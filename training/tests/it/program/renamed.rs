//! What version 0.1 called otherwise: its experiment files, its checkpoints and its commands are understood.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::program;
use egofx_train::experiment::Experiment;
use egofx_train::metrics_log::{METRICS_FILE, read};

use crate::configs::{bases, files};

/// A run of version 0.1 that was interrupted in its second epoch of three.
fn old(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/version_0_1").join(name)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments).current_dir(folder).env("OMP_NUM_THREADS", "1").output().unwrap()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The experiment of version 0.1 in today's words.
fn today() -> String {
    let text = std::fs::read_to_string(old("nlq.toml")).unwrap();
    let renamed = [
        ("behaviour = ", "compat = "),
        ("clip = 1.0", "max_grad_norm = 1.0"),
        ("select = ", "monitor = "),
        ("fps = ", "rows_per_sec = "),
        ("width = ", "embed_dim = "),
        ("heads = ", "num_heads = "),
        ("positions = ", "max_position_embeddings = "),
    ];
    renamed.into_iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

#[test]
fn an_interrupted_run_goes_on_by_its_own_file_and_by_the_same_in_todays_words() {
    let data = tempfile::tempdir().unwrap();
    succeeded(&run(data.path(), &["synthetic", "nlq", "-o", "."]));
    std::fs::copy(old("nlq.toml"), data.path().join("old.toml")).unwrap();
    std::fs::write(data.path().join("new.toml"), today()).unwrap();
    let mut ends = Vec::new();
    for config in ["old.toml", "new.toml"] {
        let folder = data.path().join(config).with_extension("run");
        std::fs::create_dir(&folder).unwrap();
        for file in ["experiment.toml", "last.safetensors", METRICS_FILE] {
            std::fs::copy(old(file), folder.join(file)).unwrap();
        }
        let before = read(&folder.join(METRICS_FILE)).unwrap();
        let common = ["--train", "nlq_train.json", "--val", "nlq_val.json", "--features", "nlq-windows"];
        let resumed = ["nlq", "-c", config, "--tokens", "nlq-tokens", "--device", "cpu", "--resume", "-o"];
        succeeded(&run(data.path(), &[&resumed[..], &[folder.to_str().unwrap()], &common].concat()));
        let after = read(&folder.join(METRICS_FILE)).unwrap();
        assert_eq!(after[..before.len()], before, "the first epoch stays");
        assert_eq!(after.last().map(|entry| entry.epoch), Some(3.0));
        ends.push(std::fs::read(folder.join("last.safetensors")).unwrap());
    }
    assert!(ends[0] == ends[1], "both files are one experiment");
}

#[test]
fn another_experiment_than_that_of_an_old_checkpoint_is_still_refused() {
    let data = tempfile::tempdir().unwrap();
    succeeded(&run(data.path(), &["synthetic", "nlq", "-o", "."]));
    std::fs::write(data.path().join("other.toml"), today().replace("lr = 0.003", "lr = 0.004")).unwrap();
    let folder = data.path().join("run");
    std::fs::create_dir(&folder).unwrap();
    for file in ["experiment.toml", "last.safetensors"] {
        std::fs::copy(old(file), folder.join(file)).unwrap();
    }
    let common = ["--train", "nlq_train.json", "--val", "nlq_val.json", "--features", "nlq-windows"];
    let resumed = ["nlq", "-c", "other.toml", "--tokens", "nlq-tokens", "--device", "cpu", "--resume", "-o", "run"];
    let output = run(data.path(), &[&resumed[..], &common].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("lr = 0.003"), "{said}");
}

#[test]
fn shipped_experiments_are_in_todays_words() {
    for path in files().into_iter().chain(bases()) {
        let text = std::fs::read_to_string(&path).unwrap();
        for old in [
            "behaviour =",
            "clip =",
            "select =",
            "accumulate =",
            "recompute =",
            "hidden_words =",
            "heads_lr =",
            "mirrored =",
            "width =",
            "heads =",
            "positions =",
            "layers =",
            "feed_forward =",
        ] {
            assert!(!text.lines().any(|line| line.starts_with(old)), "{}: {old}", path.display());
        }
    }
    for path in files() {
        Experiment::read(&path).unwrap();
    }
}

#[test]
fn commands_and_flags_of_version_0_1_are_understood_and_not_listed() {
    let here = Path::new(".");
    for (old, today) in [
        (&["store", "--choices", "2"][..], "egofx-train cache-clips"),
        (&["attend"][..], "egofx-train attention-maps"),
        (&["pretrain", "--stored", "clips"][..], "--clip-cache"),
    ] {
        let help = run(here, &[old, &["--help"]].concat());
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(help.status.success() && text.contains(today), "{old:?}: {text}");
        assert!(!text.contains(old.last().filter(|flag| flag.starts_with("--")).unwrap_or(&"--stored")), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let world = run(folder.path(), &["synthetic", "world", "-o", "w", "--side", "33"]);
    assert!(String::from_utf8_lossy(&world.stderr).contains("side 33: expected an even number"));
}
