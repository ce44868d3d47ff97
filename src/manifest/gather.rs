//! From entries in file order to videos with clips.
//!
//! What CSV and JSON have in common once an entry is split into fields. Not for syntax. The result does not depend on
//! which of a video's entries carries its metadata; where entries disagree, the first wins.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::{Clip, Place, RejectReason, Rejected, Video};
use crate::ids::{ClipUid, VideoUid};
use crate::time::{EARLIEST_START_SEC, Fps, TimeSpan};

/// No second of a video is later: three hundred years. Ticks, frame numbers and dates are found out by it.
const LATEST_SEC: f64 = 1e10;

/// How many oddities are logged in words before they are only counted.
const SHOWN_NOTES: usize = 10;

/// One row or JSON object, its cells parsed.
pub(super) struct Entry {
    pub line: u64,
    pub video_uid: VideoUid,
    pub clip_uid: Option<ClipUid>,
    pub start_sec: Option<f64>,
    pub end_sec: Option<f64>,
    pub about: About,
    pub extra: BTreeMap<String, String>,
}

/// What an entry tells about its video as a whole.
#[derive(Default)]
pub(super) struct About {
    pub path: Option<PathBuf>,
    pub duration_sec: Option<f64>,
    pub num_frames: Option<u64>,
    pub fps: Option<Fps>,
}

impl About {
    /// Parses metadata as text; what cannot be used is noted and ignored. Durations are in seconds.
    pub(super) fn parse(&mut self, duration: Option<&str>, frames: Option<&str>, fps: Option<&str>, notes: &mut Notes) {
        self.duration_sec = notes.usable("duration_sec", duration, positive);
        // Tables that went through pandas hold 300 as 300.0 once a cell of the column is empty.
        let whole = |text: &str| positive(text).filter(|n| n.fract() == 0.0).map(|n| n as u64);
        self.num_frames = notes.usable("num_frames", frames, whole);
        self.fps = notes.usable("fps", fps, |text| text.parse().ok());
    }
}

fn positive(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= LATEST_SEC)
}

/// Oddities that cost no entry. They go to the log, so they are collected first and not repeated a thousand times.
pub(super) struct Notes {
    place: fn(u64) -> Place,
    line: u64,
    said: Vec<String>,
    repeated: usize,
}

impl Notes {
    pub(super) fn new(place: fn(u64) -> Place) -> Self {
        Self { place, line: 1, said: Vec::new(), repeated: 0 }
    }

    /// Sets where the following notes belong.
    pub(super) fn at(&mut self, line: u64) {
        self.line = line;
    }

    pub(super) fn say(&mut self, what: impl std::fmt::Display) {
        self.said.push(format!("{}: {what}", (self.place)(self.line)));
    }

    fn usable<T>(&mut self, column: &str, text: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = text?;
        let value = parse(text);
        if value.is_none() {
            self.say(format_args!("{column} {text:?} is ignored, expected a positive value"));
        }
        value
    }

    fn log(&self, path: &Path) {
        for note in self.said.iter().take(SHOWN_NOTES) {
            log::warn!("{}: {note}", path.display());
        }
        if self.said.len() > SHOWN_NOTES {
            log::warn!("{}: {} more warnings of this kind", path.display(), self.said.len() - SHOWN_NOTES);
        }
        if self.repeated > 0 {
            log::warn!("{}: {} entries repeat an earlier clip and are dropped", path.display(), self.repeated);
        }
    }
}

/// A whole source, split into entries.
pub(super) struct Parsed {
    pub entries: Vec<Entry>,
    pub rejected: Vec<Rejected>,
    pub notes: Notes,
}

impl Parsed {
    pub(super) fn new(place: fn(u64) -> Place) -> Self {
        Self { entries: Vec::new(), rejected: Vec::new(), notes: Notes::new(place) }
    }

