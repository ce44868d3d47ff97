//! Where manifests come from: one file for each source, one line for each in [`BENCHMARKS`].
//!
//! A benchmark turns what its authors publish into a [`Manifest`] and, where it asks something, into [`Queries`]. Not for
//! models or windows: the same manifest serves all of them. Builders read annotations and file names, never a video.

mod builder;
mod charades;
mod ego4d;
pub mod egoclip;
mod egoexo;
pub mod egomcq;
pub mod egotaskqa;
mod epic;
pub(crate) mod episodic;
mod error;
mod folder;
mod goalstep;
mod images;
pub(crate) mod json;
mod lerobot;
mod lta;
pub mod mq;
pub mod nlq;
pub mod oscc;
mod parquet;
mod pnr;
mod qaego4d;
mod qfvs;
mod record;
#[cfg(test)]
mod samples;
mod sta;
pub(crate) mod table;
mod tally;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::manifest::{Manifest, ManifestError, SPLIT};
use crate::queries::Queries;

pub use error::BenchmarkError;
pub use record::{Record, RecordError, Row, record, records};
pub use tally::{Finding, Tally};

/// All benchmarks, in the order in which they are listed to people.
pub const BENCHMARKS: &[Benchmark] = &[
    folder::BENCHMARK,
    ego4d::BENCHMARK,
    nlq::BENCHMARK,
    mq::BENCHMARK,
    egomcq::BENCHMARK,
    egoclip::BENCHMARK,
    qfvs::BENCHMARK,
    egotaskqa::BENCHMARK,
    oscc::BENCHMARK,
    pnr::BENCHMARK,
    lta::BENCHMARK,
    sta::BENCHMARK,
    goalstep::BENCHMARK,
    qaego4d::BENCHMARK,
    egoexo::BENCHMARK,
    epic::BENCHMARK,
    charades::BENCHMARK,
    lerobot::BENCHMARK,
];

/// How benchmarks with annotations of their own use folders with videos.
const PRESENT_ONLY: Need = Need::Optional("folders with the videos, to leave out clips of those that are not there");

/// A source of manifests.
#[derive(Debug, Clone, Copy)]
pub struct Benchmark {
    /// Short name, as typed.
    pub name: &'static str,
    /// One line for people: what the manifest lists.
    pub about: &'static str,
    /// What `build` looks at.
    pub needs: Needs,
    /// Builds the manifest; fails where a required source is missing or unusable.
    pub build: fn(&Sources) -> Result<Built, BenchmarkError>,
}

/// What a benchmark consists of.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its videos and clips.
    pub manifest: Manifest,
    /// Its sentences and labels; `None` for sources that only list videos.
    pub queries: Option<Queries>,
    /// What was left out, or kept though it is odd.
    pub tally: Tally,
}

/// How much of a benchmark belongs to one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Its name; empty where the annotations name none.
    pub split: String,
    /// Videos with a clip in it.
    pub videos: usize,
    /// Clips.
    pub clips: usize,
    /// Sentences and labels.
    pub queries: usize,
}

impl Built {
    /// Counts by split, in order of appearance.
    pub fn counts(&self) -> Vec<Count> {
        let mut counts: Vec<Count> = Vec::new();
        for video in &self.manifest.videos {
            let mut counted = BTreeSet::new();
            for clip in &video.clips {
                let split = clip.extra.get(SPLIT).map_or("", String::as_str);
                let count = count_of(&mut counts, split);
                count.clips += 1;
                count.videos += usize::from(counted.insert(split));
            }
        }
        for split in self.queries.iter().filter_map(|queries| queries.column(SPLIT)).flatten() {
            count_of(&mut counts, split).queries += 1;
        }
        counts
    }
}

fn count_of<'c>(counts: &'c mut Vec<Count>, split: &str) -> &'c mut Count {
    let at = counts.iter().position(|count| count.split == split).unwrap_or(counts.len());
    if at == counts.len() {
        counts.push(Count { split: split.to_owned(), videos: 0, clips: 0, queries: 0 });
    }
    &mut counts[at]
}

