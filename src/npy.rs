//! `.npy`, NumPy's form of one array: floats of half, single or double precision, of either byte order.
//!
//! Not for archives of arrays, nor for writing. Invariant: nothing is run: an array of Python objects, which is a pickle, is
//! refused; and no more memory is asked for than bytes are there.

use std::io::{self, Read};

use half::f16;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};

/// What every `.npy` begins with.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that is read; those of arrays of numbers take 128 bytes.
const LONGEST_HEADER: u32 = 1 << 16;

/// Why there is no array of floats.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are something else.
    #[error("{0}")]
    Foreign(String),
    /// Elements that are no floats.
    #[error("{}", elements(.0))]
    Dtype(String),
    /// The bytes end too early.
    #[error("{found} bytes of elements where its header promises {expected}")]
    Short {
        /// Bytes that shape and type ask for.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
}

/// Words for a type that is none of floats.
fn elements(descr: &str) -> String {
    match descr {
        "|O" | "O" => "Python objects, which are a pickle, and nothing of a pickle is run".to_owned(),
        descr => format!("elements of type {descr}"),
    }
}

/// What an array is, by its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// NumPy's name of the element's type: `<f4`, `|O`, ...
    pub descr: String,
    /// Whether the first axis is the one that changes fastest.
    pub fortran_order: bool,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
}

/// An array in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Npy {
    header: Header,
    bytes: Vec<u8>,
}

impl Header {
    /// Reads what stands before the elements.
    ///
    /// # Errors
    /// [`NpyError::Foreign`], [`NpyError::Io`].
    pub fn read(reader: &mut impl Read) -> Result<Self, NpyError> {
        let foreign = |what: &str| NpyError::Foreign(what.to_owned());
        let mut start = [0; 8];
        read_exact(reader, &mut start)?;
        if &start[..6] != MAGIC {
            return Err(foreign("a file that does not begin as one"));
        }
        let length = match start[6] {
            1 => u32::from(u16::from_le_bytes(bytes_of(reader)?)),
            2 | 3 => u32::from_le_bytes(bytes_of(reader)?),
            version => return Err(NpyError::Foreign(format!("version {version} of the format"))),
        };
        if length > LONGEST_HEADER {
            return Err(NpyError::Foreign(format!("a header of {length} bytes")));
        }
        let mut text = vec![0; length as usize];
        read_exact(reader, &mut text)?;
        Self::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| foreign("a header without type, order and shape"))
    }

    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str) -> Option<Self> {
        let after = |key: &str| text.split_once(key).map(|(_, rest)| rest.trim_start_matches([' ', ':']));
        let descr = after("'descr'")?;
        let descr = match descr.strip_prefix('\'') {
            Some(quoted) => quoted.split('\'').next()?,
            // A record: a list of names and types.
            None => descr.split("'fortran_order'").next()?.trim_end_matches([' ', ',']),
        };
        let shape = after("'shape'")?.strip_prefix('(')?.split(')').next()?;
        let extents = shape.split(',').map(|extent| extent.trim().trim_end_matches('L')).filter(|e| !e.is_empty());
        Some(Self {
            descr: descr.to_owned(),
            fortran_order: after("'fortran_order'")?.starts_with("True"),
            shape: extents.map(str::parse).collect::<Result<_, _>>().ok()?,
        })
    }

    /// Bytes of an element and whether the first of them is the highest; `None` for what is no float.
    fn float(&self) -> Option<(u64, bool)> {
        let (order, kind) = self.descr.split_at_checked(1)?;
        let size = match kind {
            "f2" => 2,
            "f4" => 4,
            "f8" => 8,
            _ => return None,
        };
        let is_big = match order {
            "<" => false,
            ">" => true,
            "=" | "|" => cfg!(target_endian = "big"),
            _ => return None,
        };
        Some((size, is_big))
    }

    /// Whether elements are floats.
    pub fn is_float(&self) -> bool {
        self.float().is_some()
    }
}

/// As `read_exact`, and a file that ends is no failure of the system.
fn read_exact(reader: &mut impl Read, into: &mut [u8]) -> Result<(), NpyError> {
    reader.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => NpyError::Foreign("a file that ends within its header".to_owned()),
        _ => NpyError::Io(error),
    })
}

fn bytes_of<const N: usize>(reader: &mut impl Read) -> Result<[u8; N], NpyError> {
    let mut bytes = [0; N];
    read_exact(reader, &mut bytes)?;
    Ok(bytes)
}

