//! Pretraining as people run it: on real videos of a small shapes dataset, in one process and in several.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use egofx::benchmark::{Benchmark, Sources};
use egofx::grid::egoclip::EGOCLIP_CHUNKS;
use egofx::shard::Shard;
use egofx::transcode::{AUDIO, PRESETS, Settings, Size, Transcoder, run, tasks};
use egofx_train::checkpoint;
use egofx_train::metrics_log::{METRICS_FILE, read};
use egofx_train::synthetic::{ShapesDataset, ShapesPaths};
use tch::Tensor;

use crate::support::program;
use crate::support::shapes;

const CONFIG: &str = include_str!("../../../configs/synthetic_pretrain_egovlpv2.toml");

/// One dataset for all tests, made once.
fn dataset() -> &'static ShapesPaths {
    static MADE: OnceLock<(tempfile::TempDir, ShapesPaths)> = OnceLock::new();
    let (_, paths) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let dataset =
            ShapesDataset { seed: 5, side: 32, videos: [8, 5], clips_per_video: 8, questions: 12, ..shapes::least() };
        let paths = dataset.write(folder.path(), &shapes::tools()).unwrap();
        (folder, paths)
    });
    paths
}

/// The experiment with `changes`, each of which must find its place.
fn config(folder: &Path, changes: &[(&str, &str)]) -> PathBuf {
    let small = [
        ("image_size = 48", "image_size = 24"),
        ("embed_dim = 64\ndepth = 4", "embed_dim = 32\ndepth = 2"),
        ("num_fused_layers = 2", "num_fused_layers = 1"),
        ("dim = 64 }", "dim = 16 }"),
        ("epochs = 30", "epochs = 2"),
        ("dropout = 0.0", "dropout = 0.1"),
        // First weights as published: rounding grows less from step to step than by larger ones.
        ("initializer_range = 0.5", "initializer_range = 0.02"),
        ("initializer_range = 0.07", "initializer_range = 0.02"),
        ("cross_attn_gate_init = 1.0", "cross_attn_gate_init = 0.1"),
        ("batch = 32", "batch = 16"),
    ];
    let mut text = CONFIG.to_owned();
    for (from, to) in small.iter().chain(changes) {
        assert!(text.contains(from), "the experiment has no {from}");
        text = text.replace(from, to);
    }
    let path = folder.join("pretrain.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn command(config: &Path, out: &Path) -> Command {
    command_on(config, out, &dataset().videos)
}

fn command_on(config: &Path, out: &Path, videos: &Path) -> Command {
    let ShapesPaths { egoclip, egomcq, tokenizers, .. } = dataset();
    let mut command = program();
    command.arg("pretrain").arg("-c").arg(config).arg("--videos").arg(videos).arg("--train").arg(egoclip);
    command.arg("--val").arg(egomcq).arg("--tokenizer").arg(&tokenizers[1]).args(["--device", "cpu"]);
    command.arg("-o").arg(out).env("OMP_NUM_THREADS", "1");
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", words(output));
}

fn last(run: &Path) -> PathBuf {
    run.join("last.safetensors")
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts two ranks by plain variables.
fn two_ranks(config: &Path, out: &Path, more: &[&str]) -> [Child; 2] {
    let port = free_port().to_string();
    [0, 1].map(|rank| {
        let mut command = command(config, out);
        command.args(more).env("RANK", rank.to_string()).env("WORLD_SIZE", "2").env("MASTER_PORT", &port);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    })
}

/// Adam with no memory and a denominator that is all `eps` is plain gradient descent: the noise of gradients that are zero
/// but for rounding does not become whole steps.
const DESCENT: [(&str, &str); 6] = [
    ("epochs = 2", "epochs = 1"),
    ("lr = 1e-3", "lr = 50.0"),
    ("weight_decay = 0.01", "weight_decay = 0.0"),
    ("betas = [0.9, 0.98]", "betas = [0.0, 0.0]"),
    ("eps = 1e-8", "eps = 1000.0"),
    ("dropout = 0.1", "dropout = 0.0"),
];

fn largest_difference(one: &Path, other: &Path) -> f64 {
    let [one, other] = [one, other].map(|path| checkpoint::open(path).unwrap().weights().unwrap());
    assert_eq!(one.len(), other.len());
    let off = |(name, tensor): (&String, &Tensor)| (tensor - &other[name]).abs().max().double_value(&[]);
    one.iter().map(off).fold(0.0, f64::max)
}

#[test]
fn two_processes_learn_what_one_learns() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &DESCENT);
    let [alone, together] = ["alone", "together"].map(|name| folder.path().join(name));
    succeeded(&command(&config, &alone).output().unwrap());
    let start = {
        let fresh = folder.path().join("fresh");
        let none = config.with_file_name("none.toml");
        std::fs::write(&none, std::fs::read_to_string(&config).unwrap().replace("lr = 50.0", "lr = 0.0")).unwrap();
        succeeded(&command(&none, &fresh).output().unwrap());
        fresh
    };
    let moved = largest_difference(&last(&alone), &last(&start));
    assert!(moved > 1e-3, "weights moved by {moved} only");
    for child in two_ranks(&config, &together, &[]) {
        succeeded(&child.wait_with_output().unwrap());
    }
    let off = largest_difference(&last(&alone), &last(&together));
    println!("weights moved by {moved}, two ranks differ by {off}");
    assert!(off < 1e-5, "{off}");
    let scores = |run: &Path| read(&run.join(METRICS_FILE)).unwrap();
    for (one, two) in scores(&alone).iter().zip(&scores(&together)) {
        for (name, value) in &one.metrics {
            let [one, two] = [value, &two.metrics[name]].map(|value| value.as_f64().unwrap_or(0.0));
            assert!((one - two).abs() < 1e-4, "{name}: {one} {two}");
        }
    }
}

