//! The parsers of foreign bytes, each with its seeds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use egofx::backbone::Card;
use egofx::benchmark::{BENCHMARKS, Sources};
use egofx::checkpoint::Checkpoint;
use egofx::compat::Compat;
use egofx::decode::{FfmpegSource, FrameSource, HwAccel, Reader, Tools, Transform};
use egofx::foreign::{self, Request};
use egofx::frames::{CRITICAL, critical_frames, read_times};
use egofx::import::FeatureFiles;
use egofx::manifest::Manifest;
use egofx::metric::{
    EVALUATORS, Evaluator, Inputs, Scoring,
    mq::Annotations,
    postprocess::{POSTPROCESSORS, Proposals, postprocess, read_classes},
};
use egofx::npy::Npy;
use egofx::queries::Queries;
use egofx::recipe::Recipe;
use egofx::store::{FORMATS, StoreReader, count_index_rows};
use egofx::text::{RULES, Tokenizer};
use egofx::time::Fps;

use super::{Input, Target, tools};

pub const TARGETS: &[Target] = &[
    Target { name: "npy", file: "a.npy", seeds: |data| files(data, &["npy"]), read: npy },
    Target { name: "npz", file: "a.npz", seeds: |data| archives(data), read: features },
    Target { name: "lmdb", file: "data.mdb", seeds: |data| files(data, &["mdb"]), read: features },
    Target { name: "hdf5", file: "a.h5", seeds: hdf5_files, read: features },
    Target { name: "hdf5-unit", file: "a.h5", seeds: |data| files(&data.join("stores"), &["h5"]), read: hdf5_unit },
    Target { name: "parquet-unit", file: "a.parquet", seeds: |data| files(data, &["parquet"]), read: parquet_unit },
    Target {
        name: "episodes",
        file: "file-000.parquet",
        seeds: |data| files(&data.join("lerobot"), &["parquet"]),
        read: episodes,
    },
    Target { name: "torch", file: "a.pt", seeds: |data| files(data, &["pt", "tar"]), read: features },
    Target { name: "checkpoint", file: "a.pth", seeds: checkpoints, read: checkpoint },
    Target { name: "safetensors", file: "a.pth", seeds: |data| files(data, &["safetensors"]), read: checkpoint },
    Target { name: "tags", file: "Tags.mat", seeds: |data| files(data, &["mat"]), read: tags },
    Target { name: "tags-json", file: "tags.json", seeds: tag_seeds, read: tags },
    Target { name: "summaries", file: "said.json", seeds: summary_seeds, read: summaries },
    Target {
        name: "proposals",
        file: "proposals.json",
        seeds: |data| files(&data.join("metrics/mq"), &["json"]),
        read: proposals,
    },
    Target { name: "tokenizer", file: "tokenizer.json", seeds: |data| named(data, "tokenizer_"), read: tokenizer },
    Target { name: "manifest", file: "m.csv", seeds: |data| files(&data.join("manifests"), &["csv"]), read: manifest },
    Target { name: "metadata", file: "ego4d.json", seeds: |data| named(data, "ego4d.json"), read: manifest },
    Target { name: "annotations", file: "val.json", seeds: annotations, read: benchmarks },
    Target {
        name: "tables",
        file: "val.csv",
        seeds: |data| files(&data.join("annotations"), &["csv"]),
        read: benchmarks,
    },
    Target { name: "scores", file: "said.json", seeds: annotations, read: scores },
    Target { name: "scoring", file: "said.json.scoring.json", seeds: scoring_seeds, read: scoring },
    Target { name: "recipe", file: "r.toml", seeds: recipes, read: recipe },
    Target { name: "card", file: "x.toml", seeds: cards, read: card },
    Target { name: "png", file: "0.png", seeds: |data| files(data, &["png"]), read: image },
    Target { name: "jpeg", file: "0.jpg", seeds: |data| files(&data.join("readers"), &["jpg"]), read: image },
    Target { name: "tools", file: "answer", seeds: tools::answers, read: tools::replay },
    Target { name: "ledger", file: "1-of-1.jsonl", seeds: ledgers, read: ledger },
];

