//! The command line: words in, words and exit codes out. stdout is data, stderr is for people, and 2 means that nothing
//! was begun.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use crate::support;
use crate::support::{Workshop, checkout, json};

fn shop() -> Workshop {
    let shop = Workshop::with_recipe();
    shop.clip("a.mp4", 40);
    shop.clip("b.mp4", 60);
    shop.manifest(&["a.mp4", "b.mp4"]);
    shop
}

/// `extract` with `flags` fails before anything is begun, and says `words`.
fn refuses(shop: &Workshop, flags: &str, words: &[&str]) {
    let run = shop.extract("refused", flags).ends_with(2).says(words);
    assert_eq!(run.stdout, "", "stdout is for data");
    assert!(!shop.path("refused").exists(), "nothing is begun");
}

#[test]
fn help_names_the_options_of_every_command() {
    let shop = Workshop::new();
    for (command, options) in [
        (
            "",
            &[
                "manifest",
                "audit",
                "plan",
                "extract",
                "verify",
                "inspect",
                "tokenize",
                "doctor",
                "completions",
                "--verbose",
                "man",
                "--log-file",
                "--color",
                "--version",
            ][..],
        ),
        ("manifest", &["--annotations", "--videos", "--out", "--force", "--strict", "folder", "ego4d"]),
        ("audit", &["--manifest", "--videos", "--json", "--jobs", "--ffprobe"]),
        ("plan", &["--manifest", "--recipe", "--probe", "--json", "--shard", "--limit", "--out"]),
        (
            "extract",
            &[
                "--device",
                "--precision",
                "--on-error",
                "--hwaccel",
                "--shard",
                "--memory",
                "--json",
                "--grace",
                "75",
                "130",
            ],
        ),
        ("verify", &["--checksums-only", "--json"]),
        ("inspect", &["--json"]),
        ("tokenize", &["--rule", "--model", "--tokenizer", "--rules", "HF_HUB_CACHE"]),
        ("doctor", &["--json", "--ort-lib", "--ffmpeg"]),
        ("completions", &["bash", "zsh", "fish"]),
    ] {
        let run = shop.egofx(&format!("{command} --help")).ends_with(0);
        assert_eq!(run.stderr, "");
        options.iter().for_each(|option| assert!(run.stdout.contains(option), "{option}: {run}"));
    }
    shop.egofx("").ends_with(2);
    shop.egofx("-v").ends_with(2).says(&["a command is needed"]);
    shop.egofx("extrat").ends_with(2).says(&["extract"]);
}

/// The options in the help of `command` that have a short form: `-m`, `--manifest`.
fn short_options(shop: &Workshop, command: &str) -> Vec<(String, String)> {
    let help = shop.egofx(&format!("{command} --help")).ends_with(0).stdout;
    let options = help.lines().filter_map(|line| line.trim_start().strip_prefix('-')?.split_once(", --"));
    let short = options.filter(|(short, _)| short.len() == 1);
    short.map(|(short, rest)| (short.to_owned(), rest.split([' ', '.']).next().unwrap().to_owned())).collect()
}

