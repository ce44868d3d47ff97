//! Running a graph from and to buffers of a chosen memory: pinned ones are copied to a GPU without a detour, and while it computes.
//!
//! Not for deciding when that is worth it. Invariant: values are those of a plain run.

use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::IoBinding;
use ort::session::Session;
use ort::value::{PrimitiveTensorElementType, Tensor};

use super::feed::{Feed, Found, found};

/// A memory in which inputs and outputs lie. ONNX Runtime keeps what was once allocated, so that a batch costs no allocation.
pub(super) struct Buffers(Allocator);

impl Buffers {
    /// Memory of the host that the GPU `ordinal` reads by itself.
    pub(super) fn pinned(session: &Session, ordinal: u32) -> ort::Result<Self> {
        Self::of(session, AllocationDevice::CUDA_PINNED, ordinal)
    }

    fn of(session: &Session, device: AllocationDevice<'static>, ordinal: u32) -> ort::Result<Self> {
        let memory = MemoryInfo::new(device, ordinal as i32, AllocatorType::Device, MemoryType::CPUInput)?;
        Ok(Self(Allocator::new(session, memory)?))
    }

    /// The outputs `names` for `feeds`: their shapes and values.
    pub(super) fn run<const N: usize>(
        &self,
        session: &mut Session,
        feeds: &[Feed],
        names: [&str; N],
    ) -> ort::Result<[Found; N]> {
        let mut binding = session.create_binding()?;
        for feed in feeds {
            match feed {
                Feed::Bytes(name, values, shape) => self.bind(&mut binding, name, values, shape)?,
                Feed::Ints(name, values, shape) => self.bind(&mut binding, name, values, shape)?,
                Feed::Floats(name, values, shape) => self.bind(&mut binding, name, values, shape)?,
            }
        }
        for name in names {
            binding.bind_output_to_device(name, self.0.memory_info())?;
        }
        found(&session.run_binding(&binding)?, names)
    }

    fn bind<T>(&self, binding: &mut IoBinding, name: &str, values: &[T], shape: &[usize]) -> ort::Result<()>
    where
        T: PrimitiveTensorElementType + std::fmt::Debug + Copy + 'static,
    {
        let mut tensor = Tensor::<T>::new(&self.0, shape.to_vec())?;
        tensor.extract_tensor_mut().1.copy_from_slice(values);
        binding.bind_input(name, &tensor)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Card, Device, GraphSession, LibrarySearch, Precision, Provider, Runtime, SessionOptions};
    use super::*;

    /// The memory is the host's usual one here: pinned memory needs a GPU.
    #[test]
    fn a_run_between_buffers_gives_the_values_of_a_plain_run() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let search = LibrarySearch { explicit: None, bases: vec![root.to_owned()] };
        let runtime = Runtime::load(&search, Provider::Cpu).unwrap();
        let device = Device { provider: Provider::Cpu, ordinal: 0 };
        let options = SessionOptions { device, precision: Precision::Fp32, threads: 1, rearrange: true };
        let card = Card::read(&root.join("onnx"), "tiny").unwrap();
        let mut graph = GraphSession::open(&runtime, &card.graph_path(&root.join("onnx")), options).unwrap();
        for turn in 0..3 {
            let feeds = card.golden.feeds(&card.inputs, turn);
            let plain = graph.run_one(&feeds, "embedding").unwrap();
            let session = graph.session_mut();
            let buffers = Buffers::of(session, AllocationDevice::CPU, 0).unwrap();
            assert_eq!(buffers.run(session, &feeds, ["embedding"]).unwrap(), [plain]);
            assert!(buffers.run(session, &feeds, ["absent"]).is_err());
        }
        assert!(Buffers::pinned(graph.session_mut(), 0).is_err(), "only a GPU's provider has pinned memory");
    }
}