/// Longest seed: mutations of longer ones mostly miss what is parsed.
const LONGEST: u64 = 80 << 10;

/// Files of `folder` and below it that end so, but for long ones.
fn files(folder: &Path, extensions: &[&str]) -> Vec<Vec<u8>> {
    found(folder, &|path| path.extension().is_some_and(|found| extensions.iter().any(|e| found == *e)))
}

/// Files whose names begin so.
fn named(folder: &Path, start: &str) -> Vec<Vec<u8>> {
    found(folder, &|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)))
}

fn found(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut seeds = Vec::new();
    for path in paths {
        if path.is_dir() {
            seeds.extend(found(&path, wanted));
        } else if wanted(&path) && (1..=LONGEST).contains(&path.metadata().unwrap().len()) {
            seeds.push(fs::read(path).unwrap());
        }
    }
    seeds
}

fn texts(paths: impl IntoIterator<Item = PathBuf>) -> Vec<Vec<u8>> {
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The archives that an LMDB has for values.
fn archives(data: &Path) -> Vec<Vec<u8>> {
    let map = fs::read(data.join("import/groundnlq/data.mdb")).unwrap();
    let places = |mark: &[u8]| -> Vec<usize> {
        map.windows(mark.len()).enumerate().filter(|(_, bytes)| *bytes == mark).map(|(at, _)| at).collect()
    };
    let (starts, ends) = (places(b"PK\x03\x04"), places(b"PK\x05\x06"));
    let mut from = 0;
    let mut found = Vec::new();
    for end in ends {
        if let Some(start) = starts.iter().find(|start| (from..end).contains(*start)) {
            found.push(map[*start..(end + 22).min(map.len())].to_vec());
        }
        from = end;
    }
    found
}

/// Healthy ones and those that crash; those that hang take half a second each.
fn hdf5_files(data: &Path) -> Vec<Vec<u8>> {
    let mut seeds = files(&data.join("stores"), &["h5"]);
    seeds.extend(named(&data.join("hostile"), "import_"));
    seeds
}

fn tag_seeds(_: &Path) -> Vec<Vec<u8>> {
    vec![b"{\"P01\": [[0, 1, 0], [1, 0, 1.0], [0, 0, 0]], \"P02\": [[1]]}".to_vec()]
}

fn summary_seeds(_: &Path) -> Vec<Vec<u8>> {
    let scores = b"{\"P01\": {\"Cupglass_Desk\": {\"scores\": [0.5, 1, 0.25]}}}";
    vec![b"{\"P01\": {\"Cupglass_Desk\": [1, 3]}}".to_vec(), scores.to_vec()]
}

fn checkpoints(data: &Path) -> Vec<Vec<u8>> {
    let mut seeds = files(data, &["pth", "pt", "tar"]);
    // A whole state dict, shortened: its directory is lost, its pickle is not.
    let whole = fs::read(data.join("checkpoints/egovlp_tiny.pth")).unwrap();
    seeds.push(whole[whole.len() - 60_000..].to_vec());
    seeds
}

fn annotations(data: &Path) -> Vec<Vec<u8>> {
    let mut seeds = files(&data.join("annotations"), &["json"]);
    seeds.extend(files(&data.join("metrics"), &["json"]));
    seeds.extend(named(&data.join("hostile"), "pnr_"));
    seeds
}

fn recipes(data: &Path) -> Vec<Vec<u8>> {
    files(&data.join("../../pipelines"), &["toml"])
}

fn cards(data: &Path) -> Vec<Vec<u8>> {
    texts([data.join("../../onnx/tiny.toml")])
}

fn scoring_seeds(_: &Path) -> Vec<Vec<u8>> {
    vec![b"{\"benchmark\": \"nlq\", \"compat\": \"fixed\", \"sha256\": \"ab\"}".to_vec()]
}

fn ledgers(data: &Path) -> Vec<Vec<u8>> {
    files(&data.join("stores/schema2/windows"), &["jsonl"])
}

fn npy(input: &Input) {
    let path = input.path;
    if let Ok(array) = Npy::read(File::open(path).unwrap()) {
        array.to_f32();
        array.to_f64();
    }
}

/// All arrays of a file.
fn features(input: &Input) {
    let path = input.path;
    if let Ok(files) = FeatureFiles::open(&[path.to_owned()]) {
        for name in files.clips() {
            let _ = files.read(name);
        }
    }
}

fn hdf5_unit(input: &Input) {
    let path = input.path;
    let request = Request { what: "inspect", path: path.to_owned(), name: String::new() };
    let _ = foreign::ask(&request).expect("a program reads files for this one");
}

fn parquet_unit(input: &Input) {
    let path = input.path;
    let format = FORMATS.iter().find(|format| format.name == "parquet").unwrap();
    let _ = (format.read)(path);
    let _ = (format.read_header)(path);
    let _ = count_index_rows(path);
}

/// As the episodes of a LeRobot data set.
fn episodes(input: &Input) {
    let set = input.path.parent().unwrap().join("set");
    let [episodes, videos] = ["meta/episodes/chunk-000", "videos"].map(|folder| set.join(folder));
    fs::create_dir_all(&episodes).unwrap();
    fs::create_dir_all(&videos).unwrap();
    fs::write(videos.join("0.mp4"), "").unwrap();
    fs::copy(input.path, episodes.join("file-000.parquet")).unwrap();
    let info = "{\"codebase_version\": \"v3.0\", \"video_path\": \"videos/0.mp4\", \
                \"features\": {\"observation.images.top\": {\"dtype\": \"video\"}}}";
    fs::write(set.join("meta/info.json"), info).unwrap();
    let lerobot = BENCHMARKS.iter().find(|benchmark| benchmark.name == "lerobot").unwrap();
    let _ = (lerobot.build)(&Sources { annotations: vec![set], ..Sources::default() });
}

fn checkpoint(input: &Input) {
    let path = input.path;
    if let Ok(checkpoint) = Checkpoint::open(path) {
        for name in checkpoint.tensors().keys() {
            if let Ok(tensor) = checkpoint.read(name) {
                let _ = tensor.to_f32();
            }
        }
    }
}

fn evaluator(name: &str) -> &'static Evaluator {
    EVALUATORS.iter().find(|evaluator| evaluator.name == name).unwrap()
}

