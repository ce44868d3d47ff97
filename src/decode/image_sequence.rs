//! Videos that lie in a folder as JPEG or PNG files, one for each frame.
//!
//! Which files are there, in which order, and when each is shown; not for decoding them. Invariant: a file that is missing
//! from a numbered row of files leaves a gap that is known as lost, and never moves those after it.
//!
//! Two kinds of paths name them. A folder (`P01-moviepy/`) is a whole video: its first file is shown at second 0, whatever
//! its number. A pattern (`frames/UID/%d.jpeg`, `%010d` for padded numbers) is a part of a video whose frames keep the
//! numbers that they have there: file 1000 is frame 1000. Neither has a rate of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::image::{self, Orientation};
use super::{FrameSet, ProbeError, VideoInfo};
use crate::time::{Fps, TimeBase, Timeline};

/// Extensions of the files that count, in lower case.
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Extensions of videos, for what is said of a folder of them.
const VIDEOS: [&str; 12] = ["mp4", "mov", "m4v", "mkv", "avi", "webm", "mts", "m2ts", "ts", "insv", "mpg", "wmv"];

/// So many names of a folder's files are said.
const NAMES: usize = 3;

/// The longest gap in a row of numbers that is taken for lost files: an hour at 30 fps. Numbers further apart count
/// something else than frames.
const MOST_LOST_FRAMES: u64 = 108_000;

/// The files of a video's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSequence {
    /// By index in presentation order; lost ones are absent.
    files: BTreeMap<u64, PathBuf>,
}

impl ImageSequence {
    /// The file of frame `index`.
    pub fn file(&self, index: u64) -> Option<&Path> {
        self.files.get(&index).map(PathBuf::as_path)
    }

    /// Names and sizes of all files, one a line: what tells one set of images from another.
    ///
    /// # Errors
    /// That of the system for a file whose size it does not tell, with the file's name.
    pub fn listing(&self) -> io::Result<String> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let line = |path: &PathBuf| {
            let metadata = fs::metadata(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", name(path))))?;
            Ok(format!("{} {}\n", name(path), metadata.len()))
        };
        self.files.values().map(line).collect()
    }
}

/// Whether `path` names images: a folder that holds some, or a pattern for their numbers.
pub fn are_named_by(path: &Path) -> bool {
    let holds_some =
        || fs::read_dir(path).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| is_image(&e.path()))));
    Pattern::of(path).is_some() || holds_some()
}

/// Whether a file's name is that of an image.
pub fn is_image(path: &Path) -> bool {
    is_one_of(path, &EXTENSIONS)
}

/// Whether a file's name is that of a video.
pub fn is_video(path: &Path) -> bool {
    is_one_of(path, &VIDEOS)
}

fn is_one_of(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| extensions.iter().any(|known| known.eq_ignore_ascii_case(found)))
}

/// What is said of a folder that holds neither chunks of a video nor images.
pub fn refused(folder: &Path) -> ProbeError {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    let videos: Vec<PathBuf> = files.iter().filter(|file| is_one_of(file, &VIDEOS)).cloned().collect();
    let (what, shown) = if videos.is_empty() { ("files", files) } else { ("videos", videos) };
    let names = shown.iter().take(NAMES).map(|file| file.file_name().unwrap_or_default().to_string_lossy());
    let names = names.collect::<Vec<_>>().join(", ");
    let more = if shown.len() > NAMES { ", ..." } else { "" };
    let found = if shown.is_empty() { "an empty folder".into() } else { format!("a folder of {what} ({names}{more})") };
    ProbeError::Folder { path: folder.to_owned(), found }
}

