//! Gradients that travel between processes while the backward pass computes others, as the shim does it.
//!
//! Not for what is done with them. Every rank must make the same calls in the same order, and no other call of the process group
//! between [`Reducer::begin`] and [`Reducer::finish`].

use std::ffi::{c_char, c_double};
use std::marker::PhantomData;

use tch::Tensor;
use torch_sys::C_tensor;

use super::error::{NativeError, pointers, taken};
use super::process_group::{ProcessGroup, RawProcessGroup};

/// The shim's own.
#[repr(C)]
struct RawReducer {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn egofx_reducer_new(
        group: *mut RawProcessGroup,
        weights: *const *mut C_tensor,
        n: usize,
        bucket_bytes: i64,
        reducer: *mut *mut RawReducer,
    ) -> *mut c_char;
    fn egofx_reducer_free(reducer: *mut RawReducer);
    fn egofx_reducer_begin(reducer: *mut RawReducer) -> *mut c_char;
    fn egofx_reducer_finish(reducer: *mut RawReducer, factor: c_double) -> *mut c_char;
}

/// Sums gradients over all ranks of a group.
pub struct Reducer<'g> {
    raw: *mut RawReducer,
    group: PhantomData<&'g ProcessGroup>,
}

impl<'g> Reducer<'g> {
    /// A reducer of the gradients of these leaves, in buckets of about `bucket_bytes`.
    ///
    /// # Errors
    /// One of them requires no gradient.
    pub fn new(group: &'g ProcessGroup, weights: &[Tensor], bucket_bytes: i64) -> Result<Self, NativeError> {
        let (list, mut raw) = (pointers(weights), std::ptr::null_mut());
        // SAFETY: a live group that outlives this, a list of live tensors that the shim takes shares of, and a place for one
        // pointer.
        taken(unsafe { egofx_reducer_new(group.raw(), list.as_ptr(), list.len(), bucket_bytes, &mut raw) })?;
        Ok(Self { raw, group: PhantomData })
    }

    /// Gradients of the backward pass that comes are final: they travel as soon as they are there.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn begin(&self) -> Result<(), NativeError> {
        // SAFETY: a live reducer.
        taken(unsafe { egofx_reducer_begin(self.raw) })
    }

    /// Sums what has not travelled yet, waits for all, and multiplies with `factor`. A weight that got a gradient on any rank has
    /// one on all.
    ///
    /// # Errors
    /// A rank has gone, or its weights have other shapes.
    pub fn finish(&self, factor: f64) -> Result<(), NativeError> {
        // SAFETY: a live reducer, whose weights' gradients are changed in place.
        taken(unsafe { egofx_reducer_finish(self.raw, factor) })
    }
}

impl Drop for Reducer<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new` and dropped once, before the group.
        unsafe { egofx_reducer_free(self.raw) };
    }
}
