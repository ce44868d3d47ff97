//! Peak memory of `egofx extract` on a short and on a long video and of every kind of rows, and the time from its start to
//! its first committed unit.
//!
//! `cargo bench --bench memory -- openvino` compares OpenVINO's rows with the CPU's instead; it needs
//! `make setup-openvino`.

mod support;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use egofx::backbone::{Device, OnnxBackbone, Precision, Provider, SessionOptions, Towers};
use egofx::decode::{FfmpegSource, FrameSource, HwAccel};
use egofx::store::StoreReader;

use support::{Cost, Fallible, Spread, cosine, inputs, process, row, show, timed};

const MB: f64 = 1e6;

/// Starts of the program.
const STARTS: usize = 9;

fn main() -> Fallible {
    if std::env::args().any(|argument| argument == "openvino") {
        return openvino();
    }
    startup()?;
    memory()
}

/// The budget for frames that wait is made small for the comparison, or it would show how far decoding got ahead by
/// chance. What a full budget takes is measured apart, where inference is the slower side.
fn memory() -> Fallible {
    support::head("Peak memory");
    let short: Spread = (0..3).map(|_| peak(5, inputs::EGOVLP, &["--memory", "16"])).collect::<Fallible<_>>()?;
    let long = peak(60, inputs::EGOVLP, &["--memory", "16"])?;
    show("5 minutes, 4-frame grid: below 500 MB and the model", &short, 0, " MB");
    row("60 minutes, 4-frame grid: below 500 MB and the model", &format!("{long:.0} MB"), "n=1");
    let ratios: Spread = [short.min(), short.median(), short.max()].into_iter().map(|peak| long / peak).collect();
    show("  60 minutes over 5 minutes, at most 1.10", &ratios, 3, "");
    let full = peak(5, inputs::DENSE, &[])?;
    row("5 minutes, inference slower, 256 MiB of frames waiting", &format!("{full:.0} MB"), "n=1");
    kinds()
}

/// Every kind of row, by tiny models of random weights. What a run reserves must not depend on frames that it never sees.
fn kinds() -> Fallible {
    support::head("Peak memory by kind of row, tiny models: below 500 MB");
    let folder = inputs::folder().join("kinds");
    let models = folder.join("models");
    if !models.is_dir() {
        let export = ["export", "--random", "egovlpv2", "--tiny", "--out"].map(OsStr::new);
        process::egofx(export.into_iter().chain([models.as_os_str()]))?;
    }
    inputs::vocabulary(&folder.join("words"))?;
    let manifest = inputs::manifest("kinds", &inputs::small()?, Some((0.0, 30.0)))?;
    let queries = inputs::queries("kinds", "small", 40)?;
    let place = |path: &Path| path.display().to_string();
    let (models, words) = (place(&models), place(&folder.join("words")));
    let more = ["--models", &models, "--tokenizer", &words, "--queries", &place(&queries)].map(str::to_owned);
    for (kind, recipe) in [
        ("windows", "egovlpv2_nlq_dual"),
        ("clips", "egovlpv2_mcq"),
        ("sentences", "egovlpv2_mcq_text"),
        ("tokens", "egovlpv2_nlq_tokens"),
        ("fused windows", "egovlpv2_nlq_fused"),
        ("pairs", "egovlpv2_mcq_match"),
    ] {
        let recipe = support::root().join("pipelines").join(format!("{recipe}.toml"));
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let seen = process::extract(&manifest, &[recipe], &support::scratch("memory")?, &more)?;
        let (peak, reserved) = (seen.peak as f64 / MB, seen.reserved as f64 / MB);
        row(kind, &format!("{peak:.0} MB, of {reserved:.0} MB reserved"), "n=1");
    }
    Ok(())
}

/// Peak memory of a run in MB.
fn peak(minutes: u32, grid: &str, more: &[&str]) -> Fallible<f64> {
    let recipe = inputs::recipe_file("memory", grid)?;
    let manifest = inputs::manifest("long", &inputs::long(minutes)?, None)?;
    let seen = process::extract(&manifest, &[recipe], &support::scratch("memory")?, more)?;
    if minutes == 60 {
        row("  its ffmpeg, for comparison", &format!("{:.0} MB", seen.child_peak as f64 / MB), "");
    }
    Ok(seen.peak as f64 / MB)
}

