//! NVIDIA GPUs of this host. libtorch's GPU libraries are not linked, so that one program runs
//! with and without them; where they lie beside libtorch, they are opened before libtorch is used.

// Calls NVIDIA's driver; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::OnceLock;

use tch::{Cuda, Device};

use super::dynamic_library::DynamicLibrary;

/// Attributes of a device as cuda.h numbers them: `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`
/// and `..._MINOR`.
const COMPUTE_CAPABILITY_MAJOR: c_int = 75;
const COMPUTE_CAPABILITY_MINOR: c_int = 76;

/// Returns the device to compute on: the first GPU that libtorch can use, else the processor.
/// `CUDA_VISIBLE_DEVICES` chooses another GPU, or none when it is empty.
///
/// The first call must come before any other use of libtorch in the process, which looks for its
/// GPU part only once.
pub fn default_device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    *DEVICE.get_or_init(|| {
        let has_cuda_library = DynamicLibrary::open_for_others(c"libtorch_cuda.so").is_ok();
        if has_cuda_library && Cuda::is_available() { Device::Cuda(0) } else { Device::Cpu }
    })
}

/// Returns the number of GPUs that libtorch can use.
pub fn gpu_count() -> usize {
    match default_device() {
        Device::Cuda(_) => usize::try_from(Cuda::device_count()).unwrap_or_default(),
        _ => 0,
    }
}

/// Returns the first visible GPU's compute capability, such as (8, 0) for an A100.
pub fn compute_capability() -> Option<(i32, i32)> {
    type Init = unsafe extern "C" fn(u32) -> c_int;
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
    let driver = DynamicLibrary::open(c"libcuda.so.1").ok()?;
    let (init, get_device) = (driver.find_symbol(c"cuInit")?, driver.find_symbol(c"cuDeviceGet")?);
    let get_attribute = driver.find_symbol(c"cuDeviceGetAttribute")?;
    let (mut device, mut major, mut minor) = (0, 0, 0);
    // SAFETY: the three functions have these signatures in every driver (cuda.h), write to the
    // integers given to them and keep no pointer.
    let statuses = unsafe {
        let init: Init = std::mem::transmute(init);
        let get_device: Get = std::mem::transmute(get_device);
        let get_attribute: Attribute = std::mem::transmute(get_attribute);
        [
            init(0),
            get_device(&raw mut device, 0),
            get_attribute(&raw mut major, COMPUTE_CAPABILITY_MAJOR, device),
            get_attribute(&raw mut minor, COMPUTE_CAPABILITY_MINOR, device),
        ]
    };
    (statuses == [0; 4]).then_some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_counted_and_have_a_compute_capability() {
        if let Device::Cuda(_) = default_device() {
            assert!(compute_capability().unwrap() >= (7, 0));
            assert!(gpu_count() > 0);
        } else {
            assert_eq!(gpu_count(), 0);
        }
    }
}
