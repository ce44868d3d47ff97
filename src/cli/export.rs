//! `egofx export`: a checkpoint, or random weights, to graphs and model cards; and the check of those that are there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use egofx::backbone::{Card, GraphPrecision, Provider, Runtime};
use egofx::checkpoint::Checkpoint;
use egofx::decode::{FfmpegSource, Filter, FrameSource, HwAccel, Prepare, Reader, Transform};
use egofx::export::{self, Cost, Export, MODELS, Model, Options, Plan, Scale, TokenGrid, Validator};
use egofx::meter::Meter;

use super::args::{self, Ffmpeg, OnnxRuntime};
use super::progress::{Progress, Reporting};
use super::{FAILED, plural, say, say_json, tell};

/// Convert an original checkpoint to ONNX graphs and model cards.
///
/// Reads .pth, .pyth, .tar and safetensors of EgoVLP, EgoVLPv2, LaViLa and SlowFast 8x8 R101; nothing in a
/// pickle is run. Every tensor must be known and in its shape. The graphs share one .weights file
/// and take uint8 frames; each has a card, which `egofx extract` reads.
///
///   egofx export EgoVLPv2.pth --out onnx/                       from a checkpoint
///   egofx export EgoVLPv2_smallproj.pth --out onnx_small/       another one of the model: a folder of its own
///   egofx export --random egovlp --seed 1 --tiny --out onnx/    without one, to try things out
///   egofx export EgoVLP.pth --tokens=7 --out onnx/              and maps of 7 x 7 means of its patch tokens
///   egofx export --check --out onnx/                            are the graphs there whole?
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ExportCommand {
    /// The checkpoint.
    #[arg(value_name = "CHECKPOINT", required_unless_present_any = ["random", "check"], conflicts_with_all = ["random", "check"])]
    checkpoint: Option<PathBuf>,
    /// The folder that graphs and cards go to.
    #[arg(short, long, value_name = "DIR", default_value = "onnx")]
    out: PathBuf,
    /// Export this model with random weights, to size a machine or try the tool without a checkpoint: egovlp, egovlpv2,
    /// lavila-base, lavila-large, lavila-large-336, lavila-distilbert or lavila-egovlp.
    #[arg(long, value_name = "MODEL", conflicts_with = "check")]
    random: Option<String>,
    /// The seed of random weights: the same weights on every machine.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "random")]
    seed: u64,
    /// Random weights of a narrow model: tokens of 32 numbers instead of 768, SlowFast's stems of 8 channels instead of 64.
    #[arg(long, requires = "random")]
    tiny: bool,
    /// Write graphs of this precision too; their cards say how near they are to fp32.
    ///
    /// fp16 needs a GPU to be fast; int8 is for CPUs with VNNI. Refused below cosine 0.999 (fp16) or 0.99 (int8).
    #[arg(long, value_name = "PRECISION", value_enum)]
    precision: Vec<Further>,
    /// A video of the kind that the graphs will see: int8 ranges are found on windows of its first two thirds, and precisions
    /// compared on windows of the rest.
    ///
    /// Without it ranges are found on test patterns, which real frames may exceed: give one for an int8 graph that you use.
    #[arg(long, value_name = "VIDEO", requires = "precision")]
    sample: Option<PathBuf>,
    /// Numbers of an attention head, which no tensor's shape tells [default: what egofx-train wrote into the file, else 64;
    /// 16 with --tiny].
    #[arg(long, value_name = "N")]
    head_size: Option<usize>,
    /// Licence of the weights, for the cards.
    #[arg(long, value_name = "TEXT", default_value = "not stated")]
    licence: String,
    /// Also write graphs that take normalised float pixels and give every inner state, for comparing with the original.
    #[arg(long)]
    debug: bool,
    /// Also write the graph of the video tower's tokens, MODEL_video_tokens: a token for each patch of each frame behind the last norm,
    /// or, by --tokens=GRID, the means of squares of patches, GRID x GRID of a frame.
    ///
    /// Its outputs are `tokens` (class token first, then frame by frame) and `map` (their mean over the frames), which recipes name
    /// as their feature.
    #[arg(long, value_name = "GRID", num_args = 0..=1, require_equals = true, conflicts_with = "check")]
    tokens: Option<Option<usize>>,
    /// Replace cards and graphs of the same model that were made of another checkpoint. Without it they are refused: a
    /// recipe finds a graph by its name alone.
    #[arg(long, conflicts_with = "check")]
    force: bool,
    /// Run the golden input of every card in --out and say how far its graph is from it.
    #[arg(long)]
    check: bool,
    /// Write what was made as JSON to stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reporting: Reporting,
    #[command(flatten)]
    ffmpeg: Ffmpeg,
    #[command(flatten)]
    onnx_runtime: OnnxRuntime,
}

