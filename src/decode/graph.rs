//! What becomes of a wanted frame: ffmpeg's filter graph, and from the bytes that come out of it to pixels.
//!
//! Not for running ffmpeg. Invariant: several sizes of a frame come as one image, so that one decode and one pipe serve
//! them all, whoever's readers they are, and each is cut out of it as if it had come alone.

use std::fmt::Write;
use std::sync::Arc;

use super::conversion::{self, Conversion};
use super::crop;
use super::image::Image;
use super::transform::{Channels, Filter, Place, Reader, Transform};
use super::{Geometry, HwAccel, VideoInfo, select};
use crate::pixels::{self, Pixels, Region};

/// The sizes that are made of every wanted frame of a video.
pub struct Sizes {
    sizes: Vec<Size>,
    /// The video's name, on which random crops depend.
    name: String,
    /// Whether frames come as they are coded, and are turned in the graph.
    turned_here: bool,
}

#[derive(Clone, Copy)]
struct Size {
    transform: Transform,
    /// Width and height of the frame as its reader gives it.
    read: (u32, u32),
    /// Those of what is seen of it: of frames that show two eyes, the left half.
    seen: (u32, u32),
    /// From there to the square.
    geometry: Geometry,
    conversion: Conversion,
}

impl Sizes {
    /// The sizes of `transforms`, in their order, for frames of `video`.
    pub fn new(transforms: &[Transform], video: &VideoInfo) -> Self {
        let turned_here = conversion::turns_here(transforms, video.rotation);
        let size = |&transform: &Transform| {
            let read = video.size_for(&transform);
            let conversion = Conversion::of(&transform, video, turned_here);
            let seen = transform.stereo.squeezed(read).unwrap_or(transform.stereo.part(read));
            Size { transform, read, seen, geometry: Geometry::of(transform, seen.0, seen.1), conversion }
        };
        let name = video.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { sizes: transforms.iter().map(size).collect(), name, turned_here }
    }

    /// Whether ffmpeg is to leave frames the way up that they are coded.
    pub fn turned_here(&self) -> bool {
        self.turned_here
    }

    /// Bytes of the image that ffmpeg makes of one frame.
    pub fn bytes(&self) -> usize {
        self.widest() as usize * 3 * self.sizes.iter().map(|size| size.chunk().1 as usize).sum::<usize>()
    }

    /// Bytes of a frame's pixels, in all sizes.
    pub fn frame_bytes(&self) -> usize {
        self.sizes.iter().map(Size::frame_bytes).sum()
    }

    fn widest(&self) -> u32 {
        self.sizes.iter().map(|size| size.chunk().0).max().unwrap_or(0)
    }

    /// The filter graph: frames with these timestamps only, then scaled, converted and cropped; several sizes are stacked
    /// into one image.
    pub fn graph(&self, pts: &[i64], hwaccel: HwAccel) -> String {
        let mut graph = format!("select='{}'", select::expression(pts));
        graph.push_str(conversion::planes(hwaccel));
        // Writing to a String cannot fail.
        if let [size] = self.sizes[..] {
            let _ = write!(graph, ",{}", size.filters());
        } else {
            let (n, widest) = (self.sizes.len(), self.widest());
            let labels = |c: char| (0..n).map(|i| format!("[{c}{i}]")).collect::<String>();
            let _ = write!(graph, ",split={n}{}", labels('a'));
            for (i, size) in self.sizes.iter().enumerate() {
                let _ = write!(graph, ";[a{i}]{},pad={widest}:{}:0:0[b{i}]", size.filters(), size.chunk().1);
            }
            let _ = write!(graph, ";{}vstack=inputs={n}", labels('b'));
        }
        graph
    }

    /// The pixels of frame `index` in each size, out of the `image` that ffmpeg made of it.
    pub fn pixels(&self, image: Vec<u8>, index: u64) -> Vec<Arc<Pixels>> {
        let chunks = self.unstack(image);
        let finish = |(chunk, size): (Vec<u8>, &Size)| Arc::new(size.finish(chunk, &self.name, index));
        chunks.into_iter().zip(&self.sizes).map(finish).collect()
    }

    /// The pixels of image file `index` in each size; or the size that the image has and the one that it is to have, if
    /// they differ.
    ///
    /// # Errors
    /// The size of the image and the one that was expected, if they differ.
    pub fn pixels_of(&self, image: &Image, index: u64) -> Result<Vec<Arc<Pixels>>, [(u32, u32); 2]> {
        let upright = self.sizes.iter().any(|size| size.transform.reader.turns_images()).then(|| image.turned());
        let finish = |size: &Size| {
            let seen = upright.as_ref().filter(|_| size.transform.reader.turns_images()).unwrap_or(image);
            if (seen.width, seen.height) != size.read {
                return Err([(seen.width, seen.height), size.read]);
            }
            Ok(Arc::new(size.coloured(size.square(&seen.rgb, &self.name, index))))
        };
        self.sizes.iter().map(finish).collect()
    }