/// Lists the images that `path` names, shown at `fps`.
///
/// # Errors
/// A [`ProbeError`] if there are none, if they have no rate, or if none has a size.
pub fn probe(path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
    let fps = fps.ok_or_else(|| ProbeError::NoRate(path.to_owned()))?;
    let (row, mut notes) = match Pattern::of(path) {
        Some(pattern) => (pattern.files(path)?, Vec::new()),
        None => in_order(files_of(path, path)?),
    };
    let base = TimeBase { num: fps.denominator(), den: fps.numerator() };
    let nothing = |why: &str| ProbeError::NoFrames { path: path.to_owned(), why: why.to_owned() };
    let (Some(&first), Some(&last)) = (row.keys().next(), row.keys().last()) else {
        return Err(nothing("no .jpg, .jpeg or .png file that is not empty"));
    };
    if last - first > row.len() as u64 + MOST_LOST_FRAMES {
        return Err(nothing(&format!("file numbers {first} to {last} are no frames of one video")));
    }
    let timeline = Timeline::new((first as i64..=last as i64).collect(), base, 0).ok_or_else(|| nothing("no rate"))?;
    let lost: Vec<u64> = (first..=last).filter(|number| !row.contains_key(number)).map(|n| n - first).collect();
    notes.extend(gap(&lost, row.len()));
    let files: BTreeMap<u64, PathBuf> = row.into_iter().map(|(number, file)| (number - first, file)).collect();
    let ((width, height), orientation) = outline_of(path, files.values())?;
    let (width, height) = if orientation.lies() { (height, width) } else { (width, height) };
    Ok(VideoInfo {
        path: path.to_owned(),
        bytes: files.values().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum(),
        stream: 0,
        codec: if files.values().next().is_some_and(|file| is_one_of(file, &["png"])) { "png" } else { "mjpeg" }.into(),
        width,
        height,
        rotation: orientation.degrees(),
        color_space: None,
        stereo: None,
        timeline,
        keyframes: files.keys().copied().collect(),
        disposable: FrameSet::default(),
        declared_end_sec: None,
        counted: false,
        damage: None,
        lost,
        notes,
        chunks: Vec::new(),
        images: Some(Arc::new(ImageSequence { files })),
        origin: None,
        ends: None,
    })
}

fn gap(lost: &[u64], there: usize) -> Option<String> {
    let (first, count) = (lost.first()?, lost.len());
    Some(format!("{count} of {} images are missing, the first is frame {first}", count + there))
}

/// Size and orientation of the first image that has them: all are to have the same size.
fn outline_of<'f>(
    path: &Path,
    files: impl Iterator<Item = &'f PathBuf>,
) -> Result<((u32, u32), Orientation), ProbeError> {
    let mut why = String::new();
    for file in files {
        match image::outline(file) {
            Ok(outline) => return Ok(outline),
            Err(words) if why.is_empty() => {
                why = format!("{}: {words}", file.file_name().unwrap_or_default().to_string_lossy());
            }
            Err(_) => {}
        }
    }
    Err(ProbeError::NotMedia { path: path.to_owned(), why })
}

/// The images directly in `folder` that are not empty, in order of their names. Errors name `path`.
fn files_of(folder: &Path, path: &Path) -> Result<Vec<PathBuf>, ProbeError> {
    let fault = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => ProbeError::Missing(path.to_owned()),
        _ => ProbeError::Unreadable { path: path.to_owned(), why: e.to_string() },
    };
    let entries = fs::read_dir(folder).map_err(fault)?.collect::<Result<Vec<_>, _>>().map_err(fault)?;
    let files = entries.into_iter().map(|entry| entry.path()).filter(|file| is_image(file));
    let mut files: Vec<PathBuf> = files.filter(|file| has_bytes(file)).collect();
    files.sort();
    Ok(files)
}

/// An empty file is as good as none: a copy that was broken off.
fn has_bytes(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}

