//! What only a machine with an NVIDIA GPU can show: the CUDA provider loads, its rows are the CPU's, NVDEC decodes.
//!
//! Run by `make gpu-check`, and by nothing else. Needs CUDA 13's libraries on LD_LIBRARY_PATH. The figures that it prints
//! belong into docs/book/src/appendix/benchmarks.md, with the card's name.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use egofx::ids::UnitUid;
use egofx::store::StoreReader;

/// Smallest cosine between a row of the CPU and the same row of the GPU, both fp32.
const LEAST_COSINE: f64 = 0.99999;

/// Largest difference between them, relative to the largest value: sums run in another order.
const MOST_RELATIVE: f32 = 1e-3;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program: beside a carried test program, or the one that cargo built.
fn egofx() -> PathBuf {
    let carried = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("egofx")));
    carried.filter(|path| path.exists()).unwrap_or_else(|| env!("CARGO_BIN_EXE_egofx").into())
}

fn extract(out: &Path, flags: &[&str]) -> Output {
    let base = std::env::current_dir().unwrap();
    let root = if root().exists() { root() } else { &base };
    let output = Command::new(egofx())
        .current_dir(root)
        .args(["extract", "-m", "manifests/demo.csv", "-p", "pipelines/demo.toml", "-p", "pipelines/demo_dense.toml"])
        .arg("-o")
        .arg(out)
        .args(flags)
        .output()
        .unwrap();
    println!("{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn compare(cpu: &Path, gpu: &Path) -> (f64, f32) {
    let (mut cosine, mut relative) = (1.0_f64, 0.0_f32);
    for set in ["demo", "demo_dense"] {
        let (cpu, gpu) = (StoreReader::open(&cpu.join(set)).unwrap(), StoreReader::open(&gpu.join(set)).unwrap());
        for clip in ["nasa_13013", "nasa_launch"] {
            let uid = UnitUid::parse(clip).unwrap();
            let (a, b) = (cpu.read_unit(&uid).unwrap().features, gpu.read_unit(&uid).unwrap().features);
            assert_eq!(a.dim(), b.dim());
            for (a, b) in a.outer_iter().zip(b.outer_iter()) {
                let dot = |x: &ndarray::ArrayView1<f32>, y: &ndarray::ArrayView1<f32>| {
                    x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
                };
                cosine = cosine.min(dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt());
                let scale = a.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
                relative = a.iter().zip(&b).fold(relative, |m, (x, y)| m.max((x - y).abs() / scale));
            }
        }
    }
    (cosine, relative)
}

#[test]
fn the_cuda_provider_gives_the_cpus_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (cpu, gpu) = (folder.path().join("cpu"), folder.path().join("gpu"));
    assert_eq!(extract(&cpu, &["--device", "cpu"]).status.code(), Some(0));
    assert_eq!(extract(&gpu, &["--device", "cuda:0"]).status.code(), Some(0));
    let (cosine, relative) = compare(&cpu, &gpu);
    println!("CUDA against CPU: smallest cosine {cosine:.8}, largest relative difference {relative:e}");
    assert!(cosine >= LEAST_COSINE && relative <= MOST_RELATIVE);
}

#[test]
fn two_sessions_on_one_gpu_give_the_rows_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    assert_eq!(extract(&one, &["--device", "cuda:0"]).status.code(), Some(0));
    assert_eq!(extract(&two, &["--device", "cuda:0,cuda:0"]).status.code(), Some(0));
    let (cosine, relative) = compare(&one, &two);
    println!("two sessions against one: smallest cosine {cosine:.8}, largest relative difference {relative:e}");
    assert!(cosine >= LEAST_COSINE && relative <= MOST_RELATIVE);
}

#[test]
fn auto_takes_the_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let output = extract(folder.path(), &["--device", "auto"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("device: cuda, the fastest that is here and works"));
}

/// NVDEC's frames are not compared during a run; what they make of rows is shown here.
#[test]
fn rows_of_nvdec_s_frames_are_near_those_of_software_s() {
    let folder = tempfile::tempdir().unwrap();
    let (software, nvdec) = (folder.path().join("software"), folder.path().join("nvdec"));
    assert_eq!(extract(&software, &["--device", "cuda:0"]).status.code(), Some(0));
    assert_eq!(extract(&nvdec, &["--device", "cuda:0", "--hwaccel", "cuda"]).status.code(), Some(0));
    let (cosine, relative) = compare(&software, &nvdec);
    println!("NVDEC against software: smallest cosine {cosine:.8}, largest relative difference {relative:e}");
    assert!(cosine >= 0.999);
}

#[test]
fn nvdec_decodes_or_says_that_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut flags = vec!["--device", "cuda:0", "--hwaccel", "cuda", "--json"];
    // Setup's ffmpeg is built without CUDA: the machine's, where there is one.
    if Command::new("ffmpeg").arg("-version").output().is_ok_and(|output| output.status.success()) {
        flags.extend(["--ffmpeg", "ffmpeg", "--ffprobe", "ffprobe"]);
    }
    let output = extract(folder.path(), &flags);
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("remarks: {}, fallbacks: {}", report["remarks"], report["decode_fallbacks"]);
}

#[test]
fn throughput_of_the_device() {
    for device in ["cpu", "cuda:0"] {
        let folder = tempfile::tempdir().unwrap();
        let started = Instant::now();
        assert_eq!(extract(folder.path(), &["--device", device]).status.code(), Some(0));
        println!("{device}: {:.2} s for the demo, start included", started.elapsed().as_secs_f64());
    }
}