fn tags(input: &Input) {
    let path = input.path;
    let folder = path.parent().unwrap();
    fs::create_dir_all(folder.join("truth/P01")).unwrap();
    fs::write(folder.join("truth/P01/Cupglass_Desk_oracle.txt"), "1\n2\n").unwrap();
    fs::write(folder.join("said.json"), "{\"P01\": {\"Cupglass_Desk\": [1, 2]}}").unwrap();
    let inputs = Inputs::default().file("tags", path).file("annotations", folder.join("truth"));
    let _ = (evaluator("qfvs").evaluate)(&inputs.file("predictions", folder.join("said.json")));
}

fn summaries(input: &Input) {
    let folder = input.path.parent().unwrap();
    fs::create_dir_all(folder.join("truth/P01")).unwrap();
    fs::write(folder.join("truth/P01/Cupglass_Desk_oracle.txt"), "1\n2\n").unwrap();
    fs::write(folder.join("tags.json"), "{\"P01\": [[0, 1], [1, 0], [1, 1]]}").unwrap();
    let inputs = Inputs::default().file("tags", folder.join("tags.json")).file("annotations", folder.join("truth"));
    let _ = (evaluator("qfvs").evaluate)(&inputs.file("predictions", input.path));
}

fn proposals(input: &Input) {
    let path = input.path;
    let healthy = input.data.join("metrics/mq/moments_val.json");
    for annotations in [path, &healthy] {
        let Ok(annotations) = Annotations::read(annotations, None) else { continue };
        let Ok(proposals) = Proposals::read(path, None) else { continue };
        for postprocessor in POSTPROCESSORS {
            let _ = postprocess(postprocessor, &proposals, &annotations, &postprocessor.defaults);
        }
    }
    let _ = read_classes(path);
}

