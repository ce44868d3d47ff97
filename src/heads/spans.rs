//! Spans in a video without annotations: its clips, the question that is asked of each, and predictions in seconds of the video.
//!
//! Not for predicting. Invariants: clips follow one another without a gap, and none is longer than those of NLQ; a span lies in
//! its clip and is not empty.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::HeadError;
use super::submission::Submission;
use crate::ids::VideoUid;
use crate::metric::Window;
use crate::time::TimeSpan;

/// Length of NLQ's clips, in seconds.
pub const CLIP_SEC: f64 = 480.0;

/// A video as clips of equal length, at most [`CLIP_SEC`] each.
#[derive(Debug, Clone, PartialEq)]
pub struct Clips {
    video_uid: VideoUid,
    clips: Vec<(String, TimeSpan)>,
}

/// What a head says: that the answer lies here.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its video.
    pub video_uid: String,
    /// Its clip.
    pub clip_uid: String,
    /// Start in the video, in seconds.
    pub start_sec: f64,
    /// End in the video, in seconds.
    pub end_sec: f64,
}

#[derive(Deserialize)]
struct Results {
    results: Vec<OfClip>,
}

#[derive(Deserialize)]
struct OfClip {
    clip_uid: String,
    predicted_times: Vec<Window>,
}

impl Clips {
    /// The clips of a video of this length, `<video>-0000` the first of them; `None` if it has no length.
    pub fn of(video_uid: &VideoUid, duration_sec: f64) -> Option<Self> {
        let count = (duration_sec / CLIP_SEC).ceil();
        let edge = |number: f64| duration_sec * (number / count);
        let clip = |number: u32| {
            let span = TimeSpan::new(edge(number.into()), edge(f64::from(number) + 1.0))?;
            Some((format!("{video_uid}-{number:04}"), span))
        };
        let clips = (0..count as u32).map(clip).collect::<Option<Vec<_>>>()?;
        let found = Self { video_uid: video_uid.clone(), clips };
        Some(found).filter(|found| duration_sec.is_finite() && !found.clips.is_empty())
    }

    /// One question asked of every clip, in the official form of NLQ's annotations.
    pub fn annotations(&self, question: &str) -> Value {
        let clip = |(uid, span): &(String, TimeSpan)| {
            json!({
                "clip_uid": uid, "video_start_sec": span.start_sec, "video_end_sec": span.end_sec,
                "clip_start_sec": 0.0, "clip_end_sec": span.duration_sec(),
                "annotations": [{"annotation_uid": uid, "language_queries": [{"query": question}]}],
            })
        };
        let clips: Vec<Value> = self.clips.iter().map(clip).collect();
        json!({"version": "1", "videos": [{"video_uid": self.video_uid.as_str(), "clips": clips}]})
    }

    /// The spans of a submission for NLQ. Its windows have no scores that could be compared across clips: clips come in the
    /// order in which the seconds `best` of the video first fall into them, the others behind them, and the spans of a clip in
    /// that of the submission.
    ///
    /// # Errors
    /// [`HeadError::Batch`] for a submission of another form.
    pub fn spans(&self, submission: &Submission, best: impl IntoIterator<Item = f64>) -> Result<Vec<Span>, HeadError> {
        let refused = |why: String| HeadError::Batch { head: "nlq", why };
        let Submission::Json(value) = submission else {
            return Err(refused("expected a list of windows, found a matrix".to_owned()));
        };
        let predicted = Results::deserialize(value).map_err(|error| refused(error.to_string()))?;
        let mut spans: Vec<Span> = Vec::new();
        for number in self.order(best) {
            let (uid, clip) = &self.clips[number];
            let windows = predicted.results.iter().filter(|found| found.clip_uid == *uid);
            for window in windows.flat_map(|found| &found.predicted_times) {
                let in_video = |sec: f64| (clip.start_sec + sec).clamp(clip.start_sec, clip.end_sec);
                let (start_sec, end_sec) = (in_video(window.start_sec), in_video(window.end_sec));
                let (video_uid, clip_uid) = (self.video_uid.to_string(), uid.clone());
                let span = Span { video_uid, clip_uid, start_sec, end_sec };
                // Clips of one or two positions repeat spans, to give as many as the benchmark takes.
                if start_sec < end_sec && !spans.contains(&span) {
                    spans.push(span);
                }
            }
        }
        Ok(spans)
    }

    /// Numbers of all clips, first those into which `secs` fall.
    fn order(&self, secs: impl IntoIterator<Item = f64>) -> Vec<usize> {
        let clip_at = |sec: f64| self.clips.iter().position(|(_, span)| (span.start_sec..span.end_sec).contains(&sec));
        let mut order: Vec<usize> = Vec::with_capacity(self.clips.len());
        for number in secs.into_iter().filter_map(clip_at).chain(0..self.clips.len()) {
            if !order.contains(&number) {
                order.push(number);
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clips(duration_sec: f64) -> Option<Clips> {
        Clips::of(&VideoUid::parse("v").unwrap(), duration_sec)
    }

    #[test]
    fn clips_are_equal_cover_the_video_and_are_none_of_a_video_without_length() {
        let spans = |sec: f64| clips(sec).unwrap().clips.iter().map(|(_, span)| *span).collect::<Vec<_>>();
        let span = |start, end| TimeSpan::new(start, end).unwrap();
        assert_eq!(spans(480.0), [span(0.0, 480.0)]);
        assert_eq!(spans(3.5), [span(0.0, 3.5)]);
        assert_eq!(spans(600.0), [span(0.0, 300.0), span(300.0, 600.0)]);
        assert_eq!(spans(1000.0).last().unwrap().end_sec, 1000.0);
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(clips(none).is_none(), "{none}");
        }
        assert_eq!(clips(600.0).unwrap().annotations("who?")["videos"][0]["clips"][1]["clip_uid"], "v-0001");
    }

    #[test]
    fn spans_are_in_seconds_of_the_video_best_clip_first() {
        let times = json!({"results": [
            {"clip_uid": "v-0000", "predicted_times": [[1.0, 2.5], [7.0, 7.0]]},
            {"clip_uid": "v-0001", "predicted_times": [[3.0, 4.0], [299.0, 301.0], [3.0, 4.0]]},
        ]});
        let found = clips(600.0).unwrap().spans(&times.into(), [450.0, 2.0, 460.0]).unwrap();
        let found: Vec<_> = found.iter().map(|span| (span.clip_uid.as_str(), span.start_sec, span.end_sec)).collect();
        assert_eq!(found, [("v-0001", 303.0, 304.0), ("v-0001", 599.0, 600.0), ("v-0000", 1.0, 2.5)]);
        assert!(clips(9.0).unwrap().spans(&json!({"results": 1}).into(), []).is_err());
    }
}
