//! What ffmpeg does to a wanted frame: its filter graph, and from the bytes that come out of it to pixels.
//!
//! Not for running ffmpeg. Invariant: several sizes of a frame come as one picture, so that one decode and one pipe serve
//! them all, and each is cut out of it as if it had come alone.

use std::fmt::Write;
use std::sync::Arc;

use super::{Geometry, Pixels, VideoInfo, select};
use crate::recipe::{Channels, Filter, Transform};

/// The sizes that are made of every wanted frame of a video.
pub struct Sizes(Vec<Size>);

#[derive(Clone, Copy)]
struct Size {
    transform: Transform,
    geometry: Geometry,
}

impl Sizes {
    /// The sizes of `transforms`, in their order, for frames of `video`.
    pub fn new(transforms: &[Transform], video: &VideoInfo) -> Self {
        let size =
            |&transform: &Transform| Size { transform, geometry: Geometry::of(transform, video.width, video.height) };
        Self(transforms.iter().map(size).collect())
    }

    /// Bytes of the picture that ffmpeg makes of one frame.
    pub fn bytes(&self) -> usize {
        self.widest() as usize * 3 * self.0.iter().map(|size| size.geometry.side as usize).sum::<usize>()
    }

    fn widest(&self) -> u32 {
        self.0.iter().map(|size| size.geometry.side).max().unwrap_or(0)
    }

    /// The filter graph: frames with these timestamps only, then scaled, converted and cropped; several sizes are stacked
    /// into one picture; `showinfo` reports each frame's timestamp.
    pub fn graph(&self, pts: &[i64]) -> String {
        let mut graph = format!("select='{}'", select::expression(pts));
        // Writing to a String cannot fail.
        if let [size] = self.0[..] {
            let _ = write!(graph, ",{}", size.filters());
        } else {
            let (n, widest) = (self.0.len(), self.widest());
            let labels = |c: char| (0..n).map(|i| format!("[{c}{i}]")).collect::<String>();
            let _ = write!(graph, ",split={n}{}", labels('a'));
            for (i, size) in self.0.iter().enumerate() {
                let _ = write!(graph, ";[a{i}]{},pad={widest}:{}:0:0[b{i}]", size.filters(), size.geometry.side);
            }
            let _ = write!(graph, ";{}vstack=inputs={n}", labels('b'));
        }
        // Side data would make more lines, which nobody reads.
        graph.push_str(",sidedata=mode=delete,showinfo=checksum=0\n");
        graph
    }

    /// The frame's pixels in each size, out of the `picture` that ffmpeg made of it.
    pub fn pixels(&self, picture: Vec<u8>) -> Vec<Pixels> {
        let pieces = self.unstack(picture);
        pieces.into_iter().zip(&self.0).map(|(piece, size)| Arc::new(size.finish(piece))).collect()
    }

    /// Cuts a picture of stacked sizes apart.
    fn unstack(&self, picture: Vec<u8>) -> Vec<Vec<u8>> {
        if self.0.len() == 1 {
            return vec![picture];
        }
        let stride = self.widest() as usize * 3;
        let mut rows = picture.chunks_exact(stride);
        let mut cut = |size: &Size| {
            let side = size.geometry.side as usize;
            rows.by_ref().take(side).flat_map(|row| &row[..side * 3]).copied().collect()
        };
        self.0.iter().map(&mut cut).collect()
    }
}

impl Size {
    fn filters(&self) -> String {
        let Geometry { side, x, y, .. } = self.geometry;
        format!("{},format=rgb24,crop={side}:{side}:{x}:{y}:exact=1", scale(self.transform.filter, &self.geometry))
    }

    /// What ffmpeg leaves to us.
    fn finish(&self, mut pixels: Vec<u8>) -> Vec<u8> {
        match self.transform.channels {
            Channels::Rgb => {}
            Channels::Bgr => pixels.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2)),
        }
        pixels
    }
}

/// The filters that scale.
fn scale(filter: Filter, g: &Geometry) -> String {
    // Without these flags swscale's chroma is off by up to 200 levels on sharp edges.
    const EXACT: &str = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact";
    let scale = format!("scale={}:{}:flags={}+{EXACT}", g.width, g.height, filter.flag());
    if filter != Filter::BilinearAliased {
        return scale;
    }
    // With 8 bits on either side this kernel is another, fast and several pixels off.
    format!("scale=flags=bilinear+{EXACT},format=rgb48le,{scale},format=rgb48le")
}
