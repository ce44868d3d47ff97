//! What is wrong with a video, before anything is decoded: its container set against its manifest.
//!
//! Not for decoding or for repairs. Invariant: judgement is pure; one manifest entry and one probe give the same findings
//! in the same order, the file's first, then those of its clips in the manifest's order.

use serde::Serialize;

use crate::decode::{FrameSource, ProbeError, VideoInfo};
use crate::grid::END_TOLERANCE_SEC;
use crate::ids::ClipUid;
use crate::manifest::{Clip, Video};
use crate::time::Fps;

/// A frame this many times as wide as high shows two eyes side by side: the widest cinema format is 2.4.
const STEREO_ASPECT: f64 = 2.5;

/// Rates that differ by less are one rate, written down or measured less exactly; 30 and 30000/1001 differ by twice that.
const RATE_TOLERANCE: f64 = 0.0005;

/// Rates may differ until the last frame is this many frames off: below that, timestamps are too coarse to tell.
const DRIFT_TOLERANCE_FRAMES: f64 = 0.5;

/// How bad a finding is. The worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Rows are right; a person should know all the same.
    Note,
    /// Rows may differ from those of the original code, or from what the manifest makes one expect.
    Warning,
    /// Rows will be missing.
    Error,
}

/// One thing that is wrong with a video.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Finding {
    /// Neither the manifest nor a search gave a file.
    #[error("no file of this name is in the folders searched, and the manifest gives no path")]
    NotLocated,
    /// The file that the manifest names is not there.
    #[error("{what}")]
    Missing {
        /// The probe's words.
        what: String,
    },
    /// The file is no video that can be read.
    #[error("{what}")]
    Unreadable {
        /// The probe's words.
        what: String,
    },
    /// There is less in the file than its header says.
    #[error(
        "truncated: its header says that it ends at {declared_end_sec:.2} s, its frames end at {video_end_sec:.2} s; \
         {clips_affected} of {clips} clips reach beyond"
    )]
    Truncated {
        /// Where the header says that it ends.
        declared_end_sec: f64,
        /// Where its frames end.
        video_end_sec: f64,
        /// Clips that reach beyond.
        clips_affected: usize,
        /// All clips.
        clips: usize,
    },
    /// Frames are gone from within the file.
    #[error(
        "damaged: {frames} frames are lost, the first at {first_sec:.2} s; {clips_affected} of {clips} clips hold some"
    )]
    Lost {
        /// How many.
        frames: usize,
        /// When the first would be shown.
        first_sec: f64,
        /// Clips that hold some.
        clips_affected: usize,
        /// All clips.
        clips: usize,
    },
    /// Something in the file is damaged, and only decoding tells what it costs.
    #[error("damaged: {what}")]
    Damaged {
        /// What was said of it.
        what: String,
    },
    /// Frames are not shown equally long.
    #[error("variable frame rate, {mean_fps:.3} fps on average")]
    VariableRate {
        /// The mean rate.
        mean_fps: f64,
    },
    /// Players turn the image.
    #[error("rotated: shown turned clockwise by {degrees} degrees, as {width}x{height}")]
    Rotated {
        /// Clockwise degrees.
        degrees: i32,
        /// Width as shown.
        width: u32,
        /// Height as shown.
        height: u32,
    },
    /// Two eyes share a frame.
    #[error("stereo: {width}x{height}, {}", mode.as_deref().unwrap_or("wide enough for two images side by side"))]
    Stereo {
        /// Width as shown.
        width: u32,
        /// Height as shown.
        height: u32,
        /// The container's word, if it says so.
        mode: Option<String>,
    },
    /// The manifest gives another length.
    #[error("the manifest says {manifest_sec:.2} s, the video ends at {video_end_sec:.2} s")]
    Duration {
        /// The manifest's.
        manifest_sec: f64,
        /// Where the file ends, by its header if it was truncated.
        video_end_sec: f64,
    },
    /// The manifest gives another number of frames.
    #[error("the manifest says {manifest_frames} frames, the video has {video_frames}")]
    FrameCount {
        /// The manifest's.
        manifest_frames: u64,
        /// The file's.
        video_frames: u64,
    },
    /// The manifest gives another rate.
    #[error("the manifest says {manifest_fps} fps, the video has {video_fps:.3}")]
    Rate {
        /// The manifest's.
        manifest_fps: Fps,
        /// The file's mean.
        video_fps: f64,
    },
    /// A clip ends after its video.
    #[error("clip {clip_uid} ends at {end_sec:.2} s, the video at {video_end_sec:.2} s")]
    ClipEndsPastEnd {
        /// The clip.
        clip_uid: ClipUid,
        /// Its end.
        end_sec: f64,
        /// Where the frames end.
        video_end_sec: f64,
    },
    /// A clip starts after its video.
    #[error("clip {clip_uid} starts at {start_sec:.2} s, the video ends at {video_end_sec:.2} s")]
    ClipStartsPastEnd {
        /// The clip.
        clip_uid: ClipUid,
        /// Its start.
        start_sec: f64,
        /// Where the frames end.
        video_end_sec: f64,
    },
    /// What else the probe saw.
    #[error("{what}")]
    Remark {
        /// Its words.
        what: String,
    },
}

