//! Writing graphs, weights and cards of one export into a folder of its own.
//!
//! Not for giving them their final names. Invariant: a card is written after its graph ran.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use prost::Message;

use super::calibrate;
use super::error::ExportError;
use super::graph::{Calibration, Graph, Ranges, Variant};
use super::model::{GraphPlan, Model, Plan};
use super::onnx::{self, DataType, ValueInfoProto};
use super::options::Options;
use super::validate::Validator;
use super::weights::WeightFile;
use crate::backbone::{Card, Dim, Element, Golden, GraphPrecision, Preprocessing, Tensor};
use crate::checkpoint::{Checkpoint, Container};

/// What the names of graphs for comparison with the original code end with.
pub const DEBUG_SUFFIX: &str = "_debug";

/// The name of a graph, of its file and of its card.
pub fn name(plan: &Plan, graph: &str, suffix: &str) -> String {
    format!("{}_{graph}{suffix}", plan.stem)
}

/// One export.
pub struct Writer<'e> {
    /// Where the weights come from.
    pub checkpoint: &'e Checkpoint,
    /// Its hash.
    pub sha256: &'e str,
    /// What it is.
    pub model: &'static Model,
    /// What is made of it.
    pub plan: &'e Plan,
    /// What is wanted.
    pub options: &'e Options,
    /// Runs the graphs.
    pub validator: &'e Validator<'e>,
    /// The export's own folder.
    pub folder: &'e Path,
}

/// A graph that was written, and what its card needs.
struct Written {
    name: String,
    about: &'static str,
    file: PathBuf,
    sha256: String,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    golden: Golden,
    on_pixels: &'static str,
}

/// The graphs of one precision, and the name and hash of the weights that they share.
struct Made {
    precision: GraphPrecision,
    graphs: Vec<Written>,
    weights: (String, String),
}