#[test]
fn commands_are_listed_in_groups_and_a_short_option_means_the_same_in_all_of_them() {
    let shop = Workshop::new();
    let help = shop.egofx("--help").ends_with(0).stdout;
    let titles: Vec<&str> = help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
    let groups = ["Prepare:", "Extract:", "Check:", "Exchange:", "Search:", "Score:", "Models:", "Shell:", "Options:"];
    assert_eq!(titles[titles.len() - groups.len()..], groups, "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    // The shells are told of every command, whatever the help lists.
    let script = shop.egofx("completions bash").ends_with(0).stdout;
    let words =
        script.lines().filter_map(|line| line.trim().strip_prefix("opts=\"")).find(|words| words.contains(" doctor "));
    let commands: Vec<&str> =
        words.unwrap().trim_end_matches('"').split(' ').filter(|word| !word.starts_with('-')).collect();
    assert!(commands.len() > 20, "{words:?}");
    let mut meaning = BTreeMap::new();
    for command in commands.into_iter().filter(|command| !["help", "check-args", "try-device"].contains(command)) {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is in no group: {help}");
        let mut all = vec![command.to_owned()];
        if command == "eval" {
            all.extend(["nlq", "mq", "qfvs", "egomcq", "mir"].map(|benchmark| format!("eval {benchmark}")));
        }
        if command == "submit" {
            all.extend(["slurm", "hyperqueue", "k8s", "local"].map(|engine| format!("submit {engine}")));
        }
        for command in all {
            for (short, long) in short_options(&shop, &command) {
                let known = meaning.entry(short).or_insert_with(|| long.clone()).clone();
                assert_eq!(known, long, "egofx {command}");
            }
        }
    }
    assert_eq!(meaning["p"], "recipe");
    assert_eq!((&*meaning["m"], &*meaning["o"], &*meaning["q"]), ("manifest", "out", "quiet"));
}

#[test]
fn the_version_names_what_the_program_runs_with() {
    let shop = Workshop::new();
    let line = concat!("egofx ", env!("CARGO_PKG_VERSION"), "\n");
    for flags in ["--version", "-V"] {
        assert_eq!(shop.egofx(flags).ends_with(0).stdout, line);
    }
    let shown = shop.egofx("--version -v").ends_with(0).stdout;
    let known = |what: &str| shown.lines().find_map(|line| line.strip_prefix(what)).unwrap().trim().to_owned();
    assert!(shown.starts_with(line) && !known("commit").is_empty(), "{shown}");
    for what in ["HDF5", "ONNX Runtime"] {
        assert!(known(what).starts_with("1."), "{shown}");
    }
    assert!(known("ffmpeg").contains("ffmpeg"), "{shown}");
    assert_eq!(shop.egofx("-vV").ends_with(0).stdout, shown);
}

#[test]
fn colours_are_for_terminals_unless_they_are_asked_for() {
    let shop = Workshop::new();
    let escape = |flags: &str| shop.egofx(flags).stdout.contains('\u{1b}');
    assert!(!escape("--help") && !escape("--color never --help") && escape("--color always --help"));
    assert!(escape("plan --color=always --help"));
    shop.egofx("--color green --help").ends_with(2).says(&["green", "auto", "always", "never"]);
    shop.write("words.csv", "video_uid\nv\n");
    let records = |flags: &str| shop.egofx(&format!("audit -m words.csv -v {flags}")).stderr;
    assert!(records("--color always").contains('\u{1b}') && !records("").contains('\u{1b}'));
}

#[test]
fn every_command_has_a_manual_page() {
    let shop = Workshop::new();
    let page = shop.egofx("man").ends_with(0).stdout;
    assert!(page.contains(".TH egofx 1") && page.contains("egofx\\-extract(1)"), "{page}");
    shop.egofx("man -o man1").ends_with(0);
    for (name, word) in [("egofx", "SUBCOMMANDS"), ("egofx-extract", "\\-\\-recipe"), ("egofx-eval-nlq", "predictions")]
    {
        let page = fs::read_to_string(shop.path(&format!("man1/{name}.1"))).unwrap();
        assert!(page.contains(word), "{name}: {page}");
    }
    shop.egofx("man -o man1").ends_with(0);
    shop.write("man1/egofx.1", "another version's");
    shop.egofx("man -o man1").ends_with(2).says(&["man1/egofx.1", "--force"]);
    shop.egofx("man -o man1 --force").ends_with(0);
}

#[test]
fn former_names_of_options_are_still_taken() {
    let shop = shop();
    shop.egofx("plan -m all.csv --pipeline rows.toml").ends_with(0);
    shop.egofx("eval nlq -p absent.json -a absent.json").ends_with(2).says(&["absent.json"]);
    shop.egofx("mcq -q absent.csv").ends_with(2).says(&["absent.csv"]);
}

#[test]
fn bad_recipes_are_refused_with_what_is_valid() {
    let shop = shop();
    let text = fs::read_to_string(shop.path("rows.toml")).unwrap();
    for (from, to, words) in [
        ("compat", "compatt", &["rows.toml", "compatt", "compat", "backbone", "grid", "transform", "output"][..]),
        ("stride", "strides", &["rows.toml", "strides", "frames", "stride"]),
        ("\"ego4d\"", "\"ego5d\"", &["ego5d", "egovlp", "ego4d", "uniform"]),
        ("\"bilinear\"", "\"linear\"", &["linear", "bilinear", "bicubic", "area"]),
        ("\"hdf5\"", "\"npz\"", &["npz", "hdf5", "parquet"]),
        ("\"tiny\"", "\"huge\"", &["no model card \"huge\"", "tiny"]),
        ("crop = 256", "crop = 224", &["transform.crop is 224", "backbone tiny takes 256x256"]),
        ("frames = 8", "frames = 0", &["grid.frames is 0"]),
        ("filter = \"bilinear\"\n", "", &["missing field `filter`"]),
    ] {
        shop.write("rows.toml", text.replacen(from, to, 1));
        refuses(&shop, "", words);
        let said = shop.extract("refused", "").stderr;
        assert!(said.lines().count() < 10 && said.matches("TOML parse error").count() < 2, "said twice: {said}");
    }
    shop.write("rows.toml", &text);
    fs::create_dir(shop.path("sub")).unwrap();
    shop.write("sub/rows.toml", &text);
    refuses(&shop, "-p sub/rows.toml", &["two recipes are named \"rows\""]);
    refuses(&shop, "-p absent.toml", &["absent.toml", "No such file"]);
}

#[test]
fn bad_manifests_are_refused() {
    let shop = shop();
    let extract = |manifest: &str| shop.egofx(&format!("extract -m {manifest} -p rows.toml -o refused"));
    extract("absent.csv").ends_with(2).says(&["absent.csv", "No such file"]);
    shop.write("empty.csv", "");
    extract("empty.csv").ends_with(2).says(&["empty.csv", "is empty"]);
    shop.write("names.csv", "name,fps\na,30\n");
    extract("names.csv").ends_with(2).says(&["names.csv", "video_uid", "found name, fps"]);
    shop.write("uids.csv", "video_uid,path\n../../x,a.mp4\na/b,a.mp4\n");
    extract("uids.csv").ends_with(2).says(&["line 2", "../../x"]);
    assert!(!shop.path("refused").exists());
}

#[test]
fn what_cannot_be_had_is_refused_with_its_remedy() {
    let shop = shop();
    refuses(&shop, "--device gpu", &["unknown device", "cpu, openvino, cuda, tensorrt"]);
    refuses(&shop, "--device cpu:1", &["only GPUs are numbered"]);
    refuses(&shop, "--precision fp8", &["unknown precision", "fp32, bf16, fp16, tf32"]);
    refuses(&shop, "--device cpu --precision bf16", &["device cpu offers precision fp32, not bf16"]);
    refuses(&shop, "--device cuda --precision bf16", &["device cuda offers precision fp32, tf32, fp16, not bf16"]);
    refuses(&shop, "--device cuda --precision fp16", &["no model card \"tiny_fp16\"", "--precision fp16"]);
    refuses(&shop, "--device cpu,openvino", &["openvino", "cannot be mixed"]);
    refuses(&shop, "--ort-lib absent.so", &["absent.so is not a file", "make setup"]);
    refuses(&shop, "--ort-lib all.csv", &["all.csv is not an ONNX Runtime library", "make setup"]);
    refuses(&shop, "--ffmpeg absent/ffmpeg", &["absent/ffmpeg", "make setup"]);
    refuses(&shop, "--batch-size 0", &["--batch-size 0: expected 1 to 4096"]);
    refuses(&shop, "--decoders 0", &["--decoders 0: expected 1 to 256"]);
    refuses(&shop, "--threads 0", &["--threads"]);
    refuses(&shop, "--models absent", &["--models absent: not a folder"]);
    refuses(&shop, "--videos absent", &["absent"]);
    refuses(&shop, "--on-error ignore", &["fail", "skip", "partial"]);
}

/// Without the library, and without a GPU where the library is there: never a run on the CPU.
#[test]
fn a_gpu_that_is_not_there_is_an_error_and_no_cpu_run() {
    let shop = shop();
    if Command::new("nvidia-smi").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is a GPU");
        return;
    }
    for device in ["cuda", "tensorrt", "cuda:1,cpu"] {
        refuses(&shop, &format!("--device {device}"), &["make setup-gpu"]);
    }
    // A library without the provider is no way round.
    let library = fs::read_dir(checkout().join(".runtime/ort")).unwrap().flatten().map(|entry| entry.path());
    let library = library.into_iter().find(|path| path.to_string_lossy().contains("libonnxruntime.so")).unwrap();
    for device in ["cuda", "tensorrt", "openvino"] {
        let setup = if device == "openvino" { "make setup-openvino" } else { "make setup-gpu" };
        refuses(&shop, &format!("--device {device} --ort-lib {}", library.display()), &[setup]);
    }
}

