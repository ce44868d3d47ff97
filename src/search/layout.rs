//! Where what stands in the file of an index.
//!
//! ```text
//! 0      header    JSON, filled up with blanks to 4096 bytes
//! 4096   matrix    rows x stride halves: unit vectors, zeros behind the first `dim` values of a row
//!        times     rows x 2 doubles: start and end of each window in the video, in seconds
//!        places    rows x u32: which place a row is of
//!        ends      places x u64: where the name of each place ends
//!        names     of all places, behind one another: video, a line break, clip or nothing
//! ```
//!
//! All of it little-endian. Not for reading rows. Invariant: a header that is accepted fits the length of its file.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What the length of a row is a multiple of.
pub const LANES: usize = 32;
/// Bytes of a half.
pub const HALF: usize = 2;
/// Bytes of the header.
pub const HEADER: usize = 4096;
/// Version of the layout; it rises with every change.
pub const VERSION: u32 = 1;
/// What the header calls the file.
const FORMAT: &str = "egofx search index";

/// What precedes the rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always the same words.
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Name of the feature set.
    pub feature_set: String,
    /// Fingerprint of the store's contract.
    pub fingerprint: String,
    /// Digest of what was committed.
    pub content: String,
    /// Features in a row.
    pub dim: usize,
    /// Values from one row to the next.
    pub stride: usize,
    /// Rows that have features.
    pub rows: usize,
    /// Videos and clips that rows are of.
    pub places: usize,
    /// Bytes of their names.
    pub names: usize,
    /// CRC-32 of everything behind the header.
    pub crc32: u32,
}

/// Where the parts of a file are.
#[derive(Debug, Clone)]
pub struct Layout {
    pub matrix: Range<usize>,
    pub times: Range<usize>,
    pub places: Range<usize>,
    pub ends: Range<usize>,
    pub names: Range<usize>,
}

impl Header {
    /// Of an index without rows.
    pub fn new(feature_set: &str, fingerprint: &str, content: String, dim: usize) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            feature_set: feature_set.to_owned(),
            fingerprint: fingerprint.to_owned(),
            content,
            dim,
            stride: dim.next_multiple_of(LANES),
            rows: 0,
            places: 0,
            names: 0,
            crc32: 0,
        }
    }

    /// The bytes with which the file begins; `None` if they do not fit.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).ok()?;
        (bytes.len() < HEADER).then(|| {
            bytes.resize(HEADER - 1, b' ');
            bytes.push(b'\n');
            bytes
        })
    }

    /// The header of a file, and where its parts are; or what is wrong with it.
    pub fn parse(file: &[u8]) -> Result<(Self, Layout), String> {
        let bytes = file.get(..HEADER).ok_or_else(|| format!("it has {} bytes, fewer than a header", file.len()))?;
        let header: Self = serde_json::from_slice(bytes).map_err(|error| format!("its header is none: {error}"))?;
        if (header.format.as_str(), header.version) != (FORMAT, VERSION) {
            return Err(format!("it is {:?} of version {}, expected {VERSION}", header.format, header.version));
        }
        if header.stride != header.dim.next_multiple_of(LANES) || header.dim == 0 {
            return Err(format!("rows of {} features in {} values", header.dim, header.stride));
        }
        let layout = header.layout().ok_or("its header promises more than any file has")?;
        match layout.names.end {
            length if length == file.len() => Ok((header, layout)),
            length => Err(format!("it has {} bytes, its header says {length}", file.len())),
        }
    }

    fn layout(&self) -> Option<Layout> {
        let mut end = HEADER;
        let mut part = |count: usize, each: usize| {
            let start = end;
            end = start.checked_add(count.checked_mul(each)?)?;
            Some(start..end)
        };
        Some(Layout {
            matrix: part(self.rows, self.stride.checked_mul(HALF)?)?,
            times: part(self.rows, 16)?,
            places: part(self.rows, 4)?,
            ends: part(self.places, 8)?,
            names: part(self.names, 1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_fits_its_file_or_is_refused() {
        let mut header = Header::new("set", "f", "c".into(), 40);
        (header.rows, header.places, header.names) = (3, 1, 5);
        let length = HEADER + 3 * (64 * 2 + 16 + 4) + 8 + 5;
        let file = |header: &Header, length: usize| {
            let mut file = header.to_bytes().unwrap();
            file.resize(length, 0);
            file
        };
        let (read, layout) = Header::parse(&file(&header, length)).unwrap();
        assert_eq!((read, layout.names), (header.clone(), length - 5..length));
        for (bytes, words) in [
            (file(&header, length - 1), "its header says"),
            (file(&header, 100), "fewer than a header"),
            (vec![b'x'; length], "its header is none"),
            (file(&Header { version: 2, ..header.clone() }, length), "of version 2, expected 1"),
            (file(&Header { rows: usize::MAX, ..header.clone() }, length), "more than any file has"),
            (file(&Header { stride: 1, ..header.clone() }, length), "rows of 40 features in 1 values"),
        ] {
            let error = Header::parse(&bytes).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