    /// Keeps what became of the entry at `line`; `None` is a blank one.
    pub(super) fn push(&mut self, line: u64, entry: Result<Option<Entry>, RejectReason>) {
        match entry {
            Ok(entry) => self.entries.extend(entry),
            Err(reason) => self.rejected.push(Rejected { place: (self.notes.place)(line), reason }),
        }
    }

    /// Groups clips by video and logs what was odd in `path`. Rejected entries come back in order.
    pub(super) fn gather(mut self, path: &Path) -> (Vec<Video>, Vec<Rejected>) {
        let videos = self.assemble();
        self.notes.log(path);
        (videos, self.rejected)
    }

    fn assemble(&mut self) -> Vec<Video> {
        let mut entries = std::mem::take(&mut self.entries);
        // Metadata first: an entry may rely on a duration that a later one of the same video brings.
        let (mut videos, which) = videos_of(&mut entries, &mut self.notes);
        let mut seen = HashMap::new();
        for (entry, at) in entries.into_iter().zip(which) {
            let line = entry.line;
            match clip_of(entry, &videos[at]).and_then(|clip| self.unless_repeated(&mut seen, &videos, at, clip)) {
                Ok(clip) => videos[at].clips.extend(clip),
                Err(reason) => self.rejected.push(Rejected { place: (self.notes.place)(line), reason }),
            }
        }
        videos.retain(|video| !video.clips.is_empty());
        self.rejected.sort_by(|a, b| a.place.cmp(&b.place));
        videos
    }

    /// `None` where the clip repeats an earlier one, which is then computed once.
    fn unless_repeated(
        &mut self,
        seen: &mut HashMap<ClipUid, (usize, Option<TimeSpan>, u64)>,
        videos: &[Video],
        at: usize,
        clip: Clip,
    ) -> Result<Option<Clip>, RejectReason> {
        let Some(&(first, span, line)) = seen.get(&clip.uid) else {
            seen.insert(clip.uid.clone(), (at, clip.span, clip.line));
            return Ok(Some(clip));
        };
        if first == at && span == clip.span {
            self.notes.repeated += 1;
            return Ok(None);
        }
        let (video_uid, place) = (videos[first].uid.clone(), (self.notes.place)(line));
        Err(RejectReason::ClipConflict { clip_uid: clip.uid, video_uid, span, place })
    }
}

/// The videos, still without clips, and for each entry the index of its video.
fn videos_of(entries: &mut [Entry], notes: &mut Notes) -> (Vec<Video>, Vec<usize>) {
    let mut videos: Vec<Video> = Vec::new();
    let mut index: HashMap<VideoUid, usize> = HashMap::new();
    let mut which = Vec::with_capacity(entries.len());
    for entry in entries {
        let at = *index.entry(entry.video_uid.clone()).or_insert(videos.len());
        if at == videos.len() {
            videos.push(bare(entry.video_uid.clone()));
        }
        notes.at(entry.line);
        learn(&mut videos[at], std::mem::take(&mut entry.about), notes);
        which.push(at);
    }
    (videos, which)
}

fn bare(uid: VideoUid) -> Video {
    Video { uid, path: None, duration_sec: None, num_frames: None, fps: None, clips: Vec::new() }
}

fn learn(video: &mut Video, about: About, notes: &mut Notes) {
    merge(&mut video.path, about.path, "path", |path| path.display().to_string(), notes);
    merge(&mut video.duration_sec, about.duration_sec, "duration_sec", f64::to_string, notes);
    merge(&mut video.num_frames, about.num_frames, "num_frames", u64::to_string, notes);
    merge(&mut video.fps, about.fps, "fps", Fps::to_string, notes);
}

fn merge<T: PartialEq>(
    known: &mut Option<T>,
    told: Option<T>,
    column: &str,
    show: impl Fn(&T) -> String,
    notes: &mut Notes,
) {
    match (&*known, told) {
        (Some(first), Some(other)) if *first != other => {
            let (first, other) = (show(first), show(&other));
            notes.say(format_args!("{column} {other} is ignored, an earlier entry of this video has {first}"));
        }
        (None, told) => *known = told,
        _ => {}
    }
}

