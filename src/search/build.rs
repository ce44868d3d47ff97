//! Writes the index of a store.
//!
//! Not for using it. Invariant: one unit is in memory at a time, rows stand in the order of units and of rows in them, rows without
//! features are left out, and the file gets its name when it is whole.

use std::collections::HashMap;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use half::f16;
use ndarray::ArrayView1;

use super::error::{SearchError, io_error};
use super::index::{Found, Index, content};
use super::layout::{HEADER, Header};
use crate::durable::{self, Existing};
use crate::meter::Meter;
use crate::store::{Committed, RowKind, StoreReader, Unit};

/// The norm that a row is divided by is at least this, as in EgoVLP's `sim_matrix`.
const LEAST_NORM: f32 = 1e-8;

/// The index of `store` in the file `path`, made anew unless there is one of what it holds now; with the reason if it was made.
///
/// Takes no lock: a store that is being written is indexed as far as it is committed.
///
/// # Errors
/// [`SearchError::Kind`] for a store whose rows are no moments of videos, [`SearchError::Store`], [`SearchError::Io`].
pub fn current(store: &StoreReader, path: &Path, meter: &Meter) -> Result<(Index, Option<String>), SearchError> {
    expect_moments(store)?;
    let committed = store.committed()?;
    match Index::find(store, path, &committed)? {
        Found::Current(index) => Ok((*index, None)),
        Found::Unusable(why) => Ok((build(store, path, &committed, meter)?, Some(why))),
    }
}

/// The index of what `committed` lists of `store`, in the file `path` and in the place of any other.
///
/// # Errors
/// [`SearchError::Kind`], [`SearchError::Store`], [`SearchError::Io`].
pub fn build(store: &StoreReader, path: &Path, committed: &Committed, meter: &Meter) -> Result<Index, SearchError> {
    expect_moments(store)?;
    meter.expect(committed.len());
    durable::write(path, Existing::Replace, io_error("write", path), |file| {
        write(file, path, store, committed, meter)
    })?;
    Index::open(path)
}

/// That the rows of `store` are windows or clips of videos, which no query has met.
///
/// # Errors
/// [`SearchError::Kind`].
pub fn expect_moments(store: &StoreReader) -> Result<(), SearchError> {
    let why = match store.contract().row_kind {
        RowKind::Window | RowKind::Clip => return Ok(()),
        RowKind::FusedWindow | RowKind::Pair => "they have met a query already, and are of that query alone",
        RowKind::Query | RowKind::Token => "they are sentences",
    };
    Err(SearchError::Kind { path: store.path().to_owned(), found: store.contract().row_kind.name(), why })
}

fn write(
    file: &mut BufWriter<std::fs::File>,
    path: &Path,
    store: &StoreReader,
    committed: &Committed,
    meter: &Meter,
) -> Result<(), SearchError> {
    let failed = io_error("write", path);
    let contract = store.contract();
    let mut header = Header::new(&contract.feature_set, &contract.fingerprint, content(committed), contract.dim);
    file.write_all(&[0; HEADER]).map_err(&failed)?;
    let mut out = Hashed { file, crc32: crc32fast::Hasher::new() };
    let mut table = Table::default();
    for entry in committed.iter() {
        let unit = store.read_entry(entry)?;
        add(&mut out, &unit, header.stride, &mut table).map_err(&failed)?;
        meter.done(entry.rows);
    }
    table.write(&mut out).map_err(&failed)?;
    (header.rows, header.places, header.names) = (table.places.len(), table.ends.len(), table.names.len());
    let Hashed { file, crc32 } = out;
    header.crc32 = crc32.finalize();
    let bytes = header.to_bytes().ok_or_else(|| failed(io::Error::other("its header is too long")))?;
    file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&bytes)).map_err(&failed)
}

/// Writes the rows of a unit that have features.
fn add(out: &mut impl Write, unit: &Unit, stride: usize, table: &mut Table) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(unit.meta.len() * stride * 2);
    for (meta, row) in unit.meta.iter().zip(unit.features.outer_iter()) {
        if meta.missing || row.iter().any(|value| !value.is_finite()) {
            continue;
        }
        push_unit_vector(&mut bytes, row);
        bytes.resize(bytes.len() + (stride - row.len()) * 2, 0);
        let clip = meta.clip_uid.as_ref().or(unit.header.clip_uid.as_ref());
        let clip = clip.map_or("", |clip| clip.as_str());
        table.push(unit.header.video_uid.as_str(), clip, [meta.start_sec, meta.end_sec])?;
    }
    out.write_all(&bytes)
}

/// `row` divided by its norm, in half precision.
fn push_unit_vector(bytes: &mut Vec<u8>, row: ArrayView1<f32>) {
    let norm = row.dot(&row).sqrt().max(LEAST_NORM);
    bytes.extend(row.iter().flat_map(|value| f16::from_f32(value / norm).to_le_bytes()));
}

/// What stands behind the matrix.
#[derive(Default)]
struct Table {
    times: Vec<[f64; 2]>,
    places: Vec<u32>,
    ends: Vec<u64>,
    names: Vec<u8>,
    known: HashMap<String, u32>,
}

impl Table {
    fn push(&mut self, video: &str, clip: &str, times: [f64; 2]) -> io::Result<()> {
        let name = format!("{video}\n{clip}");
        let place = match self.known.get(&name) {
            Some(place) => *place,
            None => self.add_place(name)?,
        };
        self.places.push(place);
        self.times.push(times);
        Ok(())
    }

    fn add_place(&mut self, name: String) -> io::Result<u32> {
        let place = u32::try_from(self.ends.len()).map_err(|_| io::Error::other("more than 2^32 clips"))?;
        self.names.extend(name.as_bytes());
        self.ends.push(self.names.len() as u64);
        self.known.insert(name, place);
        Ok(place)
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.times.iter().flatten().try_for_each(|time| out.write_all(&time.to_le_bytes()))?;
        self.places.iter().try_for_each(|place| out.write_all(&place.to_le_bytes()))?;
        self.ends.iter().try_for_each(|end| out.write_all(&end.to_le_bytes()))?;
        out.write_all(&self.names)
    }
}

/// Counts what passes into a checksum.
struct Hashed<'f> {
    file: &'f mut BufWriter<std::fs::File>,
    crc32: crc32fast::Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.crc32.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
