//! Processes that run models on request: one JSON line in, one JSON line out.
//!
//! Each is a process of its own because one process can load one ONNX Runtime only, and OpenVINO's is another than the
//! CPU's. Not for what the lines mean. Invariant: a process does not outlive its `Peer`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::{self, Fallible, root};

/// The argument that makes this program a worker.
pub const WORKER: &str = "--worker";

/// A process that answers.
pub struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// This program, running graphs on the CPU.
    pub fn cpu() -> Fallible<Self> {
        Self::start(Command::new(std::env::current_exe()?).args([WORKER, "cpu"]))
    }

    /// OpenVINO's, if it is installed. What it says beside its answers goes to `complaints`.
    pub fn openvino(complaints: Stdio) -> Fallible<Option<Self>> {
        if root().join(".runtime/openvino").is_dir() {
            let mut program = Command::new(std::env::current_exe()?);
            return Self::start(program.args([WORKER, "openvino"]).stderr(complaints)).map(Some);
        }
        println!("OpenVINO is not installed here (make setup-openvino): without it");
        Ok(None)
    }

    /// This program, running graphs on `device`. What it says beside its answers goes to `complaints`.
    pub fn on(device: &str, complaints: Stdio) -> Fallible<Self> {
        let mut program = Command::new(std::env::current_exe()?);
        Self::start(program.args([WORKER, device]).stderr(complaints))
    }

    /// PyTorch with the given weights on a GPU, if it is installed.
    pub fn torch_on_gpu(weights: &Path) -> Fallible<Option<Self>> {
        let Some((mut python, version)) = support::python::torch() else {
            println!("PyTorch is not installed here (make setup-torch): without it, and without the card's dense rate");
            return Ok(None);
        };
        println!("PyTorch {version}");
        python.arg(root().join("benches/reference/egovlp_video.py")).arg(weights).args(["--device", "cuda"]);
        Self::start(&mut python).map(Some)
    }

    /// PyTorch running `script` of `benches/reference` with the given weights, and its version, if it is installed.
    pub fn torch(script: &str, weights: &Path) -> Fallible<Option<(Self, String)>> {
        let Some((mut python, version)) = support::python::torch() else {
            println!("PyTorch is not installed here (make setup-torch): without it, ratios are to the CPU's fp32");
            return Ok(None);
        };
        let threads = support::cores().len().to_string();
        python.arg(root().join("benches/reference").join(script)).arg(weights).args(["--threads", &threads]);
        Ok(Some((Self::start(&mut python)?, version)))
    }

    fn start(command: &mut Command) -> Fallible<Self> {
        let mut child = command.current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take().ok_or("the process has no stdin")?;
        let answers = BufReader::new(child.stdout.take().ok_or("the process has no stdout")?);
        Ok(Self { child, requests, answers })
    }

    /// The answer to `request`.
    pub fn ask(&mut self, request: &Value) -> Fallible<Value> {
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("the process ended over {request}").into());
        }
        let answer: Value = serde_json::from_str(&line)?;
        match answer["error"].as_str() {
            Some(why) => Err(why.into()),
            None => Ok(answer),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
