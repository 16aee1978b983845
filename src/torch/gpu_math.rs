//! Settings of a GPU's arithmetic. They hold for the whole process, and change nothing on a
//! processor.

// Calls gpu_math.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_char;

use super::ffi::check_call;
use crate::error::Result;

unsafe extern "C" {
    fn maskmaker_set_gpu_math(
        allow_tf32: bool,
        deterministic: bool,
        error_message: *mut *mut c_char,
    ) -> bool;
}

/// The trade of a GPU's speed for accuracy and repeatability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMath {
    /// True if convolutions of 32-bit floats may be computed in TF32, with 10 bits of mantissa, on
    /// GPUs of compute capability 8.0 and later.
    pub allow_tf32: bool,
    /// True if each computation gives the same bits each time. Operations that cannot are errors.
    pub deterministic: bool,
}

impl GpuMath {
    /// Makes these the settings of the process.
    pub fn apply(self) -> Result<()> {
        let Self { allow_tf32, deterministic } = self;
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the call takes two flags and a place for its message.
        let is_done =
            unsafe { maskmaker_set_gpu_math(allow_tf32, deterministic, &raw mut error_message) };
        check_call(is_done, error_message)
    }
}

/// Lets cuDNN try its algorithms for each new shape of a convolution and keep the fastest, or choose
/// by rules. Trying takes as long as tens of steps, so it pays for shapes that come again.
pub fn set_convolution_autotuning(is_on: bool) {
    tch::Cuda::cudnn_set_benchmark(is_on);
}
