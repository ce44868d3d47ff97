//! SnAG (Mu et al., CVPR 2024) for natural language queries: a pyramid of local transformers whose levels meet the words.
//!
//! Written from the paper and a description of its published setting, with its names of weights. Not for reading clips, not
//! for optimisers. A clip is encoded once for all of its queries; a query's outcome does not depend on the others.

mod attention;
pub mod crop;
pub mod decode;
mod fusion;
pub mod head;
mod layers;
pub mod loss;
mod settings;
pub mod targets;
mod text;
mod video;

use tch::nn;
use tch::{Device, Kind, Tensor};

use crate::heads::actionformer::{Level, Output, points};
use crate::nn::Conv;
use layers::{MaskedConv, Tower};

pub use attention::Words;
pub use settings::{Settings, SnagError};
pub use video::Features;

/// Clips, and queries about them.
#[derive(Debug)]
pub struct Input {
    /// `[B, input_dim, T]`.
    pub video: Tensor,
    /// Which steps lie within the clip, `[B, 1, T]`, boolean.
    pub video_mask: Tensor,
    /// `[N, token_dim, n]`.
    pub tokens: Tensor,
    /// Which of them are there, `[N, n]`, boolean; the first of a query is.
    pub token_mask: Tensor,
    /// The clip that each query is about, `[N]`, int64, from 0.
    pub owners: Tensor,
}

impl Input {
    /// The same with `of` each tensor in its place.
    #[must_use]
    pub fn map(self, of: impl Fn(Tensor) -> Tensor) -> Self {
        let Self { video, video_mask, tokens, token_mask, owners } = self;
        let [video, video_mask, tokens, token_mask, owners] = [video, video_mask, tokens, token_mask, owners].map(of);
        Self { video, video_mask, tokens, token_mask, owners }
    }
}

/// A tower of convolutions and the convolution that predicts.
#[derive(Debug)]
struct Head {
    tower: Tower,
    output: MaskedConv,
}

impl Head {
    fn new(path: &nn::Path, name: &str, outputs: i64, settings: &Settings) -> Self {
        let channels = settings.embed_dim;
        let (convs, norms) = (path / "convs", path / "norms");
        Self {
            tower: Tower::new(&convs, &norms, channels, settings.head_layers),
            output: MaskedConv::new(&(path / name), channels, outputs, Conv::same(3)),
        }
    }

    /// `[N, outputs, T]`.
    fn forward(&self, level: &Features) -> Tensor {
        self.output.forward(&self.tower.forward(&level.values, &level.mask), &level.mask)
    }
}

/// The network. It stays on the device that its weights were made on.
#[derive(Debug)]
pub struct Snag {
    dims: [i64; 2],
    settings: Settings,
    text: text::TextNet,
    video: video::VideoNet,
    fusion: fusion::Fusion,
    score_head: Head,
    offset_head: Head,
    offset_scales: Vec<Tensor>,
}

impl Snag {
    /// A network for rows and tokens of these widths. Its first weights are PyTorch's for convolutions, zero for their
    /// biases.
    ///
    /// # Errors
    /// Settings that [`Settings::check`] refuses.
    pub fn new(path: &nn::Path, dims: [i64; 2], settings: &Settings) -> Result<Self, SnagError> {
        settings.check()?;
        let [score_head, offset_head] = ["cls_head", "reg_head"].map(|name| path / name);
        let scale = |level: i64| (&offset_head / "scales" / level).var("scale", &[], nn::Init::Const(1.0));
        Ok(Self {
            dims,
            settings: settings.clone(),
            text: text::TextNet::new(&(path / "text_net"), dims[1], settings),
            video: video::VideoNet::new(&(path / "vid_net"), dims[0], settings),
            fusion: fusion::Fusion::new(&(path / "fusion"), settings),
            score_head: Head::new(&score_head, "cls_head", 1, settings),
            offset_head: Head::new(&offset_head, "reg_head", 2, settings),
            offset_scales: (0..settings.levels() as i64).map(scale).collect(),
        })
    }

    /// Predicts at all points of the clip of each query, as of one class. With `train`, channels and residual branches are
    /// dropped by libtorch's generator.
    ///
    /// # Errors
    /// Tensors of other shapes, a `T` that is no multiple of [`Settings::length_multiple`], and in training one beyond
    /// [`Settings::max_length`].
    pub fn forward(&self, input: &Input, train: bool) -> Result<Output, SnagError> {
        let (levels, words) = (self.pyramid(input, train)?, self.words(input)?);
        let level = |(index, level): (usize, &Features)| {
            self.level(index, &self.fusion.forward(level, &words, &input.owners, train))
        };
        Ok(Output { levels: levels.iter().enumerate().map(level).collect() })
    }

