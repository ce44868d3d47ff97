//! A backbone that is one ONNX graph or three, run by ONNX Runtime through `ort`.
//!
//! Not for finding the library or the cards. Invariant: a row is the same in every batch.

use std::path::Path;

use ndarray::Array2;
use ort::value::{TensorElementType, ValueType};

use super::frame_graph::{FrameGraph, Windows};
use super::fused::FusedTowers;
use super::provider::SessionOptions;
use super::session::GraphSession;
use super::text::TextTower;
use super::{
    Backbone, BackboneError, Card, ClipBatch, Dim, GraphPrecision, Input, Provider, Runtime, Towers, VideoCard,
};

/// Loaded graphs.
pub struct OnnxBackbone {
    towers: Towers,
    loaded: Loaded,
}

enum Loaded {
    Video(Box<VideoTower>),
    Text(Box<TextTower>),
    Fused(Box<FusedTowers>),
}

struct VideoTower {
    card: VideoCard,
    graph: FrameGraph,
}

impl OnnxBackbone {
    /// Loads the graphs of `towers` from the folder `models`.
    ///
    /// # Errors
    /// [`BackboneError::Device`] for a precision that the device lacks, [`BackboneError::Load`] if the provider or a graph
    /// cannot be had, [`BackboneError::Signature`] if a graph's tensors are not its card's.
    pub fn load(
        runtime: &Runtime,
        models: &Path,
        towers: &Towers,
        options: SessionOptions,
    ) -> Result<Self, BackboneError> {
        Self::load_for(runtime, models, towers, options, None)
    }

    /// The same where it is known what comes: TensorRT builds for that alone.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn load_for(
        runtime: &Runtime,
        models: &Path,
        towers: &Towers,
        options: SessionOptions,
        windows: Option<Windows>,
    ) -> Result<Self, BackboneError> {
        for card in towers.cards() {
            refuse_halves_on_the_cpu(card, options)?;
        }
        let loaded = match towers {
            Towers::Video(card) => Loaded::Video(Box::new(VideoTower::load(runtime, models, card, options, windows)?)),
            Towers::Text(card) => Loaded::Text(Box::new(TextTower::load(runtime, models, card, options)?)),
            Towers::Fused(cards) => {
                Loaded::Fused(Box::new(FusedTowers::load(runtime, models, cards, options, windows)?))
            }
        };
        Ok(Self { towers: towers.clone(), loaded })
    }

    /// Runs the golden inputs of all cards; for each its card and the largest difference from its golden output.
    ///
    /// # Errors
    /// [`BackboneError::Run`], [`BackboneError::Shape`].
    pub fn golden_errors(&mut self) -> Result<Vec<(&Card, f32)>, BackboneError> {
        let graphs = match &mut self.loaded {
            Loaded::Video(video) => vec![video.graph.session()?],
            Loaded::Text(text) => vec![&mut text.session],
            Loaded::Fused(fused) => vec![fused.lower_video.session()?, &mut fused.lower_text, &mut fused.upper],
        };
        let error = |(card, graph): (_, &mut GraphSession)| golden_error(card, graph).map(|error| (card, error));
        self.towers.cards().into_iter().zip(graphs).map(error).collect()
    }
}

fn golden_error(card: &Card, graph: &mut GraphSession) -> Result<f32, BackboneError> {
    Ok(card.golden.error(&graph.run(&card.golden.feeds(&card.inputs, 0))?))
}

fn refuse_halves_on_the_cpu(card: &Card, options: SessionOptions) -> Result<(), BackboneError> {
    if card.precision != GraphPrecision::Fp16 || options.device.provider != Provider::Cpu {
        return Ok(());
    }
    // Measured: a row moves by 2e-3 with its place in the batch.
    let why = "it computes in fp16, where the CPU's kernels round by the place in the batch: run it on a GPU, or use \
               the fp32 or int8 graph";
    Err(card.refuse(why.into()))
}

impl Backbone for OnnxBackbone {
    fn towers(&self) -> &Towers {
        &self.towers
    }

