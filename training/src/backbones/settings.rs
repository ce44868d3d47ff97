//! How the backbones are built: sizes that no rule of the originals fixes.
//!
//! Not for epsilons, activations or what is learnt. Invariant: [`check`](EgoVlpSettings::check) passes nothing of which
//! no network can be made.

use serde::{Deserialize, Serialize};

use super::error::BackboneError;

/// How attention over time starts in a network whose weights are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeInit {
    /// It gives nothing: queries, keys and values 0, its projection 1 everywhere. As the originals pretrain, so that a ViT's
    /// weights start as they were; what its first gradients teach all values is the same, so that from scratch it stays weak.
    Zeros,
    /// Like all other attention: for towers that are trained from scratch.
    Rand,
}

/// A video tower. The published one: images of 224, patches of 16, width 768, 12 blocks, 12 heads, 3072 hidden.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VideoSettings {
    /// Pixels of a frame's side; patches divide it.
    pub image: i64,
    /// Pixels of a patch's side.
    pub patch: i64,
    /// Length of a token.
    pub width: i64,
    /// Blocks.
    pub depth: i64,
    /// Attention heads; they divide the width.
    pub heads: i64,
    /// Length of an MLP's inner state.
    pub hidden: i64,
    /// Rows of the temporal table: the most frames of a clip (EgoVLP, published with 16) or their exact number
    /// (EgoVLPv2, published with 4).
    pub frames: i64,
    /// How attention over time starts.
    pub time_init: TimeInit,
    /// Spread of the first class token and positions, and of times that do not start with zeros. timm's 0.02 is far below what
    /// patches are embedded to; from scratch, places and times that count for so little are learnt late.
    pub initializer_range: f64,
}

/// A text tower. The published ones: a DistilBERT of 30522 words, 512 positions and 6 layers, a RoBERTa of 50265 words, 514
/// positions and 12 layers; both of width 768 with 12 heads, 3072 hidden and a dropout of 0.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSettings {
    /// Words of the vocabulary.
    pub vocabulary: i64,
    /// Rows of the position table: tokens of the longest text, and for a RoBERTa two more.
    pub positions: i64,
    /// Length of a token.
    pub width: i64,
    /// Layers.
    pub layers: i64,
    /// Attention heads; they divide the width.
    pub heads: i64,
    /// Length of a feed-forward part's inner state.
    pub hidden: i64,
    /// Probability of dropout, everywhere.
    pub dropout: f64,
    /// Spread of its first weights, and of those of the heads above. BERT's 0.02 suits a width of 768; through narrower layers it
    /// lets next to nothing pass.
    pub initializer_range: f64,
}

/// EgoVLP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgoVlpSettings {
    /// The video tower.
    pub video: VideoSettings,
    /// The text tower.
    pub text: TextSettings,
    /// Length of an embedding; published: 256.
    pub projection: i64,
}

/// From the towers to the space that EgoVLPv2's modalities share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Projector {
    /// Three maps with ReLU between, the first without bias; published with a width of 4096.
    Full {
        /// Length of an embedding and of the inner states.
        width: i64,
    },
    /// One map, the text's behind a ReLU; published with a width of 256.
    Small {
        /// Length of an embedding.
        width: i64,
    },
    /// None: embeddings are the towers' class tokens.
    None,
}

/// EgoVLPv2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgoVlpV2Settings {
    /// The video tower.
    pub video: VideoSettings,
    /// The text tower, as wide and as deep as the video tower.
    pub text: TextSettings,
    /// What makes embeddings.
    pub projector: Projector,
    /// How many of the last blocks and layers attend to the other tower when they are fused; published: 6.
    pub fused: i64,
    /// What cross-attention is multiplied with at the start; published 0. A fusion that is learnt from scratch starts
    /// sooner with a little.
    pub gate: f64,
}

impl VideoSettings {
    /// Patches of a frame's side.
    pub fn side(&self) -> i64 {
        self.image / self.patch
    }

    /// Patches of a frame.
    pub fn patches(&self) -> i64 {
        self.side() * self.side()
    }

