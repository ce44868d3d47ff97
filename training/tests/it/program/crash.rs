//! A decoder that is killed is no bad clip: a run in which decoders are killed learns what one learns in which none is, or ends
//! with an error. No clip takes the place of another for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use egofx_train::metrics_log::{METRICS_FILE, read};
use egofx_train::synthetic::ShapesPaths;

use crate::support::experiments::smaller;
use crate::support::program;
use crate::support::shapes;

const CHARADES: &str = "synthetic_charades.toml";

/// Puts an ffmpeg into `folder`, where the program looks first, that is killed when it has written a little; each command for
/// the first time only, if `once`.
fn deadly_ffmpeg(folder: &Path, once: bool) {
    let tools = shapes::tools();
    let real = |program: &Path| program.canonicalize().unwrap_or(program.to_owned()).display().to_string();
    let (ffmpeg, place) = (real(&tools.ffmpeg), folder.join(".runtime/ffmpeg"));
    fs::create_dir_all(&place).unwrap();
    let mark = format!("mkdir {}/$(echo \"$*\" | cksum | tr -d ' ') 2>/dev/null", folder.display());
    let first = if once { mark.as_str() } else { "true" };
    let harm = format!("{first} && {{ {ffmpeg} \"$@\" | head -c 5000; kill -9 $$; }}");
    let script = format!("#!/bin/sh\ncase \"$*\" in *pipe:1*) {harm} ;; esac\nexec {ffmpeg} \"$@\"\n");
    fs::write(place.join("ffmpeg"), script).unwrap();
    fs::set_permissions(place.join("ffmpeg"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn train(paths: &ShapesPaths, folder: &Path, out: &str) -> Output {
    let mut command = program();
    command.current_dir(folder).env("OMP_NUM_THREADS", "1").args([
        "charades",
        "-c",
        CHARADES,
        "-o",
        out,
        "--tokenizer",
    ]);
    command.arg(&paths.tokenizers[1]).arg("--videos").arg(&paths.videos);
    command.arg("--train").arg(&paths.charades.train).arg("--val").arg(&paths.charades.test).output().unwrap()
}

#[test]
fn a_run_whose_decoders_are_killed_learns_the_same_or_ends() {
    let paths = super::world();
    let mut metrics = Vec::new();
    for deadly in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        smaller(folder.path(), CHARADES);
        if deadly {
            deadly_ffmpeg(folder.path(), true);
        }
        let output = train(paths, folder.path(), "run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("replaced"), "{said}");
        let killed = fs::read_dir(folder.path()).unwrap().filter(|entry| {
            entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        });
        assert_eq!(killed.count() > 0, deadly, "{said}");
        let entries = read(&folder.path().join("run").join(METRICS_FILE)).unwrap();
        let scores = entries.iter().filter(|entry| entry.split == "val").map(|entry| entry.metrics.clone());
        metrics.push(scores.collect::<Vec<_>>());
    }
    assert!(!metrics[0].is_empty());
    assert_eq!(metrics[0], metrics[1]);
    let folder = tempfile::tempdir().unwrap();
    smaller(folder.path(), CHARADES);
    deadly_ffmpeg(folder.path(), false);
    let output = train(paths, folder.path(), "run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code > 0), "{said}");
    assert!(said.contains("ffmpeg was killed by signal 9") && said.contains("tried twice"), "{said}");
}
