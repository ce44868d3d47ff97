//! The frames that Ego4D's annotations of hands and objects name: before an action, at the point of no return, after it, and
//! those from which is foretold what is touched next.
//!
//! `fho_main.json` (`critical_frames`), `fho_oscc-pnr_*.json` (`parent_pnr_frame`), `fho_scod_*.json`, `fho_hands_*.json` and
//! `fho_sta_*.json`, by their published schemas. Not for boxes. Numbers are those of the whole video, at 30 frames a second. What is null is passed
//! over; a number of another type is an error that names the field.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{At, FramesError, Wanted};
use crate::benchmark::json;
use crate::ids::VideoUid;

/// Kinds of frames, as they are asked for.
pub const CRITICAL: &[&str] = &["pre", "pnr", "post", "contact", "pre_15", "pre_30", "pre_45", STA];
/// The last frame that short-term anticipation sees.
const STA: &str = "sta";

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    videos: Vec<Video>,
    #[serde(default)]
    clips: Vec<Clip>,
    #[serde(default)]
    annotations: Vec<Anticipation>,
}

/// Of `fho_sta`, whose releases name the video by one key, or the other, or both.
#[derive(Deserialize)]
struct Anticipation {
    uid: String,
    video_uid: Option<String>,
    video_id: Option<String>,
    frame: f64,
}

/// Of `fho_main.json`.
#[derive(Deserialize)]
struct Video {
    video_uid: String,
    #[serde(default)]
    annotated_intervals: Vec<Interval>,
}

#[derive(Deserialize)]
struct Interval {
    #[serde(default)]
    narrated_actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    uid: Option<String>,
    critical_frames: Option<Frames>,
}

/// Of the other files.
#[derive(Deserialize)]
struct Clip {
    video_uid: String,
    unique_id: Option<String>,
    clip_id: Option<json::Cell>,
    parent_pnr_frame: Option<f64>,
    /// Of `fho_hands`.
    #[serde(default)]
    frames: Vec<Frames>,
    /// Of `fho_scod`.
    #[serde(flatten)]
    own: Frames,
}

/// Frames by kind. A frame is its number, or an object that has it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Frames {
    action_start_frame: Option<f64>,
    pre_45: Option<Frame>,
    pre_30: Option<Frame>,
    pre_15: Option<Frame>,
    pre_frame: Option<Frame>,
    contact_frame: Option<Frame>,
    pnr_frame: Option<Frame>,
    post_frame: Option<Frame>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(untagged, expecting = "expected the number of a frame, or an object with frame_number or frame")]
enum Frame {
    Number(f64),
    /// Of `fho_scod`.
    Boxed {
        frame_number: f64,
    },
    /// Of `fho_hands`.
    Handed {
        frame: f64,
    },
}

impl Frame {
    fn number(self) -> f64 {
        match self {
            Self::Number(number) | Self::Boxed { frame_number: number } | Self::Handed { frame: number } => number,
        }
    }
}

impl Frames {
    fn of(&self, kind: &str) -> Option<f64> {
        let frame = match kind {
            "pre" => self.pre_frame,
            "pnr" => self.pnr_frame,
            "post" => self.post_frame,
            "contact" => self.contact_frame,
            "pre_15" => self.pre_15,
            "pre_30" => self.pre_30,
            "pre_45" => self.pre_45,
            _ => None,
        };
        frame.map(Frame::number)
    }
}

