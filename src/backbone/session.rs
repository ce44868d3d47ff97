//! A graph in ONNX Runtime: named tensors in, named tensors out.
//!
//! Not for what the tensors mean. Invariant: the provider that was asked for runs the graph or opening it fails; there is
//! no silent fall-back to the CPU.

use std::fs;
use std::path::{Path, PathBuf};

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{TensorRef, ValueType};

use super::bound::Buffers;
use super::feed::{Feed, Found, found};
use super::provider::{FrameShape, ProviderOptions, SessionOptions, provider_options};
use super::{BackboneError, Device, Provider, Runtime, retype};

/// ONNX Runtime's name for the folder of the weights of a graph that comes without one
/// (`kOrtSessionOptionsModelExternalInitializersFileFolderPath`).
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// ONNX Runtime's name for threads that wait for the next run asleep (`kOrtSessionOptionsConfigForceSpinningStop`).
const STOP_SPINNING: &str = "session.force_spinning_stop";

/// Up to so many threads sleep between operators too. More of them would wait for one another to wake up; few take from decoders what
/// they spin away: with two threads a quarter of the processor time of a small model's run, and nothing is lost with a large one.
const FEW_THREADS: usize = 4;

/// Names and values of outputs, flat, in the graph's order.
pub type Outputs = Vec<(String, Vec<f32>)>;

/// A loaded graph.
pub struct GraphSession {
    graph: PathBuf,
    /// Where inputs and outputs lie on their way to a GPU and back. Before the session, which has to outlive it.
    pinned: Option<Buffers>,
    session: Session,
    provider: Provider,
}

impl GraphSession {
    /// Loads `graph`.
    ///
    /// # Errors
    /// [`BackboneError::Device`] for a precision that the device lacks, [`BackboneError::Load`] if the provider or the
    /// graph cannot be had.
    pub fn open(runtime: &Runtime, graph: &Path, options: SessionOptions) -> Result<Self, BackboneError> {
        Self::open_for_frames(runtime, graph, options, None)
    }

