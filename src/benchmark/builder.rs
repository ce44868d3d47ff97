//! From annotated entries, one after the other, to a manifest with its queries.
//!
//! What all benchmarks have in common: uids are parsed, clips are grouped by video, and what cannot be used is counted.
//! Not for the schema of any of them. Every query is about a clip of the manifest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::path::Path;

use super::images::ImageSequence;
use super::tally::Tally;
use super::{BenchmarkError, Built, Sources};
use crate::ids::{ClipUid, VideoUid};
use crate::manifest::{Clip, Manifest, ManifestError, SPLIT, Video};
use crate::queries::{Queries, Query};
use crate::time::{EARLIEST_START_SEC, TimeSpan};

const NO_UID: &str = "clips whose uid could not be a file's name";
const NO_SPAN: &str = "clips without start and end";
const BAD_SPAN: &str = "clips that hold nothing";
const CONFLICT: &str = "clips whose uid names another interval already";
pub(super) const REPEATED: &str = "clips that are listed again, their annotations joined";
const NO_FILE: &str = "clips of videos that are not below --videos";
pub(super) const NO_CLIP: &str = "queries about clips that are left out";
const REPEATED_QUERY: &str = "queries whose id occurred before";

/// A clip as annotated.
pub(super) struct Unit<'u> {
    pub video_uid: &'u str,
    pub clip_uid: &'u str,
    /// Start and end in the video; a whole video has none.
    pub extent: Extent,
    pub split: &'u str,
}

/// Where a clip lies in its video.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    Whole,
    /// First and last second, either of which may be missing in the annotations.
    Seconds(Option<f64>, Option<f64>),
}

/// Collects what a benchmark lists.
pub(super) struct Builder {
    benchmark: &'static str,
    videos: Vec<Video>,
    /// Index of each video.
    index: HashMap<VideoUid, usize>,
    clips: HashMap<ClipUid, (usize, Option<TimeSpan>)>,
    entries: u64,
    pub queries: Queries,
    pub tally: Tally,
    /// What is known of videos that lie there as images.
    pub images: ImageSequence,
}

impl Builder {
    /// Queries will have `split` and these further columns.
    pub(super) fn new(benchmark: &'static str, columns: &[&str]) -> Self {
        let columns: Vec<&str> = std::iter::once(SPLIT).chain(columns.iter().copied()).collect();
        Self {
            benchmark,
            videos: Vec::new(),
            index: HashMap::new(),
            clips: HashMap::new(),
            entries: 0,
            queries: Queries::new(&columns),
            tally: Tally::default(),
            images: ImageSequence::default(),
        }
    }

    /// Adds a clip that stands at `at`; `None` if it cannot be used, which is counted.
    pub(super) fn unit(&mut self, at: impl Display, unit: &Unit<'_>) -> Option<ClipUid> {
        self.entries += 1;
        let parsed = VideoUid::parse(unit.video_uid).and_then(|video| Ok((video, ClipUid::parse(unit.clip_uid)?)));
        let (video_uid, clip_uid) =
            parsed.map_err(|cause| self.tally.drop(NO_UID, format_args!("{at}: {cause}"))).ok()?;
        let span = self.span(&at, unit)?;
        let next = self.videos.len();
        let video = *self.index.entry(video_uid.clone()).or_insert(next);
        if video == next {
            let clips = Vec::new();
            self.videos.push(Video {
                uid: video_uid,
                path: None,
                duration_sec: None,
                num_frames: None,
                fps: None,
                clips,
            });
        }
        match self.clips.get(&clip_uid) {
            Some(known) if *known == (video, span) => self.tally.keep(REPEATED, format_args!("{at}: {clip_uid}")),
            Some(_) => {
                self.tally.drop(CONFLICT, format_args!("{at}: {clip_uid}"));
                return None;
            }
            None => self.add(video, clip_uid.clone(), span, unit.split),
        }
        Some(clip_uid)
    }