impl Npy {
    /// Reads header and elements; what stands behind them is left alone.
    ///
    /// # Errors
    /// Any [`NpyError`].
    pub fn read(mut reader: impl Read) -> Result<Self, NpyError> {
        let header = Header::read(&mut reader)?;
        let (size, is_big) = header.float().ok_or_else(|| NpyError::Dtype(header.descr.clone()))?;
        let count = header.shape.iter().try_fold(size, |bytes, &extent| bytes.checked_mul(extent as u64));
        let expected = count.ok_or_else(|| NpyError::Foreign(format!("an array of shape {:?}", header.shape)))?;
        let mut bytes = Vec::new();
        let found = reader.take(expected).read_to_end(&mut bytes)? as u64;
        if found < expected {
            return Err(NpyError::Short { expected, found });
        }
        if is_big {
            bytes.chunks_exact_mut(size as usize).for_each(<[u8]>::reverse);
        }
        Ok(Self { header, bytes })
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The array in single precision, in row-major order; `f64` is rounded to the nearest.
    pub fn to_f32(&self) -> ArrayD<f32> {
        self.map(f16::to_f32, |value| value, |value| value as f32)
    }

    /// The array in double precision, in row-major order, unrounded.
    pub fn to_f64(&self) -> ArrayD<f64> {
        self.map(|value| f64::from(value.to_f32()), f64::from, |value| value)
    }

    fn map<T: Clone + Default>(
        &self,
        half: impl Fn(f16) -> T,
        single: impl Fn(f32) -> T,
        double: impl Fn(f64) -> T,
    ) -> ArrayD<T> {
        let values: Vec<T> = match self.header.float() {
            Some((2, _)) => self.bytes.as_chunks().0.iter().map(|b| half(f16::from_le_bytes(*b))).collect(),
            Some((4, _)) => self.bytes.as_chunks().0.iter().map(|b| single(f32::from_le_bytes(*b))).collect(),
            _ => self.bytes.as_chunks().0.iter().map(|b| double(f64::from_le_bytes(*b))).collect(),
        };
        let shape = IxDyn(self.shape());
        let array = ArrayD::from_shape_vec(shape.set_f(self.header.fortran_order), values);
        let array = array.expect("as many values as the shape says: the bytes were counted by it");
        if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};
    use ndarray_npy::WriteNpyExt;

    use super::*;

    fn file(descr: &str, order: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), elements].concat()
    }

    fn values() -> Array2<f32> {
        array![[1.0, -2.5, 0.0], [7.0, 0.125, 1e-3]]
    }

    #[test]
    fn floats_of_every_width_and_order_are_read() {
        let coarse = values().mapv(|value| f16::from_f32(value).to_f32()).into_dyn();
        let bytes = |each: &dyn Fn(f32) -> Vec<u8>| values().iter().flat_map(|&value| each(value)).collect::<Vec<u8>>();
        for (descr, elements, expected) in [
            ("'<f4'", bytes(&|v| v.to_le_bytes().into()), values().into_dyn()),
            ("'>f4'", bytes(&|v| v.to_be_bytes().into()), values().into_dyn()),
            ("'<f8'", bytes(&|v| f64::from(v).to_le_bytes().into()), values().into_dyn()),
            ("'<f2'", bytes(&|v| f16::from_f32(v).to_le_bytes().into()), coarse.clone()),
            ("'>f2'", bytes(&|v| f16::from_f32(v).to_be_bytes().into()), coarse),
        ] {
            let npy = Npy::read(&file(descr, "False", "(2L, 3)", &elements)[..]).unwrap();
            assert_eq!((npy.shape(), npy.to_f32()), (&[2, 3][..], expected.clone()), "{descr}");
            assert_eq!(npy.to_f64(), expected.mapv(f64::from), "{descr}");
        }
        let columns: Vec<u8> = values().t().iter().flat_map(|value| value.to_le_bytes()).collect();
        let npy = Npy::read(&file("'<f4'", "True", "(2, 3)", &columns)[..]).unwrap();
        assert_eq!(npy.to_f32(), values().into_dyn());
        assert!(npy.to_f32().is_standard_layout());
    }

    #[test]
    fn what_others_write_is_read() {
        let mut bytes = Vec::new();
        values().write_npy(&mut bytes).unwrap();
        bytes.extend(b"and what stands behind it");
        assert_eq!(Npy::read(&bytes[..]).unwrap().to_f32(), values().into_dyn());
        assert_eq!(Npy::read(&file("'<f4'", "False", "()", &[0; 4])[..]).unwrap().shape(), &[0; 0]);
    }

    #[test]
    fn what_is_no_array_of_floats_is_said() {
        let said = |bytes: &[u8]| Npy::read(bytes).unwrap_err().to_string();
        assert!(said(&file("'|O'", "False", "()", b"cos\nsystem")).contains("nothing of a pickle is run"));
        assert_eq!(said(&file("'<i8'", "False", "(1,)", &[0; 8])), "elements of type <i8");
        assert!(said(&file("[('a', '<f4')]", "False", "(1,)", &[0; 4])).contains("[('a', '<f4')]"));
        assert_eq!(said(b"not numpy"), "a file that does not begin as one");
        assert_eq!(said(b"\x93NUM"), "a file that ends within its header");
        assert!(said(b"\x93NUMPY\x09\x00\x00\x00").contains("version 9"));
        let short = said(&file("'<f4'", "False", "(2, 3)", &[0; 8]));
        assert_eq!(short, "8 bytes of elements where its header promises 24");
        // No memory is asked for on a header's word.
        assert!(said(&file("'<f4'", "False", "(99999999999, 3)", &[0; 8])).contains("1199999999988"));
        assert!(said(&file("'<f4'", "False", "(9999999999999, 9999999999999)", &[])).starts_with("an array of shape"));
        assert!(said(&file("'<f4'", "False", "(-1, 3)", &[])).starts_with("a header without"));
    }
}
