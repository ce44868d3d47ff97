//! Where the videos of a manifest lie.
//!
//! Videos are named `<video_uid>.<extension>` somewhere below a few folders, or are folders of that name: with a JPEG file
//! for each frame, or with chunks `0.mp4`, `1.mp4`, ... as `egofx chunk` makes them. Not for looking into the files. Only the given folders are searched, each once, and a name that fits
//! two places is never decided by chance.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::{ManifestError, Video};

/// Extensions of files that are taken for videos, in lower case.
const EXTENSIONS: [&str; 19] = [
    "mp4", "mkv", "webm", "mov", "avi", "m4v", "mpg", "mpeg", "ts", "mts", "m2ts", "3gp", "3g2", "wmv", "asf", "flv",
    "ogv", "vob", "mxf",
];

/// Extensions of files that are taken for frames of a video, in lower case.
const PICTURES: [&str; 3] = ["jpg", "jpeg", "png"];

/// What UT-Ego's folders of images are called behind the video's name.
const PICTURE_FOLDER_ENDING: &str = "-moviepy";

/// Gives the `videos` that have no path of this machine what is found below `roots`.
pub(super) fn locate(videos: &mut [Video], roots: &[PathBuf]) -> Result<(), ManifestError> {
    let missing = videos.iter().enumerate().filter(|(_, video)| !video.is_local());
    let wanted: HashMap<String, usize> = missing.map(|(at, video)| (video.uid.to_string(), at)).collect();
    let mut found: HashMap<usize, PathBuf> = HashMap::new();
    for root in roots {
        let Found { mut files, chunks, folders } = Found::below(root)?;
        files.extend(recordings(&files).into_keys());
        let named = files.into_iter().map(|path| (uid_of(&path).map(Cow::into_owned), path));
        let named = named.chain(chunks.into_iter().map(|path| (uid_of_pieces(&path).map(str::to_owned), path)));
        let named = named.chain(folders.into_iter().map(|path| (uid_of_folder(&path).map(str::to_owned), path)));
        for (uid, path) in named {
            let Some(&at) = uid.and_then(|uid| wanted.get(&uid)) else { continue };
            match found.get(&at) {
                Some(first) if !same_file(first, &path) => {
                    let (video_uid, first) = (videos[at].uid.clone(), first.clone());
                    return Err(ManifestError::Ambiguous { video_uid, first, second: path });
                }
                Some(_) => {}
                None => _ = found.insert(at, path),
            }
        }
    }
    for (at, path) in found {
        videos[at].path = Some(path);
    }
    Ok(())
}

/// The folder in which transcoding keeps what is not finished: no videos of anybody's.
pub(crate) const UNFINISHED: &str = ".egofx";

/// What stands for the number of a chapter in a path that names all chapters of a recording.
const CHAPTER: &str = "%02d";

/// What lies below a folder: absolute paths in order, links followed.
#[derive(Default)]
struct Found {
    /// Files whose extension is a video's, and that are no chunks of one.
    files: Vec<PathBuf>,
    /// Folders with the chunks of a video.
    chunks: Vec<PathBuf>,
    /// Folders with images directly in them.
    folders: Vec<PathBuf>,
}

impl Found {
    /// A subfolder that cannot be read is skipped with a warning; a root that cannot is an error.
    fn below(root: &Path) -> Result<Self, ManifestError> {
        let error = |cause| ManifestError::Root { path: root.to_owned(), cause };
        // The walk itself would report a missing root like any unreadable subfolder.
        fs::read_dir(root).map_err(error)?;
        let root = std::path::absolute(root).map_err(error)?;
        let mut found = Self::default();
        let walk = WalkDir::new(&root).follow_links(true).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| entry.file_name() != UNFINISHED) {
            match entry {
                Ok(entry) if entry.file_type().is_file() => found.add(entry.into_path()),
                Ok(_) => {}
                Err(error) => log::warn!("{}: skipped while searching for videos: {error}", root.display()),
            }
        }
        found.folders.sort();
        found.folders.dedup();
        found.take_pieces(&root);
        Ok(found)
    }

    /// Takes the folders below `root` for videos whose files are named `0.mp4`, `1.mp4`, ... without a gap, and no others.
    fn take_pieces(&mut self, root: &Path) {
        let mut names: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
        for file in &self.files {
            let folder = file.parent().filter(|folder| *folder != root);
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            _ = folder.map(|folder| names.entry(folder.to_owned()).or_default().insert(name));
        }
        let is_whole = |names: &BTreeSet<String>| (0..names.len()).all(|k| names.contains(&format!("{k}.mp4")));
        names.retain(|_, names| is_whole(names));
        self.files.retain(|file| file.parent().is_none_or(|folder| !names.contains_key(folder)));
        self.chunks = names.into_keys().collect();
    }

    fn add(&mut self, file: PathBuf) {
        if is_one_of(&file, &EXTENSIONS) {
            self.files.push(file);
        } else if is_one_of(&file, &PICTURES) {
            let folder = file.parent().filter(|folder| self.folders.last().is_none_or(|last| last != folder));
            self.folders.extend(folder.map(Path::to_owned));
        }
    }
}