#[test]
fn a_graph_that_is_not_its_cards_is_refused() {
    let shop = shop();
    fs::create_dir(shop.path("models")).unwrap();
    let mut graph = fs::read(shop.path("onnx/tiny.onnx")).unwrap();
    fs::copy(shop.path("onnx/tiny.toml"), shop.path("models/tiny.toml")).unwrap();
    refuses(&shop, "--models models", &["models/tiny.onnx", "No such file"]);
    let middle = graph.len() / 2;
    graph[middle] ^= 1;
    shop.write("models/tiny.onnx", graph);
    refuses(&shop, "--models models", &["models/tiny.onnx has sha256", "its card models/tiny.toml says"]);
}

#[test]
fn stdout_is_data_and_a_pipe_sees_no_progress() {
    let shop = shop();
    let run = shop.extract("out", "").ends_with(0);
    assert_eq!(run.stdout, "out/rows\n");
    assert!(!run.stderr.contains('\u{1b}') && !run.stderr.contains('\r'), "drawn on no terminal: {run}");
    run.says(&["2 units committed", "rows/s", "decode multiplicity 1.00", "bottleneck"]);
    let run = shop.extract("out", "--json").ends_with(0);
    assert_eq!(run.stderr, "");
    assert_eq!((&json(&run.stdout), &json(&run.stdout)["done_before"]), (&shop.report("out"), &2.into()));
    let run = shop.extract("out", "--quiet").ends_with(0);
    assert_eq!((run.stdout, run.stderr), (String::new(), String::new()));
    let run = shop.extract("loud", "-vv").ends_with(0);
    run.says(&["DEBUG", "a: 40 frames of h264", "golden output within"]);
}

