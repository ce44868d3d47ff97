//! The whole line of stages against its parts: decoding alone, inference alone, and both with everything in between; and
//! two recipes on one decode against two runs.
//!
//! Decoding is kept on one core and inference on another, so that the parts do not take time from one another by mere
//! lack of cores; packing and writing run wherever there is room.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egofx::backbone::{
    Backbone, BackboneError, ClipBatch, Device, Input, OnnxBackbone, Precision, Provider, Runtime, SessionOptions,
    Towers,
};
use egofx::decode::{FfmpegSource, FrameSource, FrameStream, HwAccel, ProbeError, Transform, VideoInfo};
use egofx::feature_set::{FeatureSet, PerSet};
use egofx::ids::SetId;
use egofx::manifest::Manifest;
use egofx::ndarray::Array2;
use egofx::pipeline::{self, Control, OnError, Options, Report, Run, TextInputs};
use egofx::pixels::Pixels;
use egofx::plan::{Plan, Wanted};
use egofx::recipe::Frames;
use egofx::shard::Shard;
use egofx::store::Store;
use egofx::time::Fps;

use support::{Cost, Fallible, Spread, inputs, process, row, show, timed};

/// Rounds of decoding alone, inference alone, whole run.
const ROUNDS: usize = 3;

fn main() -> Fallible {
    let runtime = Arc::new(support::runtime()?);
    let video = inputs::small()?;
    support::head("The whole run: one core decodes, another infers");
    // Where inference is the slower side, a minute would show little but the time until the first batch is full.
    let longer = inputs::long(5)?;
    for (name, video, grid, batch_size) in [
        ("4-frame grid, batches of 8", &video, inputs::EGOVLP, 8),
        ("32-frame windows, stride 16, batches of 4", &video, inputs::EGO4D, 4),
        ("16-frame windows at 10 fps, batches of 32", &longer, inputs::DENSE, 32),
    ] {
        Case::new(runtime.clone(), video, grid, batch_size)?.measure(name)?;
    }
    support::head("Two recipes on one video: 4-frame grid and 16-frame windows at 10 fps");
    two_recipes(&video)
}

/// The one feature set of a case.
const ONLY: SetId = SetId::new(0);

/// One recipe on one video.
struct Case {
    runtime: Arc<Runtime>,
    sets: PerSet<FeatureSet>,
    manifest: Manifest,
    batch_size: usize,
    source: Pinned,
    device_core: usize,
}

impl Case {
    fn new(runtime: Arc<Runtime>, video: &Path, grid: &str, batch_size: usize) -> Fallible<Self> {
        let recipe = inputs::recipe("case", grid)?;
        let towers = Towers::single(&models(), &recipe.body.backbone, &recipe.body.feature)?;
        let cores = support::cores();
        let source = FfmpegSource { tools: support::tools()?, threads: 1, hwaccel: HwAccel::None };
        Ok(Self {
            runtime,
            sets: std::iter::once(FeatureSet::new(recipe, towers, None)).collect(),
            manifest: Manifest::read(&inputs::manifest("case", video, None)?)?,
            batch_size,
            source: Pinned { inner: source, core: cores[0] },
            device_core: cores[cores.len() - 1],
        })
    }

    fn measure(&self, name: &str) -> Fallible {
        let (mut ratio, mut beside, mut cpu) = (Spread::default(), Spread::default(), Spread::default());
        let (mut decode, mut infer, mut busy) = (Spread::default(), Spread::default(), Spread::default());
        for _ in 0..ROUNDS {
            let (windows, decoding) = alone(self.decoding()?);
            let windows = windows?;
            let (inferred, inferring) = alone(self.inference(windows)?);
            inferred?;
            let both = side_by_side(self.decoding()?, self.inference(windows)?)?;
            let (running, report) = self.whole(windows)?;
            ratio.push(running.wall / decoding.wall.max(inferring.wall));
            beside.push(running.wall / both.wall);
            cpu.push(running.cpu / (decoding.cpu + inferring.cpu));
            decode.push(decoding.wall / running.wall);
            infer.push(inferring.wall / running.wall);
            busy.push(report.bottleneck().map_or(0.0, |stage| stage.busy_share));
        }
        let side = if decode.median() > infer.median() { "decoding" } else { "inference" };
        show(&format!("{name}: wall over the slower part's, at most 1.10"), &ratio, 3, "");
        let slower = decode.median().max(infer.median());
        let faster = decode.median().min(infer.median());
        let shares = format!("{:.0} % and {:.0} % of the run's wall time", 100.0 * slower, 100.0 * faster);
        row("  the slower part, and what each takes alone", side, &shares);
        // Two cores share caches and memory: what both parts take at once, with nothing between them, is what a run can reach.
        show("  wall over both parts' at once, with nothing between them", &beside, 3, "");
        show("  CPU time over the sum of both parts'", &cpu, 3, "");
        // On a machine that others use too, the parts alone get more of the cores than the run does, and the first ratio
        // rises by that. This one compares a run with itself.
        show("  wall time over what the busiest stage worked in it", &busy.inverse(), 3, "");
        Ok(())
    }

