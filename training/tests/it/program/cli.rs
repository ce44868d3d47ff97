//! The program as people use it: commands, exit codes, words, Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use egofx::checkpoint::Checkpoint;
use egofx::metric::{EVALUATORS, Inputs};
use egofx_train::synthetic::Nlq;

use crate::support::program;
use crate::support::shapes;

const CONFIG: &str = include_str!("../../../configs/synthetic_nlq.toml");

/// A synthetic NLQ and what is written beside it.
pub struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shop = Self { folder };
        let made = shop.run(&["synthetic", "nlq", "-o", "."]);
        assert!(made.status.success(), "{}", words(&made));
        shop
    }

    /// With a tenth of the queries, for tests that train often and not well.
    pub fn small() -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap() };
        Nlq { clips: [24, 8], ..Nlq::small(1, false) }.write(shop.folder.path()).unwrap();
        shop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).current_dir(&self.folder).env("OMP_NUM_THREADS", "1");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Writes an experiment of so many epochs.
    pub fn config(&self, epochs: u32) {
        std::fs::write(self.path("nlq.toml"), CONFIG.replace("epochs = 20", &format!("epochs = {epochs}"))).unwrap();
    }
}

pub const DATA: [&str; 6] = ["--features", "nlq-windows", "--tokens", "nlq-tokens", "--device", "cpu"];
pub const TRAIN: [&str; 7] = ["nlq", "-c", "nlq.toml", "--train", "nlq_train.json", "--val", "nlq_val.json"];

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&TRAIN[..], &DATA[..], &["-o", "run"], more].concat()
}

pub fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn three_commands_lead_from_features_to_a_scored_submission() {
    let shop = Workshop::new();
    shop.config(2);
    let trained = shop.run(&train(&["--log-file", "nlq.log"]));
    assert_eq!(trained.status.code(), Some(0), "{}", words(&trained));
    let log = std::fs::read_to_string(shop.path("nlq.log")).unwrap();
    let told: Vec<&str> = log.lines().filter_map(|line| line.split_once(' ')).map(|(_, told)| told).collect();
    assert_eq!(told, words(&trained).lines().collect::<Vec<_>>(), "what is told is logged, each line with its time");
    let table = String::from_utf8_lossy(&trained.stdout).into_owned();
    assert!(table.contains("best epoch") && table.contains("* R@1 IoU>0.5"), "{table}");
    assert!(words(&trained).contains("of it waiting for data"), "{}", words(&trained));
    let predict = [&["predict", "run"], &DATA[..], &["--annotations", "nlq_val.json", "-o", "sub.json"]].concat();
    let predicted = shop.run(&predict);
    assert_eq!(predicted.status.code(), Some(0), "{}", words(&predicted));
    let command = "egofx eval nlq --predictions sub.json --annotations nlq_val.json --compat fixed\n";
    assert!(words(&predicted).ends_with(command), "{}", words(&predicted));
    assert!(shop.path("sub.json.scoring.json").is_file());
    let inputs =
        Inputs::default().file("predictions", shop.path("sub.json")).file("annotations", shop.path("nlq_val.json"));
    let evaluator = EVALUATORS.iter().find(|evaluator| evaluator.name == "nlq").unwrap();
    let score = 100.0 * (evaluator.evaluate)(&inputs).unwrap().score("R@1 IoU>0.5");
    assert!(table.contains(&format!("{score:.2}")), "{score} is not in {table}");

    let exported = shop.run(&["export", "run", "-o", "head.safetensors"]);
    assert_eq!(exported.status.code(), Some(0), "{}", words(&exported));
    let head = Checkpoint::open(&shop.path("head.safetensors")).unwrap();
    assert_eq!(head.tensors()["cq_attention.w4mlu"].shape, [1, 1, 32]);
    assert!(head.tensors().keys().all(|name| !name.starts_with("model.") && !name.starts_with("optimizer.")));

    // Weights without an experiment of their own need one, and then predict the same.
    let again = [&["predict", "head.safetensors", "-c", "nlq.toml"], &DATA[..]].concat();
    let again = [&again[..], &["--annotations", "nlq_val.json", "-o", "again.json"]].concat();
    assert_eq!(shop.run(&again).status.code(), Some(0));
    assert!(std::fs::read(shop.path("sub.json")).unwrap() == std::fs::read(shop.path("again.json")).unwrap());
}