/// A real Slurm on this one machine. `make test` installs it and asks for this; without `EGOFX_TEST_SLURM` nothing is shown.
#[test]
fn two_tasks_of_a_slurm_step_learn_what_one_process_learns() {
    if std::env::var_os("EGOFX_TEST_SLURM").is_none() {
        eprintln!("not run: EGOFX_TEST_SLURM is not set, as it is by `make test` where Slurm can be installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &DESCENT);
    let [alone, together] = ["alone", "together"].map(|name| folder.path().join(name));
    succeeded(&command(&config, &alone).output().unwrap());
    let step = command(&config, &together);
    let mut cluster = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cluster/slurm.sh"));
    cluster.args(["srun", "--ntasks", "2"]).arg(step.get_program()).args(step.get_args()).env("OMP_NUM_THREADS", "1");
    let output = cluster.output().unwrap();
    succeeded(&output);
    assert!(words(&output).contains("2 processes by Slurm, gloo"), "{}", words(&output));
    let off = largest_difference(&last(&alone), &last(&together));
    assert!(off < 1e-5, "{off}");
}

#[test]
fn a_rank_that_dies_ends_the_others_with_a_clear_message() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[("epochs = 2", "epochs = 2000")]);
    let run = folder.path().join("run");
    let [first, mut second] = two_ranks(&config, &run, &[]);
    wait_for(&last(&run), &mut second);
    second.kill().unwrap();
    second.wait().unwrap();
    let ended = first.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = words(&ended);
    assert!(
        said.contains("rank 0 of 2: another rank has gone") && said.contains("--resume goes on from there"),
        "{said}"
    );
}

