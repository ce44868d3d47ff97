//! Clips that will be asked for, decoded some at a time: an ffmpeg for many of them in place of one for each.
//!
//! Not for choosing frames, nor for faults. Invariant: nothing depends on what is read ahead but how long it takes: what was not
//! foreseen, and what cannot be decoded together with others, is decoded alone when it is asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use egofx::decode::{Clip, FfmpegSource, Frame, Transform, VideoInfo};

/// Clips that are decoded at a time at most, and the bytes of their frames.
const CLIPS: usize = 32;
const BYTES: u64 = 64 << 20;

/// Clips of a video that are refused one after the other, after which those of it are decoded alone for the rest of the run; and
/// clips of any, where none ever came.
const MOST_OF_A_VIDEO: usize = 3;
const MOST_IN_ALL: usize = 32;

/// Whole frames by index, three bytes a pixel.
pub(super) type Pictures = HashMap<u64, Arc<Vec<u8>>>;

/// Frames that will be asked for.
pub struct Plan {
    /// Of this video.
    pub(super) video: Arc<VideoInfo>,
    /// These: ascending, no repeats.
    pub(super) wanted: Vec<u64>,
}

impl Plan {
    fn clip(&self) -> Clip<'_> {
        Clip { video: &self.video, wanted: &self.wanted }
    }
}

/// Of which videos clips cannot be decoded together, as far as that was seen in this run.
#[derive(Default)]
pub(super) struct Refused(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Clips of a video that were refused one after the other.
    in_a_row: HashMap<PathBuf, usize>,
    count: usize,
    some_came: bool,
    is_told: bool,
}

impl Refused {
    /// Whether nobody tries any more to decode clips of the video together with others.
    pub fn has(&self, video: &Path) -> bool {
        let seen = self.seen();
        seen.is_hopeless() || seen.in_a_row.get(video).is_some_and(|&count| count >= MOST_OF_A_VIDEO)
    }

    /// What a person should know, once.
    pub fn remarks(&self) -> Vec<String> {
        let mut seen = self.seen();
        if seen.is_told || !seen.is_hopeless() {
            return vec![];
        }
        seen.is_told = true;
        let count = seen.count;
        vec![format!("clips are decoded one by one: this ffmpeg gave none of {count} clips as part of a video of many")]
    }

    fn note(&self, video: &Path, came: bool) {
        let mut seen = self.seen();
        if came {
            seen.some_came = true;
            seen.in_a_row.remove(video);
        } else {
            seen.count += 1;
            *seen.in_a_row.entry(video.to_owned()).or_default() += 1;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Whether it is the program, and no clip, that is in the way.
    fn is_hopeless(&self) -> bool {
        !self.some_came && self.count >= MOST_IN_ALL
    }
}

/// Who decodes clips together.
pub(super) struct Together<'s> {
    pub source: &'s FfmpegSource,
    /// How whole frames are asked for.
    pub whole: Transform,
    pub refused: &'s Refused,
}

impl Together<'_> {
    /// The frames of each of these; nothing for one that has to be decoded alone. Where those of a group do not come, each is tried
    /// by itself, so that one that cannot be decoded so is told from its neighbours.
    fn decode(&self, group: &[Plan]) -> Vec<Option<Vec<Frame>>> {
        let mut found = self.source.together(&group.iter().map(Plan::clip).collect::<Vec<_>>(), &self.whole);
        for (plan, frames) in group.iter().zip(&mut found) {
            let path = &plan.video.path;
            if frames.is_none() && group.len() > 1 && !self.refused.has(path) {
                *frames = self.source.together(&[plan.clip()], &self.whole).pop().flatten();
            }
            self.refused.note(path, frames.is_some());
        }
        found
    }
}

/// What is read ahead of a batch, in the order in which it will be asked for; nothing by default.
#[derive(Default)]
pub struct Ahead {
    plans: VecDeque<Plan>,
    /// Those of the last ones that were decoded. Several samples may show the same.
    ready: HashMap<(PathBuf, Vec<u64>), Arc<Pictures>>,
}

