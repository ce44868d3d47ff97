//! The annotations of a benchmark, each with the place of its clip: as `egofx manifest` lists them.
//!
//! Not for what a task makes of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use egofx::benchmark::{Benchmark, BenchmarkError, Sources as Files};
use egofx::queries::{Queries, Query};

use crate::error::TrainError;

/// A span of a video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// The number of its video.
    pub video: u32,
    /// First and last second; `None` for the whole video.
    pub span: Option<[f64; 2]>,
}

/// A span of a video file.
#[derive(Debug, Clone, Copy)]
pub struct ClipRef<'w> {
    /// The video's file, or the folder of its pieces.
    pub path: &'w Path,
    /// Where it lies in it.
    pub clip: Clip,
}

/// Annotations of one split.
pub struct Listed {
    /// The sentences and labels, in the order of the file.
    pub queries: Queries,
    /// The files of the videos, or the folders of their pieces.
    pub videos: Vec<PathBuf>,
    /// The names of all clips, video by video, in the order of the file.
    pub uids: Vec<String>,
    clips: HashMap<String, Clip>,
    /// What was left out: how many, and why.
    pub left_out: Vec<(usize, String)>,
}

impl Listed {
    /// Reads the annotations of the benchmark called `name`, without those whose videos are in none of the folders.
    ///
    /// # Errors
    /// [`TrainError::Annotations`], where nothing is left as well.
    pub fn read(name: &str, annotations: &[&Path], videos: &[PathBuf]) -> Result<Self, TrainError> {
        let annotations = annotations.iter().map(|path| (*path).to_owned()).collect();
        let files = Files { annotations, videos: videos.to_vec(), ..Files::default() };
        let built = (Benchmark::find(name).map_err(BenchmarkError::from)?.build)(&files)?;
        let (mut paths, mut uids, mut clips) = (Vec::new(), Vec::new(), HashMap::new());
        for (video, number) in built.manifest.videos.iter().zip(0..) {
            // Without folders nothing is located: only annotations are wanted, or clips that are stored under its name.
            paths.push(video.path.clone().unwrap_or_else(|| PathBuf::from(video.uid.as_str())));
            uids.extend(video.clips.iter().map(|clip| clip.uid.as_str().to_owned()));
            let placed = video.clips.iter().map(|clip| {
                let span = clip.span.map(|span| [span.start_sec, span.end_sec]);
                (clip.uid.as_str().to_owned(), Clip { video: number, span })
            });
            clips.extend(placed);
        }
        let left_out = built.tally.dropped.iter().map(|finding| (finding.count, finding.reason.to_owned())).collect();
        Ok(Self { queries: built.queries.unwrap_or_default(), videos: paths, uids, clips, left_out })
    }

    /// The clip of that name.
    pub fn clip(&self, uid: &str) -> Option<Clip> {
        self.clips.get(uid).copied()
    }

    /// The clip of that name and the file of its video; the whole first video for a name that is not listed, which no
    /// sentence has.
    pub fn wanted(&self, uid: &str) -> ClipRef<'_> {
        let clip = self.clip(uid).unwrap_or(Clip { video: 0, span: None });
        ClipRef { path: &self.videos[clip.video as usize], clip }
    }

    /// The sentence or label in a row that exists.
    pub fn query(&self, row: usize) -> Query<'_> {
        self.queries.get(row).expect("rows are numbered by the queries' own length")
    }

    /// A further column; empty if there is none.
    pub fn column(&self, name: &str) -> Vec<&str> {
        self.queries.column(name).map(Iterator::collect).unwrap_or_default()
    }

    /// A cell of a further column, in a row that exists; empty if there is no such column.
    pub fn cell(&self, name: &str, row: usize) -> &str {
        self.queries.cell(name, row).unwrap_or_default()
    }
}
