//! Units as HDF5 files.
//!
//! A file has the dataset `features` of shape `[rows, dim]`, one dataset of length `rows` for each field of `RowMeta` that
//! its rows have, the scales `row` and `feature` that name the axes, and contract and header as attributes of its root.
//! Schema 2 has no scales, flags as bytes and counts without sign. Not for when a file counts: that is the store's business.
//!
//! Invariant: the bytes depend on rows and header only, not on the time or on how rows were grouped into blocks, as long
//! as all blocks but the last have `Contract::chunk_rows` rows.

use std::path::Path;
use std::str::FromStr;

use ::hdf5::types::{FloatSize, TypeDescriptor, VarLenUnicode};
use ::hdf5::{Dataset, File, H5Type, Location};
use half::f16;
use ndarray::{Array1, Array2, s};
use serde_json::{Map, Value};

use super::contract::{Contract, Dtype, RowBlock, RowKind, RowMeta, Unit, UnitHeader, clip_of_row};
use super::error::{StoreError, io_error};
use super::{FeatureSink, Format, fields, scales};
use crate::foreign;

/// Version of the HDF5 library in use, `1.10.8` for instance.
pub fn library_version() -> String {
    let (major, minor, release) = ::hdf5::library_version();
    format!("{major}.{minor}.{release}")
}

/// The format `hdf5`.
pub const FORMAT: Format = Format {
    name: "hdf5",
    extension: "h5",
    about: "one HDF5 file per unit, and features.h5 that links them all",
    create,
    read,
    read_header,
};

const AXIS: &str = "row i covers [start_sec[i], end_sec[i]) of the video, in seconds of container time, and sees its \
                    frames first_frame[i]..=last_frame[i], counted from 0 in presentation order";

type Result5<T> = Result<T, ::hdf5::Error>;

struct Sink {
    path: std::path::PathBuf,
    file: File,
    dtype: Dtype,
    features: Dataset,
    columns: Columns,
    /// None in schema 2.
    scales: Option<[Dataset; 2]>,
}

struct Columns {
    /// As schema 2 has them.
    old: bool,
    first_frame: Dataset,
    last_frame: Dataset,
    start_sec: Dataset,
    end_sec: Dataset,
    padded: Dataset,
    missing: Dataset,
    clip_uid: Option<Dataset>,
    query_id: Option<Dataset>,
}

fn create(path: &Path, contract: &Contract, header: &UnitHeader) -> Result<Box<dyn FeatureSink>, StoreError> {
    let failed = |error| write_error(path, &error);
    let attributes = fields::of(contract, header).map_err(|error| write_error(path, &error.to_string().into()))?;
    let file = create_file(path).map_err(failed)?;
    write_attributes(&file, &attributes, contract).map_err(failed)?;
    let features = create_features(&file, contract, header.rows as usize).map_err(failed)?;
    let columns = Columns::create(&file, header.rows as usize, contract).map_err(failed)?;
    let lengths = [header.rows as usize, contract.dim];
    let scales = (!contract.is_schema_2()).then(|| scales::add(&file, lengths)).transpose().map_err(failed)?;
    Ok(Box::new(Sink { path: path.to_owned(), file, dtype: contract.dtype, features, columns, scales }))
}

/// A new file in the earliest format, which every tool reads.
///
/// It is not locked. The library would take an advisory lock that every program started meanwhile inherits, so that an
/// ffmpeg which decodes for an hour would keep others from reading a file that was finished long ago.
///
/// # Errors
/// The library's.
pub(crate) fn create_file(path: &Path) -> Result5<File> {
    let mut options = File::with_options();
    options.with_fapl(|p| p.libver_earliest().file_locking(false)).with_fcpl(|p| p.obj_track_times(false)).create(path)
}

