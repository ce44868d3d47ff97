//! Settings and what becomes of them: files that extend others, `--set`, the record of a run, checkpoints that were harmed, and
//! the options that a task has.

use std::fs;
use std::process::Output;

use egofx::digest;
use egofx_train::experiment::Experiment;
use egofx_train::provenance::{self, InputFile, InputStore};
use egofx_train::registry::LEARNERS;
use egofx_train::sources::OPTIONS;
use serde_json::Value;

use super::cli::{DATA, TRAIN, Workshop};

/// A synthetic NLQ, and an experiment of one epoch that extends another file.
fn shop() -> Workshop {
    let shop = Workshop::new();
    shop.config(20);
    fs::create_dir(shop.path("bases")).unwrap();
    fs::rename(shop.path("nlq.toml"), shop.path("bases/small.toml")).unwrap();
    fs::write(shop.path("nlq.toml"), "extends = \"bases/small.toml\"\n[train]\nepochs = 1\n").unwrap();
    shop
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn run(shop: &Workshop, parts: &[&[&str]]) -> Output {
    let output = shop.command(&parts.concat()).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    output
}

#[track_caller]
fn refused(shop: &Workshop, parts: &[&[&str]], why: &str) {
    let output = shop.command(&parts.concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains(why), "{}", told(&output));
}

fn metadata(path: &std::path::Path) -> Value {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    serde_json::from_slice::<Value>(&bytes[8..8 + length]).unwrap()["__metadata__"].clone()
}

#[test]
fn a_run_keeps_the_whole_experiment_and_what_it_was_made_with() {
    let shop = shop();
    let set = ["--set", "train.batch=16", "--set", "model.dropout=0"];
    run(&shop, &[&TRAIN, &DATA, &set, &["-o", "run"]]);
    let text = fs::read_to_string(shop.path("run/experiment.toml")).unwrap();
    let experiment = Experiment::parse(&text).unwrap();
    assert_eq!((experiment.train.batch, experiment.train.epochs, &experiment.seeds[..]), (16, 1, &[1][..]));
    assert_eq!(experiment.own["model"]["dropout"].as_float(), Some(0.0));

    let starts = provenance::read(&shop.path("run")).unwrap();
    let [start] = &starts[..] else { panic!("{starts:?}") };
    assert_eq!(start.set, ["train.batch=16", "model.dropout=0"]);
    assert_eq!(start.command[1..8], TRAIN.map(str::to_owned));
    assert_eq!((start.versions.egofx_train.as_str(), start.processes), (env!("CARGO_PKG_VERSION"), 1));
    assert!(start.versions.libtorch.starts_with("2.") && start.versions.ffmpeg.is_none() && start.date.ends_with('Z'));
    let options: Vec<&str> = start.inputs.files.iter().map(|file| file.option.as_str()).collect();
    assert_eq!(options, ["config", "train", "val"]);
    let InputFile { path, sha256, .. } = &start.inputs.files[1];
    assert_eq!(*sha256, Some(digest::file(&shop.path("nlq_train.json")).unwrap().1), "{}", path.display());
    let stores: Vec<&InputStore> = start.inputs.stores.iter().collect();
    assert_eq!(stores.iter().map(|store| store.option.as_str()).collect::<Vec<_>>(), ["features", "tokens"]);
    assert!(stores.iter().all(|store| store.units > 0 && store.fingerprint.len() > 8), "{stores:?}");
    let summary: Value = serde_json::from_slice(&fs::read(shop.path("run/summary.json")).unwrap()).unwrap();
    assert_eq!(summary["provenance"], serde_json::to_value(&starts).unwrap());
    let header = metadata(&shop.path("run/last.safetensors"));
    assert_eq!(
        (&header["egofx.experiment"], &header["egofx.version"]),
        (&text.into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert_eq!(header["egofx.commit"], start.versions.commit.as_str());

    // What is kept is all that is needed to do it again.
    let again = TRAIN.map(|word| if word == "nlq.toml" { "run/experiment.toml" } else { word });
    run(&shop, &[&again, &DATA, &["-o", "again"]]);
    let [first, second] = ["run", "again"].map(|run| fs::read(shop.path(run).join("last.safetensors")).unwrap());
    assert!(first == second, "the run was repeated");
    run(&shop, &[&again, &DATA, &["-o", "run", "--resume"]]);
    assert_eq!(provenance::read(&shop.path("run")).unwrap().len(), 2, "each start is on record");

    let other =
        "run: expected only runs of this grid, these seeds and folds, such as run/seed-1, found run; take another";
    refused(&shop, &[&again, &DATA, &["-o", "run", "--resume", "--set", "seeds=[1, 2]"]], other);
    assert_eq!(provenance::read(&shop.path("run")).unwrap().len(), 2, "nothing began");
    let predict = |weights| ["predict", weights, "--annotations", "nlq_val.json", "-o", "x"];
    let file = "--last takes last.safetensors of the folder of a run, and run/best.safetensors is a file";
    refused(&shop, &[&predict("run/best.safetensors"), &DATA, &["--last"]], file);
    refused(&shop, &[&predict("run"), &DATA, &["-c", "nlq.toml"]], "expected a file without --last, found run");
}

#[test]
fn settings_that_do_not_fit_are_named_before_anything_is_written() {
    let shop = shop();
    let with = |set: &str, why: &str| refused(&shop, &[&TRAIN, &DATA, &["-o", "run", "--set", set]], why);
    with("train.bach=16", "nlq.toml: --set train.bach=16: there is no key train.bach, the nearest: train.batch");
    with("model.embd_dim=64", "--set model.embd_dim=64: there is no key model.embd_dim, the nearest: model.embed_dim");
    with("train.batch=many", "--set train.batch=many: expected a number, as 32 is");
    with("train.batch=0", "nlq.toml: --set train.batch=0: train.batch is 0, expected 1 to");
    let output =
        shop.command(&[&TRAIN[..], &DATA, &["-o", "run", "--set", "train.batch=0"]].concat()).output().unwrap();
    assert!(!told(&output).contains("it extends"), "no file is at fault: {}", told(&output));
    with("learner=vslnett", "nlq.toml: --set learner=vslnett: no learner is called \"vslnett\", expected one of");
    with("model.num_heads=5", "nlq.toml: --set model.num_heads=5: ");
    with("batch", "expected KEY=VALUE");
    fs::write(shop.path("bases/small.toml"), "extends = \"../nlq.toml\"\n").unwrap();
    let circle = "extends is a circle: nlq.toml extends bases/small.toml extends bases/../nlq.toml";
    refused(&shop, &[&TRAIN, &DATA, &["-o", "run"]], circle);
    fs::remove_file(shop.path("bases/small.toml")).unwrap();
    let missing = "nlq.toml: extends = \"bases/small.toml\": cannot read bases/small.toml: No such file";
    refused(&shop, &[&TRAIN, &DATA, &["-o", "run"]], missing);
    assert!(!shop.path("run").exists());
}

#[test]
fn a_harmed_checkpoint_is_refused_by_its_name_whoever_reads_it() {
    let shop = shop();
    run(&shop, &[&TRAIN, &DATA, &["-o", "run"]]);
    run(&shop, &[&["export", "run", "-o", "head.safetensors"]]);
    for file in ["run/last.safetensors", "run/best.safetensors", "head.safetensors"] {
        let mut bytes = fs::read(shop.path(file)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(shop.path(file), bytes).unwrap();
    }
    let refused = |parts: &[&[&str]], file: &str| {
        refused(&shop, parts, &format!("{file}: its content is not what was written: SHA-256 "));
    };
    refused(&[&TRAIN, &DATA, &["-o", "run", "--resume"]], "run/last.safetensors");
    refused(&[&["export", "run", "-o", "x"]], "run/best.safetensors");
    refused(&[&["predict", "run", "--annotations", "nlq_val.json", "-o", "x"], &DATA], "run/best.safetensors");
    refused(&[&TRAIN, &DATA, &["-o", "new", "--init", "run/best.safetensors"]], "run/best.safetensors");
    refused(&[&TRAIN, &DATA, &["-o", "newer", "--init", "head.safetensors"]], "head.safetensors");
    assert!(!shop.path("x").exists());
}

#[test]
fn help_lists_what_a_task_reads_and_says_what_it_is() {
    let shop = Workshop::new();
    for head in LEARNERS {
        let help = String::from_utf8(run(&shop, &[&[head.task, "--help"]]).stdout).unwrap();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.starts_with(&format!("{}. Usage: ", head.task_about)), "{words}");
        for option in OPTIONS {
            let is_listed = help.lines().any(|line| {
                line.trim_start().starts_with(&format!("--{option} ")) || line.trim() == format!("--{option}")
            });
            assert_eq!(is_listed, head.reads.contains(option), "{}: --{option}", head.task);
        }
    }
    let oscc = ["oscc", "-c", "x.toml", "-o", "run", "--tokens", "nlq-tokens"];
    refused(&shop, &[&oscc], "egofx-train oscc does not read --tokens: leave it out, or see egofx-train oscc --help");
}