impl FromIterator<Plan> for Ahead {
    fn from_iter<P: IntoIterator<Item = Plan>>(plans: P) -> Self {
        Self { plans: plans.into_iter().collect(), ready: HashMap::new() }
    }
}

impl Ahead {
    /// These frames, if they were foreseen and could be decoded together with others.
    pub(super) fn take(&mut self, together: &Together, video: &VideoInfo, wanted: &[u64]) -> Option<Arc<Pictures>> {
        let key = (video.path.clone(), wanted.to_vec());
        if let Some(pictures) = self.ready.get(&key) {
            return Some(pictures.clone());
        }
        let is_it = |plan: &Plan| plan.video.path == video.path && plan.wanted == wanted;
        let place = self.plans.iter().position(is_it)?;
        // Those before it were not asked for: something else took their places.
        self.plans.drain(..place);
        let mut group: Vec<Plan> = self.plans.drain(..self.next_group(&together.whole)).collect();
        let mut seen = HashSet::new();
        group.retain(|plan| seen.insert((plan.video.path.clone(), plan.wanted.clone())));
        let found = together.decode(&group).into_iter().map(|frames| frames.map(pictures).map(Arc::new));
        let named = group.iter().map(|plan| (plan.video.path.clone(), plan.wanted.clone()));
        self.ready = named.zip(found).filter_map(|(key, pictures)| Some((key, pictures?))).collect();
        self.ready.get(&key).cloned()
    }

    /// How many of the plans are decoded at a time.
    fn next_group(&self, whole: &Transform) -> usize {
        let bytes = self.plans.iter().scan(0, |sum, plan| {
            let (width, height) = plan.video.size_for(whole);
            *sum += 3 * u64::from(width) * u64::from(height) * plan.wanted.len() as u64;
            Some(*sum)
        });
        bytes.take(CLIPS).take_while(|&bytes| bytes <= BYTES).count().max(1)
    }
}

fn pictures(frames: Vec<Frame>) -> Pictures {
    frames.into_iter().filter_map(|mut frame| Some((frame.index, bytes(frame.pixels.pop()?)))).collect()
}

/// The pixels of a whole frame; nobody else has them yet, so that nothing is copied.
pub(super) fn bytes(pixels: Arc<egofx::pixels::Pixels>) -> Arc<Vec<u8>> {
    Arc::new(Arc::unwrap_or_clone(pixels).into_levels())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(refused: &Refused, video: &str, times: usize) {
        (0..times).for_each(|_| refused.note(Path::new(video), false));
    }

    #[test]
    fn a_video_is_given_up_after_some_refusals_and_all_are_where_nothing_came() {
        let (refused, has) = (Refused::default(), |refused: &Refused, video: &str| refused.has(Path::new(video)));
        refuse(&refused, "a.mp4", MOST_OF_A_VIDEO - 1);
        refused.note(Path::new("a.mp4"), true);
        refuse(&refused, "a.mp4", MOST_OF_A_VIDEO - 1);
        assert!(!has(&refused, "a.mp4"), "one came between them");
        refuse(&refused, "a.mp4", 1);
        refuse(&refused, "b.mp4", 2 * MOST_IN_ALL);
        assert!(has(&refused, "a.mp4") && has(&refused, "b.mp4") && !has(&refused, "c.mp4"));
        assert!(refused.remarks().is_empty());

        let refused = Refused::default();
        refuse(&refused, "a.mp4", MOST_IN_ALL - 1);
        assert!(!has(&refused, "c.mp4") && refused.remarks().is_empty());
        refuse(&refused, "b.mp4", 1);
        assert!(has(&refused, "c.mp4"));
        assert_eq!([refused.remarks().len(), refused.remarks().len()], [1, 0], "told once");
    }
}
