//! Python with PyTorch, to compare with.
//!
//! Not for what is asked of it. Invariant: a command that is given has imported what it is for.

use std::process::Command;

use super::root;

/// Python with PyTorch, that of `make setup-torch` or its own, and PyTorch's version.
pub fn torch() -> Option<(Command, String)> {
    let installed = root().join(".runtime/torch").is_dir();
    let from = |folders: &[&str]| importing(folders, "import safetensors, torch; print(torch.__version__)");
    installed.then(|| from(&["torch"])).flatten().or_else(|| from(&[]))
}

/// The same with the readers of video of `make bench-peers`, and the versions of all three.
pub fn readers() -> Option<(Command, String)> {
    let versions = "import safetensors, torch, decord, torchcodec; print('PyTorch', torch.__version__, 'decord', \
                    decord.__version__, 'TorchCodec', torchcodec.__version__)";
    importing(&["torch", "peers"], versions)
}

/// Python with the NumPy of `make setup-test`, and NumPy's version.
pub fn numpy() -> Option<(Command, String)> {
    importing(&["py"], "import numpy; print(numpy.__version__)")
}

/// Python that finds the packages in these folders of `.runtime/`, if it can run `script`; and what that prints.
fn importing(folders: &[&str], script: &str) -> Option<(Command, String)> {
    let folders: Vec<_> = folders.iter().map(|folder| root().join(".runtime").join(folder)).collect();
    let packages = (!folders.is_empty()).then(|| std::env::join_paths(folders)).transpose().ok()?;
    let command = || {
        let mut command = Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
        command.envs(packages.iter().map(|packages| ("PYTHONPATH", packages)));
        command
    };
    let asked = command().args(["-c", script]).output().ok()?;
    let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    asked.status.success().then(|| (command(), said))
}
