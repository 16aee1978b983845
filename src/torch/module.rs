//! Loads TorchScript files, frozen for inference.

// Calls module.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::ffi::{take_c_string, tensor_from_raw, to_c_string};
use crate::error::{Error, Result};

/// Index of the processor where a GPU's index may stand.
const CPU_INDEX: c_int = -1;
/// Numbers of `c10::ScalarType`, which ffi.h asserts.
const SCALAR_TYPE_HALF: c_int = 5;
const SCALAR_TYPE_FLOAT: c_int = 6;
const SCALAR_TYPE_BFLOAT16: c_int = 15;

unsafe extern "C" {
    fn maskmaker_load_module(
        path: *const c_char,
        device: c_int,
        kind: c_int,
        optimize: bool,
        error_message: *mut *mut c_char,
    ) -> *mut c_void;
    fn maskmaker_run_module(
        module: *const c_void,
        input: *const C_tensor,
        error_message: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn maskmaker_drop_module(module: *mut c_void);
}

/// A frozen TorchScript module that computes logits from one tensor.
#[derive(Debug)]
pub struct FrozenModule(NonNull<c_void>);

// SAFETY: a module has no ties to the thread that loaded it, and `FrozenModule` is not `Sync`, so
// that one thread uses it at a time.
unsafe impl Send for FrozenModule {}

impl FrozenModule {
    /// Loads a file onto a device, with its floating-point numbers as `kind`: `Float`, `BFloat16`
    /// or `Half`.
    pub fn load(path: &Path, device: Device, kind: Kind) -> Result<Self> {
        let c_path = to_c_string(path.as_os_str().as_encoded_bytes(), "path")?;
        let device_index = match device {
            Device::Cuda(index) => index as c_int,
            _ => CPU_INDEX,
        };
        let scalar_type = match kind {
            Kind::BFloat16 => SCALAR_TYPE_BFLOAT16,
            Kind::Half => SCALAR_TYPE_HALF,
            _ => SCALAR_TYPE_FLOAT,
        };
        let optimize = device == Device::Cpu && kind == Kind::Float;
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the path ends with a zero byte and outlives the call, which lets no exception
        // out.
        let module = unsafe {
            maskmaker_load_module(
                c_path.as_ptr(),
                device_index,
                scalar_type,
                optimize,
                &raw mut error_message,
            )
        };
        let Some(module) = NonNull::new(module) else {
            let message = take_c_string(error_message);
            let first_line = message.lines().next().unwrap_or_default();
            let problem = format!("cannot be loaded as TorchScript: {first_line}");
            return Err(Error::input(problem));
        };
        Ok(Self(module))
    }

    /// Returns the logits for images `[batch, 3, height, width]`: the module's result, or the
    /// tensor in it as `extract_logits` in module.cpp finds it.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let mut error_message = std::ptr::null_mut();
        // SAFETY: module and tensor outlive the call, and the result is a new handle that this side
        // owns.
        let out = unsafe {
            maskmaker_run_module(self.0.as_ptr(), input.as_ptr(), &raw mut error_message)
        };
        tensor_from_raw(out, error_message)
    }
}

impl Drop for FrozenModule {
    fn drop(&mut self) {
        // SAFETY: `load` got the pointer from `new`, and `drop` runs once.
        unsafe { maskmaker_drop_module(self.0.as_ptr()) }
    }
}
