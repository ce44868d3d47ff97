//! SlowFast's graph: windows of 32 frames to Ego4D's feature, and to the classes that it was trained on.
//!
//! Its tensors are those of [`SlowFastConfig`]. Ego4D takes the classifier off and averages what the last pooling leaves: at
//! 256 pixels the last maps are 8 x 8, so that means of 7 x 7 are taken at 2 x 2 places, which overlap.

use crate::arch::SlowFastConfig;
use crate::arch::slowfast::ConvNorm;
use crate::export::batch_norm::BatchNorm;
use crate::export::graph::{Graph, Value};
use crate::export::layers::{concat, conv_attributes, conv_norm, linear, reshape, transpose};
use crate::export::model::{Cost, Exported, GraphPlan};
use crate::export::onnx::Attribute;
use crate::export::pixels::{self, Frames, Normalisation};
use crate::export::signature::dims;
use crate::export::weights::Weight;

const PATHWAYS: [&str; 2] = ["slow", "fast"];
const BY: Normalisation = Normalisation {
    mean: [0.45; 3],
    std: [0.225; 3],
    about: "/255, mean 0.45, std 0.225; the slow pathway's 8 of 32 frames",
};
/// The maximum behind a stem.
const POOL: [[usize; 3]; 2] = [[1, 3, 3], [1, 2, 2]];

/// A convolution, its batch norm and, where `relu` says so, a ReLU.
fn layer(g: &mut Graph, part: &ConvNorm, relu: bool, x: &Value) -> Value {
    let norm = BatchNorm::new(&part.norm, SlowFastConfig::BATCH_NORM_EPS);
    let out = conv_norm(g, &part.conv, &norm, part.kernel, part.stride, x);
    if relu { g.op("Relu", &[&out], &[]) } else { out }
}

impl SlowFastConfig {
    fn graph(&self, g: &mut Graph) {
        let maps = self.windows(g);
        let mut maps = [0, 1].map(|pathway| self.stem_of(g, pathway, &maps[pathway]));
        probe_maps(g, 0, &maps);
        for stage in 1..=4 {
            maps[0] = self.fused(g, stage - 1, &maps);
            maps = [0, 1].map(|pathway| {
                let blocks = 0..self.depths[stage - 1];
                blocks.fold(maps[pathway].clone(), |x, i| self.block_of(g, stage, pathway, i, &x))
            });
            probe_maps(g, stage, &maps);
        }
        self.outputs(g, &maps);
    }

    /// What both pathways see: `[B, 3, 8, H, W]` and `[B, 3, 32, H, W]`.
    fn windows(&self, g: &mut Graph) -> [Value; 2] {
        let (side, count) = (self.image_size, Self::NUM_FRAMES);
        let pixels = pixels::frames(g, Frames { side, image: side, count: Some(count), by: BY });
        let frames = reshape(g, &pixels.values, &[-1, count as i64, 3, side as i64, side as i64]);
        let fast = transpose(g, &frames, &[0, 2, 1, 3, 4]);
        let slow = g.ints(&Self::SLOW_FRAMES.map(|frame| frame as i64));
        [g.op("Gather", &[&fast, &slow], &[("axis", Attribute::Int(2))]), fast]
    }

    fn stem_of(&self, g: &mut Graph, pathway: usize, x: &Value) -> Value {
        g.scope(&format!("{}0", PATHWAYS[pathway]), |g| {
            // What is rounded here is seen by everything behind it, and costs little.
            let x = g.precisely(|g| layer(g, &self.stem(pathway), true, x));
            g.op("MaxPool", &[&x], &conv_attributes(POOL[0], POOL[1]))
        })
    }

    /// The slow pathway's map with what the fast one tells it behind its channels.
    fn fused(&self, g: &mut Graph, stage: usize, [slow, fast]: &[Value; 2]) -> Value {
        g.scope(&format!("fusion{stage}"), |g| {
            let told = layer(g, &self.fusion(stage), true, fast);
            let fused = concat(g, 1, &[slow, &told]);
            g.probe(&format!("block{stage}.fused_slow"), &fused, 5);
            fused
        })
    }

