//! Programs that crash, hang or are refused a read: that is never damage of a video. Work is tried once more, then the unit
//! fails, also where damaged units keep their true rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use egofx::decode::Tools;

use crate::support;
use crate::support::programs::{loads_libraries, machines};
use crate::support::{H264, Outcome, Workshop, row_bits, tool};

/// Patience that no healthy run on a busy machine exhausts, and that a test can wait for.
const PATIENCE: &str = "--child-timeout 4";

/// `good.mp4` and `bad.mp4`, which is the same; 19 rows each.
fn shop() -> Workshop {
    let shop = Workshop::with_recipe();
    shop.encode("good.mp4", "64x48", 150, H264);
    fs::copy(shop.path("good.mp4"), shop.path("bad.mp4")).unwrap();
    shop.manifest(&["good.mp4", "bad.mp4"]);
    shop
}

/// A program `name.sh` that is `name`, but does `instead` where its arguments have `what`; the first time only if `once`.
fn program(shop: &Workshop, name: &str, what: &str, instead: &str, once: bool) {
    stand_in(shop, name, &tool(name), what, instead, once);
}

/// The same for any `real`.
fn stand_in(shop: &Workshop, name: &str, real: &Path, what: &str, instead: &str, once: bool) {
    let (real, folder) = (real.display().to_string(), shop.path("").display().to_string());
    let first =
        if once { format!("if mkdir {folder}/{name}-was-harmed 2>/dev/null; then") } else { "if true; then".into() };
    let instead = instead.replace("REAL", &real);
    let script = format!("#!/bin/sh\ncase \"$*\" in {what}) {first} {instead}; fi;; esac\nexec {real} \"$@\"\n");
    shop.script(&format!("{name}.sh"), &script);
}

fn extract(shop: &Workshop, out: &str, flags: &str) -> Outcome {
    let programs = ["ffmpeg", "ffprobe"].map(|name| (name, shop.path(&format!("{name}.sh"))));
    let given = programs.iter().filter(|(_, path)| path.exists());
    let given: String = given.map(|(name, path)| format!("--{name} {} ", path.display())).collect();
    shop.extract(out, &format!("{given}{PATIENCE} {flags}"))
}

/// `bad` fails under either policy by a message that has `words`, and `good` is committed.
#[track_caller]
fn fails_always(shop: &Workshop, words: &[&str]) {
    for (out, flags) in [("skip", ""), ("partial", "--on-error partial")] {
        extract(shop, out, flags).ends_with(1).says(words);
        assert_eq!(shop.committed(&format!("{out}/rows")), ["good"], "{out}");
        let report = shop.report(out);
        let why = report["failures"][0]["why"].as_str().unwrap();
        assert!(why.contains("bad.mp4") && words.iter().all(|word| why.contains(word)), "{why}");
        fs::remove_dir_all(shop.path(out)).unwrap();
    }
}

/// After one crash everything is as without, and a warning tells of it.
#[track_caller]
fn recovers(shop: &Workshop, words: &str) {
    extract(shop, "out", "--on-error partial -v").ends_with(0).says(&[words, "it is tried once more"]);
    let (good, bad) = (shop.unit("out/rows", "good"), shop.unit("out/rows", "bad"));
    assert_eq!(bad.meta.len(), 19);
    assert!(bad.meta.iter().all(|row| !row.missing));
    assert_eq!(row_bits(&good), row_bits(&bad));
    shop.egofx("verify out").ends_with(0);
    fs::remove_dir_all(shop.path("out")).unwrap();
}

/// Ways in which a decoder ends before its time, with what is said of it: half of the images have come by then.
const ENDS: [(&str, &str); 4] = [
    ("REAL \"$@\" | head -c 14000000; kill -9 $$", "killed by signal 9 (out of memory?)"),
    ("REAL \"$@\" | head -c 14000000; kill -11 $$", "killed by signal 11 (a fault of the program)"),
    ("REAL \"$@\" | head -c 14000000; exit 255", "was told to end by a signal"),
    ("REAL \"$@\" | head -c 14000000; kill -STOP $$", "gave no sign of life for 4 s"),
];

#[test]
fn a_decoder_that_ends_before_its_time_is_started_again() {
    for (instead, words) in ENDS {
        let shop = shop();
        program(&shop, "ffmpeg", "*bad.mp4*rawvideo*", instead, true);
        recovers(&shop, words);
    }
}

#[test]
fn a_decoder_that_ends_before_its_time_twice_fails_its_unit() {
    for (instead, words) in ENDS {
        let shop = shop();
        program(&shop, "ffmpeg", "*bad.mp4*rawvideo*", instead, false);
        fails_always(&shop, &[words, "tried twice"]);
    }
}

#[test]
fn a_probe_that_ends_before_its_time_is_made_again_once() {
    for what in ["*packet=*bad.mp4*", "*format=*bad.mp4*"] {
        for (instead, words) in [
            ("REAL \"$@\" | head -n 50; kill -9 $$", "killed by signal 9"),
            ("kill -STOP $$", "gave no sign of life for 4 s"),
            ("exit 127", "cannot be started"),
        ] {
            let shop = shop();
            program(&shop, "ffprobe", what, instead, true);
            recovers(&shop, words);
            program(&shop, "ffprobe", what, instead, false);
            fails_always(&shop, &[words, "tried twice"]);
        }
    }
}

