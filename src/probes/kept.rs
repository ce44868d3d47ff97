//! What probes found, a small file for each video in the output folder: for a run that is gone on with, other recipes, other parts
//! and other commands.
//!
//! Not for videos that lie elsewhere, of which a copy passes through, nor for images, which nobody probes. Invariants: any number of
//! processes on any number of machines may write at once, and nobody locks; a kept file is whole, or it is nobody's; one that is
//! damaged, foreign or out of date is passed over and made anew, and never an error.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Stamp, stamps};
use crate::decode::{self, FrameSource, FrameStream, ProbeError, Transform, VideoInfo};
use crate::digest::{self, Hasher};
use crate::durable;
use crate::time::Fps;
use crate::url;

/// Where they lie in an output folder: no feature set has such a name, and no search for videos looks there.
const FOLDER: &str = ".egofx/probes";

/// Where results are kept, and whether new ones are.
#[derive(Debug, Clone)]
pub struct Keeping {
    folder: PathBuf,
    writes: bool,
}

/// Keeps what `inner` finds.
pub struct KeepingSource<S> {
    /// Who probes and decodes.
    pub inner: S,
    /// Where it is kept; `None` for nowhere.
    pub keeping: Option<Keeping>,
}

/// A result and what it depends on.
#[derive(Serialize, Deserialize)]
struct Kept {
    rules: u32,
    ffmpeg: String,
    inputs: Vec<Stamp>,
    ends: String,
    video: VideoInfo,
}

impl Keeping {
    /// In the output folder `out`.
    pub fn of(out: &Path) -> Self {
        Self { folder: out.join(FOLDER), writes: true }
    }

    /// The same for those who only look.
    pub fn reading(out: &Path) -> Self {
        Self { writes: false, ..Self::of(out) }
    }

    /// Removes what killed writers left.
    pub fn clean(&self) {
        if self.writes {
            durable::clean_unsynced(&self.folder);
        }
    }

    /// Whether there is something of `path`, which need not be true any more.
    pub fn has(&self, path: &Path) -> bool {
        self.file(path).exists()
    }

    fn file(&self, path: &Path) -> PathBuf {
        let mut hasher = Hasher::default();
        hasher.update(path.as_os_str().as_bytes());
        self.folder.join(format!("{}.probe", hasher.finish()))
    }

    /// What was found of `path`, whose inputs are as `inputs`, by ffmpeg's `version`.
    fn find(&self, path: &Path, inputs: &[Stamp], version: &str) -> Option<VideoInfo> {
        let file = self.file(path);
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            text => text.map_err(|error| error.to_string()),
        };
        let found = text.and_then(|text| Kept::read(&text)).and_then(|kept| kept.now(path, inputs, version));
        found.inspect_err(|why| log::debug!("{}: {} is not used: {why}", path.display(), file.display())).ok()
    }

    fn keep(&self, path: &Path, kept: &Kept) {
        let file = self.file(path);
        let written = kept.text().map_err(io::Error::from).and_then(|text| {
            fs::create_dir_all(&self.folder)?;
            durable::replace_unsynced(&file, text.as_bytes())
        });
        if let Err(error) = written {
            log::debug!("{}: what was found is not kept: {}: {error}", path.display(), file.display());
        }
    }
}

impl Kept {
    /// As it is written: the digest of the rest, and the rest.
    fn text(&self) -> serde_json::Result<String> {
        let text = serde_json::to_string(self)?;
        Ok(format!("{}\n{text}\n", digest::text(&text)))
    }