/// A file to read, without a lock: file systems of clusters often have none, and files of stores do not change.
///
/// # Errors
/// The library's.
pub(crate) fn open_file(path: &Path) -> Result5<File> {
    File::with_options().with_fapl(|p| p.file_locking(false)).open(path)
}

fn create_features(file: &File, contract: &Contract, rows: usize) -> Result5<Dataset> {
    let builder = file.new_dataset_builder().obj_track_times(false).shuffle();
    let builder = if ::hdf5::filters::deflate_available() { builder.deflate(4) } else { builder };
    let builder = builder.fletcher32().chunk((contract.chunk_rows().min(rows), contract.dim));
    let shape = (rows, contract.dim);
    let features = match contract.dtype {
        Dtype::F32 => builder.empty::<f32>().shape(shape).create("features")?,
        Dtype::F16 => builder.empty::<f16>().shape(shape).create("features")?,
    };
    write_attribute(&features, "axis", &Value::from(AXIS))?;
    Ok(features)
}

impl Columns {
    fn create(file: &File, rows: usize, contract: &Contract) -> Result5<Self> {
        let (kind, old) = (contract.row_kind, contract.is_schema_2());
        fn column<T: H5Type>(file: &File, rows: usize, name: &str) -> Result5<Dataset> {
            file.new_dataset::<T>().obj_track_times(false).shape(rows).create(name)
        }
        let frames = if old { column::<u64> } else { column::<i64> };
        let flags = if old { column::<u8> } else { column::<bool> };
        Ok(Self {
            old,
            first_frame: frames(file, rows, "first_frame")?,
            last_frame: frames(file, rows, "last_frame")?,
            start_sec: column::<f64>(file, rows, "start_sec")?,
            end_sec: column::<f64>(file, rows, "end_sec")?,
            padded: flags(file, rows, "padded")?,
            missing: flags(file, rows, "missing")?,
            clip_uid: kind.names_clips().then(|| column::<VarLenUnicode>(file, rows, "clip_uid")).transpose()?,
            query_id: kind.names_queries().then(|| column::<VarLenUnicode>(file, rows, "query_id")).transpose()?,
        })
    }

    fn write(&self, at: usize, meta: &[RowMeta]) -> Result5<()> {
        fn put<T: H5Type>(column: &Dataset, at: usize, meta: &[RowMeta], value: impl Fn(&RowMeta) -> T) -> Result5<()> {
            let values: Array1<T> = meta.iter().map(value).collect();
            column.write_slice(values.view(), s![at..at + meta.len()])
        }
        put(&self.start_sec, at, meta, |row| row.start_sec)?;
        put(&self.end_sec, at, meta, |row| row.end_sec)?;
        if self.old {
            put(&self.first_frame, at, meta, |row| row.first_frame)?;
            put(&self.last_frame, at, meta, |row| row.last_frame)?;
            put(&self.padded, at, meta, |row| u8::from(row.padded))?;
            put(&self.missing, at, meta, |row| u8::from(row.missing))?;
        } else {
            put(&self.first_frame, at, meta, |row| row.first_frame as i64)?;
            put(&self.last_frame, at, meta, |row| row.last_frame as i64)?;
            put(&self.padded, at, meta, |row| row.padded)?;
            put(&self.missing, at, meta, |row| row.missing)?;
        }
        fn name(column: &Option<Dataset>, at: usize, meta: &[RowMeta], value: fn(&RowMeta) -> &str) -> Result5<()> {
            let Some(column) = column else { return Ok(()) };
            let names = meta.iter().map(|row| unicode(value(row))).collect::<Result5<Array1<_>>>()?;
            column.write_slice(names.view(), s![at..at + meta.len()])
        }
        name(&self.clip_uid, at, meta, RowMeta::clip_name)?;
        name(&self.query_id, at, meta, RowMeta::query_name)
    }
}

