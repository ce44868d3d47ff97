//! ActionFormer (Zhang et al., ECCV 2022): moments of many classes, by a pyramid of local transformers.
//!
//! After [the authors' code](https://github.com/happyharrycn/actionformer_release), with its names of weights. Not for
//! reading clips, not for optimisers. A clip's outcome does not depend on the others of its batch.

mod attention;
mod block;
pub mod crop;
pub mod decode;
pub mod head;
mod layers;
pub mod loss;
mod onnx;
pub mod opentad;
pub mod points;
mod settings;
pub mod targets;

use egofx::export::Graph;
use tch::nn;
use tch::{Device, Kind, Tensor};

use crate::nn::{ChannelNorm, Conv};
use block::Block;
use layers::{MaskedConv, Tower, outer_norm};
pub use settings::{ActionFormerError, Settings, Variant, WHOLE_CLIP};

/// What is predicted at one level of the pyramid, with `T` points.
#[derive(Debug)]
pub struct Level {
    /// Logits of the classes, `[B, T, classes]`.
    pub logits: Tensor,
    /// Distances from the point to start and end of its event, in strides of the level, `[B, T, 2]`; none negative.
    pub offsets: Tensor,
    /// Which points lie within the clip, `[B, T]`, boolean.
    pub mask: Tensor,
    /// The points, `[T, 4]`; see [`points::COLUMNS`].
    pub points: Tensor,
}

impl Level {
    /// Probabilities of the classes, `[B, T, classes]`; 0 outside of the clip.
    pub fn probabilities(&self) -> Tensor {
        self.logits.sigmoid() * self.mask.unsqueeze(-1)
    }
}

/// What is predicted at all levels, finest first.
#[derive(Debug)]
pub struct Output {
    /// One for each level.
    pub levels: Vec<Level>,
}

impl Output {
    /// Logits of all levels, `[B, P, classes]`.
    pub fn logits(&self) -> Tensor {
        self.joined(|level| &level.logits, 1)
    }

    /// Offsets of all levels, `[B, P, 2]`.
    pub fn offsets(&self) -> Tensor {
        self.joined(|level| &level.offsets, 1)
    }

    /// Masks of all levels, `[B, P]`.
    pub fn mask(&self) -> Tensor {
        self.joined(|level| &level.mask, 1)
    }

    /// Points of all levels, `[P, 4]`.
    pub fn points(&self) -> Tensor {
        self.joined(|level| &level.points, 0)
    }

    fn joined(&self, part: fn(&Level) -> &Tensor, dim: i64) -> Tensor {
        Tensor::cat(&self.levels.iter().map(part).collect::<Vec<_>>(), dim)
    }
}

/// The network. It stays on the device that its weights were made on.
#[derive(Debug)]
pub struct ActionFormer {
    input_dim: i64,
    settings: Settings,
    embedding: Tower,
    /// `[1, embed_dim, max_length]`.
    positions: Tensor,
    stem: Vec<Block>,
    branch: Vec<Block>,
    norms: Vec<ChannelNorm>,
    class_tower: Tower,
    class_output: MaskedConv,
    offset_tower: Tower,
    offset_output: MaskedConv,
    offset_scales: Vec<Tensor>,
}

