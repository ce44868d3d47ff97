//! Which videos and clips to process: read from a list, never from the videos themselves.
//!
//! A [`Manifest`] comes from our own CSV, from Ego4D's `manifest.csv` or from `ego4d.json`, and is written as our CSV.
//! Not for decoding: durations and rates are what somebody wrote down, and a path may lead nowhere. Every clip uid
//! occurs once, and every [`Video`] has at least one clip.

mod columns;
mod duration;
mod error;
mod gather;
mod locate;
mod metadata;
#[cfg(test)]
pub(crate) mod samples;
mod stereo;
mod table;
mod write;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::{ClipUid, VideoUid};
use crate::time::{Fps, TimeSpan};
use crate::url;

pub use duration::{bounded, duration_sec, ends_far_beyond};
pub use error::{ManifestError, Place, RejectReason, Rejected};
pub(crate) use locate::{UNFINISHED, image_folders, is_image, same_file, uid_of, videos_below};

/// The further column of manifests and queries that says to which split (train, val, test) a line belongs.
pub const SPLIT: &str = "split";

/// A list of videos, each with its clips.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// What to call it: the stem of its file or the name of the benchmark.
    pub name: String,
    /// In order of first appearance.
    pub videos: Vec<Video>,
    /// Entries that could not be used, in order of their places.
    pub rejected: Vec<Rejected>,
}

/// A video with what its manifest tells about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// Its name, which is the stem of its file as well.
    pub uid: VideoUid,
    /// Its file, absolute, or what names its images (a folder, or a pattern such as `%d.jpeg`), or the URL of an object; `None`
    /// until it is located. Nobody has looked whether an explicit path exists.
    pub path: Option<PathBuf>,
    /// Length in seconds, finite and positive.
    pub duration_sec: Option<f64>,
    /// Number of frames, positive.
    pub num_frames: Option<u64>,
    /// Frames per second.
    pub fps: Option<Fps>,
    /// Never empty; in order of appearance.
    pub clips: Vec<Clip>,
}

impl Video {
    /// Whether it has a path of this machine.
    fn is_local(&self) -> bool {
        self.path.as_ref().is_some_and(|path| url::of(path).is_none())
    }
}

/// An interval of a video that becomes one entry of a feature set.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Its name, once in a manifest.
    pub uid: ClipUid,
    /// Where it lies in its video; `None` for the whole video.
    pub span: Option<TimeSpan>,
    /// Further columns by name: trimmed texts, never empty.
    pub extra: BTreeMap<String, String>,
    /// Where it stands in its source, from 1: a line of a CSV, an element of `videos` in JSON, a file of a folder.
    pub line: u64,
}

impl Clip {
    /// The clip that is all of a video and bears its name.
    pub fn whole(video_uid: &VideoUid, line: u64) -> Self {
        Self { uid: video_uid.into(), span: None, extra: BTreeMap::new(), line }
    }
}

impl Manifest {
    /// Reads a CSV (ours or Ego4D's) or `ego4d.json`, told apart by content.
    ///
    /// Entries that cannot be used are collected in `rejected`; metadata that cannot be used is ignored with a
    /// warning. An error means that there is nothing to work with: an unreadable, empty or non-UTF-8 file, no column
    /// that names a video, malformed JSON, or no usable entry.
    ///
    /// # Errors
    /// [`ManifestError`] for a file that cannot be read or is none of the known lists.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let text = text_of(path)?;
        let parsed = if is_json(path, &text) { metadata::read(path, &text) } else { table::read(path, &text) }?;
        let (videos, rejected) = parsed.gather(path);
        if videos.is_empty() {
            return Err(ManifestError::NoUsableRows { path: path.to_owned(), rejected });
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, videos, rejected })
    }

    /// Writes our CSV: one row for each clip, the further columns of all clips behind ours, in order of their names.
    ///
    /// Reading it gives equal videos, except that `Clip::line` counts the lines of the new file. Neither the name nor
    /// the rejected entries are written. Fails on a path that is not UTF-8, on a further column whose name would not
    /// read back, and where `out` does.
    ///
    /// # Errors
    /// [`ManifestError`] of the output.
    pub fn write_csv(&self, out: impl io::Write) -> Result<(), ManifestError> {
        write::write(&self.videos, out)
    }

    /// Finds the files of all videos that have no path of this machine, by name, anywhere below `roots`.
    ///
    /// A video that is not found keeps `None`, or its URL. Fails, with nothing changed, on a root that is not a readable folder
    /// and on a video that lies in two places (two ways to one file are one place).
    ///
    /// # Errors
    /// [`ManifestError`] for a folder that cannot be searched, or two files of one video.
    pub fn locate(&mut self, roots: &[PathBuf]) -> Result<(), ManifestError> {
        locate::locate(&mut self.videos, roots)
    }

    /// How many clips all videos have together.
    pub fn num_clips(&self) -> usize {
        self.videos.iter().map(|video| video.clips.len()).sum()
    }
}

