//! EgoVLPv2 (Pramanick et al., ICCV 2023, arXiv 2307.05463): two towers whose upper halves attend to one another when
//! they are fused.
//!
//! Names and shapes are those of the state dict of `model/model.py` in `facebookresearch/EgoVLPv2`. Dual and fused mode
//! differ in more than cross-attention: the class token and the final norm are `video_model.*` in dual mode and
//! top-level in fused mode.

use serde::{Deserialize, Serialize};

use super::architecture::Architecture;
use super::error::{ConfigError, ShapeError};
use super::heads::{AnswerHeadConfig, FusionHeadsConfig, Projector};
use super::params::ParamList;
use super::roberta;
use super::shapes::Shapes;
use super::text::TextConfig;
use super::video::{TemporalRule, VideoConfig, VideoForm};
use crate::checkpoint::ParamSpec;

/// EgoVLPv2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgoVlpV2Config {
    /// The video tower.
    pub video: VideoConfig,
    /// The text tower, a RoBERTa; its `embed_dim` and `depth` are the video tower's.
    pub text: TextConfig,
    /// What makes embeddings.
    pub projector: Projector,
    /// How many of the last blocks and layers attend to the other tower when they are fused; published: 6.
    #[serde(alias = "fused")]
    pub num_fused_layers: usize,
    /// The first value of the factors of cross-attention; published: 0. A fusion that is learnt from scratch starts
    /// sooner with a little.
    #[serde(alias = "gate")]
    pub cross_attn_gate_init: f64,
    /// The head of checkpoints that were fine-tuned on EgoTaskQA. Experiment files say it beside the backbone.
    #[serde(skip)]
    pub answers: Option<AnswerHeadConfig>,
}

impl EgoVlpV2Config {
    /// Epsilon of the video tower's LayerNorms.
    pub const VIDEO_LAYER_NORM_EPS: f64 = 1e-5;
    /// Epsilon of the top-level LayerNorm, which ends the fused video tower.
    pub const FUSED_LAYER_NORM_EPS: f64 = 1e-6;
    /// What becomes of the temporal table.
    pub const TEMPORAL: TemporalRule = TemporalRule::Interpolate;

    /// The video tower.
    pub const FORM: VideoForm = VideoForm::egovlp(Self::VIDEO_LAYER_NORM_EPS, Self::TEMPORAL);

    /// The first block and layer that is fused.
    pub fn first_fused(&self) -> usize {
        self.video.depth - self.num_fused_layers
    }

    /// The heads on the fused towers.
    pub fn heads(&self) -> FusionHeadsConfig {
        FusionHeadsConfig { embed_dim: self.text.embed_dim, vocab_size: self.text.vocab_size }
    }

    fn sized(video: VideoConfig, text: TextConfig, projection_dim: usize) -> Self {
        let projector = Projector::full(projection_dim);
        Self { video, text, projector, num_fused_layers: 6, cross_attn_gate_init: 0.0, answers: None }
    }
}

