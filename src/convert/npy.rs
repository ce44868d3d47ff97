//! NumPy arrays in files and archives.
//!
//! Writing only, and only arrays of single precision; the format is `ndarray-npy`'s. Invariant: what is written needs no
//! `allow_pickle`.

use std::io::{self, Cursor, Write};

use ndarray::Array2;
use ndarray_npy::{WriteNpyError, WriteNpyExt};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Writes `[rows, dim]` as `.npy`.
pub(super) fn write(out: impl Write, values: &Array2<f32>) -> io::Result<()> {
    values.as_standard_layout().write_npy(out).map_err(|error| match error {
        WriteNpyError::Io(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

/// An `.npz` of one array under `name`.
pub(super) fn archive(name: &str, values: &Array2<f32>) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    zip.start_file(format!("{name}.npy"), options)?;
    write(&mut zip, values)?;
    Ok(zip.finish()?.into_inner())
}
