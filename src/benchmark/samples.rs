//! What the tests of the benchmarks share.

use std::path::PathBuf;

use super::{Benchmark, BenchmarkError, Built, Finding, Sources};

pub(super) fn annotations(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/annotations")).join(file)
}

pub(super) fn built(benchmark: &Benchmark, files: &[&str]) -> Result<Built, BenchmarkError> {
    let files = files.iter().map(|file| annotations(file)).collect();
    (benchmark.build)(&Sources { annotations: files, videos: vec![], ..Sources::default() })
}

fn counts(findings: &[Finding]) -> Vec<(&'static str, usize)> {
    findings.iter().map(|finding| (finding.reason, finding.count)).collect()
}

pub(super) fn dropped(built: &Built) -> Vec<(&'static str, usize)> {
    counts(&built.tally.dropped)
}

pub(super) fn kept(built: &Built) -> Vec<(&'static str, usize)> {
    counts(&built.tally.kept)
}

/// `video_uid clip_uid start_sec end_sec split` of all clips.
pub(super) fn lines(built: &Built) -> Vec<String> {
    let mut lines = Vec::new();
    for video in &built.manifest.videos {
        for clip in &video.clips {
            let span = clip.span.map(|span| format!("{} {}", span.start_sec, span.end_sec));
            let split = clip.extra.get("split").map_or("-", String::as_str);
            lines.push(format!("{} {} {} {split}", video.uid, clip.uid, span.as_deref().unwrap_or("whole")));
        }
    }
    lines
}
