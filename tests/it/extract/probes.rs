//! Videos are probed once, ahead of their time, and for whoever works in the same output folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{DENSE, Workshop, tool};

/// A workshop with clips `a.mp4` to `c.mp4`, two recipes, and an ffprobe that notes whenever it looks at a file.
fn shop() -> Workshop {
    let shop = Workshop::with_recipe();
    shop.recipe("again", DENSE, "hdf5", "f32");
    for (name, frames) in [("a.mp4", 40), ("b.mp4", 48), ("c.mp4", 56)] {
        shop.clip(name, frames);
    }
    shop.manifest(&["a.mp4", "b.mp4", "c.mp4"]);
    let note = format!("case \"$*\" in *-version*) ;; *) echo \"$*\" >> {} ;; esac", shop.path("probes").display());
    shop.script("ffprobe.sh", &format!("#!/bin/sh\n{note}\nexec {} \"$@\"\n", tool("ffprobe").display()));
    shop
}

/// The files that ffprobe was started for since this was last asked, in order and once.
fn probed(shop: &Workshop) -> Vec<String> {
    let notes = fs::read_to_string(shop.path("probes")).unwrap_or_default();
    let _ = fs::remove_file(shop.path("probes"));
    let name = |line: &str| line.rsplit('/').next().unwrap_or_default().to_owned();
    let mut names: Vec<String> = notes.lines().map(name).collect();
    names.sort();
    names.dedup();
    names
}

fn extract(shop: &Workshop, recipe: &str, out: &str, flags: &str) {
    let command = format!("extract -m all.csv -p {recipe}.toml -o {out} --ffprobe ./ffprobe.sh {flags}");
    shop.egofx(&command).ends_with(0);
}