    fn add(&mut self, video: usize, uid: ClipUid, span: Option<TimeSpan>, split: &str) {
        let extra = Some(split).filter(|split| !split.is_empty()).map(|split| (SPLIT.to_owned(), split.to_owned()));
        self.clips.insert(uid.clone(), (video, span));
        let extra = BTreeMap::from_iter(extra);
        self.videos[video].clips.push(Clip { uid, span, extra, line: self.entries });
    }

    fn span(&mut self, at: impl Display, unit: &Unit<'_>) -> Option<Option<TimeSpan>> {
        let (start, end) = match unit.extent {
            Extent::Whole => return Some(None),
            Extent::Seconds(Some(start), Some(end)) => (start, end),
            Extent::Seconds(..) => {
                self.tally.drop(NO_SPAN, format_args!("{at}: {}", unit.clip_uid));
                return None;
            }
        };
        // As the original loaders do; `TimeSpan` takes what is a rounding error before the first frame as it is.
        let first = if start < EARLIEST_START_SEC { 0.0 } else { start };
        let span = TimeSpan::new(first, end);
        match span {
            None => self.tally.drop(BAD_SPAN, format_args!("{at}: {}: {start} to {end} s", unit.clip_uid)),
            Some(_) if first != start => {
                let reason = "clips that begin before their video, cut to its start";
                self.tally.keep(reason, format_args!("{at}: {}: start_sec {start}", unit.clip_uid));
            }
            Some(_) => {}
        }
        span.map(Some)
    }

    /// Adds a query; `cells` are its `split` and further columns. An id that is taken is counted and dropped.
    pub(super) fn query(&mut self, at: impl Display, query: Query<'_>, cells: &[&str]) {
        if !self.queries.push(query, cells) {
            self.tally.drop(REPEATED_QUERY, format_args!("{at}: {}", query.id));
        }
    }

    /// Counts a window of a clip of `length_sec` that needs a decision later.
    pub(super) fn note_window(
        &mut self,
        at: impl Display,
        start: Option<f64>,
        end: Option<f64>,
        length_sec: Option<f64>,
    ) {
        let (start, end) = match (start, end) {
            (Some(start), Some(end)) => (start, end),
            (None, None) => return,
            (start, end) => {
                let found = start.or(end).unwrap_or_default();
                return self.tally.keep("windows with only one end", format_args!("{at}: {found} s"));
            }
        };
        let reasons = [
            (end == start, "windows that hold nothing"),
            (end < start, "windows that end before they start"),
            (start < 0.0, "windows that begin before their clip"),
            (length_sec.is_some_and(|length_sec| end > length_sec), "windows that end behind their clip"),
        ];
        for (_, reason) in reasons.iter().filter(|(holds, _)| *holds) {
            self.tally.keep(reason, format_args!("{at}: {start} to {end} s"));
        }
    }

    /// Keeps what the annotations say about the length of a video that is listed.
    pub(super) fn duration(&mut self, video_uid: &str, duration_sec: f64) {
        let at = VideoUid::parse(video_uid).ok().and_then(|video_uid| self.index.get(&video_uid).copied());
        if let Some(at) = at {
            let known = &mut self.videos[at].duration_sec;
            *known = known.or(Some(duration_sec).filter(|sec| sec.is_finite() && *sec > 0.0));
        }
    }

    /// Says where the file of a video lies that does not bear its name; the first one counts.
    pub(super) fn path(&mut self, video_uid: &str, path: &Path) {
        let at = VideoUid::parse(video_uid).ok().and_then(|video_uid| self.index.get(&video_uid).copied());
        if let Some(at) = at {
            self.videos[at].path.get_or_insert_with(|| path.to_owned());
        }
    }

    /// The clip of that name, if it is listed already.
    pub(super) fn known(&self, clip_uid: &str) -> Option<ClipUid> {
        ClipUid::parse(clip_uid).ok().filter(|clip_uid| self.clips.contains_key(clip_uid))
    }

