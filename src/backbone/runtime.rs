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
    /// Folders that may hold a `.runtime/`, the package `onnxruntime`, or the library itself.
    pub bases: Vec<PathBuf>,
}

impl LibrarySearch {
    /// The library for `provider`: the explicit one, else the first that exists of `.runtime/<kind>/`, the folder itself and the
    /// Python package in it, for each base in turn.
    pub fn find(&self, provider: Provider) -> Option<PathBuf> {
        if self.explicit.is_some() {
            return self.explicit.clone();
        }
        self.bases.iter().find_map(|base| {
            let packaged = || library_in(&base.join(PACKAGE), package_version(base, provider).as_deref());
            folders(base, provider).iter().find_map(|folder| library_in(folder, None)).or_else(packaged)
        })
    }

    /// The providers whose libraries lie beside the ONNX Runtime that is found for `provider`, the CPU's own first.
    pub fn providers(&self, provider: Provider) -> Vec<Provider> {
        let Some(library) = self.find(provider) else { return Vec::new() };
        let beside = |provider: &Provider| {
            library.with_file_name(format!("libonnxruntime_providers_{}.so", provider.name())).exists()
        };
        let shared = [Provider::OpenVino, Provider::Cuda, Provider::TensorRt].into_iter().filter(beside);
        std::iter::once(Provider::Cpu).chain(shared).collect()
    }

    /// Whether what `provider` needs of ONNX Runtime is there. Whether it works is another question.
    pub fn has(&self, provider: Provider) -> bool {
        self.providers(provider).contains(&provider)
    }

    /// Every folder that [`find`](Self::find) looks at, in order.
    pub fn folders(&self, provider: Provider) -> Vec<PathBuf> {
        let of = |base: &PathBuf| folders(base, provider).into_iter().chain([base.join(PACKAGE)]);
        self.bases.iter().flat_map(of).collect()
    }
}

/// Where the Python packages of ONNX Runtime, all of them, put their libraries.
const PACKAGE: &str = "onnxruntime/capi";

/// Folders of `base` with libraries alone.
fn folders(base: &Path, provider: Provider) -> Vec<PathBuf> {
    let kinds: &[&str] = match provider {
        Provider::Cpu => &["ort", "gpu"],
        Provider::OpenVino => &["openvino"],
        Provider::Cuda | Provider::TensorRt => &["gpu"],
    };
    kinds.iter().map(|kind| base.join(".runtime").join(kind)).chain([base.to_owned()]).collect()
}

/// The version of the Python package with this provider in the `site-packages` folder `base`. The packages lie in one another's
/// folder, so that the library of each is known by its version alone.
fn package_version(base: &Path, provider: Provider) -> Option<String> {
    let package = match provider {
        Provider::Cpu => return None,
        Provider::OpenVino => "onnxruntime_openvino-",
        Provider::Cuda | Provider::TensorRt => "onnxruntime_gpu-",
    };
    let names = std::fs::read_dir(base).ok()?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let version = |name: String| Some(name.strip_prefix(package)?.strip_suffix(".dist-info")?.to_owned());
    names.filter_map(version).max()
}

/// The versioned library in `folder`, the newest name if there are several and no version is asked for.
fn library_in(folder: &Path, version: Option<&str>) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let fits = |version| name.ends_with(&format!(".so.{version}"));
        name.starts_with("libonnxruntime.so") && version.is_none_or(fits) && path.is_file()
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
    /// The folder in which TensorRT keeps what it builds; without, it builds anew in each process.
    pub engines: Option<PathBuf>,
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
            preload_cuda(&search.bases);
        }
        let shown = library.display();
        let builder = ort::init_from(&library).map_err(|e| fail(format!("{shown}: {e}")))?;
        let environment =
            builder.with_name("egofx").with_telemetry(false).build().map_err(|e| fail(format!("{shown}: {e}")))?;
        Ok(Self { environment, version: format!("1.{minor}"), library, engines: None })
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

/// Loads CUDA's libraries from the Python environment, where PyTorch brings them along. What is not there is left to the
/// loader's own search; the provider says what it misses in the end.
fn preload_cuda(bases: &[PathBuf]) {
    let paths = bases.iter().flat_map(|site| CUDA_LIBRARIES.iter().map(move |name| site.join("nvidia").join(name)));
    for path in paths.filter(|path| path.exists()) {
        match ort::util::preload_dylib(&path) {
            Ok(()) => log::info!("preloaded {}", path.display()),
            Err(error) => log::warn!("{}: {error}", path.display()),
        }
    }
}

/// The command that installs what `provider` needs.
pub fn remedy(provider: Provider) -> &'static str {
    match provider {
        Provider::Cpu => {
            "run `pip install 'onnxruntime>=1.24,<1.32'` (in a checkout `make setup`), or name the library with --ort-lib or \
             ORT_DYLIB_PATH"
        }
        Provider::OpenVino => {
            "run `pip install 'onnxruntime-openvino>=1.24,<1.32'` (in a checkout `make setup-openvino`), or name the library \
             with --ort-lib"
        }
        Provider::Cuda | Provider::TensorRt => {
            "run `pip install 'onnxruntime-gpu>=1.24,<1.32'` (in a checkout `make setup-gpu`), or name the library with --ort-lib"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn of_packages_in_one_folder_each_provider_finds_its_own_library() {
        let site = tempfile::tempdir().unwrap();
        let capi = site.path().join(PACKAGE);
        fs::create_dir_all(&capi).unwrap();
        fs::create_dir(site.path().join("onnxruntime_openvino-1.24.1.dist-info")).unwrap();
        for version in ["1.24.1", "1.31.1"] {
            fs::write(capi.join(format!("libonnxruntime.so.{version}")), "").unwrap();
        }
        let search = LibrarySearch { explicit: None, bases: vec!["/nowhere".into(), site.path().to_owned()] };
        let found = |provider| search.find(provider).map(|path| path.strip_prefix(&capi).unwrap().to_owned());
        assert_eq!(found(Provider::Cpu), Some("libonnxruntime.so.1.31.1".into()));
        assert_eq!(found(Provider::OpenVino), Some("libonnxruntime.so.1.24.1".into()));
        assert!(search.has(Provider::Cpu) && !search.has(Provider::OpenVino));
        fs::write(capi.join("libonnxruntime_providers_openvino.so"), "").unwrap();
        assert!(search.has(Provider::OpenVino) && !search.has(Provider::Cuda));
    }
}