/// What is kept in `out`, one file for each video.
fn kept(shop: &Workshop, out: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(shop.path(out).join(".egofx/probes")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_a_run_found_serves_all_others_and_changes_no_row() {
    let shop = shop();
    extract(&shop, "rows", "out", "");
    assert_eq!((probed(&shop), kept(&shop, "out").len()), (vec!["a.mp4".into(), "b.mp4".into(), "c.mp4".into()], 3));
    for name in ["a", "b", "c"] {
        fs::remove_file(shop.path(&format!("out/rows/units/{name}.h5"))).unwrap();
    }
    let first = shop.path("out").join(".egofx/probes");
    let before: Vec<_> = kept(&shop, "out").iter().map(|file| fs::read(file).unwrap()).collect();
    extract(&shop, "rows", "out", "");
    extract(&shop, "again", "out", "");
    assert_eq!(probed(&shop), [""; 0], "gone on with, and by another recipe");
    assert_eq!(kept(&shop, "out").iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>(), before);
    // The rows are those of a run that probes by itself.
    extract(&shop, "rows", "alone", "");
    extract(&shop, "again", "alone", "");
    assert_eq!(shop.unit_files("out"), shop.unit_files("alone"));
    probed(&shop);
    // Those who only look.
    shop.egofx("plan -m all.csv -p rows.toml -o out --probe 1 --ffprobe ./ffprobe.sh").ends_with(0);
    let headers = probed(&shop);
    shop.egofx("plan -m all.csv -p rows.toml -o none --probe 1 --ffprobe ./ffprobe.sh").ends_with(0);
    assert!(probed(&shop).len() >= headers.len() && !shop.path("none").exists());
    let audit = "audit -m all.csv --ffprobe ./ffprobe.sh";
    let told = shop.egofx(&format!("{audit} -o out")).ends_with(0).stdout;
    assert_eq!(probed(&shop), [""; 0]);
    assert_eq!(shop.egofx(audit).ends_with(0).stdout, told);
    assert_eq!(probed(&shop).len(), 3);
    // And nobody stumbles over it.
    for command in ["verify out", "inspect out", "status out"] {
        let told = shop.egofx(command).ends_with(0);
        assert!(!told.to_string().contains("probe"), "{told}");
    }
    assert!(first.is_dir() && shop.leftovers("out").is_empty());
}

#[test]
fn a_video_that_changed_is_probed_anew_and_so_is_what_was_damaged() {
    let shop = shop();
    shop.egofx("audit -m all.csv --ffprobe ./ffprobe.sh -o out").ends_with(0);
    assert_eq!((probed(&shop).len(), kept(&shop, "out").len()), (3, 3));
    shop.clip("b.mp4", 80);
    extract(&shop, "rows", "out", "");
    assert_eq!(probed(&shop), ["b.mp4"], "found by an audit, but for the one that changed");
    assert_eq!(shop.unit("out/rows", "b").header.source_frames, 80);
    let files = kept(&shop, "out");
    fs::write(&files[0], "garbage").unwrap();
    fs::write(&files[1], fs::read(&files[2]).unwrap()).unwrap();
    let run = shop.egofx("extract -m all.csv -p again.toml -o out --ffprobe ./ffprobe.sh").ends_with(0);
    assert_eq!((probed(&shop).len(), kept(&shop, "out")), (2, files), "{run}");
    assert!(!run.to_string().contains("probes"), "{run}");
    extract(&shop, "rows", "alone", "");
    extract(&shop, "again", "alone", "");
    assert_eq!(shop.unit_files("out"), shop.unit_files("alone"));
}

#[test]
fn parts_of_a_plan_share_what_they_found() {
    let shop = shop();
    extract(&shop, "rows", "out", "--shard 1/2");
    let (one, more) = (probed(&shop), kept(&shop, "out").len());
    assert!(!one.is_empty() && one.len() == more && more < 3, "{one:?}");
    extract(&shop, "rows", "out", "--shard 2/2");
    let two = probed(&shop);
    assert!(two.iter().all(|name| !one.contains(name)) && one.len() + two.len() == 3, "{one:?} {two:?}");
    extract(&shop, "again", "out", "--shard 1/1");
    assert_eq!(probed(&shop), [""; 0]);
}

/// The first decoder waits until somebody has looked at another video; nobody does who works on one video after the other.
#[test]
fn the_next_video_is_probed_while_one_is_decoded() {
    let shop = shop();
    let [seen, first] = ["probes", "first"].map(|name| shop.path(name).display().to_string());
    let two = format!("test $(sed 's|.*/||' {seen} | sort -u | wc -l) -ge 2");
    let wait = format!("for i in $(seq 300); do {two} && break; sleep 0.2; done; {two} || exit 1");
    let script = format!("case \"$*\" in *rawvideo*) mkdir {first} 2> /dev/null && {{ {wait}; }} ;; esac");
    shop.script("ffmpeg.sh", &format!("#!/bin/sh\n{script}\nexec {} \"$@\"\n", tool("ffmpeg").display()));
    extract(&shop, "rows", "out", "--decoders 1 --ffmpeg ./ffmpeg.sh");
    assert!(Path::new(&first).is_dir());
    assert_eq!(probed(&shop).len(), 3);
}

/// What is said of a file that is no video, and of those beside it, is what was always said.
#[test]
fn a_video_that_fails_says_so_in_its_turn_and_is_asked_again_by_the_next_run() {
    let shop = shop();
    shop.write("b.mp4", "no video");
    for _ in 0..2 {
        let run = shop.egofx("extract -m all.csv -p rows.toml -o out --ffprobe ./ffprobe.sh --decoders 1");
        let run = run.ends_with(1).says(&["b.mp4", "not a readable video"]);
        assert_eq!(run.to_string().matches("not a readable video").count(), 1, "{run}");
        assert!(probed(&shop).contains(&"b.mp4".to_owned()), "an error is not kept");
    }
    assert_eq!((shop.committed("out/rows"), kept(&shop, "out").len()), (vec!["a".to_owned(), "c".to_owned()], 2));
}
