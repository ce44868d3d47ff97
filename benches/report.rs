//! How long `egofx report` takes for ten hours of features with thumbnails, what memory it takes, and how large its page is.
//!
//! `cargo bench --bench report`. Ten videos of an hour: one file that is made once and linked, with rows that wander as those of a
//! video do. Without thumbnails the same again: the difference is what seeking and decoding takes.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array2;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use egofx::ids::UnitUid;
use egofx::shard::Shard;
use egofx::store::{PlannedUnit, RowBlock, RowMeta, Store};

use support::process::egofx;
use support::{Fallible, head, inputs, row, scratch, stores, tools};

const VIDEOS: usize = 10;
const HOUR_SEC: u32 = 3600;
const ROWS_PER_SEC: f64 = 1.875;
const DIM: usize = 768;
/// What a page may hold of this.
const MOST_BYTES: u64 = 5 << 20;

fn main() -> Fallible {
    let (video, out) = (hour()?, scratch("report")?);
    let videos = out.join("videos");
    fs::create_dir_all(&videos)?;
    for at in 0..VIDEOS {
        std::os::unix::fs::symlink(&video, videos.join(format!("v{at}.mp4")))?;
    }
    fill(&out)?;
    head("The page of ten hours: 67,500 rows of 768");
    for (name, more) in
        [("with thumbnails", ["--videos", &videos.display().to_string()]), ("without", ["--no-thumbnails", "--quiet"])]
    {
        let page = out.join("report.html");
        let arguments =
            [OsStr::new("report"), out.join("rows").as_os_str(), "-o".as_ref(), page.as_os_str(), "--force".as_ref()]
                .map(OsStr::to_owned);
        let arguments: Vec<_> = arguments.into_iter().chain(more.iter().map(|word| (*word).into())).collect();
        let seen = egofx(arguments.iter().map(|argument| argument.as_os_str()))?;
        let bytes = fs::metadata(&page)?.len();
        row(&format!("{name}: wall time"), &format!("{:.2} s", seen.wall), "");
        row(
            &format!("{name}: peak memory"),
            &format!("{} MiB", seen.peak >> 20),
            &format!("of an ffmpeg: {} MiB", seen.child_peak >> 20),
        );
        row(
            &format!("{name}: size, at most {} MiB", MOST_BYTES >> 20),
            &format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20)),
            "",
        );
    }
    Ok(())
}

/// An hour at 30 frames a second, a key frame every 250, as x264 writes it.
fn hour() -> Fallible<PathBuf> {
    let path = inputs::folder().join("hour.mp4");
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(inputs::folder())?;
    let unfinished = path.with_extension("part.mp4");
    let source = format!("testsrc2=s=640x360:r=30:d={HOUR_SEC}");
    let mut command = tools()?.ffmpeg();
    command.args(["-v", "error", "-y", "-f", "lavfi", "-i", &source, "-c:v", "libx264", "-preset", "veryfast"]);
    command.args(["-g", "250", "-pix_fmt", "yuv420p"]).arg(&unfinished);
    let status = command.status()?;
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    fs::rename(unfinished, &path)?;
    Ok(path)
}

fn fill(out: &Path) -> Fallible {
    let contract = stores::contract("rows", DIM);
    let mut store = Store::open(out, &contract, Shard::WHOLE)?;
    let rows = (f64::from(HOUR_SEC) * ROWS_PER_SEC) as usize;
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    for at in 0..VIDEOS {
        let header = stores::header(&format!("v{at}"), rows as u64)?;
        let planned = PlannedUnit {
            unit_uid: UnitUid::parse(&format!("v{at}"))?,
            video_uid: header.video_uid.clone(),
            span: None,
            content_sha256: None,
        };
        store.promise(&[planned])?;
        let mut unit = store.begin(header)?;
        unit.append(&RowBlock { first_row: 0, meta: meta(rows), features: wandering(rows, &mut random) })?;
        store.commit(unit)?;
    }
    store.finish()?;
    Ok(())
}

fn meta(rows: usize) -> Vec<RowMeta> {
    let row = |row: usize| RowMeta {
        first_frame: row as u64 * 16,
        last_frame: row as u64 * 16 + 15,
        start_sec: row as f64 / ROWS_PER_SEC,
        end_sec: (row + 1) as f64 / ROWS_PER_SEC,
        ..RowMeta::default()
    };
    (0..rows).map(row).collect()
}

/// Each row is the one before, and a little more.
fn wandering(rows: usize, random: &mut Xoshiro256PlusPlus) -> Array2<f32> {
    let mut now = vec![0.0_f32; DIM];
    let mut values = Array2::zeros((rows, DIM));
    for mut row in values.outer_iter_mut() {
        for (value, now) in row.iter_mut().zip(&mut now) {
            let step = random.next_u64() as f64 / u64::MAX as f64 - 0.5;
            *now = 0.98 * *now + step as f32;
            *value = *now;
        }
    }
    values
}
