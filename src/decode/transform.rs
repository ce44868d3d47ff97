//! What becomes of a frame before it reaches the graph: what was done to its file, who reads it, and how it becomes a square.
//!
//! Part of a recipe, and of what a [`FrameSource`](super::FrameSource) is asked for. Invariant: every transform of a recipe gives squares of `crop` pixels, whatever the
//! video's shape. A recipe without `reader` and `prepare` is one of version 0.1 and means what that computed, and is written
//! without them again, so that its fingerprint stays.

use serde::{Deserialize, Serialize};

use crate::pixels::Kernel;

/// Scaling and cropping to square frames of three values a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "TransformKeys", into = "TransformKeys")]
pub struct Transform {
    /// Which part of a frame becomes the square.
    pub place: Place,
    /// The side of the square, in pixels.
    pub crop: u32,
    /// The scaling filter.
    pub filter: Filter,
    /// The order of a pixel's bytes.
    pub channels: Channels,
    /// Whose arithmetic makes red, green and blue of a frame.
    pub reader: Reader,
    /// What was done to the file before it was read.
    pub prepare: Prepare,
    /// What is seen of frames that show two eyes side by side, if the video has such.
    pub stereo: Stereo,
}

impl Transform {
    /// Red, green and blue of a centred square, without an original's reader: [`Reader::Exact`], [`Prepare::None`].
    pub const fn centred(short_side: u32, crop: u32, filter: Filter) -> Self {
        Self {
            place: Place::Centre { short_side },
            crop,
            filter,
            channels: Channels::Rgb,
            reader: Reader::Exact,
            prepare: Prepare::None,
            stereo: Stereo::Whole,
        }
    }

    /// Red, green and blue of whole frames as `reader` gives them, `3 * width * height` bytes of the size that
    /// `VideoInfo::size_for` says.
    pub const fn whole(reader: Reader) -> Self {
        Self { place: Place::Whole, ..Self::centred(1, 1, Filter::Bilinear) }.read_by(reader)
    }

    /// The same by another reader.
    pub const fn read_by(self, reader: Reader) -> Self {
        Self { reader, ..self }
    }

    /// The same of a file that was prepared otherwise.
    pub const fn prepared(self, prepare: Prepare) -> Self {
        Self { prepare, ..self }
    }

    /// The same for a video of which it is known whether its frames show two eyes.
    pub fn for_video(self, is_stereo: bool) -> Self {
        Self { stereo: if is_stereo { self.stereo } else { Stereo::Whole }, ..self }
    }

    /// Whether frames that are scaled stay `float32` and are not rounded to 8 bits: the tensors of an original. Those that are
    /// only cut are `uint8` all the same.
    pub fn scales_floats(self) -> bool {
        self.filter == Filter::BilinearAliased && self.reader != Reader::Exact
    }

    /// Most bytes of a value that comes out.
    pub fn value_bytes(self) -> usize {
        if self.scales_floats() { size_of::<f32>() } else { 1 }
    }

    /// Checks what no type can: sizes within reason, and a crop that fits.
    ///
    /// # Errors
    /// The key, what it is and what was expected.
    pub fn check(self) -> Result<(), String> {
        if self.stereo == Stereo::LeftHalf && self.reader == Reader::Exact {
            let why =
                "transform.stereo is left-half, expected a transform.reader beside it: decord, opencv, pyav or pillow";
            return Err(why.into());
        }
        let (crop, most) = (
            self.crop,
            match self.place {
                Place::Centre { short_side } if !(16..=4096).contains(&short_side) => {
                    return Err(format!("transform.short_side is {short_side}, expected 16 to 4096 pixels"));
                }
                Place::Centre { short_side } => short_side,
                Place::Random { .. } | Place::Whole => 4096,
            },
        );
        match self.place {
            _ if (1..=most).contains(&crop) => Ok(()),
            Place::Centre { .. } => Err(format!("transform.crop is {crop}, expected 1 to short_side ({most}) pixels")),
            Place::Random { .. } | Place::Whole => {
                Err(format!("transform.crop is {crop}, expected 1 to {most} pixels"))
            }
        }
    }
}

/// Which part of a frame becomes the square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The frame is scaled and its centre cut out, at an offset that is rounded half to even, as in torchvision's
    /// `CenterCrop`.
    Centre {
        /// The shorter side after scaling, in pixels; the longer one is `floor(short_side * long / short)`, as in
        /// torchvision's `Resize`.
        short_side: u32,
    },
    /// A part is drawn for each frame and scaled to the square, as in torchvision's `RandomResizedCrop` with its usual
    /// shares (0.08 to 1 of the area) and ratios (3/4 to 4/3): EgoVLPv2's QFVS as released.
    Random {
        /// What is drawn depends on it, on the video's name and on the frame's index alone.
        seed: u64,
    },
    /// The whole frame at its own size, for who crops it otherwise. No recipe can say so: `crop` counts for nothing.
    Whole,
}

