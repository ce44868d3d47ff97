//! `egofx manifest`: from what there is to a list of videos and clips.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;

use egofx::benchmark::{BENCHMARKS, Benchmark, Sources};

use super::{FAILED, plural, say, tell};

/// List videos and clips as a CSV that the other commands read.
#[derive(Args)]
#[command(after_help = sources_help())]
pub struct Manifest {
    /// Where the list comes from; see below.
    #[arg(value_parser = BENCHMARKS.iter().map(|b| b.name).collect::<Vec<_>>())]
    source: String,
    /// The metadata or annotation file (for ego4d: ego4d.json or a manifest.csv).
    #[arg(long, value_name = "FILE")]
    annotations: Option<PathBuf>,
    /// Folders with video files, searched with all folders below.
    #[arg(long, value_name = "DIR")]
    videos: Vec<PathBuf>,
    /// The CSV to write; `-` is stdout.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Overwrite an existing file.
    #[arg(long)]
    force: bool,
}

fn sources_help() -> String {
    let lines: Vec<String> = BENCHMARKS.iter().map(|b| format!("  {:<10} {}", b.name, b.about)).collect();
    format!("Sources:\n{}", lines.join("\n"))
}

impl Manifest {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let to_stdout = self.out.as_os_str() == "-";
        let occupied = !to_stdout && !self.force && self.out.exists();
        ensure!(!occupied, "{} exists already; --force overwrites it", self.out.display());
        let sources = Sources { annotations: self.annotations, videos: self.videos };
        let manifest = (Benchmark::find(&self.source)?.build)(&sources)?;
        for rejected in &manifest.rejected {
            tell(format_args!("egofx: {rejected}"));
        }
        let mut csv = Vec::new();
        manifest.write_csv(&mut csv)?;
        if to_stdout {
            say(&String::from_utf8(csv)?)?;
        } else {
            // Beside its place first, so that a full disk does not leave half a list.
            let temporary = self.out.with_extension("csv.tmp");
            std::fs::write(&temporary, &csv).with_context(|| temporary.display().to_string())?;
            std::fs::rename(&temporary, &self.out).with_context(|| self.out.display().to_string())?;
        }
        let (clips, videos) = (manifest.num_clips(), manifest.videos.len());
        let rejected = plural(manifest.rejected.len(), "entry").replace("entrys", "entries");
        tell(format_args!("{} of {}; {rejected} rejected", plural(clips, "clip"), plural(videos, "video")));
        Ok(ExitCode::from(if manifest.rejected.is_empty() { 0 } else { FAILED }))
    }
}