impl Sink {
    fn write(&self, block: &RowBlock) -> Result5<()> {
        let at = block.first_row as usize;
        let rows = s![at..at + block.meta.len(), ..];
        match self.dtype {
            Dtype::F32 => self.features.write_slice(block.features.as_standard_layout().view(), rows)?,
            Dtype::F16 => self.features.write_slice(block.features.mapv(f16::from_f32).view(), rows)?,
        }
        self.columns.write(at, &block.meta)
    }
}

impl FeatureSink for Sink {
    fn append(&mut self, block: &RowBlock) -> Result<(), StoreError> {
        self.write(block).map_err(|error| write_error(&self.path, &error))
    }

    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        let Self { path, file, features, columns, scales, .. } = *self;
        // Closing alone would write the rest while dataset handles die, and errors of that reach nobody.
        let flushed = file.flush();
        drop((features, columns, scales));
        flushed.and_then(|()| file.close()).map_err(|error| write_error(&path, &error))
    }
}

pub(super) fn write_attributes(at: &Location, fields: &Map<String, Value>, contract: &Contract) -> Result5<()> {
    fields.iter().try_for_each(|(name, value)| match value.as_u64() {
        Some(count) if contract.is_schema_2() => at.new_attr::<u64>().create(name.as_str())?.write_scalar(&count),
        _ => write_attribute(at, name, value),
    })
}

/// Writes `value` as an attribute: a number, a list of texts, or a text.
///
/// # Errors
/// The library's.
pub(crate) fn write_attribute(at: &Location, name: &str, value: &Value) -> Result5<()> {
    if let Some(number) = value.as_i64() {
        at.new_attr::<i64>().create(name)?.write_scalar(&number)
    } else if let Some(number) = value.as_f64() {
        at.new_attr::<f64>().create(name)?.write_scalar(&number)
    } else if let Some(list) = value.as_array() {
        let texts = list.iter().map(|item| unicode(&fields::to_text(item))).collect::<Result5<Array1<_>>>()?;
        at.new_attr_builder().with_data(texts.view()).create(name).map(drop)
    } else {
        at.new_attr::<VarLenUnicode>().create(name)?.write_scalar(&unicode(&fields::to_text(value))?)
    }
}

/// `text` as the library keeps it.
///
/// # Errors
/// A text with a zero byte.
pub(crate) fn unicode(text: &str) -> Result5<VarLenUnicode> {
    VarLenUnicode::from_str(text).map_err(|error| format!("{error} in {text:?}").into())
}

fn read_header(path: &Path) -> Result<(Contract, UnitHeader), StoreError> {
    let file = open(path)?;
    let attributes = read_attributes(&file).map_err(|error| read_error(path, &error))?;
    fields::parse(attributes).map_err(|error| StoreError::Corrupt { path: path.to_owned(), why: error.to_string() })
}

fn open(path: &Path) -> Result<File, StoreError> {
    // Asked first because the library does not tell an absent file from a damaged one.
    std::fs::metadata(path).map_err(io_error("open", path))?;
    open_file(path).map_err(|error| read_error(path, &error))
}

pub(super) fn read_attributes(file: &File) -> Result5<Map<String, Value>> {
    let mut names = file.attr_names()?;
    names.sort();
    let mut found = Map::new();
    for name in names {
        if let Some(value) = read_attribute(file, &name)? {
            found.insert(name, value);
        }
    }
    Ok(found)
}

/// `None` for attributes of types that the writer does not use: another tool's.
fn read_attribute(file: &File, name: &str) -> Result5<Option<Value>> {
    let attribute = file.attr(name)?;
    Ok(match attribute.dtype()?.to_descriptor()? {
        TypeDescriptor::VarLenUnicode if attribute.is_scalar() => {
            Some(attribute.read_scalar::<VarLenUnicode>()?.as_str().into())
        }
        TypeDescriptor::VarLenUnicode => {
            Some(attribute.read_raw::<VarLenUnicode>()?.iter().map(|text| Value::from(text.as_str())).collect())
        }
        TypeDescriptor::Integer(_) if attribute.is_scalar() => Some(attribute.read_scalar::<i64>()?.into()),
        TypeDescriptor::Unsigned(_) if attribute.is_scalar() => Some(attribute.read_scalar::<u64>()?.into()),
        TypeDescriptor::Float(_) if attribute.is_scalar() => Some(attribute.read_scalar::<f64>()?.into()),
        _ => None,
    })
}

