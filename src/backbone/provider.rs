//! What a provider of ONNX Runtime is told: options by their names in ONNX Runtime's documentation, as texts.
//!
//! Not for registering it. Invariant: nothing is left to a default that changes a value.

use std::path::Path;

use super::{Device, Precision, Provider};

/// How a graph is loaded.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    /// Where it runs.
    pub device: Device,
    /// In which arithmetic, where the device has a choice.
    pub precision: Precision,
    /// Threads where the CPU computes.
    pub threads: usize,
    /// Whether weights are rearranged for speed, which takes their size in memory once more, and memory is kept for the next
    /// run: not for a graph that is only tried.
    pub rearrange: bool,
}

/// Names and values.
pub(super) type ProviderOptions = Vec<(&'static str, String)>;

/// The frames that a graph will be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameShape {
    /// The graph's name for them.
    pub input: String,
    /// Windows at once, at most.
    pub windows: usize,
    /// Frames of a window.
    pub frames: usize,
    /// Pixels.
    pub height: u32,
    /// Pixels.
    pub width: u32,
}

/// What the provider of `options` is told. TensorRT keeps what it builds in the folder `engines`, if there is one, and builds for
/// batches of any size that `shape` says; without it, anew for each size that is larger or smaller than those before.
pub(super) fn provider_options(
    options: SessionOptions,
    engines: Option<&Path>,
    shape: Option<&FrameShape>,
) -> ProviderOptions {
    let SessionOptions { device, precision, threads, .. } = options;
    let is = |wanted| if precision == wanted { "1" } else { "0" }.to_owned();
    match device.provider {
        Provider::Cpu => Vec::new(),
        Provider::OpenVino => {
            // OpenVINO computes in bf16 by itself where the CPU can, so fp32 is asked for by name too.
            let hint = if precision.on_device(device.provider) == Precision::Bf16 { "bf16" } else { "f32" };
            let config = format!(r#"{{"CPU": {{"INFERENCE_PRECISION_HINT": "{hint}"}}}}"#);
            vec![("device_type", "CPU".to_owned()), ("num_of_threads", threads.to_string()), ("load_config", config)]
        }
        Provider::Cuda => vec![("device_id", device.ordinal.to_string()), ("use_tf32", is(Precision::Tf32))],
        Provider::TensorRt => {
            let own = [
                ("device_id", device.ordinal.to_string()),
                ("trt_fp16_enable", is(Precision::Fp16)),
                ("trt_bf16_enable", is(Precision::Bf16)),
            ];
            let caches = engines.map(caches).into_iter().flatten();
            own.into_iter().chain(caches).chain(shape.map(shapes).into_iter().flatten()).collect()
        }
    }
}

/// Engines are found again by graph, GPU and precision; what was timed serves other engines too.
fn caches(folder: &Path) -> ProviderOptions {
    let folder = folder.display().to_string();
    vec![
        ("trt_engine_cache_enable", "1".to_owned()),
        ("trt_engine_cache_path", folder.clone()),
        ("trt_timing_cache_enable", "1".to_owned()),
        ("trt_timing_cache_path", folder),
    ]
}

/// The smallest input, the largest, and the one that counts.
fn shapes(FrameShape { input, windows, frames, height, width }: &FrameShape) -> ProviderOptions {
    let of = |batch: usize| format!("{input}:{batch}x{frames}x{height}x{width}x3");
    vec![
        ("trt_profile_min_shapes", of(1)),
        ("trt_profile_opt_shapes", of(*windows)),
        ("trt_profile_max_shapes", of(*windows)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(device: &str, precision: &str) -> String {
        let device: Device = device.parse().unwrap();
        let options = SessionOptions { device, precision: precision.parse().unwrap(), threads: 3, rearrange: true };
        let shape = FrameShape { input: "frames".into(), windows: 32, frames: 4, height: 256, width: 256 };
        let told = provider_options(options, Some(Path::new("/c")), Some(&shape));
        told.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_provider_is_told_its_precision() {
        assert_eq!(told("cpu", "fp32"), "");
        assert_eq!(
            told("openvino", "fp32"),
            r#"device_type=CPU num_of_threads=3 load_config={"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}"#
        );
        assert!(told("openvino", "bf16").ends_with(r#""bf16"}}"#));
        assert_eq!(told("cuda:1", "fp32"), "device_id=1 use_tf32=0");
        assert_eq!(told("cuda", "tf32"), "device_id=0 use_tf32=1");
        assert_eq!(told("cuda", "fp16"), "device_id=0 use_tf32=0", "its graph computes in fp16");
    }

    #[test]
    fn tensorrt_is_told_where_engines_are_kept_and_for_which_batches_they_are() {
        assert_eq!(
            told("tensorrt:2", "fp16"),
            "device_id=2 trt_fp16_enable=1 trt_bf16_enable=0 trt_engine_cache_enable=1 trt_engine_cache_path=/c \
             trt_timing_cache_enable=1 trt_timing_cache_path=/c trt_profile_min_shapes=frames:1x4x256x256x3 \
             trt_profile_opt_shapes=frames:32x4x256x256x3 trt_profile_max_shapes=frames:32x4x256x256x3"
        );
    }
}
