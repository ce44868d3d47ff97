//! What libtorch has and tch does not bind: CUDA at run time, optimiser steps on tensors that can be saved, norms,
//! autocast, activation checkpointing, process groups; and how glibc keeps memory.
//!
//! The only folder with `unsafe`. Not for what is done with these; see `device`, `optimizer` and `distributed`.

mod error;
mod process_group;
mod recompute;
mod reducer;

pub use error::NativeError;
pub use process_group::{ProcessGroup, Rendezvous};
pub use recompute::recomputed;
pub use reducer::Reducer;

use std::ffi::{CStr, c_char, c_double, c_int};

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use error::{pointers, taken};

/// Tensors up to this size are kept for the next step; where glibc does not take the first, the second is its largest.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: [c_int; 2] = [1 << 30, 32 << 20];

unsafe extern "C" {
    fn egofx_libtorch_version() -> *const c_char;
    fn egofx_load_cuda() -> *mut c_char;
    fn egofx_cuda_peak_bytes(device: c_int, bytes: *mut i64) -> *mut c_char;
    fn egofx_adam(
        decoupled: c_int,
        params: *const *mut C_tensor,
        grads: *const *mut C_tensor,
        exp_avgs: *const *mut C_tensor,
        exp_avg_sqs: *const *mut C_tensor,
        steps: *const *mut C_tensor,
        n: usize,
        lr: c_double,
        beta1: c_double,
        beta2: c_double,
        decay: c_double,
        eps: c_double,
    ) -> *mut c_char;
    fn egofx_scale(tensors: *const *mut C_tensor, n: usize, factor: c_double) -> *mut c_char;
    fn egofx_zero_grad(weights: *const *mut C_tensor, n: usize) -> *mut c_char;
    fn egofx_autocast(cuda: c_int, enabled: c_int, dtype: i8) -> *mut c_char;
    fn egofx_pin_memory(tensor: *mut C_tensor, pinned: *mut *mut C_tensor) -> *mut c_char;
    fn egofx_norm(tensors: *const *mut C_tensor, n: usize, norm: *mut c_double) -> *mut c_char;
}

/// The version of libtorch that this was compiled with.
pub fn libtorch_version() -> String {
    // SAFETY: a constant text of the library.
    unsafe { CStr::from_ptr(egofx_libtorch_version()) }.to_string_lossy().into_owned()
}

/// Lets glibc keep what is freed, as far as its own variables (`MALLOC_TRIM_THRESHOLD_` and so on) do not say otherwise.
///
/// A step allocates what the step before has freed. By default glibc gives large tensors back to the kernel, which clears
/// their pages anew for each step. Must come before there are threads.
#[cfg(target_env = "gnu")]
pub fn keep_freed_memory() {
    let is_told = ["GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];
    if is_told.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    // SAFETY: takes plain numbers; no other thread allocates yet.
    unsafe {
        let _taken = KEPT_BYTES.into_iter().any(|bytes| libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) == 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, c_int::MAX);
    }
}

/// There is nothing to say to other libraries.
#[cfg(not(target_env = "gnu"))]
pub fn keep_freed_memory() {}

/// Loads the driver and libtorch's CUDA half. Must come before the first call that asks libtorch for CUDA, seeding
/// included: what is not there by then is never looked for again.
///
/// # Errors
/// What the loader of libraries says.
pub fn load_cuda() -> Result<(), NativeError> {
    // SAFETY: takes nothing, and `taken` frees what it gives.
    taken(unsafe { egofx_load_cuda() })
}

/// The most bytes that tensors on GPU number `device` took at once so far. CUDA must have been loaded.
///
/// # Errors
/// What libtorch says.
pub fn cuda_peak_bytes(device: usize) -> Result<u64, NativeError> {
    let mut bytes = 0;
    // SAFETY: a place for one number.
    taken(unsafe { egofx_cuda_peak_bytes(c_int::try_from(device).unwrap_or(0), &mut bytes) })?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Lets this process see one of the GPUs that it would see, number `local_rank` modulo how many there are, as number 0.
/// Must come before [`load_cuda`], and before there are threads.
pub fn show_gpu(local_rank: u32) {
    const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
    let listed = std::env::var(VISIBLE).ok();
    let mut visible: Vec<String> = listed.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
    if listed.is_none() {
        // The driver lists what there is.
        let gpus = std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count);
        visible = (0..gpus).map(|gpu| gpu.to_string()).collect();
    }
    if !visible.is_empty() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var(VISIBLE, &visible[local_rank as usize % visible.len()]) };
    }
}

/// The weight decay of Adam.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// Added to the gradient, as in Adam.
    L2,
    /// Taken off the weight before the step, as in AdamW (Loshchilov and Hutter, 2019).
    Decoupled,
}