    /// Looks for the videos where folders are given, and leaves out what is not there.
    pub(super) fn finish(mut self, sources: &Sources) -> Result<Built, BenchmarkError> {
        // A video all of whose clips were refused.
        self.videos.retain(|video| !video.clips.is_empty());
        if self.videos.is_empty() {
            return Err(BenchmarkError::Nothing { benchmark: self.benchmark, dropped: self.tally.dropped });
        }
        let mut manifest = Manifest { name: self.benchmark.to_owned(), videos: self.videos, rejected: Vec::new() };
        if !sources.videos.is_empty() {
            manifest.locate(&sources.videos)?;
            self.images.settle(&mut manifest, &sources.videos)?;
            leave_out_missing(&mut manifest, &mut self.tally);
            if manifest.videos.is_empty() {
                let roots = sources.videos.clone();
                return Err(ManifestError::NoVideoFiles { roots, rejected: Vec::new() }.into());
            }
            leave_out_orphans(&mut self.queries, &manifest, &mut self.tally);
        }
        Ok(Built { manifest, queries: Some(self.queries), tally: self.tally })
    }
}

fn leave_out_missing(manifest: &mut Manifest, tally: &mut Tally) {
    manifest.videos.retain(|video| {
        if video.path.is_none() {
            let video_uid = &video.uid;
            video.clips.iter().for_each(|clip| tally.drop(NO_FILE, format_args!("{} of {video_uid}", clip.uid)));
        }
        video.path.is_some()
    });
}

fn leave_out_orphans(queries: &mut Queries, manifest: &Manifest, tally: &mut Tally) {
    let clips = manifest.videos.iter().flat_map(|video| &video.clips);
    let present: HashSet<&ClipUid> = clips.map(|clip| &clip.uid).collect();
    queries.retain(|query| {
        let stays = present.contains(query.clip_uid);
        if !stays {
            tally.drop(NO_CLIP, query.id);
        }
        stays
    });
}

/// The split that a file is about: what it says, or else its name; empty where neither tells.
pub(super) fn split_of<'s>(path: &Path, told: Option<&'s str>) -> &'s str {
    if let Some(told) = told.map(str::trim).filter(|told| !told.is_empty()) {
        return told;
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = words(&name).filter_map(split_called).collect::<Vec<_>>();
    found.dedup();
    match found[..] {
        [split] => split,
        // Two of them: the file is of neither alone.
        _ => "",
    }
}

/// The words of a name, which end at what is no letter and before a capital: `EPIC_100_retrieval_test` has three.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::new();
    let mut last = ' ';
    for letter in name.chars() {
        if letter.is_uppercase() && last.is_lowercase() {
            spaced.push(' ');
        }
        spaced.push(if letter.is_alphabetic() { letter } else { ' ' });
        last = letter;
    }
    spaced.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().into_iter()
}

/// The split that a word of a file's name stands for: whole words only, for "retrieval" holds "val" and "latest" "test".
fn split_called(word: String) -> Option<&'static str> {
    Some(match word.as_str() {
        "train" | "training" | "trainset" => "train",
        "val" | "valid" | "validation" | "valset" | "dev" => "val",
        "test" | "testing" | "testset" => "test",
        _ => return None,
    })
}

