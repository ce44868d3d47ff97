//! OSCC, object state change classification: `fho_oscc-pnr_train.json`, `fho_oscc-pnr_val.json` and the test file.
//!
//! A unit is a clip of about eight seconds, a query its label. The file is shared with PNR, whose rows are those with a
//! change. A clip whose images have a folder of their own, `<clip_uid>/<frame of the video>.jpeg`, is listed as a video.
//! Not for choosing frames: which of them a head looks at is its own. A label that is null or absent is no change, as the
//! original loaders have it, and is counted.

use serde::Deserialize;

use super::builder::{Builder, Extent, Unit, name_of, split_of};
use super::json::{self, Cell};
use super::record::{Record, RecordError, Row};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::Query;
use crate::time::Fps;

pub(super) const NEEDS: Needs = Needs {
    annotations: Need::Required("fho_oscc-pnr_train.json, _val.json or the test file (--annotations FILE)"),
    videos: super::PRESENT_ONLY,
};

pub(super) const BENCHMARK: Benchmark =
    Benchmark { name: "oscc", about: "clips with and without a change of an object's state", needs: NEEDS, build };

#[derive(Deserialize)]
pub(crate) struct File {
    split: Option<String>,
    pub(crate) clips: Vec<Entry>,
}

/// Releases differ in names and in what they leave out.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Entry {
    unique_id: Option<String>,
    clip_uid: Option<String>,
    clip_id: Cell,
    video_uid: String,
    pub(crate) state_change: Option<bool>,
    parent_start_sec: Option<f64>,
    parent_end_sec: Option<f64>,
    parent_start_frame: Cell,
    parent_end_frame: Cell,
    parent_pnr_frame: Option<f64>,
    pnr_frame: Option<f64>,
}

impl Entry {
    /// The frame of the change in the video; zero means none.
    pub(crate) fn pnr(&self) -> Option<f64> {
        self.parent_pnr_frame.or(self.pnr_frame).filter(|frame| *frame > 0.0)
    }

    /// The clip's name, which releases keep under different keys.
    pub(crate) fn uid(&self) -> &str {
        let uids = [self.unique_id.as_deref(), self.clip_uid.as_deref(), Some(self.clip_id.as_str())];
        uids.into_iter().flatten().find(|uid| !uid.is_empty()).unwrap_or_default()
    }

    /// First and last frame in the video.
    pub(crate) fn frames(&self) -> Option<(f64, f64)> {
        let frame = |cell: &Cell| cell.as_str().parse().ok();
        Some((frame(&self.parent_start_frame)?, frame(&self.parent_end_frame)?))
    }

    /// First and last second in the video.
    pub(crate) fn seconds(&self) -> Option<(f64, f64)> {
        self.parent_start_sec.zip(self.parent_end_sec)
    }
}

/// What a clip is labelled with: whether the state of an object changes in it, and at which frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StateChange {
    /// Whether there is a change; `None` where it is not published.
    pub state_change: Option<bool>,
    /// First frame of the clip in its video, at 30 a second.
    pub start_frame: Option<f64>,
    /// Last frame of the clip in its video.
    pub end_frame: Option<f64>,
    /// The frame of the change in the video (point of no return).
    pub pnr_frame: Option<f64>,
}

impl Record for StateChange {
    fn read(row: Row<'_>) -> Result<Self, RecordError> {
        let [change, start, end, pnr] = COLUMNS;
        let number = |column| row.optional(column, "the number of a frame or nothing");
        Ok(Self {
            state_change: row.optional(change, "true, false or nothing")?,
            start_frame: number(start)?,
            end_frame: number(end)?,
            pnr_frame: number(pnr)?,
        })
    }
}

const COLUMNS: [&str; 4] = ["state_change", "start_frame", "end_frame", "pnr_frame"];

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    collect(&BENCHMARK, sources, |builder, at, entry, split| {
        if split != "test" && entry.state_change.is_none() {
            builder.tally.keep("clips without a label, which is no change", at);
        }
        if entry.state_change != Some(true) && entry.pnr().is_some() {
            builder.tally.keep("clips without a change that name its frame", at);
        }
        true
    })
}

/// What says whether an entry of a split belongs to a benchmark, and counts why not.
pub(super) type Belongs = fn(&mut Builder, &str, &Entry, &str) -> bool;

/// Lists the clips that belong, with their labels.
pub(super) fn collect(benchmark: &Benchmark, sources: &Sources, belongs: Belongs) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(benchmark.name, &COLUMNS);
    (builder.images.fps, builder.images.of_clips) = (Fps::new(30, 1), true);
    for path in benchmark.annotations(sources)? {
        let file: File = json::read(path)?;
        let split = split_of(path, file.split.as_deref());
        for (number, entry) in file.clips.iter().enumerate() {
            let at = format!("{}: clips[{number}]", name_of(path));
            if belongs(&mut builder, &at, entry, split) {
                add_clip(&mut builder, &at, entry, split);
            }
        }
    }
    builder.finish(sources)
}

fn add_clip(builder: &mut Builder, at: &str, entry: &Entry, split: &str) {
    let name = entry.uid();
    let extent = Extent::Seconds(entry.parent_start_sec, entry.parent_end_sec);
    let unit = Unit { video_uid: &entry.video_uid, clip_uid: name, extent, split };
    if let Some(clip_uid) = builder.unit(at, &unit) {
        add_label(builder, at, &clip_uid, entry, split);
    }
}

fn add_label(builder: &mut Builder, at: &str, clip_uid: &ClipUid, entry: &Entry, split: &str) {
    let change = match entry.state_change {
        None if split == "test" => "",
        change => {
            if change == Some(true) {
                "true"
            } else {
                "false"
            }
        }
    };
    let pnr = entry.pnr().filter(|_| entry.state_change == Some(true)).map(|frame| frame.to_string());
    let (first, last) = (entry.parent_start_frame.as_str(), entry.parent_end_frame.as_str());
    let query = Query { id: clip_uid.as_str(), clip_uid, text: "", start_sec: None, end_sec: None };
    builder.query(at, query, &[split, change, first, last, pnr.as_deref().unwrap_or_default()]);
}

#[cfg(test)]
mod tests {
    use super::super::record::records;
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn every_anomaly_is_kept_or_counted() {
        let built = built(&BENCHMARK, &["fho_oscc-pnr_val.json", "fho_oscc-pnr_test_unannotated.json"]).unwrap();
        assert_eq!(
            lines(&built),
            [
                "video-1 clip-1 10 18 val",
                "video-1 clip-2 12.5 20.5 val",
                "video-1 clip-3 20 28 val",
                "video-1 clip-4 30 38 val",
                "video-1 clip-7 50 58 val",
                "video-2 clip-5 0 8 val",
                "video-3 clip-9 0 8 test",
            ]
        );
        let queries = built.queries.as_ref().unwrap();
        let labels: Vec<StateChange> = records(queries).unwrap();
        let labels: Vec<_> = labels.iter().map(|label| (label.state_change, label.pnr_frame)).collect();
        let (yes, no) = (Some(true), (Some(false), None));
        assert_eq!(labels, [(yes, Some(420.0)), no, no, no, (yes, None), (yes, Some(75.0)), (None, None)]);
        assert_eq!(
            dropped(&built),
            [
                ("clips that hold nothing", 1),
                ("clips whose uid could not be a file's name", 1),
                ("clips whose uid names another interval already", 1),
            ]
        );
        let reasons =
            [("clips without a change that name its frame", 1), ("clips without a label, which is no change", 2)];
        assert_eq!(kept(&built), reasons);
    }
}
