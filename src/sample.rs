//! From frames to clips: collects the frames of each window as they come by, once for all windows that show them.
//!
//! Not for decoding, and without clocks or I/O. Invariant: pixels are held exactly as long as a window still wants them,
//! so memory depends on how windows overlap and not on how long the video is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::decode::Frame;
use crate::ids::TaskId;
use crate::pixels::Pixels;

/// A window that waits for its frames.
#[derive(Debug, Clone)]
pub struct WindowRequest {
    /// The task that the window belongs to.
    pub task: TaskId,
    /// The window within the task.
    pub window: u64,
    /// Which of a frame's sizes is wanted.
    pub size: usize,
    /// Frame indices, in the order in which the backbone sees them.
    pub frames: Vec<u64>,
}

impl WindowRequest {
    fn last(&self) -> u64 {
        self.frames.iter().copied().max().unwrap_or(0)
    }
}

/// A window with its frames.
#[derive(Debug, Clone)]
pub struct Clip {
    /// The task that the window belongs to.
    pub task: TaskId,
    /// The window within the task.
    pub window: u64,
    /// The frames, in order.
    pub frames: Vec<Arc<Pixels>>,
}

/// What became of a window.
#[derive(Debug, Clone)]
pub enum Sampled {
    /// All frames came.
    Clip(Clip),
    /// At least one did not.
    Broken {
        /// The task.
        task: TaskId,
        /// The window.
        window: u64,
    },
}

/// Collects frames for windows.
pub struct Sampler {
    requests: VecDeque<WindowRequest>,
    uses: BTreeMap<u64, usize>,
    held: BTreeMap<u64, (Frame, usize)>,
}

impl Sampler {
    /// Takes all windows of one stream of frames.
    pub fn new(mut requests: Vec<WindowRequest>) -> Self {
        requests.sort_by_key(|request| (request.last(), request.task, request.window));
        let mut uses = BTreeMap::new();
        for &index in requests.iter().flat_map(|request| &request.frames) {
            *uses.entry(index).or_insert(0) += 1;
        }
        Self { requests: requests.into(), uses, held: BTreeMap::new() }
    }

    /// The frames that some window wants, ascending.
    pub fn wanted(&self) -> Vec<u64> {
        self.uses.keys().copied().collect()
    }

    /// Takes the next frame (indices ascend) and gives the windows that are decided by it.
    pub fn take(&mut self, frame: Frame) -> Vec<Sampled> {
        let index = frame.index;
        if let Some(&uses) = self.uses.get(&index) {
            self.held.insert(index, (frame, uses));
        }
        self.settle(|last| last <= index)
    }

    /// The windows that are left when no more frames come.
    pub fn finish(&mut self) -> Vec<Sampled> {
        self.settle(|_| true)
    }

    fn settle(&mut self, decided: impl Fn(u64) -> bool) -> Vec<Sampled> {
        let mut settled = Vec::new();
        while self.requests.front().is_some_and(|request| decided(request.last())) {
            let Some(request) = self.requests.pop_front() else { break };
            let frames: Option<Vec<Arc<Pixels>>> =
                request.frames.iter().map(|&index| self.spend(index, request.size)).collect();
            let WindowRequest { task, window, frames: wanted, .. } = request;
            settled.push(match frames {
                Some(frames) if frames.len() == wanted.len() => Sampled::Clip(Clip { task, window, frames }),
                _ => Sampled::Broken { task, window },
            });
        }
        settled
    }

    /// One use of a frame; the last one lets go of it.
    fn spend(&mut self, index: u64, size: usize) -> Option<Arc<Pixels>> {
        let (frame, uses) = self.held.get_mut(&index)?;
        *uses -= 1;
        let (pixels, spent) = (frame.pixels.get(size).cloned(), *uses == 0);
        if spent {
            self.held.remove(&index);
        }
        pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(window: u64, frames: &[u64]) -> WindowRequest {
        WindowRequest { task: TaskId::new(0), window, size: 0, frames: frames.to_vec() }
    }

    fn frame(index: u64) -> Frame {
        Frame { index, pixels: vec![Arc::new(Pixels::U8(vec![index as u8]))] }
    }

    fn shown(sampled: &[Sampled]) -> Vec<(u64, Option<Vec<u8>>)> {
        let bytes = |clip: &Clip| clip.frames.iter().map(|p| p.levels()[0]).collect();
        let one = |s: &Sampled| match s {
            Sampled::Clip(clip) => (clip.window, Some(bytes(clip))),
            Sampled::Broken { window, .. } => (*window, None),
        };
        sampled.iter().map(one).collect()
    }

    #[test]
    fn overlapping_windows_share_frames_and_release_them() {
        let mut sampler =
            Sampler::new((0..50).map(|r| request(r, &[2 * r, 2 * r + 1, 2 * r + 2, 2 * r + 3])).collect());
        assert_eq!(sampler.wanted().len(), 102);
        let mut rows = Vec::new();
        for index in 0..102 {
            rows.extend(shown(&sampler.take(frame(index))));
            assert!(sampler.held.len() <= 4, "held {} frames", sampler.held.len());
        }
        assert_eq!(rows.len(), 50);
        assert_eq!(rows[3], (3, Some(vec![6, 7, 8, 9])));
        assert!(sampler.finish().is_empty() && sampler.held.is_empty());
    }

    #[test]
    fn repeats_and_any_order_within_a_window_are_kept() {
        let mut sampler = Sampler::new(vec![request(0, &[9, 9, 0, 0]), request(1, &[0, 1, 1, 2])]);
        assert_eq!(sampler.wanted(), [0, 1, 2, 9]);
        let rows: Vec<_> = [0, 1, 2, 9].into_iter().flat_map(|i| shown(&sampler.take(frame(i)))).collect();
        assert_eq!(rows, [(1, Some(vec![0, 1, 1, 2])), (0, Some(vec![9, 9, 0, 0]))]);
    }

    #[test]
    fn a_frame_that_does_not_come_breaks_its_windows_and_no_others() {
        let mut sampler =
            Sampler::new(vec![request(0, &[0, 1]), request(1, &[2, 3]), request(2, &[4, 5]), request(3, &[6, 7])]);
        let mut rows: Vec<_> = [0, 1, 2, 4, 5].into_iter().flat_map(|i| shown(&sampler.take(frame(i)))).collect();
        rows.extend(shown(&sampler.finish()));
        assert_eq!(rows, [(0, Some(vec![0, 1])), (1, None), (2, Some(vec![4, 5])), (3, None)]);
    }
}
