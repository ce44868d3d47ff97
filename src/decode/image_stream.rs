//! Frames from image files, decoded as Pillow and OpenCV decode them.
//!
//! Not for finding the files. Invariant: an image that is missing, damaged or of another size than its folder's first one is
//! a fault of its own and never a frame.

use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;

use super::graph::Sizes;
use super::image::{Image, ImageError};
use super::image_sequence::ImageSequence;
use super::transform::Transform;
use super::{Fault, Frame, VideoInfo};
use crate::child;
use crate::pixels::Pixels;

/// Files that are decoded at a time, side by side; what comes of them waits until it is asked for.
const FILES: usize = 16;

/// The frames of some images.
pub struct ImageStream {
    images: Arc<ImageSequence>,
    sizes: Sizes,
    wanted: VecDeque<u64>,
    ready: VecDeque<Result<Frame, Fault>>,
}

impl ImageStream {
    /// The frames of `wanted`, ascending, in the sizes of `transforms`.
    pub fn new(video: &VideoInfo, images: Arc<ImageSequence>, wanted: &[u64], transforms: &[Transform]) -> Self {
        let sizes = Sizes::new(transforms, video);
        Self { images, sizes, wanted: wanted.iter().copied().collect(), ready: VecDeque::new() }
    }

    /// Decodes the next few files.
    fn advance(&mut self) {
        let chosen: Vec<u64> = self.wanted.drain(..self.wanted.len().min(FILES)).collect();
        let frame = |&index: &u64| self.pixels(index).map(|pixels| Frame { index, pixels });
        self.ready = chosen.par_iter().map(frame).collect::<Vec<_>>().into();
        if self.ready.iter().any(|next| matches!(next, Err(Fault::Unreadable { .. }))) {
            // Whoever wants all of them has lost; the next ones would hardly fare better.
            self.wanted.clear();
        }
    }

    fn pixels(&self, index: u64) -> Result<Vec<Arc<Pixels>>, Fault> {
        let damage = |line: String| Fault::Damage { near: index, line };
        let file = self.images.file(index).ok_or_else(|| damage(format!("there is no image {index}")))?;
        let name = || file.file_name().unwrap_or_default().to_string_lossy();
        let is_moment = |error: &ImageError| matches!(error, ImageError::Unreadable(_));
        let image = child::twice(|| Image::read(file), is_moment).map_err(|error| match error {
            ImageError::Unreadable(why) => Fault::Unreadable { path: file.to_owned(), why },
            ImageError::Damaged(why) => damage(format!("{}: {why}", name())),
        })?;
        self.sizes.pixels_of(&image, index).map_err(|[(w, h), (width, height)]| {
            damage(format!("{}: the image is {w}x{h}, the first one of its folder {width}x{height}", name()))
        })
    }
}

impl Iterator for ImageStream {
    type Item = Result<Frame, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && !self.wanted.is_empty() {
            self.advance();
        }
        self.ready.pop_front()
    }
}