#[test]
fn a_trial_of_the_first_clips_grows_into_the_whole() {
    let shop = shop();
    shop.extract("out", "--limit 1").ends_with(0);
    assert_eq!(shop.committed("out/rows"), ["a"]);
    shop.egofx("verify out").ends_with(0);
    shop.extract("out", "").ends_with(0);
    assert_eq!(shop.committed("out/rows"), ["a", "b"]);
}

#[test]
fn a_plan_says_what_will_be_done() {
    let shop = shop();
    let plan = |flags: &str| shop.egofx(&format!("plan -m all.csv -p rows.toml {flags}"));
    let run = plan("").ends_with(0);
    assert!(run.stdout.starts_with("2 units of 2 videos") && run.stdout.contains("rows"), "{run}");
    let outline = json(&plan("--json").ends_with(0).stdout);
    assert_eq!((&outline["videos"], &outline["units"], &outline["units_done"]), (&2.into(), &2.into(), &0.into()));
    assert_eq!(outline["feature_sets"][0]["dim"], 32);
    assert!(outline.get("estimate").is_none());
    let outline = json(&plan("--json --probe 2").ends_with(0).stdout);
    let estimate = &outline["estimate"];
    assert!(estimate["decode_sec"].as_f64().unwrap() > 0.0 && estimate["infer_sec"].as_f64().unwrap() > 0.0);
    assert!(plan("--probe 2").ends_with(0).stdout.contains("decoding alone"));
    assert!(!shop.path("out").exists(), "a plan writes nothing");
    shop.extract("out", "--limit 1").ends_with(0);
    let outline = json(&plan("--json -o out").ends_with(0).stdout);
    assert_eq!((&outline["units"], &outline["units_done"]), (&1.into(), &1.into()));
    shop.write("all.csv", "video_uid,path\na,a.mp4\nlost,lost.mp4\na/b,a.mp4\n");
    plan("").ends_with(1).says(&["line 4", "a/b", "lost: no such file"]);
}

