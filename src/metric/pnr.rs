//! PNR: how many seconds the predicted frame of a change is off.
//!
//! After the metrics of [EgoVLP](https://github.com/showlab/EgoVLP). Not for clips without a change. As released, the
//! predicted frame is the slot times a sixteenth of the clip, although the frames that the model saw lie elsewhere:
//! even perfect slots have an error, of up to a slot. `fixed` takes the frames that the model saw.

use serde::Deserialize;
use serde_json::{Map, json};

use super::oscc::{ANNOTATIONS, set_against};
use super::report::{Grid, Unit};
use super::{Compat, Evaluator, Input, Inputs, MetricError, Need, Report, files, rank};
use crate::benchmark::json::Pairs;
use crate::benchmark::oscc::{Entry, File};

/// How many frames of a clip the model sees.
pub const SLOTS: usize = 16;

/// No video has more frames: a year's at 30 a second.
const LAST_FRAME: f64 = 1e9;

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "Which of the 16 frames it is, JSON: {unique_id: [16 scores]}; the number of the frame, from 0, in place of \
            the scores will do. Clips without a change may be left out.",
    need: Need::One,
};

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "pnr",
    about: "point of no return: error of the frame in seconds",
    inputs: &[PREDICTIONS, ANNOTATIONS],
    choices: &[],
    fixes: Some("the frames that the model saw are compared, not multiples of a sixteenth of the clip"),
    evaluate,
};

/// A clip with a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// First frame of the clip in its video.
    pub start_frame: f64,
    /// Its last frame.
    pub end_frame: f64,
    /// The frame of the change in the video.
    pub pnr_frame: f64,
    /// Frames a second.
    pub fps: f64,
}

/// The error of a slot (0 to 15) in seconds. Fixed, it is NaN where the clip is too short for 16 frames.
pub fn error_sec(slot: usize, change: &Change, compat: Compat) -> f64 {
    let found = match compat {
        Compat::AsReleased => (change.end_frame - change.start_frame) / SLOTS as f64 * slot as f64,
        Compat::Fixed => {
            let frames = sampled_frames(change.start_frame as u64, change.end_frame as u64);
            frames.get(slot).map_or(f64::NAN, |frame| *frame as f64 - change.start_frame)
        }
    };
    (found - (change.pnr_frame - change.start_frame)).abs() / change.fps
}

/// The 16 frames of `[start, end)` that the model saw: the multiples of the step, in the video's own count, and of the
/// next smaller step where those are fewer than 16. Empty for clips of fewer than 16 frames.
pub fn sampled_frames(start: u64, end: u64) -> Vec<u64> {
    let length = end.saturating_sub(start);
    let slots = SLOTS as u64;
    let (low, high) = (length / slots, length.div_ceil(slots));
    if low == 0 {
        return Vec::new();
    }
    // By steps: a clip may claim to have 10^19 frames.
    let multiples = |step: u64| -> Vec<u64> {
        let first = start.div_ceil(step).checked_mul(step);
        let next = |frame: &u64| frame.checked_add(step).filter(|frame| *frame < end);
        std::iter::successors(first.filter(|frame| *frame < end), next).take(SLOTS).collect()
    };
    let frames = multiples(high);
    if frames.len() == SLOTS { frames } else { multiples(low) }
}

/// The slot nearest to the frame of the change, the first of equal ones: what a model is trained on.
pub fn true_slot(frames: &[u64], pnr_frame: f64) -> Option<usize> {
    rank::argmax(frames.iter().map(|frame| -(*frame as f64 - pnr_frame).abs()))
}

/// What may be said of a clip.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Scores([f64; SLOTS]),
    Slot(usize),
}

