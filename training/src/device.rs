//! Where tensors live: the CPU, or an NVIDIA GPU if libtorch can use one; and how they get there.
//!
//! Not for work on them. CUDA is looked for once, before anything is seeded: libtorch does not look again.

use std::fmt;
use std::str::FromStr;

use tch::{Device, Tensor};

use crate::native;

/// What a person asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first GPU if there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// That GPU and nothing else.
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("expected auto, cpu, cuda or cuda:N, found {text:?}");
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(Self::Cuda).ok_or_else(unknown),
        }
    }
}

/// A GPU that was asked for and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--device cuda:{asked}: {why}")]
pub struct DeviceError {
    asked: usize,
    why: String,
}

/// The device of a run, and why it is not a GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The device.
    pub device: Device,
    /// Why a GPU that was looked for was not taken.
    pub fallback: Option<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.device {
            Device::Cuda(number) => write!(f, "cuda:{number}"),
            _ => write!(f, "cpu"),
        }?;
        self.fallback.iter().try_for_each(|why| write!(f, " (no GPU: {why})"))
    }
}

/// Looks for what was asked.
///
/// # Errors
/// A GPU was asked for by name and is not there; the message says what is missing.
pub fn find(choice: Choice) -> Result<Found, DeviceError> {
    let on_gpu = |number| Found { device: Device::Cuda(number), fallback: None };
    match choice {
        Choice::Cpu => Ok(Found { device: Device::Cpu, fallback: None }),
        Choice::Auto => Ok(match gpus() {
            Ok(_) => on_gpu(0),
            Err(why) => Found { device: Device::Cpu, fallback: Some(why) },
        }),
        Choice::Cuda(asked) => match gpus() {
            Ok(count) if asked < count => Ok(on_gpu(asked)),
            Ok(count) => Err(DeviceError { asked, why: format!("there are {count} GPUs, numbered from 0") }),
            Err(why) => Err(DeviceError { asked, why }),
        },
    }
}

/// How many GPUs libtorch can use, at least one.
fn gpus() -> Result<usize, String> {
    native::load_cuda().map_err(|error| error.to_string())?;
    match usize::try_from(tch::Cuda::device_count()) {
        Ok(count) if count > 0 && tch::Cuda::is_available() => Ok(count),
        _ => Err("libtorch's CUDA half is loaded and finds no device".to_owned()),
    }
}

/// A tensor of the CPU's in memory that a GPU reads while the CPU goes on, as by PyTorch's `DataLoader(pin_memory=True)`; for
/// another device the tensor itself, and where libtorch cannot pin it as well.
pub fn pinned(tensor: Tensor, device: Device) -> Tensor {
    if device.is_cuda() { native::pin_memory(&tensor).unwrap_or(tensor) } else { tensor }
}

/// A tensor on a device. What comes out of [`pinned`] is not waited for: what computes with it there comes after.
pub fn sent(tensor: &Tensor, device: Device) -> Tensor {
    tensor.to_device_(device, tensor.kind(), true, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_gets_to_a_gpu_by_pinned_memory_and_what_cannot_be_pinned_stays_as_it_is() {
        let device = find(Choice::Auto).unwrap().device;
        for wanted in [device, Device::Cuda(0)] {
            let made = Tensor::from_slice(&[1f32, 2.0, 3.0]);
            let place = made.data_ptr();
            let pinned = pinned(made, wanted);
            assert_eq!(pinned.data_ptr() != place, device.is_cuda(), "{wanted:?}");
            assert!(!device.is_cuda() || pinned.is_pinned(device));
            let sent = sent(&pinned, device);
            assert_eq!((sent.device(), Vec::<f32>::try_from(sent).unwrap()), (device, vec![1.0, 2.0, 3.0]));
        }
    }

    #[test]
    fn choices_are_read_and_anything_else_is_an_error_that_lists_them() {
        let choices = ["auto", "cpu", "cuda", "cuda:3"].map(|text| text.parse::<Choice>().unwrap());
        assert_eq!(choices, [Choice::Auto, Choice::Cpu, Choice::Cuda(0), Choice::Cuda(3)]);
        let text = "gpu".parse::<Choice>().unwrap_err();
        assert_eq!(text, "expected auto, cpu, cuda or cuda:N, found \"gpu\"");
    }

    /// On a machine with a GPU this finds it; on any other it must say why it did not.
    #[test]
    fn without_a_gpu_auto_falls_back_with_a_reason_and_cuda_is_an_error() {
        let found = find(Choice::Auto).unwrap();
        match found.device {
            Device::Cpu => {
                assert!(found.to_string().starts_with("cpu (no GPU: lib"), "{found}");
                let error = find(Choice::Cuda(0)).unwrap_err().to_string();
                assert!(error.starts_with("--device cuda:0: lib"), "{error}");
            }
            _ => assert_eq!(found.fallback, None),
        }
        assert_eq!(find(Choice::Cpu).unwrap().to_string(), "cpu");
    }
}
