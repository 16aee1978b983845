//! TorchScript files, frozen for inference.

// The border to module.cpp: each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::c_string::take_c_string;
use super::convolution::tensor_from_raw;
use crate::error::{Error, Result};

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

/// A frozen module that turns one tensor into logits.
#[derive(Debug)]
pub struct FrozenModule(NonNull<c_void>);

// Sound: a module has no ties to the thread that loaded it, and only one thread has it at a time.
unsafe impl Send for FrozenModule {}

impl FrozenModule {
    /// Loads a file onto a device with its floating-point numbers as `kind`: `Float`, `BFloat16` or `Half`.
    pub fn load(path: &Path, device: Device, kind: Kind) -> Result<Self> {
        let c_path = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| Error::input("the path holds a zero byte"))?;
        let device_index = match device {
            Device::Cuda(index) => index as c_int,
            _ => -1,
        };
        // c10::ScalarType.
        let scalar_type = match kind {
            Kind::BFloat16 => 15,
            Kind::Half => 5,
            _ => 6,
        };
        let optimize = device == Device::Cpu && kind == Kind::Float;
        let mut error_message = std::ptr::null_mut();
        // Sound: the text ends with a zero and lives through the call, which lets no exception out.
        let module = unsafe {
            maskmaker_load_module(
                c_path.as_ptr(),
                device_index,
                scalar_type,
                optimize,
                &raw mut error_message,
            )
        };
        NonNull::new(module).map(Self).ok_or_else(|| {
            let message = take_c_string(error_message);
            let first_line = message.lines().next().unwrap_or_default();
            Error::input(format!("cannot be loaded as TorchScript: {first_line}"))
        })
    }

    /// The logits for `[batch, 3, height, width]`: the module's result, or what is `out` in it.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let mut error_message = std::ptr::null_mut();
        // Sound: module and tensor live through the call; the result is a new handle.
        let out = unsafe {
            maskmaker_run_module(self.0.as_ptr(), input.as_ptr(), &raw mut error_message)
        };
        tensor_from_raw(out, error_message)
    }
}

impl Drop for FrozenModule {
    fn drop(&mut self) {
        // Sound: `load` got it from `new`, and this is its only end.
        unsafe { maskmaker_drop_module(self.0.as_ptr()) }
    }
}
