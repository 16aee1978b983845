//! NVIDIA's driver, which is opened at run time (`cuda.h`,
//! <https://docs.nvidia.com/cuda/cuda-driver-api/>).

// Calls the driver; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::transmute;

use tch::Device;

use super::device::default_device;
use super::dynamic_library::DynamicLibrary;

/// Attributes of a device as cuda.h numbers them: `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`
/// and `..._MINOR`.
const COMPUTE_CAPABILITY_MAJOR: c_int = 75;
const COMPUTE_CAPABILITY_MINOR: c_int = 76;

/// Result of a call that did what it was asked (`CUDA_SUCCESS`).
const SUCCESS: c_int = 0;

/// A GPU that this process sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Name of the product, such as `Tesla V100-SXM2-16GB`.
    pub name: String,
    /// Compute capability, such as (8, 0) for an A100.
    pub capability: (i32, i32),
    pub memory_bytes: u64,
}

/// NVIDIA's driver, ready to be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct CudaDriver(DynamicLibrary);

impl CudaDriver {
    /// Opens the driver's library. An error is the dynamic linker's own words.
    pub(super) fn open() -> Result<Self, String> {
        DynamicLibrary::open(c"libcuda.so.1").map(Self)
    }

    /// Starts the driver, before which it answers nothing but its version. An error says why it
    /// does not start.
    pub(super) fn start(self) -> Result<(), String> {
        type Init = unsafe extern "C" fn(c_uint) -> c_int;
        let init = self.find(c"cuInit")?;
        // SAFETY: `cuInit` has this signature in every driver.
        let status = unsafe { transmute::<*mut c_void, Init>(init)(0) };
        if status == SUCCESS { Ok(()) } else { Err(self.describe_error(status)) }
    }

    /// Returns the latest version of CUDA that the driver runs, such as (12, 8).
    pub(super) fn cuda_version(self) -> Option<(i32, i32)> {
        let version = self.read_integer(c"cuDriverGetVersion")?;
        Some((version / 1000, version % 1000 / 10))
    }

    /// Lists the GPUs that this process sees, once the driver has started.
    pub(super) fn gpus(self) -> Vec<Gpu> {
        let count = self.read_integer(c"cuDeviceGetCount").unwrap_or_default();
        (0..count).filter_map(|number| self.describe_gpu(number)).collect()
    }

    fn describe_gpu(self, number: c_int) -> Option<Gpu> {
        type GetDevice = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
        type GetName = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
        type GetMemory = unsafe extern "C" fn(*mut usize, c_int) -> c_int;
        type GetAttribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
        let get_device = self.find(c"cuDeviceGet").ok()?;
        let get_name = self.find(c"cuDeviceGetName").ok()?;
        let get_memory = self.find(c"cuDeviceTotalMem_v2").ok()?;
        let get_attribute = self.find(c"cuDeviceGetAttribute").ok()?;
        let (mut device, mut major, mut minor) = (0, 0, 0);
        let mut memory = 0;
        let mut name = [0 as c_char; 256];
        // SAFETY: the functions have these signatures in every driver. They write to what they are
        // given, a name within the length that they are told, and keep no pointer.
        let statuses = unsafe {
            let get_attribute = transmute::<*mut c_void, GetAttribute>(get_attribute);
            let length = name.len() as c_int;
            [
                transmute::<*mut c_void, GetDevice>(get_device)(&raw mut device, number),
                transmute::<*mut c_void, GetName>(get_name)(name.as_mut_ptr(), length, device),
                transmute::<*mut c_void, GetMemory>(get_memory)(&raw mut memory, device),
                get_attribute(&raw mut major, COMPUTE_CAPABILITY_MAJOR, device),
                get_attribute(&raw mut minor, COMPUTE_CAPABILITY_MINOR, device),
            ]
        };
        if statuses != [SUCCESS; 5] {
            return None;
        }
        let bytes = name.map(|character| character as u8);
        let name = CStr::from_bytes_until_nul(&bytes).unwrap_or_default();
        Some(Gpu {
            name: name.to_string_lossy().into_owned(),
            capability: (major, minor),
            memory_bytes: memory as u64,
        })
    }

    /// Calls a function that writes a number.
    fn read_integer(self, function: &CStr) -> Option<c_int> {
        type Read = unsafe extern "C" fn(*mut c_int) -> c_int;
        let address = self.find(function).ok()?;
        let mut value = 0;
        // SAFETY: `function` is one of those that write an integer and have this signature.
        let status = unsafe { transmute::<*mut c_void, Read>(address)(&raw mut value) };
        (status == SUCCESS).then_some(value)
    }

    /// Returns the driver's words for a status.
    fn describe_error(self, status: c_int) -> String {
        type GetErrorString = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;
        let mut text: *const c_char = std::ptr::null();
        if let Ok(address) = self.find(c"cuGetErrorString") {
            // SAFETY: the function has this signature in every driver, and writes null or the
            // address of a text that lasts as long as the driver.
            unsafe { transmute::<*mut c_void, GetErrorString>(address)(status, &raw mut text) };
        }
        if text.is_null() {
            return format!("error {status}");
        }
        // SAFETY: not null, so it is such a text.
        let text = unsafe { CStr::from_ptr(text) };
        format!("error {status}, {}", text.to_string_lossy())
    }

    fn find(self, function: &CStr) -> Result<*mut c_void, String> {
        let missing = || format!("libcuda.so.1 has no function {}", function.to_string_lossy());
        self.0.find_symbol(function).ok_or_else(missing)
    }
}

/// Returns the first visible GPU's compute capability, such as (8, 0) for an A100.
pub fn compute_capability() -> Option<(i32, i32)> {
    describe_first_gpu().map(|gpu| gpu.capability)
}

/// Returns the bytes of memory of the GPU that [`default_device`] is, if it is one.
pub fn gpu_memory_bytes() -> Option<u64> {
    match default_device() {
        Device::Cuda(_) => describe_first_gpu().map(|gpu| gpu.memory_bytes),
        _ => None,
    }
}

fn describe_first_gpu() -> Option<Gpu> {
    let driver = CudaDriver::open().ok()?;
    driver.start().ok()?;
    driver.describe_gpu(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_have_a_name_and_a_compute_capability() {
        let Ok(driver) = CudaDriver::open() else {
            assert_eq!(compute_capability(), None);
            return;
        };
        if driver.start().is_ok() {
            for gpu in driver.gpus() {
                assert!(gpu.capability >= (3, 0) && !gpu.name.is_empty(), "{gpu:?}");
            }
        }
        let error = driver.describe_error(100);
        assert!(error.starts_with("error 100, "), "{error}");
    }
}