/// Dims of an attention head of the published models, and of tiny ones with random weights.
const HEAD_SIZE: usize = 64;
const TINY_HEAD_SIZE: usize = 16;
/// Windows of a sample video; the last third is not calibrated on.
const SAMPLE_WINDOWS: u64 = 12;
/// Frames of the video that a window is spread over: 4 frames are 7.5 a second of a 30 fps video. As many frames or more
/// follow one another.
const SAMPLE_SPAN: u64 = 16;

/// Precisions beside fp32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Further {
    /// Half precision.
    Fp16,
    /// 8-bit integers.
    Int8,
}

/// What was made, for machines.
#[derive(Serialize)]
struct Report<'e> {
    model: &'static str,
    parameters: usize,
    costs: &'e [Cost],
    cards: &'e [Card],
}

impl ExportCommand {
    /// Exports or checks.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = Runtime::load(&self.onnx_runtime.library_search(), Provider::Cpu)?;
        let meter = Meter::default();
        let progress = Progress::of_meter(&meter, "graphs", self.reporting.shown(self.json));
        let mut validator = Validator { runtime: &runtime, threads: args::cores(), windows: Vec::new(), meter };
        if self.check {
            return check(&validator, &self.out);
        }
        let started = Instant::now();
        let checkpoint = self.open()?;
        let options = self.options(&checkpoint)?;
        if let Some(video) = &self.sample {
            let (_, plan) = Model::of(&checkpoint, options.head_size)?;
            validator.windows = self.windows(video, &plan)?;
        }
        let made = export::export(&checkpoint, &options, &validator, &self.out)?;
        progress.finish();
        if self.json {
            let Export { model, plan, cards } = &made;
            say_json(&Report { model: model.name, parameters: plan.num_parameters(), costs: &plan.costs, cards })?;
        } else {
            say(&shown(&made, &self.out))?;
        }
        tell(format_args!("{} in {:.1} s", plural(made.cards.len(), "graph"), started.elapsed().as_secs_f64()));
        Ok(ExitCode::SUCCESS)
    }

    fn open(&self) -> anyhow::Result<Checkpoint> {
        if let Some(path) = &self.checkpoint {
            return Ok(Checkpoint::open(path)?);
        }
        let name = self.random.as_deref().expect("clap asks for a checkpoint, --random or --check");
        let (scale, label) = if self.tiny { (Scale::Tiny, "tiny ") } else { (Scale::Full, "") };
        let mut known: Vec<_> = MODELS.iter().flat_map(|model| model.published(scale)).collect();
        let found = known.iter().position(|(model, _)| model == name);
        let names = || known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        let found = found.with_context(|| format!("unknown model {name:?} (known: {})", names()))?;
        let (_, plan) = known.swap_remove(found);
        let label = format!("{label}{name}, random weights of seed {}", self.seed);
        Ok(Checkpoint::seeded(&label, self.seed, plan.parameters))
    }

    /// Windows of consecutive-looking frames, spread over `video`.
    fn windows(&self, video: &Path, plan: &Plan) -> anyhow::Result<Vec<(usize, Vec<u8>)>> {
        let count = plan.graphs.iter().map(|graph| u64::from(graph.frames)).max().unwrap_or(1).max(1);
        let stride = (SAMPLE_SPAN / count).max(1);
        let source = FfmpegSource { tools: self.ffmpeg.tools()?, threads: args::cores(), hwaccel: HwAccel::None };
        let info = source.probe(video, None)?;
        let frames = info.timeline.frames();
        let first = |window: u64| frames * window / SAMPLE_WINDOWS;
        let wanted = |window: u64| (0..count).map(move |i| first(window) + i * stride);
        let wanted: Vec<u64> = (0..SAMPLE_WINDOWS).flat_map(wanted).filter(|frame| *frame < frames).collect();
        ensure!(
            wanted.len() as u64 == SAMPLE_WINDOWS * count && wanted.is_sorted_by(|a, b| a < b),
            "--sample {}: {frames} frames are too few, at least {} are needed",
            video.display(),
            SAMPLE_WINDOWS * count * stride
        );
        let side = u32::try_from(plan.frame_side)?;
        let transform = Transform::centred(side, side, Filter::Bilinear).read_by(Reader::Decord);
        let transform = transform.prepared(Prepare::VideoResize);
        let decoded = source.open(&info, &wanted, &[transform]);
        let pixels =
            decoded.map(|frame| Ok(frame?.pixels[0].levels().into_owned())).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(pixels.chunks(usize::try_from(count)?).map(|window| (window.len(), window.concat())).collect())
    }

    /// A size that is asked for has to be that of the file, where the file says one.
    fn head_size(&self, checkpoint: &Checkpoint) -> anyhow::Result<usize> {
        let usual = if self.tiny { TINY_HEAD_SIZE } else { HEAD_SIZE };
        let (asked, said) = (self.head_size, checkpoint.head_size());
        if let (Some(asked), Some(said)) = (asked, said) {
            let name = checkpoint.name();
            ensure!(
                asked == said,
                "{name}: --head-size is {asked}, but its header says that it was trained with {said}"
            );
        }
        Ok(said.or(asked).unwrap_or(usual))
    }

    fn options(&self, checkpoint: &Checkpoint) -> anyhow::Result<Options> {
        let known = [(Further::Fp16, GraphPrecision::Fp16), (Further::Int8, GraphPrecision::Int8)];
        let further = known.into_iter().filter(|(asked, _)| self.precision.contains(asked)).map(|(_, made)| made);
        Ok(Options {
            head_size: self.head_size(checkpoint)?,
            further: further.collect(),
            debug: self.debug,
            tokens: self.tokens.map(|places| places.map_or(TokenGrid::Patches, TokenGrid::Places)),
            licence: self.licence.clone(),
            force: self.force,
        })
    }
}

