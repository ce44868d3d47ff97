//! `egofx manifest` with the annotation files of benchmarks: what is written, what is said, and what is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use egofx::benchmark::{BENCHMARKS, Need};
use egofx::ids::ClipUid;
use egofx::manifest::Manifest;
use egofx::queries::Queries;

use crate::support::{Workshop, checkout, json};

fn annotations(file: &str) -> PathBuf {
    checkout().join("tests/data/annotations").join(file)
}

/// The annotations of each benchmark, and how many clips and queries they have.
const FILES: [(&str, &[&str], usize, usize); 15] = [
    ("nlq", &["nlq_val.json", "nlq_test_unannotated.json"], 4, 9),
    ("mq", &["moments_val.json", "moments_test_unannotated.json"], 3, 6),
    ("egomcq", &["egomcq.json"], 9, 2),
    ("egoclip", &["egoclip.csv"], 2, 5),
    ("qfvs", &["qfvs"], 2, 9),
    ("egotaskqa", &["formatted_train_qas_encode.json", "formatted_test_qas_encode.json"], 4, 5),
    ("oscc", &["fho_oscc-pnr_val.json", "fho_oscc-pnr_test_unannotated.json"], 7, 7),
    ("pnr", &["fho_oscc-pnr_val.json", "fho_oscc-pnr_test_unannotated.json"], 3, 3),
    ("lta", &["fho_lta_val.json", "fho_lta_test_unannotated.json"], 2, 3),
    ("sta", &["fho_sta_val.json", "fho_sta_test_unannotated.json"], 3, 4),
    ("goalstep", &["goalstep_valid.json", "goalstep_test.json"], 3, 7),
    ("qaego4d", &["annotations.QaEgo4D_val_options.json", "annotations.test.json"], 2, 4),
    ("egoexo", &["takes.json"], 2, 2),
    ("epic", &["epic_test.csv"], 3, 2),
    ("charades", &["charades_metadata_train.csv", "charades_test_only1st.csv"], 5, 5),
];

fn command(benchmark: &str, files: &[&str]) -> String {
    let given: Vec<String> =
        files.iter().map(|file| format!(" --annotations {}", annotations(file).display())).collect();
    format!("manifest {benchmark}{}", given.concat())
}

#[test]
fn every_benchmark_writes_a_manifest_and_queries_about_its_clips() {
    let shop = Workshop::new();
    for (name, files, clips, queries) in FILES {
        let run = shop.egofx(&format!("{} -o lists/{name}.csv --json", command(name, files))).ends_with(0);
        let manifest = Manifest::read(&shop.path(&format!("lists/{name}.csv"))).unwrap();
        let asked = Queries::read(&shop.path(&format!("lists/{name}.queries.csv"))).unwrap();
        assert_eq!((manifest.num_clips(), asked.len(), manifest.rejected.len()), (clips, queries, 0), "{name}: {run}");
        let known: BTreeSet<&ClipUid> = manifest.videos.iter().flat_map(|v| &v.clips).map(|clip| &clip.uid).collect();
        assert!(asked.iter().all(|query| known.contains(query.clip_uid)), "{name}: every query is about a clip");
        let outline = json(&run.stdout);
        let sum = |field: &str| -> u64 {
            outline["splits"].as_array().unwrap().iter().map(|split| split[field].as_u64().unwrap()).sum()
        };
        assert_eq!((sum("clips"), sum("queries")), (clips as u64, queries as u64), "{run}");
        assert!(outline["dropped"].as_array().is_some_and(|dropped| !dropped.is_empty()), "{run}");
    }
    // LeRobot's data sets are folders, which `lerobot` makes.
    let others = ["folder", "ego4d", "lerobot"];
    let annotated = BENCHMARKS.iter().filter(|benchmark| !others.contains(&benchmark.name));
    for benchmark in annotated {
        assert!(matches!(benchmark.needs.annotations, Need::Required(_)), "{}", benchmark.name);
        assert!(FILES.iter().any(|(name, ..)| *name == benchmark.name), "{} has no sample file", benchmark.name);
    }
}

#[test]
fn what_is_listed_and_what_is_dropped_is_said_by_split_and_reason() {
    let shop = Workshop::new();
    let nlq = command("nlq", &["nlq_val.json", "nlq_test_unannotated.json"]);
    shop.egofx(&format!("{nlq} -o nlq.csv")).ends_with(0).says(&[
        "dropped: queries without a text: 4 (nlq_val.json: videos[0].clips[0].annotations[0].language_queries[1]; ",
        "; and 1 more)",
        "kept: windows that hold nothing: 1 (",
        "val: 2 videos, 3 clips, 8 queries\ntest: 1 video, 1 clip, 1 query\n",
        "4 clips of 3 videos; 10 entries rejected\n9 queries in nlq.queries.csv\n",
    ]);
    let run = shop.egofx(&nlq).ends_with(0).says(&["9 queries not written, for want of --out"]);
    assert_eq!(run.stdout, fs::read_to_string(shop.path("nlq.csv")).unwrap());
    let clean = command("nlq", &["nlq_test_unannotated.json"]);
    shop.egofx(&format!("{clean} -o test.csv --strict")).ends_with(0).says(&["1 clip of 1 video; 0 entries rejected"]);
}

