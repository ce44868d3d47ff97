//! Writing a graph: operators on named values, one call each.
//!
//! Not for what a model is made of (`layers`, `towers`), nor for weights' bytes: a graph names the weights it uses, and
//! `weights` puts them into a file afterwards. Invariant: the same calls give the same bytes.

use std::collections::BTreeMap;

use super::error::ExportError;
use super::onnx::{self, Attribute, DataType, Dim, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::weights::{Weight, WeightFile};
use crate::backbone::GraphPrecision;

/// A tensor of the graph that is being written, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// An optional input of an operator that is not given.
    pub fn absent() -> Self {
        Self(String::new())
    }
}

/// What kind of graph is wanted of a model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Variant {
    /// What is computed in which precision.
    pub precision: GraphPrecision,
    /// Frames come as floats that the caller has resized and normalised, and every inner state that has a name is an
    /// output: for comparing with the original code.
    pub debug: bool,
}

/// The lowest and highest number of each tensor that is quantized, by the tensor's name.
pub type Ranges = BTreeMap<String, (f32, f32)>;

/// Where a tensor may be clipped before it is quantized, over its largest magnitude: rare numbers that would make the
/// steps of all others coarse are worth less than they cost.
pub const CLIPS: [f32; 9] = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2];

/// What is known of the tensors that an int8 graph quantizes.
pub enum Calibration {
    /// Nothing. The graph is in single precision, and gives the lowest and highest number of each as outputs `min.<name>`
    /// and `max.<name>`.
    Nothing,
    /// Their extremes. The graph is in single precision, and gives for each the summed squared errors of quantizing it by
    /// each of [`CLIPS`], as an output `errors.<name>`.
    Extremes(Ranges),
    /// What to quantize by.
    Known(Ranges),
}

/// The part of `range` within `clip` times its largest magnitude, 0 always in it.
pub fn clipped((low, high): (f32, f32), clip: f32) -> (f32, f32) {
    let reach = clip * low.abs().max(high.abs());
    (low.max(-reach).min(0.0), high.min(reach).max(0.0))
}

/// The step of a range's 256 levels, and the level of 0.
fn steps((low, high): (f32, f32)) -> (f32, u8) {
    let step = if low == high { 1.0 } else { (high - low) / 255.0 };
    (step, (-low / step).round_ties_even().clamp(0.0, 255.0) as u8)
}

/// A graph that is being written.
pub struct Graph {
    /// What is wanted.
    pub variant: Variant,
    /// What it does to pixels, for its card.
    pub on_pixels: &'static str,
    calibration: Calibration,
    quantized: BTreeMap<String, Value>,
    scope: Vec<String>,
    made: BTreeMap<String, usize>,
    constants: BTreeMap<String, TensorProto>,
    weights: BTreeMap<String, Weight>,
    graph: GraphProto,
}

impl Graph {
    /// An empty graph; in 8-bit integers if that is wanted and the ranges to quantize by are known.
    pub fn new(name: &str, variant: Variant, calibration: Calibration) -> Self {
        Self {
            variant,
            on_pixels: "none",
            calibration,
            quantized: BTreeMap::new(),
            scope: Vec::new(),
            made: BTreeMap::new(),
            constants: BTreeMap::new(),
            weights: BTreeMap::new(),
            graph: GraphProto { name: Some(name.to_owned()), ..Default::default() },
        }
    }

    /// The element type that floating-point values have inside the graph.
    pub fn float_type(&self) -> DataType {
        if self.variant.precision == GraphPrecision::Fp16 { DataType::Float16 } else { DataType::Float }
    }

