//! Timelines and indices of frames as text: the first number, then the steps from one to the next, equal ones counted.
//!
//! `0 512*107999` is an hour at a constant rate; at a variable one a frame takes some characters. Not for people. Invariant: what
//! is read is what was written, whatever the numbers; a text that nobody wrote is refused, and never expanded without bound.

use std::fmt::Write;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{TimeBase, Timeline};

/// More numbers than any video has frames: 620 hours at 30 fps.
const MOST: usize = 1 << 26;

/// A [`Timeline`].
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    num: u32,
    den: u32,
    origin: i64,
    pts: String,
}

impl From<Timeline> for Written {
    fn from(Timeline { pts, base: TimeBase { num, den }, origin }: Timeline) -> Self {
        Self { num, den, origin, pts: steps(pts.iter().copied()) }
    }
}

impl TryFrom<Written> for Timeline {
    type Error = &'static str;

    fn try_from(Written { num, den, origin, pts }: Written) -> Result<Self, &'static str> {
        let timeline = numbers(&pts).and_then(|pts| Self::new(pts, TimeBase { num, den }, origin));
        timeline.ok_or("expected a timeline")
    }
}

/// Writes indices of frames.
pub(crate) fn serialize<S: Serializer>(indices: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&steps(indices.iter().map(|&index| index.cast_signed())))
}

/// Reads them.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let numbers = numbers(&text).ok_or_else(|| D::Error::custom("expected indices of frames"))?;
    Ok(numbers.into_iter().map(i64::cast_unsigned).collect())
}

fn steps(numbers: impl Iterator<Item = i64>) -> String {
    let (mut text, mut before, mut run) = (String::new(), None, (0, 0));
    for number in numbers {
        match before {
            None => put(&mut text, (number, 1)),
            Some(before) => {
                // Wrong timestamps may lie as far apart as integers do.
                let step = number.wrapping_sub(before);
                if step != run.0 {
                    put(&mut text, run);
                    run = (step, 0);
                }
                run.1 += 1;
            }
        }
        before = Some(number);
    }
    put(&mut text, run);
    text
}

fn put(text: &mut String, (number, count): (i64, usize)) {
    let blank = if text.is_empty() { "" } else { " " };
    // Writing to a string does not fail.
    let _ = match count {
        0 => Ok(()),
        1 => write!(text, "{blank}{number}"),
        _ => write!(text, "{blank}{number}*{count}"),
    };
}

fn numbers(text: &str) -> Option<Vec<i64>> {
    let mut words = text.split_ascii_whitespace();
    let Some(first) = words.next() else { return Some(Vec::new()) };
    let mut numbers: Vec<i64> = vec![first.parse().ok()?];
    for word in words {
        let (step, count) = match word.split_once('*') {
            Some((step, count)) => (step, count.parse().ok()?),
            None => (word, 1),
        };
        let (step, mut last): (i64, i64) = (step.parse().ok()?, *numbers.last()?);
        if count > MOST - numbers.len() {
            return None;
        }
        numbers.extend((0..count).map(|_| {
            last = last.wrapping_add(step);
            last
        }));
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for (list, text) in [
            (vec![], ""),
            (vec![7], "7"),
            (vec![0, 512, 1024, 1536], "0 512*3"),
            (vec![-3, 30, 64, 97, 130], "-3 33 34 33*2"),
            (vec![i64::MIN, i64::MAX, 0], "-9223372036854775808 -1 -9223372036854775807"),
        ] {
            assert_eq!((steps(list.iter().copied()), numbers(text)), (text.to_owned(), Some(list)));
        }
        for odd in ["x", "0 1*", "0 1*x", "0 1*99999999999", "0 1*67108863 1*2", "0*3", "1.5"] {
            assert_eq!(numbers(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_hour_of_frames_takes_little_room() {
        let base = TimeBase { num: 1, den: 1000 };
        let size = |pts: Vec<i64>| {
            let line = Timeline::new(pts, base, 0).unwrap();
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Timeline>(&text).unwrap(), line);
            text.len()
        };
        assert!(size((0..108_000).map(|i| i * 512).collect()) < 100);
        assert!(size((0..108_000).map(|i| i * 100 / 3 + i % 7).collect()) < 400_000, "none is where it should be");
        assert!(serde_json::from_str::<Timeline>(r#"{"num":1,"den":0,"origin":0,"pts":"0"}"#).is_err());
    }
}
