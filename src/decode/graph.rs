//! What ffmpeg does to a wanted frame: its filter graph, and from the bytes that come out of it to pixels.
//!
//! Not for running ffmpeg. Invariant: several sizes of a frame come as one picture, so that one decode and one pipe serve
//! them all, and each is cut out of it as if it had come alone.

use std::fmt::Write;
use std::sync::Arc;

use super::{Geometry, Pixels, VideoInfo, crop, select};
use crate::recipe::{Channels, Filter, Place, Transform};

/// The sizes that are made of every wanted frame of a video.
pub struct Sizes {
    sizes: Vec<Size>,
    /// The video's name, on which random crops depend.
    name: String,
}

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
        let name = video.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { sizes: transforms.iter().map(size).collect(), name }
    }

    /// Bytes of the picture that ffmpeg makes of one frame.
    pub fn bytes(&self) -> usize {
        self.widest() as usize * 3 * self.sizes.iter().map(|size| size.geometry.cut_height as usize).sum::<usize>()
    }

    fn widest(&self) -> u32 {
        self.sizes.iter().map(|size| size.geometry.cut_width).max().unwrap_or(0)
    }

    /// The filter graph: frames with these timestamps only, then scaled, converted and cropped; several sizes are stacked
    /// into one picture; `showinfo` reports each frame's timestamp.
    pub fn graph(&self, pts: &[i64]) -> String {
        let mut graph = format!("select='{}'", select::expression(pts));
        // Writing to a String cannot fail.
        if let [size] = self.sizes[..] {
            let _ = write!(graph, ",{}", size.filters());
        } else {
            let (n, widest) = (self.sizes.len(), self.widest());
            let labels = |c: char| (0..n).map(|i| format!("[{c}{i}]")).collect::<String>();
            let _ = write!(graph, ",split={n}{}", labels('a'));
            for (i, size) in self.sizes.iter().enumerate() {
                let _ = write!(graph, ";[a{i}]{},pad={widest}:{}:0:0[b{i}]", size.filters(), size.geometry.cut_height);
            }
            let _ = write!(graph, ";{}vstack=inputs={n}", labels('b'));
        }
        // Side data would make more lines, which nobody reads.
        graph.push_str(",sidedata=mode=delete,showinfo=checksum=0\n");
        graph
    }

    /// The pixels of frame `index` in each size, out of the `picture` that ffmpeg made of it.
    pub fn pixels(&self, picture: Vec<u8>, index: u64) -> Vec<Pixels> {
        let pieces = self.unstack(picture);
        let finish = |(piece, size): (Vec<u8>, &Size)| Arc::new(size.finish(piece, &self.name, index));
        pieces.into_iter().zip(&self.sizes).map(finish).collect()
    }

    /// Cuts a picture of stacked sizes apart.
    fn unstack(&self, picture: Vec<u8>) -> Vec<Vec<u8>> {
        if self.sizes.len() == 1 {
            return vec![picture];
        }
        let stride = self.widest() as usize * 3;
        let mut rows = picture.chunks_exact(stride);
        let mut cut = |size: &Size| {
            let (width, height) = (size.geometry.cut_width as usize, size.geometry.cut_height as usize);
            rows.by_ref().take(height).flat_map(|row| &row[..width * 3]).copied().collect()
        };
        self.sizes.iter().map(&mut cut).collect()
    }
}

impl Size {
    fn filters(&self) -> String {
        let Geometry { cut_width, cut_height, x, y, .. } = self.geometry;
        match self.transform.place {
            Place::Centre { .. } => {
                let scale = scale(self.transform.filter, &self.geometry);
                format!("{scale},format=rgb24,crop={cut_width}:{cut_height}:{x}:{y}:exact=1")
            }
            Place::Random { .. } | Place::Whole => format!("scale=flags=bilinear+{EXACT},format=rgb24"),
        }
    }

    /// What ffmpeg leaves to us: random crops, and another order of channels.
    fn finish(&self, piece: Vec<u8>, name: &str, index: u64) -> Vec<u8> {
        let Geometry { width, height, .. } = self.geometry;
        let mut pixels = match self.transform.place {
            Place::Centre { .. } | Place::Whole => piece,
            Place::Random { seed } => {
                let region = crop::drawn(seed, name, index, width, height);
                crop::resized(&piece, width, region, self.transform.crop, self.transform.filter)
            }
        };
        match self.transform.channels {
            Channels::Rgb => {}
            Channels::Bgr => pixels.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2)),
        }
        pixels
    }
}

/// Without these flags swscale's chroma is off by up to 200 levels on sharp edges.
const EXACT: &str = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact";

/// The filters that scale.
fn scale(filter: Filter, g: &Geometry) -> String {
    let scale = format!("scale={}:{}:flags={}+{EXACT}", g.width, g.height, filter.flag());
    if filter != Filter::BilinearAliased {
        return scale;
    }
    // With 8 bits on either side this kernel is another, fast and several pixels off.
    format!("scale=flags=bilinear+{EXACT},format=rgb48le,{scale},format=rgb48le")
}