    /// Cuts an image of stacked sizes apart.
    fn unstack(&self, image: Vec<u8>) -> Vec<Vec<u8>> {
        if self.sizes.len() == 1 {
            return vec![image];
        }
        let stride = self.widest() as usize * 3;
        let mut rows = image.chunks_exact(stride);
        let mut cut = |size: &Size| {
            let (width, height) = size.chunk();
            let rows = rows.by_ref().take(height as usize).map(|row| &row[..width as usize * 3]);
            rows.collect::<Vec<_>>().concat()
        };
        self.sizes.iter().map(&mut cut).collect()
    }
}

impl Size {
    /// Whether ffmpeg makes the square: it only cuts, or scales as nobody's reader does.
    fn is_ffmpegs(&self) -> bool {
        let Geometry { width, height, .. } = self.geometry;
        // What is cut out of the left half lies at the same place in the whole frame.
        let scales = (width, height) != self.seen || self.transform.stereo.squeezed(self.read).is_some();
        matches!(self.transform.place, Place::Centre { .. }) && (self.transform.reader == Reader::Exact || !scales)
    }

    /// Width and height of what ffmpeg gives: the square, or the whole frame.
    fn chunk(&self) -> (u32, u32) {
        if self.is_ffmpegs() { (self.geometry.cut_width, self.geometry.cut_height) } else { self.read }
    }

    /// Bytes of a frame's pixels.
    fn frame_bytes(&self) -> usize {
        let side = self.transform.crop as usize;
        let values =
            if let Place::Random { .. } = self.transform.place { 3 * side * side } else { self.geometry.bytes() };
        if self.is_ffmpegs() { values } else { values * self.transform.value_bytes() }
    }

    fn filters(&self) -> String {
        if !self.is_ffmpegs() {
            return self.conversion.filters(None);
        }
        let Geometry { cut_width, cut_height, x, y, .. } = self.geometry;
        let filters = self.conversion.filters(Some((self.transform.filter, self.geometry)));
        format!("{filters},crop={cut_width}:{cut_height}:{x}:{y}:exact=1")
    }

    /// What ffmpeg leaves to us.
    fn finish(&self, chunk: Vec<u8>, name: &str, index: u64) -> Pixels {
        let whole = matches!(self.transform.place, Place::Whole);
        let square = if self.is_ffmpegs() || whole { Pixels::U8(chunk) } else { self.square(&chunk, name, index) };
        self.coloured(square)
    }

    /// The square of a frame as it was read.
    fn square(&self, bytes: &[u8], name: &str, index: u64) -> Pixels {
        let (transform, (width, height)) = (&self.transform, self.seen);
        let image = pixels::Image { values: bytes, width: self.read.0 };
        let (region, to, cut) = match transform.place {
            Place::Whole => return Pixels::U8(bytes.to_vec()),
            Place::Centre { .. } => {
                let g = self.geometry;
                let cut = Region { x: g.x, y: g.y, width: g.cut_width, height: g.cut_height };
                (Region::whole(self.seen), (g.width, g.height), cut)
            }
            Place::Random { seed } => {
                let to = (transform.crop, transform.crop);
                (crop::drawn(seed, name, index, width, height), to, Region::whole(to))
            }
        };
        let square = match transform.stereo.squeezed(self.read) {
            None => image.scaled(region, to, cut, transform.filter.kernel()),
            Some(_) => {
                let part = Region::whole(transform.stereo.part(self.read));
                let squeezed = image.interpolated(part, self.seen, Region::whole(self.seen));
                if transform.filter == Filter::BilinearAliased {
                    Pixels::F32(pixels::Image { values: &squeezed, width }.interpolated(region, to, cut))
                } else {
                    let levels = Pixels::F32(squeezed).into_levels();
                    pixels::Image { values: &levels, width }.scaled(region, to, cut, transform.filter.kernel())
                }
            }
        };
        if transform.scales_floats() { square } else { Pixels::U8(square.into_levels()) }
    }

    /// In the order of channels that was asked for.
    fn coloured(&self, mut pixels: Pixels) -> Pixels {
        match (self.transform.channels, &mut pixels) {
            (Channels::Rgb, _) => {}
            (Channels::Bgr, Pixels::U8(levels)) => turn_colours(levels),
            (Channels::Bgr, Pixels::F32(floats)) => turn_colours(floats),
        }
        pixels
    }
}

/// Red and blue change places.
fn turn_colours<T>(values: &mut [T]) {
    values.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
}
