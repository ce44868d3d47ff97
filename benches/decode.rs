//! Decoding: what exact frames through a pipe cost over plain ffmpeg, with the same decoder threads and the same filters.
//!
//! Plain ffmpeg is given egofx's own command line, with its output thrown away instead of piped and without the reports
//! of timestamps; and it decodes every frame of the file, where egofx, with ffmpeg 7 and later, drops packets that nobody needs. Both
//! give the frames of EgoVLP's 4-frame grid. `-- 256-high` measures one video.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use egofx::decode::{FfmpegSource, FrameSource, HwAccel, Tools, VideoInfo};
use egofx::recipe::Recipe;

use support::{Cost, Fallible, Spread, inputs, row, show, timed};

/// Pairs of runs per video.
const PAIRS: usize = 7;

fn main() -> Fallible {
    support::head("Decoding, EgoVLP's 4-frame grid");
    let recipe = inputs::recipe("egovlp", inputs::EGOVLP)?;
    // Cargo adds options of its own.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let videos = [
        ("1080p", inputs::full_hd()?),
        ("256-high", inputs::small()?),
        ("256-high-without-b", inputs::small_without_b()?),
    ];
    for (name, path) in videos {
        let unasked = !asked.is_empty() && !asked.iter().any(|asked| asked == name);
        for threads in [0, 1].into_iter().filter(|_| !unasked) {
            compare(name, &path, threads, &recipe)?;
        }
    }
    Ok(())
}

fn compare(name: &str, path: &Path, threads: usize, recipe: &Recipe) -> Fallible {
    let source = FfmpegSource { tools: support::tools()?, threads, hwaccel: HwAccel::None };
    let (video, probe) = timed(|| source.probe(path, None));
    let video = video?;
    let wanted = inputs::wanted(&video, std::slice::from_ref(recipe))?;
    let plain = Plain::of(&source, &video, &wanted, recipe)?;
    let dropped = source.dropped(&video, &wanted);
    let most_cpu = if dropped > 0 { "0.85" } else { "1.03" };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let (frames, cost) = timed(|| drain(&source, &video, &wanted, recipe));
        assert_eq!(frames, wanted.len(), "frames did not come");
        ours.push(cost);
        let (ended, cost) = timed(|| plain.run());
        ended?;
        theirs.push(cost);
    }
    let ratio = |of: fn(&Cost) -> f64| -> Spread { ours.iter().zip(&theirs).map(|(a, b)| of(a) / of(b)).collect() };
    let fastest = |costs: &[Cost]| costs.iter().map(|cost| cost.wall).fold(f64::INFINITY, f64::min);
    let threads = if threads == 0 { "threads: auto".into() } else { format!("threads: {threads}") };
    let case = format!("{name}, {threads}");
    show(&format!("{case}: wall time over plain ffmpeg's, at most 1.10"), &ratio(|cost| cost.wall), 3, "");
    row(&format!("{case}: the fastest run of each"), &format!("{:.3}", fastest(&ours) / fastest(&theirs)), "");
    row(&format!("{case}: frames that are not decoded"), &format!("{dropped} of {}", video.timeline.frames()), "");
    show(&format!("{case}: CPU time over plain ffmpeg's, at most {most_cpu}"), &ratio(|cost| cost.cpu), 3, "");
    row(&format!("{case}: probing, as a part of that wall time"), &format!("{:.3}", probe.wall / fastest(&ours)), "");
    Ok(())
}

fn drain(source: &FfmpegSource, video: &VideoInfo, wanted: &[u64], recipe: &Recipe) -> usize {
    source.open(video, wanted, &recipe.body.transform.into_iter().collect::<Vec<_>>()).filter(Result::is_ok).count()
}

/// ffmpeg by itself, doing the same decoding, selecting and scaling.
struct Plain {
    ffmpeg: PathBuf,
    arguments: Vec<String>,
}

impl Plain {
    /// Learns egofx's command line from a stand-in for ffmpeg that writes down how it was called. No frame comes of it, so that the last
    /// call is the one that drops no packets.
    fn of(source: &FfmpegSource, video: &VideoInfo, wanted: &[u64], recipe: &Recipe) -> Fallible<Self> {
        let folder = support::scratch("plain")?;
        let (script, heard, graph) = (folder.join("ffmpeg"), folder.join("arguments"), folder.join("graph"));
        let text = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {}\ncat > {}\n", heard.display(), graph.display());
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let tools = Tools { ffmpeg: script, ..source.tools.clone() };
        drain(&FfmpegSource { tools, ..source.clone() }, video, wanted, recipe);
        let filters = fs::read_to_string(&graph)?;
        // Behind the filter that reports frames, which is egofx's own.
        let (_, chosen) = filters.split_once(",32)',").ok_or("the filter graph has changed")?;
        fs::write(&graph, chosen)?;
        let heard = fs::read_to_string(&heard)?;
        let (before, _) = heard.split_once("-threads:v\n").ok_or("the command line has changed")?;
        let replaced = before.replace("repeat+level+info", "error").replace("pipe:0", &graph.display().to_string());
        let arguments = replaced.lines().chain(["-f", "null", "-"]).map(str::to_owned).collect();
        Ok(Self { ffmpeg: source.tools.ffmpeg.clone(), arguments })
    }

    fn run(&self) -> Fallible {
        let status = Command::new(&self.ffmpeg).args(&self.arguments).stdin(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("ffmpeg ended with {status}").into()) }
    }
}