impl ActionFormer {
    /// A network for features of `input_dim` channels, with the first weights of the original: PyTorch's for
    /// convolutions, zero for their biases, except that every class starts at the prior probability.
    ///
    /// # Errors
    /// Settings that [`Settings::check`] refuses.
    pub fn new(path: &nn::Path, input_dim: i64, settings: &Settings) -> Result<Self, ActionFormerError> {
        settings.check()?;
        let (embed_dim, levels) = (settings.embed_dim, settings.levels() as i64);
        let [backbone, class_head, offset_head] = ["backbone", "cls_head", "reg_head"].map(|name| path / name);
        let block = |name: &str, index: i64, level: i64| {
            Block::new(&(&backbone / name / index), settings, level.unsigned_abs() as usize)
        };
        let tower = |head: &nn::Path| {
            Tower::new(&(head / "head"), &(head / "norm"), embed_dim, settings, settings.head_layers - 1)
        };
        let prior = -((1.0 - settings.prior_probability) / settings.prior_probability).ln();
        let output =
            |path: nn::Path, channels: i64, bias: f64| MaskedConv::new(&path, embed_dim, channels, Conv::same(3), bias);
        let scale = |level: i64| (&offset_head / "scale" / level).var("scale", &[], nn::Init::Const(1.0));
        let (convs, norms) = (&backbone / "embd", &backbone / "embd_norm");
        Ok(Self {
            input_dim,
            embedding: Tower::new(&convs, &norms, input_dim, settings, settings.embedding_layers),
            positions: points::positions(settings.max_length, embed_dim, path.device()),
            stem: (0..settings.stem_blocks).map(|index| block("stem", index, 0)).collect(),
            branch: (0..settings.branch_blocks).map(|index| block("branch", index, index + 1)).collect(),
            norms: (0..levels).map(|level| outer_norm(&(path / "neck" / "fpn_norms" / level), settings)).collect(),
            class_tower: tower(&class_head),
            class_output: output(&class_head / "cls_head", settings.classes, prior),
            offset_tower: tower(&offset_head),
            offset_output: output(&offset_head / "offset_head", 2, 0.0),
            offset_scales: (0..levels).map(scale).collect(),
            settings: settings.clone(),
        })
    }

    /// Predicts at all points. `features`: `[B, input_dim, T]`; `mask`: which steps lie within the clip, `[B, 1, T]`,
    /// boolean; see [`batch`]. With `train`, channels and residual branches are dropped by libtorch's generator.
    ///
    /// # Errors
    /// Tensors of other shapes, a `T` that is no multiple of [`Settings::length_multiple`], and in training one beyond
    /// [`Settings::max_length`].
    pub fn forward(&self, features: &Tensor, mask: &Tensor, train: bool) -> Result<Output, ActionFormerError> {
        let pyramid = self.pyramid(features, mask, train)?;
        let level = |(index, (features, mask)): (usize, &(Tensor, Tensor))| self.level(index, features, mask);
        Ok(Output { levels: pyramid.iter().enumerate().map(level).collect() })
    }

    /// The features of every level after its norm, `[B, embed_dim, T_l]`, and its mask, `[B, 1, T_l]`; finest first.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn pyramid(
        &self,
        features: &Tensor,
        mask: &Tensor,
        train: bool,
    ) -> Result<Vec<(Tensor, Tensor)>, ActionFormerError> {
        self.check(features, mask, train)?;
        let positions = points::positions_at(&self.positions, features.size()[2]);
        let features = features.feature_dropout(self.settings.variant.input_dropout, train);
        let mut state = (self.embedding.forward(&features, mask) + positions * mask, mask.shallow_clone());
        for block in &self.stem {
            state = block.forward(&state.0, &state.1, train);
        }
        let mut levels = vec![state];
        for block in &self.branch {
            let (features, mask) = &levels[levels.len() - 1];
            levels.push(block.forward(features, mask, train));
        }
        let normed = |(norm, (features, mask)): (&ChannelNorm, (Tensor, Tensor))| (norm.forward(&features), mask);
        Ok(self.norms.iter().zip(levels).map(normed).collect())
    }

    fn level(&self, index: usize, features: &Tensor, mask: &Tensor) -> Level {
        let logits = self.class_output.forward(&self.class_tower.forward(features, mask), mask);
        let offsets = self.offset_output.forward(&self.offset_tower.forward(features, mask), mask);
        let offsets = (offsets * &self.offset_scales[index]).relu();
        let range = self.settings.regression_ranges[index];
        Level {
            logits: logits.transpose(1, 2),
            offsets: offsets.transpose(1, 2),
            mask: mask.squeeze_dim(1),
            points: points::of_level(index, features.size()[2], range, features.device()),
        }
    }

    fn check(&self, features: &Tensor, mask: &Tensor, train: bool) -> Result<(), ActionFormerError> {
        let (found, multiple) = (features.size(), self.settings.length_multiple());
        if found.len() != 3 || found[1] != self.input_dim || found[2] < 1 || found[2] % multiple != 0 {
            let expected = format!("[clips, {}, a multiple of {multiple}]", self.input_dim);
            return Err(ActionFormerError::Shape { what: "features", found, expected });
        }
        if mask.size() != [found[0], 1, found[2]] || mask.kind() != Kind::Bool {
            let expected = format!("[{}, 1, {}] of booleans", found[0], found[2]);
            return Err(ActionFormerError::Shape { what: "a mask", found: mask.size(), expected });
        }
        let max_length = self.settings.max_length;
        if train && found[2] > max_length {
            return Err(ActionFormerError::TooLong { length: found[2], max_length });
        }
        Ok(())
    }
}

