//! Recipes: `pipelines/<feature-set>.toml`, everything that decides a number in the output and nothing that does not.
//!
//! Parsed strictly, because a misspelt key would otherwise change features silently. Not for devices, batch sizes,
//! workers or paths: those are flags. Invariant: two runs with equal fingerprints compute equal rows.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backbone::VideoCard;
use crate::digest;
use crate::grid::{Compat, Grid};
use crate::ids::{ClipUid, IdError};
use crate::store::{Contract, Dtype, FORMATS, SCHEMA_VERSION};

/// Why a recipe is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("recipe {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown or missing key, or an unknown name; the message lists the valid ones.
    #[error("recipe {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and cause.
        source: Box<toml::de::Error>,
    },
    /// A value that no backbone or video can satisfy.
    #[error("recipe {}: {why}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        why: String,
    },
    /// The file's name is the feature set's name, and it cannot be one.
    #[error("recipe {}: the file's name is to name a feature set: {source}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: IdError,
    },
}

/// A validated recipe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// The feature set, from the file's name.
    pub name: String,
    /// The rest, as written.
    #[serde(flatten)]
    pub body: Body,
}

/// The keys of a recipe file. None has a default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The model card, `onnx/<backbone>.toml`.
    pub backbone: String,
    /// The graph's output that becomes the row.
    pub feature: String,
    /// Whether faults of the original code are reproduced.
    pub compat: Compat,
    /// Which frames make a row.
    pub grid: Grid,
    /// What becomes of a frame before it reaches the graph.
    pub transform: Transform,
    /// How rows are kept.
    pub output: Output,
}

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

    fn check(self) -> Result<(), String> {
        let (crop, most) = (
            self.crop,
            match self.place {
                Place::Centre { short_side } if !(16..=4096).contains(&short_side) => {
                    return Err(format!("transform.short_side is {short_side}, expected 16 to 4096 pixels"));
                }
                Place::Centre { short_side } => short_side,
                Place::Random { .. } => 4096,
            },
        );
        match self.place {
            _ if (1..=most).contains(&crop) => Ok(()),
            Place::Centre { .. } => Err(format!("transform.crop is {crop}, expected 1 to short_side ({most}) pixels")),
            Place::Random { .. } => Err(format!("transform.crop is {crop}, expected 1 to {most} pixels")),
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

/// How rows are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// A name in [`FORMATS`].
    pub format: String,
    /// Element type on disk.
    pub dtype: Dtype,
}

impl Recipe {
    /// Reads and checks `path`; its file stem names the feature set.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let io = |source| RecipeError::Io { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(io)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = ClipUid::parse(&stem).map_err(|source| RecipeError::Name { path: path.to_owned(), source })?;
        let parse = |source| RecipeError::Parse { path: path.to_owned(), source: Box::new(source) };
        let body: Body = toml::from_str(&text).map_err(parse)?;
        body.check().map_err(|why| RecipeError::Value { path: path.to_owned(), why })?;
        Ok(Self { name: name.to_string(), body })
    }

    /// The hash of everything that decides a row: recipe, card, graph, precision and the schema of the store.
    pub fn fingerprint(&self, card: &VideoCard, precision: &str) -> String {
        let parts = serde_json::json!({
            "schema": SCHEMA_VERSION, "recipe": self, "card": card.card, "precision": precision,
        });
        digest::text(&parts.to_string())
    }

    /// What identifies the store that the recipe's rows go to.
    ///
    /// # Errors
    /// Only if the recipe cannot be written as TOML again, which one that was read always can.
    pub fn contract(&self, card: &VideoCard, precision: &str) -> Result<Contract, toml::ser::Error> {
        let body = &self.body;
        Ok(Contract {
            schema_version: SCHEMA_VERSION,
            feature_set: self.name.clone(),
            backbone: card.card.name.clone(),
            onnx_sha256: card.card.sha256.clone(),
            precision: precision.to_owned(),
            dim: card.feature.dim,
            dtype: body.output.dtype,
            format: body.output.format.clone(),
            grid: body.grid.to_string(),
            fps: body.grid.rows_per_sec(30.0),
            window_frames: body.grid.frames(),
            compat: body.compat.name().to_owned(),
            checkpoint: card.card.checkpoint.clone(),
            checkpoint_sha256: card.card.checkpoint_sha256.clone(),
            recipe: toml::to_string(body)?,
            fingerprint: self.fingerprint(card, precision),
        })
    }
}

impl Body {
    fn check(&self) -> Result<(), String> {
        self.grid.validate()?;
        self.transform.check()?;
        let known: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
        if !known.contains(&self.output.format.as_str()) {
            return Err(format!("output.format is {:?}, expected one of {}", self.output.format, known.join(", ")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
backbone = "tiny"
feature = "embedding"
compat = "fixed"
[grid]
kind = "egovlp"
frames = 4
[transform]
short_side = 256
crop = 256
filter = "bilinear"
channels = "rgb"
[output]
format = "hdf5"
dtype = "f32"
"#;

    fn read(text: &str) -> Result<Recipe, RecipeError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.toml");
        fs::write(&path, text).unwrap();
        Recipe::read(&path)
    }

    fn refusal(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        read(&GOOD.replace(from, to)).unwrap_err().to_string()
    }

    #[test]
    fn a_complete_recipe_is_read_and_named_by_its_file() {
        let recipe = read(GOOD).unwrap();
        assert_eq!((recipe.name.as_str(), recipe.body.grid), ("set", Grid::Egovlp { frames: 4 }));
    }

    #[test]
    fn a_seed_draws_random_crops_and_is_written_as_read() {
        let random = read(&GOOD.replace("short_side = 256", "seed = 7")).unwrap();
        assert_eq!(random.body.transform.place, Place::Random { seed: 7 });
        let again: Body = toml::from_str(&toml::to_string(&random.body).unwrap()).unwrap();
        assert_eq!(again, random.body);
    }

    #[test]
    fn unknown_missing_and_misspelt_keys_are_refused_with_the_valid_names() {
        assert!(refusal("crop = 256", "crops = 256").contains("short_side"));
        assert!(refusal("bilinear", "bilinar").contains("`bilinear`, `bicubic`, `area`"));
        assert!(
            refusal("kind = \"egovlp\"", "kind = \"slowfast\"")
                .contains("`egovlp`, `ego4d`, `uniform`, `egoclip`, `segments`, `keyframes`")
        );
        assert!(refusal("compat = \"fixed\"\n", "").contains("compat"));
        assert!(refusal("channels = \"rgb\"\n", "").contains("channels"));
        assert!(
            refusal("\"rgb\"", "\"grb\"").contains("`rgb`, `bgr`")
                || refusal("\"rgb\"", "\"grb\"").contains("`rgb` or `bgr`")
        );
        assert!(refusal("hdf5", "zarr").contains("expected one of hdf5, parquet"));
        assert!(refusal("crop = 256", "crop = 300").contains("expected 1 to short_side (256)"));
        assert!(refusal("frames = 4", "frames = 0").contains("at least 1"));
        assert!(refusal("short_side = 256\n", "").contains("expected short_side (a centred crop) or seed"));
        assert!(refusal("short_side = 256", "short_side = 256\nseed = 1").contains("one of the two"));
        assert!(refusal("short_side = 256", "seed = -1").contains("seed"));
        assert!(refusal("frames = 4", "frames = 4\nstride = 2").contains("stride"));
    }
}