    fn block_of(&self, g: &mut Graph, stage: usize, pathway: usize, i: usize, x: &Value) -> Value {
        let block = self.block(stage, pathway, i);
        let probe = format!("block{stage}.{}.res{i}", PATHWAYS[pathway]);
        g.scope(&format!("{}{stage}.{i}", PATHWAYS[pathway]), |g| {
            let shortcut = block.shortcut.map_or(x.clone(), |part| {
                probe_plain(g, &format!("{probe}.branch1_conv"), &part, x);
                let shortcut = layer(g, &part, false, x);
                g.probe(&format!("{probe}.branch1_norm"), &shortcut, 5);
                shortcut
            });
            let [a, b, c] = &block.branch;
            let inner = layer(g, a, true, x);
            let inner = layer(g, b, true, &inner);
            let branch = layer(g, c, false, &inner);
            g.probe(&format!("{probe}.branch2"), &branch, 5);
            let sum = g.op("Add", &[&branch, &shortcut], &[]);
            g.op("Relu", &[&sum], &[])
        })
    }

    /// The means over all frames and each of the places where a pool fits, then over those; and the classes of that.
    fn outputs(&self, g: &mut Graph, maps: &[Value; 2]) {
        let pooled = [0, 1].map(|pathway| {
            let frames = [Self::SLOW_FRAMES.len(), Self::NUM_FRAMES][pathway];
            let kernel = [frames, self.pool_size, self.pool_size].map(|n| n as i64).to_vec();
            g.op("AveragePool", &[&maps[pathway]], &[("kernel_shape", Attribute::Ints(kernel))])
        });
        let pooled = concat(g, 1, &[&pooled[0], &pooled[1]]);
        g.probe("pooled", &pooled, 5);
        let axes = g.ints(&[2, 3, 4]);
        let feature = g.op("ReduceMean", &[&pooled, &axes], &[("keepdims", Attribute::Int(0))]);
        // The original maps every place and averages the logits, which is the same of a linear map.
        let classes = g.precisely(|g| linear(g, "blocks.6.proj", &feature));
        g.output("embedding", &feature, &dims(&["B"], &[self.feature_dim()]));
        g.output("classes", &classes, &dims(&["B"], &[self.num_classes]));
    }

    /// Multiply-accumulates of a window.
    fn macs(&self) -> u64 {
        let (slow, fast) = (Self::SLOW_FRAMES.len(), Self::NUM_FRAMES);
        let of = |part: &ConvNorm, places: usize| {
            (part.channels.iter().product::<usize>() * part.kernel.iter().product::<usize>() * places) as u64
        };
        // The side of a stage's maps, the stem's for 0.
        let side = |stage: usize| self.image_size / [4, 4, 8, 16, 32][stage];
        let mut sum = (self.num_classes * self.feature_dim()) as u64;
        for (pathway, frames) in [slow, fast].into_iter().enumerate() {
            sum += of(&self.stem(pathway), frames * (self.image_size / 2).pow(2));
            for (stage, i) in (1..=4).flat_map(|stage| (0..self.depths[stage - 1]).map(move |i| (stage, i))) {
                let block = self.block(stage, pathway, i);
                let [a, b, c] = &block.branch;
                let (before, behind) = (frames * side(stage - usize::from(i == 0)).pow(2), frames * side(stage).pow(2));
                sum += of(a, before) + of(b, behind) + of(c, behind);
                sum += block.shortcut.as_ref().map_or(0, |part| of(part, behind));
            }
        }
        sum + (0..4).map(|stage| of(&self.fusion(stage), slow * side(stage).pow(2))).sum::<u64>()
    }
}

fn probe_maps(g: &mut Graph, stage: usize, maps: &[Value; 2]) {
    PATHWAYS.iter().zip(maps).for_each(|(pathway, map)| g.probe(&format!("block{stage}.{pathway}"), map, 5));
}

/// In a debug graph, what the convolution alone gives.
fn probe_plain(g: &mut Graph, name: &str, part: &ConvNorm, x: &Value) {
    if g.variant.debug {
        let filters = g.weight(Weight::plain(&format!("{}.weight", part.conv)));
        let out = g.op("Conv", &[x, &filters], &conv_attributes(part.kernel, part.stride));
        g.probe(name, &out, 5);
    }
}

impl Exported for SlowFastConfig {
    fn frame_side(&self) -> usize {
        self.image_size
    }

    fn graphs(&self) -> Vec<GraphPlan> {
        let model = self.clone();
        vec![GraphPlan {
            name: "video",
            about: "windows of 32 frames to Ego4D's features, and to classes",
            build: Box::new(move |g| model.graph(g)),
            frames: Self::NUM_FRAMES as u32,
            num_tokens: 0,
            vocab_size: 0,
            pad_id: 0,
        }]
    }

    fn costs(&self) -> Vec<Cost> {
        vec![Cost { what: format!("video, {} frames", Self::NUM_FRAMES), macs: self.macs() }]
    }
}
