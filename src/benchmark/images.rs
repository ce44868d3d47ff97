//! Videos that a benchmark's users have as images: which folder is whose, and how many images a second has.
//!
//! Not for reading images. Invariant: only videos whose path leads to images get a rate here; files know their own.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::ids::VideoUid;
use crate::manifest::{Clip, Manifest, ManifestError, Video, image_folders, is_image};
use crate::time::Fps;

/// Rates may be off by so much when they are read off one annotated frame.
const RATE_TOLERANCE: f64 = 0.0004;

/// What a benchmark says about images.
#[derive(Default)]
pub(super) struct ImageSequence {
    /// The rate that its images are cut at, if its authors say so.
    pub fps: Option<Fps>,
    /// Whether each clip has a folder of its own, with the frame numbers of the whole video.
    pub of_clips: bool,
    /// The latest annotated frame of each video: its number and second.
    latest: HashMap<VideoUid, (f64, f64)>,
}

impl ImageSequence {
    /// Notes that frame `number` of a video is shown at `second`: from the latest such frame its rate is read.
    pub(super) fn note(&mut self, video_uid: &str, number: f64, second: f64) {
        let Ok(video_uid) = VideoUid::parse(video_uid) else { return };
        let latest = self.latest.entry(video_uid).or_insert((number, second));
        if second > latest.1 {
            *latest = (number, second);
        }
    }

    /// Gives clips their own folders and videos of images their rates.
    pub(super) fn settle(&self, manifest: &mut Manifest, roots: &[PathBuf]) -> Result<(), ManifestError> {
        if self.of_clips {
            give_folders(manifest, roots)?;
        }
        for video in manifest.videos.iter_mut().filter(|video| video.fps.is_none()) {
            if video.path.as_deref().is_some_and(|path| path.is_dir() || !path.exists()) {
                video.fps = self.latest.get(&video.uid).and_then(|&latest| rate(latest)).or(self.fps);
            }
        }
        Ok(())
    }
}

/// 60 of frame 216090 at second 3601.5.
fn rate((number, second): (f64, f64)) -> Option<Fps> {
    let found = number / second;
    let known = [found.round().to_string(), format!("{}/1001", found.round() * 1000.0)];
    let known = known.iter().filter_map(|text| text.parse::<Fps>().ok());
    let off = |fps: &Fps| (fps.as_f64() / found - 1.0).abs();
    known.min_by(|a, b| off(a).total_cmp(&off(b))).filter(|fps| off(fps) <= RATE_TOLERANCE)
}

/// Makes a video of every clip that has a folder of its own; the others stay as they are.
fn give_folders(manifest: &mut Manifest, roots: &[PathBuf]) -> Result<(), ManifestError> {
    let mut folders: BTreeMap<String, PathBuf> = BTreeMap::new();
    for root in roots {
        for folder in image_folders(root)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            folders.entry(name).or_insert(folder);
        }
    }
    let mut own = Vec::new();
    for video in &mut manifest.videos {
        let clips = std::mem::take(&mut video.clips);
        for clip in clips {
            match folders.get(clip.uid.as_str()).and_then(|folder| of_clip(&clip, &video.uid, folder)) {
                Some(video) => own.push(video),
                None => video.clips.push(clip),
            }
        }
    }
    manifest.videos.retain(|video| !video.clips.is_empty());
    manifest.videos.extend(own);
    Ok(())
}

/// The video that a clip's own images are. Its clip keeps its place in the whole video.
fn of_clip(clip: &Clip, parent: &VideoUid, folder: &Path) -> Option<Video> {
    let uid = VideoUid::parse(clip.uid.as_str()).ok()?;
    let mut clip = clip.clone();
    clip.extra.insert("parent_video_uid".to_owned(), parent.to_string());
    let path = Some(folder.join(pattern(folder)?));
    Some(Video { uid, path, duration_sec: None, num_frames: None, fps: None, clips: vec![clip] })
}