#[test]
fn an_encoder_that_ends_before_its_time_is_started_again_once() {
    let shop = shop();
    shop.manifest(&["bad.mp4"]);
    let resize = |out: &str| {
        let ffmpeg = shop.path("ffmpeg.sh").display().to_string();
        shop.egofx(&format!(
            "resize -m all.csv -o {out} --short-side 32 --preset ultrafast -v --ffmpeg {ffmpeg} {PATIENCE}"
        ))
    };
    for (at, instead, words) in [
        ("killed", "REAL \"$@\"; kill -9 $$", "killed by signal 9"),
        ("stopped", "kill -STOP $$", "gave no sign of life"),
    ] {
        let _ = fs::remove_dir(shop.path("ffmpeg-was-harmed"));
        program(&shop, "ffmpeg", "*libx264*", instead, true);
        resize(&format!("{at}-once")).ends_with(0).says(&[words, "1 video made"]);
        program(&shop, "ffmpeg", "*libx264*", instead, false);
        resize(&format!("{at}-always")).ends_with(1).says(&[words, "tried twice"]);
    }
}

/// Descriptors for half of what runs side by side: what cannot be opened is not damage.
#[test]
fn too_few_file_descriptors_never_make_a_row() {
    let shop = shop();
    for most in [12, 14, 16, 18, 20, 24, 32] {
        let out = format!("out{most}");
        let program = env!("CARGO_BIN_EXE_egofx");
        let command =
            format!("ulimit -n {most}; exec {program} extract -m all.csv -p rows.toml -o {out} --on-error partial");
        let output = shop.command("sh", "-c").arg(command).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code <= 2), "{most}: {said}");
        let store = shop.path(&format!("{out}/rows"));
        if !store.join("store.json").exists() {
            continue;
        }
        for uid in shop.committed(&format!("{out}/rows")) {
            let unit = shop.unit(&format!("{out}/rows"), &uid);
            assert!(unit.meta.iter().all(|row| !row.missing), "{most}: {said}");
        }
    }
}

/// A library that makes reads fail.
fn bad_disk(shop: &Workshop) -> PathBuf {
    let library = shop.path("read_error.so");
    let source = support::checkout().join("tests/it/support/read_error.c");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(made.unwrap().success(), "a C compiler is needed, as for libjpeg");
    library
}

/// The `failing` of the machine's programs fail to read `bad` from this byte on. What else ffprobe is asked, setup's answers,
/// which starts at once; ffmpeg is one for all, as it is called by its version.
fn fail_to_read(shop: &Workshop, real: &Tools, failing: &[&str], library: &Path, bad: &Path, from: u64) {
    let words = format!("env LD_PRELOAD={} BAD_FILE={} BAD_FROM={from}", library.display(), bad.display());
    let name = bad.file_name().unwrap().display();
    for (program, machines, usual) in
        [("ffmpeg", &real.ffmpeg, &real.ffmpeg), ("ffprobe", &real.ffprobe, &tool("ffprobe"))]
    {
        let words = if failing.contains(&program) { words.as_str() } else { "" };
        let instead = format!("exec {words} {} \"$@\"", machines.display());
        stand_in(shop, program, usual, &format!("*{name}*"), &instead, false);
    }
}

/// By the machine's ffmpeg, for no library can be put into one that is linked statically.
#[test]
fn read_errors_are_named_whatever_the_container_and_whoever_meets_them() {
    let Some(real) = machines() else { return };
    if !loads_libraries(&real.ffmpeg) {
        eprintln!("not run: {} is linked statically", real.ffmpeg.display());
        return;
    }
    let shop = Workshop::with_recipe();
    let library = bad_disk(&shop);
    shop.clip("good.mp4", 40);
    let mpeg2 = "-c:v mpeg2video -q:v 3 -bf 2 -g 12";
    for (name, codec) in [
        ("bad.ts", mpeg2),
        ("bad.mpg", mpeg2),
        ("bad.flv", "-c:v flv1 -q:v 3"),
        ("bad.mkv", &format!("{H264} -qp 20 -live 1")),
        ("whole.mkv", &format!("{H264} -qp 20")),
        ("bad.mp4", &format!("{H264} -qp 20 -movflags +faststart")),
        ("bad.avi", "-c:v mpeg4 -q:v 3"),
        ("bad.mjpeg", "-c:v mjpeg -strict unofficial"),
    ] {
        shop.ffmpeg(&format!("-f lavfi -i testsrc2=s=320x240:r=25,noise=alls=20:allf=t -frames:v 150 {codec} {name}"));
        shop.manifest(&["good.mp4", name]);
        let path = shop.path(name).canonicalize().unwrap();
        let bytes = fs::metadata(&path).unwrap().len();
        for (programs, share) in [(&["ffprobe", "ffmpeg"][..], 0.6), (&["ffprobe", "ffmpeg"], 0.97), (&["ffmpeg"], 0.6)]
        {
            fail_to_read(&shop, &real, programs, &library, &path, (bytes as f64 * share) as u64);
            let run = extract(&shop, "out", "--on-error partial");
            let said = format!("{name} {programs:?} from {share} on: {run}");
            assert_eq!(shop.committed("out/rows"), ["good"], "{said}");
            let named = ["Input/output error", "Read error"].iter().any(|words| run.stderr.contains(words));
            assert!(run.code == Some(1) && named, "{said}");
            fs::remove_dir_all(shop.path("out")).unwrap();
        }
    }
}
