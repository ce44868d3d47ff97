//! Activation (gradient) checkpointing: parts of a network whose inner values are not kept for the backward pass but computed once more
//! there, with the same dropout and the same precision.
//!
//! Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016. As with torch's reentrant form, a piece is
//! differentiated only if one of its inputs is.

use std::ffi::{CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;
use torch_sys::C_tensor;

use super::error::{NativeError, pointers, taken};

type Call = unsafe extern "C" fn(
    piece: *mut c_void,
    inputs: *const *mut C_tensor,
    n: usize,
    outputs: *mut *mut C_tensor,
    capacity: usize,
    count: *mut usize,
) -> *mut c_char;

unsafe extern "C" {
    fn egofx_recompute(
        call: Call,
        release: unsafe extern "C" fn(*mut c_void),
        piece: *mut c_void,
        inputs: *const *mut C_tensor,
        n: usize,
        outputs: *mut *mut C_tensor,
        capacity: usize,
        count: *mut usize,
    ) -> *mut c_char;
    fn strdup(text: *const c_char) -> *mut c_char;
}

/// Outputs that a piece may have at most.
const MOST_OUTPUTS: usize = 8;

type Piece = Box<dyn Fn(&[Tensor]) -> Vec<Tensor>>;

/// The outputs of `piece`, at most eight, for `inputs`.
///
/// # Errors
/// What libtorch says, in the forward pass; a panic of `piece` included.
pub fn recomputed(
    inputs: &[Tensor],
    piece: impl Fn(&[Tensor]) -> Vec<Tensor> + 'static,
) -> Result<Vec<Tensor>, NativeError> {
    let piece: Box<Piece> = Box::new(Box::new(piece));
    let list = pointers(inputs);
    let mut outputs = [std::ptr::null_mut(); MOST_OUTPUTS];
    let mut count = 0;
    // SAFETY: `call` and `release` take what `piece` was, and the shim releases it exactly once, whatever happens; the list
    // of live tensors is only read; there is room for as many outputs as is said. Backward passes call the piece on another
    // thread while this one waits for it, so that nothing is touched by two threads at once.
    taken(unsafe {
        egofx_recompute(
            call,
            release,
            Box::into_raw(piece).cast(),
            list.as_ptr(),
            list.len(),
            outputs.as_mut_ptr(),
            MOST_OUTPUTS,
            &mut count,
        )
    })?;
    // SAFETY: the first `count` were made by the shim, which hands them over.
    Ok(outputs[..count].iter().map(|&output| unsafe { Tensor::from_ptr(output) }).collect())
}

unsafe extern "C" fn call(
    piece: *mut c_void,
    inputs: *const *mut C_tensor,
    n: usize,
    outputs: *mut *mut C_tensor,
    capacity: usize,
    count: *mut usize,
) -> *mut c_char {
    let run = || {
        // SAFETY: `piece` is what `recomputed` made, alive until `release`; `inputs` are `n` live tensors.
        let (piece, inputs) = unsafe { (&*piece.cast::<Piece>(), std::slice::from_raw_parts(inputs, n)) };
        // SAFETY: live tensors, of which this makes references of its own.
        let inputs: Vec<Tensor> = inputs.iter().map(|&input| unsafe { Tensor::clone_from_ptr(input) }).collect();
        let made = piece(&inputs);
        assert!(made.len() <= capacity, "a piece of a network has {} outputs, expected at most {capacity}", made.len());
        made
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(made) => {
            // SAFETY: there is room for `capacity` outputs, which are handed over, and for their count.
            unsafe { *count = made.len() };
            for (place, mut tensor) in made.into_iter().enumerate() {
                unsafe { *outputs.add(place) = tensor.as_mut_ptr() };
                std::mem::forget(tensor);
            }
            std::ptr::null_mut()
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = CString::new(text.unwrap_or_else(|| "a piece of a network failed".into())).unwrap_or_default();
            // SAFETY: a text that lives until the copy is made; the shim frees the copy.
            unsafe { strdup(text.as_ptr()) }
        }
    }
}

unsafe extern "C" fn release(piece: *mut c_void) {
    // SAFETY: made by `recomputed`, released once.
    drop(unsafe { Box::from_raw(piece.cast::<Piece>()) });
}