fn tokenizer(input: &Input) {
    let path = input.path;
    let Ok(tokenizer) = Tokenizer::open(path) else { return };
    for rule in RULES {
        let _ = tokenizer.encode(rule, &["where did I put the knife?", "", "\u{120}x \u{1f600} </s>"]);
    }
}

fn manifest(input: &Input) {
    let path = input.path;
    let _ = Queries::read(path);
    if let Ok(mut manifest) = Manifest::read(path) {
        let _ = manifest.locate(&[path.parent().unwrap().to_owned()]);
        let _ = manifest.write_csv(std::io::sink());
        let _ = read_times(path, &manifest);
    }
}

fn benchmarks(input: &Input) {
    let path = input.path;
    for benchmark in BENCHMARKS {
        let _ =
            (benchmark.build)(&Sources { annotations: vec![path.to_owned()], videos: vec![], ..Sources::default() });
    }
    let kinds: Vec<String> = CRITICAL.iter().map(|kind| (*kind).to_owned()).collect();
    let _ = critical_frames(path, &kinds);
}

/// Healthy files, one of which stands beside the mutated one.
const BESIDE: [&str; 9] = [
    "metrics/nlq/gt.json",
    "metrics/nlq/pred.json",
    "metrics/mq/handmade_pred.json",
    "metrics/mq/moments_val.json",
    "hostile/pnr_predictions_hang.json",
    "annotations/fho_oscc-pnr_val.json",
    "annotations/egomcq.json",
    "annotations/nlq_val.json",
    "annotations/formatted_test_qas_encode.json",
];

/// The file in the place of the truth, and in that of the predictions.
fn scores(input: &Input) {
    for (turn, evaluator) in EVALUATORS.iter().enumerate() {
        let healthy = input.data.join(BESIDE[(input.number as usize + turn) % BESIDE.len()]);
        for [said, truth] in [[input.path, &healthy], [&healthy, input.path]] {
            for compat in [Compat::AsReleased, Compat::Fixed] {
                let mut inputs = Inputs::default().file("predictions", said).file("annotations", truth);
                (inputs.compat, inputs.allow_missing) = (compat, true);
                let _ = (evaluator.evaluate)(&inputs);
            }
        }
    }
}

fn scoring(input: &Input) {
    let path = input.path;
    let said = path.with_file_name("said.json");
    fs::write(&said, "{}").unwrap();
    let _ = Scoring::beside(&said);
}

fn recipe(input: &Input) {
    let path = input.path;
    let _ = Recipe::read(path);
}

fn card(input: &Input) {
    let path = input.path;
    let _ = Card::read(path.parent().unwrap(), "x");
}

/// As the first frame of a video in files, whole.
fn image(input: &Input) {
    let path = input.path;
    let tools = Tools {
        ffmpeg: "ffmpeg".into(),
        ffprobe: "ffprobe".into(),
        version: "0".into(),
        patience: egofx::child::PATIENCE,
    };
    let source = FfmpegSource { tools, threads: 1, hwaccel: HwAccel::None };
    let Ok(video) = source.probe(path.parent().unwrap(), Fps::new(30, 1)) else { return };
    source.open(&video, &[0], &[Transform::whole(Reader::Exact)]).for_each(drop);
}

/// The file as the ledger and as the plan of a store.
fn ledger(input: &Input) {
    let path = input.path;
    let store = path.parent().unwrap();
    fs::create_dir_all(store.join("ledger")).unwrap();
    fs::copy(path, store.join("ledger/1-of-1.jsonl")).unwrap();
    fs::copy(path, store.join("planned.jsonl")).unwrap();
    fs::copy(input.data.join("stores/schema2/windows/store.json"), store.join("store.json")).unwrap();
    if let Ok(reader) = StoreReader::open(store) {
        let _ = reader.planned();
        if let Ok(committed) = reader.committed() {
            committed.iter().for_each(|entry| drop(reader.read_entry(entry)));
        }
    }
}