    /// Does `write` with `name` before the names of all nodes that it makes.
    pub fn scope<T>(&mut self, name: &str, write: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.to_owned());
        let result = write(self);
        self.scope.pop();
        result
    }

    /// An input of the graph.
    pub fn input(&mut self, name: &str, element: DataType, shape: &[Dim]) -> Value {
        self.graph.input.push(onnx::value_info(name, element, shape));
        Value(name.to_owned())
    }

    /// Makes `value` an output of the graph, single precision whatever that of the graph.
    pub fn output(&mut self, name: &str, value: &Value, shape: &[Dim]) {
        let to = Attribute::Int(DataType::Float as i64);
        let (kind, attributes): (_, &[_]) =
            if self.float_type() == DataType::Float { ("Identity", &[]) } else { ("Cast", &[("to", to)]) };
        self.node(kind, &[value], attributes, vec![name.to_owned()]);
        self.graph.output.push(onnx::value_info(name, DataType::Float, shape));
    }

    /// In a debug graph, makes `value` an output named `probe.<name>` of `rank` dynamic dimensions.
    pub fn probe(&mut self, name: &str, value: &Value, rank: usize) {
        if self.variant.debug {
            let name = format!("probe.{name}");
            let shape: Vec<Dim> = (0..rank).map(|i| Dim::Named(format!("{name}.{i}"))).collect();
            self.output(&name, value, &shape);
        }
    }

    /// A node with one output.
    pub fn op(&mut self, kind: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value {
        let name = self.fresh(kind);
        self.node(kind, inputs, attributes, vec![name.clone()]);
        Value(name)
    }

    /// A node with `N` outputs.
    pub fn ops<const N: usize>(
        &mut self,
        kind: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> [Value; N] {
        let name = self.fresh(kind);
        let names: [String; N] = std::array::from_fn(|i| format!("{name}.{i}"));
        self.node(kind, inputs, attributes, names.to_vec());
        names.map(Value)
    }

    /// Integers, one-dimensional.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(format!("ints {values:?}"), DataType::Int64, &[values.len()], raw)
    }

    /// One integer, without dimensions.
    pub fn int(&mut self, value: i64) -> Value {
        self.constant(format!("int {value}"), DataType::Int64, &[], value.to_le_bytes().to_vec())
    }

    /// One number in the graph's own float type, without dimensions.
    pub fn float(&mut self, value: f32) -> Value {
        self.floats(&format!("{value:e}"), &[], &[value])
    }

    /// Numbers in the graph's own float type. Equal names are equal numbers.
    pub fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> Value {
        if self.float_type() == DataType::Float {
            return self.singles(name, dims, values);
        }
        let raw = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
        self.constant(format!("half {name}"), DataType::Float16, dims, raw)
    }

    /// Numbers in single precision, whatever that of the graph.
    pub fn singles(&mut self, name: &str, dims: &[usize], values: &[f32]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(format!("float {name}"), DataType::Float, dims, raw)
    }

    /// Numbers in double precision.
    pub fn doubles(&mut self, name: &str, dims: &[usize], values: &[f64]) -> Value {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(format!("double {name}"), DataType::Double, dims, raw)
    }

    /// `value` in single precision.
    pub fn single(&mut self, value: &Value) -> Value {
        self.op("Cast", &[value], &[("to", Attribute::Int(DataType::Float as i64))])
    }

    /// A single-precision `value` in the graph's own float type.
    pub fn own(&mut self, value: &Value) -> Value {
        let own = self.float_type();
        if own == DataType::Float {
            return value.clone();
        }
        self.op("Cast", &[value], &[("to", Attribute::Int(own as i64))])
    }

    /// The lowest number of the graph's own float type: as good as minus infinity to a softmax, and no NaN where all are
    /// masked.
    pub fn lowest(&mut self) -> Value {
        self.float(if self.float_type() == DataType::Float { f32::MIN } else { half::f16::MIN.to_f32() })
    }

    /// Does `write` without 8-bit integers: small maps whose results are compared or added up.
    pub fn precisely<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        let precision = self.variant.precision;
        if precision == GraphPrecision::Int8 {
            self.variant.precision = GraphPrecision::Fp32;
        }
        let result = write(self);
        self.variant.precision = precision;
        result
    }

    /// A weight of the checkpoint.
    pub fn weight(&mut self, weight: Weight) -> Value {
        let name = weight.name();
        self.weights.insert(name.clone(), weight);
        Value(name)
    }

    /// `x` rounded to 256 steps of its range; or `x` itself, what tells the range given out, where none is known yet.
    pub fn quantized(&mut self, x: &Value) -> Value {
        if let Some(made) = self.quantized.get(&x.0) {
            return made.clone();
        }
        // A range that nobody found gives NaN, and with it a graph whose accuracy is refused.
        let of = |ranges: &Ranges| ranges.get(&x.0).copied().unwrap_or((f32::NAN, f32::NAN));
        let made = match &self.calibration {
            Calibration::Nothing => {
                self.range_outputs(x);
                x.clone()
            }
            Calibration::Extremes(ranges) => {
                let range = of(ranges);
                self.errors_output(x, range);
                x.clone()
            }
            Calibration::Known(ranges) => {
                let range = of(ranges);
                self.rounded(x, range)
            }
        };
        self.quantized.insert(x.0.clone(), made.clone());
        made
    }

    /// A matrix of the checkpoint, transposed; in an int8 graph it is kept in 8 bits.
    pub fn dequantized(&mut self, matrix: Weight) -> Value {
        if !matches!(self.calibration, Calibration::Known(_)) {
            return self.weight(matrix.transposed());
        }
        let (values, scales) = (self.weight(matrix.clone().int8()), self.weight(matrix.int8_scale()));
        self.op("DequantizeLinear", &[&values, &scales], &[("axis", Attribute::Int(1))])
    }

    /// The weights of a convolution; in an int8 graph they are kept in 8 bits.
    pub fn dequantized_filters(&mut self, filters: Weight) -> Value {
        if !matches!(self.calibration, Calibration::Known(_)) {
            return self.weight(filters);
        }
        let (values, scales) = (self.weight(filters.clone().int8_filters()), self.weight(filters.int8_scale()));
        self.op("DequantizeLinear", &[&values, &scales], &[("axis", Attribute::Int(0))])
    }

    fn range_outputs(&mut self, x: &Value) {
        for (kind, name) in [("ReduceMin", format!("min.{}", x.0)), ("ReduceMax", format!("max.{}", x.0))] {
            self.node(kind, &[x], &[("keepdims", Attribute::Int(0))], vec![name.clone()]);
            self.graph.output.push(onnx::value_info(&name, DataType::Float, &[]));
        }
    }

    /// All clips at once, each in a row of its own: few nodes, for loading them takes longer than running them.
    fn errors_output(&mut self, x: &Value, range: (f32, f32)) {
        let (steps, zeros): (Vec<f32>, Vec<u8>) = CLIPS.iter().map(|clip| steps(clipped(range, *clip))).unzip();
        let count = CLIPS.len();
        let (steps, name) = (self.singles(&format!("steps of {}", x.0), &[count], &steps), format!("errors.{}", x.0));
        let zeros = self.constant(format!("zeros of {}", x.0), DataType::Uint8, &[count], zeros);
        let (shape, axes, rows) = (
            self.ints(&[1, -1]),
            self.ints(&[1]),
            self.singles("a row for each clip", &[count, 1], &[0.0; CLIPS.len()]),
        );
        let flat = self.op("Reshape", &[x, &shape], &[]);
        let copies = self.op("Add", &[&flat, &rows], &[]);
        let axis = [("axis", Attribute::Int(0))];
        let bytes = self.op("QuantizeLinear", &[&copies, &steps, &zeros], &axis);
        let rounded = self.op("DequantizeLinear", &[&bytes, &steps, &zeros], &axis);
        let error = self.op("Sub", &[&flat, &rounded], &[]);
        self.node("ReduceSumSquare", &[&error, &axes], &[("keepdims", Attribute::Int(0))], vec![name.clone()]);
        self.graph.output.push(onnx::value_info(&name, DataType::Float, &[Dim::Fixed(count as u64)]));
    }

    fn rounded(&mut self, x: &Value, range: (f32, f32)) -> Value {
        let (step, zero) = steps(range);
        let step = self.float(step);
        let zero = self.constant(format!("byte {zero}"), DataType::Uint8, &[], vec![zero]);
        let bytes = self.op("QuantizeLinear", &[x, &step, &zero], &[]);
        self.op("DequantizeLinear", &[&bytes, &step, &zero], &[])
    }

    /// The finished file, its weights put into `file`.
    ///
    /// # Errors
    /// If a weight cannot be read or is not finite.
    pub fn finish(mut self, file: &mut WeightFile, facts: &[(&str, String)]) -> Result<ModelProto, ExportError> {
        // Weights are converted before anything reads them.
        let nodes = std::mem::take(&mut self.graph.node);
        for weight in std::mem::take(&mut self.weights).values() {
            let tensor = file.place(weight)?;
            self.initializer(tensor);
        }
        self.graph.node.extend(nodes);
        self.graph.initializer.extend(self.constants.into_values());
        Ok(onnx::model(self.graph, &[("", onnx::OPSET)], facts))
    }

    /// Inputs and outputs, for the card.
    pub fn signature(&self) -> (&[ValueInfoProto], &[ValueInfoProto]) {
        (&self.graph.input, &self.graph.output)
    }

    /// Adds a weight; one that the checkpoint has in another float type is kept so and converted when the graph is loaded.
    fn initializer(&mut self, mut tensor: TensorProto) {
        let stored = DataType::try_from(tensor.data_type()).expect("weights are written with a type of ONNX's");
        if matches!(stored, DataType::Float16 | DataType::Bfloat16) && stored != self.float_type() {
            let name = tensor.name().to_owned();
            let kept = Value(format!("{name}.stored"));
            tensor.name = Some(kept.0.clone());
            let to = Attribute::Int(self.float_type() as i64);
            self.node("Cast", &[&kept], &[("to", to)], vec![name]);
        }
        self.graph.initializer.push(tensor);
    }

    fn constant(&mut self, name: String, element: DataType, dims: &[usize], raw: Vec<u8>) -> Value {
        self.constants.entry(name.clone()).or_insert_with(|| onnx::constant(&name, element, dims, raw));
        Value(name)
    }

    fn fresh(&mut self, kind: &str) -> String {
        let stem = self.scope.iter().map(String::as_str).chain([kind]).collect::<Vec<_>>().join("/");
        let count = self.made.entry(stem.clone()).or_default();
        *count += 1;
        if *count == 1 { stem } else { format!("{stem}_{count}") }
    }

    fn node(&mut self, kind: &str, inputs: &[&Value], attributes: &[(&str, Attribute)], output: Vec<String>) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            name: Some(output[0].clone()),
            output,
            op_type: Some(kind.to_owned()),
            attribute: attributes.iter().map(|(name, value)| onnx::attribute(name, value)).collect(),
            ..Default::default()
        });
    }
}