#[test]
fn a_plan_counts_the_windows_that_a_run_makes() {
    let shop = shop();
    shop.write("all.csv", "video_uid,path,duration_sec,fps\na,a.mp4,1.6,25\nb,b.mp4,2.4,25\n");
    let outline = json(&shop.egofx("plan -m all.csv -p rows.toml --json").ends_with(0).stdout);
    shop.extract("out", "").ends_with(0);
    assert_eq!(outline["feature_sets"][0]["rows"], shop.report("out")["rows"]);
}

#[test]
fn what_is_stored_can_be_looked_at() {
    let shop = shop();
    shop.extract("out", "").ends_with(0);
    let shown = json(&shop.egofx("inspect --json out/rows/units/a.h5").ends_with(0).stdout);
    assert_eq!((&shown[0]["shape"], &shown[0]["rows"]["count"]), (&serde_json::json!([5, 32]), &5.into()));
    assert_eq!((&shown[0]["header"]["clip_uid"], &shown[0]["header"]["source_frames"]), (&"a".into(), &40.into()));
    for path in ["out", "out/rows"] {
        let shown = json(&shop.egofx(&format!("inspect --json {path}")).ends_with(0).stdout);
        let units = &shown[0]["units"];
        assert_eq!((&units["planned"], &units["committed"], &units["rows"]), (&2.into(), &2.into(), &13.into()));
    }
    let run = shop.egofx("inspect out").ends_with(0);
    assert!(run.stdout.contains("backbone             tiny") && run.stderr.is_empty(), "{run}");
    assert!(shop.egofx("inspect out/rows/units/a.h5").ends_with(0).stdout.contains("norm_mean"));
    shop.egofx("inspect all.csv").ends_with(2).says(&["all.csv", ".h5 or .parquet"]);
    shop.egofx("inspect onnx").ends_with(2).says(&["onnx", "no feature set here"]);
    shop.egofx("inspect absent").ends_with(2).says(&["absent", "No such file"]);
    shop.write("no.h5", "no such thing");
    shop.egofx("inspect no.h5").ends_with(2).says(&["no.h5 is damaged"]);
}

#[test]
fn verify_judges_in_words_and_in_json() {
    let shop = shop();
    shop.extract("out", "").ends_with(0);
    let run = shop.egofx("verify out").ends_with(0);
    assert_eq!(run.stdout, "rows: sound: 2 of 2 units committed, 13 rows, 0 padded, 0 missing\n");
    assert_eq!(run.stderr, "");
    let verdict = json(&shop.egofx("verify --json out").ends_with(0).stdout);
    assert_eq!((&verdict[0]["rows"], &verdict[0]["problems"]), (&13.into(), &serde_json::json!([])));
    fs::remove_file(shop.path("out/rows/units/b.h5")).unwrap();
    let run = shop.egofx("verify --json --checksums-only out/rows").ends_with(1);
    assert_eq!(json(&run.stdout)[0]["problems"][0]["kind"], "absent");
    shop.egofx("verify onnx").ends_with(2).says(&["no feature set here"]);
}

