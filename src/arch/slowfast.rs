//! SlowFast 8x8 R101 (Feichtenhofer et al., ICCV 2019, arXiv 1812.03982), trained on Kinetics 400: the network of Ego4D's
//! official features.
//!
//! Names and shapes are those of `slowfast_r101` in `facebookresearch/pytorchvideo`. Two ResNets of 3-d convolutions: the
//! slow pathway sees 8 of 32 frames, the fast one all of them with an eighth of the channels. Invariant: a convolution is
//! described once, by [`ConvNorm`], and padded by half its kernel.

use super::architecture::Architecture;
use super::error::{ConfigError, ShapeError};
use super::params::ParamList;
use super::shapes::Shapes;
use crate::checkpoint::ParamSpec;

/// SlowFast 8x8 R101.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowFastConfig {
    /// Height and width of a frame in pixels, which no shape tells; Ego4D's features: 256.
    pub image_size: usize,
    /// Height and width of the last average, of the last map, which no shape tells either; published: 7.
    pub pool_size: usize,
    /// Channels of the two stems, slow and fast.
    pub stem_dims: [usize; 2],
    /// Residual blocks of the four stages.
    pub depths: [usize; 4],
    /// Classes of the head that Ego4D takes off.
    pub num_classes: usize,
}

/// A convolution without bias, the batch norm behind it, and how it moves. It is padded by half its kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvNorm {
    /// Its name.
    pub conv: String,
    /// The name of its batch norm.
    pub norm: String,
    /// Channels that come out and that go in.
    pub channels: [usize; 2],
    /// Frames, height and width of its kernel.
    pub kernel: [usize; 3],
    /// Steps over frames, height and width.
    pub stride: [usize; 3],
}

/// A residual block: `relu(shortcut(x) + c(relu(b(relu(a(x))))))`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResBlock {
    /// What the sum begins with; `None`: the block's input.
    pub shortcut: Option<ConvNorm>,
    /// The three convolutions.
    pub branch: [ConvNorm; 3],
}

impl SlowFastConfig {
    /// Epsilon of every batch norm.
    pub const BATCH_NORM_EPS: f64 = 1e-5;
    /// Frames of a window; the fast pathway sees all.
    pub const NUM_FRAMES: usize = 32;
    /// Those that the slow pathway sees: `trunc(linspace(0, 31, 8))`.
    pub const SLOW_FRAMES: [usize; 8] = [0, 4, 8, 13, 17, 22, 26, 31];
    /// Side of a frame over that of the last map.
    pub const REDUCTION: usize = 32;
    /// The slow pathway and the fast one.
    pub const PATHWAYS: [usize; 2] = [0, 1];
    /// Channels of a stage over those inside its blocks.
    const EXPANSION: usize = 4;
    /// Frames of a fusion's kernel: 7 in the R50.
    const FUSION_FRAMES: usize = 5;
    /// Whether a stage's blocks look over three frames in the slow pathway.
    const SLOW_IN_TIME: [bool; 4] = [false, false, true, true];
    /// What is published: widths and depths.
    const STEM_DIMS: [usize; 2] = [64, 8];
    const DEPTHS: [usize; 4] = [3, 4, 23, 3];

    fn sized(stem_dims: [usize; 2]) -> Self {
        Self { image_size: 256, pool_size: 7, stem_dims, depths: Self::DEPTHS, num_classes: 400 }
    }

    /// Values of a feature: the slow pathway's, then the fast one's.
    pub fn feature_dim(&self) -> usize {
        Self::PATHWAYS.iter().map(|&pathway| self.stage_dim(4, pathway)).sum()
    }

    /// Channels behind a stage, 1 to 4; behind the stem for 0.
    fn stage_dim(&self, stage: usize, pathway: usize) -> usize {
        let stem = self.stem_dims[pathway];
        if stage == 0 { stem } else { (Self::EXPANSION * stem) << (stage - 1) }
    }

    /// The first convolution of a pathway; a maximum of 3 x 3 is taken behind it, at every second place.
    pub fn stem(&self, pathway: usize) -> ConvNorm {
        let name = format!("blocks.0.multipathway_blocks.{pathway}");
        ConvNorm {
            conv: format!("{name}.conv"),
            norm: format!("{name}.norm"),
            channels: [self.stem_dims[pathway], 3],
            kernel: [[1, 5][pathway], 7, 7],
            stride: [1, 2, 2],
        }
    }

    /// What the fast pathway tells the slow one behind a stage (0: the stem): it is put behind the slow one's channels.
    pub fn fusion(&self, stage: usize) -> ConvNorm {
        let (name, fast) = (format!("blocks.{stage}.multipathway_fusion"), self.stage_dim(stage, 1));
        ConvNorm {
            conv: format!("{name}.conv_fast_to_slow"),
            norm: format!("{name}.norm"),
            channels: [2 * fast, fast],
            kernel: [Self::FUSION_FRAMES, 1, 1],
            stride: [4, 1, 1],
        }
    }

