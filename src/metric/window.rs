//! Windows in time, and how much two of them overlap.
//!
//! Not for what an overlap is worth. The two denominators in use differ only where windows do not meet or run
//! backwards; both give NaN for two empty windows at one instant, which is what 0/0 is in the original code too.

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A window in seconds; in files `[start, end]`, and whatever stands behind the two, a score for instance, counts for
/// nothing: Ego4D's evaluators of NLQ and MQ look at columns 0 and 1. It may be empty, and it may run backwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(into = "[f64; 2]")]
pub struct Window {
    /// Its first second.
    pub start_sec: f64,
    /// Its last second.
    pub end_sec: f64,
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(TwoTimes)
    }
}

/// Reads the first two numbers of a list.
struct TwoTimes;

impl<'de> Visitor<'de> for TwoTimes {
    type Value = Window;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a window [start, end] in seconds")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Window, A::Error> {
        let mut time = |place| list.next_element()?.ok_or_else(|| A::Error::invalid_length(place, &self));
        let window = Window::new(time(0)?, time(1)?);
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(window)
    }
}

impl From<[f64; 2]> for Window {
    fn from([start_sec, end_sec]: [f64; 2]) -> Self {
        Self { start_sec, end_sec }
    }
}

impl From<Window> for [f64; 2] {
    fn from(window: Window) -> Self {
        [window.start_sec, window.end_sec]
    }
}

impl Window {
    /// From start to end.
    pub fn new(start_sec: f64, end_sec: f64) -> Self {
        Self { start_sec, end_sec }
    }

    /// End less start, which is negative for a window that runs backwards.
    pub fn length_sec(self) -> f64 {
        self.end_sec - self.start_sec
    }

    /// How long both last together.
    fn intersection_sec(self, other: Self) -> f64 {
        (self.end_sec.min(other.end_sec) - self.start_sec.max(other.start_sec)).max(0.0)
    }

    /// Intersection over the interval from the first start to the last end: `compute_IoU` of the NLQ evaluator and `iou`
    /// of MQ's retrieval. NaN for two empty windows at one instant.
    pub fn iou_by_hull(self, other: Self) -> f64 {
        let hull_sec = self.end_sec.max(other.end_sec) - self.start_sec.min(other.start_sec);
        self.intersection_sec(other) / hull_sec.max(0.0)
    }

    /// Intersection over the sum of both lengths less the intersection: `segment_iou` of ActivityNet's evaluator, which
    /// MQ's detection and ActionFormer use. NaN for two empty windows, wherever they are.
    pub fn iou_by_union(self, other: Self) -> f64 {
        let intersection_sec = self.intersection_sec(other);
        intersection_sec / (other.length_sec() + self.length_sec() - intersection_sec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_denominators_agree_where_windows_meet() {
        let (a, b) = (Window::new(101.0, 106.0), Window::new(100.5, 104.25));
        assert_eq!(a.iou_by_hull(b), 3.25 / 5.5);
        assert_eq!(a.iou_by_union(b), 3.25 / 5.5);
        assert_eq!(Window::new(0.0, 1.0).iou_by_hull(Window::new(5.0, 6.0)), 0.0);
    }

    #[test]
    fn what_stands_behind_the_two_times_is_not_looked_at() {
        let read = |text: &str| serde_json::from_str::<Window>(text).map_err(|error| error.to_string());
        for text in ["[1, 3]", "[1.0, 3.0, 0.9]", "[1, 3, 0.9, 7]", "[1, 3, null]", "[1, 3, \"put\"]"] {
            assert_eq!(read(text), Ok(Window::new(1.0, 3.0)), "{text}");
        }
        for text in ["[1]", "[]", "{\"start\": 1}", "[1, null]", "[\"1\", 3]", "1"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("[1]").unwrap_err().contains("expected a window [start, end] in seconds"));
        assert_eq!(serde_json::to_string(&Window::new(1.0, 3.5)).unwrap(), "[1.0,3.5]");
    }

    #[test]
    fn zero_over_zero_is_nan_and_an_empty_window_in_a_longer_one_is_zero() {
        let empty = Window::new(50.0, 50.0);
        assert!(empty.iou_by_hull(empty).is_nan() && empty.iou_by_union(empty).is_nan());
        assert_eq!(empty.iou_by_hull(Window::new(49.0, 51.0)), 0.0);
        assert!(empty.iou_by_union(Window::new(9.0, 9.0)).is_nan());
        assert_eq!(empty.iou_by_hull(Window::new(9.0, 9.0)), 0.0);
    }
}
