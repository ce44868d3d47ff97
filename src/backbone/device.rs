//! Devices and precisions, as users name them.
//!
//! Not for loading anything. Invariant: a device names the provider that must run the model; no other one may step in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::BackboneError;

/// The execution provider of ONNX Runtime that runs a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// ONNX Runtime's own CPU kernels: the reference, bit for bit reproducible.
    Cpu,
    /// Intel's OpenVINO on the CPU, from the `onnxruntime-openvino` wheel.
    OpenVino,
    /// CUDA, from the `onnxruntime-gpu` wheel.
    Cuda,
    /// TensorRT, from the `onnxruntime-gpu` wheel and NVIDIA's TensorRT libraries.
    TensorRt,
}

const PROVIDERS: &[(&str, Provider)] = &[
    ("cpu", Provider::Cpu),
    ("openvino", Provider::OpenVino),
    ("cuda", Provider::Cuda),
    ("tensorrt", Provider::TensorRt),
];

/// Where a model runs: a provider, and which GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The provider.
    pub provider: Provider,
    /// The GPU's number; 0 elsewhere.
    pub ordinal: u32,
}

/// What `--device` may be: a device, or the fastest one at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceOption {
    /// Whatever is fastest here and keeps fp32's rows, decided once for a store.
    Auto,
    /// This one and no other.
    Named(Device),
}

/// What stands for [`DeviceOption::Auto`].
const AUTO: &str = "auto";

/// Arithmetic inside the model. Part of a store's contract, because it changes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Single precision throughout.
    Fp32,
    /// Matrix products in bfloat16 (OpenVINO: 2.4 times faster than the CPU provider, cosine 0.99997).
    Bf16,
    /// Half precision, as it is written into graphs of their own (`egofx export --precision fp16`), for GPUs.
    Fp16,
    /// Matrix products in TensorFloat-32 (CUDA).
    Tf32,
    /// 8-bit integers, as they are written into graphs of their own (`egofx export --precision int8`).
    Int8,
}

/// What a graph computes in, whatever runs it; what a device is asked for is a [`Precision`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GraphPrecision {
    /// Single precision.
    #[default]
    Fp32,
    /// Half precision, pixels and results apart.
    Fp16,
    /// Products of tokens and weight matrices in 8-bit integers: tokens by one range that was found on sample inputs,
    /// matrices by one scale a column.
    Int8,
}

impl GraphPrecision {
    /// The name that cards and users write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
        }
    }

    /// What the names of its graphs end with.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Fp32 => "",
            Self::Fp16 => "_fp16",
            Self::Int8 => "_int8",
        }
    }
}

const PRECISIONS: &[(&str, Precision)] = &[
    ("fp32", Precision::Fp32),
    ("bf16", Precision::Bf16),
    ("fp16", Precision::Fp16),
    ("tf32", Precision::Tf32),
    ("int8", Precision::Int8),
];

impl Provider {
    /// The name that users write.
    pub fn name(self) -> &'static str {
        name_of(PROVIDERS, self)
    }

    /// The precisions that the provider offers; int8 is written into graphs, and runs on all.
    pub fn precisions(self) -> &'static [Precision] {
        match self {
            Provider::Cpu => &[Precision::Fp32],
            Provider::OpenVino => &[Precision::Fp32, Precision::Bf16],
            Provider::Cuda => &[Precision::Fp32, Precision::Tf32, Precision::Fp16],
            Provider::TensorRt => &[Precision::Fp32, Precision::Fp16, Precision::Bf16],
        }
    }
}

impl Device {
    /// An error unless the device computes in `precision`.
    ///
    /// # Errors
    /// [`BackboneError::Device`] for a precision that the provider does not compute in.
    pub fn check_precision(self, precision: Precision) -> Result<(), BackboneError> {
        let offered = self.provider.precisions();
        if offered.contains(&precision.on_device(self.provider)) {
            return Ok(());
        }
        let offered: Vec<&str> = offered.iter().map(|p| p.name()).collect();
        let (device, offered) = (self.provider.name(), offered.join(", "));
        Err(BackboneError::Device(format!("device {device} offers precision {offered}, not {}", precision.name())))
    }
}

