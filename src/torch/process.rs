//! Settings of the whole process: the memory allocator (jemalloc, for Rust, libtorch and all other
//! libraries; a fuzzer brings its own), the sizes of libtorch's caches, and how the process ends.

// Calls jemalloc and the system, and sets environment variables; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io::Write;

/// Allocator of Rust code. libtorch and other libraries find the same jemalloc under malloc's name.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Settings of jemalloc, unless the variable `MALLOC_CONF` overrides them
/// (<https://jemalloc.net/jemalloc.3.html>, TUNING):
///
/// - `narenas:1,oversize_threshold:0`: one arena for all threads and for pieces of any size.
/// - `dirty_decay_ms:-1`: freed memory is kept for the next computation until [`release_memory`];
///   otherwise the system would map the tensors of every pass anew.
///
/// Huge pages stay off: on a machine that has just lost a large process, the system takes long to
/// provide them.
#[cfg(not(fuzzing))]
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; 49] = b"narenas:1,oversize_threshold:0,dirty_decay_ms:-1\0";

/// Returns freed memory to the system. Called after a model was unloaded.
pub fn release_memory() {
    #[cfg(not(fuzzing))]
    {
        let (purge_all_arenas, null) = (c"arena.4096.purge", std::ptr::null_mut());
        // SAFETY: `mallctl` is jemalloc's own function, and any thread may call it at any time. No
        // old and no new value is passed, so nothing is read or written through pointers, and
        // unknown names are refused.
        let _ = unsafe {
            tikv_jemalloc_sys::mallctl(purge_all_arenas.as_ptr(), null, null.cast(), null, 0)
        };
    }
}

/// Variables by which libtorch and its libraries are set.
const LIBRARY_VARIABLES: [(&str, &str); 3] = [
    // Capacities of the caches of compiled convolutions, in entries: oneDNN's own and that of
    // libtorch's layer above it. The default is 1024 for each, which every new image size fills by
    // tens. These capacities hold the last few sizes.
    ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256"),
    ("LRU_CACHE_CAPACITY", "64"),
    // Work spaces of cuBLAS, 8 of 4096 KiB: without one of two settings libtorch refuses to
    // multiply matrices on a GPU in deterministic training.
    ("CUBLAS_WORKSPACE_CONFIG", ":4096:8"),
];

/// Sets `LIBRARY_VARIABLES`, unless the environment says otherwise. The libraries read them at
/// their first computation, so this must run at the start of the process. Does nothing if a second
/// thread runs already.
pub fn set_library_variables() {
    for (name, value) in LIBRARY_VARIABLES {
        if std::env::var_os(name).is_none() {
            set_variable_at_start(name, value);
        }
    }
}

/// Sets a variable of the environment for this process. Does nothing and returns false if a second
/// thread runs already.
pub(super) fn set_variable_at_start(name: &str, value: &str) -> bool {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 {
        return false;
    }
    // SAFETY: the process has one thread, so no other can read the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
    true
}

/// Flushes standard output and ends the process at once with this exit code. libtorch's destructors
/// would take time, and would free memory that a thread may still use which computes for a client
/// that was cut off.
pub fn exit_process(code: u8) -> ! {
    unsafe extern "C" {
        fn _exit(status: c_int) -> !;
    }
    // A broken pipe can no longer be reported.
    let _ = std::io::stdout().flush();
    // SAFETY: `_exit` is POSIX's own function, takes any status, and skips only destructors.
    unsafe { _exit(c_int::from(code)) }
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, c_void};
    use std::ptr::{null, null_mut};

    use tch::{Device, Kind, Tensor};
    use tikv_jemalloc_sys::mallctl;

    use super::*;

    /// Reads a value of jemalloc by name. A non-null `address` is the question's argument.
    fn read_mallctl<T: Default>(name: &CStr, mut address: *const c_void) -> Option<T> {
        let mut value = T::default();
        let mut size = size_of::<T>();
        let input =
            if address.is_null() { (null_mut(), 0) } else { ((&raw mut address).cast(), 8) };
        // SAFETY: `value` has room for `size` bytes, jemalloc writes no more and says how many, and
        // `address` is a pointer of 8 bytes.
        let status = unsafe {
            mallctl(name.as_ptr(), (&raw mut value).cast(), &raw mut size, input.0, input.1)
        };
        (status == 0 && size == size_of::<T>()).then_some(value)
    }

    #[test]
    fn one_allocator_serves_rust_and_libtorch_as_settled() {
        let tensor = Tensor::zeros([1 << 20], (Kind::Float, Device::Cpu));
        let rust_memory = vec![0u8; 1 << 20];
        for address in [tensor.data_ptr().cast_const(), rust_memory.as_ptr().cast()] {
            assert_eq!(read_mallctl::<u32>(c"arenas.lookup", address), Some(0));
        }
        let stack_byte = 0u8;
        assert_eq!(read_mallctl::<u32>(c"arenas.lookup", (&raw const stack_byte).cast()), None);
        assert_eq!(read_mallctl::<u32>(c"opt.narenas", null()), Some(1));
        assert_eq!(read_mallctl::<isize>(c"opt.dirty_decay_ms", null()), Some(-1));
    }

    #[test]
    fn what_is_no_longer_used_goes_back_when_asked() {
        let resident_mib = || -> usize {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap();
            status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4 / 1024
        };
        drop(Tensor::ones([64 << 20], (Kind::Float, Device::Cpu)));
        let mib_before = resident_mib();
        release_memory();
        let mib_after = resident_mib();
        assert!(mib_after + 200 < mib_before, "{mib_after} MiB of {mib_before}");
    }
}
