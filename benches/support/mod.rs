//! What the benchmarks share: inputs, clocks, cores, statistics and the table that they print.
//!
//! Ratios are of runs in turns, A B A B, so that a slow minute of the machine hits both sides. Nothing here fails on a
//! time: a number that misses its promise is printed like any other.

#![allow(dead_code, reason = "each benchmark is a program of its own and uses a part of this")]

pub mod inputs;
pub mod model;
pub mod process;
pub mod python;
pub mod stores;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use egofx::backbone::{LibrarySearch, Provider, Runtime};
use egofx::decode::Tools;

/// Anything that keeps a benchmark from running at all.
pub type Fallible<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// ffmpeg and ffprobe as `egofx` finds them in the checkout.
pub fn tools() -> Fallible<Tools> {
    Ok(Tools::find(None, None, &[root().to_owned()])?)
}

/// ONNX Runtime of the checkout.
pub fn runtime() -> Fallible<Runtime> {
    runtime_for(Provider::Cpu)
}

/// The same with that provider.
pub fn runtime_for(provider: Provider) -> Fallible<Runtime> {
    let search = LibrarySearch { bases: vec![root().to_owned()], ..LibrarySearch::default() };
    Ok(Runtime::load(&search, provider)?)
}

/// A folder that is there, for what a benchmark writes.
pub fn scratch(name: &str) -> io::Result<PathBuf> {
    let folder = inputs::folder().join("out").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Wall and CPU seconds of a piece of work; the CPU's include those of children that ended within it.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub wall: f64,
    pub cpu: f64,
}

/// Runs `work` and takes its time.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let (started, before) = (Instant::now(), cpu_sec());
    let result = work();
    (result, Cost { wall: started.elapsed().as_secs_f64(), cpu: cpu_sec() - before })
}

/// CPU seconds of this process and of its children that were waited for.
fn cpu_sec() -> f64 {
    let sec = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    let used = |who| {
        // SAFETY: all bits zero are a value of this plain C struct, and getrusage fills it.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(who, &raw mut usage);
            usage
        };
        sec(usage.ru_utime) + sec(usage.ru_stime)
    };
    used(libc::RUSAGE_SELF) + used(libc::RUSAGE_CHILDREN)
}

/// The cores that this process may use.
pub fn cores() -> Vec<usize> {
    // SAFETY: all bits zero are an empty set, and sched_getaffinity fills it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&core| libc::CPU_ISSET(core, &set)).collect()
    }
}

/// Keeps the calling thread, and what it starts from now on, on one core.
pub fn pin(core: usize) {
    // SAFETY: all bits zero are an empty set; core is below CPU_SETSIZE, because `cores` gave it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Numbers of repeated measurements.
#[derive(Debug, Clone, Default)]
pub struct Spread(Vec<f64>);

impl Spread {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub fn median(&self) -> f64 {
        let n = self.0.len();
        if n == 0 { f64::NAN } else { f64::midpoint(self.0[(n - 1) / 2], self.0[n / 2]) }
    }

    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// One over each.
    pub fn inverse(&self) -> Self {
        self.0.iter().map(|value| 1.0 / value).collect()
    }

    /// `0.98 .. 1.07, n=7`.
    pub fn range(&self, digits: usize) -> String {
        format!("{:.digits$} .. {:.digits$}, n={}", self.min(), self.max(), self.0.len())
    }
}

/// Cosine of the angle between two rows.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Prints the head of the table.
pub fn head(title: &str) {
    println!("\n{title}");
    row("promise", "measured", "spread");
    row("-------", "--------", "------");
}

/// Prints a row of the table.
pub fn row(promise: &str, measured: &str, spread: &str) {
    println!("{promise:<84}  {measured:<9}  {spread}");
}

/// A row for a quantity with a spread.
pub fn show(promise: &str, values: &Spread, digits: usize, unit: &str) {
    row(promise, &format!("{:.digits$}{unit}", values.median()), &values.range(digits));
}

/// Numbers from `FromIterator`.
impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut spread = Self::default();
        values.into_iter().for_each(|value| spread.push(value));
        spread
    }
}
