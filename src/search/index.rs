//! The index of a store: its rows as unit vectors in half precision, one behind the other in one file that is mapped into memory.
//!
//! Lies beside the rows as [`INDEX_FILE`], or where [`index_file`] says. Not for writing it (`build`), nor for comparing. Invariant: an index is used only if it
//! is whole and of exactly what the store's ledgers say; it is replaced as a whole, so that a reader keeps what it has opened.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::error::{SearchError, io_error};
use super::kernel::Kernel;
use super::layout::{HALF, HEADER, Header, Layout};
use crate::digest;
use crate::store::{Committed, StoreReader};

/// The file of an index, in the folder of its store.
pub const INDEX_FILE: &str = "search.index";

/// An open index.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    map: Mmap,
    header: Header,
    layout: Layout,
}

/// Whether there is an index that can be used.
pub enum Found {
    /// It is of what the store holds now.
    Current(Box<Index>),
    /// It is not there, of something else, or damaged; why, in words.
    Unusable(String),
}

/// The time that a row stands for, and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window<'i> {
    /// The video.
    pub video_uid: &'i str,
    /// The clip; empty if there is none.
    pub clip_uid: &'i str,
    /// Start in the video, in seconds.
    pub start_sec: f64,
    /// End, exclusive.
    pub end_sec: f64,
}

/// The file of the index of the store in `store`: in that folder, or in `folder` under a name that no other store has there.
///
/// # Errors
/// [`SearchError::Io`] if there is no such store.
pub fn index_file(store: &Path, folder: Option<&Path>) -> Result<PathBuf, SearchError> {
    let Some(folder) = folder else { return Ok(store.join(INDEX_FILE)) };
    let place = store.canonicalize().map_err(io_error("find the store of", store))?;
    let name = &digest::text(&place.to_string_lossy())[..16];
    let set = store.file_name().unwrap_or_default().to_string_lossy();
    Ok(folder.join(format!("{set}-{name}.{INDEX_FILE}")))
}

/// What tells whether an index is of these units: a digest of their names, revisions and hashes.
pub fn content(committed: &Committed) -> String {
    let line = |entry: &crate::store::LedgerEntry| format!("{} {} {}\n", entry.unit_uid, entry.revision, entry.sha256);
    digest::text(&committed.iter().map(line).collect::<String>())
}

impl Index {
    /// Looks for the index of `store`, whose ledgers say `committed`, in the file `path`.
    ///
    /// # Errors
    /// [`SearchError::Io`] if the file is there and cannot be read.
    pub fn find(store: &StoreReader, path: &Path, committed: &Committed) -> Result<Found, SearchError> {
        let index = match Self::open(path) {
            Err(SearchError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(Found::Unusable("there is none".to_owned()));
            }
            Err(SearchError::Damaged { why, .. }) => return Ok(Found::Unusable(format!("it is damaged: {why}"))),
            index => index?,
        };
        let Header { fingerprint, content: found, dim, .. } = &index.header;
        let contract = store.contract();
        let is_current = (fingerprint, *dim) == (&contract.fingerprint, contract.dim) && *found == content(committed);
        Ok(if is_current {
            Found::Current(Box::new(index))
        } else {
            Found::Unusable("the store has changed".to_owned())
        })
    }

    /// Opens the file `path`, whatever store it is of.
    ///
    /// # Errors
    /// [`SearchError::Io`], [`SearchError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, SearchError> {
        let file = File::open(path).map_err(io_error("open", path))?;
        // SAFETY: indexes are only ever replaced by a rename, which leaves the file that is mapped here as it is.
        let map = unsafe { Mmap::map(&file) }.map_err(io_error("map", path))?;
        let damaged = |why| SearchError::Damaged { path: path.to_owned(), why };
        let (header, layout) = Header::parse(&map).map_err(damaged)?;
        Ok(Self { path: path.to_owned(), map, header, layout })
    }

    /// Compares all bytes with their checksum, which reads the whole file.
    ///
    /// # Errors
    /// [`SearchError::Damaged`].
    pub fn check(&self) -> Result<(), SearchError> {
        let (found, expected) = (crc32fast::hash(&self.map[HEADER..]), self.header.crc32);
        if found == expected {
            Ok(())
        } else {
            Err(self.damaged(format!("its CRC-32 is {found:08x}, expected {expected:08x}")))
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.header.rows
    }

    /// Features in a row.
    pub fn dim(&self) -> usize {
        self.header.dim
    }

    /// Values from one row to the next; those behind the features are zero.
    pub fn stride(&self) -> usize {
        self.header.stride
    }

    /// All rows, little-endian halves `[rows, stride]`.
    pub fn matrix(&self) -> &[u8] {
        &self.map[self.layout.matrix.clone()]
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> usize {
        self.map.len()
    }

    /// A row in single precision, `stride` values.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> Vec<f32> {
        let mut wide = vec![0.0; self.stride()];
        let bytes = self.stride() * HALF;
        Kernel::best().widen(&self.matrix()[row * bytes..][..bytes], &mut wide);
        wide
    }

    /// Which place a row is of: rows of one clip of one video have the same.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn place(&self, row: usize) -> usize {
        u32::from_le_bytes(self.numbers(&self.layout.places)[row]) as usize
    }

    /// Start and end of a row, in seconds of its video.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn times(&self, row: usize) -> (f64, f64) {
        let [start, end] = [2 * row, 2 * row + 1].map(|at| f64::from_le_bytes(self.numbers(&self.layout.times)[at]));
        (start, end)
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.header.places
    }

    /// Video and clip of a place.
    ///
    /// # Errors
    /// [`SearchError::Damaged`] if the names are not where the file says.
    pub fn names(&self, place: usize) -> Result<(&str, &str), SearchError> {
        let end = |place: usize| Some(u64::from_le_bytes(*self.numbers(&self.layout.ends).get(place)?) as usize);
        let start = place.checked_sub(1).map_or(Some(0), end);
        let name = start.zip(end(place)).and_then(|(start, end)| self.map[self.layout.names.clone()].get(start..end));
        let name = name.and_then(|name| std::str::from_utf8(name).ok()).and_then(|name| name.split_once('\n'));
        name.ok_or_else(|| self.damaged(format!("it has no name of place {place}")))
    }

    /// The time that a row stands for, and where.
    ///
    /// # Errors
    /// [`SearchError::Damaged`].
    pub fn window(&self, row: usize) -> Result<Window<'_>, SearchError> {
        let ((start_sec, end_sec), (video_uid, clip_uid)) = (self.times(row), self.names(self.place(row))?);
        Ok(Window { video_uid, clip_uid, start_sec, end_sec })
    }

    fn numbers<const N: usize>(&self, part: &std::ops::Range<usize>) -> &[[u8; N]] {
        self.map[part.clone()].as_chunks().0
    }

    fn damaged(&self, why: String) -> SearchError {
        SearchError::Damaged { path: self.path.clone(), why }
    }
}
