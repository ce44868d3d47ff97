//! The frames of one file, without decoding those that nobody wants and no other frame needs.
//!
//! Not for choosing those, see `drops`. Invariant: dropping is believed as long as every other frame comes in its place and nobody
//! complains. At the first sign of anything else decoding begins anew with all packets, and what is said then is what would have
//! been said without; but for damage that is in dropped packets alone, of which nobody hears.

use super::command::FfmpegSource;
use super::stream::Stream;
use super::transform::Transform;
use super::{Fault, Frame, VideoInfo, drops};

/// The wanted frames of a video, in order, out of as few packets as possible.
pub(super) struct DroppingStream {
    stream: Stream,
    /// Makes the stream without dropping; used once.
    whole: Option<Box<dyn FnOnce() -> Stream + Send>>,
    /// Frames that are decoded without dropping, and those of them that were to be dropped.
    decoded: u64,
    dropped: u64,
    /// The last frame that was handed on.
    last: Option<u64>,
}

impl DroppingStream {
    /// The frames of `wanted`, which is not empty, in each of `transforms`.
    pub fn new(source: &FfmpegSource, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> Self {
        let decoded =
            wanted.first().zip(wanted.last()).map_or(0, |(&first, last)| last + 1 - video.start_before(first));
        let dropped = drops::count(source, video, wanted);
        let stream = Stream::new(source, video, wanted, transforms, true);
        let (source, video) = (source.clone(), video.clone());
        let (wanted, transforms) = (wanted.to_vec(), transforms.to_vec());
        let whole = move || Stream::new(&source, &video, &wanted, &transforms, false);
        Self { stream, whole: Some(Box::new(whole)), decoded, dropped, last: None }
    }
}

impl Iterator for DroppingStream {
    type Item = Result<Frame, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.stream.next();
            let doubt = match &next {
                _ if self.whole.is_none() => None,
                Some(Err(fault @ (Fault::Damage { .. } | Fault::Disorder { .. } | Fault::Short { .. }))) => Some(fault),
                Some(_) => None,
                None => self.stream.doubt(),
            };
            if let Some((why, whole)) = doubt.map(Fault::to_string).zip(self.whole.take_if(|_| doubt.is_some())) {
                self.stream = whole();
                return Some(Err(Fault::Undropped { why, decoded: self.decoded, dropped: self.dropped }));
            }
            match next {
                // It was handed on before.
                Some(Ok(frame)) if self.last.is_some_and(|last| frame.index <= last) => {}
                Some(Ok(frame)) => {
                    self.last = Some(frame.index);
                    return Some(Ok(frame));
                }
                // That says nothing of the video, and nothing comes after it.
                Some(Err(Fault::Crashed(_))) => {
                    self.whole = None;
                    return next;
                }
                other => return other,
            }
        }
    }
}