impl From<Manifest> for Built {
    /// A list of videos that asks nothing.
    fn from(manifest: Manifest) -> Self {
        Self { manifest, queries: None, tally: Tally::default() }
    }
}

/// What a benchmark is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Of [`Sources::annotations`].
    pub annotations: Need,
    /// Of [`Sources::videos`].
    pub videos: Need,
}

/// How a benchmark uses one of its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It cannot do without; what is expected, in words.
    Required(&'static str),
    /// It does more with it; what is expected and what for, in words.
    Optional(&'static str),
    /// It does not look at it.
    Unused,
}

/// What a person has at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Files with annotations or metadata, or folders with them; most benchmarks take several, one for each split.
    pub annotations: Vec<PathBuf>,
    /// Folders that hold videos.
    pub videos: Vec<PathBuf>,
    /// Which cameras, where several have recorded; none for the wearer's, or the only one.
    pub cameras: Vec<String>,
}

impl Benchmark {
    /// The benchmark of that name; the error lists all names.
    ///
    /// # Errors
    /// [`ManifestError::UnknownBenchmark`].
    pub fn find(name: &str) -> Result<&'static Self, ManifestError> {
        let known = || BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        let found = BENCHMARKS.iter().find(|benchmark| benchmark.name == name);
        found.ok_or_else(|| ManifestError::UnknownBenchmark { name: name.to_owned(), known: known() })
    }

    /// The annotations, at least one file, for builders that cannot do without.
    fn annotations<'s>(&self, sources: &'s Sources) -> Result<&'s [PathBuf], ManifestError> {
        let given = Some(&sources.annotations[..]).filter(|files| !files.is_empty());
        given.ok_or_else(|| self.missing(self.needs.annotations, "annotations"))
    }

    /// The one file with annotations.
    fn one_file<'s>(&self, sources: &'s Sources) -> Result<&'s Path, BenchmarkError> {
        match self.annotations(sources)? {
            [file] => Ok(file),
            files => Err(BenchmarkError::OneFile { benchmark: self.name, given: files.len() }),
        }
    }

    /// The folders with videos, at least one, for builders that cannot do without.
    fn videos<'s>(&self, sources: &'s Sources) -> Result<&'s [PathBuf], ManifestError> {
        let given = Some(&sources.videos[..]).filter(|videos| !videos.is_empty());
        given.ok_or_else(|| self.missing(self.needs.videos, "folders with videos"))
    }

    fn missing(&self, need: Need, default: &'static str) -> ManifestError {
        let needs = match need {
            Need::Required(words) | Need::Optional(words) => words,
            Need::Unused => default,
        };
        ManifestError::MissingSource { benchmark: self.name, needs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_everything_is_described() {
        let names: BTreeSet<_> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        assert_eq!(names.len(), BENCHMARKS.len());
        for Benchmark { name, about, needs, .. } in BENCHMARKS {
            assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
            assert!(!about.is_empty() && !about.ends_with('.'), "{name}: {about}");
            for need in [needs.annotations, needs.videos] {
                assert!(!matches!(need, Need::Required("") | Need::Optional("")), "{name}");
            }
        }
    }

    #[test]
    fn without_its_required_sources_a_benchmark_says_what_it_needs() {
        for benchmark in BENCHMARKS {
            let text = (benchmark.build)(&Sources::default()).unwrap_err().to_string();
            assert!(text.starts_with(&format!("benchmark {} needs ", benchmark.name)), "{text}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        assert_eq!(Benchmark::find("folder").unwrap().name, "folder");
        let text = Benchmark::find("ego5d").unwrap_err().to_string();
        let start = "no benchmark is called \"ego5d\", expected one of folder, ego4d, nlq, mq, ";
        assert!(text.starts_with(start), "{text}");
    }
}
