//! Exported graphs against PyTorch, the forms that attention could have in them, and what an export takes.
//!
//! `-- models`, `-- lavila`, `-- slowfast`, `-- attention` or `-- cost` runs one part. `make setup-torch` and `make setup-openvino` bring what is
//! compared with; without them the rest is compared among itself. The first run makes a full-size EgoVLP, a
//! LaViLa-B and a SlowFast of random weights, 3.5 GB in `target/bench-data/`.

#[path = "../support/mod.rs"]
mod support;

mod attention;
mod cost;
mod gpu;
mod gpu_table;
mod peer;
mod speed;
mod worker;

use support::Fallible;

/// A part's name, and what runs it.
type Part = (&'static str, fn() -> Fallible);

const PARTS: &[Part] = &[
    ("models", speed::run),
    ("lavila", speed::lavila),
    ("slowfast", speed::slowfast),
    ("attention", attention::run),
    ("cost", cost::run),
];

/// What only a machine with a GPU is asked for, by name: `make gpu-check`.
const ON_GPU: Part = ("gpu", gpu::run);

fn main() -> Fallible {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, device] = arguments.as_slice()
        && mode == peer::WORKER
    {
        return worker::serve(device);
    }
    // Cargo adds options of its own.
    let asked: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if asked.iter().any(|asked| *asked == ON_GPU.0) {
        return ON_GPU.1();
    }
    for (name, run) in PARTS {
        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
            run()?;
        }
    }
    Ok(())
}