/// Files by place, from 0, and what is odd about them.
///
/// Files whose names hold numbers are in order of the numbers, padded or not (the originals sort by name, which puts 10
/// before 9). The usual distance between two numbers is one frame; a multiple of it is a gap.
fn in_order(files: Vec<PathBuf>) -> (BTreeMap<u64, PathBuf>, Vec<String>) {
    let by_name = |files: Vec<PathBuf>| (0..).zip(files).collect::<BTreeMap<u64, PathBuf>>();
    let numbered: Option<BTreeMap<u64, PathBuf>> =
        files.iter().map(|file| Some((number_of(file)?, file.clone()))).collect();
    let Some(numbered) = numbered.filter(|numbered| numbered.len() == files.len()) else {
        let note = "file names have no numbers of their own; images are in order of their names, gaps are unknown";
        return (by_name(files), vec![note.to_owned()]);
    };
    let mut notes = Vec::new();
    if !numbered.values().eq(&files) {
        notes.push("file numbers are not padded; images are in order of their numbers, not of their names".to_owned());
    }
    match places(&numbered.keys().copied().collect::<Vec<_>>()) {
        Some(places) => (places.into_iter().zip(numbered.into_values()).collect(), notes),
        None => {
            notes.push("file numbers are uneven; images are taken to follow one another".to_owned());
            (by_name(numbered.into_values().collect()), notes)
        }
    }
}

/// Places of ascending numbers, counted in usual steps from the first; `None` if some do not fit.
fn places(numbers: &[u64]) -> Option<Vec<u64>> {
    let mut steps: Vec<u64> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    let Some(&usual) = steps.get(steps.len() / 2) else { return Some(vec![0; numbers.len()]) };
    let fits = |step: &u64| step.is_multiple_of(usual) && step / usual <= MOST_LOST_FRAMES;
    steps.iter().all(fits).then(|| numbers.iter().map(|number| (number - numbers[0]) / usual).collect())
}

/// The last number in a file's name.
fn number_of(file: &Path) -> Option<u64> {
    let stem = file.file_stem()?.to_str()?;
    let end = stem.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = stem[..end]
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(0, |before| before + stem[before..].chars().next().map_or(1, char::len_utf8));
    stem[start..end].parse().ok().filter(|&number| number <= i64::MAX as u64 / 2)
}

/// A path such as `frames/frame_%010d.jpg`.
struct Pattern<'p> {
    folder: &'p Path,
    before: &'p str,
    after: &'p str,
    /// Digits at least; 0 for numbers without padding.
    digits: usize,
}

impl<'p> Pattern<'p> {
    fn of(path: &'p Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (before, rest) = name.split_once('%')?;
        let (digits, after) = rest.split_once('d')?;
        let padded = digits.is_empty() || (digits.starts_with('0') && digits.len() > 1);
        let digits = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        (padded && is_image(Path::new(name))).then_some(Self { folder, before, after, digits })
    }

    /// The files that fit, by number.
    fn files(&self, path: &Path) -> Result<BTreeMap<u64, PathBuf>, ProbeError> {
        let files = files_of(self.folder, path)?;
        Ok(files.into_iter().filter_map(|file| Some((self.number(&file)?, file))).collect())
    }

    fn number(&self, file: &Path) -> Option<u64> {
        let text = file.file_name()?.to_str()?.strip_prefix(self.before)?.strip_suffix(self.after)?;
        let padded = text.len() == self.digits || (text.len() > self.digits && !text.starts_with('0')) || text == "0";
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
        Some(number).filter(|&number: &u64| padded && number <= i64::MAX as u64 / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            // A JPEG's first bytes are enough for a size: 8 wide, 6 high.
            let header = [0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0, 6, 0, 8, 1, 1, 0x11, 0, 0xFF, 0xD9];
            fs::write(folder.path().join(name), header).unwrap();
        }
        folder
    }

    fn shown(info: &VideoInfo) -> Vec<(u64, String)> {
        let images = info.images.as_ref().unwrap();
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        images.files.iter().map(|(&index, path)| (index, name(path))).collect()
    }

    fn rate(fps: u32) -> Option<Fps> {
        Fps::new(fps, 1)
    }

    #[test]
    fn a_folder_is_a_video_from_second_zero_with_gaps_where_files_are_missing() {
        let folder =
            folder(&["frame_0000000003.jpg", "frame_0000000001.jpg", "frame_0000000006.JPG", "frame_0000000002.jpg"]);
        fs::write(folder.path().join("frame_0000000004.jpg"), "").unwrap();
        fs::write(folder.path().join("notes.txt"), "no image").unwrap();
        let info = probe(folder.path(), rate(2)).unwrap();
        let indices: Vec<u64> = shown(&info).into_iter().map(|(index, _)| index).collect();
        assert_eq!((indices, info.lost.clone()), (vec![0, 1, 2, 5], vec![3, 4]));
        assert_eq!((info.width, info.height, info.timeline.frames()), (8, 6, 6));
        assert_eq!((info.timeline.sec(2), info.timeline.end_sec()), (1.0, 3.0));
        assert_eq!(info.notes, ["2 of 6 images are missing, the first is frame 3"]);
    }