fn text_of(path: &Path) -> Result<String, ManifestError> {
    let bytes = fs::read(path).map_err(|cause| ManifestError::Read { path: path.to_owned(), cause })?;
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(path, error.as_bytes(), error.utf8_error()))?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    if text.trim().is_empty() {
        return Err(ManifestError::Empty { path: path.to_owned() });
    }
    Ok(text)
}

fn not_utf8(path: &Path, bytes: &[u8], error: std::str::Utf8Error) -> ManifestError {
    let (sound, rest) = bytes.split_at(error.valid_up_to());
    let line = 1 + sound.iter().filter(|&&byte| byte == b'\n').count() as u64;
    ManifestError::NotUtf8 { path: path.to_owned(), line, byte: rest.first().copied().unwrap_or_default() }
}

/// No header of ours begins with a bracket, so content decides before the name does.
fn is_json(path: &Path, text: &str) -> bool {
    let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    named || text.trim_start().starts_with(['{', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests").join(file)
    }

    fn uid(number: u32) -> String {
        format!("00000000-0000-4000-8000-{number:012}")
    }

    fn read_bytes(name: &str, bytes: impl AsRef<[u8]>) -> Result<Manifest, ManifestError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        Manifest::read(&path)
    }

    fn written(manifest: &Manifest) -> String {
        let mut bytes = Vec::new();
        manifest.write_csv(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn without_lines(mut videos: Vec<Video>) -> Vec<Video> {
        videos.iter_mut().flat_map(|video| &mut video.clips).for_each(|clip| clip.line = 0);
        videos
    }

    #[test]
    fn rows_are_grouped_by_video_in_order_of_appearance() {
        let manifest = Manifest::read(&data("ours.csv")).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.num_clips(), manifest.rejected.len()), ("ours", 4, 0));
        let [first, second] = &manifest.videos[..] else { panic!("{manifest:?}") };
        assert_eq!(first.path, Some(data("videos/P01_01.mp4")));
        assert_eq!((first.duration_sec, first.num_frames, first.fps), (Some(12.5), None, Fps::new(30000, 1001)));
        let clips: Vec<_> = first.clips.iter().map(|clip| (clip.uid.as_str(), clip.line)).collect();
        assert_eq!(clips, [("P01_01_0_5", 2), ("P01_01_5_12.5", 4)]);
        assert_eq!(first.clips[0].extra["narration"], "cuts an onion, then \"washes\" it");
        assert_eq!(first.clips[1].extra["narration"], "first line\nsecond line");
        assert_eq!((second.num_frames, second.fps), (Some(900), Fps::new(30, 1)));
        let clips: Vec<_> = second.clips.iter().map(|clip| (clip.uid.as_str(), clip.span, clip.line)).collect();
        assert_eq!(clips, [("P01_02-a", TimeSpan::new(1.25, 3.5), 3), ("P01_02", None, 6)]);
        assert_eq!(second.clips[1].extra.keys().collect::<Vec<_>>(), ["split"]);
    }

    #[test]
    fn damaged_rows_are_rejected_by_line_and_the_others_used() {
        let manifest = Manifest::read(&data("damaged.csv")).unwrap();
        let uids = |video: &Video| video.clips.iter().map(|clip| clip.uid.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(manifest.videos.iter().map(uids).collect::<Vec<_>>(), ["c1 c4"]);
        assert_eq!((manifest.videos[0].duration_sec, manifest.videos[0].fps), (Some(10.0), None));
        let place = |rejected: &Rejected| match rejected.place {
            Place::Line(line) => line,
            _ => panic!("{rejected}"),
        };
        let lines: Vec<_> = manifest.rejected.iter().map(place).collect();
        assert_eq!(lines, [4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 16, 17, 19, 21, 22]);
        assert_eq!(manifest.rejected[3].to_string(), "line 7: end_sec 3 is not after start_sec 9");
    }

    #[test]
    fn ego4d_manifests_are_read_by_their_own_column_names() {
        let manifest = Manifest::read(&data("ego4d_manifest.csv")).unwrap();
        let video = &manifest.videos[1];
        assert_eq!((video.uid.as_str(), &video.path), (uid(2).as_str(), &None));
        assert_eq!((video.num_frames, video.fps), (Some(37000), Fps::new(30000, 1001)));
        assert_eq!(video.clips[0].extra["scenarios"], "['Cooking, at home']");
        assert_eq!(manifest.videos[2].duration_sec, Some(480.0));
        assert!(manifest.videos.iter().all(|video| video.clips[0].uid == ClipUid::from(&video.uid)));
        let clips = Manifest::read(&data("ego4d_clips_manifest.csv")).unwrap();
        assert_eq!(clips.videos[1].uid.as_str(), uid(12));
        assert_eq!(clips.videos[1].clips[0].extra["parent_video_uid"], uid(1));
        let files = Manifest::read(&data("ego4d_files_manifest.csv")).unwrap();
        assert_eq!((files.videos.len(), files.rejected.len()), (1, 1));
    }

    #[test]
    fn the_metadata_of_ego4d_is_read() {
        let manifest = Manifest::read(&data("ego4d.json")).unwrap();
        let video = &manifest.videos[1];
        assert_eq!((video.duration_sec, video.num_frames), (Some(1234.5666666666666), Some(37000)));
        assert_eq!((video.fps, &video.path), (Fps::new(30000, 1001), &None));
        assert_eq!((video.clips[0].uid.as_str(), video.clips[0].line), (uid(2).as_str(), 2));
        assert_eq!(video.clips[0].extra["split_em"], "val");
    }

    #[test]
    fn content_tells_json_from_csv_whatever_the_name() {
        assert_eq!(read_bytes("list.txt", "\u{feff} \n{\"videos\": [{\"video_uid\": \"a\"}]}").unwrap().num_clips(), 1);
        assert_eq!(read_bytes("list.txt", "\u{feff}video_uid\na\n").unwrap().num_clips(), 1);
        assert!(matches!(read_bytes("list.JSON", "video_uid\na\n"), Err(ManifestError::Json { .. })));
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        for file in ["ours.csv", "damaged.csv", "ego4d_manifest.csv", "ego4d_clips_manifest.csv", "ego4d.json"] {
            let mut manifest = Manifest::read(&data(file)).unwrap();
            manifest.videos[0].path = Some("/videos/here, \"there\"/a.mp4".into());
            let text = written(&manifest);
            let again = read_bytes("again.csv", &text).unwrap();
            assert_eq!(without_lines(again.videos.clone()), without_lines(manifest.videos), "{file}");
            assert!(again.rejected.is_empty() && again.name == "again");
            assert_eq!(written(&again), text, "{file}");
        }
    }

    #[test]
    fn further_columns_follow_ours_in_order() {
        let text = written(&Manifest::read(&data("ours.csv")).unwrap());
        let header = "video_uid,path,clip_uid,start_sec,end_sec,duration_sec,num_frames,fps,narration,split";
        assert_eq!(text.lines().next(), Some(header));
    }

    #[test]
    fn what_would_not_read_back_is_not_written() {
        let manifest = read_bytes("m.csv", "video_uid\na\n").unwrap();
        for column in ["fps", "canonical_fps", "", " x"] {
            let mut manifest = manifest.clone();
            manifest.videos[0].clips[0].extra.insert(column.to_owned(), "1".to_owned());
            let error = manifest.write_csv(Vec::new()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("clip a has an extra column {column:?}")), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_utf8_is_not_written() {
        use std::os::unix::ffi::OsStrExt;
        let mut manifest = read_bytes("m.csv", "video_uid\na\n").unwrap();
        manifest.videos[0].path = Some(std::ffi::OsStr::from_bytes(b"/caf\xe9/a.mp4").into());
        assert!(matches!(manifest.write_csv(Vec::new()), Err(ManifestError::PathNotUtf8 { .. })));
    }

    #[test]
    fn an_output_that_fails_is_an_error() {
        let manifest = read_bytes("m.csv", "video_uid\na\n").unwrap();
        let mut small = [0_u8; 4];
        assert!(matches!(manifest.write_csv(&mut small[..]), Err(ManifestError::Write { .. })));
    }

    #[test]
    fn hopeless_files_are_errors_that_say_why() {
        let text = |bytes: &[u8]| read_bytes("m.csv", bytes).unwrap_err().to_string();
        for (bytes, ending) in [
            (&b""[..], "m.csv: the manifest is empty, expected a csv header or the text of ego4d.json"),
            (b"\xef\xbb\xbf \r\n\n", "m.csv: the manifest is empty, expected a csv header or the text of ego4d.json"),
            (b"video_uid\nok\ncaf\xe9\n", "m.csv: not UTF-8: byte 0xe9 in line 3, expected a UTF-8 text"),
            (b"\xff\xfev\0", "m.csv: not UTF-8: byte 0xff in line 1, expected a UTF-8 text"),
            (b"video_uid;fps\na;30\n", "m.csv: columns are separated by semicolons, expected a comma separated file"),
            (b"name,fps\na,30\n", "expected one of video_uid, file_uid, exported_clip_uid, clip_uid, found name, fps"),
            (b"video_uid\n", "m.csv: no entries, expected at least one video"),
            (
                b"video_uid,start_sec,end_sec\nv,9,3\n",
                "none of 1 entries can be used: line 2: end_sec 3 is not after start_sec 9",
            ),
        ] {
            assert!(text(bytes).ends_with(ending), "{}", text(bytes));
        }
        let error = Manifest::read(Path::new("/nowhere/m.csv")).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/m.csv: cannot read the manifest: "), "{error}");
    }

    #[test]
    fn ten_thousand_rows_with_thirty_columns_more_are_read() {
        let columns: String = (0..30).map(|at| format!(",column_{at}")).collect();
        let cells = ",some text".repeat(30);
        let row = |at| format!("video-{},clip-{at},{at}.25,{}.5,30000.5{cells}\n", at % 1000, at + 5);
        let rows: String = (0..10_000).map(row).collect();
        let text = format!("video_uid,clip_uid,start_sec,end_sec,duration_sec{columns}\n{rows}");
        let manifest = read_bytes("m.csv", text).unwrap();
        assert_eq!((manifest.videos.len(), manifest.num_clips(), manifest.rejected.len()), (1000, 10_000, 0));
    }
}
