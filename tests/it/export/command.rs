//! `egofx export`: what it makes, what it refuses and in which words, and that it leaves nothing behind when it fails.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use egofx::checkpoint::{Checkpoint, Dtype, Tensor, TensorInfo, write_safetensors};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::{Workshop, checkout, json};

const NORM: &str = "video_model.norm.weight";

fn tiny() -> PathBuf {
    checkout().join("tests/data/checkpoints/egovlp_tiny.pth")
}

/// A folder with nothing in it but what the test makes.
fn shop() -> Workshop {
    let shop = Workshop::new();
    fs::create_dir(shop.path("out")).unwrap();
    shop
}

/// The tiny checkpoint with its tensors changed, as `made.safetensors`.
fn made(shop: &Workshop, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    made_with(shop, &BTreeMap::new(), change);
}

/// With `header` in its header.
fn made_with(shop: &Workshop, header: &BTreeMap<String, String>, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let base = Checkpoint::open(&tiny()).unwrap();
    let mut tensors = base.tensors().keys().map(|name| (name.clone(), base.read(name).unwrap())).collect();
    change(&mut tensors);
    let info = |(name, t): (&String, &Tensor)| (name.clone(), TensorInfo { dtype: t.dtype, shape: t.shape.clone() });
    let infos = tensors.iter().map(info).collect();
    let path = shop.path("made.safetensors");
    write_safetensors(&path, &infos, &mut |name| Ok(tensors[name].clone()), header).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// Exporting with `arguments` fails with exactly this message, and leaves no file.
#[track_caller]
fn refused(shop: &Workshop, arguments: &str, message: &str) {
    let run = shop.egofx(&format!("export {arguments} --out out")).ends_with(2);
    assert_eq!((run.stdout.as_str(), run.stderr.trim_end()), ("", format!("egofx: {message}").as_str()));
    assert_eq!(names(&shop.path("out")), [""; 0]);
}

#[track_caller]
fn refused_with(message: &str, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) {
    let shop = shop();
    made(&shop, change);
    refused(&shop, "made.safetensors --head-size 16", message);
}

#[test]
fn a_checkpoint_is_loaded_whole_or_not_at_all() {
    refused_with(&format!("made.safetensors does not fit egovlp:\n  1 missing: {NORM}"), |tensors| {
        tensors.remove(NORM).unwrap();
    });
    refused_with("made.safetensors does not fit egovlp:\n  2 unknown: a.weight, b.weight", |tensors| {
        tensors.extend(["a.weight", "b.weight"].map(|name| (name.into(), Tensor::from_f32(vec![1], &[0.0]))));
    });
    let shape = format!("made.safetensors does not fit egovlp:\n  1 of another shape: {NORM} is [4, 8], expected [32]");
    refused_with(&shape, |tensors| tensors.get_mut(NORM).unwrap().shape = vec![4, 8]);
    let sizes = "made.safetensors is no egovlp checkpoint: video_model.temporal_embed";
    refused_with(&format!("{sizes} is missing, from which its sizes are read"), |tensors| {
        tensors.remove("video_model.temporal_embed").unwrap();
    });
    refused_with(&format!("{sizes} has shape [512], 3 dimensions were expected"), |tensors| {
        tensors.get_mut("video_model.temporal_embed").unwrap().shape = vec![512];
    });
    refused_with(
        "made.safetensors is no egovlp checkpoint: video_model.pos_embed has 4 rows, 1 + a square number was expected",
        |tensors| {
            let table = Tensor::from_f32(vec![1, 4, 32], &[0.0; 128]);
            tensors.insert("video_model.pos_embed".into(), table).unwrap();
        },
    );
}

#[test]
fn weights_that_are_no_finite_floats_are_refused_with_their_place() {
    let reason = "a finite number was expected: the checkpoint is damaged or its training diverged";
    for (value, word) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        refused_with(&format!("tensor {NORM} holds {word} at position 30, {reason}"), |tensors| {
            let mut values = [1.0; 32];
            values[30] = value;
            tensors.insert(NORM.into(), Tensor::from_f32(vec![32], &values)).unwrap();
        });
    }
    refused_with(&format!("tensor {NORM} holds i64, floating-point numbers were expected"), |tensors| {
        let ones = Tensor { dtype: Dtype::I64, shape: vec![32], bytes: vec![0; 256] };
        tensors.insert(NORM.into(), ones).unwrap();
    });
}