impl Writer<'_> {
    /// Everything, validated: graphs, weights, cards. Gives the cards, fp32 first.
    pub fn write(&self) -> Result<Vec<Card>, ExportError> {
        let Options { further, debug, .. } = self.options;
        self.validator.meter.expect(self.plan.graphs.len() * (1 + usize::from(*debug) + further.len()));
        let (made, mut ranges) = self.write_fp32()?;
        let mut cards = Vec::new();
        self.validate(made, &mut cards)?;
        for precision in [GraphPrecision::Fp16, GraphPrecision::Int8] {
            if !further.contains(&precision) {
                continue;
            }
            let made = match precision {
                GraphPrecision::Int8 => self.write_int8(std::mem::take(&mut ranges))?,
                _ => self.write_fp16()?,
            };
            self.validate(made, &mut cards)?;
        }
        cards.iter().try_for_each(|card| self.write_card(card))?;
        Ok(cards)
    }

    /// The graphs as they are computed best and those for debugging; and if int8 graphs are wanted, what each quantizes by.
    fn write_fp32(&self) -> Result<(Made, Vec<Ranges>), ExportError> {
        let mut weights = self.weights(GraphPrecision::Fp32)?;
        let (mut graphs, mut ranges) = (Vec::new(), Vec::new());
        for plan in &self.plan.graphs {
            graphs.push(self.write_graph(plan, "", Variant::default(), Calibration::Nothing, &mut weights)?);
            if self.options.debug {
                let variant = Variant { debug: true, ..Default::default() };
                graphs.push(self.write_graph(plan, DEBUG_SUFFIX, variant, Calibration::Nothing, &mut weights)?);
            }
            if self.options.further.contains(&GraphPrecision::Int8) {
                ranges.push(self.calibrated(plan, &mut weights)?);
            }
        }
        Ok((Made { precision: GraphPrecision::Fp32, graphs, weights: weights.finish()? }, ranges))
    }

    /// What `plan`'s int8 graph quantizes by. Two graphs tell on the inputs that the validator calibrates with: the first the
    /// extremes of each tensor, the second what clipping it costs. Neither is kept.
    fn calibrated(&self, plan: &GraphPlan, weights: &mut WeightFile) -> Result<Ranges, ExportError> {
        let variant = Variant { precision: GraphPrecision::Int8, ..Default::default() };
        let mut probed = |calibration| {
            let probe = self.write_graph(plan, "_probe", variant, calibration, weights)?;
            weights.flush()?;
            let path = self.folder.join(&probe.file);
            let found = self.validator.probed(&path, &probe.inputs, &probe.golden)?;
            fs::remove_file(&path).map_err(ExportError::io(&path))?;
            Ok::<_, ExportError>(found)
        };
        let extremes = calibrate::extremes(&probed(Calibration::Nothing)?);
        let errors = probed(Calibration::Extremes(extremes.clone()))?;
        Ok(calibrate::of_least_error(&extremes, &errors))
    }

    fn write_fp16(&self) -> Result<Made, ExportError> {
        let variant = Variant { precision: GraphPrecision::Fp16, ..Default::default() };
        let mut weights = self.weights(variant.precision)?;
        let suffix = variant.precision.suffix();
        let write = |plan| self.write_graph(plan, suffix, variant, Calibration::Nothing, &mut weights);
        let graphs = self.plan.graphs.iter().map(write).collect::<Result<_, _>>()?;
        Ok(Made { precision: variant.precision, graphs, weights: weights.finish()? })
    }

    fn write_int8(&self, ranges: Vec<Ranges>) -> Result<Made, ExportError> {
        let variant = Variant { precision: GraphPrecision::Int8, ..Default::default() };
        let mut weights = self.weights(variant.precision)?;
        let suffix = variant.precision.suffix();
        let write = |(plan, ranges)| self.write_graph(plan, suffix, variant, Calibration::Known(ranges), &mut weights);
        let graphs = self.plan.graphs.iter().zip(ranges).map(write).collect::<Result<_, _>>()?;
        Ok(Made { precision: variant.precision, graphs, weights: weights.finish()? })
    }

    fn write_graph(
        &self,
        plan: &GraphPlan,
        suffix: &str,
        variant: Variant,
        calibration: Calibration,
        weights: &mut WeightFile,
    ) -> Result<Written, ExportError> {
        let name = name(self.plan, plan.name, suffix);
        let mut graph = Graph::new(&name, variant, calibration);
        (plan.build)(&mut graph);
        let (inputs, outputs) = graph.signature();
        let (inputs, outputs): (Vec<Tensor>, Vec<Tensor>) =
            (inputs.iter().map(tensor).collect(), outputs.iter().map(tensor).collect());
        let (golden, on_pixels) = (plan.golden(&inputs), graph.on_pixels);
        let bytes = graph.finish(weights, &[("egofx.about", plan.about.to_owned())])?.encode_to_vec();
        let file = PathBuf::from(format!("{name}.onnx"));
        let path = self.folder.join(&file);
        fs::write(&path, &bytes).and_then(|()| File::open(&path)?.sync_all()).map_err(ExportError::io(&path))?;
        let (_, sha256) = crate::digest::file(&path).map_err(ExportError::io(&path))?;
        Ok(Written { name, about: plan.about, file, sha256, inputs, outputs, golden, on_pixels })
    }

    /// Runs every graph and makes its card.
    fn validate(&self, made: Made, cards: &mut Vec<Card>) -> Result<(), ExportError> {
        for written in made.graphs {
            let card = self.card(made.precision, &made.weights, written);
            let card = self.validator.validate(self.folder, card, cards)?;
            log::info!("{}: {} outputs, written and run", card.name, card.outputs.len());
            self.validator.meter.done(0);
            cards.push(card);
        }
        Ok(())
    }

    fn card(&self, precision: GraphPrecision, weights: &(String, String), written: Written) -> Card {
        Card {
            about: format!("{}: {}", self.model.about, written.about),
            name: written.name,
            graph: written.file,
            sha256: written.sha256,
            weights: Some(weights.0.clone().into()),
            weights_sha256: Some(weights.1.clone()),
            licence: self.options.licence.clone(),
            checkpoint: self.checkpoint.name().to_owned(),
            checkpoint_sha256: self.sha256.to_owned(),
            random_weights: self.checkpoint.about().container == Container::Seeded,
            precision,
            measure: self.plan.measure,
            preprocessing: preprocessing(&written.inputs, written.on_pixels),
            inputs: written.inputs,
            outputs: written.outputs,
            accuracy: None,
            head: None,
            golden: written.golden,
        }
    }

    fn write_card(&self, card: &Card) -> Result<(), ExportError> {
        let text = toml::to_string(card)
            .map_err(|source| ExportError::Card { graph: card.name.clone(), source: Box::new(source) })?;
        let path = self.folder.join(format!("{}.toml", card.name));
        fs::write(&path, text).map_err(ExportError::io(path))
    }

    fn weights(&self, precision: GraphPrecision) -> Result<WeightFile<'_>, ExportError> {
        let float = (precision == GraphPrecision::Fp16).then_some(DataType::Float16);
        let name = format!("{}{}.weights", self.plan.stem, precision.suffix());
        WeightFile::create(self.checkpoint, float, self.folder, name)
    }
}

/// An input or output as a card has it.
pub(super) fn tensor(info: &ValueInfoProto) -> Tensor {
    let dtype = match onnx::element(info) {
        DataType::Uint8 => Element::Uint8,
        DataType::Int64 => Element::Int64,
        _ => Element::Float32,
    };
    Tensor { name: info.name().to_owned(), dtype, shape: onnx::shape(info) }
}

fn preprocessing(inputs: &[Tensor], on_pixels: &'static str) -> Preprocessing {
    let side = inputs.iter().find(|input| input.dtype == Element::Uint8).and_then(|input| match input.shape[2] {
        Dim::Fixed(side) => Some(side),
        Dim::Named(_) => None,
    });
    let (outside, inside) = match side {
        Some(side) => (format!("frames: short side to {side}, centre crop {side}x{side}, RGB"), on_pixels),
        None => ("none".into(), "none"),
    };
    let sentences = inputs.iter().any(|input| input.name == "ids");
    let outside = if sentences { format!("{outside}; sentences: `egofx tokenize`") } else { outside };
    Preprocessing { outside, inside: inside.to_owned() }
}
