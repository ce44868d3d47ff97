//! A backbone that is an ONNX graph, run by ONNX Runtime through `ort`.
//!
//! Not for finding the library or the card. Invariant: the provider that was asked for runs the model or opening it
//! fails; there is no silent fall-back to the CPU.

use std::path::Path;

use ndarray::{Array2, s};
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{TensorElementType, TensorRef, ValueType};

use super::{Backbone, BackboneError, Card, ClipBatch, Device, Precision, Provider, Runtime};

/// A loaded graph.
pub struct OnnxBackbone {
    card: Card,
    session: Session,
    provider: Provider,
}

impl OnnxBackbone {
    /// Loads the card's graph from the folder `models` onto `device`, with `threads` threads where the CPU computes.
    ///
    /// # Errors
    /// [`BackboneError::Device`] for a precision that the device lacks, [`BackboneError::Load`] if the provider or the
    /// graph cannot be had, [`BackboneError::Signature`] if the graph's tensors are not the card's.
    pub fn load(
        runtime: &Runtime,
        models: &Path,
        card: &Card,
        device: Device,
        precision: Precision,
        threads: usize,
    ) -> Result<Self, BackboneError> {
        device.check_precision(precision)?;
        let graph = card.graph_path(models);
        let session = open(runtime, &graph, device, precision, threads).map_err(|e| BackboneError::Load {
            graph: graph.clone(),
            device: device.to_string(),
            why: explain(&e.to_string(), device.provider),
        })?;
        let why = signature_fault(&session, card);
        match why {
            Some(why) => Err(BackboneError::Signature { graph, why }),
            None => Ok(Self { card: card.clone(), session, provider: device.provider }),
        }
    }

    /// Runs the card's golden input; the largest difference from its golden output.
    pub fn golden_error(&mut self) -> Result<f32, BackboneError> {
        let golden = self.card.golden.clone();
        let pixels = golden.pixels(&self.card.input);
        let found = self.forward(&ClipBatch { clips: 1, frames: golden.frames as usize, pixels })?;
        let differences = found.iter().zip(&golden.output).map(|(a, b)| (a - b).abs());
        // f32::max would drop a NaN, which must win here.
        Ok(differences.fold(0.0, |worst: f32, d| if d.is_nan() || d > worst { d } else { worst }))
    }
}

impl Backbone for OnnxBackbone {
    fn card(&self) -> &Card {
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
        let (input, output) = (&self.card.input, &self.card.output);
        let backbone = self.card.name.clone();
        let fail = |e: ort::Error| BackboneError::Run { backbone: backbone.clone(), why: e.to_string() };
        let shape = [batch.clips, batch.frames, input.height as usize, input.width as usize, 3];
        let tensor = TensorRef::from_array_view((shape, batch.pixels.as_slice())).map_err(fail)?;
        let outputs = self.session.run(ort::inputs![input.name.as_str() => tensor]).map_err(fail)?;
        let (found, values) = outputs[output.name.as_str()].try_extract_tensor::<f32>().map_err(fail)?;
        let expected = [batch.clips as i64, output.dim as i64];
        let (rows, dim, found) = (batch.clips, output.dim, found.to_vec());
        let array = Array2::from_shape_vec((rows, dim), values.to_vec());
        match array {
            Ok(array) if found == expected => Ok(array),
            _ => Err(BackboneError::Shape { backbone, rows, dim, found }),
        }
    }
}

fn open(runtime: &Runtime, graph: &Path, device: Device, precision: Precision, threads: usize) -> ort::Result<Session> {
    let mut builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(threads)?
        .with_deterministic_compute(true)?;
    if let Some(provider) = provider(device, precision, threads) {
        builder = builder.with_execution_providers([provider.error_on_failure()])?;
    }
    builder.commit_from_file(graph)
}

fn provider(device: Device, precision: Precision, threads: usize) -> Option<ExecutionProviderDispatch> {
    match device.provider {
        Provider::Cpu => None,
        Provider::OpenVino => {
            // OpenVINO computes in bf16 by itself where the CPU can, so fp32 is asked for by name too.
            let hint = if precision == Precision::Bf16 { "bf16" } else { "f32" };
            let config = format!(r#"{{"CPU": {{"INFERENCE_PRECISION_HINT": "{hint}"}}}}"#);
            let openvino = ep::OpenVINO::default().with_device_type("CPU").with_num_threads(threads);
            Some(openvino.with_arbitrary_config("load_config", config).build())
        }
        Provider::Cuda => {
            let cuda = ep::CUDA::default().with_device_id(device.ordinal as i32);
            Some(cuda.with_tf32(precision == Precision::Tf32).build())
        }
        Provider::TensorRt => {
            let tensorrt = ep::TensorRT::default().with_device_id(device.ordinal as i32);
            let half = precision == Precision::Fp16;
            Some(tensorrt.with_fp16(half).with_bf16(precision == Precision::Bf16).build())
        }
    }
}

/// What a user can do about a provider that does not load.
fn explain(why: &str, provider: Provider) -> String {
    let why = why.trim();
    match provider {
        Provider::Cpu => why.to_owned(),
        Provider::OpenVino => format!("{why} (the provider comes with `make setup-openvino`)"),
        Provider::Cuda | Provider::TensorRt => {
            let libraries = "CUDA 13's libraries must be on LD_LIBRARY_PATH and an NVIDIA driver must be running";
            format!("{why} (the provider comes with `make setup-gpu`; {libraries}; see `egofx doctor`)")
        }
    }
}

/// What is wrong with the graph's tensors, if they are not what the card says.
fn signature_fault(session: &Session, card: &Card) -> Option<String> {
    let input = session.inputs().iter().find(|i| i.name() == card.input.name);
    let output = session.outputs().iter().find(|o| o.name() == card.output.name);
    let names =
        |outlets: &[ort::value::Outlet]| outlets.iter().map(|o| o.name().to_owned()).collect::<Vec<_>>().join(", ");
    let Some(input) = input else {
        return Some(format!("no input {:?} (found: {})", card.input.name, names(session.inputs())));
    };
    let Some(output) = output else {
        return Some(format!("no output {:?} (found: {})", card.output.name, names(session.outputs())));
    };
    let (height, width) = (i64::from(card.input.height), i64::from(card.input.width));
    let (dim, shown_in, shown_out) = (card.output.dim as i64, input.dtype(), output.dtype());
    let fits_input = matches!(shown_in, ValueType::Tensor { ty: TensorElementType::Uint8, shape, .. }
        if shape.len() == 5 && fits(shape[2], height) && fits(shape[3], width) && fits(shape[4], 3));
    let fits_output = matches!(shown_out, ValueType::Tensor { ty: TensorElementType::Float32, shape, .. }
        if shape.len() == 2 && fits(shape[1], dim));
    match (fits_input, fits_output) {
        (false, _) => {
            Some(format!("input {:?} is {shown_in}, the card says uint8 [B, F, {height}, {width}, 3]", input.name()))
        }
        (_, false) => Some(format!("output {:?} is {shown_out}, the card says float32 [B, {dim}]", output.name())),
        _ => None,
    }
}

/// Whether a dimension of a graph is `wanted`, or dynamic.
fn fits(found: i64, wanted: i64) -> bool {
    found == wanted || found < 0
}
