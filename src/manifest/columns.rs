//! Which column of a CSV holds what.
//!
//! Ego4D's manifests and ours name the same things differently; here the names meet. Not for the cells' meaning. Each
//! column has one role at most, and a column without a name has none.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use csv::StringRecord;

use super::ManifestError;

/// Columns that may name the video, the first present one does. In Ego4D's clip manifests a row is about the file of
/// an exported clip, so the clip's uid is the file's name there.
pub(super) const VIDEO_UID: &[&str] = &["video_uid", "file_uid", "exported_clip_uid", "clip_uid"];
/// Columns with the length in seconds, the first cell that is not empty counts.
pub(super) const DURATION_SEC: &[&str] = &["duration_sec", "canonical_mp4_duration_sec"];
/// Columns with the number of frames, likewise.
pub(super) const NUM_FRAMES: &[&str] = &["num_frames", "canonical_num_frames"];
/// Columns with the rate in frames per second, likewise.
pub(super) const FPS: &[&str] = &["fps", "canonical_fps"];
/// Our columns, in the order in which they are written.
pub(super) const OURS: [&str; 8] =
    ["video_uid", "path", "clip_uid", "start_sec", "end_sec", "duration_sec", "num_frames", "fps"];

/// In Ego4D's own manifest, where a video was published: its `path` says the same, and means no file of anybody's.
const PUBLISHED: &str = "canonical_s3_location";

/// Whether a further column of this name would be read as one of ours.
pub(super) fn is_reserved(name: &str) -> bool {
    OURS.contains(&name) || [DURATION_SEC, NUM_FRAMES, FPS].iter().any(|names| names.contains(&name))
}

/// Where one kind of cell is found: the places of all columns that may hold it, in order of preference.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Column(Vec<usize>);

impl Column {
    fn named(header: &[String], names: &[&str]) -> Self {
        Self(names.iter().filter_map(|name| header.iter().position(|found| found == name)).collect())
    }

    /// The first cell with something in it.
    pub(super) fn cell<'r>(&self, record: &'r StringRecord) -> Option<&'r str> {
        self.0.iter().filter_map(|&at| record.get(at)).find(|cell| !cell.is_empty())
    }
}

/// The roles of all columns.
#[derive(Debug)]
pub(super) struct Header {
    pub names: Vec<String>,
    /// Name of the column that names the video.
    pub uid_name: &'static str,
    pub video_uid: Column,
    pub clip_uid: Column,
    pub path: Column,
    pub start_sec: Column,
    pub end_sec: Column,
    pub duration_sec: Column,
    pub num_frames: Column,
    pub fps: Column,
    /// Whether a URL in `path` is where the video is to be fetched.
    pub has_urls: bool,
    /// Places of the columns that are kept as they are.
    extra: Vec<usize>,
}

impl Header {
    /// Gives each column its role; fails if none names a video.
    pub(super) fn new(path: &Path, header: &StringRecord) -> Result<Self, ManifestError> {
        let names: Vec<String> = header.iter().map(str::to_owned).collect();
        let Some(uid_name) = uid_name(&names) else { return Err(no_uid(path, names)) };
        let one = |name| Column::named(&names, &[name]);
        let clip_uid = if uid_name == "clip_uid" { Column::default() } else { one("clip_uid") };
        Ok(Self {
            uid_name,
            video_uid: one(uid_name),
            clip_uid,
            path: one("path"),
            start_sec: one("start_sec"),
            end_sec: one("end_sec"),
            duration_sec: Column::named(&names, DURATION_SEC),
            num_frames: Column::named(&names, NUM_FRAMES),
            fps: Column::named(&names, FPS),
            has_urls: !names.iter().any(|name| name == PUBLISHED),
            extra: extra(&names, uid_name),
            names,
        })
    }

    /// The cells of columns without a role, by name, where there is something in them.
    pub(super) fn extra(&self, record: &StringRecord) -> BTreeMap<String, String> {
        let cell =
            |&at: &usize| Some((self.names[at].clone(), record.get(at).filter(|cell| !cell.is_empty())?.to_owned()));
        self.extra.iter().filter_map(cell).collect()
    }

