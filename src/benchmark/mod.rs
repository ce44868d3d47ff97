//! Where manifests come from: one file for each source, one line for each in [`BENCHMARKS`].
//!
//! A benchmark turns what its authors publish into a [`Manifest`]. Not for models or windows: the same manifest serves
//! all of them. Builders read annotations and file names, never a video.

mod ego4d;
mod folder;

use std::path::{Path, PathBuf};

use crate::manifest::{Manifest, ManifestError};

/// All benchmarks, in the order in which they are listed to people.
pub const BENCHMARKS: &[Benchmark] = &[ego4d::BENCHMARK, folder::BENCHMARK];

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
    pub build: fn(&Sources) -> Result<Manifest, ManifestError>,
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
    /// A file with annotations or metadata.
    pub annotations: Option<PathBuf>,
    /// Folders that hold videos.
    pub videos: Vec<PathBuf>,
}

impl Benchmark {
    /// The benchmark of that name; the error lists all names.
    pub fn find(name: &str) -> Result<&'static Self, ManifestError> {
        let known = || BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
        let found = BENCHMARKS.iter().find(|benchmark| benchmark.name == name);
        found.ok_or_else(|| ManifestError::UnknownBenchmark { name: name.to_owned(), known: known() })
    }

    /// The annotations, for builders that cannot do without.
    fn annotations<'s>(&self, sources: &'s Sources) -> Result<&'s Path, ManifestError> {
        sources.annotations.as_deref().ok_or_else(|| self.missing(self.needs.annotations, "annotations"))
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
    use std::collections::BTreeSet;

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
        assert_eq!(text, "no benchmark is called \"ego5d\", expected one of ego4d, folder");
    }
}
