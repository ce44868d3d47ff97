//! Search: a query's pass over an index against a plain read of the same bytes, and a batch of queries against NumPy's product.
//!
//! `cargo bench --bench search`; a number behind `--` is the size in GB of the larger one of two indexes (4 unless given), which
//! should fit into memory twice. Rows are made here: unit vectors of 256 halves. All cores work in either case. Nothing fails by the
//! clock.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use half::f16;
use ndarray::{Array2, Axis};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde_json::json;

use egofx::search::{Index, MomentRule, search, search_batch};

use support::{Fallible, Spread, head, row, show, timed};

const DIM: usize = 256;
/// Rows that are drawn; the rest are these with their columns moved on.
const DRAWN: usize = 1 << 16;
const ROUNDS: usize = 7;
const QUERIES: usize = 100;
/// Rows of the index that a batch is asked of.
const BATCH_ROWS: usize = 1 << 19;
/// Rows that the promise is about: all windows of 3,700 hours.
const PROMISED_ROWS: f64 = 25e6;
const RULE: MomentRule = MomentRule { top: 10, margin: 0.05 };

fn main() -> Fallible {
    let largest: f64 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(4.0);
    let folder = support::scratch("search")?;
    let rows = (largest * 1e9 / (2 * DIM) as f64) as usize;
    single(&folder, [rows / 2, rows])?;
    batch(&folder)?;
    Ok(std::fs::remove_dir_all(folder)?)
}

fn single(folder: &Path, sizes: [usize; 2]) -> Fallible {
    let query = vectors(1, 7);
    let mut medians = Vec::new();
    for rows in sizes {
        head(&format!("one query, {rows} rows of {DIM} in half precision, {:.2} GB", (rows * DIM * 2) as f64 / 1e9));
        let indexes = [Index::open(&written(folder, rows)?)?];
        let ask = || timed(|| search(&indexes, query.index_axis(Axis(0), 0), RULE, None));
        let (first, cost) = ask();
        row(
            "the first query, which maps the file, seconds",
            &format!("{:.3}", cost.wall),
            &format!("{} moments", first?.len()),
        );
        let (mut search, mut read, mut shares) = (Spread::default(), Spread::default(), Spread::default());
        for _ in 0..ROUNDS {
            let ((hits, asked), (_, plain)) = (ask(), timed(|| sum(indexes[0].matrix())));
            hits?;
            search.push(asked.wall);
            read.push(plain.wall);
            shares.push(plain.wall / asked.wall);
        }
        show("seconds a query", &search, 3, "");
        let rate = |seconds: f64| (rows * DIM * 2) as f64 / 1e9 / seconds;
        row("a plain read of the same bytes, GB/s", &format!("{:.1}", rate(read.median())), &read.range(3));
        show("its time over a query's (the share of the bandwidth), at least 0.6", &shares, 2, "");
        medians.push((rows as f64, search.median()));
        std::fs::remove_file(indexes[0].path())?;
    }
    let [(fewer, quick), (more, slow)] = medians[..] else { return Err("two sizes".into()) };
    let each = (slow - quick) / (more - fewer);
    row("25 million rows at the larger one's rate, seconds", &format!("{:.2}", slow * PROMISED_ROWS / more), "");
    row(
        "25 million rows by the growth from one size to the other, seconds",
        &format!("{:.2}", slow + each * (PROMISED_ROWS - more)),
        "",
    );
    Ok(())
}

fn batch(folder: &Path) -> Fallible {
    head(&format!("{QUERIES} queries at once, {BATCH_ROWS} rows of {DIM}"));
    let indexes = [Index::open(&written(folder, BATCH_ROWS)?)?];
    let queries = vectors(QUERIES, 8);
    let mut peer = NumPy::start(folder, &indexes[0], &queries)?;
    let (mut ours, mut theirs, mut rates) = (Spread::default(), Spread::default(), Spread::default());
    for _ in 0..ROUNDS {
        let (hits, asked) = timed(|| search_batch(&indexes, queries.view(), RULE));
        hits?;
        let product = peer.product()?;
        ours.push(asked.wall);
        theirs.push(product);
        rates.push(product / asked.wall);
    }
    show("seconds for all queries, moments included", &ours, 3, "");
    show(&format!("NumPy {}, rows_f32 @ queries.T", peer.version), &theirs, 3, "");
    show("speed over NumPy's, at least 0.6", &rates, 2, "");
    Ok(())
}

/// Sum of all words, on all cores.
fn sum(bytes: &[u8]) -> u64 {
    let words =
        |part: &[u8]| part.as_chunks().0.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    std::hint::black_box(bytes.par_chunks(1 << 22).map(words).reduce(|| 0, u64::wrapping_add))
}

/// Unit vectors from a seed.
fn vectors(count: usize, seed: u64) -> Array2<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut unit = || (random.next_u64() >> 11) as f32 / (1_u64 << 53) as f32 - 0.5;
    let drawn = Array2::from_shape_simple_fn((count, DIM), &mut unit);
    let norms = drawn.map_axis(Axis(1), |row| row.dot(&row).sqrt()).insert_axis(Axis(1));
    drawn / norms
}

/// An index of so many rows, in the layout that the book gives.
fn written(folder: &Path, rows: usize) -> Fallible<PathBuf> {
    let path = folder.join(format!("{rows}.index"));
    let name = "video\nclip";
    let mut header = serde_json::to_vec(&json!({
        "format": "egofx search index", "version": 1, "feature_set": "bench", "fingerprint": "", "content": "", "dim": DIM, "stride": DIM,
        "rows": rows, "places": 1, "names": name.len(), "crc32": 0,
    }))?;
    header.resize(4096, b' ');
    let mut file = BufWriter::with_capacity(1 << 22, File::create(&path)?);
    file.write_all(&header)?;
    let drawn = vectors(DRAWN, 5).mapv(f16::from_f32);
    for first in (0..rows).step_by(DRAWN) {
        let moved = first / DRAWN % DIM;
        for row in drawn.outer_iter().take(rows - first) {
            let values = row.iter().cycle().skip(moved).take(DIM);
            file.write_all(&values.flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        }
    }
    // Windows far apart, each a moment of its own.
    for row in 0..rows {
        let start = 10.0 * row as f64;
        file.write_all(&[start.to_le_bytes(), (start + 1.0).to_le_bytes()].concat())?;
    }
    file.write_all(&vec![0; rows * 4])?;
    file.write_all(&(name.len() as u64).to_le_bytes())?;
    file.write_all(name.as_bytes())?;
    file.flush()?;
    Ok(path)
}

/// A Python that holds the rows in single precision, and multiplies them when asked.
struct NumPy {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    version: String,
}

impl NumPy {
    fn start(folder: &Path, index: &Index, queries: &Array2<f32>) -> Fallible<Self> {
        let (mut command, version) = support::python::numpy().ok_or("no NumPy: run `make setup-test`")?;
        let path = folder.join("queries.f32");
        std::fs::write(&path, queries.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        for variable in ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"] {
            command.env(variable, rayon::current_num_threads().to_string());
        }
        command.arg(support::root().join("benches/reference/matmul.py")).args([index.path(), &path]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut numpy = Self { child, said, version };
        if numpy.line()? != "ready" {
            return Err("NumPy did not start".into());
        }
        Ok(numpy)
    }

    fn product(&mut self) -> Fallible<f64> {
        let stdin = self.child.stdin.as_mut().ok_or("no stdin")?;
        stdin.write_all(b"\n")?;
        stdin.flush()?;
        Ok(self.line()?.parse()?)
    }

    fn line(&mut self) -> Fallible<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for NumPy {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