fn read(path: &Path) -> Result<Unit, StoreError> {
    let (contract, header) = read_header(path)?;
    let file = open(path)?;
    let features = read_features(path, &file).map_err(|error| read_error(path, &error))?;
    let meta = read_meta(path, &file, features.nrows(), contract.row_kind).map_err(|error| read_error(path, &error))?;
    Ok(Unit { contract, header, meta, features })
}

fn read_features(path: &Path, file: &File) -> Result5<Array2<f32>> {
    let features = file.dataset("features")?;
    let elements = features.shape().into_iter().fold(4_u64, |bytes, extent| bytes.saturating_mul(extent as u64));
    foreign::expect(path, elements)?;
    match features.dtype()?.to_descriptor()? {
        // The library's own conversion of half precision goes bit by bit.
        TypeDescriptor::Float(FloatSize::U2) => Ok(features.read_2d::<f16>()?.mapv(f16::to_f32)),
        _ => features.read_2d::<f32>(),
    }
}

fn read_meta(path: &Path, file: &File, rows: usize, kind: RowKind) -> Result5<Vec<RowMeta>> {
    // Where rows have no features nothing else says that there are so many.
    foreign::expect(path, (rows as u64).saturating_mul(size_of::<u64>() as u64))?;
    let column = |name: &str| -> Result5<Dataset> {
        let column = file.dataset(name)?;
        let length = column.size();
        if length == rows { Ok(column) } else { Err(format!("{name} has {length} rows, features has {rows}").into()) }
    };
    let first_frame = read_frames(&column("first_frame")?)?;
    let last_frame = read_frames(&column("last_frame")?)?;
    let start_sec = column("start_sec")?.read_1d::<f64>()?;
    let end_sec = column("end_sec")?.read_1d::<f64>()?;
    let padded = read_flags(&column("padded")?)?;
    let missing = read_flags(&column("missing")?)?;
    let names = |name: &str| column(name)?.read_1d::<VarLenUnicode>();
    let clips = kind.names_clips().then(|| names("clip_uid")).transpose()?;
    let queries = kind.names_queries().then(|| names("query_id")).transpose()?;
    let row = |i: usize| -> Result5<RowMeta> {
        Ok(RowMeta {
            first_frame: first_frame[i],
            last_frame: last_frame[i],
            start_sec: start_sec[i],
            end_sec: end_sec[i],
            padded: padded[i],
            missing: missing[i],
            clip_uid: clips.as_ref().map(|names| clip_of_row(&names[i])).transpose()?.flatten(),
            query_id: queries.as_ref().map(|names| names[i].as_str().into()),
        })
    };
    (0..rows).map(row).collect()
}

/// Frame numbers, with a sign or, of schema 2, without.
fn read_frames(column: &Dataset) -> Result5<Array1<u64>> {
    if let TypeDescriptor::Unsigned(_) = column.dtype()?.to_descriptor()? {
        return column.read_1d::<u64>();
    }
    let numbers = column.read_1d::<i64>()?;
    let negative = numbers.iter().any(|&number| number < 0);
    if negative {
        Err(format!("{} holds a negative number", column.name()).into())
    } else {
        Ok(numbers.mapv(|n| n as u64))
    }
}

/// Flags, as booleans or, of schema 2, as bytes.
fn read_flags(column: &Dataset) -> Result5<Array1<bool>> {
    match column.dtype()?.to_descriptor()? {
        TypeDescriptor::Boolean => column.read_1d::<bool>(),
        _ => Ok(column.read_1d::<u8>()?.mapv(|flag| flag != 0)),
    }
}