    fn read(text: &str) -> Result<Self, String> {
        let (expected, text) = text.trim_end().split_once('\n').ok_or("it is not whole")?;
        if digest::text(text) != expected {
            return Err("it is damaged".to_owned());
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The video, if a probe would find the same now.
    fn now(self, path: &Path, inputs: &[Stamp], version: &str) -> Result<VideoInfo, String> {
        let is_by_us = (self.rules, &*self.ffmpeg) == (decode::RULES, version);
        let changed = |what: &str| Err(format!("{what} since"));
        if !is_by_us {
            return changed("the rules or ffmpeg changed");
        }
        if self.video.path != path || self.inputs != inputs {
            return changed("the file changed");
        }
        match digest::ends_of(&self.video.files()) {
            Ok(ends) if ends == self.ends => Ok(VideoInfo { ends: Some(ends), ..self.video }),
            Ok(_) => changed("the bytes changed"),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl<S: FrameSource> KeepingSource<S> {
    /// Where what is found of `path` is kept.
    fn keeping_of(&self, path: &Path) -> Option<&Keeping> {
        self.keeping.as_ref().filter(|_| url::of(path).is_none())
    }
}

impl<S: FrameSource> FrameSource for KeepingSource<S> {
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        let known = self.keeping_of(path).and_then(|keeping| Some((keeping, stamps(path)?)));
        let Some((keeping, inputs)) = known else { return self.inner.probe(path, fps) };
        let ffmpeg = self.version();
        if let Some(video) = keeping.find(path, &inputs, &ffmpeg) {
            return Ok(video);
        }
        let video = self.inner.probe(path, fps)?;
        let Ok(ends) = video.ends.clone().map_or_else(|| digest::ends_of(&video.files()), Ok) else { return Ok(video) };
        let kept = Kept { rules: decode::RULES, ffmpeg, inputs, ends: ends.clone(), video };
        // One that changed meanwhile may be neither what it was nor what it is.
        if keeping.writes && stamps(path).as_ref() == Some(&kept.inputs) {
            keeping.keep(path, &kept);
        }
        Ok(VideoInfo { ends: Some(ends), ..kept.video })
    }

    fn prefetch(&self, path: &Path) {
        // What is out of date costs its one probe later.
        if self.keeping_of(path).is_none_or(|keeping| !keeping.has(path)) {
            self.inner.prefetch(path);
        }
    }

    fn forget(&self, path: &Path) {
        self.inner.forget(path);
    }

    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        self.inner.open(video, wanted, transforms)
    }

    fn dropped(&self, video: &VideoInfo, wanted: &[u64]) -> u64 {
        self.inner.dropped(video, wanted)
    }

    fn version(&self) -> String {
        self.inner.version()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::decode::SyntheticSource;
    use crate::time::{TimeBase, Timeline};

    /// Finds something odd in everything but `bad.mp4`, and notes what it is asked for.
    struct Odd {
        version: &'static str,
        asked: Mutex<Vec<PathBuf>>,
    }

    impl FrameSource for Odd {
        fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
            self.asked.lock().unwrap().push(path.to_owned());
            if path.ends_with("bad.mp4") {
                return Err(ProbeError::Empty(path.to_owned()));
            }
            let plain = SyntheticSource { frames: 3, fps: Fps::new(30, 1).unwrap() }.probe(path, fps)?;
            let timeline = Timeline::new(vec![5, 38, 72, 1072], TimeBase { num: 1, den: 1000 }, 5).unwrap();
            Ok(VideoInfo {
                timeline,
                keyframes: vec![0, 2],
                lost: vec![1],
                color_space: Some("bt709"),
                stereo: Some("top and bottom".into()),
                rotation: 90,
                declared_end_sec: Some(0.1 + 0.2),
                damage: Some("ffprobe: \"odd\"".into()),
                notes: vec!["a note".into(), "änother".into()],
                ..plain
            })
        }

        fn open(&self, _: &VideoInfo, _: &[u64], _: &[Transform]) -> FrameStream {
            Box::new(std::iter::empty())
        }

        fn dropped(&self, _video: &VideoInfo, _wanted: &[u64]) -> u64 {
            0
        }

        fn version(&self) -> String {
            self.version.into()
        }
    }

    fn source(out: &Path, keeping: impl Fn(&Path) -> Keeping) -> KeepingSource<Odd> {
        KeepingSource { inner: Odd { version: "5.1", asked: Mutex::default() }, keeping: Some(keeping(out)) }
    }

    impl KeepingSource<Odd> {
        /// Whether a probe of `path` asks the source beneath.
        fn asks(&self, path: &Path) -> bool {
            let found = self.probe(path, None).unwrap();
            assert_eq!(found.ends, Some(digest::ends(path).unwrap()));
            !std::mem::take(&mut *self.inner.asked.lock().unwrap()).is_empty()
        }
    }

    fn made() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (video, out) = (folder.path().join("a.mp4"), folder.path().join("out"));
        fs::write(&video, "bytes").unwrap();
        (folder, video, out)
    }

    #[test]
    fn a_kept_result_is_the_very_same_in_all_that_it_says() {
        let (_folder, video, out) = made();
        let fresh = source(&out, Keeping::of).probe(&video, None).unwrap();
        let other = source(&out, Keeping::of);
        let kept = other.probe(&video, None).unwrap();
        assert!(other.inner.asked.lock().unwrap().is_empty());
        assert_eq!(format!("{kept:?}"), format!("{fresh:?}"));
        assert_eq!((kept.remarks(), kept.declared_end_sec), (fresh.remarks(), Some(0.1 + 0.2)));
    }

    #[test]
    fn what_changed_is_probed_anew() {
        let (_folder, video, out) = made();
        let source = source(&out, Keeping::of);
        let modified = |path: &Path| path.metadata().unwrap().modified().unwrap();
        assert_eq!([source.asks(&video), source.asks(&video)], [true, false]);
        fs::write(&video, "more bytes").unwrap();
        assert_eq!([source.asks(&video), source.asks(&video)], [true, false], "another length");
        let later = modified(&video) + Duration::from_nanos(1);
        File::options().write(true).open(&video).unwrap().set_modified(later).unwrap();
        assert_eq!([source.asks(&video), source.asks(&video)], [true, false], "another time");
        fs::write(&video, "MORE bytes").unwrap();
        File::options().write(true).open(&video).unwrap().set_modified(later).unwrap();
        assert_eq!([source.asks(&video), source.asks(&video)], [true, false], "other bytes");
        let newer =
            KeepingSource { inner: Odd { version: "9.0", asked: Mutex::default() }, keeping: Some(Keeping::of(&out)) };
        assert_eq!([newer.asks(&video), newer.asks(&video)], [true, false], "another ffmpeg");
        let files = fs::read_dir(out.join(FOLDER)).unwrap().count();
        assert_eq!(files, 1, "one file for a video, and nothing beside it");
    }

    #[test]
    fn chunks_are_kept_until_one_changes_or_comes() {
        let (_folder, video, out) = made();
        let chunks = video.with_extension("chunks");
        fs::create_dir(&chunks).unwrap();
        ["0.mp4", "1.mp4"].iter().for_each(|name| fs::write(chunks.join(name), name).unwrap());
        let source = source(&out, Keeping::of);
        let asks = || {
            // The files of a synthetic video are its path alone, which is a folder here.
            let inputs = stamps(&chunks).unwrap();
            source.keeping.as_ref().unwrap().find(&chunks, &inputs, "5.1").is_none()
        };
        let keep = || {
            let part = |name| VideoInfo { path: chunks.join(name), ..source.inner.probe(&chunks, None).unwrap() };
            let video = VideoInfo { chunks: vec![part("0.mp4"), part("1.mp4")], ..part("") };
            let video = VideoInfo { path: chunks.clone(), ..video };
            let (inputs, ends) = (stamps(&chunks).unwrap(), digest::ends_of(&video.files()).unwrap());
            let kept = Kept { rules: decode::RULES, ffmpeg: "5.1".into(), inputs, ends, video };
            source.keeping.as_ref().unwrap().keep(&chunks, &kept);
        };
        keep();
        assert!(!asks());
        fs::write(chunks.join("1.mp4"), "another").unwrap();
        assert!(asks());
        keep();
        fs::write(chunks.join("7.mp4"), "no chunk of these").unwrap();
        assert!(asks(), "the folder is another one, and its chunks do not follow one another");
    }

    #[test]
    fn garbage_is_passed_over_and_made_anew() {
        let (_folder, video, out) = made();
        let source = source(&out, Keeping::of);
        assert!(source.asks(&video));
        let file = Keeping::of(&out).file(&video);
        let whole = fs::read(&file).unwrap();
        let at = whole.windows(4).position(|four| four == b"1072" || four == b"1000").unwrap();
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        let signed = |text: &str| format!("{}\n{text}\n", digest::text(text)).into_bytes();
        for garbage in [flipped, whole[..whole.len() / 2].to_vec(), vec![], vec![0xff; 99], signed("{}"), signed("[1]")]
        {
            fs::write(&file, &garbage).unwrap();
            assert_eq!([source.asks(&video), source.asks(&video)], [true, false]);
            assert_eq!(fs::read(&file).unwrap(), whole);
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!([source.asks(&video), source.asks(&video)], [true, true], "nothing can be kept there");
        let others = video.with_file_name("b.mp4");
        fs::write(&others, "bytes").unwrap();
        fs::write(Keeping::of(&out).file(&others), &whole).unwrap();
        assert!(source.asks(&others), "what was found of another file");
    }

    #[test]
    fn errors_are_not_kept_nor_is_anything_by_those_who_only_look() {
        let (folder, video, out) = made();
        let (writer, reader) = (source(&out, Keeping::of), source(&out, Keeping::reading));
        let bad = folder.path().join("bad.mp4");
        fs::write(&bad, "x").unwrap();
        for _ in 0..2 {
            assert_eq!(writer.probe(&bad, None).unwrap_err(), ProbeError::Empty(bad.clone()));
        }
        assert_eq!(std::mem::take(&mut *writer.inner.asked.lock().unwrap()).len(), 2);
        assert_eq!([reader.asks(&video), reader.asks(&video)], [true, true]);
        assert!(!out.exists());
        assert_eq!([writer.asks(&video), reader.asks(&video)], [true, false]);
        for elsewhere in ["s3://bucket/a.mp4", "absent.mp4"] {
            writer.probe(Path::new(elsewhere), None).unwrap();
        }
        assert_eq!(fs::read_dir(out.join(FOLDER)).unwrap().count(), 1);
    }

    #[test]
    fn many_writers_of_one_result_leave_a_whole_one() {
        let (_folder, video, out) = made();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                let (video, out) = (&video, &out);
                scope.spawn(move || {
                    let source = source(out, Keeping::of);
                    let (inputs, found) = (stamps(video).unwrap(), source.probe(video, None).unwrap());
                    let ends = digest::ends(video).unwrap();
                    let kept = Kept { rules: decode::RULES, ffmpeg: "5.1".into(), inputs, ends, video: found };
                    (0..20).for_each(|_| source.keeping.as_ref().unwrap().keep(video, &kept));
                });
            }
        });
        assert!(!source(&out, Keeping::of).asks(&video));
        assert_eq!(fs::read_dir(out.join(FOLDER)).unwrap().count(), 1, "nothing stays beside it");
    }
}
