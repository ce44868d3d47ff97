//! `--device auto`: what it takes, what it says of it, and what becomes of a store that was begun with something else.
//!
//! Needs no OpenVINO and no GPU, but for what says so. Providers that do not load are made here.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Outcome, Workshop, checkout, finish};

/// One video for one recipe.
fn shop() -> Workshop {
    let shop = Workshop::with_recipe();
    shop.clip("a.mp4", 30);
    shop.clip("b.mp4", 20);
    shop.manifest(&["a.mp4", "b.mp4"]);
    shop
}

/// ONNX Runtime for the CPU.
fn library() -> PathBuf {
    let files = fs::read_dir(checkout().join(".runtime/ort")).unwrap().flatten().map(|entry| entry.path());
    files.into_iter().find(|path| path.to_string_lossy().contains("libonnxruntime.so")).unwrap()
}

/// A folder with ONNX Runtime and, beside it, files that look like its providers' libraries; its library.
fn with_broken(shop: &Workshop, providers: &[&str]) -> PathBuf {
    let (folder, library) = (shop.path("broken"), library());
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(library.parent().unwrap()).unwrap().flatten() {
        symlink(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    for name in providers {
        fs::write(folder.join(format!("libonnxruntime_providers_{name}.so")), "no library").unwrap();
    }
    folder.join(library.file_name().unwrap())
}

/// `extract` where nothing in the environment says which device.
fn command(shop: &Workshop, flags: &str) -> Command {
    let mut command = shop.program(&format!("extract -m all.csv -p rows.toml -o out {flags}"));
    command.env_remove("EGOFX_DEVICE");
    command
}

fn extract(shop: &Workshop, flags: &str) -> Outcome {
    shop.finished(flags, &mut command(shop, flags))
}

/// What the store has on record.
fn providers(shop: &Workshop) -> String {
    fs::read_to_string(shop.path("out/rows/providers.jsonl")).unwrap()
}

const CPU: &str = "{\"provider\":\"cpu\"}\n";

#[test]
fn without_other_providers_auto_takes_the_cpu_and_says_what_would_be_faster() {
    let shop = shop();
    let only_cpu = format!("--ort-lib {}", library().display());
    let run = extract(&shop, &only_cpu).ends_with(0);
    run.says(&[
        "device: cpu, the fastest that is here and works\n",
        "faster: ",
        "make setup-openvino",
        "--precision int8",
    ]);
    assert_eq!(providers(&shop), CPU);
    let device = &shop.report("out")["device"];
    assert_eq!((&device["taken"], &device["auto"]), (&"cpu".into(), &true.into()));
    assert!(device["faster"].as_array().unwrap().len() >= 2, "{device}");
    assert_eq!(shop.unit("out/rows", "a").header.provider, "cpu");
    let again = extract(&shop, &only_cpu).ends_with(0).says(&["device: cpu, as ", "out/rows was begun\n"]);
    assert!(!again.stderr.contains("faster"), "{again}");
    let quiet = extract(&shop, &format!("{only_cpu} --quiet")).ends_with(0);
    assert_eq!(quiet.stderr, "");
    // What it is asked for by name it does not speak of.
    assert!(!extract(&shop, "--device cpu").ends_with(0).stderr.contains("device"));
}

#[test]
fn a_provider_that_does_not_load_is_passed_over_with_its_reason() {
    let shop = shop();
    let library = with_broken(&shop, &["cuda", "openvino"]);
    let flags = format!("--ort-lib {}", library.display());
    let run = extract(&shop, &flags).ends_with(0).says(&["device: cpu", "; passed over: cuda: ", ", openvino: "]);
    assert!(!run.stderr.contains("setup-openvino"), "it is there, and broken: {run}");
    let passed_over = shop.report("out")["device"]["passed_over"].clone();
    assert_eq!(passed_over.as_array().unwrap().len(), 2, "{passed_over}");
    let doctor = shop.egofx(&format!("doctor {flags}")).ends_with(0).stdout;
    assert!(doctor.contains("cpu, the fastest that is here and works; passed over: cuda: "), "{doctor}");
}

#[test]
fn auto_in_a_precision_that_nothing_here_has_is_refused_with_what_has_it() {
    let shop = shop();
    let only_cpu = format!("--ort-lib {}", library().display());
    for (precision, words) in [
        ("bf16", ["tensorrt (make setup-gpu", "openvino (make setup-openvino"]),
        ("tf32", ["no device here computes in tf32", "cuda (make setup-gpu"]),
    ] {
        extract(&shop, &format!("{only_cpu} --precision {precision}")).ends_with(2).says(&words);
    }
    assert!(!shop.path("out").exists());
    extract(&shop, "--device auto,cpu").ends_with(2).says(&["--device auto cannot be mixed"]);
    let refused = shop.finished("", command(&shop, "").env("EGOFX_DEVICE", "gpu")).ends_with(2);
    refused.says(&["unknown device \"gpu\"", "auto, cpu, openvino, cuda, tensorrt"]);
}

#[test]
fn a_store_stays_with_what_it_was_begun_with_unless_another_is_asked_for_by_name() {
    let shop = shop();
    let only_cpu = format!("--ort-lib {}", library().display());
    extract(&shop, &format!("{only_cpu} --limit 1")).ends_with(0);
    let made = shop.unit_files("out");
    fs::write(shop.path("out/rows/providers.jsonl"), "{\"provider\":\"cuda\"}\n").unwrap();
    let refused = extract(&shop, &only_cpu).ends_with(2);
    refused.says(&["out/rows was begun with cuda, which cannot be had here", "--device cpu", "make setup-gpu"]);
    assert!(shop.unit_files("out") == made);
    let run = extract(&shop, "--device cpu").ends_with(0).says(&["was begun with cuda and goes on with cpu, as asked"]);
    assert!(shop.report("out")["remarks"][0].as_str().unwrap().contains("was begun with cuda"), "{run}");
    assert_eq!(providers(&shop), "{\"provider\":\"cuda\"}\n{\"provider\":\"cpu\"}\n");
    assert!(shop.egofx("inspect out/rows").ends_with(0).stdout.contains("cuda; cpu"));
    shop.egofx("verify out").ends_with(0);
    extract(&shop, &only_cpu).ends_with(2).says(&["was begun with cuda"]);
    // Two stores of one run, of two providers.
    fs::copy(shop.path("rows.toml"), shop.path("more.toml")).unwrap();
    shop.egofx("extract -m all.csv -p more.toml -o out").ends_with(0);
    let words = ["out/rows was begun with cuda", "out/more with cpu", "a run of its own"];
    extract(&shop, &format!("-p more.toml {only_cpu}")).ends_with(2).says(&words);
}

#[test]
fn a_store_without_a_record_goes_on_with_what_computed_its_units() {
    let shop = shop();
    extract(&shop, "--device cpu --limit 1").ends_with(0);
    let contract = fs::read(shop.path("out/rows/store.json")).unwrap();
    fs::remove_file(shop.path("out/rows/providers.jsonl")).unwrap();
    // Whatever else is installed.
    let run = extract(&shop, "").ends_with(0).says(&["device: cpu, as "]);
    assert_eq!((providers(&shop).as_str(), shop.report("out")["done_before"].as_u64()), (CPU, Some(1)), "{run}");
    assert!(fs::read(shop.path("out/rows/store.json")).unwrap() == contract);
}

#[test]
fn parts_that_begin_a_store_at_once_take_the_same() {
    let shop = shop();
    let library = with_broken(&shop, &["cuda"]);
    let flags = |part| format!("--ort-lib {} --shard {part}/2", library.display());
    let start = |part| {
        let mut command = command(&shop, &flags(part));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let parts = [start(1), start(2)];
    parts.into_iter().for_each(|part| drop(finish(part).ends_with(0).says(&["device: cpu"])));
    assert_eq!(providers(&shop), CPU);
    shop.egofx("verify out").ends_with(0);
}

#[test]
fn what_auto_comes_to_is_found_out_on_the_nodes() {
    let shop = shop();
    let library = with_broken(&shop, &["cuda", "openvino"]);
    let submit =
        format!("submit slurm --shards 2 -- extract -m all.csv -p rows.toml -o out --ort-lib {}", library.display());
    let printed = shop.finished(&submit, shop.program(&submit).env_remove("EGOFX_DEVICE")).ends_with(0);
    assert!(!printed.stdout.contains("--device") && !printed.stdout.contains("--gpus"), "{printed}");
    assert!(!printed.stderr.contains("device") && !shop.path("out").exists(), "nothing was tried: {printed}");
    let asked = submit.replace("-- extract", "-- extract --device auto");
    let printed = shop.finished(&asked, shop.program(&asked).env_remove("EGOFX_DEVICE")).ends_with(0);
    assert!(printed.stdout.contains("--device auto"), "{printed}");
}

#[test]
fn openvino_is_taken_where_it_is_installed() {
    if !checkout().join(".runtime/openvino").exists() {
        eprintln!("skipped: no OpenVINO here (make setup-openvino), so that --device auto cannot take it");
        return;
    }
    let shop = shop();
    shop.extract("cpu", "--device cpu").ends_with(0);
    if PathBuf::from("/dev/nvidia0").exists() {
        eprintln!("skipped: there is a GPU, which --device auto may take");
        return;
    }
    extract(&shop, "").ends_with(0).says(&["device: openvino, the fastest that is here and works"]);
    assert_eq!(providers(&shop), "{\"provider\":\"openvino\"}\n");
    let (rows, reference) = (shop.unit("out/rows", "a"), shop.unit("cpu/rows", "a"));
    assert_eq!(rows.header.provider, "openvino");
    let distance = rows.features.iter().zip(&reference.features).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(distance < 1e-5, "{distance}");
    // A store that openvino began is gone on with where there is none only by name.
    fs::remove_file(shop.path("out/rows/units/b.h5")).unwrap();
    let refused = extract(&shop, &format!("--ort-lib {}", library().display())).ends_with(2);
    refused.says(&["was begun with openvino, which cannot be had here", "--device cpu"]);
    extract(&shop, "--device cpu").ends_with(0);
    assert_eq!(shop.unit("out/rows", "b").header.provider, "cpu");
}