#[test]
fn what_a_store_has_lost_is_found_and_the_next_run_makes_it_anew() {
    let shop = shop();
    shop.recipe("others", support::DENSE, "hdf5", "f32");
    let both = "extract -m all.csv -p rows.toml -p others.toml -o out";
    shop.egofx(both).ends_with(0);
    let at = |name: &str| shop.path("out/rows").join(name);
    let text = |name: &str| fs::read_to_string(at(name)).unwrap();
    let first_line = text("planned.jsonl").lines().next().unwrap().to_owned() + "\n";
    let others = fs::read(shop.path("out/others/features.h5")).unwrap();
    let losses: [(&str, Option<Vec<u8>>, &str); 7] = [
        ("store.json", None, "store.json is absent"),
        ("planned.jsonl", Some(first_line.into_bytes()), "it is committed and planned.jsonl does not promise it"),
        ("planned.jsonl", None, "it is committed and planned.jsonl does not promise it"),
        ("features.h5", Some(Vec::new()), "features.h5 is damaged"),
        ("features.h5", Some(others), "features.h5 is another store's: feature_set is"),
        ("features.h5", None, "features.h5 is absent"),
        ("index.parquet", None, "index.parquet is absent"),
    ];
    for (name, left, words) in losses {
        let whole = fs::read(at(name)).unwrap();
        match left {
            Some(bytes) => fs::write(at(name), bytes).unwrap(),
            None => fs::remove_file(at(name)).unwrap(),
        }
        let run = shop.egofx("verify out").ends_with(1).says(&[words]);
        assert!(run.stdout.contains("rows: NOT sound") && run.stdout.contains("others: sound"), "{run}");
        shop.egofx("verify out/rows").ends_with(1).says(&[words]);
        shop.egofx(both).ends_with(0).says(&["0 units committed, 4 done before"]);
        shop.egofx("verify out").ends_with(0);
        assert_eq!(fs::read(at(name)).unwrap(), whole, "{name}");
    }
}

#[test]
fn a_run_over_a_store_that_is_not_sound_does_not_end_well() {
    let shop = shop();
    shop.extract("out", "").ends_with(0);
    shop.manifest(&["a.mp4"]);
    let ledger = shop.path("out/rows/ledger/1-of-1.jsonl");
    let (text, unit) = (fs::read_to_string(&ledger).unwrap(), fs::read(shop.path("out/rows/units/b.h5")).unwrap());
    fs::remove_file(shop.path("out/rows/units/b.h5")).unwrap();
    shop.extract("out", "").ends_with(1).says(&["b: ", "units/b.h5 is absent"]);
    fs::write(shop.path("out/rows/units/b.h5"), unit).unwrap();
    let twice =
        text.lines().map(|line| format!("{line}\n{}\n", line.replace("\"missing_rows\":0", "\"missing_rows\":1")));
    fs::write(&ledger, twice.collect::<String>()).unwrap();
    shop.extract("out", "").ends_with(1).says(&["two lines of its ledgers say different things"]);
    shop.egofx("verify out").ends_with(1).says(&["two lines of its ledgers say different things"]);
    fs::write(&ledger, text).unwrap();
    shop.extract("out", "").ends_with(0);
}

#[test]
fn hidden_files_and_foreign_folders_in_the_output_are_left_alone() {
    let shop = shop();
    fs::create_dir_all(shop.path("out/notes")).unwrap();
    shop.write("out/.extracted-123", "");
    shop.write("out/notes/readme", "mine");
    shop.extract("out", "").ends_with(0);
    shop.write("out/rows/.hidden", "");
    shop.extract("out", "").ends_with(0);
    let run = shop.egofx("verify out").ends_with(0);
    assert_eq!(run.stderr, "");
    shop.egofx("inspect out").ends_with(0);
    assert!(shop.path("out/.extracted-123").exists() && shop.path("out/notes/readme").exists());
}

