//! `c10d` process groups, over Gloo or NCCL, as the shim makes them.
//!
//! Not for what they say to each other: see `distributed`. Every rank must make the same calls in the same order; a call waits
//! for all of them.

use std::ffi::{CString, c_char, c_int};

use tch::Tensor;
use torch_sys::C_tensor;

use super::error::{NativeError, pointers, taken};

/// The shim's own.
#[repr(C)]
pub(super) struct RawProcessGroup {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn egofx_process_group_join(
        rank: c_int,
        size: c_int,
        host: *const c_char,
        port: u16,
        serves: c_int,
        timeout_s: i64,
        prefix: *const c_char,
        with_nccl: c_int,
        group: *mut *mut RawProcessGroup,
    ) -> *mut c_char;
    fn egofx_process_group_leave(group: *mut RawProcessGroup);
    fn egofx_process_group_all_reduce(group: *mut RawProcessGroup, tensor: *mut C_tensor) -> *mut c_char;
    fn egofx_process_group_broadcast(
        group: *mut RawProcessGroup,
        tensors: *const *mut C_tensor,
        n: usize,
        root: c_int,
    ) -> *mut c_char;
    fn egofx_process_group_all_gather(
        group: *mut RawProcessGroup,
        tensor: *mut C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// Where processes meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    /// This process, from 0.
    pub rank: u32,
    /// How many there are.
    pub size: u32,
    /// The host of the store by which they find each other.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether this process keeps the store.
    pub serves: bool,
    /// Seconds that a call waits for the others.
    pub timeout_s: u32,
    /// Distinguishes several process groups at one store.
    pub prefix: String,
}

/// A group of processes; left when it is dropped.
pub struct ProcessGroup(*mut RawProcessGroup);

impl ProcessGroup {
    /// Waits until all have come. With `with_nccl` tensors on GPUs travel by NCCL, else by way of the CPU.
    ///
    /// # Errors
    /// Some have not come in time, or the host or port is no good.
    pub fn join(rendezvous: &Rendezvous, with_nccl: bool) -> Result<Self, NativeError> {
        let text = |text: &str| CString::new(text).map_err(|error| NativeError(error.to_string()));
        let (host, prefix) = (text(&rendezvous.host)?, text(&rendezvous.prefix)?);
        let int = |number: u32| c_int::try_from(number).unwrap_or(c_int::MAX);
        let mut group = std::ptr::null_mut();
        // SAFETY: two texts that outlive the call, and a place for one pointer.
        taken(unsafe {
            egofx_process_group_join(
                int(rendezvous.rank),
                int(rendezvous.size),
                host.as_ptr(),
                rendezvous.port,
                c_int::from(rendezvous.serves),
                i64::from(rendezvous.timeout_s),
                prefix.as_ptr(),
                c_int::from(with_nccl),
                &mut group,
            )
        })?;
        Ok(Self(group))
    }

    pub(super) fn raw(&self) -> *mut RawProcessGroup {
        self.0
    }

    /// Sums a tensor over all ranks, in place.
    ///
    /// # Errors
    /// A rank has gone, or its tensor has another shape.
    pub fn all_reduce(&self, tensor: &mut Tensor) -> Result<(), NativeError> {
        // SAFETY: a live group and a live tensor, which is changed in place and not kept.
        taken(unsafe { egofx_process_group_all_reduce(self.0, tensor.as_mut_ptr()) })
    }

    /// Overwrites tensors by those of rank 0.
    ///
    /// # Errors
    /// As for [`Self::all_reduce`].
    pub fn broadcast(&self, tensors: &[Tensor]) -> Result<(), NativeError> {
        let list = pointers(tensors);
        // SAFETY: a live group, and a list of live tensors that are changed in place and not kept.
        taken(unsafe { egofx_process_group_broadcast(self.0, list.as_ptr(), list.len(), 0) })
    }

    /// The tensors `[n, ...]` of all ranks in their order, `[ranks n, ...]`; `n` must be equal. Not differentiable.
    ///
    /// # Errors
    /// As for [`Self::all_reduce`].
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Tensor, NativeError> {
        let mut out = std::ptr::null_mut();
        // SAFETY: a live group, a live tensor that is only read, and a place for one pointer.
        taken(unsafe { egofx_process_group_all_gather(self.0, tensor.as_ptr().cast_mut(), &mut out) })?;
        // SAFETY: the shim made it and hands it over.
        Ok(unsafe { Tensor::from_ptr(out) })
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // SAFETY: made by `join` and dropped once.
        unsafe { egofx_process_group_leave(self.0) };
    }
}