/// Whose arithmetic turns coded frames into red, green and blue.
///
/// Each was found to equal, bit for bit, what stands here, on the files of `tests/data/readers` (its README says how). They
/// differ from one another and from [`Exact`](Self::Exact) in a tenth to a half of all values, by up to some twenty levels.
/// Images (JPEG and PNG files) are decoded by libjpeg's and PNG's own arithmetic whatever the reader, as Pillow and OpenCV
/// do; what the reader says there is whether an image's EXIF orientation turns it (OpenCV's `imread` alone).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// decord 0.6: the colour matrix that the file names (BT.601 if none), turned as the file says.
    Decord,
    /// OpenCV 4: BT.601 whatever the file says, turned as the file says. An image is turned by its EXIF orientation.
    Opencv,
    /// PyAV 12 and 13: BT.601 whatever the file says, not turned.
    Pyav,
    /// Pillow, which reads images and no videos: a video is read as by `decord`.
    Pillow,
    /// Nobody's: ffmpeg with swscale's most exact arithmetic, scaled in one step with the conversion. What egofx 0.1 did.
    #[default]
    Exact,
}

impl Reader {
    /// Its name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decord => "decord",
            Self::Opencv => "opencv",
            Self::Pyav => "pyav",
            Self::Pillow => "pillow",
            Self::Exact => "exact",
        }
    }

    /// Whether it shows videos the way up that their container says.
    pub const fn turns_videos(self) -> bool {
        !matches!(self, Self::Pyav)
    }

    /// Whether it shows images the way up that their EXIF data say.
    pub const fn turns_images(self) -> bool {
        matches!(self, Self::Opencv)
    }

    fn is_exact(&self) -> bool {
        *self == Self::Exact
    }
}

/// What the original did to a video's file before it read it. Images are read as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prepare {
    /// A file whose height is not 256 is scaled to that height and an even width, as 8-bit 4:2:0 and with swscale's bicubic
    /// filter: EgoVLP's and EgoVLPv2's `video_resize.py`, without the loss of its encoder. One that is 256 high is taken for
    /// a file that was prepared already.
    VideoResize,
    /// Nothing.
    #[default]
    None,
}

impl Prepare {
    /// The height that `video-resize` gives, in pixels.
    pub const HEIGHT: u32 = 256;

    /// What a frame of `width * height` pixels, the right way up, measures afterwards; `None` if it stays as it is.
    ///
    /// The width is `trunc(256 * width / height / 2) * 2`, the script's `trunc(oh*a/2)*2`, and at least 2.
    pub fn size(self, width: u32, height: u32) -> Option<(u32, u32)> {
        if self == Self::None || height == Self::HEIGHT {
            return None;
        }
        let half = u64::from(Self::HEIGHT / 2) * u64::from(width) / u64::from(height.max(1));
        let half = u32::try_from(half).unwrap_or(u32::MAX / 2).clamp(1, u32::MAX / 2);
        Some((2 * half, Self::HEIGHT))
    }

    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// What is seen of frames that show two eyes side by side. Which videos have such, the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stereo {
    /// Both eyes.
    #[default]
    Whole,
    /// The left one: half of the width, rounded down. Where the whole frame is higher than wide, that half is scaled at once, by
    /// two taps a side, to half of its height as its width and to its width as its height. Source: `CropIfStereo` in
    /// `ego4d/features/dataset.py` of Ego4D, which does so for videos that were encoded wrongly.
    LeftHalf,
}

impl Stereo {
    /// Width and height of the part of a frame that is seen.
    pub fn part(self, (width, height): (u32, u32)) -> (u32, u32) {
        match self {
            Self::Whole => (width, height),
            Self::LeftHalf => ((width / 2).max(1), height),
        }
    }

    /// What that part is scaled to at once; `None` if it stays as it is.
    pub fn squeezed(self, (width, height): (u32, u32)) -> Option<(u32, u32)> {
        let (part, _) = self.part((width, height));
        (self == Self::LeftHalf && width < height).then_some(((height / 2).max(1), part))
    }

    fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// The keys of a transform: `short_side` for a centred square, `seed` for a random one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransformKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    short_side: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    crop: u32,
    filter: Filter,
    channels: Channels,
    #[serde(default, skip_serializing_if = "Reader::is_exact")]
    reader: Reader,
    #[serde(default, skip_serializing_if = "Prepare::is_none")]
    prepare: Prepare,
    #[serde(default, skip_serializing_if = "Stereo::is_whole")]
    stereo: Stereo,
}

impl TryFrom<TransformKeys> for Transform {
    type Error = &'static str;

    fn try_from(keys: TransformKeys) -> Result<Self, Self::Error> {
        let TransformKeys { short_side, seed, crop, filter, channels, reader, prepare, stereo } = keys;
        let place = match (short_side, seed) {
            (Some(short_side), None) => Place::Centre { short_side },
            (None, Some(seed)) => Place::Random { seed },
            _ => return Err("expected short_side (a centred crop) or seed (a random resized crop), one of the two"),
        };
        Ok(Self { place, crop, filter, channels, reader, prepare, stereo })
    }
}