    /// Block `i` of a stage, 1 to 4.
    pub fn block(&self, stage: usize, pathway: usize, i: usize) -> ResBlock {
        let (name, out) = (block_name(stage, pathway, i), self.stage_dim(stage, pathway));
        let fused = if pathway == 0 { 2 * self.stage_dim(stage - 1, 1) } else { 0 };
        let inputs = if i == 0 { self.stage_dim(stage - 1, pathway) + fused } else { out };
        let (inner, step) = (out / Self::EXPANSION, if i == 0 && stage > 1 { 2 } else { 1 });
        let frames = if pathway == 1 || Self::SLOW_IN_TIME[stage - 1] { 3 } else { 1 };
        let part = |conv: &str, norm: &str, channels, kernel, step| ConvNorm {
            conv: format!("{name}.{conv}"),
            norm: format!("{name}.{norm}"),
            channels,
            kernel,
            stride: [1, step, step],
        };
        let shortcut = (i == 0).then(|| part("branch1_conv", "branch1_norm", [out, inputs], [1, 1, 1], step));
        let branch = [
            part("branch2.conv_a", "branch2.norm_a", [inner, inputs], [frames, 1, 1], 1),
            part("branch2.conv_b", "branch2.norm_b", [inner, inner], [1, 3, 3], step),
            part("branch2.conv_c", "branch2.norm_c", [out, inner], [1, 1, 1], 1),
        ];
        ResBlock { shortcut, branch }
    }

    /// What other networks of the family have otherwise, though their names are the same.
    fn other_model(shapes: &Shapes, stem_dims: [usize; 2], depths: [usize; 4]) -> Result<Option<String>, ShapeError> {
        let [_, _, span, _, _] = shapes.of("blocks.0.multipathway_fusion.conv_fast_to_slow.weight")?;
        if span != Self::FUSION_FRAMES {
            let expected = Self::FUSION_FRAMES;
            let like = if span == 7 { " as those of slowfast_r50 (SlowFast 8x8 R50)" } else { "" };
            return Ok(Some(format!("its fusions span {span} frames{like}, {expected} were expected")));
        }
        for i in 0..depths[2] {
            let name = format!("{}.branch2.conv_a.weight", block_name(3, 0, i));
            let [_, _, span, _, _] = shapes.of(&name)?;
            if span != 3 {
                let like = if span == 1 { " as in slowfast_16x8_r101_50_50" } else { "" };
                return Ok(Some(format!("{name} spans {span} frames{like}, 3 were expected")));
            }
        }
        let differs = stem_dims == Self::STEM_DIMS && depths != Self::DEPTHS;
        let like = if depths == [3, 4, 6, 3] { " as those of an R50" } else { "" };
        Ok(differs.then(|| format!("its stages have {depths:?} blocks{like}, {:?} were expected", Self::DEPTHS)))
    }
}

/// The name of block `i` of a stage.
pub fn block_name(stage: usize, pathway: usize, i: usize) -> String {
    format!("blocks.{stage}.multipathway_blocks.{pathway}.res_blocks.{i}")
}

impl Architecture for SlowFastConfig {
    const NAME: &'static str = "slowfast8x8_r101";
    const ABOUT: &'static str = "SlowFast 8x8 R101, Kinetics 400 (ICCV 2019, github.com/facebookresearch/pytorchvideo)";
    const SIGNATURE_TENSORS: &'static [&'static str] = &[
        "blocks.0.multipathway_blocks.0.conv.weight",
        "blocks.0.multipathway_blocks.1.conv.weight",
        "blocks.0.multipathway_fusion.conv_fast_to_slow.weight",
    ];
    // What training counted by.
    const BUFFERS: &'static [&'static str] = &[".num_batches_tracked"];

    fn published() -> Self {
        Self::sized(Self::STEM_DIMS)
    }

    fn tiny() -> Self {
        Self::sized([8, 2])
    }

    fn check(&self) -> Result<(), ConfigError> {
        let Self { image_size, pool_size, stem_dims: [slow, fast], num_classes, .. } = *self;
        let counts = [("pool_size", pool_size), ("stem_dims", slow), ("stem_dims", fast), ("num_classes", num_classes)];
        ConfigError::unless_positive(counts.into_iter().chain(self.depths.map(|depth| ("depths", depth))))?;
        let whole = image_size.is_multiple_of(Self::REDUCTION) && image_size / Self::REDUCTION >= pool_size;
        ConfigError::unless(whole, "image_size", image_size as f64, "a multiple of 32, of at least 32 * pool_size")
    }

    fn from_shapes(shapes: &Shapes, _head_dim: usize) -> Result<Self, ShapeError> {
        let [slow, _, _, _, _] = shapes.of("blocks.0.multipathway_blocks.0.conv.weight")?;
        let [fast, _, _, _, _] = shapes.of("blocks.0.multipathway_blocks.1.conv.weight")?;
        let depth = |stage| shapes.count(|i| format!("{}.branch2.conv_a.weight", block_name(stage, 0, i)));
        let (stem_dims, depths) = ([slow, fast], [1, 2, 3, 4].map(depth));
        if let Some(why) = Self::other_model(shapes, stem_dims, depths)? {
            return Err(shapes.error(why));
        }
        let [num_classes, _] = shapes.of("blocks.6.proj.weight")?;
        Ok(Self { depths, num_classes, ..Self::sized(stem_dims) })
    }

    fn parameters(&self) -> Vec<ParamSpec> {
        let mut list = ParamList::default();
        let mut add = |part: &ConvNorm| {
            let ([out, inputs], [frames, height, width]) = (part.channels, part.kernel);
            list.weight(&format!("{}.weight", part.conv), &[out, inputs, frames, height, width]);
            list.batch_norm(&part.norm, out);
        };
        Self::PATHWAYS.iter().for_each(|&pathway| add(&self.stem(pathway)));
        (0..4).for_each(|stage| add(&self.fusion(stage)));
        for (stage, pathway) in (1..=4).flat_map(|stage| Self::PATHWAYS.map(|pathway| (stage, pathway))) {
            for ResBlock { shortcut, branch } in (0..self.depths[stage - 1]).map(|i| self.block(stage, pathway, i)) {
                shortcut.iter().chain(&branch).for_each(&mut add);
            }
        }
        list.linear("blocks.6.proj", self.num_classes, self.feature_dim());
        list.into_specs()
    }
}
