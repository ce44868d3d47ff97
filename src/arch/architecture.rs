//! What every backbone says of itself.
//!
//! To add one: a config of its sizes in a file beside this one, an implementation of [`Architecture`] for it, its
//! graphs in `export::models`. CONTRIBUTING has the steps.

use std::collections::BTreeMap;

use super::error::{ConfigError, ShapeError};
use super::shapes::Shapes;
use crate::checkpoint::{ParamSpec, TensorInfo};

/// The architecture of one backbone, at some size.
pub trait Architecture: Clone + Send + Sync + 'static {
    /// Its name, with which the names of its models begin.
    const NAME: &'static str;
    /// Its publication and the repository whose state dicts it reads.
    const ABOUT: &'static str;
    /// Tensors that all its state dicts have, and those of no other architecture.
    const SIGNATURE_TENSORS: &'static [&'static str];
    /// Buffers that a state dict may hold and no computation reads; one that begins with a dot stands for all names that
    /// end so.
    const BUFFERS: &'static [&'static str];

    /// The published sizes.
    fn published() -> Self;

    /// Sizes for trying things out: tokens of 32 values, the published depth.
    fn tiny() -> Self;

    /// The models that are published, by the names under which they are made with random weights: as published, and for
    /// trying things out.
    fn models() -> Vec<(String, [Self; 2])> {
        let models = [Self::published(), Self::tiny()];
        vec![(models[0].name(), models)]
    }

    /// The name of a model of these sizes; the names of its graphs begin with it, `_` for `-`.
    fn name(&self) -> String {
        Self::NAME.to_owned()
    }

    /// Whether a network has such sizes.
    ///
    /// # Errors
    /// [`ConfigError`] names the first key that no network has.
    fn check(&self) -> Result<(), ConfigError>;

    /// The sizes that a state dict has. `head_dim`, the values of one attention head, is in no tensor's shape
    /// (published: 64). What no shape tells at all (dropout, first weights) is as published.
    ///
    /// # Errors
    /// [`ShapeError`] if a tensor from which a size is read is not there or has no such shape, or if sizes contradict
    /// each other.
    fn from_shapes(shapes: &Shapes, head_dim: usize) -> Result<Self, ShapeError>;

    /// Every tensor of the state dict, [`BUFFERS`](Self::BUFFERS) aside.
    fn parameters(&self) -> Vec<ParamSpec>;

    /// Whether these tensors claim to be of this architecture, whether or not their shapes fit.
    fn detect(tensors: &BTreeMap<String, TensorInfo>) -> bool {
        Self::SIGNATURE_TENSORS.iter().all(|name| tensors.contains_key(*name))
    }

    /// Values in all parameters, running statistics aside.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().filter(|spec| !spec.is_buffer()).map(ParamSpec::elements).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{AnswerHeadConfig, EgoVlpConfig, EgoVlpV2Config, Projector, SlowFastConfig};
    use crate::checkpoint::Dtype;

    fn tensors(config: &impl Architecture) -> BTreeMap<String, TensorInfo> {
        let info = |p: ParamSpec| (p.name, TensorInfo { dtype: Dtype::F32, shape: p.shape });
        config.parameters().into_iter().map(info).collect()
    }

    #[track_caller]
    fn read_back<A: Architecture + PartialEq + std::fmt::Debug>(config: &A, head_dim: usize) {
        config.check().unwrap();
        let tensors = tensors(config);
        assert!(A::detect(&tensors));
        assert_eq!(tensors.len(), config.parameters().len(), "no name stands twice");
        let shapes = Shapes { checkpoint: "some.pth", architecture: A::NAME, tensors: &tensors };
        assert_eq!(A::from_shapes(&shapes, head_dim).as_ref(), Ok(config));
    }

    #[test]
    fn sizes_are_read_back_off_the_shapes_of_the_parameters() {
        read_back(&EgoVlpConfig::published(), 64);
        read_back(&EgoVlpConfig::tiny(), 16);
        read_back(&EgoVlpV2Config::published(), 64);
        read_back(&SlowFastConfig::published(), 64);
        read_back(&SlowFastConfig { num_classes: 3, ..SlowFastConfig::tiny() }, 64);
        let full = Projector::Full { dim: 5, hidden_dim: Some(6) };
        for (projector, num_fused_layers) in [(full, 0), (Projector::Small { dim: 3 }, 12), (Projector::full(7), 1)] {
            let answers = (num_fused_layers == 1).then_some(AnswerHeadConfig { num_answers: 9 });
            read_back(&EgoVlpV2Config { projector, num_fused_layers, answers, ..EgoVlpV2Config::tiny() }, 16);
        }
    }

    #[test]
    fn a_state_dict_is_of_one_architecture() {
        assert!(!EgoVlpV2Config::detect(&tensors(&EgoVlpConfig::tiny())));
        assert!(!EgoVlpConfig::detect(&tensors(&EgoVlpV2Config::tiny())));
        assert!(!EgoVlpConfig::detect(&tensors(&SlowFastConfig::tiny())));
        assert!(!SlowFastConfig::detect(&tensors(&EgoVlpConfig::tiny())));
    }

    /// Other networks of SlowFast's family have tensors of the same names.
    #[test]
    fn a_sibling_of_slowfast_is_refused_by_its_name() {
        let refused = |change: &dyn Fn(&mut BTreeMap<String, TensorInfo>)| {
            let mut tensors = tensors(&SlowFastConfig::published());
            change(&mut tensors);
            let shapes = Shapes { checkpoint: "some.pyth", architecture: SlowFastConfig::NAME, tensors: &tensors };
            SlowFastConfig::from_shapes(&shapes, 64).unwrap_err().to_string()
        };
        let span = |tensors: &mut BTreeMap<String, TensorInfo>, name: &str, frames| {
            tensors.get_mut(name).unwrap().shape[2] = frames;
        };
        let error = refused(&|t| span(t, "blocks.0.multipathway_fusion.conv_fast_to_slow.weight", 7));
        let like = "as those of slowfast_r50 (SlowFast 8x8 R50)";
        assert_eq!(
            error,
            format!("some.pyth is no slowfast8x8_r101 checkpoint: its fusions span 7 frames {like}, 5 were expected")
        );
        let conv = "blocks.3.multipathway_blocks.0.res_blocks.6.branch2.conv_a.weight";
        let error = refused(&|t| span(t, conv, 1));
        let why = format!("{conv} spans 1 frames as in slowfast_16x8_r101_50_50, 3 were expected");
        assert!(error.ends_with(&why), "{error}");
        let error = refused(&|t| t.retain(|name, _| !name.contains("blocks.3.multipathway_blocks.0.res_blocks.22")));
        let why = "its stages have [3, 4, 22, 3] blocks, [3, 4, 23, 3] were expected";
        assert!(error.ends_with(why), "{error}");
    }

    #[test]
    fn towers_that_contradict_each_other_are_refused() {
        let mut tensors = tensors(&EgoVlpV2Config::tiny());
        tensors.remove("text_model.encoder.layer.6.alpha_t2i").unwrap();
        let shapes = Shapes { checkpoint: "some.pth", architecture: "egovlpv2", tensors: &tensors };
        let error = EgoVlpV2Config::from_shapes(&shapes, 16).unwrap_err().to_string();
        let [video, text] = [6, 5].map(|fused| format!("embed_dim 32, depth 12, {fused} fused"));
        let why = format!("the video tower has {video}; the text tower {text}");
        assert_eq!(error, format!("some.pth is no egovlpv2 checkpoint: {why}"));
    }
}
