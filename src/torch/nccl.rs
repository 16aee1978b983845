//! NVIDIA's collectives (NCCL) for tensors on GPUs. They come from a library of their own
//! (`scripts/nccl.sh` builds it), because the program starts without NVIDIA's libraries, too.

// Calls nccl/nccl.cpp through a library that is opened at run time; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::time::Duration;

use super::dynamic_library::DynamicLibrary;
use super::ffi::{check_call, to_milliseconds};
use super::process_group::{ProcessGroup, RawProcessGroup};
use super::store::{RawStore, Store};
use crate::error::{Error, Result};

/// Signature of `maskmaker_add_nccl` in nccl.cpp.
type AddNccl = unsafe extern "C" fn(
    group: *const RawProcessGroup,
    store: *const RawStore,
    device: c_int,
    timeout_ms: i64,
    error_message: *mut *mut c_char,
) -> bool;

/// Opens the library by which GPUs exchange tensors.
///
/// # Errors
///
/// The library is missing, or was built for another libtorch.
pub fn open_nccl_library() -> Result<()> {
    open_library().map(drop)
}

fn open_library() -> Result<DynamicLibrary> {
    DynamicLibrary::open(c"libmaskmaker_nccl.so").map_err(|cause| {
        Error::input(format!(
            "GPUs exchange gradients by libmaskmaker_nccl.so, which cannot be opened ({cause}); it \
             lies beside libtorch, and scripts/nccl.sh builds it; on one host --device cuda:0 trains \
             on one GPU without it"
        ))
    })
}

impl ProcessGroup {
    /// Lets the group exchange tensors on a GPU of this process, too, which is given by its number.
    /// Every rank calls this, after [`default_device`](super::default_device) has opened libtorch's
    /// GPU libraries. `timeout` is the longest time of each exchange.
    ///
    /// # Errors
    ///
    /// The library is missing ([`open_nccl_library`]), or NCCL does not start.
    pub fn add_nccl(&self, store: &Store, gpu: usize, timeout: Duration) -> Result<()> {
        let library = open_library()?;
        let Some(address) = library.find_symbol(c"maskmaker_add_nccl") else {
            return Err(Error::internal("libmaskmaker_nccl.so lacks maskmaker_add_nccl"));
        };
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the library is built from nccl.cpp, whose function has this signature; group and
        // store outlive the call, and the C++ side keeps references of its own.
        let is_done = unsafe {
            let add_nccl: AddNccl = std::mem::transmute(address);
            let timeout_ms = to_milliseconds(timeout);
            add_nccl(
                self.as_ptr(),
                store.as_ptr(),
                gpu as c_int,
                timeout_ms,
                &raw mut error_message,
            )
        };
        check_call(is_done, error_message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_told_with_what_builds_it() {
        let timeout = Duration::from_mins(1);
        let store = Store::serve_on_loopback(timeout).unwrap();
        let group = ProcessGroup::join(&store, 0, 1, "127.0.0.1", timeout, timeout).unwrap();
        if super::super::gpu_count() > 0 {
            return;
        }
        // Where the library is there, libtorch's GPU libraries are not open.
        let error = group.add_nccl(&store, 0, timeout).unwrap_err().to_string();
        assert!(error.contains("libmaskmaker_nccl.so") && error.contains("nccl.sh"), "{error}");
    }
}
