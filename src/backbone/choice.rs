//! What `--device auto` goes by: which providers are tried, in which order, and what would be faster than the one that was taken.
//!
//! Not for trying them. Invariant: a provider stands before another one only where it was measured to be faster, or runs on a GPU.

use super::{Precision, Provider};

/// A machine, as far as it decides what is worth saying of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine {
    /// Whether its CPU multiplies in bfloat16.
    pub bf16: bool,
    /// Whether it has an NVIDIA GPU.
    pub gpu: bool,
}

impl Provider {
    /// The providers that are tried for `precision`, fastest first. The last one of fp32 and int8 is the CPU, which needs no trial.
    ///
    /// TensorRT stands nowhere for fp32: it builds an engine for minutes, and rounds products to TF32 unless its environment says
    /// otherwise. Graphs in int8 were measured on CPUs alone, and are the fastest in the CPU's own kernels unless bf16 joins in.
    pub fn by_speed(precision: Precision) -> &'static [Self] {
        match precision {
            Precision::Fp32 => &[Self::Cuda, Self::OpenVino, Self::Cpu],
            Precision::Bf16 => &[Self::TensorRt, Self::OpenVino],
            Precision::Fp16 => &[Self::TensorRt, Self::Cuda],
            Precision::Tf32 => &[Self::Cuda],
            Precision::Int8 => &[Self::Cpu],
        }
    }

    /// What brings it, in the words of a command.
    pub fn setup(self) -> &'static str {
        match self {
            Self::Cpu => "make setup",
            Self::OpenVino => "make setup-openvino, or pip install onnxruntime-openvino",
            Self::Cuda | Self::TensorRt => "make setup-gpu, or pip install onnxruntime-gpu",
        }
    }

    /// What would be faster in a new store than this one in fp32, which was taken although `has` says whose libraries are there.
    ///
    /// The figures are those of docs/book/src/appendix/benchmarks.md.
    pub fn faster(self, machine: Machine, has: impl Fn(Self) -> bool) -> Vec<String> {
        let setup = Self::OpenVino.setup();
        let openvino = match self {
            Self::Cuda | Self::TensorRt => return vec!["--precision tf32".to_owned()],
            Self::OpenVino if machine.bf16 => Some(format!("--precision bf16 ({BF16_GAIN})")),
            Self::Cpu if has(Self::OpenVino) => None,
            Self::Cpu if machine.bf16 => Some(format!("OpenVINO ({setup}) with --precision bf16 ({BF16_GAIN})")),
            Self::Cpu => Some(format!("OpenVINO (a few percent; {setup})")),
            Self::OpenVino => None,
        };
        let gpu = (machine.gpu && !has(Self::Cuda)).then(|| format!("this machine's GPU ({})", Self::Cuda.setup()));
        let int8 = "--precision int8 (2 to 3 times; graphs by egofx export --precision int8)".to_owned();
        gpu.into_iter().chain(openvino).chain([int8]).collect()
    }
}

/// What bf16 is worth on OpenVINO.
const BF16_GAIN: &str = "2 to 4 times as fast as fp32 on the CPU, cosine 0.99997";

/// The shared library that a loader's `words` say is not there.
pub fn missing_library(words: &str) -> Option<&str> {
    let (before, _) = words.split_once(": cannot open shared object file")?;
    before.rsplit(|c: char| c.is_whitespace() || c == '\'' || c == '"').next().filter(|name| name.contains(".so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_that_is_tried_computes_in_the_precision() {
        for name in ["fp32", "bf16", "fp16", "tf32", "int8"] {
            let precision: Precision = name.parse().unwrap();
            for provider in Provider::by_speed(precision) {
                let device = super::super::Device { provider: *provider, ordinal: 0 };
                assert!(device.check_precision(precision).is_ok(), "{name} on {}", provider.name());
            }
        }
        assert_eq!(Provider::by_speed(Precision::Fp32).last(), Some(&Provider::Cpu));
    }

    #[test]
    fn what_is_faster_depends_on_the_machine_and_on_what_is_there() {
        let words = |taken: Provider, bf16, gpu, here: &[Provider]| {
            taken.faster(Machine { bf16, gpu }, |provider| here.contains(&provider)).join("; ")
        };
        let bare = words(Provider::Cpu, false, false, &[]);
        assert!(bare.contains("OpenVINO (a few percent; make setup-openvino") && !bare.contains("bf16"), "{bare}");
        let served = words(Provider::Cpu, true, true, &[]);
        assert!(
            served.starts_with("this machine's GPU (make setup-gpu") && served.contains("--precision bf16 (2 to 4"),
            "{served}"
        );
        // It was tried, and something is wrong with it.
        let broken = words(Provider::Cpu, true, false, &[Provider::OpenVino]);
        assert!(broken.starts_with("--precision int8"), "{broken}");
        let openvino = words(Provider::OpenVino, true, true, &[Provider::OpenVino, Provider::Cuda]);
        assert!(openvino.starts_with("--precision bf16 (") && !openvino.contains("setup"), "{openvino}");
        assert_eq!(words(Provider::Cuda, true, true, &[Provider::Cuda]), "--precision tf32");
    }

    /// The words are ONNX Runtime's, on a machine without CUDA.
    #[test]
    fn a_library_that_a_provider_misses_is_named() {
        let words = "Failed to load library /r/gpu/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared \
                     object file: No such file or directory (the provider comes with `make setup-gpu`)";
        assert_eq!(missing_library(words), Some("libcublasLt.so.13"));
        assert_eq!(missing_library("no GPU"), None);
        assert_eq!(missing_library("x: cannot open shared object file"), None);
    }
}