    /// Loads `graph` for frames of that shape, if it is known beforehand.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_for_frames(
        runtime: &Runtime,
        graph: &Path,
        options: SessionOptions,
        shape: Option<&FrameShape>,
    ) -> Result<Self, BackboneError> {
        options.device.check_precision(options.precision)?;
        let loaded = builder(runtime, options, shape).and_then(|mut builder| builder.commit_from_file(graph));
        Self::opened(graph, options, loaded.map_err(|e| explain(&e.to_string(), options.device.provider)))
    }

    /// Loads `graph`, whose `uint8` input `input` takes `float32` of the same scale instead.
    ///
    /// # Errors
    /// As for [`open`](Self::open); [`BackboneError::Load`] also if the graph computes on `uint8`.
    pub fn open_for_floats(
        runtime: &Runtime,
        graph: &Path,
        input: &str,
        options: SessionOptions,
    ) -> Result<Self, BackboneError> {
        options.device.check_precision(options.precision)?;
        let mut bytes = fs::read(graph).map_err(|source| BackboneError::Io { path: graph.to_owned(), source })?;
        let loaded = retype::take_floats(&mut bytes, input).and_then(|()| {
            let loaded = builder(runtime, options, None).and_then(|builder| commit(builder, &bytes, graph));
            loaded.map_err(|e| explain(&e.to_string(), options.device.provider))
        });
        let explained = loaded.map_err(|why| {
            format!(
                "{why} (frames of this video are scaled in float32, which the graph has to take in place of uint8; the \
                 recipe's filters bilinear, bicubic and area round them)"
            )
        });
        Self::opened(graph, options, explained)
    }

    /// Loads the graph `bytes`, which `name` stands for in messages.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_bytes(
        runtime: &Runtime,
        bytes: &[u8],
        name: &Path,
        options: SessionOptions,
    ) -> Result<Self, BackboneError> {
        options.device.check_precision(options.precision)?;
        let loaded = builder(runtime, options, None).and_then(|mut builder| builder.commit_from_memory(bytes));
        Self::opened(name, options, loaded.map_err(|e| explain(&e.to_string(), options.device.provider)))
    }

    fn opened(graph: &Path, options: SessionOptions, loaded: Result<Session, String>) -> Result<Self, BackboneError> {
        let (graph, device) = (graph.to_owned(), options.device);
        match loaded {
            Ok(session) => Ok(Self { graph, pinned: pinned(&session, device), session, provider: device.provider }),
            Err(why) => Err(BackboneError::Load { graph, device: device.to_string(), why }),
        }
    }

    #[cfg(test)]
    pub(super) fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The graph's file.
    pub fn graph(&self) -> &Path {
        &self.graph
    }

    /// Names and types of the inputs and of the outputs.
    pub fn signature(&self) -> [Vec<(String, ValueType)>; 2] {
        [self.session.inputs(), self.session.outputs()]
            .map(|outlets| outlets.iter().map(|o| (o.name().to_owned(), o.dtype().clone())).collect())
    }

    /// All outputs for `feeds`.
    ///
    /// # Errors
    /// [`BackboneError::Run`] if ONNX Runtime cannot run the graph on them.
    pub fn run(&mut self, feeds: &[Feed]) -> Result<Outputs, BackboneError> {
        let graph = self.graph.display().to_string();
        run(&mut self.session, feeds).map_err(|e| BackboneError::Run { backbone: graph, why: e.to_string() })
    }

    /// The output `name` for `feeds`: its shape and values.
    ///
    /// # Errors
    /// As for [`run`](Self::run), and if there is no such output.
    pub fn run_one(&mut self, feeds: &[Feed], name: &str) -> Result<Found, BackboneError> {
        let [found] = self.run_some(feeds, [name])?;
        Ok(found)
    }

    fn run_some<const N: usize>(&mut self, feeds: &[Feed], names: [&str; N]) -> Result<[Found; N], BackboneError> {
        let ran = match &self.pinned {
            Some(buffers) => buffers.run(&mut self.session, feeds, names),
            None => run_some(&mut self.session, feeds, names),
        };
        ran.map_err(|e| BackboneError::Run { backbone: self.graph.display().to_string(), why: e.to_string() })
    }

    /// The output `name` for `feeds`, the first dimension of all of which is the batch's: its shape and values, in which a
    /// row has the bits that it has in any other batch.
    ///
    /// ONNX Runtime's CPU kernels take another path, with another order of sums, where a matrix has one row; a batch of one
    /// is therefore run twice over.
    ///
    /// # Errors
    /// As for [`run_one`](Self::run_one).
    pub fn run_rows(&mut self, feeds: &[Feed], name: &str) -> Result<Found, BackboneError> {
        let [found] = self.run_rows_of(feeds, [name])?;
        Ok(found)
    }

    /// The outputs `names`, each as [`run_rows`](Self::run_rows) gives it.
    ///
    /// # Errors
    /// As for [`run_one`](Self::run_one).
    pub fn run_rows_of<const N: usize>(
        &mut self,
        feeds: &[Feed],
        names: [&str; N],
    ) -> Result<[Found; N], BackboneError> {
        let is_alone = feeds.iter().all(|feed| feed.shape().first() == Some(&1));
        if self.provider != Provider::Cpu || !is_alone {
            return self.run_some(feeds, names);
        }
        let twice: Vec<Feed> = feeds.iter().map(Feed::twice).collect();
        let mut found = self.run_some(&twice, names)?;
        for (shape, values) in &mut found {
            values.truncate(values.len() / 2);
            if let Some(batch) = shape.first_mut() {
                *batch /= 2;
            }
        }
        Ok(found)
    }
}