impl Precision {
    /// The name that users write.
    pub fn name(self) -> &'static str {
        name_of(PRECISIONS, self)
    }

    /// The arithmetic that is asked of a provider: int8 is written into the graph, and what it leaves is fp32, or bf16 on
    /// OpenVINO where the processor computes in it.
    pub(super) fn on_device(self, provider: Provider) -> Self {
        match self {
            Self::Int8 if provider == Provider::OpenVino && is_x86_feature_detected!("avx512bf16") => Self::Bf16,
            Self::Int8 => Self::Fp32,
            other => other,
        }
    }

    /// The graph that is run in place of `graph`: for fp16 and int8 the one that was exported beside it.
    pub fn graph(self, graph: &str) -> String {
        let suffix = match self {
            Self::Fp16 => GraphPrecision::Fp16.suffix(),
            Self::Int8 => GraphPrecision::Int8.suffix(),
            Self::Fp32 | Self::Bf16 | Self::Tf32 => "",
        };
        if graph.ends_with(suffix) { graph.to_owned() } else { format!("{graph}{suffix}") }
    }
}

fn name_of<T: PartialEq + Copy>(table: &[(&'static str, T)], value: T) -> &'static str {
    let (name, _) = table.iter().find(|(_, v)| *v == value).expect("the table names every value");
    name
}

fn parse<T: Copy>(table: &[(&str, T)], what: &str, text: &str) -> Result<T, BackboneError> {
    let found = table.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    found.ok_or_else(|| BackboneError::Device(format!("unknown {what} {text:?} (known: {})", known.join(", "))))
}

impl FromStr for Device {
    type Err = BackboneError;

    fn from_str(text: &str) -> Result<Self, BackboneError> {
        let (name, ordinal) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let provider = parse(PROVIDERS, "device", name)?;
        let numbered = matches!(provider, Provider::Cuda | Provider::TensorRt);
        let ordinal = match ordinal {
            None => 0,
            Some(number) if numbered => number
                .parse()
                .map_err(|_| BackboneError::Device(format!("device {text:?}: {number:?} is not a GPU's number")))?,
            Some(_) => return Err(BackboneError::Device(format!("device {text:?}: only GPUs are numbered"))),
        };
        Ok(Self { provider, ordinal })
    }
}

impl FromStr for DeviceOption {
    type Err = BackboneError;

    fn from_str(text: &str) -> Result<Self, BackboneError> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        let unknown = |error: BackboneError| match error {
            BackboneError::Device(why) => BackboneError::Device(why.replace("(known: ", "(known: auto, ")),
            error => error,
        };
        text.parse().map(Self::Named).map_err(unknown)
    }
}

impl FromStr for Precision {
    type Err = BackboneError;

    fn from_str(text: &str) -> Result<Self, BackboneError> {
        parse(PRECISIONS, "precision", text)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.provider {
            Provider::Cuda | Provider::TensorRt => write!(f, "{}:{}", self.provider.name(), self.ordinal),
            _ => f.write_str(self.provider.name()),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_users_write_them() {
        for (text, shown) in
            [("cpu", "cpu"), ("openvino", "openvino"), ("cuda", "cuda:0"), ("tensorrt:3", "tensorrt:3")]
        {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), shown);
        }
        assert_eq!("auto".parse::<DeviceOption>().unwrap(), DeviceOption::Auto);
        assert!(matches!("cuda:1".parse().unwrap(), DeviceOption::Named(Device { ordinal: 1, .. })));
        for bad in ["gpu", "cuda:x", "cpu:1", "", "CUDA"] {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
        assert!("gpu".parse::<Device>().unwrap_err().to_string().contains("cpu, openvino, cuda, tensorrt"));
    }

    #[test]
    fn int8_and_fp16_have_graphs_of_their_own() {
        let of = |precision: &str, graph| precision.parse::<Precision>().unwrap().graph(graph);
        assert_eq!(of("int8", "egovlp_video"), "egovlp_video_int8");
        assert_eq!(of("int8", "egovlp_video_int8"), "egovlp_video_int8");
        assert_eq!(of("fp16", "egovlp_video"), "egovlp_video_fp16");
        assert_eq!(of("bf16", "egovlp_video"), "egovlp_video");
    }

    #[test]
    fn a_precision_that_the_provider_lacks_is_an_error_that_lists_what_it_has() {
        let refused = "cpu".parse::<Device>().unwrap().check_precision(Precision::Bf16).unwrap_err();
        assert_eq!(refused.to_string(), "device cpu offers precision fp32, not bf16");
        assert!("openvino".parse::<Device>().unwrap().check_precision(Precision::Bf16).is_ok());
    }
}