impl From<Transform> for TransformKeys {
    fn from(Transform { place, crop, filter, channels, reader, prepare, stereo }: Transform) -> Self {
        let (short_side, seed) = match place {
            Place::Centre { short_side } => (Some(short_side), None),
            Place::Random { seed } => (None, Some(seed)),
            Place::Whole => (None, None),
        };
        Self { short_side, seed, crop, filter, channels, reader, prepare, stereo }
    }
}

/// The order of a pixel's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Red, green, blue: what backbones are trained with.
    Rgb,
    /// Blue, green, red: what EgoVLP's reader of EPIC-KITCHENS' images gave until January 2023, and its published numbers
    /// probably rest on.
    Bgr,
}

/// Scaling filters.
///
/// What a reader gave is scaled in red, green and blue, by the arithmetic that stands here, to 8 bits but for the last. Under
/// [`Reader::Exact`] videos are scaled by swscale's filters of these names instead, in one step with the conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// As Pillow's `BILINEAR`: a triangle that widens where an image becomes smaller.
    Bilinear,
    /// As Pillow's `BICUBIC` (a = -0.5), widened likewise: what EgoVLPv2's QFVS uses.
    Bicubic,
    /// As Pillow's `BOX`: every pixel is the mean of what it covers.
    Area,
    /// As torchvision's `Resize` scales tensors without antialiasing (its behaviour before 0.17): two taps a side whatever
    /// the ratio, in single precision and not rounded ([`Transform::scales_floats`]; under [`Reader::Exact`] to 8 bits). What
    /// EgoVLP, EgoVLPv2 and Ego4D use; for an image that grows the same as `bilinear`, to a level.
    BilinearAliased,
}

impl Filter {
    /// Pillow's kernel; `None` for the filter that does not widen.
    pub(super) fn kernel(self) -> Option<Kernel> {
        match self {
            Filter::Bilinear => Some(Kernel::Triangle),
            Filter::Bicubic => Some(Kernel::Cubic),
            Filter::Area => Some(Kernel::Box),
            Filter::BilinearAliased => None,
        }
    }

    /// swscale's name of the filter's kernel.
    pub fn flag(self) -> &'static str {
        match self {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
            Filter::Area => "area",
            // The one of swscale's filters that does not widen for smaller images.
            Filter::BilinearAliased => "fast_bilinear",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepared_files_are_256_high_and_even_in_width() {
        for (from, to) in [
            ((1920, 1080), Some((454, 256))),
            ((1440, 1080), Some((340, 256))),
            ((1080, 1920), Some((144, 256))),
            ((320, 180), Some((454, 256))),
            ((480, 270), Some((454, 256))),
            ((512, 512), Some((256, 256))),
            ((455, 256), None),
            ((3, 4000), Some((2, 256))),
        ] {
            assert_eq!(Prepare::VideoResize.size(from.0, from.1), to, "{from:?}");
            assert_eq!(Prepare::None.size(from.0, from.1), None);
        }
    }

    /// 64 x 32 and 32 x 64 are what Ego4D's code was run on.
    #[test]
    fn the_left_half_of_a_high_frame_is_squeezed() {
        let of = |size| (Stereo::LeftHalf.part(size), Stereo::LeftHalf.squeezed(size));
        assert_eq!(of((64, 32)), ((32, 32), None));
        assert_eq!(of((32, 64)), ((16, 64), Some((32, 16))));
        assert_eq!(of((65, 65)), ((32, 65), None));
        assert_eq!(of((1, 3)), ((1, 3), Some((1, 1))));
        assert_eq!((Stereo::Whole.part((32, 64)), Stereo::Whole.squeezed((32, 64))), ((32, 64), None));
    }

    #[test]
    fn old_recipes_are_written_as_they_were_and_new_ones_with_their_reader() {
        let old = "short_side = 256\ncrop = 256\nfilter = \"bilinear\"\nchannels = \"rgb\"\n";
        let read: Transform = toml::from_str(old).unwrap();
        assert_eq!((read.reader, read.prepare), (Reader::Exact, Prepare::None));
        assert_eq!(toml::to_string(&read).unwrap(), old);
        let new = format!("{old}reader = \"decord\"\nprepare = \"video-resize\"\n");
        let read: Transform = toml::from_str(&new).unwrap();
        assert_eq!((read.reader, read.prepare), (Reader::Decord, Prepare::VideoResize));
        assert_eq!(toml::to_string(&read).unwrap(), new);
        let stereo = format!("{new}stereo = \"left-half\"\n");
        let read: Transform = toml::from_str(&stereo).unwrap();
        assert_eq!((read.stereo, read.for_video(false).stereo), (Stereo::LeftHalf, Stereo::Whole));
        assert_eq!(toml::to_string(&read).unwrap(), stereo);
        assert_eq!(toml::to_string(&read.for_video(false)).unwrap(), new);
        assert!(read.check().is_ok() && read.read_by(Reader::Exact).check().unwrap_err().contains("transform.reader"));
        let error = toml::from_str::<Transform>(&new.replace("decord", "cv2")).unwrap_err().to_string();
        assert!(error.contains("`decord`, `opencv`, `pyav`, `pillow`, `exact`"), "{error}");
    }
}