impl Said {
    fn slot(&self) -> usize {
        match self {
            Self::Scores(scores) => rank::argmax(scores.iter().copied()).expect("there are slots"),
            Self::Slot(slot) => *slot,
        }
    }
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let truth: File = files::read_json(inputs.one(&ANNOTATIONS)?)?;
    let is_frame = |frame: f64| (0.0..=LAST_FRAME).contains(&frame);
    let is_absurd = |entry: &&Entry| entry.frames().is_some_and(|(first, last)| !is_frame(first) || !is_frame(last));
    if let Some(entry) = truth.clips.iter().find(is_absurd) {
        let found = format!("others in {}", entry.uid());
        return Err(MetricError::unexpected(
            inputs.one(&ANNOTATIONS)?,
            format!("frames from 0 to {LAST_FRAME}"),
            found,
        ));
    }
    let said: Pairs<Said> = files::read_json(path)?;
    if let Some((id, _)) = said.0.iter().find(|(_, said)| said.slot() >= SLOTS) {
        return Err(MetricError::unexpected(path, "frames from 0 to 15", format!("another in {id}")));
    }
    let (pairs, coverage) = set_against(&truth.clips, said.0, |entry| change(entry).is_some());
    let coverage = coverage.check(path, inputs.allow_missing)?;
    let answers: Vec<(usize, Change)> =
        pairs.iter().filter_map(|(entry, said)| Some((said.slot(), change(entry)?))).collect();
    let errors: Vec<f64> = answers.iter().map(|(slot, change)| error_sec(*slot, change, inputs.compat)).collect();
    let rows = vec![
        ("keyframe distance".to_owned(), vec![mean(&errors)]),
        ("of perfect slots".to_owned(), vec![least(&answers, inputs.compat)]),
    ];
    let grids = vec![Grid { unit: Unit::Seconds, columns: vec![String::new()], rows }];
    let mut details = Map::new();
    let by_clip = pairs.iter().zip(&errors).map(|((entry, _), error)| (entry.uid().to_owned(), json!(error)));
    details.insert("error_sec".to_owned(), by_clip.collect());
    let notes = notes(&truth, &errors);
    Ok(Report { benchmark: EVALUATOR.name, compat: Some(inputs.compat), grids, coverage, notes, details })
}

/// The mean; NaN without any, as in the original.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean error that remains when every clip gets the slot that a model is trained on.
fn least(answers: &[(usize, Change)], compat: Compat) -> f64 {
    let of = |(_, change): &(usize, Change)| {
        let frames = sampled_frames(change.start_frame as u64, change.end_frame as u64);
        true_slot(&frames, change.pnr_frame).map_or(f64::NAN, |slot| error_sec(slot, change, compat))
    };
    mean(&answers.iter().map(of).collect::<Vec<_>>())
}

fn notes(truth: &File, errors: &[f64]) -> Vec<String> {
    let unusable =
        truth.clips.iter().filter(|entry| entry.state_change == Some(true) && change(entry).is_none()).count();
    let mut notes = vec!["even perfect slots have an error, for the frames that a model sees lie apart".to_owned()];
    if unusable > 0 {
        notes.push(format!("{unusable} clips with a change lack its frame or their own times and are left out"));
    }
    if errors.is_empty() {
        notes.push("no clip with a change was scored: the mean is 0/0".to_owned());
    }
    notes
}

