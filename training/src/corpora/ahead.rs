//! Clips that will be asked for, decoded some at a time: an ffmpeg for many of them in place of one for each.
//!
//! Not for choosing frames, nor for faults. Invariant: nothing depends on what is read ahead but how long it takes: what was not
//! foreseen, and what cannot be decoded together with others, is decoded alone when it is asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use egofx::decode::{Clip, FfmpegSource, Frame, Transform, VideoInfo};

/// Clips that are decoded at a time at most, and the bytes of their frames.
const CLIPS: usize = 32;
const BYTES: u64 = 64 << 20;

/// Whole frames by index, three bytes a pixel.
pub(super) type Pictures = HashMap<u64, Arc<Vec<u8>>>;

/// Frames that will be asked for.
pub struct Plan {
    /// Of this video.
    pub(super) video: Arc<VideoInfo>,
    /// These: ascending, no repeats.
    pub(super) wanted: Vec<u64>,
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
    pub(super) fn take(
        &mut self,
        (source, whole): (&FfmpegSource, &Transform),
        video: &VideoInfo,
        wanted: &[u64],
    ) -> Option<Arc<Pictures>> {
        let key = (video.path.clone(), wanted.to_vec());
        if let Some(pictures) = self.ready.get(&key) {
            return Some(pictures.clone());
        }
        let is_it = |plan: &Plan| plan.video.path == video.path && plan.wanted == wanted;
        let place = self.plans.iter().position(is_it)?;
        // Those before it were not asked for: something else took their places.
        self.plans.drain(..place);
        let mut group: Vec<Plan> = self.plans.drain(..self.next_group(whole)).collect();
        let mut seen = HashSet::new();
        group.retain(|plan| seen.insert((plan.video.path.clone(), plan.wanted.clone())));
        let asked: Vec<Clip> = group.iter().map(|Plan { video, wanted }| Clip { video, wanted }).collect();
        let found = source.together(&asked, whole).into_iter().map(|frames| frames.map(pictures).map(Arc::new));
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
