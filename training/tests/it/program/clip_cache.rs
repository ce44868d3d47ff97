//! Clips that were decoded beforehand, as people store and use them.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use egofx_train::metrics_log::{METRICS_FILE, read};
use egofx_train::synthetic::ShapesPaths;

use crate::support::experiments::smaller;
use crate::support::program;
use crate::support::shapes;

const CHARADES: &str = "synthetic_charades.toml";
const PRETRAIN: &str = "synthetic_pretrain_egovlpv2.toml";

fn command(task: &str, config: &Path, arguments: &[&str]) -> Output {
    let ShapesPaths { egoclip, egomcq, charades, tokenizers, .. } = super::world();
    let mut command = program();
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
    let (config, videos) = (smaller(folder.path(), PRETRAIN), text(&super::world().videos));
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

/// Puts an ffmpeg into `folder`, where the program looks first, that waits for the file `go` there once a file of clips is made.
fn waiting_ffmpeg(folder: &Path) {
    let ffmpeg = shapes::tools().ffmpeg;
    let (ffmpeg, place) = (ffmpeg.canonicalize().unwrap_or(ffmpeg), folder.join(".runtime/ffmpeg"));
    std::fs::create_dir_all(&place).unwrap();
    let wait = "for made in out/clips-*.safetensors; do if [ -e \"$made\" ]; then touch waits; while [ ! -e go ]; do sleep 0.2; done; fi; done";
    let script = format!("#!/bin/sh\ncase \"$*\" in *pipe:1*) {wait} ;; esac\nexec {} \"$@\"\n", ffmpeg.display());
    std::fs::write(place.join("ffmpeg"), script).unwrap();
    std::fs::set_permissions(place.join("ffmpeg"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_scheduler_s_signal_ends_it_after_the_clips_in_work_and_the_next_call_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = smaller(folder.path(), PRETRAIN);
    let ShapesPaths { videos, egoclip, egomcq, tokenizers, .. } = super::world();
    let cache = |out: &str| {
        let mut command = program();
        command.current_dir(folder.path()).env("OMP_NUM_THREADS", "1").stderr(Stdio::piped());
        command.args(["cache-clips", "--frames-per-segment", "1", "--per-file", "8", "-o", out, "-c"]).arg(&config);
        command.arg("--videos").arg(videos).arg("--tokenizer").arg(&tokenizers[1]);
        command.arg("--train").arg(egoclip).arg("--val").arg(egomcq);
        command
    };
    succeeded(&cache("whole").output().unwrap());
    waiting_ffmpeg(folder.path());
    let mut run = cache("out").spawn().unwrap();
    let begun = Instant::now();
    while !folder.path().join("waits").exists() {
        assert!(run.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(300), "no decoder waits");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap().success());
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("stopping after the clips in work")), "it does not say that it heard");
    std::fs::write(folder.path().join("go"), "").unwrap();
    let rest: Vec<String> = lines.collect();
    assert_eq!(run.wait().unwrap().code(), Some(75), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("stopped after 1 of ")), "{rest:?}");
    assert_eq!(files(&folder.path().join("out")).len(), 1, "a file is there whole or not at all");
    let said = succeeded(&cache("out").output().unwrap());
    assert!(said.contains(", 1 there already"), "{said}");
    assert!(files(&folder.path().join("out")) == files(&folder.path().join("whole")));
}

#[test]
fn training_draws_from_what_is_stored_and_clips_of_another_rule_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (charades, videos) = (smaller(folder.path(), CHARADES), text(&super::world().videos));
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