impl Finding {
    /// How bad it is. Damage that no clip touches costs no rows.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Truncated { clips_affected: 0, .. } | Self::Lost { clips_affected: 0, .. } => Severity::Warning,
            Self::NotLocated
            | Self::Missing { .. }
            | Self::Unreadable { .. }
            | Self::Truncated { .. }
            | Self::Lost { .. }
            | Self::Damaged { .. }
            | Self::ClipEndsPastEnd { .. }
            | Self::ClipStartsPastEnd { .. } => Severity::Error,
            Self::VariableRate { .. }
            | Self::Rotated { .. }
            | Self::Stereo { .. }
            | Self::Duration { .. }
            | Self::FrameCount { .. }
            | Self::Rate { .. } => Severity::Warning,
            Self::Remark { .. } => Severity::Note,
        }
    }
}

/// Probes the file of `video` and judges it.
pub fn audit(video: &Video, source: &dyn FrameSource) -> Vec<Finding> {
    match &video.path {
        Some(path) => findings(video, source.probe(path, video.fps).as_ref()),
        None => vec![Finding::NotLocated],
    }
}

/// What is wrong with a video, given what a probe of its file said.
pub fn findings(video: &Video, probed: Result<&VideoInfo, &ProbeError>) -> Vec<Finding> {
    let info = match probed {
        Ok(info) => info,
        Err(error @ ProbeError::Missing(_)) => return vec![Finding::Missing { what: error.to_string() }],
        Err(error) => return vec![Finding::Unreadable { what: error.to_string() }],
    };
    let file =
        [truncated(video, info), lost(video, info), damaged(info), variable_rate(info), rotated(info), stereo(info)];
    let promises = [duration(video, info), frame_count(video, info), rate(video, info)];
    let clips = video.clips.iter().filter_map(|clip| past_end(clip, info));
    let remarks = info.notes.iter().map(|what| Finding::Remark { what: what.clone() });
    file.into_iter().chain(promises).flatten().chain(remarks).chain(clips).collect()
}

fn truncated(video: &Video, info: &VideoInfo) -> Option<Finding> {
    let video_end_sec = info.timeline.end_sec();
    let reaches_beyond = |clip: &&Clip| clip.span.is_none_or(|span| span.end_sec > video_end_sec + END_TOLERANCE_SEC);
    info.declared_end_sec.map(|declared_end_sec| Finding::Truncated {
        declared_end_sec,
        video_end_sec,
        clips_affected: video.clips.iter().filter(reaches_beyond).count(),
        clips: video.clips.len(),
    })
}

fn lost(video: &Video, info: &VideoInfo) -> Option<Finding> {
    let seconds: Vec<f64> = info.lost.iter().map(|&frame| info.timeline.sec(frame)).collect();
    let holds_some = |clip: &&Clip| {
        clip.span.is_none_or(|span| seconds.iter().any(|&sec| span.start_sec <= sec && sec < span.end_sec))
    };
    seconds.first().map(|&first_sec| Finding::Lost {
        frames: seconds.len(),
        first_sec,
        clips_affected: video.clips.iter().filter(holds_some).count(),
        clips: video.clips.len(),
    })
}

/// Damage of which nothing more is known: what is truncated or has lost frames is described by that.
fn damaged(info: &VideoInfo) -> Option<Finding> {
    let unexplained = info.declared_end_sec.is_none() && info.lost.is_empty();
    info.damage.clone().filter(|_| unexplained).map(|what| Finding::Damaged { what })
}

fn variable_rate(info: &VideoInfo) -> Option<Finding> {
    let line = &info.timeline;
    (!line.is_constant()).then(|| Finding::VariableRate { mean_fps: line.mean_fps() })
}

fn rotated(info: &VideoInfo) -> Option<Finding> {
    let &VideoInfo { rotation: degrees, width, height, .. } = info;
    (degrees != 0).then_some(Finding::Rotated { degrees, width, height })
}