    /// Names that occur twice; the first column of that name counts.
    pub(super) fn repeated(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        self.names.iter().map(String::as_str).filter(|name| !name.is_empty() && !seen.insert(*name)).collect()
    }
}

fn uid_name(names: &[String]) -> Option<&'static str> {
    VIDEO_UID.iter().copied().find(|name| names.iter().any(|found| found == name))
}

fn extra(names: &[String], uid_name: &str) -> Vec<usize> {
    let mut seen = HashSet::new();
    let free = |name: &str| !name.is_empty() && name != uid_name && !is_reserved(name);
    (0..names.len()).filter(|&at| free(&names[at]) && seen.insert(names[at].as_str())).collect()
}

fn no_uid(path: &Path, found: Vec<String>) -> ManifestError {
    let path = path.to_owned();
    let parts = |separator| {
        let cells = found.iter().flat_map(|cell| cell.split(separator));
        cells.map(|cell| cell.trim().trim_matches('"').to_owned()).collect::<Vec<_>>()
    };
    let separators = [(';', "semicolons"), ('\t', "tabs"), ('|', "bars")];
    match separators.iter().find(|(separator, _)| uid_name(&parts(*separator)).is_some()) {
        Some((_, found)) => ManifestError::Separator { path, found },
        None => ManifestError::NoUidColumn { path, expected: VIDEO_UID, found },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[&str]) -> Result<Header, ManifestError> {
        Header::new(Path::new("m.csv"), &StringRecord::from(names.to_vec()))
    }

    #[test]
    fn aliases_are_tried_in_order_cell_by_cell() {
        let header = header(&["canonical_fps", "video_uid", "fps"]).unwrap();
        assert_eq!(header.fps.cell(&StringRecord::from(vec!["25", "v", "30"])), Some("30"));
        assert_eq!(header.fps.cell(&StringRecord::from(vec!["25", "v", ""])), Some("25"));
        assert_eq!(header.fps.cell(&StringRecord::from(vec!["", "v", ""])), None);
        assert!(header.extra.is_empty());
    }

    #[test]
    fn the_video_is_named_by_the_best_column() {
        for (names, uid_name, has_clip_uid) in [
            (vec!["clip_uid", "file_uid", "video_uid"], "video_uid", true),
            (vec!["clip_uid", "file_uid"], "file_uid", true),
            (vec!["parent_video_uid", "exported_clip_uid"], "exported_clip_uid", false),
            (vec!["clip_uid"], "clip_uid", false),
        ] {
            let header = header(&names).unwrap();
            assert_eq!((header.uid_name, header.clip_uid != Column::default()), (uid_name, has_clip_uid));
        }
    }

    #[test]
    fn unnamed_and_repeated_columns_have_no_role() {
        let header = header(&["", "video_uid", "split", "split", "video_uid"]).unwrap();
        let extra = header.extra(&StringRecord::from(vec!["0", "v", "train", "val", "w"]));
        assert_eq!(extra.into_iter().collect::<Vec<_>>(), [("split".to_owned(), "train".to_owned())]);
        assert_eq!(header.repeated(), ["split", "video_uid"]);
    }

    #[test]
    fn a_header_without_a_uid_says_what_was_expected_and_found() {
        let text = header(&["name", "start_sec"]).unwrap_err().to_string();
        assert!(text.contains("expected one of video_uid, file_uid"), "{text}");
        assert!(text.ends_with("found name, start_sec"), "{text}");
    }

    #[test]
    fn another_separator_is_named() {
        for (line, word) in
            [("video_uid;fps", "semicolons"), ("\"video_uid\"\tfps", "tabs"), ("path | video_uid", "bars")]
        {
            let text = header(&[line]).unwrap_err().to_string();
            assert_eq!(text, format!("m.csv: columns are separated by {word}, expected a comma separated file"));
        }
    }
}