    /// # Errors
    /// [`BackboneError::Setting`] for settings that no tower has.
    pub fn check(&self) -> Result<(), BackboneError> {
        let Self { image, patch, width, depth, heads, hidden, frames, time_init: _, initializer_range } = *self;
        positive([
            ("video.image", image),
            ("video.patch", patch),
            ("video.width", width),
            ("video.depth", depth),
            ("video.heads", heads),
            ("video.hidden", hidden),
            ("video.frames", frames),
        ])?;
        expect(image % patch == 0, "video.patch", patch as f64, "a divisor of the image")?;
        expect(width % heads == 0, "video.heads", heads as f64, "a divisor of the width")?;
        let spread = initializer_range;
        expect(spread.is_finite() && spread > 0.0, "video.initializer_range", spread, "more than 0")
    }
}

impl EgoVlpSettings {
    /// # Errors
    /// [`BackboneError::Setting`] for settings that no network has.
    pub fn check(&self) -> Result<(), BackboneError> {
        self.video.check()?;
        self.text.check()?;
        positive([("projection", self.projection)])
    }
}

impl EgoVlpV2Settings {
    /// # Errors
    /// [`BackboneError::Setting`] for settings that no network has.
    pub fn check(&self) -> Result<(), BackboneError> {
        self.video.check()?;
        self.text.check()?;
        let TextSettings { positions, width, layers, .. } = self.text;
        expect(positions > 2, "text.positions", positions as f64, "3 or more")?;
        expect(width == self.video.width, "text.width", width as f64, "the video tower's width")?;
        expect(layers == self.video.depth, "text.layers", layers as f64, "the video tower's depth")?;
        expect((0..=layers).contains(&self.fused), "fused", self.fused as f64, "0 to the number of layers")?;
        match self.projector {
            Projector::Full { width } | Projector::Small { width } => positive([("projector.width", width)]),
            Projector::None => Ok(()),
        }
    }
}

impl TextSettings {
    /// # Errors
    /// [`BackboneError::Setting`] for settings that no tower has.
    pub fn check(&self) -> Result<(), BackboneError> {
        let Self { vocabulary, positions, width, layers, heads, hidden, dropout, initializer_range } = *self;
        positive([
            ("text.vocabulary", vocabulary),
            ("text.positions", positions),
            ("text.width", width),
            ("text.layers", layers),
            ("text.heads", heads),
            ("text.hidden", hidden),
        ])?;
        expect(vocabulary > 1, "text.vocabulary", vocabulary as f64, "2 or more")?;
        expect(width % heads == 0, "text.heads", heads as f64, "a divisor of the width")?;
        expect((0.0..1.0).contains(&dropout), "text.dropout", dropout, "0 or more and less than 1")?;
        let spread = initializer_range;
        expect(spread.is_finite() && spread > 0.0, "text.initializer_range", spread, "more than 0")
    }
}

pub(super) fn positive(counts: impl IntoIterator<Item = (&'static str, i64)>) -> Result<(), BackboneError> {
    counts.into_iter().try_for_each(|(name, count)| expect(count > 0, name, count as f64, "1 or more"))
}

pub(super) fn expect(holds: bool, name: &'static str, found: f64, expected: &'static str) -> Result<(), BackboneError> {
    if holds { Ok(()) } else { Err(BackboneError::Setting { name, found, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        projector = { kind = "full", width = 16 }
        fused = 2
        gate = 0.0
        [video]
        image = 32
        patch = 16
        width = 32
        depth = 4
        heads = 2
        hidden = 64
        frames = 4
        time_init = "zeros"
        initializer_range = 0.02
        [text]
        vocabulary = 200
        positions = 42
        width = 32
        layers = 4
        heads = 2
        hidden = 64
        dropout = 0.1
        initializer_range = 0.02
    "#;

    #[test]
    fn every_key_is_needed_and_no_other_is_known() {
        let settings: EgoVlpV2Settings = toml::from_str(TEXT).unwrap();
        settings.check().unwrap();
        assert_eq!((settings.projector, settings.video.patches()), (Projector::Full { width: 16 }, 4));
        for line in TEXT.lines().map(str::trim).filter(|line| line.contains(" = ")) {
            assert!(toml::from_str::<EgoVlpV2Settings>(&TEXT.replacen(line, "", 1)).is_err(), "without {line}");
        }
        assert!(toml::from_str::<EgoVlpV2Settings>(&format!("{TEXT}\nspare = 1")).is_err());
        let none = TEXT.replace(r#"{ kind = "full", width = 16 }"#, r#"{ kind = "none" }"#);
        assert_eq!(toml::from_str::<EgoVlpV2Settings>(&none).unwrap().projector, Projector::None);
    }
}