#[test]
fn manifests_are_listed_and_never_overwritten_unasked() {
    let shop = shop();
    fs::create_dir(shop.path("clips")).unwrap();
    for name in ["a.mp4", "b.mp4"] {
        fs::rename(shop.path(name), shop.path("clips").join(name)).unwrap();
    }
    let run =
        shop.egofx("manifest folder --videos clips").ends_with(0).says(&["2 clips of 2 videos; 0 entries rejected"]);
    assert!(run.stdout.starts_with("video_uid,path,clip_uid") && run.stdout.lines().count() == 3, "{run}");
    shop.egofx("manifest folder --videos clips -o list.csv").ends_with(0);
    assert_eq!(fs::read_to_string(shop.path("list.csv")).unwrap(), run.stdout);
    shop.egofx("manifest folder --videos clips -o list.csv").ends_with(0);
    shop.write("list.csv", "mine");
    shop.egofx("manifest folder --videos clips -o list.csv").ends_with(2).says(&["list.csv exists already", "--force"]);
    shop.egofx("manifest folder --videos clips -o list.csv --force").ends_with(0);
    shop.egofx("extract -m list.csv -p rows.toml -o out").ends_with(0);
    let ego4d = checkout().join("tests/data/manifests/ego4d.json");
    let run = shop.egofx(&format!("manifest ego4d --annotations {} -o ego4d.csv", ego4d.display()));
    assert!(matches!(run.code, Some(0 | 1)) && shop.path("ego4d.csv").exists(), "{run}");
    shop.egofx("manifest ego4d").ends_with(2).says(&["ego4d.json"]);
    shop.egofx("manifest folder").ends_with(2).says(&["needs a folder with videos"]);
    shop.egofx("manifest imagenet").ends_with(2).says(&["folder", "ego4d"]);
}

/// A job in a queue has no terminal: its log has to show that it lives.
#[test]
fn without_a_terminal_a_run_says_how_far_it_is_and_a_log_file_has_every_unit() {
    let shop = shop();
    let log = || fs::read_to_string(shop.path("run.log")).unwrap();
    let paces = |text: &str| text.lines().filter(|line| line.contains(" of 2 units, ")).count();
    let run = shop.extract("out", "--progress-every 0.001 --log-file run.log").ends_with(0);
    let first = run.stderr.lines().find(|line| line.contains(" of 2 units, ")).expect("a line while it runs");
    assert!(first.starts_with("egofx: ") && first.contains(" rows"), "{run}");
    assert!(!run.stderr.contains("rows a: "), "a line for each unit is for -v: {run}");
    assert_eq!(paces(&log()), paces(&run.stderr), "the file has what was said");
    for said in ["rows a: ", "rows b: ", "] 2 units committed"] {
        assert_eq!(log().lines().filter(|line| line.contains(said)).count(), 1, "{said}: {}", log());
    }
    let lines = log().lines().count();
    let run = shop.extract("quiet", "--progress-every 0.001 --log-file run.log --quiet").ends_with(0);
    assert_eq!(run.stderr, "");
    assert!(log().lines().count() > lines && paces(&log()) > paces(&run.stderr), "it goes on at its end: {}", log());
    let run = shop.extract("verbose", "--progress-every 0 -v").ends_with(0).says(&["rows a: ", "rows b: "]);
    assert_eq!(paces(&run.stderr), 0);
    shop.egofx("verify out --progress-every 0 -v").ends_with(0).says(&["rows a: sound, ", "rows b: sound, "]);
    refuses(&shop, "--progress-every soon", &["--progress-every", "expected seconds", "soon"]);
    refuses(&shop, "--log-file nowhere/run.log", &["--log-file nowhere/run.log", "No such file"]);
}

#[test]
fn the_doctor_and_the_shells_are_served() {
    let shop = Workshop::new();
    let run = shop.egofx("doctor").ends_with(0);
    assert!(run.stdout.ends_with("Ready.\n") && run.stdout.contains("ONNX Runtime"), "{run}");
    let findings = json(&shop.egofx("doctor --json").ends_with(0).stdout);
    assert!(
        findings.as_array().unwrap().iter().all(|finding| finding["needed"] == false || finding["found"].is_string())
    );
    let run = shop.egofx("doctor --ffmpeg absent").ends_with(2);
    assert!(run.stdout.contains("NEEDED   ffmpeg") && run.stdout.contains("make setup"), "{run}");
    for shell in ["bash", "zsh", "fish"] {
        let run = shop.egofx(&format!("completions {shell}")).ends_with(0);
        assert!(run.stdout.contains("on-error") && run.stdout.contains("doctor"), "{shell}");
    }
    shop.egofx("completions cmd").ends_with(2);
}