    /// Probing and decoding, as the decode stage does it; how many windows that makes.
    fn decoding(&self) -> Fallible<impl FnOnce() -> Done<usize> + Send> {
        let (path, transform) = (self.path()?, self.frames()?.transform);
        Ok(move || {
            let video = self.source.probe(&path, None).map_err(|e| e.to_string())?;
            let wanted = inputs::wanted(&video, std::slice::from_ref(&self.set().recipe)).map_err(|e| e.to_string())?;
            let frames = self.source.open(&video, &wanted, &[transform]).filter(Result::is_ok);
            assert_eq!(frames.count(), wanted.len(), "frames did not come");
            let frames = self.set().recipe.frames().expect("the cases see frames");
            let layout = egofx::plan::Layout::new(&video, &frames, self.set().recipe.body.compat, None);
            Ok(layout.map_err(|e| e.to_string())?.rows.len())
        })
    }

    /// As many windows as the run has, all of the same pixels, on the run's core.
    fn inference(&self, windows: usize) -> Fallible<impl FnOnce() -> Done<()> + Send> {
        let (mut backbone, frames) = (self.backbone()?, self.frames()?.grid.frames() as usize);
        let input = self.set().towers.frames().ok_or("the backbone takes no frames")?;
        let window = frames * (input.height * input.width * 3) as usize;
        let batch = move |clips: usize| ClipBatch {
            clips,
            frames,
            pixels: Pixels::U8((0..clips * window).map(|i| (i * 7 % 251) as u8).collect()),
        };
        let (full, last, batches) =
            (batch(self.batch_size), batch(windows % self.batch_size), windows / self.batch_size);
        Ok(move || {
            let batches = std::iter::repeat_n(&full, batches).chain((last.clips > 0).then_some(&last));
            for batch in batches {
                backbone.forward(&Input::Windows(batch)).map_err(|e| e.to_string())?;
            }
            Ok(())
        })
    }

    /// Everything, into a store.
    fn whole(&self, windows: usize) -> Fallible<(Cost, Report)> {
        let mut stores = std::iter::once(self.store()?).collect();
        let plan = Plan::new(self.wanted(), Shard::WHOLE, |_, _| false)?;
        let devices = vec![std::iter::once(self.backbone()?).collect()];
        let (options, control) = (self.options(), Control::default());
        let (plan, text_inputs) = (&plan, &TextInputs::default());
        let run = Run { plan, sets: &self.sets, source: &self.source, text_inputs, options: &options, sharing: None };
        let ((report, ended), cost) = timed(|| pipeline::run(run, devices, &mut stores, &control));
        ended?;
        complete(&report, windows)?;
        Ok((cost, report))
    }

    fn set(&self) -> &FeatureSet {
        &self.sets[ONLY]
    }

    fn options(&self) -> Options {
        Options {
            decoders: 1,
            batch_size: self.batch_size,
            memory_bytes: 256 << 20,
            on_error: OnError::Fail,
            onnxruntime_version: self.runtime.version.clone(),
            provider: "cpu".into(),
        }
    }

    fn backbone(&self) -> Fallible<Box<dyn Backbone>> {
        let cpu = Device { provider: Provider::Cpu, ordinal: 0 };
        let mut inner = OnnxBackbone::load(
            &self.runtime,
            &models(),
            &self.set().towers,
            SessionOptions { device: cpu, precision: Precision::Fp32, threads: 1, rearrange: true },
        )?;
        // As `egofx` does before a run; it also takes the first, slower call out of the measurement.
        inner.golden_errors()?;
        Ok(Box::new(PinnedBackbone { inner, core: self.device_core, pinned: false }))
    }

