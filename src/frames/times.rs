//! Lists of times: a CSV with a line for each frame that is wanted.
//!
//! Columns are `video_uid`, or `clip_uid` where seconds count from the clip's start; `sec` or `frame`; and `name`, which may be
//! left out. Not for which frame that is. Invariant: a line is a frame, or the list is refused with the line's number.

use std::collections::HashMap;
use std::path::Path;

use csv::StringRecord;

use super::{At, FramesError, Wanted};
use crate::ids::VideoUid;
use crate::manifest::Manifest;

/// The frames that the table `path` lists; `manifest` says where clips lie.
///
/// # Errors
/// [`FramesError::Table`], [`FramesError::Columns`], [`FramesError::Line`].
pub fn read_times(path: &Path, manifest: &Manifest) -> Result<Vec<Wanted>, FramesError> {
    let table = |error: csv::Error| FramesError::Table { path: path.to_owned(), why: error.to_string() };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(table)?;
    let columns = Columns::of(path, reader.headers().map_err(table)?)?;
    let clips = manifest.videos.iter().flat_map(|video| {
        let start = |clip: &crate::manifest::Clip| clip.span.map_or(0.0, |span| span.start_sec.max(0.0));
        video.clips.iter().map(move |clip| (clip.uid.as_str(), (&video.uid, start(clip))))
    });
    let clips: HashMap<&str, (&VideoUid, f64)> = clips.collect();
    let mut wanted = Vec::new();
    for record in reader.records() {
        wanted.push(columns.read(path, &record.map_err(table)?, &clips)?);
    }
    Ok(wanted)
}

/// Where the columns stand.
struct Columns {
    video: Option<usize>,
    clip: Option<usize>,
    sec: Option<usize>,
    frame: Option<usize>,
    name: Option<usize>,
}

impl Columns {
    fn of(path: &Path, header: &StringRecord) -> Result<Self, FramesError> {
        let at = |name: &str| header.iter().position(|cell| cell.trim_start_matches('\u{feff}') == name);
        let columns =
            Self { video: at("video_uid"), clip: at("clip_uid"), sec: at("sec"), frame: at("frame"), name: at("name") };
        let wrong = |expected| {
            let found = header.iter().collect::<Vec<_>>().join(", ");
            Err(FramesError::Columns { path: path.to_owned(), expected, found })
        };
        match (columns.video.or(columns.clip), columns.sec, columns.frame) {
            (None, ..) => wrong("a column video_uid or clip_uid"),
            (_, None, None) => wrong("a column sec or frame"),
            (_, Some(_), Some(_)) => wrong("one of the columns sec and frame"),
            _ => Ok(columns),
        }
    }

    fn read(
        &self,
        path: &Path,
        record: &StringRecord,
        clips: &HashMap<&str, (&VideoUid, f64)>,
    ) -> Result<Wanted, FramesError> {
        let cell = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |expected, found: &str| FramesError::Line {
            path: path.to_owned(),
            line,
            expected,
            found: found.to_owned(),
        };
        let clip = cell(self.clip);
        // A clip counts its own seconds; frames are those of the video.
        let (video_uid, start_sec) = match (cell(self.video), clips.get(clip)) {
            ("", None) => return Err(wrong("a clip of the manifest", clip)),
            ("", Some((video, start_sec))) => ((*video).clone(), *start_sec),
            (name, _) => (VideoUid::parse(name).map_err(|_| wrong("the uid of a video", name))?, 0.0),
        };
        let at = if self.sec.is_some() {
            let sec: f64 = cell(self.sec).parse().map_err(|_| wrong("a number of seconds", cell(self.sec)))?;
            At::Sec(start_sec + sec)
        } else {
            At::Frame(cell(self.frame).parse().map_err(|_| wrong("the index of a frame", cell(self.frame)))?)
        };
        Ok(Wanted { video_uid, name: cell(self.name).to_owned(), at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Wanted>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.csv"), "video_uid,clip_uid,start_sec,end_sec\nv,c,10,20\n").unwrap();
        std::fs::write(folder.path().join("t.csv"), text).unwrap();
        let manifest = Manifest::read(&folder.path().join("m.csv")).unwrap();
        read_times(&folder.path().join("t.csv"), &manifest).map_err(|error| {
            error.to_string().split_once("t.csv: ").map_or_else(|| error.to_string(), |(_, said)| said.to_owned())
        })
    }

    #[test]
    fn lines_name_videos_or_clips_and_seconds_or_frames() {
        let wanted = |name: &str, at| Wanted { video_uid: VideoUid::parse("v").unwrap(), name: name.to_owned(), at };
        let found = read("video_uid,sec,name\nv, 1.5,pre\nv,2,\n").unwrap();
        assert_eq!(found, [wanted("pre", At::Sec(1.5)), wanted("", At::Sec(2.0))]);
        assert_eq!(read("clip_uid,sec\nc,1.5\n").unwrap(), [wanted("", At::Sec(11.5))]);
        assert_eq!(read("name,frame,video_uid\na,7,v\n").unwrap(), [wanted("a", At::Frame(7))]);
    }

    #[test]
    fn what_names_no_frame_is_refused_by_its_line() {
        for (text, said) in [
            ("uid,sec\n", "expected a column video_uid or clip_uid, found the columns uid, sec"),
            ("video_uid,at\n", "expected a column sec or frame, found the columns video_uid, at"),
            ("video_uid,sec,frame\n", "expected one of the columns sec and frame"),
            ("video_uid,sec\nv,1\nv,soon\n", "line 3: expected a number of seconds, found \"soon\""),
            ("video_uid,frame\nv,-1\n", "line 2: expected the index of a frame, found \"-1\""),
            ("video_uid,frame\n../v,1\n", "line 2: expected the uid of a video, found \"../v\""),
            ("clip_uid,sec\nd,1\n", "line 2: expected a clip of the manifest, found \"d\""),
            ("video_uid,sec\nv,1,2\n", "cannot be read as a table: CSV error: record 1"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(said), "{text:?}: {error}");
        }
    }
}