/// The change of a clip; `None` where there is none, or its frames or times are missing. The rate is that of the
/// original: frames, the last one included, over seconds.
fn change(entry: &Entry) -> Option<Change> {
    let (start_frame, end_frame) = entry.frames()?;
    let (start_sec, end_sec) = entry.seconds()?;
    let pnr_frame = entry.pnr().filter(|_| entry.state_change == Some(true))?;
    let fps = (end_frame - start_frame + 1.0) / (end_sec - start_sec);
    Some(Change { start_frame, end_frame, pnr_frame, fps }).filter(|_| end_sec > start_sec)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::samples;
    use super::*;

    #[test]
    fn errors_are_the_original_ones() {
        let worked = &samples::json("oscc_pnr_worked.json")["pnr"];
        let column = |key: &str| samples::numbers(&worked[key]);
        let (slots, flags) = (samples::indices(&worked["argmax"]), column("state_change"));
        let (start, end, pnr, fps) =
            (column("parent_start_frame"), column("parent_end_frame"), column("parent_pnr_frame"), column("fps"));
        let mut errors = Vec::new();
        for clip in 0..slots.len() {
            let (start_frame, end_frame, pnr_frame) = (start[clip], end[clip], pnr[clip]);
            let change = Change { start_frame, end_frame, pnr_frame, fps: fps[clip] };
            let error = error_sec(slots[clip], &change, Compat::AsReleased);
            samples::close(error, &worked["per_clip_error_sec"][clip], "error");
            errors.extend((flags[clip] > 0.0).then_some(error));
        }
        samples::close(mean(&errors), &worked["keyframe_distance_sec"], "mean over clips with a change");
    }

    #[test]
    fn the_mean_is_over_clips_with_a_change() {
        let case = &samples::json("oscc_pnr.json")["pnr"];
        let column = |key: &str| samples::numbers(&case[key]);
        let scores = samples::matrix(&case["preds"]);
        let (flags, start, end, pnr) = (column("state_change"), column("start"), column("end"), column("pnr"));
        let clips = (0..flags.len()).filter(|clip| flags[*clip] > 0.0);
        let errors: Vec<f64> = clips
            .map(|clip| {
                let (start_frame, end_frame, pnr_frame) = (start[clip], end[clip], pnr[clip]);
                let change = Change { start_frame, end_frame, pnr_frame, fps: column("fps")[clip] };
                let slot = rank::argmax(scores.row(clip).iter().copied()).unwrap();
                error_sec(slot, &change, Compat::AsReleased)
            })
            .collect();
        samples::close(mean(&errors), &case["expected"]["keyframe_distance"], "keyframe distance");
    }

    #[test]
    fn sampled_frames_are_multiples_of_the_step_in_the_videos_own_count() {
        for case in samples::json("oscc_pnr_worked.json")["frame_sampling_16"].as_array().unwrap() {
            let frame = |key: &str| case[key].as_u64();
            let frames = sampled_frames(frame("start").unwrap(), frame("end").unwrap());
            assert_eq!(serde_json::json!(frames), case["frames"]);
            if let (Some(slot), Some(pnr)) = (case["keyframe_index"].as_u64(), frame("pnr_frame")) {
                assert_eq!(true_slot(&frames, pnr as f64), Some(slot as usize));
            }
        }
        assert!(sampled_frames(5, 20).is_empty(), "fewer than 16 frames");
    }

    #[test]
    fn a_perfect_slot_has_an_error_and_a_smaller_one_when_fixed() {
        let change = Change { start_frame: 1000.0, end_frame: 1240.0, pnr_frame: 1080.0, fps: 30.0 };
        let slot = true_slot(&sampled_frames(1000, 1240), 1080.0).unwrap();
        assert_eq!(error_sec(slot, &change, Compat::Fixed), 0.0);
        assert!(error_sec(slot, &change, Compat::AsReleased) > 0.1);
    }

    fn shop(clips: &[Value], said: &Value) -> Result<Report, MetricError> {
        let folder = tempfile::tempdir().unwrap();
        let (truth, path) = (folder.path().join("val.json"), folder.path().join("pred.json"));
        std::fs::write(&truth, serde_json::json!({"clips": clips}).to_string()).unwrap();
        std::fs::write(&path, said.to_string()).unwrap();
        evaluate(&Inputs::default().file("annotations", truth).file("predictions", path))
    }

    fn clip(id: &str, change: Option<bool>) -> Value {
        serde_json::json!({
            "unique_id": id, "video_uid": "v", "state_change": change, "parent_start_sec": 10, "parent_end_sec": 18,
            "parent_start_frame": 300, "parent_end_frame": 539, "parent_pnr_frame": 375,
        })
    }

    #[test]
    fn without_a_change_the_mean_is_nan_and_says_so() {
        let report = shop(&[clip("a", Some(false)), clip("b", None)], &serde_json::json!({"a": 3})).unwrap();
        assert!(report.score("keyframe distance").is_nan());
        assert!(report.notes.last().unwrap().starts_with("no clip with a change was scored"));
    }

    #[test]
    fn clips_with_a_change_must_be_answered_and_others_may() {
        let clips = [clip("a", Some(true)), clip("b", Some(true)), clip("c", Some(false))];
        let text = shop(&clips, &serde_json::json!({"a": 4, "c": 0})).unwrap_err().to_string();
        assert!(text.contains("1 of 2 clips, missing 1 (b)"), "{text}");
        let report = shop(&clips, &serde_json::json!({"a": 4, "b": 4})).unwrap();
        assert!((report.score("keyframe distance") - (59.75 - 75.0_f64).abs() / 30.0).abs() < 1e-12);
        let text = shop(&clips, &serde_json::json!({"a": 16})).unwrap_err().to_string();
        assert!(text.contains("expected frames from 0 to 15, found another in a"), "{text}");
    }
}