fn wait_for(path: &Path, child: &mut Child) {
    let since = Instant::now();
    while !path.is_file() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it wrote {}", path.display());
        assert!(since.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Steps, losses and weights of an interrupted run are those of one that was left alone: in the middle of an epoch by
/// SIGTERM, and behind a checkpoint by SIGKILL.
#[test]
fn a_run_that_is_terminated_or_killed_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(
        folder.path(),
        &[
            ("epochs = 2", "epochs = 3"),
            ("drop_last = true", "drop_last = true\ncheckpoint_steps = 1\ngrad_accum_steps = 2"),
        ],
    );
    let [alone, stopped] = ["alone", "stopped"].map(|name| folder.path().join(name));
    succeeded(&command(&config, &alone).output().unwrap());

    let mut first = command(&config, &stopped).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait_for(&last(&stopped), &mut first);
    assert!(Command::new("kill").args(["-TERM", &first.id().to_string()]).status().unwrap().success());
    let ended = first.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(75), "{}", words(&ended));
    assert!(words(&ended).contains("where a checkpoint was written"), "{}", words(&ended));
    let progress = checkpoint::open(&last(&stopped)).unwrap().progress;
    assert!(progress.step_in_epoch > 0 || progress.epoch > 0);

    let before = std::fs::read(last(&stopped)).unwrap();
    let mut second = command(&config, &stopped);
    let mut second = second.arg("--resume").stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while std::fs::read(last(&stopped)).unwrap() == before && second.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    second.kill().unwrap();
    second.wait().unwrap();

    succeeded(&command(&config, &stopped).arg("--resume").output().unwrap());
    assert!(std::fs::read(last(&alone)).unwrap() == std::fs::read(last(&stopped)).unwrap(), "other weights");
    let lines = |run: &Path| std::fs::read_to_string(run.join(METRICS_FILE)).unwrap();
    assert_eq!(lines(&alone), lines(&stopped));
}

#[test]
fn half_precision_and_recomputation_learn_alike() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |name: &str, changes: &[(&str, &str)]| {
        let config = config(folder.path(), changes);
        let run = folder.path().join(name);
        succeeded(&command(&config, &run).output().unwrap());
        (read(&run.join(METRICS_FILE)).unwrap()[0].metrics["loss"].as_f64().unwrap(), last(&run))
    };
    let (plain, weights) = losses("plain", &[]);
    let (again, recomputed) =
        losses("recomputed", &[("activation_checkpointing = false", "activation_checkpointing = true")]);
    assert_eq!(plain, again, "recomputation changes nothing");
    assert_eq!(largest_difference(&weights, &recomputed), 0.0);
    // Half precision leaves its first steps out, until gradients are scaled so that none overflows.
    for (precision, off) in [("bf16", 0.05), ("fp16", 0.2)] {
        let line = format!("drop_last = true\nprecision = \"{precision}\"");
        let (half, _) = losses(precision, &[("drop_last = true", &line)]);
        assert!(half != plain && (half - plain).abs() < off * plain, "{precision}: {half}, not {plain}");
    }
}

#[test]
fn a_broken_video_is_counted_and_replaced_and_wrong_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    std::fs::create_dir(&videos).unwrap();
    let table = std::fs::read_to_string(&dataset().egoclip).unwrap();
    let broken = table.lines().nth(1).unwrap().split('\t').nth(1).unwrap();
    for entry in std::fs::read_dir(&dataset().videos).unwrap() {
        let path = entry.unwrap().path();
        let to = videos.join(path.file_name().unwrap());
        if path.file_stem().unwrap() == broken {
            std::fs::write(to, &std::fs::read(&path).unwrap()[..200]).unwrap();
        } else {
            std::os::unix::fs::symlink(&path, to).unwrap();
        }
    }
    let config = config(folder.path(), &[("epochs = 2", "epochs = 1")]);
    let ended = |change: &dyn Fn(&mut Command)| {
        let ShapesPaths { egoclip, egomcq, tokenizers, .. } = dataset();
        let mut command = program();
        command.arg("pretrain").arg("-c").arg(&config).arg("--train").arg(egoclip).arg("--val").arg(egomcq);
        command.args(["--device", "cpu"]).arg("-o").arg(folder.path().join("other")).env("OMP_NUM_THREADS", "1");
        command.arg("--tokenizer").arg(&tokenizers[1]);
        change(&mut command);
        command.output().unwrap()
    };
    let output = ended(&|command| {
        command.arg("--videos").arg(&videos);
    });
    succeeded(&output);
    assert!(words(&output).contains("clips could not be read and were replaced"), "{}", words(&output));
    assert!(words(&output).contains(broken), "{}", words(&output));

    let output = ended(&|command| {
        command.arg("--force");
    });
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&output).contains("--videos is needed: a folder of the videos"), "{}", words(&output));
    let other = &dataset().tokenizers[0];
    let output = ended(&|command| {
        command.arg("--force").arg("--videos").arg(&videos).arg("--tokenizer").arg(other);
    });
    assert_eq!(output.status.code(), Some(2));
}