#[test]
fn the_version_names_what_the_program_runs_with() {
    let output = program().args(["--version", "-v"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let known = |what: &str| shown.lines().find_map(|line| line.strip_prefix(what)).unwrap().trim().to_owned();
    let ffmpeg = known("ffmpeg");
    assert!(ffmpeg.starts_with(&shapes::tools().version) && ffmpeg.ends_with("/.runtime/ffmpeg/ffmpeg"), "{shown}");
    assert!(known("HDF5").starts_with("1."), "{shown}");
}

#[test]
fn what_is_asked_for_wrongly_is_named_and_ends_with_2() {
    let shop = Workshop::new();
    let refused = |arguments: &[&str], said: &str| {
        let output = shop.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", words(&output));
        assert!(words(&output).contains(said), "{arguments:?}: {}", words(&output));
        assert!(output.stdout.is_empty());
    };
    refused(&train(&[]), "cannot read nlq.toml: No such file");
    shop.config(1);
    let text = std::fs::read_to_string(shop.path("nlq.toml")).unwrap();
    let with = |from: &str, to: &str| std::fs::write(shop.path("nlq.toml"), text.replace(from, to)).unwrap();
    with("\"vslnet\"", "\"vslnett\"");
    refused(&train(&[]), "nlq.toml: no learner is called \"vslnett\", expected one of egovlp");
    with("embed_dim = 32", "embd_dim = 32");
    refused(&train(&[]), "unknown field `embd_dim`, expected one of `embed_dim`");
    with("num_heads = 4", "num_heads = 5");
    refused(&train(&[]), "num_heads = 5, expected a divisor of embed_dim");
    with("R@1 IoU>0.5", "R@2");
    refused(&train(&[]), "train.monitor is \"R@2\", expected one of loss");
    shop.config(1);
    refused(&train(&["--device", "gpu"]), "cannot be used multiple times");
    let mut arguments = train(&[]);
    arguments[4] = "absent.json";
    refused(&arguments, "absent.json");
    refused(
        &["predict", "run", "--features", "nlq-windows", "--annotations", "nlq_val.json", "-o", "x"],
        "cannot read run",
    );
    std::fs::write(shop.path("broken.safetensors"), b"not a checkpoint").unwrap();
    let broken = ["predict", "broken.safetensors", "--annotations", "nlq_val.json", "-o", "x"];
    refused(&[&broken[..], &DATA[..]].concat(), "broken.safetensors");
}

/// Waits for a file, and fails rather than wait for ever.
fn wait_for(path: &Path, child: &mut Child) {
    let start = Instant::now();
    while !path.is_file() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before {}", path.display());
        assert!(start.elapsed() < Duration::from_secs(300), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ctrl_c_and_kill_leave_a_checkpoint_to_go_on_from() {
    let shop = Workshop::new();
    shop.config(1000);
    let start =
        |more: &[&str]| shop.command(&train(more)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut run = start(&[]);
    wait_for(&shop.path("run/last.safetensors"), &mut run);
    let signalled = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let ended = run.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", words(&ended));
    assert!(words(&ended).contains("--resume goes on from there"), "{}", words(&ended));
    let again = shop.run(&train(&[]));
    assert!(words(&again).contains("there is a run already; --resume goes on with it"), "{}", words(&again));

    let before = std::fs::read(shop.path("run/last.safetensors")).unwrap();
    let mut run = start(&["--resume"]);
    let changed = Instant::now();
    while std::fs::read(shop.path("run/last.safetensors")).unwrap() == before {
        assert!(run.try_wait().unwrap().is_none() && changed.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(20));
    }
    run.kill().unwrap();
    let ended = run.wait_with_output().unwrap();
    assert!(words(&ended).contains("goes on after epoch"), "{}", words(&ended));
    let saved = egofx_train::checkpoint::open(&shop.path("run/last.safetensors")).unwrap();
    assert!(saved.progress.epoch >= 2);
}

#[test]
fn sizes_are_for_a_world_and_those_that_it_cannot_have_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Workshop { folder };
    let refused = |arguments: &[&str], why: &str| {
        let output = shop.run(&[&["synthetic"], arguments, &["-o", "out"]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(words(&output).contains(why), "{}", words(&output));
    };
    refused(&["nlq", "--videos", "3"], "sizes and --ffmpeg are for shapes");
    refused(&["shapes", "--kinds", "4,3"], "--kinds has 2 numbers, expected 3");
    refused(&["shapes", "--kinds", "9,3,4"], "colours 9: expected at most 6");
    refused(&["shapes", "--side", "33"], "side 33: expected an even number");
    refused(&["shapes", "--ffmpeg", "/nowhere/ffmpeg"], "/nowhere/ffmpeg");
    assert!(!shop.path("out").exists());
}