/// The chapters of each recording of a GoPro among `files` that has several, by the pattern that names them.
fn recordings(files: &[PathBuf]) -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let mut found: BTreeMap<PathBuf, BTreeMap<usize, PathBuf>> = BTreeMap::new();
    for file in files {
        if let Some((pattern, number)) = chapter(file) {
            found.entry(pattern).or_default().insert(number, file.clone());
        }
    }
    // One that lacks a chapter is no video as a whole.
    found.retain(|_, chapters| chapters.len() > 1 && chapters.keys().copied().eq(1..=chapters.len()));
    found.into_iter().map(|(pattern, chapters)| (pattern, chapters.into_values().collect())).collect()
}

/// The recording and the number of a GoPro's chapter: `GX010123.MP4` (HEVC), `GH010123.MP4` (H.264), `GL010123.MP4` (a small copy).
fn chapter(file: &Path) -> Option<(PathBuf, usize)> {
    let (name, stem) = (file.file_name()?.to_str()?, file.file_stem()?.to_str()?);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let kind = stem.get(..2).filter(|kind| ["GX", "GH", "GL"].contains(kind))?;
    let (number, recording) = (stem.get(2..4)?, stem.get(4..)?);
    if recording.len() != 4 || !is_digits(number) || !is_digits(recording) {
        return None;
    }
    let rest = name.get(4..)?;
    Some((file.with_file_name(format!("{kind}{CHAPTER}{rest}")), number.parse().ok()?))
}

/// All files below `root` whose extension is a video's, and all folders of chunks of a video and recordings in chapters:
/// absolute, in order of their paths, links followed.
///
/// A subfolder that cannot be read is skipped with a warning; a root that cannot is an error.
pub(crate) fn videos_below(root: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    let Found { mut files, chunks, .. } = Found::below(root)?;
    let recordings = recordings(&files);
    let chapters: HashSet<&PathBuf> = recordings.values().flatten().collect();
    files.retain(|file| !chapters.contains(file));
    files.extend(chunks);
    files.extend(recordings.into_keys());
    files.sort();
    Ok(files)
}

/// All folders below `root` with images directly in them: absolute, in order of their paths, links followed.
pub(crate) fn image_folders(root: &Path) -> Result<Vec<PathBuf>, ManifestError> {
    Ok(Found::below(root)?.folders)
}

/// Whether a file's extension is an image's.
pub(crate) fn is_image(path: &Path) -> bool {
    is_one_of(path, &PICTURES)
}

/// The uid that the name of a folder of images holds, unchecked; `None` where it is not UTF-8.
fn uid_of_folder(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    Some(name.strip_suffix(PICTURE_FOLDER_ENDING).unwrap_or(name))
}

/// The uid that the name of a folder of chunks holds, unchecked; `None` where it is not UTF-8.
fn uid_of_pieces(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// The uid that the name of a file, of a folder of chunks or of a recording in chapters holds, unchecked: `GX0123` of
/// `GX%02d0123.MP4`; `None` where the name is not UTF-8.
pub(crate) fn uid_of(path: &Path) -> Option<Cow<'_, str>> {
    let name = if is_one_of(path, &EXTENSIONS) { path.file_stem()?.to_str()? } else { uid_of_pieces(path)? };
    let is_recording = name.get(2..).is_some_and(|rest| rest.starts_with(CHAPTER));
    Some(if is_recording { name.replacen(CHAPTER, "", 1).into() } else { name.into() })
}

/// Whether two paths lead to one file, or name the chapters of one recording.
pub(crate) fn same_file(a: &Path, b: &Path) -> bool {
    // A pattern is no file itself; its folder is there.
    let real = |path: &Path| {
        let beside = || Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
        fs::canonicalize(path).ok().or_else(beside)
    };
    a == b || matches!((real(a), real(b)), (Some(a), Some(b)) if a == b)
}

