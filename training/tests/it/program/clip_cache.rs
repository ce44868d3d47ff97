//! Clips that were decoded beforehand, as people store and use them.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use egofx_train::metrics_log::{METRICS_FILE, read};
use egofx_train::synthetic::{ShapesDataset, ShapesPaths};

use crate::support::experiments::smaller;
use crate::support::shapes;

const CHARADES: &str = "synthetic_charades.toml";
const PRETRAIN: &str = "synthetic_pretrain_egovlpv2.toml";

fn dataset() -> &'static ShapesPaths {
    static MADE: OnceLock<(tempfile::TempDir, ShapesPaths)> = OnceLock::new();
    let (_, paths) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let dataset = ShapesDataset { side: 32, videos: [4, 5], clips_per_video: 8, questions: 6, ..shapes::least() };
        let paths = dataset.write(folder.path(), &shapes::tools()).unwrap();
        (folder, paths)
    });
    paths
}

fn command(task: &str, config: &Path, arguments: &[&str]) -> Output {
    let ShapesPaths { egoclip, egomcq, charades, tokenizers, .. } = dataset();
    let mut command = Command::new(env!("CARGO_BIN_EXE_egofx-train"));
    command.arg(task).arg("-c").arg(config).arg("--tokenizer").arg(&tokenizers[1]).args(arguments);
    let [train, val] = if config.ends_with(CHARADES) { [&charades.train, &charades.test] } else { [egoclip, egomcq] };
    command.arg("--train").arg(train).arg("--val").arg(val).env("OMP_NUM_THREADS", "1").output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", words(output));
    words(output)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Names of the files in a folder, with their bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn stored_clips_are_those_of_the_videos_and_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let (config, videos) = (smaller(folder.path(), PRETRAIN), text(&dataset().videos));
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let store = |to: &Path, more: &[&str]| {
        let arguments = ["--videos", videos, "-o", text(to), "--frames-per-segment", "1", "--per-file", "20"];
        succeeded(&command("cache-clips", &config, &[&arguments[..], more].concat()))
    };
    // 32 narrations and the clips of 12 questions, some of which are asked about twice.
    let said = store(&whole, &[]);
    let made = files(&whole);
    assert!(made.len() >= 3 && said.contains(&format!("{} files made, 0 there already", made.len())), "{said}");
    for part in ["1/2", "2/2"] {
        store(&parts, &["--shard", part]);
    }
    assert!(files(&parts) == made, "two parts are the whole");

    // A file that was cut off is made again, the others stay.
    let path = whole.join(&made[0].0);
    std::fs::write(&path, &made[0].1[..made[0].1.len() - 7]).unwrap();
    let cut = command("pretrain", &config, &["--clip-cache", text(&whole), "-o", text(&folder.path().join("none"))]);
    assert!(words(&cut).contains("expected stored clips, found"), "{}", words(&cut));
    let said = store(&whole, &[]);
    assert!(said.contains(&format!("1 files made, {} there already", made.len() - 1)), "{said}");
    assert!(files(&whole) == made);

    // What is validated before anything is learnt is the same number by number, with and without the videos.
    let still = std::fs::read_to_string(&config).unwrap().replace("lr = 1e-3", "lr = 0.0");
    std::fs::write(&config, still).unwrap();
    let [from_videos, from_store] = [["--videos", videos], ["--clip-cache", text(&whole)]].map(|source| {
        let run = folder.path().join(source[0]);
        let said = succeeded(&command("pretrain", &config, &[&source[..], &["-o", text(&run)]].concat()));
        assert!(!said.contains("could not be read"), "{said}");
        read(&run.join(METRICS_FILE)).unwrap()
    });
    let of_val = |entries: &[egofx_train::metrics_log::Entry]| {
        entries.iter().find(|entry| entry.split == "val").map(|entry| entry.metrics.clone()).unwrap()
    };
    assert_eq!(of_val(&from_videos), of_val(&from_store));
}

#[test]
fn training_draws_from_what_is_stored_and_clips_of_another_rule_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (charades, videos) = (smaller(folder.path(), CHARADES), text(&dataset().videos));
    let stored = folder.path().join("stored");
    succeeded(&command("cache-clips", &charades, &["--videos", videos, "-o", text(&stored)]));
    let run = folder.path().join("run");
    let said = succeeded(&command("charades", &charades, &["--clip-cache", text(&stored), "-o", text(&run)]));
    assert!(!said.contains("could not be read"), "{said}");
    let pretrain = smaller(folder.path(), PRETRAIN);
    let other =
        command("pretrain", &pretrain, &["--clip-cache", text(&stored), "-o", text(&folder.path().join("none"))]);
    let expected = "expected clips by the rule \"narrated\", fixed, read as opencv, \
                    found clips by the rule \"segments, edges truncated\", fixed, read as opencv";
    assert!(words(&other).contains(expected), "{}", words(&other));
    let nothing = folder.path().join("empty");
    std::fs::create_dir(&nothing).unwrap();
    let none = command("charades", &charades, &["--clip-cache", text(&nothing), "-o", text(&run), "--force"]);
    assert!(
        words(&none).contains("empty: expected stored clips (clips-*.safetensors), found none"),
        "{}",
        words(&none)
    );
}