#[test]
fn a_checkpoint_of_another_model_is_refused_with_what_it_holds() {
    let found = "embeddings.weight, layer0.weight, layer1.weight";
    refused_with(
        &format!(
            "made.safetensors is no checkpoint of a model that egofx knows (egovlp, egovlpv2, lavila, slowfast8x8_r101): its tensors are {found}"
        ),
        |tensors| {
            let some = tensors.remove(NORM).unwrap();
            *tensors = ["embeddings.weight", "layer0.weight", "layer1.weight"].map(|n| (n.into(), some.clone())).into();
        },
    );
    refused_with(
        "made.safetensors is no checkpoint of a model that egofx knows (egovlp, egovlpv2, lavila, slowfast8x8_r101): its tensors are \
         n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, n10, n11 and 3 more",
        |tensors| {
            let some = tensors.remove(NORM).unwrap();
            *tensors = (0..15).map(|i| (format!("n{i:02}"), some.clone())).collect();
        },
    );
}

#[test]
fn files_that_are_no_checkpoints_are_refused_by_name() {
    let shop = shop();
    let bytes = fs::read(tiny()).unwrap();
    let cut = bytes.len() / 2;
    shop.write("cut.pth", &bytes[..cut]);
    shop.write("empty.pth", "");
    shop.write("page.pth", "<!DOCTYPE html><html><title>Sign in</title></html>");
    let refused = |name: &str, words: &[&str]| {
        let run = shop.egofx(&format!("export {name} --out out")).ends_with(2).says(&[name]).says(words);
        assert_eq!((run.stdout.as_str(), names(&shop.path("out"))), ("", vec![]));
    };
    refused("cut.pth", &["cut.pth is cut short: expected a zip with its directory at the end", "fetch the file again"]);
    refused("empty.pth", &["expected a checkpoint (torch.save or safetensors), found an empty file"]);
    refused("page.pth", &["expected a checkpoint (torch.save or safetensors), found an HTML page"]);
    refused("absent.pth", &["cannot read absent.pth: No such file"]);
    // One that runs a command where it is unpickled.
    let mark = shop.path("owned");
    let pickle = format!("(dVstate_dict\n(dVw\ncposix\nsystem\n(Vtouch {}\ntRss.", mark.display());
    let mut zip = ZipWriter::new(File::create(shop.path("code.pth")).unwrap());
    zip.start_file("archive/data.pkl", SimpleFileOptions::default()).unwrap();
    zip.write_all(pickle.as_bytes()).unwrap();
    zip.finish().unwrap();
    refused("code.pth", &["code.pth: no tensors in state_dict"]);
    assert!(!mark.exists());
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let shop = shop();
    let tiny = tiny().display().to_string();
    let heads = "which heads of 24 do not divide: see --head-size";
    let message = format!("egovlp_tiny.pth is no egovlp checkpoint: its tokens have 32 dims, {heads}");
    refused(&shop, &format!("{tiny} --head-size 24"), &message);
    let message = "egovlp_tiny.pth is no egovlp checkpoint: its tokens have 32 dims, which heads of 64 do not divide";
    refused(&shop, &tiny, &format!("{message}: see --head-size"));
    refused(
        &shop,
        "--random egovlp3 --tiny",
        "unknown model \"egovlp3\" (known: egovlp, egovlpv2, lavila-base, lavila-large, lavila-large-336, lavila-distilbert, lavila-egovlp, slowfast8x8_r101)",
    );
    shop.egofx("export --out out").ends_with(2).says(&["<CHECKPOINT>"]);
    shop.egofx("export --random egovlp --check --out out").ends_with(2).says(&["cannot be used with"]);
    shop.write("file", "mine");
    let run = shop.egofx(&format!("export {tiny} --head-size 16 --out file")).ends_with(2);
    assert_eq!(run.stderr, "egofx: file: File exists (os error 17)\n");
    assert_eq!(fs::read(shop.path("file")).unwrap(), b"mine");
}