fn stereo(info: &VideoInfo) -> Option<Finding> {
    let &VideoInfo { width, height, .. } = info;
    let wide = f64::from(width) >= STEREO_ASPECT * f64::from(height);
    (wide || info.stereo.is_some()).then(|| Finding::Stereo { width, height, mode: info.stereo.clone() })
}

/// Of a truncated file the manifest is held against the header: that frames are gone is said already.
fn duration(video: &Video, info: &VideoInfo) -> Option<Finding> {
    let video_end_sec = info.declared_end_sec.unwrap_or(info.timeline.end_sec());
    let manifest_sec = video.duration_sec.filter(|sec| (sec - video_end_sec).abs() > END_TOLERANCE_SEC)?;
    Some(Finding::Duration { manifest_sec, video_end_sec })
}

fn frame_count(video: &Video, info: &VideoInfo) -> Option<Finding> {
    let (line, tolerance) = (&info.timeline, END_TOLERANCE_SEC * info.timeline.mean_fps());
    let differs = |frames: &u64| frames.abs_diff(line.frames()) as f64 > tolerance;
    let manifest_frames = video.num_frames.filter(differs).filter(|_| info.declared_end_sec.is_none())?;
    Some(Finding::FrameCount { manifest_frames, video_frames: line.frames() })
}

fn rate(video: &Video, info: &VideoInfo) -> Option<Finding> {
    let (line, manifest_fps) = (&info.timeline, video.fps?);
    let video_fps = line.mean_fps();
    let off = (manifest_fps.as_f64() / video_fps - 1.0).abs();
    // A single frame has no rate.
    let drift_frames = off * (line.frames() - 1) as f64;
    let differs = off > RATE_TOLERANCE && drift_frames > DRIFT_TOLERANCE_FRAMES;
    differs.then_some(Finding::Rate { manifest_fps, video_fps })
}

