//! `egofx --version`: of the program, and with `-v` of what it runs with: what a report of a fault should begin with.

use std::process::ExitCode;

use egofx::backbone::{Provider, Runtime};

use super::args::{Ffmpeg, OnnxRuntime, parsed};
use super::{help, say};

/// Prints the version, and with `verbose` the commit and the versions of ffmpeg, HDF5 and ONNX Runtime as they are found
/// without options.
pub fn show(verbose: bool) -> anyhow::Result<ExitCode> {
    let mut with = Vec::new();
    if verbose {
        with.push(("ffmpeg", ffmpeg()?));
        with.push(("HDF5", egofx::store::hdf5_version()));
        with.push(("ONNX Runtime", onnx_runtime()?));
    }
    say(&help::versions("egofx", &with))?;
    Ok(ExitCode::SUCCESS)
}

fn ffmpeg() -> anyhow::Result<String> {
    let tools = parsed::<Ffmpeg>([])?.tools();
    Ok(tools.map_or_else(|fault| fault.to_string(), |tools| format!("{} {}", tools.version, tools.ffmpeg.display())))
}

fn onnx_runtime() -> anyhow::Result<String> {
    let Some(library) = parsed::<OnnxRuntime>([])?.library_search().find(Provider::Cpu) else {
        return Ok("not found: see `egofx doctor`".to_owned());
    };
    let version = Runtime::probe(&library);
    Ok(version.map_or_else(|fault| fault, |minor| format!("1.{minor} {}", library.display())))
}