    #[test]
    fn a_pattern_keeps_the_numbers_of_the_whole_video() {
        let folder = folder(&["1000.jpeg", "1001.jpeg", "1003.jpeg", "x.jpeg", "01002.jpeg"]);
        let info = probe(&folder.path().join("%d.jpeg"), rate(10)).unwrap();
        assert_eq!(info.timeline.start_sec(), 100.0);
        assert_eq!(info.lost, [2]);
        assert_eq!(info.images.unwrap().file(3).unwrap(), folder.path().join("1003.jpeg"));
    }

    #[test]
    fn padded_patterns_take_padded_numbers() {
        let path = Path::new("f/frame_%04d.jpg");
        let pattern = Pattern::of(path).unwrap();
        let number = |name: &str| pattern.number(Path::new(name));
        assert_eq!((number("frame_0012.jpg"), number("frame_12345.jpg")), (Some(12), Some(12_345)));
        assert_eq!((number("frame_12.jpg"), number("frame_00012.jpg"), number("frame_+012.jpg")), (None, None, None));
        for name in ["clip.mp4", "50%off.jpg", "%d.mp4", "%5d.jpg", "frame_%0d.jpg"] {
            assert!(Pattern::of(Path::new(name)).is_none(), "{name}");
        }
    }

    #[test]
    fn numbers_are_counted_as_numbers() {
        let folder = folder(&["P1_10.jpg", "P1_9.jpg", "P1_8.jpg"]);
        let info = probe(folder.path(), rate(1)).unwrap();
        assert_eq!(
            shown(&info).into_iter().map(|(_, name)| name).collect::<Vec<_>>(),
            ["P1_8.jpg", "P1_9.jpg", "P1_10.jpg"]
        );
        assert!(info.notes[0].contains("not padded") && info.lost.is_empty());
    }

    #[test]
    fn numbers_that_step_by_more_than_one_are_places_too() {
        assert_eq!(places(&[0, 30, 60, 120]), Some(vec![0, 1, 2, 4]));
        assert_eq!(places(&[7]), Some(vec![0]));
        assert_eq!(places(&[0, 30, 60, 75]), None);
        assert_eq!(places(&[0, 1, 2, 20_240_101_000_000]), None, "a date is no frame");
        let folder = folder(&["0.jpg", "30.jpg", "60.jpg", "75.jpg"]);
        let info = probe(folder.path(), rate(1)).unwrap();
        assert!(info.notes[0].contains("uneven") && info.timeline.frames() == 4);
    }

    #[test]
    fn names_without_numbers_of_their_own_are_in_order_of_names() {
        let folder = folder(&["b.jpg", "a.jpg", "c_1.jpg", "d_1.jpg"]);
        let info = probe(folder.path(), rate(1)).unwrap();
        assert_eq!(shown(&info)[0].1, "a.jpg");
        assert!(info.notes[0].contains("gaps are unknown"));
        assert_eq!(number_of(Path::new("vidéo_007é.jpg")), Some(7));
    }

    #[test]
    fn what_is_no_video_is_refused() {
        let error = |path: &Path, fps| probe(path, fps).unwrap_err().to_string();
        let empty = folder(&[]);
        assert!(error(empty.path(), rate(1)).contains("no .jpg, .jpeg or .png file"));
        assert!(error(empty.path(), None).contains("no rate"), "{}", error(empty.path(), None));
        assert!(matches!(probe(&empty.path().join("gone/%d.jpg"), rate(1)), Err(ProbeError::Missing(_))));
        fs::write(empty.path().join("1.jpg"), "text").unwrap();
        assert!(error(empty.path(), rate(1)).contains("1.jpg: "));
    }
}