/// Pinned memory for CUDA; without, its runs go by memory that the driver copies once more.
fn pinned(session: &Session, device: Device) -> Option<Buffers> {
    let made = (device.provider == Provider::Cuda).then(|| Buffers::pinned(session, device.ordinal))?;
    made.inspect_err(|error| log::warn!("no pinned memory on {device}: {error}")).ok()
}

fn run_some<const N: usize>(session: &mut Session, feeds: &[Feed], names: [&str; N]) -> ort::Result<[Found; N]> {
    let outputs = session.run(inputs(feeds)?)?;
    found(&outputs, names)
}

fn run(session: &mut Session, feeds: &[Feed]) -> ort::Result<Outputs> {
    let outputs = session.run(inputs(feeds)?)?;
    let values = |(name, value): (&str, ort::value::ValueRef<'_>)| {
        Ok((name.to_owned(), value.try_extract_tensor::<f32>()?.1.to_vec()))
    };
    outputs.iter().map(values).collect()
}

type Inputs<'f> = Vec<(&'f str, SessionInputValue<'f>)>;

fn inputs<'f>(feeds: &'f [Feed]) -> ort::Result<Inputs<'f>> {
    let tensor = |feed: &'f Feed| -> ort::Result<(&'f str, SessionInputValue<'f>)> {
        Ok(match feed {
            Feed::Bytes(name, values, shape) => {
                (*name, TensorRef::from_array_view((shape.as_slice(), values.as_ref()))?.into())
            }
            Feed::Ints(name, values, shape) => {
                (*name, TensorRef::from_array_view((shape.as_slice(), values.as_ref()))?.into())
            }
            Feed::Floats(name, values, shape) => {
                (*name, TensorRef::from_array_view((shape.as_slice(), values.as_ref()))?.into())
            }
        })
    };
    feeds.iter().map(tensor).collect()
}

/// How a graph is to be loaded.
fn builder(runtime: &Runtime, options: SessionOptions, shape: Option<&FrameShape>) -> ort::Result<SessionBuilder> {
    let mut builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_threads(options.threads)?
        .with_prepacking(options.rearrange)?
        .with_deterministic_compute(true)?;
    builder = if (1..=FEW_THREADS).contains(&options.threads) {
        builder.with_intra_op_spinning(false)?
    } else {
        builder.with_config_entry(STOP_SPINNING, "1")?
    };
    let told = provider_options(options, runtime.engines.as_deref(), shape);
    if let Some(provider) = dispatch(options, told) {
        builder = builder.with_execution_providers([provider.error_on_failure()])?;
    }
    // OpenVINO takes graphs whole. CUDA and TensorRT leave sums over shapes to the CPU, and are right to.
    if options.device.provider == Provider::OpenVino {
        builder = builder.with_disable_cpu_fallback()?;
    }
    Ok(builder)
}

/// Loads the graph `bytes`, whose weights lie where those of the file `graph` do.
fn commit(builder: SessionBuilder, bytes: &[u8], graph: &Path) -> ort::Result<Session> {
    let folder = graph.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    builder.with_config_entry(WEIGHTS_FOLDER, folder.to_string_lossy())?.commit_from_memory(bytes)
}

/// What the provider of the device is told, registered under its name; of the CPU's own, that a graph that is only tried
/// gives memory back as soon as a tensor is done with.
fn dispatch(options: SessionOptions, told: ProviderOptions) -> Option<ExecutionProviderDispatch> {
    fn with<P: ArbitrarilyConfigurableExecutionProvider>(provider: P, told: ProviderOptions) -> P {
        told.into_iter().fold(provider, |provider, (name, value)| provider.with_arbitrary_config(name, value))
    }
    match options.device.provider {
        Provider::Cpu => (!options.rearrange).then(|| ep::CPU::default().with_arena_allocator(false).build()),
        Provider::OpenVino => Some(with(ep::OpenVINO::default(), told).build()),
        Provider::Cuda => Some(with(ep::CUDA::default(), told).build()),
        Provider::TensorRt => Some(with(ep::TensorRT::default(), told).build()),
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
