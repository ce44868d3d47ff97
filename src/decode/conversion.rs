//! From a coded frame to red, green and blue: the filters of ffmpeg that equal each reader, bit for bit.
//!
//! Not for squares. Invariant: what a reader's filters give depends on nothing but the frame, so that it may be stacked with
//! what others give. `tests/it/decode/frames.rs` compares all of them with what the readers themselves gave.

use super::transform::{Filter, Reader, Transform};
use super::{Geometry, HwAccel, VideoInfo};

/// swscale's most exact arithmetic. Readers use none of these flags, and without them its chroma is off by up to 200 levels
/// on sharp edges where it also scales.
const EXACT: &str = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact";

/// How a frame becomes red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    reader: Reader,
    /// What the frame is scaled to before it is read.
    prepared: Option<(u32, u32)>,
    /// The matrix of its colours, which scaling is to leave.
    color_space: Option<&'static str>,
    /// Clockwise degrees by which it is turned here, beforehand.
    turned_before: i32,
    /// The same, after it was read.
    turned_after: i32,
}

/// Whether frames that are to be turned by `rotation` degrees have to be turned in the graph: ffmpeg by itself turns them
/// before everything else, for all readers alike, and planes of unlike sizes by way of another filter than decord's.
pub fn turns_here(transforms: &[Transform], rotation: i32) -> bool {
    rotation != 0 && transforms.iter().any(|transform| transform.reader != Reader::Exact)
}

/// For frames of a GPU: the same planes as software decodes to, which readers convert otherwise than interleaved ones.
pub fn planes(hwaccel: HwAccel) -> &'static str {
    match hwaccel {
        HwAccel::None => "",
        HwAccel::Cuda(_) => {
            ",format=yuv420p|yuv420p10le|yuv420p12le|yuv422p|yuv422p10le|yuv444p|yuv444p10le|yuv444p12le"
        }
    }
}

impl Conversion {
    /// That of `transform` for frames of `video`, which are turned in the graph or were turned by ffmpeg.
    pub fn of(transform: &Transform, video: &VideoInfo, turned_here: bool) -> Self {
        let prepared = transform.prepare.size(video.width, video.height);
        let rotation = if turned_here { video.rotation } else { 0 };
        // A prepared file was turned when it was written.
        let (turned_before, turned_after) = match transform.reader {
            _ if prepared.is_some() => (rotation, 0),
            Reader::Opencv => (0, rotation),
            Reader::Pyav => (0, 0),
            Reader::Decord | Reader::Pillow | Reader::Exact => (rotation, 0),
        };
        let color_space = video.color_space;
        Self { reader: transform.reader, prepared, color_space, turned_before, turned_after }
    }

    /// Its filters, which end in `rgb24`. `scaled` is how [`Reader::Exact`] scales in the same step, and must be `None` or
    /// no change for others.
    pub fn filters(&self, scaled: Option<(Filter, Geometry)>) -> String {
        let prepared = self.prepared.map(|(width, height)| {
            keeping(self.color_space, format!("scale={width}:{height}:flags=bicubic,format=yuv420p"))
        });
        let read = match self.reader {
            Reader::Decord | Reader::Pillow => "scale=flags=bilinear,format=rgb24".to_owned(),
            Reader::Opencv => "scale=in_color_matrix=bt601:flags=bicubic,format=bgr24".to_owned(),
            Reader::Pyav => "scale=flags=bilinear:in_color_matrix=bt601,format=rgb24".to_owned(),
            Reader::Exact => format!("{},format=rgb24", exact(scaled)),
        };
        let channels = (self.reader == Reader::Opencv).then(|| "format=rgb24".to_owned());
        let turned_before = turning(self.turned_before).map(|turning| match (self.reader, self.prepared) {
            // decord's way to planes that can be turned, where they cannot as they are.
            (Reader::Decord | Reader::Pillow, None) => format!("scale=flags=bilinear,{turning}"),
            _ => turning,
        });
        let steps = [turned_before, prepared, Some(read), turning(self.turned_after), channels];
        steps.into_iter().flatten().collect::<Vec<_>>().join(",")
    }
}

/// `filters` that change planes, and what keeps the matrix of their colours: since version 7 ffmpeg forgets it where it changes
/// full-range planes, and whoever converts them afterwards takes that of BT.601.
pub fn keeping(color_space: Option<&str>, filters: String) -> String {
    match color_space {
        Some(matrix) => format!("{filters},setparams=colorspace={matrix}"),
        None => filters,
    }
}

/// The filters that turn by so many degrees clockwise, as ffmpeg does by itself.
fn turning(degrees: i32) -> Option<String> {
    match degrees {
        0 => None,
        90 => Some("transpose=clock".to_owned()),
        180 => Some("hflip,vflip".to_owned()),
        270 => Some("transpose=cclock".to_owned()),
        _ => Some(format!("rotate={degrees}*PI/180")),
    }
}

/// swscale at its most exact, with or without scaling.
fn exact(scaled: Option<(Filter, Geometry)>) -> String {
    let Some((filter, Geometry { width, height, .. })) = scaled else { return format!("scale=flags=bilinear+{EXACT}") };
    let scale = format!("scale={width}:{height}:flags={}+{EXACT}", filter.flag());
    if filter != Filter::BilinearAliased {
        return scale;
    }
    // With 8 bits on either side this kernel is another, fast and several pixels off.
    format!("scale=flags=bilinear+{EXACT},format=rgb48le,{scale},format=rgb48le")
}
