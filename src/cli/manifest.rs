//! `egofx manifest`: from what there is to a list of videos and clips, and of what is asked about them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use serde::Serialize;

use egofx::benchmark::{BENCHMARKS, Benchmark, Built, Count, Sources, Tally};

use super::outputs::{Output, write_all};
use super::{FAILED, plural, say, say_json, tell};

/// List videos and clips as a CSV that the other commands read.
///
/// Benchmarks with sentences or labels write those as a second table: with `-o nlq_val.csv` it is `nlq_val.queries.csv`.
/// What cannot be used is counted by reason, and the exit code is 0 all the same: official files have a few such entries. With
/// --strict it is 1. Tables that are there already with the same content are left as they are.
#[derive(Args)]
#[command(after_help = sources_help())]
pub struct Manifest {
    /// Where the list comes from; see below.
    #[arg(value_parser = BENCHMARKS.iter().map(|b| b.name).collect::<Vec<_>>())]
    source: String,
    /// The metadata or annotation file (for qfvs and lerobot a folder). Give it again for each further one, of another split for
    /// instance.
    #[arg(long, value_name = "FILE")]
    annotations: Vec<PathBuf>,
    /// Folders with video files, searched with all folders below.
    #[arg(long, value_name = "DIR")]
    videos: Vec<PathBuf>,
    /// Whose videos are listed; may be repeated. For egoexo `ego` is the wearer's (Aria's RGB; the default), `exo` all others,
    /// `best` the one that the take names as its best view from outside, `all` every one; or a camera's name, such as cam01. For
    /// lerobot the key of a video feature, such as observation.images.top, or `all`; the default is the only one there is.
    #[arg(long, value_name = "CAMERA")]
    camera: Vec<String>,
    /// The CSV to write; `-` is stdout, without queries.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Overwrite files that hold something else.
    #[arg(long)]
    force: bool,
    /// End with exit code 1 if anything was left out; the tables are written all the same.
    #[arg(long)]
    strict: bool,
    /// Print the counts as JSON on stdout; needs --out.
    #[arg(long, requires = "out")]
    json: bool,
}

fn sources_help() -> String {
    let lines: Vec<String> = BENCHMARKS.iter().map(|b| format!("  {:<10} {}", b.name, b.about)).collect();
    format!("Sources:\n{}", lines.join("\n"))
}

#[derive(Serialize)]
struct Outline<'b> {
    benchmark: &'b str,
    manifest: &'b Path,
    queries: Option<&'b Path>,
    splits: Vec<Count>,
    rejected: Vec<String>,
    #[serde(flatten)]
    tally: &'b Tally,
}

impl Manifest {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let to_stdout = self.out.as_os_str() == "-";
        ensure!(!(to_stdout && self.json), "--json needs a file for the list: --out FILE");
        let sources = Sources {
            annotations: self.annotations.clone(),
            videos: self.videos.clone(),
            cameras: self.camera.clone(),
        };
        let built = (Benchmark::find(&self.source)?.build)(&sources)?;
        let queries_path = self.out.with_extension("queries.csv");
        let written = built.queries.as_ref().filter(|_| !to_stdout).map(|_| queries_path.as_path());
        match to_stdout {
            true => {
                let mut csv = Vec::new();
                built.manifest.write_csv(&mut csv)?;
                say(&String::from_utf8(csv)?)?;
            }
            false => self.write(&built, &queries_path)?,
        }
        report(&built, written);
        if self.json {
            say_json(&self.outline(&built, written))?;
        }
        let clean = built.manifest.rejected.is_empty() && built.tally.dropped.is_empty();
        Ok(ExitCode::from(if self.strict && !clean { FAILED } else { 0 }))
    }

    /// Both tables, or none of them.
    fn write(&self, built: &Built, queries_path: &Path) -> anyhow::Result<()> {
        let list = |file: &mut dyn Write| Ok(built.manifest.write_csv(file)?);
        let mut outputs = vec![Output { path: &self.out, write: &list }];
        let asked = |file: &mut dyn Write| match &built.queries {
            Some(queries) => Ok(queries.write_csv(file)?),
            None => Ok(()),
        };
        if built.queries.is_some() {
            outputs.push(Output { path: queries_path, write: &asked });
        }
        write_all(&outputs, self.force)
    }

    fn outline<'b>(&'b self, built: &'b Built, queries: Option<&'b Path>) -> Outline<'b> {
        Outline {
            benchmark: &self.source,
            manifest: &self.out,
            queries,
            splits: built.counts(),
            rejected: built.manifest.rejected.iter().map(ToString::to_string).collect(),
            tally: &built.tally,
        }
    }
}

fn report(built: &Built, queries_path: Option<&Path>) {
    let Built { manifest, queries, tally } = built;
    for rejected in &manifest.rejected {
        tell(format_args!("egofx: {rejected}"));
    }
    tally.dropped.iter().for_each(|finding| tell(format_args!("dropped: {finding}")));
    tally.kept.iter().for_each(|finding| tell(format_args!("kept: {finding}")));
    if queries.is_some() {
        built.counts().iter().for_each(|count| tell(in_split(count)));
    }
    let (clips, videos) = (manifest.num_clips(), manifest.videos.len());
    let rejected = plural(manifest.rejected.len() + tally.num_dropped(), "entry").replace("entrys", "entries");
    tell(format_args!("{} of {}; {rejected} rejected", plural(clips, "clip"), plural(videos, "video")));
    match (queries, queries_path) {
        (Some(queries), Some(path)) => {
            tell(format_args!("{} in {}", many_queries(queries.len()), path.display()));
        }
        (Some(queries), None) => tell(format_args!("{} not written, for want of --out", many_queries(queries.len()))),
        (None, _) => {}
    }
}

fn in_split(count: &Count) -> String {
    let split = if count.split.is_empty() { "no split" } else { &count.split };
    let (videos, clips) = (plural(count.videos, "video"), plural(count.clips, "clip"));
    format!("{split}: {videos}, {clips}, {}", many_queries(count.queries))
}

fn many_queries(n: usize) -> String {
    if n == 1 { "1 query".to_owned() } else { format!("{n} queries") }
}