fn past_end(clip: &Clip, info: &VideoInfo) -> Option<Finding> {
    let (span, video_end_sec) = (clip.span?, info.timeline.end_sec());
    let clip_uid = clip.uid.clone();
    if span.start_sec >= video_end_sec {
        return Some(Finding::ClipStartsPastEnd { clip_uid, start_sec: span.start_sec, video_end_sec });
    }
    let ends_past = span.end_sec > video_end_sec + END_TOLERANCE_SEC;
    ends_past.then_some(Finding::ClipEndsPastEnd { clip_uid, end_sec: span.end_sec, video_end_sec })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::SyntheticSource;
    use crate::ids::VideoUid;
    use crate::time::{TimeBase, TimeSpan, Timeline};

    /// Ten seconds at 30 fps.
    fn probed() -> VideoInfo {
        let source = SyntheticSource { frames: 300, fps: Fps::new(30, 1).unwrap() };
        source.probe(std::path::Path::new("v.mp4"), None).unwrap()
    }

    fn whole() -> Video {
        let uid = VideoUid::parse("v").unwrap();
        let clips = vec![Clip::whole(&uid, 1)];
        Video { uid, path: Some("v.mp4".into()), duration_sec: None, num_frames: None, fps: None, clips }
    }

    fn clipped(spans: &[(f64, f64)]) -> Video {
        let clip = |&(start, end): &(f64, f64)| Clip { span: TimeSpan::new(start, end), ..whole().clips[0].clone() };
        Video { clips: spans.iter().map(clip).collect(), ..whole() }
    }

    fn words(video: &Video, info: &VideoInfo) -> Vec<String> {
        let line = |finding: &Finding| format!("{:?} {finding}", finding.severity());
        findings(video, Ok(info)).iter().map(line).collect()
    }

    #[test]
    fn nothing_is_wrong_with_a_video_that_is_as_its_manifest_says() {
        let video = Video {
            duration_sec: Some(10.4),
            num_frames: Some(299),
            fps: Fps::new(30, 1),
            ..clipped(&[(0.0, 10.0), (9.0, 10.5)])
        };
        assert_eq!(findings(&video, Ok(&probed())), []);
    }

    #[test]
    fn files_that_are_no_videos_are_errors() {
        let missing = ProbeError::Missing("v.mp4".into());
        let found = findings(&whole(), Err(&missing));
        assert_eq!(found, [Finding::Missing { what: "v.mp4: no such file".into() }]);
        let found = findings(&whole(), Err(&ProbeError::Empty("v.mp4".into())));
        assert!(matches!(found[..], [Finding::Unreadable { .. }]) && found[0].severity() == Severity::Error);
        let source = SyntheticSource { frames: 1, fps: Fps::new(30, 1).unwrap() };
        assert_eq!(audit(&Video { path: None, ..whole() }, &source), [Finding::NotLocated]);
        assert_eq!(audit(&whole(), &source), []);
    }

    #[test]
    fn a_truncated_video_is_an_error_where_a_clip_reaches_beyond() {
        let info = VideoInfo { declared_end_sec: Some(20.0), ..probed() };
        let says = "truncated: its header says that it ends at 20.00 s, its frames end at 10.00 s";
        let promised = Video { duration_sec: Some(20.0), num_frames: Some(600), ..whole() };
        assert_eq!(words(&promised, &info), [format!("Error {says}; 1 of 1 clips reach beyond")]);
        assert_eq!(words(&clipped(&[(0.0, 9.0)]), &info), [format!("Warning {says}; 0 of 1 clips reach beyond")]);
    }

    #[test]
    fn lost_frames_are_an_error_where_a_clip_holds_some() {
        let info = VideoInfo { lost: vec![60, 61], ..probed() };
        let says = "damaged: 2 frames are lost, the first at 2.00 s";
        let two = clipped(&[(0.0, 2.0), (2.0, 4.0)]);
        assert_eq!(words(&two, &info), [format!("Error {says}; 1 of 2 clips hold some")]);
        assert_eq!(words(&clipped(&[(0.0, 2.0)]), &info), [format!("Warning {says}; 0 of 1 clips hold some")]);
    }

    #[test]
    fn damage_that_nothing_else_describes_is_an_error() {
        let damage = Some("ffprobe: NULL: Invalid NAL unit size".to_owned());
        let info = VideoInfo { damage: damage.clone(), ..probed() };
        assert_eq!(words(&whole(), &info), ["Error damaged: ffprobe: NULL: Invalid NAL unit size"]);
        let info = VideoInfo { damage, lost: vec![60], ..probed() };
        assert!(words(&whole(), &info).iter().all(|line| !line.contains("NULL")));
    }

    #[test]
    fn odd_images_and_rates_are_warnings() {
        let timeline = Timeline::new(vec![0, 100, 200, 600], TimeBase { num: 1, den: 1000 }, 0).unwrap();
        let info = VideoInfo { timeline, rotation: 90, width: 640, height: 256, ..probed() };
        let expected = [
            "Warning variable frame rate, 5.000 fps on average",
            "Warning rotated: shown turned clockwise by 90 degrees, as 640x256",
            "Warning stereo: 640x256, wide enough for two images side by side",
        ];
        assert_eq!(words(&whole(), &info), expected);
        let info = VideoInfo { stereo: Some("top and bottom".into()), notes: vec!["ffprobe: hm".into()], ..probed() };
        assert_eq!(words(&whole(), &info), ["Warning stereo: 256x256, top and bottom", "Note ffprobe: hm"]);
        assert_eq!(words(&whole(), &VideoInfo { width: 639, height: 256, ..probed() }), [""; 0]);
    }

    #[test]
    fn promises_of_the_manifest_are_held_against_the_file() {
        let video = Video { duration_sec: Some(9.4), num_frames: Some(400), fps: Fps::new(25, 1), ..whole() };
        let expected = [
            "Warning the manifest says 9.40 s, the video ends at 10.00 s",
            "Warning the manifest says 400 frames, the video has 300",
            "Warning the manifest says 25 fps, the video has 30.000",
        ];
        assert_eq!(words(&video, &probed()), expected);
    }

    #[test]
    fn ntsc_rates_are_told_from_whole_ones_once_they_drift() {
        let video = Video { fps: Fps::new(30000, 1001), ..whole() };
        let long =
            |frames| VideoInfo { timeline: Timeline::constant(frames, Fps::new(30, 1).unwrap()).unwrap(), ..probed() };
        assert_eq!(words(&video, &long(300)), [""; 0]);
        assert_eq!(words(&video, &long(3000)), ["Warning the manifest says 30000/1001 fps, the video has 30.000"]);
    }

    #[test]
    fn clips_past_the_end_are_errors_with_the_numbers() {
        let video = clipped(&[(0.0, 9.0), (8.0, 12.0), (10.0, 12.0)]);
        let expected = [
            "Error clip v ends at 12.00 s, the video at 10.00 s",
            "Error clip v starts at 10.00 s, the video ends at 10.00 s",
        ];
        assert_eq!(words(&video, &probed()), expected);
    }
}