    fn forward(&mut self, input: &Input<'_>) -> Result<Array2<f32>, BackboneError> {
        match (&mut self.loaded, input) {
            (Loaded::Video(video), Input::Windows(batch)) => video.forward(batch),
            (Loaded::Text(text), Input::Sentences(sentences)) => text.forward(sentences),
            (Loaded::Fused(fused), Input::Pairs(batch, pairs)) => fused.forward(batch, pairs),
            _ => {
                Err(self.towers.last().refuse("it was given another kind of input than it takes; this is a bug".into()))
            }
        }
    }
}

impl VideoTower {
    fn load(
        runtime: &Runtime,
        models: &Path,
        card: &VideoCard,
        options: SessionOptions,
        windows: Option<Windows>,
    ) -> Result<Self, BackboneError> {
        let path = card.card.graph_path(models);
        let mut graph = FrameGraph::open(runtime, &path, &card.input, options, windows)?;
        match signature_fault(graph.session()?, card) {
            Some(why) => Err(BackboneError::Signature { graph: path, why }),
            None => Ok(Self { card: card.clone(), graph }),
        }
    }

    fn forward(&mut self, batch: &ClipBatch) -> Result<Array2<f32>, BackboneError> {
        let feature = &self.card.feature;
        let (found, values) = self.graph.rows(batch, &feature.name)?;
        let (rows, dim) = (batch.clips, feature.dim);
        let array = Array2::from_shape_vec((rows, dim), values);
        match array {
            Ok(array) if found.first() == Some(&(rows as i64)) => Ok(array),
            _ => Err(BackboneError::Shape { backbone: self.card.card.name.clone(), rows, dim, found }),
        }
    }
}

/// What is wrong with the graph's tensors, if they are not what the card says.
fn signature_fault(session: &GraphSession, card: &VideoCard) -> Option<String> {
    let [inputs, outputs] = session.signature();
    let names = |outlets: &[(String, ValueType)]| outlets.iter().map(|o| o.0.clone()).collect::<Vec<_>>().join(", ");
    let Some((input, shown_in)) = inputs.iter().find(|i| i.0 == card.input.name) else {
        return Some(format!("no input {:?} (found: {})", card.input.name, names(&inputs)));
    };
    let Some((output, shown_out)) = outputs.iter().find(|o| o.0 == card.feature.name) else {
        return Some(format!("no output {:?} (found: {})", card.feature.name, names(&outputs)));
    };
    let (height, width) = (i64::from(card.input.height), i64::from(card.input.width));
    let fits_input = matches!(shown_in, ValueType::Tensor { ty: TensorElementType::Uint8, shape, .. }
        if shape.len() == 5 && fits(shape[2], height) && fits(shape[3], width) && fits(shape[4], 3));
    let wanted = card.card.outputs.iter().find(|output| output.name == card.feature.name);
    let wanted = wanted.map_or(&[][..], |output| output.shape.as_slice());
    let fits_output = matches!(shown_out, ValueType::Tensor { ty: TensorElementType::Float32, shape, .. }
        if shape.len() == wanted.len() && shape.iter().zip(wanted).all(|(found, dim)| fits_dim(*found, dim)));
    match (fits_input, fits_output) {
        (false, _) => Some(format!("input {input:?} is {shown_in}, the card says uint8 [B, F, {height}, {width}, 3]")),
        (_, false) => Some(format!("output {output:?} is {shown_out}, the card says float32 [{}]", shown(wanted))),
        _ => None,
    }
}

fn shown(dims: &[Dim]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a dimension of a graph is `wanted`, or dynamic.
fn fits(found: i64, wanted: i64) -> bool {
    found == wanted || found < 0
}

/// The same for a dimension of a card, where a named one is as long as it comes.
fn fits_dim(found: i64, wanted: &Dim) -> bool {
    match wanted {
        Dim::Fixed(wanted) => fits(found, *wanted as i64),
        Dim::Named(_) => true,
    }
}