fn clip_of(entry: Entry, video: &Video) -> Result<Clip, RejectReason> {
    let span = span_of(entry.start_sec, entry.end_sec, video.duration_sec)?;
    let uid = match (entry.clip_uid, span) {
        (Some(uid), _) => uid,
        (None, Some(span)) => spanned_uid(&video.uid, span)?,
        (None, None) => (&video.uid).into(),
    };
    Ok(Clip { uid, span, extra: entry.extra, line: entry.line })
}

/// `<video_uid>_<start>_<end>`, in seconds: the shortest decimals, so that 3, 3.0 and 3.00 give one name.
fn spanned_uid(video_uid: &VideoUid, span: TimeSpan) -> Result<ClipUid, RejectReason> {
    let name = format!("{video_uid}_{}_{}", span.start_sec, span.end_sec);
    ClipUid::parse(&name).map_err(|cause| RejectReason::Uid { column: "clip_uid", cause })
}

fn span_of(
    start_sec: Option<f64>,
    end_sec: Option<f64>,
    duration_sec: Option<f64>,
) -> Result<Option<TimeSpan>, RejectReason> {
    for (column, sec) in [("start_sec", start_sec), ("end_sec", end_sec)] {
        if let Some(sec) = sec.filter(|sec| *sec > LATEST_SEC) {
            return Err(RejectReason::Absurd { column, sec });
        }
    }
    let start_sec = match (start_sec, end_sec) {
        (None, None) => return Ok(None),
        (None, Some(end_sec)) => return Err(RejectReason::EndAlone { end_sec }),
        (Some(start_sec), _) if start_sec < EARLIEST_START_SEC => {
            return Err(RejectReason::NegativeStart { start_sec });
        }
        // Adding 0 turns -0 into 0, which would otherwise show in a uid.
        (Some(start_sec), _) => start_sec + 0.0,
    };
    let last = end_sec.or(duration_sec).ok_or(RejectReason::StartAlone { start_sec })?;
    TimeSpan::new(start_sec, last).map(Some).ok_or(match end_sec {
        Some(end_sec) => RejectReason::EndBeforeStart { start_sec, end_sec },
        None => RejectReason::StartAfterVideo { start_sec, duration_sec: last },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(line: u64, video: &str, clip: Option<&str>, span: (Option<f64>, Option<f64>)) -> Entry {
        Entry {
            line,
            video_uid: VideoUid::parse(video).unwrap(),
            clip_uid: clip.map(|clip| ClipUid::parse(clip).unwrap()),
            start_sec: span.0,
            end_sec: span.1,
            about: About::default(),
            extra: BTreeMap::new(),
        }
    }

    fn parsed(entries: Vec<Entry>) -> Parsed {
        Parsed { entries, ..Parsed::new(Place::Line) }
    }

    fn uids(videos: &[Video]) -> Vec<String> {
        videos.iter().flat_map(|video| &video.clips).map(|clip| clip.uid.to_string()).collect()
    }

    #[test]
    fn clips_without_a_uid_get_a_stable_one() {
        let spans = [(Some(-0.0), Some(3.0)), (Some(12.5), Some(20.25)), (Some(1e-7), Some(1e6)), (None, None)];
        let entries = spans.iter().zip(2..).map(|(span, line)| entry(line, "v", None, *span)).collect();
        let videos = parsed(entries).assemble();
        assert_eq!(uids(&videos), ["v_0_3", "v_12.5_20.25", "v_0.0000001_1000000", "v"]);
    }

    #[test]
    fn a_derived_uid_that_is_too_long_is_rejected() {
        let mut parsed = parsed(vec![entry(2, &"v".repeat(127), None, (Some(0.0), Some(1.0)))]);
        assert!(parsed.assemble().is_empty());
        let reason = &parsed.rejected[0].reason;
        assert!(matches!(reason, RejectReason::Uid { cause: crate::ids::IdError::TooLong { .. }, .. }), "{reason}");
    }

    #[test]
    fn a_start_alone_runs_to_the_end_even_if_a_later_entry_tells_the_duration() {
        let mut late = entry(3, "v", None, (None, None));
        late.about.duration_sec = Some(8.0);
        let videos = parsed(vec![entry(2, "v", None, (Some(5.0), None)), late]).assemble();
        assert_eq!(uids(&videos), ["v_5_8", "v"]);
    }

    #[test]
    fn impossible_spans_say_why() {
        let cases = [
            (Some(0.0), Some(1e300), None, "end_sec 1e300 is later than any video lasts; seconds are expected"),
            (Some(1e18), Some(2e18), None, "start_sec 1e18 is later than any video lasts; seconds are expected"),
            (Some(9.0), Some(3.0), None, "end_sec 3 is not after start_sec 9"),
            (Some(3.0), Some(3.0), None, "end_sec 3 is not after start_sec 3"),
            (Some(-1.0), Some(3.0), None, "start_sec -1 is before the video begins"),
            (Some(-1.0), None, None, "start_sec -1 is before the video begins"),
            (None, Some(3.0), Some(9.0), "end_sec 3 is given without start_sec"),
            (Some(1.0), None, None, "start_sec 1 is given without end_sec, and the video has no duration_sec"),
            (Some(9.0), None, Some(9.0), "start_sec 9 is not before duration_sec 9"),
        ];
        for (start, end, duration, text) in cases {
            assert_eq!(span_of(start, end, duration).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn repeats_are_dropped_and_conflicts_rejected() {
        let mut parsed = parsed(vec![
            entry(2, "v", Some("c"), (Some(0.0), Some(5.0))),
            entry(3, "v", Some("c"), (Some(0.0), Some(5.0))),
            entry(4, "v", Some("c"), (Some(0.0), Some(6.0))),
            entry(5, "w", Some("c"), (Some(0.0), Some(5.0))),
            entry(6, "u", None, (None, None)),
        ]);
        assert_eq!(uids(&parsed.assemble()), ["c", "u"]);
        assert_eq!(parsed.notes.repeated, 1);
        let lines: Vec<_> = parsed.rejected.iter().map(Rejected::to_string).collect();
        let text = "clip_uid c already names 0..5 s of video v in line 2";
        assert_eq!(lines, [format!("line 4: {text}"), format!("line 5: {text}")]);
    }

    #[test]
    fn the_first_metadata_wins_and_the_conflict_is_noted() {
        let mut entries = vec![entry(2, "v", None, (None, None)), entry(3, "v", Some("c"), (Some(1.0), None))];
        entries[0].about.duration_sec = Some(10.0);
        entries[1].about = About { duration_sec: Some(12.5), num_frames: Some(300), ..About::default() };
        let mut parsed = parsed(entries);
        let videos = parsed.assemble();
        assert_eq!((videos[0].duration_sec, videos[0].num_frames), (Some(10.0), Some(300)));
        let note = "line 3: duration_sec 12.5 is ignored, an earlier entry of this video has 10";
        assert_eq!(parsed.notes.said, [note]);
    }

    #[test]
    fn unusable_metadata_is_noted_and_ignored() {
        let mut notes = Notes::new(Place::Line);
        notes.at(7);
        let mut about = About::default();
        about.parse(Some("nan"), Some("12.5"), Some("0"), &mut notes);
        assert!(about.duration_sec.is_none() && about.num_frames.is_none() && about.fps.is_none());
        assert_eq!(notes.said[0], "line 7: duration_sec \"nan\" is ignored, expected a positive value");
        assert_eq!(notes.said.len(), 3);
        about.parse(Some("12.5"), Some("300.0"), Some("30000/1001"), &mut notes);
        assert_eq!((about.duration_sec, about.num_frames, about.fps), (Some(12.5), Some(300), Fps::new(30000, 1001)));
        assert_eq!(notes.said.len(), 3);
    }
}