    /// The clips at every level, finest first, before they meet the words.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn pyramid(&self, input: &Input, train: bool) -> Result<Vec<Features>, SnagError> {
        self.check_video(&input.video, &input.video_mask, train)?;
        Ok(self.video.forward(&input.video, &input.video_mask, train))
    }

    /// The queries with the background token in front.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn words(&self, input: &Input) -> Result<Words, SnagError> {
        self.check_queries(input)?;
        Ok(self.text.forward(&input.tokens, &input.token_mask))
    }

    /// A level behind the first layer in which it meets the words.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn first_fusion(&self, level: &Features, input: &Input, train: bool) -> Result<Features, SnagError> {
        Ok(self.fusion.first(level, &self.words(input)?, &input.owners, train))
    }

    fn level(&self, index: usize, level: &Features) -> Level {
        let offsets = (self.offset_head.forward(level) * &self.offset_scales[index]).relu();
        let range = self.settings.regression_ranges[index];
        Level {
            logits: self.score_head.forward(level).transpose(1, 2),
            offsets: offsets.transpose(1, 2),
            mask: level.mask.squeeze_dim(1),
            points: points::of_level(index, level.values.size()[2], range, level.values.device()),
        }
    }

    fn check_video(&self, video: &Tensor, mask: &Tensor, train: bool) -> Result<(), SnagError> {
        let (found, multiple, dim) = (video.size(), self.settings.length_multiple(), self.dims[0]);
        if found.len() != 3 || found[1] != dim || found[2] < 1 || found[2] % multiple != 0 {
            let expected = format!("[clips, {dim}, a multiple of {multiple}]");
            return Err(SnagError::Shape { what: "features", found, expected });
        }
        if mask.size() != [found[0], 1, found[2]] || mask.kind() != Kind::Bool {
            let expected = format!("[{}, 1, {}] of booleans", found[0], found[2]);
            return Err(SnagError::Shape { what: "a mask of features", found: mask.size(), expected });
        }
        let max_length = self.settings.max_length;
        if train && found[2] > max_length {
            return Err(SnagError::TooLong { length: found[2], max_length });
        }
        Ok(())
    }

    fn check_queries(&self, Input { tokens, token_mask, owners, .. }: &Input) -> Result<(), SnagError> {
        let (found, dim) = (tokens.size(), self.dims[1]);
        if found.len() != 3 || found[0] < 1 || found[1] != dim || found[2] < 1 {
            return Err(SnagError::Shape { what: "tokens", found, expected: format!("[queries, {dim}, at least 1]") });
        }
        if token_mask.size() != [found[0], found[2]] || token_mask.kind() != Kind::Bool {
            let expected = format!("[{}, {}] of booleans", found[0], found[2]);
            return Err(SnagError::Shape { what: "a mask of tokens", found: token_mask.size(), expected });
        }
        if owners.size() != [found[0]] || owners.kind() != Kind::Int64 {
            let expected = format!("[{}] of numbers of clips", found[0]);
            return Err(SnagError::Shape { what: "owners", found: owners.size(), expected });
        }
        Ok(())
    }
}

/// Tensors `[C, T_i]` padded with zeros to `[B, C, length]`, and which of their columns are there, `[B, length]`, boolean.
///
/// # Errors
/// No tensors, and tensors of other shapes or beyond that length.
pub fn padded(what: &'static str, rows: &[Tensor], dim: i64, length: i64) -> Result<(Tensor, Tensor), SnagError> {
    let fits =
        |rows: &Tensor| matches!(rows.size()[..], [width, count] if width == dim && (1..=length).contains(&count));
    if let Some(other) = rows.iter().find(|rows| !fits(rows)) {
        let expected = format!("[{dim}, 1 to {length}]");
        return Err(SnagError::Shape { what, found: other.size(), expected });
    }
    if rows.is_empty() {
        return Err(SnagError::Shape { what, found: vec![0], expected: "at least one".to_owned() });
    }
    let lengths: Vec<i64> = rows.iter().map(|rows| rows.size()[1]).collect();
    let padded: Vec<Tensor> =
        rows.iter().zip(&lengths).map(|(rows, count)| rows.constant_pad_nd([0, length - count])).collect();
    let ends = Tensor::from_slice(&lengths).view([-1, 1]);
    let mask = Tensor::arange(length, (Kind::Int64, Device::Cpu)).lt_tensor(&ends);
    Ok((Tensor::stack(&padded, 0), mask))
}

/// Whether a weight decays: those of convolutions do; biases, norms and learned scales do not.
pub fn decays(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let is_weight = parts.next() == Some("weight");
    let layer = parts.find(|part| part.parse::<u32>().is_err()).unwrap_or_default();
    is_weight && !layer.starts_with("ln_") && !layer.ends_with("norm") && !layer.ends_with("norms")
}

#[cfg(test)]
mod samples {
    use super::Settings;

    /// A small network, as in the golden data.
    pub fn settings() -> Settings {
        Settings {
            embed_dim: 16,
            text_embed_dim: 12,
            num_heads: 4,
            window: 5,
            embedding_layers: 2,
            fusion_layers: 2,
            head_layers: 2,
            regression_ranges: vec![[0.0, 4.0], [2.0, 8.0], [4.0, 16.0], [8.0, 65.0]],
            row_stride: 1,
            max_length: 64,
            max_tokens: 10,
            max_queries: 2,
            truncation_threshold: 0.5,
            dropout: 0.0,
            drop_path: 0.0,
            label_smoothing: 0.2,
            centre_radius: 1.5,
            first_normaliser: 10.0,
        }
    }
}