#[test]
fn recipes_are_part_of_the_program_and_known_by_name() {
    let shop = shop();
    let listed = shop.egofx("recipes").ends_with(0);
    let line = |name: &str| listed.stdout.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    let words = |line: Option<String>| line.unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(line("egovlp_nlq ")), ["egovlp_nlq", "NLQ", "egovlp_video", "embedding", "256"]);
    assert_eq!(words(line("egovlpv2_mq ")), ["egovlpv2_mq", "MQ", "egovlpv2_video", "embedding", "4096"]);
    let rows = json(&shop.egofx("recipes --json").ends_with(0).stdout);
    assert_eq!(rows.as_array().unwrap().len(), fs::read_dir(support::checkout().join("pipelines")).unwrap().count());
    let shipped = fs::read_to_string(support::checkout().join("pipelines/demo.toml")).unwrap();
    assert_eq!(shop.egofx("recipes demo").ends_with(0).stdout, shipped);
    shop.egofx("recipes dem0").ends_with(2).says(&["no recipe is called \"dem0\" (near: demo)"]);

    shop.egofx("extract -m all.csv -p demo -o out").ends_with(0);
    assert_eq!(shop.committed("out/demo"), ["a", "b"]);
    let run = shop.egofx("extract -m all.csv -p egovlp_nql -o out").ends_with(2);
    run.says(&["no recipe is called \"egovlp_nql\" (near: egovlp_nlq", "`egofx recipes` lists them"]);
    shop.egofx("plan -m all.csv -p pipelines/demo.toml").ends_with(2).says(&["-p demo"]);
    // A file is taken where a path is given, and only there.
    shop.write("demo.toml", shipped.replace("dim = 32", "dim = 33"));
    shop.write("demo", "no recipe");
    shop.egofx("plan -m all.csv -p demo").ends_with(0);
    for path in ["demo.toml", "./demo.toml"] {
        let run = shop.egofx(&format!("plan -m all.csv -p {path}")).ends_with(2);
        run.says(&["recipe demo: output.dim is 33, embedding of card tiny has 32 features a row"]);
    }
    fs::rename(shop.path("demo.toml"), shop.path("mine")).unwrap();
    shop.egofx("plan -m all.csv -p mine").ends_with(2).says(&["recipe mine: output.dim is 33"]);
}

/// Runs a line of shell in which `$egofx` is the program.
fn shell(shop: &Workshop, line: &str) -> std::process::Output {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("set -o pipefail; {line}")]).env("egofx", env!("CARGO_BIN_EXE_egofx"));
    command.current_dir(shop.path("")).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn closed_and_impatient_pipes_are_no_panic() {
    let shop = shop();
    shop.extract("out", "").ends_with(0);
    let extract = "$egofx extract -m all.csv -p rows.toml";
    for (line, code) in [
        ("$egofx completions zsh | true", 0),
        ("$egofx completions zsh | head -c 10", 0),
        ("$egofx inspect out | true", 0),
        ("$egofx verify --json out | true", 0),
        ("$egofx plan -m all.csv -p rows.toml | true", 0),
        ("$egofx doctor --json | true", 0),
        ("$egofx manifest folder --videos . | true", 0),
        ("$egofx extract --help | true", 0),
        ("$egofx verify out <&- >&- 2>&-", 0),
        ("$egofx verify absent 2>&1 | true", 2),
        (&format!("{extract} -o piped 2>&1 | true"), 0),
        (&format!("{extract} -o closed <&- >&- 2>&-"), 0),
        (&format!("{extract} -o out --json | true"), 0),
        ("$egofx inspect out > /dev/full", 1),
        (&format!("{extract} -o full > /dev/full"), 1),
    ] {
        let output = shell(&shop, line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && !said.contains("panicked"), "{line}: {:?} {said}", output.status);
    }
    for out in ["piped", "closed", "full"] {
        assert_eq!(shop.committed(&format!("{out}/rows")), ["a", "b"]);
    }
}
