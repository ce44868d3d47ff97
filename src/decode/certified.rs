//! Frames of a hardware decoder, once it has given software's for a video of the same kind.
//!
//! NVDEC's decoder is kept and configured anew between files, and has been seen to cut frames wrongly without a word. So the first
//! frames that are wanted of each kind of video are decoded by both, and compared bit by bit: hardware decodes what the standards
//! say, and what follows is the same filter graph. Not for hardware that cannot be used at all, see `hwaccel_fault`. Invariant: what
//! a hardware decoder gives is of a kind of which its first frames were software's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::command::{FfmpegSource, HwAccel};
use super::transform::Transform;
use super::{Fault, Frame, FrameSource, FrameStream, ProbeError, Reader, VideoInfo};
use crate::time::Fps;

/// Frames that both decode of each kind.
const COMPARED: usize = 3;

/// What a decoder is configured for, as far as a probe tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    codec: String,
    width: u32,
    height: u32,
    rotation: i32,
}

/// What was found of a kind: nothing, or why software decodes it.
type Verdict = Option<String>;

/// An [`FfmpegSource`] whose hardware decoder, if it has one, is compared with software's.
#[derive(Debug, Clone)]
pub struct CertifiedSource {
    source: FfmpegSource,
    /// Each kind is looked at once, by whoever comes first; others wait for it.
    verdicts: Arc<Mutex<BTreeMap<Kind, Verdict>>>,
}

impl CertifiedSource {
    /// On top of `source`.
    pub fn new(source: FfmpegSource) -> Self {
        Self { source, verdicts: Arc::default() }
    }

    fn software(&self) -> FfmpegSource {
        FfmpegSource { hwaccel: HwAccel::None, ..self.source.clone() }
    }

    /// Why software is to decode `video`, of which the frames of `wanted` are to be had.
    fn verdict(&self, video: &VideoInfo, wanted: &[u64]) -> Verdict {
        if self.source.hwaccel == HwAccel::None || video.images.is_some() || wanted.is_empty() {
            return None;
        }
        let kind =
            Kind { codec: video.codec.clone(), width: video.width, height: video.height, rotation: video.rotation };
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = verdicts.get(&kind) {
            return known.clone();
        }
        let (verdict, is_final) = self.compare(video, &wanted[..wanted.len().min(COMPARED)]);
        if is_final {
            verdicts.insert(kind, verdict.clone());
        }
        verdict
    }

    /// Decodes whole frames by both. A video that software cannot decode either says nothing of its kind, and is software's.
    fn compare(&self, video: &VideoInfo, wanted: &[u64]) -> (Verdict, bool) {
        let of = |source: &FfmpegSource| -> Result<Vec<Frame>, Fault> {
            source.open(video, wanted, &[Transform::whole(Reader::Exact)]).collect()
        };
        let truth = match of(&self.software()) {
            Ok(frames) if frames.len() == wanted.len() => frames,
            Ok(_) => return (Some("software decodes fewer frames than were wanted to compare".into()), false),
            Err(fault) => return (Some(format!("nothing to compare, for software says: {fault}")), false),
        };
        let verdict = match of(&self.source) {
            // The stream itself tells of it.
            Err(Fault::Fallback { .. }) => None,
            Err(fault) => Some(format!("{fault}, which software does not say")),
            Ok(frames) => difference(&truth, &frames),
        };
        (verdict, true)
    }
}

/// What is the first difference between frames by software and by hardware.
fn difference(truth: &[Frame], found: &[Frame]) -> Option<String> {
    let differs = |(truth, found): (&Frame, &Frame)| truth.index != found.index || truth.pixels != found.pixels;
    match truth.iter().zip(found).find(|&pair| differs(pair)) {
        Some((frame, _)) => Some(format!("its frame {} differs from software's", frame.index)),
        None if found.len() < truth.len() => {
            Some(format!("it gave {} frames of the first {} that were wanted", found.len(), truth.len()))
        }
        None => None,
    }
}

impl FrameSource for CertifiedSource {
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        self.source.probe(path, fps)
    }

    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        match self.verdict(video, wanted) {
            None => self.source.open(video, wanted, transforms),
            Some(why) => {
                let fault = Fault::Fallback { wanted: "cuda".into(), why };
                Box::new(std::iter::once(Err(fault)).chain(self.software().open(video, wanted, transforms)))
            }
        }
    }

    fn dropped(&self, video: &VideoInfo, wanted: &[u64]) -> u64 {
        let software = self.verdict(video, wanted).map(|_| self.software());
        software.as_ref().unwrap_or(&self.source).dropped(video, wanted)
    }

    fn version(&self) -> String {
        self.source.version()
    }
}
