//! The Reducer of PyTorch's `DistributedDataParallel`.

// Calls process_group.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::fmt;
use std::ptr::NonNull;

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::{check_call, take_error, tensor_pointers};
use super::foreach;
use super::process_group::{ProcessGroup, RawProcessGroup};
use crate::error::Result;

/// C++'s `maskmaker_reducer`.
#[repr(C)]
struct RawReducer {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn maskmaker_make_reducer(
        group: *const RawProcessGroup,
        parameters: *const *const C_tensor,
        count: usize,
        error_message: *mut *mut c_char,
    ) -> *mut RawReducer;
    fn maskmaker_prepare_exchange(
        reducer: *mut RawReducer,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_drop_reducer(reducer: *mut RawReducer);
}

/// The Reducer of `DistributedDataParallel`, which averages gradients over all ranks while the
/// backward pass computes the next ones.
pub struct GradientReducer {
    raw: NonNull<RawReducer>,
    /// Parameters whose gradients are averaged.
    parameters: Vec<Tensor>,
}

impl GradientReducer {
    /// Makes a reducer of the gradients of `parameters`, which are the same on all ranks. Every
    /// backward pass must compute a gradient of each.
    pub fn new(group: &ProcessGroup, parameters: Vec<Tensor>) -> Result<Self> {
        let pointers = tensor_pointers(&parameters);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: group and tensors live until the call is over; the C++ side keeps references.
        let raw = unsafe {
            maskmaker_make_reducer(
                group.as_ptr(),
                pointers.as_ptr(),
                pointers.len(),
                &raw mut error_message,
            )
        };
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { raw, parameters }),
            None => Err(take_error(error_message)),
        }
    }

    /// Makes the gradients 0 before the first backward pass of a step. They keep their memory,
    /// which is that of the buckets.
    pub fn zero_gradients(&self) -> Result<()> {
        let mut gradients = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let gradient = parameter.f_grad()?;
            if gradient.defined() {
                gradients.push(gradient);
            }
        }
        tch::no_grad(|| foreach::zero(&mut gradients))
    }

    /// Lets the next backward pass replace each gradient, with what earlier passes of the step left
    /// in it, by its mean over all ranks. The forward pass is done by then. Without this call a
    /// backward pass exchanges nothing.
    pub fn prepare_exchange(&mut self) -> Result<()> {
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the reducer lives as long as `self`, which is borrowed for writing.
        let is_done =
            unsafe { maskmaker_prepare_exchange(self.raw.as_ptr(), &raw mut error_message) };
        check_call(is_done, error_message)
    }
}

impl Drop for GradientReducer {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `maskmaker_make_reducer`, and nothing uses it later.
        unsafe { maskmaker_drop_reducer(self.raw.as_ptr()) }
    }
}

impl fmt::Debug for GradientReducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GradientReducer")
            .field("parameters", &self.parameters.len())
            .finish_non_exhaustive()
    }
}