fn read_error(path: &Path, error: &::hdf5::Error) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), why: error.to_string() }
}

/// A full device shows only as text, somewhere in the library's stack of messages.
pub(super) fn write_error(path: &Path, error: &::hdf5::Error) -> StoreError {
    let stack = error.stack();
    let messages = || stack.iter().flat_map(|stack| stack.iter()).map(|frame| frame.desc());
    if messages().any(|text| text.contains("No space left on device") || text.contains("Disk quota exceeded")) {
        return StoreError::DiskFull { path: path.to_owned() };
    }
    StoreError::Write { path: path.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn files_are_not_locked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unit.h5");
        let written = create_file(&path).unwrap();
        let other = std::fs::File::open(&path).unwrap();
        other.try_lock().unwrap();
        written.close().unwrap();
        open_file(&path).unwrap();
    }

    #[test]
    fn the_file_is_what_other_tools_expect() {
        let folder = tempfile::tempdir().unwrap();
        let path = samples::write_unit(folder.path(), &FORMAT, Dtype::F16);
        let file = File::open(&path).unwrap();
        let mut names = file.member_names().unwrap();
        names.sort();
        let columns =
            ["end_sec", "feature", "features", "first_frame", "last_frame", "missing", "padded", "row", "start_sec"];
        assert_eq!(names, columns);
        let descriptor = |name: &str| file.dataset(name).unwrap().dtype().unwrap().to_descriptor().unwrap();
        assert_eq!(descriptor("missing"), TypeDescriptor::Boolean);
        assert_eq!(descriptor("first_frame"), TypeDescriptor::Integer(::hdf5::types::IntSize::U8));
        let features = file.dataset("features").unwrap();
        assert_eq!(features.dtype().unwrap().to_descriptor().unwrap(), TypeDescriptor::Float(FloatSize::U2));
        assert_eq!(features.shape(), [samples::ROWS, samples::DIM]);
        assert_eq!(features.chunk().unwrap(), [samples::ROWS, samples::DIM]);
        assert!(features.filters().len() >= 2, "{:?}", features.filters());
        assert!(features.attr("axis").is_ok());
        assert_eq!(file.attr("dim").unwrap().read_scalar::<i64>().unwrap(), samples::DIM as i64);
        assert_eq!(file.attr("rows_per_sec").unwrap().read_scalar::<f64>().unwrap(), 1.875);
        assert_eq!(
            &std::fs::read(&path).unwrap()[..9],
            b"\x89HDF\r\n\x1a\n\0",
            "superblock version 0: readable by all"
        );
    }

    #[test]
    fn columns_of_another_length_are_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = samples::write_unit(folder.path(), &FORMAT, Dtype::F32);
        let file = File::open_rw(&path).unwrap();
        file.unlink("padded").unwrap();
        file.new_dataset::<u8>().shape(3).create("padded").unwrap();
        file.close().unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().contains("padded has 3 rows"), "{error}");
    }

    #[test]
    fn a_foreign_attribute_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = samples::write_unit(folder.path(), &FORMAT, Dtype::F32);
        let before = read(&path).unwrap();
        let file = File::open_rw(&path).unwrap();
        file.new_attr::<i32>().shape(2).create("mine").unwrap();
        file.close().unwrap();
        assert_eq!(samples::bits(&read(&path).unwrap()), samples::bits(&before));
    }

    #[test]
    fn a_file_whose_rows_were_damaged_does_not_read_as_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = samples::write_unit(folder.path(), &FORMAT, Dtype::F32);
        let features = File::open(&path).unwrap().dataset("features").unwrap();
        let chunk = features.chunk_info(0).unwrap();
        drop(features);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = (chunk.addr + chunk.size / 2) as usize;
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(read(&path), Err(StoreError::Corrupt { .. })));
    }
}