/// `%d.jpeg` for a folder with `1000.jpeg`, `frame_%010d.jpg` for one with `frame_0000001000.jpg`.
fn pattern(folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let name = entries.filter(|path| is_image(path)).min()?.file_name()?.to_str()?.to_owned();
    let stem = name.rsplit_once('.')?.0;
    let digits = stem.len() - stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (before, number) = stem.split_at(stem.len() - digits);
    let padded = if number.len() > 1 && number.starts_with('0') { format!("0{digits}") } else { String::new() };
    (digits > 0 && !name.contains('%')).then(|| format!("{before}%{padded}d{}", &name[stem.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::samples::tree;
    use crate::time::TimeSpan;

    fn manifest(video_uid: &str, clips: &[&str]) -> Manifest {
        let uid = VideoUid::parse(video_uid).unwrap();
        let clip = |name: &&str| Clip {
            uid: crate::ids::ClipUid::parse(name).unwrap(),
            span: TimeSpan::new(10.0, 18.0),
            ..Clip::whole(&uid, 1)
        };
        let clips = clips.iter().map(clip).collect();
        let video = Video { uid, path: None, duration_sec: None, num_frames: None, fps: None, clips };
        Manifest { name: "m".into(), videos: vec![video], rejected: Vec::new() }
    }

    #[test]
    fn clips_with_images_of_their_own_become_videos_and_keep_their_seconds() {
        let dir = tree(&["pos/c1/300.jpeg", "pos/c1/301.jpeg", "neg/c2/0007.jpg", "neg/c3/x.jpg"]);
        let mut manifest = manifest("v", &["c1", "c2", "c3"]);
        let images = ImageSequence { fps: Fps::new(30, 1), of_clips: true, ..ImageSequence::default() };
        images.settle(&mut manifest, &[dir.path().to_owned()]).unwrap();
        let paths: Vec<_> = manifest.videos.iter().map(|video| video.path.clone()).collect();
        let at = |file: &str| Some(dir.path().join(file));
        assert_eq!(paths, [None, at("pos/c1/%d.jpeg"), at("neg/c2/%04d.jpg")], "x.jpg has no number");
        assert_eq!(manifest.videos[1].fps, Fps::new(30, 1));
        assert_eq!(manifest.videos[1].clips[0].span, TimeSpan::new(10.0, 18.0));
        assert_eq!(manifest.videos[1].clips[0].extra["parent_video_uid"], "v");
    }

    #[test]
    fn a_rate_is_read_off_the_latest_annotated_frame() {
        assert_eq!(rate((216_090.0, 3601.5)), Fps::new(60, 1));
        assert_eq!(rate((99_900.0, 1666.67)), Fps::new(60_000, 1001));
        assert_eq!(rate((180_075.0, 3601.5)), Fps::new(50, 1));
        assert_eq!(rate((8.0, 0.14)), None, "one frame of eight is too coarse");
        let dir = tree(&["P01_01/frame_0000000001.jpg"]);
        let mut manifest = manifest("P01_01", &["c"]);
        manifest.locate(&[dir.path().to_owned()]).unwrap();
        let mut images = ImageSequence::default();
        [(8.0, 0.14), (216_090.0, 3601.5), (202.0, 3.37)].iter().for_each(|&(n, sec)| images.note("P01_01", n, sec));
        images.settle(&mut manifest, &[]).unwrap();
        assert_eq!(manifest.videos[0].fps, Fps::new(60, 1));
    }

    #[test]
    fn a_video_file_gets_no_rate() {
        let dir = tree(&["v.mp4"]);
        let mut manifest = manifest("v", &["c"]);
        manifest.locate(&[dir.path().to_owned()]).unwrap();
        ImageSequence { fps: Fps::new(1, 1), ..ImageSequence::default() }.settle(&mut manifest, &[]).unwrap();
        assert_eq!(manifest.videos[0].fps, None);
    }
}
