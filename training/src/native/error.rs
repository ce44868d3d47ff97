//! What calls of the shim give back: nothing, or a message.

use std::ffi::{CStr, c_char};

use tch::Tensor;
use torch_sys::C_tensor;

unsafe extern "C" {
    fn egofx_free(text: *mut c_char);
}

/// What libtorch, or the loader of libraries, says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NativeError(pub(super) String);

pub(super) fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(|tensor| tensor.as_ptr().cast_mut()).collect()
}

/// The message at `text`, freed; `Ok` where there is none.
pub(super) fn taken(text: *mut c_char) -> Result<(), NativeError> {
    if text.is_null() {
        return Ok(());
    }
    // SAFETY: not null, and made by `strdup` in the shim, which hands it over.
    let message = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: as above; nothing points into it any more.
    unsafe { egofx_free(text) };
    Err(NativeError(message))
}
