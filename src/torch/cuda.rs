//! Finds the first NVIDIA GPU. libtorch's GPU libraries are not linked, so that one program runs
//! with and without them; where they lie beside libtorch, they are opened before libtorch is used.

// Calls the dynamic linker and NVIDIA's driver; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use tch::{Cuda, Device};

const RTLD_NOW: c_int = 2;
const RTLD_GLOBAL: c_int = 0x100;
/// Attributes of a device as cuda.h numbers them: `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`
/// and `..._MINOR`.
const COMPUTE_CAPABILITY_MAJOR: c_int = 75;
const COMPUTE_CAPABILITY_MINOR: c_int = 76;

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Returns the device to compute on: the first GPU that libtorch can use, else the processor.
/// `CUDA_VISIBLE_DEVICES` chooses another GPU, or none when it is empty.
///
/// The first call must come before any other use of libtorch in the process, which looks for its
/// GPU part only once.
pub fn default_device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    *DEVICE.get_or_init(|| {
        let has_cuda_library = open_library(c"libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL).is_some();
        if has_cuda_library && Cuda::is_available() { Device::Cuda(0) } else { Device::Cpu }
    })
}

/// Returns the first visible GPU's compute capability, such as (8, 0) for an A100.
pub fn compute_capability() -> Option<(i32, i32)> {
    type Init = unsafe extern "C" fn(u32) -> c_int;
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
    let driver = open_library(c"libcuda.so.1", RTLD_NOW)?;
    let (init, get_device) =
        (find_symbol(driver, c"cuInit")?, find_symbol(driver, c"cuDeviceGet")?);
    let get_attribute = find_symbol(driver, c"cuDeviceGetAttribute")?;
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

fn open_library(library: &CStr, flags: c_int) -> Option<*mut c_void> {
    // SAFETY: the name ends with a zero byte, and the libraries' constructors are NVIDIA's and
    // libtorch's own, which linking the libraries would run as well.
    let handle = unsafe { dlopen(library.as_ptr(), flags) };
    (!handle.is_null()).then_some(handle)
}

fn find_symbol(library: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the library was opened and is never closed, and the name ends with a zero byte.
    let address = unsafe { dlsym(library, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_none() {
        assert!(open_library(c"libnothing-of-this-name.so", RTLD_NOW).is_none());
        let libc = open_library(c"libc.so.6", RTLD_NOW).unwrap();
        assert!(
            find_symbol(libc, c"strlen").is_some()
                && find_symbol(libc, c"no such function").is_none()
        );
    }

    #[test]
    fn a_gpu_has_a_compute_capability_and_the_processor_none() {
        if let Device::Cuda(_) = default_device() {
            assert!(compute_capability().unwrap() >= (7, 0));
        }
    }
}
