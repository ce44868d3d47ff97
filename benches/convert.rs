//! Conversion of 1,000 clips of 900 rows of 256 features into what other people's code reads, by the program itself: time,
//! processor time and peak memory, and the peak for a tenth of the clips.
//!
//! The store is made once and kept; writing the same bytes alone tells how much of it is the disk's.

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use egofx::ndarray::Array2;
use egofx::shard::Shard;
use egofx::store::{PlannedUnit, RowBlock, RowMeta, STORE_FILE, Store};

use support::{Fallible, Spread, head, inputs, process, row, show, stores, timed};

const CLIPS: usize = 1000;
const ROWS: usize = 900;
const DIM: usize = 256;
const ROUNDS: usize = 3;
const MB: f64 = 1e6;

fn main() -> Fallible {
    let (all, tenth) = (store("convert", CLIPS)?, store("convert_tenth", CLIPS / 10)?);
    head("Conversion of 1,000 clips of [900, 256], 0.92 GB: at most 20 s on 2 cores");
    for format in ["egovlp-pt", "actionformer-npy", "groundnlq-lmdb", "hdf5", "parquet"] {
        measure(&all, &tenth, format)?;
    }
    let bytes = vec![1u8; ROWS * DIM * size_of::<f32>()];
    let folder = support::scratch("plain")?;
    let (written, cost) = timed(|| plain(&folder, &bytes));
    written?;
    row("writing as many bytes into 1,000 files and syncing them", &format!("{:.1} s", cost.wall), "n=1");
    fs::remove_dir_all(folder)?;
    head("Comparison of two conversions of them");
    compare(&all)
}

fn measure(all: &Path, tenth: &Path, format: &str) -> Fallible {
    let (mut wall, mut cpu, mut peak) = (Spread::default(), Spread::default(), Spread::default());
    for _ in 0..ROUNDS {
        let (seen, cost) = timed(|| convert(all, format));
        let seen = seen?;
        wall.push(seen.wall);
        cpu.push(cost.cpu);
        peak.push(seen.peak as f64 / MB);
    }
    let small = convert(tenth, format)?.peak as f64 / MB;
    show(format, &wall, 1, " s");
    show("  processor time", &cpu, 1, " s");
    show("  peak memory", &peak, 0, " MB");
    row("  peak over that for 100 clips, at most 1.2", &format!("{:.2}", peak.median() / small), "");
    Ok(())
}

fn convert(store: &Path, format: &str) -> Fallible<process::Observed> {
    let out = support::scratch("converted")?;
    let arguments: [&OsStr; 6] =
        ["convert".as_ref(), store.as_ref(), "--to".as_ref(), format.as_ref(), "-o".as_ref(), out.as_ref()];
    let seen = process::egofx(arguments.into_iter())?;
    fs::remove_dir_all(out)?;
    Ok(seen)
}

fn compare(store: &Path) -> Fallible {
    let out = support::scratch("converted")?;
    let arguments: [&OsStr; 6] =
        ["convert".as_ref(), store.as_ref(), "--to".as_ref(), "egovlp-pt".as_ref(), "-o".as_ref(), out.as_ref()];
    process::egofx(arguments.into_iter())?;
    let arguments: [&OsStr; 3] = ["compare".as_ref(), store.as_ref(), out.as_ref()];
    let seen = process::egofx(arguments.into_iter())?;
    row("the store against its 1,000 .pt", &format!("{:.1} s", seen.wall), "n=1");
    row("  peak memory", &format!("{:.0} MB", seen.peak as f64 / MB), "");
    Ok(fs::remove_dir_all(out)?)
}

fn plain(folder: &Path, bytes: &[u8]) -> std::io::Result<()> {
    for clip in 0..CLIPS {
        File::create(folder.join(format!("{clip}.bin")))?.write_all(bytes)?;
    }
    // As a conversion does: everything at once.
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// A store of that many clips, made once.
fn store(name: &str, clips: usize) -> Fallible<PathBuf> {
    let path = inputs::folder().join(name);
    if path.join(STORE_FILE).is_file() {
        return Ok(path);
    }
    eprintln!("making {name}");
    let out = support::scratch("store")?;
    let mut store = Store::open(&out, &stores::contract(name, DIM), Shard::WHOLE)?;
    for clip in 0..clips {
        let header = stores::header(&format!("clip-{clip:04}"), ROWS as u64)?;
        let (unit_uid, video_uid) = (header.unit_uid.clone(), header.video_uid.clone());
        store.promise(&[PlannedUnit { unit_uid, video_uid, span: None, content_sha256: None }])?;
        let mut unit = store.begin(header)?;
        unit.append(&block(clip))?;
        store.commit(unit)?;
    }
    store.finish()?;
    drop(store);
    fs::rename(out.join(name), &path)?;
    Ok(path)
}

/// Rows that look as random as features do.
fn block(clip: usize) -> RowBlock {
    let mut state = 2 * clip as u32 + 1;
    let features = Array2::from_shape_fn((ROWS, DIM), |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    let meta = (0..ROWS).map(|row| RowMeta {
        first_frame: row as u64 * 16,
        last_frame: row as u64 * 16 + 15,
        start_sec: row as f64 / 1.875,
        end_sec: (row + 1) as f64 / 1.875,
        ..RowMeta::default()
    });
    RowBlock { first_row: 0, meta: meta.collect(), features }
}