/// Parameters of one step of [`adam`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the two running means.
    pub betas: (f64, f64),
    /// Weight decay.
    pub decay: f64,
    /// Added to the root of the second mean after its bias was corrected.
    pub eps: f64,
    /// How the weights decay.
    pub kind: Decay,
}

/// One step of Adam, in place; `steps` are single-precision scalars that count steps, and rise by one before it.
///
/// # Errors
/// Tensors whose shapes, types or devices do not fit.
pub fn adam(
    step: AdamStep,
    params: &[Tensor],
    grads: &[Tensor],
    exp_avgs: &[Tensor],
    exp_avg_sqs: &[Tensor],
    steps: &[Tensor],
) -> Result<(), NativeError> {
    let [p, g, m, v, s] = [params, grads, exp_avgs, exp_avg_sqs, steps].map(pointers);
    if [&g, &m, &v, &s].iter().any(|list| list.len() != p.len()) {
        return Err(NativeError(format!("an optimiser step over {} weights got lists of other lengths", p.len())));
    }
    let (decoupled, (beta1, beta2)) = (c_int::from(step.kind == Decay::Decoupled), step.betas);
    // SAFETY: five lists of `p.len()` live tensors, which the call changes in place and does not keep.
    taken(unsafe {
        egofx_adam(
            decoupled,
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            s.as_ptr(),
            p.len(),
            step.lr,
            beta1,
            beta2,
            step.decay,
            step.eps,
        )
    })
}

/// Multiplies all tensors by `factor`, in place.
///
/// # Errors
/// What libtorch says.
pub fn scale(tensors: &[Tensor], factor: f64) -> Result<(), NativeError> {
    let list = pointers(tensors);
    // SAFETY: a list of live tensors, changed in place and not kept.
    taken(unsafe { egofx_scale(list.as_ptr(), list.len(), factor) })
}

/// Drops the gradients of all weights.
///
/// # Errors
/// What libtorch says.
pub fn zero_grad(weights: &[Tensor]) -> Result<(), NativeError> {
    let list = pointers(weights);
    // SAFETY: a list of live tensors, whose gradients are released.
    taken(unsafe { egofx_zero_grad(list.as_ptr(), list.len()) })
}

/// A copy of a tensor of the CPU's in pinned memory, which the driver reads by itself while the CPU goes on.
///
/// # Errors
/// What libtorch says, above all that there is no GPU.
pub fn pin_memory(tensor: &Tensor) -> Result<Tensor, NativeError> {
    let mut pinned = std::ptr::null_mut();
    // SAFETY: a live tensor that is only read, and a place for the one that is made.
    taken(unsafe { egofx_pin_memory(tensor.as_ptr().cast_mut(), &mut pinned) })?;
    // SAFETY: made by the shim, which hands it over.
    Ok(unsafe { Tensor::from_ptr(pinned) })
}

/// The 2-norm over all tensors together; 0 for none.
///
/// # Errors
/// What libtorch says.
pub fn norm(tensors: &[Tensor]) -> Result<f64, NativeError> {
    let (list, mut norm) = (pointers(tensors), 0.0);
    // SAFETY: a list of live tensors that is only read, and a place for one number.
    taken(unsafe { egofx_norm(list.as_ptr(), list.len(), &mut norm) }).map(|()| norm)
}

/// Switches the computing of this thread on `device` to `kind` where operators gain from it, or back with `None`.
///
/// # Errors
/// What libtorch says.
pub fn autocast(device: Device, kind: Option<Kind>) -> Result<(), NativeError> {
    // libtorch's numbers of types: half 5, bfloat16 15.
    let number = if kind == Some(Kind::Half) { 5 } else { 15 };
    let is_cuda = matches!(device, Device::Cuda(_));
    // SAFETY: takes and keeps plain numbers.
    taken(unsafe { egofx_autocast(c_int::from(is_cuda), c_int::from(kind.is_some()), number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_and_scales_are_over_all_tensors() {
        let tensors = [Tensor::from_slice(&[3.0f32]), Tensor::from_slice(&[0.0f32, 4.0])];
        assert_eq!(norm(&tensors).unwrap(), 5.0);
        scale(&tensors, 0.5).unwrap();
        assert_eq!(norm(&tensors).unwrap(), 2.5);
        assert_eq!(norm(&[]).unwrap(), 0.0);
    }

    #[test]
    fn lists_of_other_lengths_are_refused() {
        let step = AdamStep { lr: 1.0, betas: (0.9, 0.999), decay: 0.0, eps: 1e-8, kind: Decay::L2 };
        let one = [Tensor::from_slice(&[1.0f32])];
        let error = adam(step, &one, &one, &one, &[], &one).unwrap_err().to_string();
        assert_eq!(error, "an optimiser step over 1 weights got lists of other lengths");
    }
}