/// The network of a file that egofx-train wrote is the one that it trained: 4 heads of 8 here, not 2 of 16.
#[test]
fn the_size_of_a_head_is_read_out_of_the_header() {
    let shop = shop();
    let experiment = "learner = \"egovlp\"\n[backbone.video]\nembed_dim = 32\nnum_heads = 4\n";
    let header = BTreeMap::from([("egofx.experiment".to_owned(), experiment.to_owned())]);
    made_with(&shop, &header, |_| ());
    let said = "its header says that it was trained with 8";
    refused(&shop, "made.safetensors --head-size 16", &format!("made.safetensors: --head-size is 16, but {said}"));
    let run = shop.egofx("export made.safetensors --out out --json").ends_with(0);
    made(&shop, |_| ());
    let asked = shop.egofx("export made.safetensors --head-size 8 --out asked --json").ends_with(0);
    let graphs = |run: &str| {
        json(run)["cards"].as_array().unwrap().iter().map(|card| card["sha256"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(graphs(&run.stdout), graphs(&asked.stdout));
    let usual = shop.egofx("export made.safetensors --head-size 16 --out usual --json").ends_with(0);
    assert_ne!(graphs(&run.stdout), graphs(&usual.stdout));
}

/// A folder in which nothing can be made, whoever asks.
#[test]
fn a_folder_that_takes_no_files_is_named() {
    let shop = shop();
    let run = shop.egofx(&format!("export {} --head-size 16 --out /proc/self", tiny().display())).ends_with(2);
    assert!(run.stderr.starts_with("egofx: /proc/self: "), "{run}");
}

/// A tiny export of two graphs.
fn exported(shop: &Workshop, out: &str) {
    shop.egofx(&format!("export {} --head-size 16 --out {out}", tiny().display())).ends_with(0);
}

#[test]
fn a_precision_that_is_asked_for_twice_is_made_once() {
    let shop = Workshop::new();
    let tiny = tiny().display().to_string();
    let flags = "--precision int8 --precision fp16 --precision int8 --head-size 16 --json --out out";
    let report = json(&shop.egofx(&format!("export {tiny} {flags}")).ends_with(0).stdout);
    let made: Vec<_> = report["cards"].as_array().unwrap().iter().map(|card| card["name"].as_str().unwrap()).collect();
    let kinds = ["", "_fp16", "_int8"].map(|kind| [format!("egovlp_video{kind}"), format!("egovlp_text{kind}")]);
    assert_eq!(made, kinds.concat());
    assert_eq!(names(&shop.path("out")).len(), 3 * 5);
    shop.egofx("export --check --out out").ends_with(0);
}

fn copied(shop: &Workshop, to: &str) -> PathBuf {
    fs::create_dir(shop.path(to)).unwrap();
    for name in names(&shop.path("good")) {
        fs::copy(shop.path("good").join(&name), shop.path(to).join(&name)).unwrap();
    }
    shop.path(to)
}

#[test]
fn a_check_tells_good_graphs_from_all_kinds_of_bad_ones() {
    let shop = Workshop::new();
    exported(&shop, "good");
    let run = shop.egofx("export --check --out good").ends_with(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("ok      egovlp_text: within "), "{run}");
    assert!(lines[1].starts_with("ok      egovlp_video: within ") && lines[1].ends_with(" allowed"), "{run}");

    let failed = |folder: &str, words: &[&str]| {
        let run = shop.egofx(&format!("export --check --out {folder}")).ends_with(1);
        words.iter().for_each(|word| assert!(run.stdout.contains(word), "{word}: {run}"));
    };
    let flipped = copied(&shop, "flipped").join("egovlp.weights");
    let mut bytes = fs::read(&flipped).unwrap();
    bytes[1000] ^= 1;
    fs::write(&flipped, bytes).unwrap();
    failed(
        "flipped",
        &[
            "FAILED  egovlp_text: flipped/egovlp.weights has sha256 ",
            "FAILED  egovlp_video: flipped/egovlp.weights has sha256 ",
            "its card flipped/egovlp_video.toml says",
            "one of them was replaced",
        ],
    );
    let replaced = copied(&shop, "replaced");
    fs::copy(replaced.join("egovlp_text.onnx"), replaced.join("egovlp_video.onnx")).unwrap();
    failed("replaced", &["ok      egovlp_text", "FAILED  egovlp_video: replaced/egovlp_video.onnx has sha256 "]);
    fs::remove_file(copied(&shop, "missing").join("egovlp.weights")).unwrap();
    failed("missing", &["FAILED  egovlp_video: missing/egovlp.weights: No such file"]);
    let card = copied(&shop, "golden").join("egovlp_video.toml");
    let text = fs::read_to_string(&card).unwrap();
    let first = text.split("values = [").nth(1).unwrap().trim_start().split(',').next().unwrap();
    fs::write(&card, text.replacen(first, "7.5", 1)).unwrap();
    failed("golden", &["ok      egovlp_text", "FAILED  egovlp_video: off by "]);
    fs::create_dir(shop.path("empty")).unwrap();
    shop.egofx("export --check --out empty").ends_with(2).says(&["egofx: empty holds no model card"]);
    shop.egofx("export --check --out absent").ends_with(2).says(&["egofx: absent holds no model card"]);
}

#[test]
fn random_weights_are_those_of_their_seed_and_reported_with_their_cost() {
    let shop = Workshop::new();
    let export = |seed: u32, out: &str| {
        shop.egofx(&format!("export --random egovlp --seed {seed} --tiny --json --out {out}")).ends_with(0)
    };
    let report = json(&export(1, "a").stdout);
    export(1, "b");
    export(2, "c");
    let bytes = |folder: &str, name: &str| fs::read(shop.path(folder).join(name)).unwrap();
    let found = names(&shop.path("a"));
    assert_eq!(
        found,
        ["egovlp.weights", "egovlp_text.onnx", "egovlp_text.toml", "egovlp_video.onnx", "egovlp_video.toml"]
    );
    for name in &found {
        assert!(bytes("a", name) == bytes("b", name), "{name}");
        // The graphs are the same, and what is in them is not.
        assert_eq!(bytes("a", name) == bytes("c", name), name.ends_with(".onnx"), "{name}");
    }
    assert_eq!((&report["model"], report["cards"].as_array().unwrap().len()), (&"egovlp".into(), 2));
    assert!(report["parameters"].as_u64().unwrap() > 1_000_000);
    let costs = report["costs"].as_array().unwrap();
    assert!(costs.iter().all(|cost| cost["macs"].as_u64().unwrap() > 0 && cost["what"].is_string()), "{report}");
    a_graph_serves(&shop, "a");
}

/// A half-precision graph is for GPUs: on the CPU a row would depend on its place in the batch.
#[test]
fn a_half_precision_graph_is_not_run_on_the_cpu() {
    let shop = shop();
    shop.egofx("export --random egovlp --tiny --precision fp16 --out models").ends_with(0);
    one_video(&shop, "egovlp_video_fp16");
    let run = shop.extract("features", "--models models").ends_with(2);
    let message = "egofx: backbone egovlp_video_fp16: it computes in fp16, where the CPU's kernels round by the place in the \
                   batch: run it on a GPU, or use the fp32 or int8 graph";
    assert!(run.stderr.contains(message), "{run}");
}

#[test]
fn int8_ranges_come_from_the_sample_video_and_the_card_says_so() {
    let shop = shop();
    let sample = |name: &str| checkout().join("tests/data").join(name).display().to_string();
    let export = "export --random egovlp --tiny --precision int8";
    shop.egofx(&format!("{export} --sample {} --out models", sample("media/nasa_13013.mp4"))).ends_with(0);
    shop.egofx(&format!("{export} --out patterns")).ends_with(0);
    let card = |folder: &str| fs::read_to_string(shop.path(folder).join("egovlp_video_int8.toml")).unwrap();
    for (folder, what, [unseen, seen]) in
        [("models", "windows of the given video", [4, 8]), ("patterns", "test patterns", [4, 4])]
    {
        let lines = [
            format!("inputs = \"{unseen} {what}, none of which calibration saw\""),
            format!("calibration = \"{seen} {what}\""),
        ];
        assert!(lines.iter().all(|line| card(folder).contains(line.as_str())), "{}", card(folder));
    }
    let graph = |folder: &str| fs::read(shop.path(folder).join("egovlp_video_int8.onnx")).unwrap();
    assert!(graph("models") != graph("patterns"), "other frames, other ranges");
    shop.write("short.csv", "no video");
    let refused = shop.egofx(&format!("{export} --sample short.csv --out out")).ends_with(2);
    assert!(refused.stderr.contains("short.csv"), "{refused}");
    assert_eq!(names(&shop.path("out")), [""; 0]);
}

/// The names of all files of a folder with their bytes.
fn bytes_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    names(folder).into_iter().map(|name| (name.clone(), fs::read(folder.join(&name)).unwrap())).collect()
}

#[test]
fn cards_of_another_checkpoint_are_replaced_by_force_alone() {
    let shop = Workshop::new();
    let export = |arguments: &str| shop.egofx(&format!("export {arguments} --out out"));
    export("--random egovlpv2 --tiny --seed 1").ends_with(0);
    let held = bytes_of(&shop.path("out"));
    // The same again changes nothing, and another model has other names.
    export("--random egovlpv2 --tiny --seed 1").ends_with(0);
    assert_eq!(bytes_of(&shop.path("out")), held);
    let small = checkout().join("tests/data/checkpoints/egovlpv2_tiny_smallproj.pth").display().to_string();
    let run = export(&format!("{small} --head-size 16")).ends_with(2);
    run.says(&[
        "out holds egovlpv2_video, egovlpv2_video_plain, egovlpv2_text",
        "of tiny egovlpv2, random weights of seed 1 (sha256 ",
        ", not of egovlpv2_tiny_smallproj.pth (sha256 ",
        "a folder of its own (--out DIR;",
        "--force",
    ]);
    assert_eq!(bytes_of(&shop.path("out")), held, "nothing was touched");
    export("--random egovlp --tiny").ends_with(0);
    export("--random egovlp --tiny --seed 1")
        .ends_with(2)
        .says(&["out holds egovlp_video, egovlp_text of tiny egovlp"]);
    export(&format!("{small} --head-size 16 --force")).ends_with(0);
    let card = fs::read_to_string(shop.path("out/egovlpv2_video.toml")).unwrap();
    assert!(card.contains("egovlpv2_tiny_smallproj.pth") && !card.contains("random_weights"), "{card}");
    assert_eq!(names(&shop.path("out")).len(), held.len() + 5, "EgoVLP's graphs stay");
    shop.egofx("export --check --out out").ends_with(0);
}

#[test]
fn graphs_of_lower_precision_do_not_outlive_their_checkpoint() {
    let shop = Workshop::new();
    let export = |arguments: &str| shop.egofx(&format!("export --random egovlp --tiny {arguments} --out out"));
    export("--seed 1 --precision int8").ends_with(0);
    export("--seed 2").ends_with(2).says(&["egovlp_video, egovlp_video_int8, egovlp_text, egovlp_text_int8"]);
    // The card may be gone and those of lower precision still be there.
    for name in ["egovlp_video.toml", "egovlp_text.toml"] {
        fs::remove_file(shop.path("out").join(name)).unwrap();
    }
    export("--seed 2").ends_with(2).says(&["out holds egovlp_video_int8, egovlp_text_int8"]);
    export("--seed 2 --force").ends_with(0);
    assert!(!names(&shop.path("out")).iter().any(|name| name.contains("int8")), "{:?}", names(&shop.path("out")));
    shop.write("out/egovlp_text.toml", "no card");
    export("--seed 2").ends_with(2).says(&["out holds egovlp_text of a checkpoint that its card does not name"]);
}

#[test]
fn rows_of_another_width_than_the_recipe_says_are_refused_with_the_cause() {
    let shop = shop();
    let small = checkout().join("tests/data/checkpoints/egovlpv2_tiny_smallproj.pth").display().to_string();
    shop.egofx(&format!("export {small} --head-size 16 --out models")).ends_with(0);
    shop.clip("v.mp4", 60);
    shop.manifest(&["v.mp4"]);
    let run = shop.egofx("extract -m all.csv -p egovlpv2_mq --models models -o features").ends_with(2);
    run.says(&[
        "recipe egovlpv2_mq: output.dim is 4096, embedding of card egovlpv2_video has ",
        " features a row. The card was made of egovlpv2_tiny_smallproj.pth: ",
        "name it with --models DIR",
    ]);
    assert!(!shop.path("features").exists());
    shop.egofx("plan -m all.csv -p egovlpv2_mq --models models").ends_with(2).says(&["output.dim is 4096"]);
    // Graphs of random weights are for trials.
    shop.egofx("export --random egovlpv2 --tiny --out random").ends_with(0);
    let run = shop.egofx("plan -m all.csv -p egovlpv2_mq --models random").ends_with(0);
    run.says(&["recipe egovlpv2_mq: rows of 16 features, 4096 are asked for: tiny egovlpv2, random weights of seed 0"]);
}

#[test]
fn a_graph_that_is_not_there_is_answered_with_the_command_that_makes_it() {
    let shop = shop();
    shop.clip("v.mp4", 60);
    shop.manifest(&["v.mp4"]);
    fs::create_dir(shop.path("models")).unwrap();
    let refused = |flags: &str, words: &[&str]| {
        shop.egofx(&format!("extract -m all.csv --models models -o features {flags}")).ends_with(2).says(words);
    };
    let card = "no model card \"egovlp_video\" in models (found: none); `egofx export CHECKPOINT --out models` makes";
    refused("-p egovlp_nlq", &[card]);
    refused(
        "-p egovlp_nlq --precision int8",
        &["\"egovlp_video_int8\"", "`egofx export CHECKPOINT --precision int8 --out models`"],
    );
}

#[test]
fn precision_int8_runs_the_int8_graphs() {
    let shop = Workshop::new();
    shop.egofx("export --random egovlp --tiny --precision int8 --out models").ends_with(0);
    one_video(&shop, "egovlp_video");
    shop.extract("exact", "--models models").ends_with(0);
    shop.extract("features", "--models models --precision int8").ends_with(0);
    shop.egofx("verify features").ends_with(0);
    let (exact, unit) = (shop.unit("exact/rows", "v"), shop.unit("features/rows", "v"));
    assert_eq!((unit.contract.precision.as_str(), unit.contract.backbone.as_str()), ("int8", "egovlp_video_int8"));
    assert_ne!(exact.features, unit.features);
    shop.extract("exact", "--models models --precision int8").ends_with(2).says(&["backbone"]);
}

/// A manifest of one video, and a recipe for `backbone`.
fn one_video(shop: &Workshop, backbone: &str) {
    let recipe = format!("backbone = \"{backbone}\"\nfeature = \"embedding\"\ncompat = \"fixed\"\n")
        + "[grid]\nkind = \"egovlp\"\nframes = 4\n\
           [transform]\nshort_side = 256\ncrop = 256\nfilter = \"bilinear\"\nchannels = \"rgb\"\n\
           [output]\nformat = \"hdf5\"\ndtype = \"f32\"\n";
    shop.write("rows.toml", recipe);
    shop.write(
        "all.csv",
        format!("video_uid,path\nv,{}\n", checkout().join("tests/data/sampling/clip_2997.mp4").display()),
    );
}

/// From the graphs in `models` to features that are verified.
fn a_graph_serves(shop: &Workshop, models: &str) {
    one_video(shop, "egovlp_video");
    shop.extract("features", &format!("--models {models}")).ends_with(0);
    let run = shop.egofx("verify features").ends_with(0);
    assert!(run.stdout.starts_with("rows: sound: 1 of 1 unit committed"), "{run}");
    let unit = shop.unit("features/rows", "v");
    assert!(unit.features.ncols() == 16 && unit.features.nrows() > 1, "{:?}", unit.features.shape());
    let (first, last) = (unit.features.row(0), unit.features.row(unit.features.nrows() - 1));
    assert!(first.iter().all(|v| v.is_finite()) && first != last);
}
