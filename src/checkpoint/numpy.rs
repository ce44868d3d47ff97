//! A dict of tensors as `np.save` writes it: an object array of no axes, pickled, with the tensors pickled inside.
//!
//! For code that was written for such files and reads them with `allow_pickle=True`, which runs whatever a pickle names:
//! this one names NumPy's and torch's own ways to rebuild an array and a tensor. Writing only; nothing here reads such a
//! file. Tensors lie in it as `torch.save` wrote them before 1.6.

use std::io::{self, Write};

use super::pickle::{Pickle, storage, strides};
use super::{Tensor, TensorInfo};

/// `.npy` of version 1.0: what the array is, filled up to a multiple of 64.
const HEADER: &str = "{'descr': '|O', 'fortran_order': False, 'shape': (), }";
/// The number that opens the old format, as a pickle.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Its version, as a pickle.
const VERSION: &[u8] = b"\x80\x02M\xe9\x03.";

/// Writes `np.save(out, {name: tensor, ...})`.
///
/// # Errors
/// What `out` says.
pub fn write_numpy_dict(mut out: impl Write, entries: &[(String, Tensor)]) -> io::Result<()> {
    let padded = format!("{HEADER:<117}\n");
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&(padded.len() as u16).to_le_bytes())?;
    out.write_all(padded.as_bytes())?;
    out.write_all(&array(entries))?;
    out.flush()
}

/// The pickle of the array.
fn array(entries: &[(String, Tensor)]) -> Vec<u8> {
    let mut pickle = Pickle::new(3);
    // _reconstruct(ndarray, (0,), b"b"), and then its state: version, shape, dtype, order, elements.
    pickle.global("numpy.core.multiarray", "_reconstruct").op(b'(').global("numpy", "ndarray").ints(&[0]);
    pickle.bytes(b"b").op(b't').op(b'R').op(b'(').int(1).op(b')');
    pickle.global("numpy", "dtype").op(b'(').text("O8").op(0x89).op(0x88).op(b't').op(b'R');
    pickle.op(b'(').int(3).text("|").op(b'N').op(b'N').op(b'N').integer(-1).integer(-1).int(63).op(b't').op(b'b');
    pickle.op(0x89).op(b']').op(b'(').op(b'}').op(b'(');
    for (index, (name, tensor)) in entries.iter().enumerate() {
        pickle.text(name);
        tensor_in(&mut pickle, index, tensor);
    }
    pickle.op(b'u').op(b'e').op(b't').op(b'b').op(b'.');
    pickle.into_bytes()
}

/// `_rebuild_tensor_v2(_load_from_bytes(...), 0, shape, strides, False, OrderedDict())`.
fn tensor_in(pickle: &mut Pickle, index: usize, tensor: &Tensor) {
    pickle.global("torch._utils", "_rebuild_tensor_v2").op(b'(');
    pickle.global("torch.storage", "_load_from_bytes").op(b'(').bytes(&legacy(index, tensor)).op(b't').op(b'R');
    pickle.int(0).ints(&tensor.shape).ints(&strides(&tensor.shape)).op(0x89).ordered_dict().op(b't').op(b'R');
}

/// A storage as `torch.save` wrote it before 1.6.
fn legacy(index: usize, tensor: &Tensor) -> Vec<u8> {
    let key = index.to_string();
    let TensorInfo { dtype, shape } = tensor.info();
    let elements: usize = shape.iter().product();
    let mut system = Pickle::new(2);
    system.op(b'}').op(b'(').text("protocol_version").int(1001).text("little_endian").op(0x88).text("type_sizes");
    system.op(b'}').op(b'(').text("short").int(2).text("int").int(4).text("long").int(4).op(b'u').op(b'u').op(b'.');
    let mut value = Pickle::new(2);
    value.op(b'(').text("storage").global("torch", storage(dtype)).text(&key).text("cpu").int(elements).op(b'N');
    value.op(b't').op(b'Q').op(b'.');
    let mut keys = Pickle::new(2);
    keys.op(b']').op(b'(').text(&key).op(b'e').op(b'.');
    let parts = [system, value, keys].map(Pickle::into_bytes);
    let [system, value, keys] = parts.each_ref().map(Vec::as_slice);
    let length = (elements as u64).to_le_bytes();
    [MAGIC, VERSION, system, value, keys, &length, &tensor.bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pickle_begins_at_a_multiple_of_64() {
        let mut bytes = Vec::new();
        write_numpy_dict(&mut bytes, &[("a".into(), Tensor::from_f32(vec![1], &[1.0]))]).unwrap();
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        assert_eq!((bytes[127], bytes[128], bytes[129]), (b'\n', 0x80, 3));
    }
}
