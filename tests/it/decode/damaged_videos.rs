//! A campaign of damaged videos: bytes of files of every container are changed, and each frame that is given out is compared
//! with that of the intact file at the same time. What the decoder itself does not notice cannot be told; how much that is,
//! is printed and bounded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use egofx::decode::{Fault, FfmpegSource, Filter, FrameSource, HwAccel, Transform, VideoInfo};
use egofx::pixels::Pixels;

use crate::support::videos;
use crate::support::videos::{all, make, split, tools};

const SMALL: Transform = Transform::centred(32, 32, Filter::Bilinear);

/// Files of each kind of damage in each container; `EGOFX_CAMPAIGN` sets another number.
const EACH: u64 = 8;

/// The longest that a damaged file of four seconds may take. A machine may be busy; a program that waits for ever is not.
const PATIENCE: Duration = Duration::from_secs(120);

/// Name, and how ffmpeg makes it.
const CONTAINERS: [(&str, &str); 12] = [
    ("h264.mp4", "-c:v libx264 -preset veryfast -bf 2 -g 30"),
    ("index_first.mp4", "-c:v libx264 -preset veryfast -g 30 -movflags +faststart"),
    ("fragmented.mp4", "-c:v libx264 -preset veryfast -g 30 -movflags frag_keyframe+empty_moov"),
    ("hevc.mp4", "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=30"),
    ("h264.mkv", "-c:v libx264 -preset veryfast -bf 2 -g 30"),
    ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30 -b:v 300k"),
    ("h264.ts", "-c:v libx264 -preset veryfast -bf 2 -g 30"),
    ("h264.flv", "-c:v libx264 -preset veryfast -g 30"),
    ("mpeg4.avi", "-c:v mpeg4 -q:v 4 -g 30"),
    ("mjpeg.mov", "-c:v mjpeg -q:v 4 -pix_fmt yuvj420p"),
    ("mpeg2.mpg", "-c:v mpeg2video -q:v 4 -g 15 -bf 2"),
    ("raw.h264", "-c:v libx264 -preset veryfast -g 30"),
];

/// What cameras and Ego4D write.
const USUAL: [&str; 4] = ["h264.mp4", "index_first.mp4", "fragmented.mp4", "h264.mkv"];

/// Changes the bytes of a file.
type Damage = fn(&mut Vec<u8>, &mut Random);

const DAMAGES: [(&str, Damage); 6] = [
    ("a bit", |bytes, random| {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }),
    ("16 bytes", |bytes, random| {
        for _ in 0..16 {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
    }),
    ("a block of zeros", |bytes, random| {
        let (at, length) = random.block(bytes.len());
        bytes[at..at + length].fill(0);
    }),
    ("a block of noise", |bytes, random| {
        let (at, length) = random.block(bytes.len());
        bytes[at..at + length].fill_with(|| random.below(256) as u8);
    }),
    ("a block left out", |bytes, random| {
        let (at, length) = random.block(bytes.len());
        bytes.drain(at..at + length);
    }),
    ("the end", |bytes, random| bytes.truncate(random.below(bytes.len()))),
];

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }

    fn block(&mut self, length: usize) -> (usize, usize) {
        let block = 1 + self.below(2048.min(length / 4));
        (self.below(length - block), block)
    }
}

/// What came of a damaged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    Unharmed,
    Flagged,
    Unnoticed,
}

/// Frames that were given out, and those of them that are not what the intact file shows then.
#[derive(Debug, Clone, Copy, Default)]
struct Frames {
    given: usize,
    wrong: usize,
}

/// The intact file's frames.
struct Intact {
    video: VideoInfo,
    pixels: Vec<Arc<Pixels>>,
}

fn source() -> FfmpegSource {
    FfmpegSource { tools: tools(), threads: 1, hwaccel: HwAccel::None }
}

fn intact(path: &Path) -> Intact {
    let video = source().probe(path, None).unwrap();
    let (frames, faults) = split(source().open(&video, &all(&video), &[SMALL]));
    assert_eq!((faults, frames.len() as u64), (vec![], video.timeline.frames()), "{}", path.display());
    Intact { pixels: frames.into_iter().map(|frame| frame.pixels[0].clone()).collect(), video }
}

/// Whether the pixels are those of a frame of the intact file that is shown within half a frame of `sec`.
fn is_true(intact: &Intact, sec: f64, pixels: &Pixels) -> bool {
    let timeline = &intact.video.timeline;
    let near = timeline.frame_at(sec + 0.5 / timeline.mean_fps());
    *intact.pixels[near as usize] == *pixels
}

