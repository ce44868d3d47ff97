//! How clips of videos are read: many by one ffmpeg, each video probed once, and nothing of it changes what is learnt.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use egofx_train::metrics_log::{METRICS_FILE, read};
use egofx_train::synthetic::ShapesPaths;

use serde_json::{Map, Value};

use crate::support::experiments::smaller;
use crate::support::program;
use crate::support::shapes;

const PRETRAIN: &str = "synthetic_pretrain_egovlpv2.toml";
const CHARADES: &str = "synthetic_charades.toml";

/// Puts programs into `folder`, where training looks first, that write a word into `folder/started` and then are ffmpeg and
/// ffprobe: `together` for the clips of many videos, `alone` for those of one, `probe`.
fn counting(folder: &Path, linked: bool) {
    let tools = shapes::tools();
    let place = folder.join(".runtime/ffmpeg");
    fs::create_dir_all(&place).unwrap();
    let said = if linked { "--enable-shared" } else { "--enable-static" };
    let note = |word: &str| format!("echo {word} >> {}", folder.join("started").display());
    for (name, real) in [("ffmpeg", &tools.ffmpeg), ("ffprobe", &tools.ffprobe)] {
        let real = real.canonicalize().unwrap_or(real.clone());
        let cases = format!(
            "-version) {} -version; echo 'configuration: {said}'; exit ;; *file:/proc/*) {} ;; *pipe:1*) {} ;;",
            real.display(),
            note("together"),
            note("alone"),
        );
        let probe = if name == "ffprobe" { format!(" *) {} ;;", note("probe")) } else { String::new() };
        let script = format!("#!/bin/sh\ncase \"$*\" in {cases}{probe} esac\nexec {} \"$@\"\n", real.display());
        fs::write(place.join(name), script).unwrap();
        fs::set_permissions(place.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// How often each was started since this was last asked.
fn started(folder: &Path) -> [usize; 3] {
    let text = fs::read_to_string(folder.join("started")).unwrap_or_default();
    let _ = fs::remove_file(folder.join("started"));
    ["together", "alone", "probe"].map(|word| text.lines().filter(|line| *line == word).count())
}

/// What a run says, and all scores of its validations.
fn run(folder: &Path, config: &str, videos: &Path, more: &[&str]) -> (String, Vec<Map<String, Value>>) {
    let ShapesPaths { egoclip, egomcq, charades, tokenizers, .. } = super::world();
    let (task, [train, val]) = match config {
        CHARADES => ("charades", [&charades.train, &charades.test]),
        _ => ("pretrain", [egoclip, egomcq]),
    };
    let mut command = program();
    command.current_dir(folder).env("OMP_NUM_THREADS", "1").env("XDG_CACHE_HOME", folder.join("cache"));
    command.args([task, "-c", config, "-o", "run", "--force", "--tokenizer"]).arg(&tokenizers[1]).args(more);
    command.arg("--videos").arg(videos).arg("--train").arg(train).arg("--val").arg(val);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let entries = read(&folder.join("run").join(METRICS_FILE)).unwrap();
    (said, entries.into_iter().filter(|entry| entry.split == "val").map(|entry| entry.metrics).collect())
}

#[test]
fn clips_read_together_teach_the_same_as_videos_kept_in_memory_and_each_is_probed_once() {
    for config in [PRETRAIN, CHARADES] {
        let folder = tempfile::tempdir().unwrap();
        smaller(folder.path(), config);
        counting(folder.path(), false);
        let videos = &super::world().videos;
        let (_, kept) = run(folder.path(), config, videos, &["--memory", "1"]);
        let [together, alone, probes] = started(folder.path());
        assert!(together == 0 && alone > 0 && probes > 0, "{together} {alone} {probes}");
        let (said, read) = run(folder.path(), config, videos, &["--memory", "0"]);
        let [together, alone, probes] = started(folder.path());
        assert!(kept == read && !kept.is_empty() && !said.contains("libraries"), "{said}");
        assert!(together > 0, "clips are read together");
        assert_eq!((alone, probes), (0, 0), "none is decoded alone, none probed again");
    }
}

#[test]
fn a_damaged_video_costs_its_neighbours_time_only_and_an_ffmpeg_that_links_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    smaller(folder.path(), PRETRAIN);
    counting(folder.path(), true);
    let videos = folder.path().join("videos");
    fs::create_dir(&videos).unwrap();
    let ShapesPaths { videos: sound, egoclip, .. } = super::world();
    let narrations = fs::read_to_string(egoclip).unwrap();
    let first = narrations.lines().nth(1).and_then(|line| line.split('\t').nth(1)).unwrap();
    for from in fs::read_dir(sound).unwrap().map(|entry| entry.unwrap().path()) {
        let mut bytes = fs::read(&from).unwrap();
        let length = bytes.len();
        if from.file_stem().is_some_and(|name| name == first) {
            // Packets, not the tables at the end.
            bytes[length / 4..length / 2]
                .iter_mut()
                .enumerate()
                .for_each(|(k, byte)| *byte ^= (k * 73 % 251) as u8 | 1);
        }
        fs::write(videos.join(from.file_name().unwrap()), bytes).unwrap();
    }
    let (said, read) = run(folder.path(), PRETRAIN, &videos, &["--memory", "0"]);
    let [together, alone, _] = started(folder.path());
    assert!(together > 0 && alone > 0, "{together} {alone}");
    assert_eq!(said.matches("ms to load its libraries").count(), 1, "{said}");
    assert!(said.contains("make setup") && said.contains("could not be read"), "{said}");
    let (_, again) = run(folder.path(), PRETRAIN, &videos, &["--memory", "0", "--workers", "1"]);
    assert_eq!(read, again);
}

#[test]
fn an_ffmpeg_that_decodes_no_clips_together_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    smaller(folder.path(), PRETRAIN);
    counting(folder.path(), false);
    let videos = &super::world().videos;
    let more = ["--memory", "0", "--set", "train.epochs=8"];
    let (_, read) = run(folder.path(), PRETRAIN, videos, &more);
    let [groups, ..] = started(folder.path());
    let place = folder.path().join(".runtime/ffmpeg/ffmpeg");
    let script = fs::read_to_string(&place).unwrap();
    let refuses = script.replace("/started ;; *pipe", "/started; exit 1 ;; *pipe");
    assert_ne!(script, refuses);
    fs::write(&place, refuses).unwrap();
    let (said, refused) = run(folder.path(), PRETRAIN, videos, &more);
    let [together, alone, probes] = started(folder.path());
    assert_eq!(read, refused, "the same frames");
    // As many clips as it takes, and what other threads have begun.
    assert!(together < 40 && groups > 40 && alone > groups, "{together} of {groups}, {alone}");
    assert!(probes == 0 && said.matches("clips are decoded one by one").count() == 1, "{said}");
}
