//! Which frames of a file nothing refers to: those can be left out before the decoder if nobody wants them.
//!
//! While packets are listed, the first bytes of their NAL units are read from the file, at the place that ffprobe names. Not
//! for leaving anything out. Invariant: the list is of frames that are each proved; if one packet is not understood, or its
//! timestamp is another's too, it is empty.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::nal::{CodedImage, Coding};
use crate::time::Timeline;

/// Bytes that are read of a packet at once: mostly all that is needed of it.
const WINDOW_BYTES: u64 = 96;

/// Bytes of a Matroska block before its packet: the track's number, the time, and flags of which two say that packets share
/// the block.
const BLOCK_HEAD: usize = 4;
const LACING: u8 = 0x06;

/// Frames by their indices, a bit for each up to the last: an hour of video is 14 KB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSet {
    words: Vec<u64>,
}

impl FrameSet {
    /// Whether frame `index` is in it.
    pub fn contains(&self, index: u64) -> bool {
        let word = usize::try_from(index / 64).ok().and_then(|word| self.words.get(word));
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }
}

impl FromIterator<u64> for FrameSet {
    fn from_iter<I: IntoIterator<Item = u64>>(indices: I) -> Self {
        let mut words = Vec::new();
        for index in indices {
            let word = (index / 64) as usize;
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (index % 64);
        }
        Self { words }
    }
}

/// Where a packet lies, and what ffprobe says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub pos: Option<u64>,
    pub size: Option<u64>,
    pub pts: Option<i64>,
    /// Whether a decoder can start at it, an edit list hides it, or it is said to be harmed.
    pub is_special: bool,
    pub is_hidden: bool,
}

/// Looks at the packets of a stream, one after the other.
pub(super) struct Search {
    file: File,
    coding: Coding,
    is_block: bool,
    /// Disposable ones by their times, each with its sub-layer.
    found: Vec<(i64, u8)>,
    highest_layer: u8,
    hidden: BTreeSet<i64>,
    /// Whether one was not understood.
    is_lost: bool,
}

impl Search {
    /// In the file at `path` of a container `format`, whose stream is coded as said; `None` where packets cannot be found.
    pub fn new(path: &Path, format: &str, coding: &Coding) -> Option<Self> {
        let is_block = format.split(',').any(|name| name == "matroska");
        if !is_block && !format.split(',').any(|name| name == "mov") {
            return None;
        }
        let file = File::open(path).ok()?;
        let (found, hidden) = (Vec::new(), BTreeSet::new());
        Some(Self { file, coding: coding.clone(), is_block, found, highest_layer: 0, hidden, is_lost: false })
    }

    /// Looks at the next packet.
    pub fn look(&mut self, place: Place) {
        if self.is_lost {
            return;
        }
        let (Some(pts), Some(image)) = (place.pts, self.image(place)) else {
            self.is_lost = true;
            return;
        };
        self.highest_layer = self.highest_layer.max(image.layer);
        if place.is_hidden {
            self.hidden.insert(pts);
        } else if image.disposable && !place.is_special {
            self.found.push((pts, image.layer));
        }
    }

    fn image(&self, place: Place) -> Option<CodedImage> {
        let (mut pos, size) = (place.pos?, place.size.filter(|&size| size > 0)?);
        if self.is_block {
            let head = bytes(&self.file, pos, BLOCK_HEAD as u64)?;
            // Tracks beyond 126 have longer numbers.
            if head[0] < 0x81 || head[0] == 0xff || head[BLOCK_HEAD - 1] & LACING != 0 {
                return None;
            }
            pos = pos.checked_add(BLOCK_HEAD as u64)?;
        }
        let window = bytes(&self.file, pos, size.min(WINDOW_BYTES))?;
        let mut read = |at: u64, count: u64| {
            let end = at.checked_add(count).filter(|&end| end <= size)?;
            match window.get(at as usize..end as usize) {
                Some(part) => Some(part.to_vec()),
                None => bytes(&self.file, pos.checked_add(at)?, count),
            }
        };
        self.coding.image(size, &mut read)
    }

    /// The frames of `timeline` that were found.
    pub fn frames(&self, timeline: &Timeline) -> FrameSet {
        let (first, last) = (timeline.pts(0), timeline.pts(timeline.frames() - 1));
        // Packets are told apart by their times.
        let is_between = |pts: &i64| Some(*pts) >= first && Some(*pts) <= last;
        if self.is_lost || self.hidden.iter().any(is_between) {
            return FrameSet::default();
        }
        let free = self.found.iter().filter(|(_, layer)| *layer == self.highest_layer);
        free.filter_map(|(pts, _)| timeline.index_of(*pts)).collect()
    }
}

fn bytes(file: &File, at: u64, count: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(count).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let indices = [0, 5, 63, 64, 1000];
        let set: FrameSet = indices.into_iter().collect();
        assert_eq!((0..2000).filter(|&index| set.contains(index)).collect::<Vec<_>>(), indices);
        assert!(!set.is_empty() && FrameSet::default().is_empty() && !set.contains(u64::MAX));
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<FrameSet>(&text).unwrap(), set);
    }
}