/// The frames of the `kinds` that the annotations `path` name, as `{action}_{kind}`, and how many have no video's name.
///
/// # Errors
/// [`FramesError::Annotations`], [`FramesError::NoFrames`].
pub fn critical_frames(path: &Path, kinds: &[String]) -> Result<(Vec<Wanted>, usize), FramesError> {
    let file: File = json::read(path)?;
    let mut found = Found { kinds, wanted: Vec::new(), unnamed: 0, names: BTreeMap::new() };
    for video in &file.videos {
        let actions = video.annotated_intervals.iter().flat_map(|interval| &interval.narrated_actions);
        for (number, action) in actions.enumerate() {
            let name = action.uid.clone().unwrap_or_else(|| number.to_string());
            if let Some(frames) = &action.critical_frames {
                found.add(&video.video_uid, &name, |kind| frames.of(kind));
            }
        }
    }
    for clip in &file.clips {
        let id = clip.clip_id.as_ref().map(|id| id.as_str().to_owned());
        let name = clip.unique_id.clone().or(id).unwrap_or_default();
        let pnr = clip.parent_pnr_frame.filter(|number| *number > 0.0);
        found.add(&clip.video_uid, &name, |kind| clip.own.of(kind).or(pnr.filter(|_| kind == "pnr")));
        for frames in &clip.frames {
            let start = frames.action_start_frame.map_or(String::new(), |start| format!("_{start}"));
            found.add(&clip.video_uid, &format!("{name}{start}"), |kind| frames.of(kind));
        }
    }
    for one in &file.annotations {
        let video = one.video_uid.as_deref().or(one.video_id.as_deref()).unwrap_or_default();
        found.add(video, &one.uid, |kind| Some(one.frame).filter(|_| kind == STA));
    }
    if found.wanted.is_empty() {
        return Err(FramesError::NoFrames { path: path.to_owned(), asked: kinds.join(", ") });
    }
    Ok((found.wanted, found.unnamed))
}

struct Found<'k> {
    kinds: &'k [String],
    wanted: Vec<Wanted>,
    unnamed: usize,
    names: BTreeMap<String, VideoUid>,
}