fn outcome(path: &Path, intact: &Intact) -> (Outcome, Frames) {
    let Ok(video) = source().probe(path, None) else { return (Outcome::Refused, Frames::default()) };
    let (frames, faults) = split(source().open(&video, &all(&video), &[SMALL]));
    let told = faults.iter().any(|fault| !matches!(fault, Fault::Restarted { .. } | Fault::Fallback { .. }));
    let told = told || video.damage.is_some() || !video.lost.is_empty() || video.declared_end_sec.is_some();
    let is_wrong = |frame: &&egofx::decode::Frame| !is_true(intact, video.timeline.sec(frame.index), &frame.pixels[0]);
    let counted = Frames { given: frames.len(), wrong: frames.iter().filter(is_wrong).count() };
    let outcome = match (told, counted) {
        (false, Frames { given, wrong: 0 }) if given == intact.pixels.len() => Outcome::Unharmed,
        (true, Frames { wrong: 0, .. }) => Outcome::Flagged,
        _ => Outcome::Unnoticed,
    };
    (outcome, counted)
}

/// What is to be tried: the container's number, the damage's, the seed.
fn cases() -> Vec<(usize, usize, u64)> {
    let each =
        std::env::var("EGOFX_CAMPAIGN").ok().map_or(EACH, |text| text.parse().expect("EGOFX_CAMPAIGN: a number"));
    let cross = (0..CONTAINERS.len()).flat_map(|container| (0..DAMAGES.len()).map(move |damage| (container, damage)));
    cross.flat_map(|(container, damage)| (0..each).map(move |seed| (container, damage, seed))).collect()
}

fn damaged(whole: &[u8], damage: usize, seed: u64) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    DAMAGES[damage].1(&mut bytes, &mut Random(seed * 1_000_003 + damage as u64));
    bytes
}

#[test]
#[ignore = "long: some six hundred damaged videos, minutes"]
fn frames_of_damaged_videos_are_true_or_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let real = videos::data("media/nasa_13013.mp4").display().to_string();
    let files: Vec<(PathBuf, Vec<u8>, Intact)> = CONTAINERS
        .iter()
        .map(|(name, options)| {
            let input = format!("-t 4 -i {real} -an -vf scale=160:90,setsar=1 -pix_fmt yuv420p {options}");
            let path = make(folder.path(), name, &input);
            let (bytes, intact) = (fs::read(&path).unwrap(), intact(&path));
            (path, bytes, intact)
        })
        .collect();
    let (cases, next, found) = (cases(), AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        while let Some(&(container, damage, seed)) = cases.get(next.fetch_add(1, Relaxed)) {
            let (path, bytes, intact) = &files[container];
            let name = format!("{damage}-{seed}-{}", CONTAINERS[container].0);
            let bad = path.with_file_name(&name);
            fs::write(&bad, damaged(bytes, damage, seed)).unwrap();
            let begun = Instant::now();
            let got = outcome(&bad, intact);
            assert!(begun.elapsed() < PATIENCE, "{name}: {} took {:?}", DAMAGES[damage].0, begun.elapsed());
            found.lock().unwrap().insert((container, damage, seed), got);
            fs::remove_file(&bad).unwrap();
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let found = found.into_inner().unwrap();
    assert_eq!(found.len(), cases.len());
    report(&found);
    let sum = |of: fn(&Frames) -> usize, files: &[&str]| -> usize {
        let of_files = found.iter().filter(|((container, ..), _)| files.contains(&CONTAINERS[*container].0));
        of_files.map(|(_, (_, frames))| of(frames)).sum()
    };
    let all = CONTAINERS.map(|(name, _)| name);
    let given = |files: &[&str]| sum(|frames| frames.given, files);
    let wrong = |files: &[&str]| sum(|frames| frames.wrong, files);
    assert!(given(&all) > 20 * cases.len(), "{} frames were given out", given(&all));
    // VP9 is decoded whatever it says, and of elementary streams nothing tells that a piece is missing.
    for (files, percent) in [(&USUAL[..], 3), (&all[..], 20)] {
        let (given, wrong) = (given(files), wrong(files));
        assert!(wrong * 100 < given * percent, "{files:?}: {wrong} of {given} frames are wrong and nothing says so");
    }
}

/// A line for each container.
fn report(found: &BTreeMap<(usize, usize, u64), (Outcome, Frames)>) {
    println!(
        "{:<16} {:>6} {:>8} {:>9} {:>8} {:>10} {:>7} {:>6}",
        "file", "tried", "refused", "unharmed", "flagged", "unnoticed", "frames", "wrong"
    );
    for (number, (name, _)) in CONTAINERS.iter().enumerate() {
        let of: Vec<_> = found.iter().filter(|((container, ..), _)| *container == number).map(|(_, got)| got).collect();
        let count = |outcome| of.iter().filter(|(found, _)| *found == outcome).count();
        let [refused, unharmed, flagged, unnoticed] =
            [Outcome::Refused, Outcome::Unharmed, Outcome::Flagged, Outcome::Unnoticed].map(count);
        let sum = |of_frames: fn(&Frames) -> usize| of.iter().map(|(_, frames)| of_frames(frames)).sum::<usize>();
        let (given, wrong) = (sum(|frames| frames.given), sum(|frames| frames.wrong));
        println!(
            "{name:<16} {:>6} {refused:>8} {unharmed:>9} {flagged:>8} {unnoticed:>10} {given:>7} {wrong:>6}",
            of.len()
        );
    }
}