/// The network as a graph, which is computed as [`ActionFormer::forward`] does without training; see `onnx`.
pub fn graph(input_dim: i64, settings: &Settings) -> impl Fn(&mut Graph) + use<> {
    let settings = settings.clone();
    move |g| onnx::build(g, input_dim as usize, &settings)
}

/// Clips, each `[input_dim, T_i]`, padded with zeros to one length: features `[B, input_dim, T]`, mask `[B, 1, T]`.
///
/// # Errors
/// No clips, clips of other shapes, and clips longer than [`Settings::max_length`] among others that would be padded to
/// another length, for the positions of all would be stretched.
pub fn batch(clips: &[Tensor], input_dim: i64, settings: &Settings) -> Result<(Tensor, Tensor), ActionFormerError> {
    let lengths = clips.iter().map(|clip| clip_length(clip, input_dim)).collect::<Result<Vec<i64>, _>>()?;
    let padded = lengths.first().map_or(0, |&first| settings.padded_length(first));
    if let Some(&other) = lengths.iter().find(|length| settings.padded_length(**length) != padded) {
        return Err(ActionFormerError::Mixed(lengths[0], other));
    }
    if clips.is_empty() {
        return Err(ActionFormerError::Shape { what: "a batch", found: vec![0], expected: "clips".to_owned() });
    }
    let padded_clips = clips.iter().zip(&lengths).map(|(clip, length)| clip.constant_pad_nd([0, padded - length]));
    let features = Tensor::stack(&padded_clips.collect::<Vec<_>>(), 0);
    let ends = Tensor::from_slice(&lengths).view([-1, 1, 1]);
    let mask = Tensor::arange(padded, (Kind::Int64, Device::Cpu)).lt_tensor(&ends);
    let device = features.device();
    Ok((features, mask.to_device(device)))
}

fn clip_length(clip: &Tensor, input_dim: i64) -> Result<i64, ActionFormerError> {
    match clip.size()[..] {
        [channels, length] if channels == input_dim && length > 0 => Ok(length),
        _ => {
            let expected = format!("[{input_dim}, at least 1]");
            Err(ActionFormerError::Shape { what: "a clip", found: clip.size(), expected })
        }
    }
}

/// Whether a weight decays: those of convolutions do; biases, norms and learned scales do not.
pub fn decays(name: &str) -> bool {
    name.ends_with(".weight") && !is_of_norm(name)
}

/// Whether a weight or a bias is that of a norm.
fn is_of_norm(name: &str) -> bool {
    let layer = name.rsplit('.').skip(1).find(|part| part.parse::<u32>().is_err()).unwrap_or_default();
    ["ln1", "ln2"].contains(&layer) || layer.ends_with("norm") || layer.ends_with("norms")
}

#[cfg(test)]
mod samples {
    use super::Settings;

    /// A small network, as in the golden data.
    pub fn settings() -> Settings {
        Settings {
            embed_dim: 32,
            num_heads: 4,
            window: 9,
            embedding_layers: 2,
            stem_blocks: 2,
            branch_blocks: 2,
            max_length: 64,
            classes: 5,
            regression_ranges: vec![[0.0, 4.0], [2.0, 8.0], [4.0, 10000.0]],
            head_layers: 3,
            dropout: 0.0,
            drop_path: 0.0,
            prior_probability: 0.01,
            centre_radius: 1.5,
            first_normaliser: 100.0,
            crop_ratio: [0.9, 1.0],
            truncation_threshold: 0.3,
            variant: super::Variant::default(),
        }
    }
}