impl Found<'_> {
    fn add(&mut self, video: &str, name: &str, of: impl Fn(&str) -> Option<f64>) {
        let numbers: Vec<(&String, f64)> = self.kinds.iter().filter_map(|kind| Some((kind, of(kind)?))).collect();
        if !self.names.contains_key(video) {
            match VideoUid::parse(video) {
                Ok(uid) => drop(self.names.insert(video.to_owned(), uid)),
                Err(_) => self.unnamed += numbers.len(),
            }
        }
        let Some(video_uid) = self.names.get(video) else { return };
        let wanted = |(kind, number): (&String, f64)| Wanted {
            video_uid: video_uid.clone(),
            name: format!("{name}_{kind}"),
            at: At::Canonical(number),
        };
        self.wanted.extend(numbers.into_iter().map(wanted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, kinds: &[&str]) -> Result<Vec<(String, f64)>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let (wanted, _) = critical_frames(file.path(), &kinds).map_err(|error| error.to_string())?;
        let frame = |wanted: Wanted| match wanted.at {
            At::Canonical(number) => (format!("{}/{}", wanted.video_uid, wanted.name), number),
            at => panic!("{at:?}"),
        };
        Ok(wanted.into_iter().map(frame).collect())
    }

    fn of(found: &[(&str, f64)]) -> Result<Vec<(String, f64)>, String> {
        Ok(found.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect())
    }

    #[test]
    fn all_files_of_the_benchmark_name_their_frames() {
        let main = r#"{"version": "2", "videos": [{"video_uid": "v", "annotated_intervals": [{"clip_uid": null, "narrated_actions": [
            {"uid": "a", "critical_frames": {"pre_45": 10, "pre_frame": 55, "pnr_frame": 70, "post_frame": 90}},
            {"uid": "b", "is_rejected": true, "critical_frames": null}]}]}]}"#;
        assert_eq!(
            read(main, &["pre", "pnr", "post"]),
            of(&[("v/a_pre", 55.0), ("v/a_pnr", 70.0), ("v/a_post", 90.0)])
        );
        assert_eq!(read(main, &["pre_45"]), of(&[("v/a_pre_45", 10.0)]));
        let oscc = r#"{"split": "val", "clips": [
            {"video_uid": "v", "unique_id": "u", "clip_id": "9", "state_change": true, "parent_pnr_frame": 420, "pnr_frame": null},
            {"video_uid": "v", "unique_id": "w", "state_change": false, "parent_pnr_frame": null}]}"#;
        assert_eq!(read(oscc, &["pre", "pnr"]), of(&[("v/u_pnr", 420.0)]));
        let scod = r#"{"clips": [{"video_uid": "v", "clip_id": "7", "pre_frame": {"frame_number": 3, "clip_frame_number": 1, "bbox": []},
            "pnr_frame": {"frame_number": 5, "width": 8}, "post_frame": {"frame_number": 9}}]}"#;
        assert_eq!(read(scod, &["post", "pre"]), of(&[("v/7_post", 9.0), ("v/7_pre", 3.0)]));
        let hands = r#"{"clips": [{"video_uid": "v", "clip_id": 12, "clip_uid": "c", "frames": [
            {"action_start_frame": 30, "pre_45": {"frame": 1, "clip_frame": 0, "boxes": []}, "contact_frame": {"frame": 33}}]}]}"#;
        assert_eq!(read(hands, &["contact", "pre_45"]), of(&[("v/12_30_contact", 33.0), ("v/12_30_pre_45", 1.0)]));
    }

    #[test]
    fn anticipation_names_the_last_frame_that_is_seen() {
        let sta = r#"{"info": {"split": "val", "video_metadata": {"v": {"fps": 30.0}}}, "noun_categories": [], "annotations": [
            {"uid": "v_000_7", "video_id": "v", "frame": 4097, "clip_id": 3, "clip_uid": "c", "clip_frame": 97,
             "objects": [{"box": [1.0, 2.0, 3.0, 4.0], "verb_category_id": 1, "noun_category_id": 2, "time_to_contact": 0.7}]}]}"#;
        assert_eq!(read(sta, &["sta"]), of(&[("v/v_000_7_sta", 4097.0)]));
        for other in ["\"video_uid\": \"v\"", "\"video_uid\": \"v\", \"video_id\": \"v\""] {
            let sta = sta.replace("\"video_id\": \"v\"", other);
            assert_eq!(read(&sta, &["sta"]), of(&[("v/v_000_7_sta", 4097.0)]));
        }
        let error = read(sta, &["pre", "pnr", "post"]).unwrap_err();
        assert!(error.contains("with pre, pnr, post, found no such frame"), "{error}");
    }

    #[test]
    fn what_names_no_frame_is_an_error() {
        let none = r#"{"clips": [{"video_uid": "v", "unique_id": "u", "parent_pnr_frame": 0}]}"#;
        let error = read(none, &["pre", "pnr"]).unwrap_err();
        assert!(error.contains("annotations with pre, pnr, found no such frame"), "{error}");
        let error = read(r#"{"clips": [{"video_uid": "v", "parent_pnr_frame": "7"}]}"#, &["pnr"]).unwrap_err();
        assert!(error.contains("clips[0]") && error.contains("invalid type: string \"7\""), "{error}");
        let main = |frames: &str| {
            let actions = format!("{{\"uid\": \"a\", \"critical_frames\": {frames}}}");
            format!(
                "{{\"videos\": [{{\"video_uid\": \"v\", \"annotated_intervals\": [{{\"narrated_actions\": [{actions}]}}]}}]}}"
            )
        };
        let error = read(&main(r#"{"pre_frame": "soon"}"#), &["pre"]).unwrap_err();
        let said = "videos[0].annotated_intervals[0].narrated_actions[0].critical_frames.pre_frame: expected the number of a frame";
        assert!(error.contains(said), "{error}");
        assert_eq!(read(&main(r#"{"pre_frame": -20, "pnr_frame": 3.0}"#), &["pre"]), of(&[("v/a_pre", -20.0)]));
    }
}