fn is_one_of(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| extensions.iter().any(|known| known.eq_ignore_ascii_case(found)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VideoUid;
    use crate::manifest::Clip;
    use crate::manifest::samples::tree;

    fn videos(uids: &[&str]) -> Vec<Video> {
        let video = |uid: &&str| {
            let uid = VideoUid::parse(uid).unwrap();
            let clips = vec![Clip::whole(&uid, 1)];
            Video { uid, path: None, duration_sec: None, num_frames: None, fps: None, clips }
        };
        uids.iter().map(video).collect()
    }

    #[test]
    fn videos_are_found_by_stem_in_any_depth_and_case() {
        let dir = tree(&[
            "v1/full_scale/a.mp4",
            ".egofx/tmp/a@x/a.mp4",
            "b.MP4",
            "x/c.webm",
            "x/e.txt",
            "x/f.mp4.part",
            "other.mp4",
        ]);
        fs::create_dir(dir.path().join("d.mp4")).unwrap();
        let mut videos = videos(&["a", "b", "c", "d", "e", "f"]);
        locate(&mut videos, &[dir.path().to_owned()]).unwrap();
        let found: Vec<_> = videos.iter().map(|video| video.path.as_deref()).collect();
        let at = |file: &str| dir.path().join(file);
        let (a, b, c) = (at("v1/full_scale/a.mp4"), at("b.MP4"), at("x/c.webm"));
        assert_eq!(found, [Some(&*a), Some(&*b), Some(&*c), None, None, None]);
        assert!(a.is_absolute());
    }

    #[test]
    fn folders_of_pieces_are_videos_too() {
        let dir = tree(&["a/0.mp4", "a/1.mp4", "a/10.mp4", "b/x.y/0.mp4", "b/x.y/1.mp4", "b/c/1.mp4", "b/d/0.mp4"]);
        fs::write(dir.path().join("b/d/other.mkv"), "").unwrap();
        let mut videos = videos(&["a", "x.y", "c", "d", "0"]);
        assert!(locate(&mut videos, &[dir.path().join("a")]).is_ok(), "a folder that is given holds videos");
        assert_eq!(videos[4].path, Some(dir.path().join("a/0.mp4")));
        locate(&mut videos[..4], &[dir.path().to_owned()]).unwrap();
        let found: Vec<_> = videos[..4].iter().map(|video| video.path.clone()).collect();
        assert_eq!(
            found,
            [None, Some(dir.path().join("b/x.y")), None, None],
            "1.mp4 to 10.mp4, no 0.mp4, another file"
        );
        let all = videos_below(&dir.path().join("b")).unwrap();
        assert_eq!(all, ["c/1.mp4", "d/0.mp4", "d/other.mkv", "x.y"].map(|name| dir.path().join("b").join(name)));
        assert_eq!(uid_of(&all[3]).as_deref(), Some("x.y"));
    }

    #[test]
    fn folders_of_images_are_videos_too() {
        let dir = tree(&[
            "x/P01-moviepy/1.jpg",
            "x/P01-moviepy/2.JPG",
            "rgb/P01/P01_01/frame_1.jpeg",
            "c/notes.txt",
            "a.jpg",
        ]);
        let mut videos = videos(&["P01", "P01_01", "c"]);
        let text = locate(&mut videos, &[dir.path().to_owned()]).map(|()| videos[0].path.clone());
        assert_eq!(text.unwrap(), Some(dir.path().join("x/P01-moviepy")));
        assert_eq!(videos[1].path, Some(dir.path().join("rgb/P01/P01_01")));
        assert_eq!(videos[2].path, None, "a folder without images");
    }

    #[test]
    fn a_video_file_and_a_folder_of_its_images_are_two_places() {
        let dir = tree(&["a.mp4", "frames/a/1.jpg"]);
        let text = locate(&mut videos(&["a"]), &[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(text.contains("two places") && text.contains("frames/a"), "{text}");
    }

    #[test]
    fn explicit_paths_are_kept() {
        let dir = tree(&["a.mp4"]);
        let mut videos = videos(&["a"]);
        videos[0].path = Some("/elsewhere/a.mp4".into());
        locate(&mut videos, &[dir.path().to_owned()]).unwrap();
        assert_eq!(videos[0].path.as_deref(), Some(Path::new("/elsewhere/a.mp4")));
    }

    #[test]
    fn one_name_in_two_places_is_an_error_that_names_both_and_changes_nothing() {
        let dir = tree(&["full_scale/a.mp4", "down_scaled/a.mkv", "b.mp4"]);
        let mut videos = videos(&["b", "a"]);
        let text = locate(&mut videos, &[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(text.starts_with("video a lies in two places: "), "{text}");
        assert!(text.contains("down_scaled/a.mkv and ") && text.ends_with("full_scale/a.mp4"), "{text}");
        assert!(videos.iter().all(|video| video.path.is_none()));
    }

    #[test]
    fn unwanted_twins_do_not_matter() {
        let dir = tree(&["full_scale/z.mp4", "down_scaled/z.mp4", "a.mp4"]);
        let mut videos = videos(&["a"]);
        locate(&mut videos, &[dir.path().to_owned()]).unwrap();
        assert!(videos[0].path.is_some());
    }

    #[cfg(unix)]
    #[test]
    fn two_ways_to_one_file_are_one_place() {
        let dir = tree(&["full_scale/a.mp4"]);
        std::os::unix::fs::symlink(dir.path().join("full_scale"), dir.path().join("linked")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("full_scale/loop")).unwrap();
        let roots = [dir.path().to_owned(), dir.path().join("full_scale"), dir.path().to_owned()];
        let mut videos = videos(&["a"]);
        locate(&mut videos, &roots).unwrap();
        assert_eq!(videos[0].path, Some(dir.path().join("full_scale/a.mp4")));
    }

    #[test]
    fn a_root_must_be_a_folder() {
        let dir = tree(&["a.mp4"]);
        for root in ["absent", "a.mp4"] {
            let error = locate(&mut videos(&["a"]), &[dir.path().join(root)]).unwrap_err();
            assert!(matches!(&error, ManifestError::Root { .. }) && error.to_string().contains(root), "{error}");
        }
    }
}