    fn store(&self) -> Fallible<Store> {
        let store = Store::open(&support::scratch("whole")?, &self.set().contract(Precision::Fp32)?, Shard::WHOLE)?;
        store.promise(&self.wanted().promised()?[ONLY])?;
        Ok(store)
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { manifest: &self.manifest, queries: None, sets: &self.sets, limit: None }
    }

    fn frames(&self) -> Fallible<Frames> {
        Ok(self.set().recipe.frames().ok_or("the recipe sees no frames")?)
    }

    fn path(&self) -> Fallible<PathBuf> {
        let path = self.manifest.videos.first().and_then(|video| video.path.clone());
        Ok(path.ok_or("the manifest names no file")?)
    }
}

/// What a thread may say of its work.
type Done<T> = Result<T, String>;

/// `work` on a thread of its own, because pinning is for good.
fn alone<T: Send>(work: impl FnOnce() -> Done<T> + Send) -> (Done<T>, Cost) {
    timed(|| std::thread::scope(|scope| scope.spawn(work).join().expect("the work panicked")))
}

/// Both at once.
fn side_by_side<T: Send>(
    decoding: impl FnOnce() -> Done<T> + Send,
    inference: impl FnOnce() -> Done<()> + Send,
) -> Fallible<Cost> {
    let ((decoded, inferred), cost) = timed(|| {
        std::thread::scope(|scope| {
            let decoding = scope.spawn(decoding);
            let inferred = scope.spawn(inference).join();
            (decoding.join().expect("decoding panicked"), inferred.expect("inference panicked"))
        })
    });
    decoded?;
    inferred?;
    Ok(cost)
}

fn models() -> PathBuf {
    support::root().join("onnx")
}

fn complete(report: &Report, windows: usize) -> Fallible {
    let whole = report.rows == windows as u64 && report.failures.is_empty() && report.unreached() == 0;
    if whole { Ok(()) } else { Err(format!("the run is not complete: {report:?}").into()) }
}

/// A source whose work, that of its ffmpeg included, stays on one core.
struct Pinned {
    inner: FfmpegSource,
    core: usize,
}

impl FrameSource for Pinned {
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        support::pin(self.core);
        self.inner.probe(path, fps)
    }

    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        self.inner.open(video, wanted, transforms)
    }

    fn dropped(&self, video: &VideoInfo, wanted: &[u64]) -> u64 {
        self.inner.dropped(video, wanted)
    }

    fn version(&self) -> String {
        self.inner.version()
    }
}

/// A backbone that stays on one core from its first batch on.
struct PinnedBackbone {
    inner: OnnxBackbone,
    core: usize,
    pinned: bool,
}

impl Backbone for PinnedBackbone {
    fn towers(&self) -> &Towers {
        self.inner.towers()
    }

    fn forward(&mut self, input: &Input<'_>) -> Result<Array2<f32>, BackboneError> {
        if !std::mem::replace(&mut self.pinned, true) {
            support::pin(self.core);
        }
        self.inner.forward(input)
    }
}

/// Both recipes by one run of `egofx extract`, and by one run each.
fn two_recipes(video: &Path) -> Fallible {
    let manifest = inputs::manifest("small", video, None)?;
    let sparse = inputs::recipe_file("sparse", inputs::EGOVLP)?;
    let dense = inputs::recipe_file("dense", inputs::DENSE)?;
    let (mut ratio, mut seen) = (Spread::default(), BTreeSet::new());
    for _ in 0..ROUNDS {
        let run = |recipes: &[PathBuf]| process::extract(&manifest, recipes, &support::scratch("recipes")?, &[]);
        let both = run(&[sparse.clone(), dense.clone()])?;
        let (first, second) = (run(std::slice::from_ref(&sparse))?, run(std::slice::from_ref(&dense))?);
        ratio.push(both.wall / (first.wall + second.wall));
        seen.insert(both.report["decode_multiplicity"].to_string());
    }
    let seen: Vec<String> = seen.into_iter().collect();
    row("decode multiplicity of one run, 1.00", &seen.join(", "), "");
    show("one run's wall time over that of two", &ratio, 3, "");
    Ok(())
}