/// The name by which examples call a file.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit<'u>(video_uid: &'u str, clip_uid: &'u str, start: f64, end: f64) -> Unit<'u> {
        Unit { video_uid, clip_uid, extent: Extent::Seconds(Some(start), Some(end)), split: "val" }
    }

    #[test]
    fn unusable_clips_are_counted_and_repeated_ones_joined() {
        let mut builder = Builder::new("nlq", &[]);
        assert!(builder.unit("1", &unit("v", "c", 0.0, 5.0)).is_some());
        assert!(builder.unit("2", &unit("v", "c", 0.0, 5.0)).is_some());
        assert!(builder.unit("3", &unit("v", "c", 0.0, 6.0)).is_none());
        assert!(builder.unit("4", &unit("w", "c", 0.0, 5.0)).is_none());
        assert!(builder.unit("5", &unit("../v", "d", 0.0, 5.0)).is_none());
        assert!(builder.unit("6", &unit("v", "", 0.0, 5.0)).is_none());
        assert!(builder.unit("7", &unit("v", "e", 5.0, 5.0)).is_none());
        assert!(builder.unit("8", &unit("v", "f", -2.0, 5.0)).is_some());
        assert!(
            builder.unit("9", &Unit { extent: Extent::Seconds(None, Some(1.0)), ..unit("v", "g", 0.0, 1.0) }).is_none()
        );
        let built = builder.finish(&Sources::default()).unwrap();
        let counts =
            |findings: &[super::super::Finding]| findings.iter().map(|f| (f.reason, f.count)).collect::<Vec<_>>();
        assert_eq!(counts(&built.tally.dropped), [(CONFLICT, 2), (NO_UID, 2), (BAD_SPAN, 1), (NO_SPAN, 1)]);
        assert_eq!(built.tally.kept.iter().map(|finding| finding.count).collect::<Vec<_>>(), [1, 1]);
        let clips: Vec<_> = built.manifest.videos[0].clips.iter().map(|clip| (clip.uid.as_str(), clip.span)).collect();
        assert_eq!(clips, [("c", TimeSpan::new(0.0, 5.0)), ("f", TimeSpan::new(0.0, 5.0))]);
        assert_eq!(built.manifest.videos.len(), 1, "w has no clip of its own");
    }

    #[test]
    fn with_folders_clips_of_absent_videos_go_with_their_queries() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("v.mp4"), "").unwrap();
        let builder = || {
            let mut builder = Builder::new("nlq", &[]);
            for (video, clip) in [("v", "c"), ("w", "d")] {
                let clip_uid = &builder.unit("", &unit(video, clip, 0.0, 5.0)).unwrap();
                let query = Query { id: clip, clip_uid, text: "?", start_sec: None, end_sec: None };
                builder.query("", query, &["val"]);
            }
            builder
        };
        let built = builder()
            .finish(&Sources { annotations: vec![], videos: vec![dir.path().to_owned()], ..Sources::default() })
            .unwrap();
        assert_eq!((built.manifest.num_clips(), built.queries.unwrap().len()), (1, 1));
        let texts: Vec<_> = built.tally.dropped.iter().map(super::super::Finding::to_string).collect();
        assert_eq!(texts, [format!("{NO_FILE}: 1 (d of w)"), format!("{NO_CLIP}: 1 (d)")]);
        let empty = tempfile::tempdir().unwrap();
        let error = builder().finish(&Sources {
            annotations: vec![],
            videos: vec![empty.path().to_owned()],
            ..Sources::default()
        });
        assert!(error.unwrap_err().to_string().starts_with("no usable video file below "));
    }

    #[test]
    fn a_split_is_told_or_read_off_the_name() {
        assert_eq!(split_of(Path::new("nlq_train.json"), Some("val")), "val");
        assert_eq!(split_of(Path::new("x/moments_test_unannotated.json"), None), "test");
        assert_eq!(split_of(Path::new("validation.json"), Some(" ")), "val");
        assert_eq!(split_of(Path::new("egoclip.csv"), None), "");
    }

    #[test]
    fn a_split_is_a_whole_word_of_the_name() {
        let of = |name: &str| split_of(Path::new(name), None).to_owned();
        let names =
            ["EPIC_100_retrieval_test.csv", "EPIC_100_retrieval_train.csv", "EPIC_100_retrieval_test_sentence.csv"];
        assert_eq!(names.map(of), ["test", "train", "test"]);
        assert_eq!(["CharadesEgo_v1_test_only1st.csv", "metadata_train.csv"].map(of), ["test", "train"]);
        assert_eq!(["fho_oscc-pnr_val.json", "formatted_test_qas_encode.json"].map(of), ["val", "test"]);
        assert_eq!(
            ["nlqVal.json", "Validation-2.json", "test1.json", "TEST.json"].map(of),
            ["val", "val", "test", "test"]
        );
        assert_eq!(["latest.json", "interval_3.json", "constrained.csv", "evaluation.json"].map(of), [""; 4]);
        assert_eq!(["nlq_train+val_v2.json", "training_train.json"].map(of), ["", "train"]);
    }
}
