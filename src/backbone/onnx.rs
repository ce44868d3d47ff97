//! A backbone that is an ONNX graph, run by ONNX Runtime through `ort`.
//!
//! Not for finding the library or the card. Invariant: a window's row is the same in every batch.

use std::path::Path;

use ndarray::{Array2, s};
use ort::value::{TensorElementType, ValueType};

use super::session::{GraphSession, SessionOptions};
use super::{Backbone, BackboneError, ClipBatch, Provider, Runtime, VideoCard};

/// A loaded video graph.
pub struct OnnxBackbone {
    card: VideoCard,
    session: GraphSession,
    provider: Provider,
}

impl OnnxBackbone {
    /// Loads the card's graph from the folder `models`.
    ///
    /// # Errors
    /// [`BackboneError::Device`] for a precision that the device lacks, [`BackboneError::Load`] if the provider or the
    /// graph cannot be had, [`BackboneError::Signature`] if the graph's tensors are not the card's.
    pub fn load(
        runtime: &Runtime,
        models: &Path,
        card: &VideoCard,
        options: SessionOptions,
    ) -> Result<Self, BackboneError> {
        if card.card.arithmetic == "fp16" && options.device.provider == Provider::Cpu {
            // Measured: a row moves by 2e-3 with its place in the batch.
            let backbone = card.card.name.clone();
            let why = "it computes in fp16, where the CPU's kernels round by the place in the batch: run it on a GPU, or use \
                       the fp32 or int8 graph";
            return Err(BackboneError::Use { backbone, why: why.into() });
        }
        let graph = card.card.graph_path(models);
        let session = GraphSession::open(runtime, &graph, options)?;
        match signature_fault(&session, card) {
            Some(why) => Err(BackboneError::Signature { graph, why }),
            None => Ok(Self { card: card.clone(), session, provider: options.device.provider }),
        }
    }

    /// Runs the card's golden input; the largest difference from its golden output.
    pub fn golden_error(&mut self) -> Result<f32, BackboneError> {
        let card = &self.card.card;
        Ok(card.golden.error(&self.session.run(&card.golden.feeds(&card.inputs, 0))?))
    }
}

impl Backbone for OnnxBackbone {
    fn card(&self) -> &VideoCard {
        &self.card
    }

    fn forward(&mut self, batch: &ClipBatch) -> Result<Array2<f32>, BackboneError> {
        // ONNX Runtime's CPU kernels take another path, with another order of sums, where a matrix has one row. A batch
        // of two gives each row the bits that it has in any other batch.
        if batch.clips == 1 && self.provider == Provider::Cpu {
            let twice = ClipBatch { clips: 2, frames: batch.frames, pixels: batch.pixels.repeat(2) };
            return Ok(self.run(&twice)?.slice_move(s![..1, ..]));
        }
        self.run(batch)
    }
}

impl OnnxBackbone {
    fn run(&mut self, batch: &ClipBatch) -> Result<Array2<f32>, BackboneError> {
        let (input, feature) = (&self.card.input, &self.card.feature);
        let backbone = self.card.card.name.clone();
        let shape = [batch.clips, batch.frames, input.height as usize, input.width as usize, 3];
        let ran = self.session.run_frames(&input.name, &shape, &batch.pixels, &feature.name);
        let (found, values) = ran.map_err(|e| BackboneError::Run { backbone: backbone.clone(), why: e.to_string() })?;
        let (rows, dim) = (batch.clips, feature.dim);
        let array = Array2::from_shape_vec((rows, dim), values);
        match array {
            Ok(array) if found == [rows as i64, dim as i64] => Ok(array),
            _ => Err(BackboneError::Shape { backbone, rows, dim, found }),
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
    let dim = card.feature.dim as i64;
    let fits_input = matches!(shown_in, ValueType::Tensor { ty: TensorElementType::Uint8, shape, .. }
        if shape.len() == 5 && fits(shape[2], height) && fits(shape[3], width) && fits(shape[4], 3));
    let fits_output = matches!(shown_out, ValueType::Tensor { ty: TensorElementType::Float32, shape, .. }
        if shape.len() == 2 && fits(shape[1], dim));
    match (fits_input, fits_output) {
        (false, _) => Some(format!("input {input:?} is {shown_in}, the card says uint8 [B, F, {height}, {width}, 3]")),
        (_, false) => Some(format!("output {output:?} is {shown_out}, the card says float32 [B, {dim}]")),
        _ => None,
    }
}

/// Whether a dimension of a graph is `wanted`, or dynamic.
fn fits(found: i64, wanted: i64) -> bool {
    found == wanted || found < 0
}
