//! ONNX Runtime's shared library: found, checked and loaded once per process.
//!
//! It is loaded at run time so that one binary serves CPU and GPU machines. Not for models. Invariant: a library that is
//! missing or too old is an error with a remedy, never a panic inside `ort`.

use std::path::{Path, PathBuf};

use ort::environment::Environment;

use super::{BackboneError, Provider};

/// The oldest minor version of ONNX Runtime that has the API we compile against (`api-24`).
const OLDEST_MINOR: u32 = 24;

/// Where to look for `libonnxruntime.so`.
#[derive(Debug, Clone, Default)]
pub struct LibrarySearch {
    /// What the user named; nothing else is tried then.
    pub explicit: Option<PathBuf>,
    /// Folders that hold a `.runtime/` (the executable's, its parents, the working folder).
    pub bases: Vec<PathBuf>,
    /// `site-packages` folders of the active Python environment.
    pub site_packages: Vec<PathBuf>,
}

impl LibrarySearch {
    /// The library for `provider`: the explicit one, else the first that exists of `.runtime/<kind>/`, the folder itself
    /// and the active Python environment.
    pub fn find(&self, provider: Provider) -> Option<PathBuf> {
        if self.explicit.is_some() {
            return self.explicit.clone();
        }
        self.folders(provider).iter().find_map(|folder| library_in(folder))
    }

    /// Every folder that [`find`](Self::find) looks at, in order.
    pub fn folders(&self, provider: Provider) -> Vec<PathBuf> {
        let kinds: &[&str] = match provider {
            Provider::Cpu => &["ort", "gpu"],
            Provider::OpenVino => &["openvino"],
            Provider::Cuda | Provider::TensorRt => &["gpu"],
        };
        let runtime = |base: &PathBuf| kinds.iter().map(|kind| base.join(".runtime").join(kind)).collect::<Vec<_>>();
        let mut folders: Vec<PathBuf> = self.bases.iter().flat_map(runtime).collect();
        folders.extend(self.bases.iter().cloned());
        folders.extend(self.site_packages.iter().map(|site| site.join("onnxruntime/capi")));
        folders
    }
}

/// The versioned library in `folder`, the newest name if there are several.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let is_library = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so")) && path.is_file()
    };
    entries.map(|entry| entry.path()).filter(is_library).max()
}

/// ONNX Runtime, loaded. One per process; clones are the same one.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(super) environment: Environment,
    /// The library's file.
    pub library: PathBuf,
    /// Its version, `1.31` for instance.
    pub version: String,
}

impl Runtime {
    /// Loads the library for `provider`.
    ///
    /// # Errors
    /// [`BackboneError::Library`] if there is none, if it is no ONNX Runtime, or if it is older than 1.24.
    pub fn load(search: &LibrarySearch, provider: Provider) -> Result<Self, BackboneError> {
        let remedy = remedy(provider);
        let fail = |why: String| BackboneError::Library { why, remedy: remedy.to_owned() };
        let library = search.find(provider).ok_or_else(|| {
            let folders: Vec<String> = search.folders(provider).iter().map(|f| f.display().to_string()).collect();
            fail(format!("no libonnxruntime.so for device {} in {}", provider.name(), folders.join(", ")))
        })?;
        let minor = Self::probe(&library).map_err(&fail)?;
        if matches!(provider, Provider::Cuda | Provider::TensorRt) {
            preload_cuda(&search.site_packages);
        }
        let shown = library.display();
        let builder = ort::init_from(&library).map_err(|e| fail(format!("{shown}: {e}")))?;
        let environment =
            builder.with_name("egofx").with_telemetry(false).build().map_err(|e| fail(format!("{shown}: {e}")))?;
        Ok(Self { environment, version: format!("1.{minor}"), library })
    }

    /// The minor version of the library at `path`, if it is an ONNX Runtime that we can use; else why not.
    ///
    /// # Errors
    /// What the loader said, as text.
    pub fn probe(path: &Path) -> Result<u32, String> {
        if !path.is_file() {
            return Err(format!("{} is not a file", path.display()));
        }
        match ort::util::probe(path) {
            None => Err(format!("{} is not an ONNX Runtime library that loads here", path.display())),
            Some(minor) if minor < OLDEST_MINOR => {
                Err(format!("{} is version 1.{minor}, at least 1.{OLDEST_MINOR} is needed", path.display()))
            }
            Some(minor) => Ok(minor),
        }
    }
}

/// CUDA's libraries in the order in which they need one another, as NVIDIA's Python packages lay them out.
const CUDA_LIBRARIES: &[&str] = &[
    "cu13/lib/libcudart.so.13",
    "cu13/lib/libcublasLt.so.13",
    "cu13/lib/libcublas.so.13",
    "cu13/lib/libcurand.so.10",
    "cudnn/lib/libcudnn.so.9",
];

/// Loads CUDA's libraries from the active Python environment, where PyTorch brings them along. What is not there is left to
/// the loader's own search; the provider says what it misses in the end.
fn preload_cuda(site_packages: &[PathBuf]) {
    let paths =
        site_packages.iter().flat_map(|site| CUDA_LIBRARIES.iter().map(move |name| site.join("nvidia").join(name)));
    for path in paths.filter(|path| path.exists()) {
        match ort::util::preload_dylib(&path) {
            Ok(()) => log::info!("preloaded {}", path.display()),
            Err(error) => log::warn!("{}: {error}", path.display()),
        }
    }
}

/// The command that installs what `provider` needs.
fn remedy(provider: Provider) -> &'static str {
    match provider {
        Provider::Cpu => "run `make setup`, or name the library with --ort-lib or ORT_DYLIB_PATH",
        Provider::OpenVino => "run `make setup-openvino`, or name the library with --ort-lib",
        Provider::Cuda | Provider::TensorRt => "run `make setup-gpu`, or name the library with --ort-lib",
    }
}