/// As `egofx chunk` cuts them: a folder for each video, `0.mp4` in it, and what the command keeps beside them.
fn chunked(out: &Path) {
    let sources = Sources { videos: vec![dataset().videos.clone()], ..Sources::default() };
    let manifest = (Benchmark::find("folder").unwrap().build)(&sources).unwrap().manifest;
    let shard: Shard = "1/1".parse().unwrap();
    let settings = Settings {
        size: Size::Keep,
        chunks: Some(EGOCLIP_CHUNKS),
        crf: 23,
        preset: PRESETS[0],
        keyint: None,
        audio: AUDIO[0].1,
    };
    let transcoder = Transcoder { tools: shapes::tools(), settings, out: out.to_owned(), threads: 1, force: false };
    let report = run(&transcoder, &tasks(&manifest, shard, None), shard, 2, &Arc::default()).unwrap();
    assert!(report.failures.is_empty() && report.made.len() == manifest.videos.len());
}

#[test]
fn videos_are_found_in_the_pieces_that_chunk_makes_and_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[("epochs = 2", "epochs = 1")]);
    let [whole, cut, pieces] = ["whole", "cut", "pieces"].map(|name| folder.path().join(name));
    chunked(&pieces);
    assert!(std::fs::read_dir(&pieces).unwrap().any(|video| video.unwrap().path().join("0.mp4").is_file()));
    succeeded(&command(&config, &whole).output().unwrap());
    succeeded(&command_on(&config, &cut, &pieces).output().unwrap());
    let lines = |run: &Path| std::fs::read_to_string(run.join(METRICS_FILE)).unwrap();
    assert_eq!(lines(&whole), lines(&cut));
    let mut predict = program();
    predict.arg("predict").arg(&cut).arg("--videos").arg(&pieces).arg("--annotations").arg(&dataset().egomcq);
    predict.arg("--tokenizer").arg(&dataset().tokenizers[1]).args(["--device", "cpu"]);
    let predicted = predict.arg("-o").arg(folder.path().join("mcq.json")).env("OMP_NUM_THREADS", "1").output().unwrap();
    succeeded(&predicted);
    assert!(words(&predicted).contains("egofx eval egomcq --predictions"), "{}", words(&predicted));
}

#[test]
fn pictures_of_where_words_look_are_made_from_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &[("epochs = 2", "epochs = 1")]);
    let run = folder.path().join("run");
    succeeded(&command(&config, &run).output().unwrap());
    let videos = std::fs::read_dir(&dataset().videos).unwrap().map(|entry| entry.unwrap().path());
    let maps = folder.path().join("attention-maps");
    let mut attend = program();
    attend.arg("attention-maps").arg(last(&run)).arg("-c").arg(&config).arg("--video").arg(videos.min().unwrap());
    attend.args(["--start", "1", "--end", "2.5", "--text", "#C C moves the red circle left", "--device", "cpu"]);
    attend.arg("--tokenizer").arg(&dataset().tokenizers[1]).arg("-o").arg(&maps).env("OMP_NUM_THREADS", "1");
    succeeded(&attend.output().unwrap());
    let page = std::fs::read_to_string(maps.join("index.html")).unwrap();
    assert!(page.contains(">circle</h2>") && page.contains("<th>layer 1<br>"), "{page}");
    // Four frames, the middles of equal stretches of a second and a half.
    assert!(page.contains("<div>1.17 s</div><div>1.53 s</div>"), "{page}");
    let pictures = std::fs::read_dir(&maps).unwrap().map(|entry| entry.unwrap().path());
    let pictures = pictures.filter(|path| path.extension().is_some_and(|extension| extension == "png")).count();
    // The plain frames are one picture, beside the maps of each word.
    assert_eq!(2 * (pictures - 1), page.matches("<img").count());
    assert!(pictures >= 9, "a picture for each word, of one fused layer");
}