/// Graphs, parameters and cost, for people.
fn shown(made: &Export, out: &Path) -> String {
    let mut text = format!("{}: {:.1} M parameters\n", made.model.about, made.plan.num_parameters() as f64 / 1e6);
    for cost in &made.plan.costs {
        text += &format!("  {:>8.2} GMACs  {}\n", cost.macs as f64 / 1e9, cost.what);
    }
    for card in &made.cards {
        let accuracy = card.accuracy.as_ref();
        let accuracy = accuracy.map_or(String::new(), |a| format!("  cosine to fp32 {:.6} on {}", a.cosine, a.inputs));
        let list = |tensors: &[egofx::backbone::Tensor]| {
            tensors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        text += &format!("{}{accuracy}\n", out.join(&card.graph).display());
        if !card.name.ends_with("_debug") {
            text += &format!("    {}\n    -> {}\n", list(&card.inputs), list(&card.outputs));
        }
    }
    text
}

/// Every card in `models` against its graph.
fn check(validator: &Validator, models: &Path) -> anyhow::Result<ExitCode> {
    let names = Card::names(models);
    ensure!(!names.is_empty(), "{} holds no model card", models.display());
    validator.meter.expect(names.len());
    let mut failed = 0;
    for name in &names {
        let checked = Card::read(models, name).map_err(export::ExportError::from);
        let line = match checked.and_then(|card| Ok((export::check(validator, models, &card)?, card))) {
            Ok(((error, true), card)) => {
                format!("ok      {name}: within {error:.1e}, {:.1e} allowed", card.golden.max_abs)
            }
            Ok(((error, false), card)) => {
                failed += 1;
                format!("FAILED  {name}: off by {error:.1e}, {:.1e} allowed", card.golden.max_abs)
            }
            Err(error) => {
                failed += 1;
                format!("FAILED  {name}: {error}")
            }
        };
        validator.meter.done(0);
        say(&(line + "\n"))?;
    }
    if failed == 0 { Ok(ExitCode::SUCCESS) } else { Ok(ExitCode::from(FAILED)) }
}
