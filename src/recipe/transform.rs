//! What becomes of a frame before it reaches the graph.
//!
//! Not for doing it: `decode` does. Invariant: every transform of a recipe gives squares of `crop` pixels, whatever the
//! video's shape.

use serde::{Deserialize, Serialize};

/// Scaling and cropping to square frames of three bytes a pixel.
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
}

impl Transform {
    /// Red, green and blue of a centred square.
    pub const fn centred(short_side: u32, crop: u32, filter: Filter) -> Self {
        Self { place: Place::Centre { short_side }, crop, filter, channels: Channels::Rgb }
    }

    /// Red, green and blue of whole frames, `3 * width * height` bytes.
    pub const WHOLE: Self = Self { place: Place::Whole, crop: 1, filter: Filter::Bilinear, channels: Channels::Rgb };

    /// Checks what no type can: sizes within reason, and a crop that fits.
    pub(super) fn check(self) -> Result<(), String> {
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
}

impl TryFrom<TransformKeys> for Transform {
    type Error = &'static str;

    fn try_from(keys: TransformKeys) -> Result<Self, Self::Error> {
        let TransformKeys { short_side, seed, crop, filter, channels } = keys;
        let place = match (short_side, seed) {
            (Some(short_side), None) => Place::Centre { short_side },
            (None, Some(seed)) => Place::Random { seed },
            _ => return Err("expected short_side (a centred crop) or seed (a random resized crop), one of the two"),
        };
        Ok(Self { place, crop, filter, channels })
    }
}

impl From<Transform> for TransformKeys {
    fn from(Transform { place, crop, filter, channels }: Transform) -> Self {
        let (short_side, seed) = match place {
            Place::Centre { short_side } => (Some(short_side), None),
            Place::Random { seed } => (None, Some(seed)),
            Place::Whole => (None, None),
        };
        Self { short_side, seed, crop, filter, channels }
    }
}

/// The order of a pixel's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channels {
    /// Red, green, blue: what backbones are trained with.
    Rgb,
    /// Blue, green, red: what EgoVLP's reader of EPIC-KITCHENS' pictures gave until January 2023, and its published numbers
    /// probably rest on.
    Bgr,
}

/// Scaling filters of ffmpeg's `scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// What EgoVLP and Ego4D use.
    Bilinear,
    /// What EgoVLPv2's QFVS uses.
    Bicubic,
    /// Every output pixel is the mean of what it covers.
    Area,
    /// Frames become RGB first and are then scaled by two taps a side whatever the ratio, as torchvision's `Resize` scales
    /// tensors without antialiasing: within one level of it for sizes at which `bilinear` averages. Nine times the work.
    BilinearAliased,
}

impl Filter {
    /// ffmpeg's name of the filter's kernel.
    pub fn flag(self) -> &'static str {
        match self {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
            Filter::Area => "area",
            // The one of swscale's filters that does not widen for smaller pictures.
            Filter::BilinearAliased => "fast_bilinear",
        }
    }
}