impl Architecture for EgoVlpV2Config {
    const NAME: &'static str = "egovlpv2";
    const ABOUT: &'static str = "EgoVLPv2 (ICCV 2023, github.com/facebookresearch/EgoVLPv2)";
    const SIGNATURE_TENSORS: &'static [&'static str] =
        &["video_model.cls_token", "text_model.encoder.layer.0.attention.self.query.weight"];
    // 0, 1, 2, ...
    const BUFFERS: &'static [&'static str] = &["text_model.embeddings.position_ids"];

    fn published() -> Self {
        Self::sized(VideoConfig::base(4), TextConfig::base(roberta::VOCAB_SIZE, 514, 12), 4096)
    }

    fn tiny() -> Self {
        Self::sized(VideoConfig::tiny(4), Self::published().text.into_tiny(), 16)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.video.check()?;
        self.text.check()?;
        let TextConfig { max_position_embeddings: positions, embed_dim, depth, .. } = self.text;
        ConfigError::unless(positions > 2, "text.max_position_embeddings", positions as f64, "3 or more")?;
        let same = embed_dim == self.video.embed_dim;
        ConfigError::unless(same, "text.embed_dim", embed_dim as f64, "the video tower's embed_dim")?;
        ConfigError::unless(depth == self.video.depth, "text.depth", depth as f64, "the video tower's depth")?;
        let fused = self.num_fused_layers;
        ConfigError::unless(fused <= depth, "num_fused_layers", fused as f64, "0 to the number of layers")?;
        self.projector.check()
    }

    fn from_shapes(shapes: &Shapes, head_dim: usize) -> Result<Self, ShapeError> {
        let (video, num_fused_layers) = VideoConfig::from_shapes(Self::FORM.name, shapes, head_dim)?;
        let (text, text_fused) = roberta::from_shapes(shapes, head_dim)?;
        let found = [(video.embed_dim, video.depth, num_fused_layers), (text.embed_dim, text.depth, text_fused)];
        if found[0] != found[1] {
            let [video, text] =
                found.map(|(dim, depth, fused)| format!("embed_dim {dim}, depth {depth}, {fused} fused"));
            return Err(shapes.error(format!("the video tower has {video}; the text tower {text}")));
        }
        let projector = Projector::from_shapes(shapes)?;
        let answers = AnswerHeadConfig::from_shapes(shapes)?;
        Ok(Self { video, text, projector, num_fused_layers, cross_attn_gate_init: 0.0, answers })
    }

    fn parameters(&self) -> Vec<ParamSpec> {
        let (mut list, embed_dim) = (ParamList::default(), self.video.embed_dim);
        self.video.parameters(&Self::FORM, self.num_fused_layers, &mut list);
        roberta::parameters(&self.text, self.num_fused_layers, &mut list);
        self.projector.parameters(embed_dim, &mut list);
        self.heads().parameters(&mut list);
        if let Some(answers) = self.answers {
            answers.parameters(embed_dim, &mut list);
        }
        list.embedding("cls_token", &[1, 1, embed_dim]);
        list.layer_norm("norm", embed_dim);
        list.into_specs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        projector = { kind = "full", dim = 16 }
        num_fused_layers = 2
        cross_attn_gate_init = 0.0
        [video]
        image_size = 32
        patch_size = 16
        embed_dim = 32
        depth = 4
        num_heads = 2
        mlp_dim = 64
        num_frames = 4
        time_init = "zeros"
        initializer_range = 0.02
        [text]
        vocab_size = 200
        max_position_embeddings = 42
        embed_dim = 32
        depth = 4
        num_heads = 2
        mlp_dim = 64
        dropout = 0.1
        initializer_range = 0.02
    "#;

    fn parsed(text: &str) -> Result<EgoVlpV2Config, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn every_key_is_needed_and_no_other_is_known() {
        let config = parsed(TEXT).unwrap();
        config.check().unwrap();
        assert_eq!((config.projector, config.video.num_patches()), (Projector::full(16), 4));
        assert_eq!(parsed(&toml::to_string(&config).unwrap()).unwrap(), config);
        for line in TEXT.lines().map(str::trim).filter(|line| line.contains(" = ")) {
            assert!(parsed(&TEXT.replacen(line, "", 1)).is_err(), "without {line}");
        }
        assert!(parsed(&format!("{TEXT}\nspare = 1")).is_err());
        let none = TEXT.replace(r#"{ kind = "full", dim = 16 }"#, r#"{ kind = "none" }"#);
        assert_eq!(parsed(&none).unwrap().projector, Projector::None);
    }

    /// Keys of experiment files before they had the names of Hugging Face and timm.
    #[test]
    fn keys_of_older_experiment_files_are_read() {
        let old = [
            (", dim", ", width"),
            ("num_fused_layers", "fused"),
            ("cross_attn_gate_init", "gate"),
            ("image_size", "image"),
            ("patch_size", "patch"),
            ("embed_dim", "width"),
            ("num_heads", "heads"),
            ("mlp_dim", "hidden"),
            ("num_frames", "frames"),
            ("vocab_size", "vocabulary"),
            ("max_position_embeddings", "positions"),
        ];
        let older = old.iter().fold(TEXT.to_owned(), |text, (new, old)| text.replace(new, old));
        let (video, text) = older.split_once("[text]").unwrap();
        let older = format!("{video}[text]{}", text.replace("depth", "layers"));
        assert!(older.contains("layers = 4") && !older.contains("_dim") && !older.contains("num_"), "{older}");
        assert_eq!(parsed(&older).unwrap(), parsed(TEXT).unwrap());
    }
}