/// Every official file of NLQ has a query without a text: make must not take its list for a failure, nor the second try.
#[test]
fn known_omissions_are_no_failure_and_the_same_command_can_be_given_again() {
    let shop = Workshop::new();
    for (name, files, ..) in FILES {
        let list = format!("{} -o {name}.csv", command(name, files));
        shop.egofx(&list).ends_with(0).says(&["dropped: "]);
        let tables = [format!("{name}.csv"), format!("{name}.queries.csv")].map(|file| shop.path(&file));
        let times = || tables.each_ref().map(|path| fs::metadata(path).unwrap().modified().unwrap());
        let made = times();
        shop.egofx(&list).ends_with(0);
        assert_eq!(times(), made, "{name}: what is there already is left alone");
        // make took one of the two away.
        fs::remove_file(&tables[0]).unwrap();
        shop.egofx(&format!("{list} --strict")).ends_with(1).says(&["dropped: "]);
        assert!(tables[0].exists(), "{name}: --strict tells, and writes all the same");
    }
    fs::create_dir_all(shop.path("videos")).unwrap();
    for name in ["a.mp4", "x.mp4", "x.mkv"] {
        shop.write(&format!("videos/{name}"), "");
    }
    shop.egofx("manifest folder --videos videos -o all.csv")
        .ends_with(0)
        .says(&["1 clip of 1 video; 2 entries rejected"]);
    shop.egofx("manifest folder --videos videos -o all.csv --strict").ends_with(1);
}

#[test]
fn make_keeps_the_list_that_it_makes_of_an_official_file() {
    let shop = Workshop::new();
    let list = command("nlq", &["nlq_val.json", "nlq_test_unannotated.json"]);
    let program = env!("CARGO_BIN_EXE_egofx");
    shop.write("Makefile", format!(".DELETE_ON_ERROR:\nnlq.csv:\n\t{program} {list} -o $@\n"));
    for _ in 0..2 {
        let made = std::process::Command::new("make").arg("--always-make").current_dir(shop.path("")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(shop.path("nlq.csv").exists() && shop.path("nlq.queries.csv").exists());
    }
}

#[test]
fn neither_of_the_two_files_is_overwritten_unasked() {
    let shop = Workshop::new();
    let nlq = command("nlq", &["nlq_test_unannotated.json"]);
    shop.write("nlq.queries.csv", "mine");
    shop.egofx(&format!("{nlq} -o nlq.csv")).ends_with(2).says(&["nlq.queries.csv exists already", "--force"]);
    assert!(!shop.path("nlq.csv").exists(), "nothing is begun");
    shop.egofx(&format!("{nlq} -o nlq.csv --force")).ends_with(0);
    shop.egofx(&format!("{nlq} -o nlq.csv")).ends_with(0);
    let other = command("nlq", &["nlq_val.json"]);
    shop.egofx(&format!("{other} -o nlq.csv")).ends_with(2).says(&["nlq.csv exists already and holds something else"]);
    assert_eq!(shop.leftovers(""), [] as [std::path::PathBuf; 0]);
}

#[test]
fn annotations_that_cannot_be_read_are_refused_with_the_place() {
    let shop = Workshop::new();
    for (benchmark, files, words) in [
        ("nlq", &["nlq_malformed.json"][..], "nlq_malformed.json: videos[0].clips[0].video_end_sec: invalid type"),
        ("nlq", &["egomcq.json"], "missing field `videos` at line 1"),
        ("epic", &["egoclip.csv"], "no column narration_id, found clip_idx"),
        ("egoclip", &["nowhere.csv"], "nowhere.csv: cannot read the annotations: No such file"),
        ("ego4d", &["nlq_val.json", "egomcq.json"], "takes one annotation file, 2 were given"),
        ("mq", &[], "benchmark mq needs moments_train.json"),
    ] {
        shop.egofx(&format!("{} -o refused.csv", command(benchmark, files))).ends_with(2).says(&[words]);
        assert!(!shop.path("refused.csv").exists());
    }
    shop.egofx(&format!("{} --json", command("nlq", &["nlq_val.json"]))).ends_with(2).says(&["--out"]);
    let empty = shop.write("empty.json", "{\"videos\": []}");
    let run = shop.egofx(&format!("manifest nlq --annotations {}", empty.display())).ends_with(2);
    run.says(&["benchmark nlq: no usable clip"]);
}

#[test]
fn ten_thousand_clips_are_planned() {
    let shop = Workshop::new();
    fs::create_dir(shop.path("videos")).unwrap();
    let clip = |video: usize, at: usize| {
        let (start, end) = (at as f64 * 480.0021, (at + 1) as f64 * 480.0021);
        format!(
            "{{\"clip_uid\":\"clip-{video}-{at}\",\"video_start_sec\":{start},\"video_end_sec\":{end},\"annotations\":[{{\
             \"annotation_uid\":\"a-{video}-{at}\",\"language_queries\":[{{\"query\":\"Where is it?\"}}]}}]}}"
        )
    };
    let video = |video: usize| {
        shop.write(&format!("videos/video-{video}.mp4"), "");
        let clips: Vec<String> = (0..200).map(|at| clip(video, at)).collect();
        format!("{{\"video_uid\":\"video-{video}\",\"split\":\"train\",\"clips\":[{}]}}", clips.join(","))
    };
    let videos: Vec<String> = (0..50).map(video).collect();
    shop.write("nlq.json", format!("{{\"videos\":[{}]}}", videos.join(",")));
    shop.egofx("manifest nlq --annotations nlq.json --videos videos -o nlq.csv").ends_with(0);
    let recipe = checkout().join("pipelines/demo.toml");
    let plan = json(&shop.egofx(&format!("plan -m nlq.csv -p {} --json", recipe.display())).ends_with(0).stdout);
    assert_eq!((&plan["units"], &plan["videos"]), (&10_000.into(), &50.into()));
}