fn startup() -> Fallible {
    support::head("From the start of egofx to the first committed unit: one window, 256-high");
    let manifest = inputs::manifest("start", &inputs::small()?, Some((0.0, 0.6)))?;
    let recipe = inputs::recipe_file("start", inputs::EGOVLP)?;
    let (mut first, mut whole) = (Spread::default(), Spread::default());
    for _ in 0..STARTS {
        let seen = process::extract(&manifest, std::slice::from_ref(&recipe), &support::scratch("start")?, &[])?;
        first.push(1e3 * seen.first_unit.ok_or("no unit was seen")?);
        whole.push(1e3 * seen.wall);
    }
    show("the first unit is there: below 1000 ms and loading the model", &first, 0, " ms");
    show("the program has ended, everything verified", &whole, 0, " ms");
    parts(&recipe)
}

/// Where that time goes: the same calls, one by one. Loading ONNX Runtime happens once per process, hence no spread.
fn parts(recipe: &Path) -> Fallible {
    let recipe = egofx::recipe::Recipe::read(recipe)?;
    let models = support::root().join("onnx");
    let part = |name: &str, cost: Cost| row(&format!("  {name}"), &format!("{:.0} ms", 1e3 * cost.wall), "");
    let (tools, cost) = timed(support::tools);
    part("asking ffmpeg and ffprobe for their versions", cost);
    let (runtime, cost) = timed(support::runtime);
    part("loading ONNX Runtime", cost);
    let runtime = runtime?;
    let towers = Towers::single(&models, &recipe.body.backbone, &recipe.body.feature)?;
    let cpu = Device { provider: Provider::Cpu, ordinal: 0 };
    let options = SessionOptions { device: cpu, precision: Precision::Fp32, threads: 1, rearrange: true };
    let (backbone, cost) = timed(|| OnnxBackbone::load(&runtime, &models, &towers, options));
    part("loading the model", cost);
    let mut backbone = backbone?;
    part("running its golden input", timed(|| backbone.golden_errors().map(drop)).1);
    let source = FfmpegSource { tools: tools?, threads: 0, hwaccel: HwAccel::None };
    let path = inputs::small()?;
    let (video, cost) = timed(|| source.probe(&path, None));
    part("probing the video (60 s) with ffprobe", cost);
    let video = video?;
    let decode =
        || source.open(&video, &[2, 6, 10, 14], &recipe.body.transform.into_iter().collect::<Vec<_>>()).count();
    part("decoding four frames", timed(decode).1);
    Ok(())
}

/// Rows by OpenVINO against the CPU's.
fn openvino() -> Fallible {
    support::head("OpenVINO's rows against the CPU's, tiny backbone");
    let found = std::fs::read_dir(support::root().join(".runtime/openvino")).is_ok();
    if !found {
        println!("skipped: OpenVINO is not installed here (make setup-openvino)");
        return Ok(());
    }
    let reference = rows(&["--device", "cpu"])?;
    for (precision, promise) in [("fp32", ", at least 0.9999"), ("bf16", "")] {
        let found = rows(&["--device", "openvino", "--precision", precision])?;
        let cosines: Spread = reference.iter().zip(&found).map(|(a, b)| cosine(a, b)).collect();
        row(&format!("{precision}: smallest cosine of a row{promise}"), &format!("{:.6}", cosines.min()), "");
        row(&format!("{precision}: rows"), &found.len().to_string(), &format!("cpu: {}", reference.len()));
    }
    Ok(())
}

fn rows(device: &[&str]) -> Fallible<Vec<Vec<f32>>> {
    let (manifest, out) = (inputs::manifest("small", &inputs::small()?, None)?, support::scratch("openvino")?);
    let recipe: PathBuf = inputs::recipe_file("openvino", inputs::EGOVLP)?;
    process::extract(&manifest, &[recipe], &out, device)?;
    let reader = StoreReader::open(&out.join("openvino"))?;
    let committed = reader.committed()?;
    let mut rows = Vec::new();
    for entry in committed.iter() {
        rows.extend(reader.read_unit(&entry.unit_uid)?.features.rows().into_iter().map(|row| row.to_vec()));
    }
    Ok(rows)
}
