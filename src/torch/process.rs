//! What is settled for libtorch and the whole process: who hands out memory (jemalloc, to Rust, libtorch and all others; a
//! fuzzer brings its own), how much is remembered of past computations, and how the process ends.

// Each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io::Write;

/// Hands out the memory of everything in this process, of libtorch and its like too, which find it under malloc's name.
#[cfg(not(fuzzing))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How it does so, where the variable `MALLOC_CONF` says nothing else (<https://jemalloc.net/jemalloc.3.html>, TUNING). In one
/// place for all threads, however large the piece; what was freed is kept for what is computed next (until
/// [`give_back_memory`]), for otherwise every tensor of every pass would be mapped by the system anew. No huge pages: on a
/// machine that has just lost a large process they take long to come.
#[cfg(not(fuzzing))]
#[unsafe(export_name = "malloc_conf")]
static MALLOC_CONF: &[u8; 49] = b"narenas:1,oversize_threshold:0,dirty_decay_ms:-1\0";

/// Gives memory that was freed back to the system: after a model was let go.
pub fn release_memory() {
    #[cfg(not(fuzzing))]
    {
        let (purge_all_arenas, null) = (c"arena.4096.purge", std::ptr::null_mut());
        // Sound: jemalloc's own function, which may be called at any time from any thread; it is asked for nothing, so that
        // nothing is written, and what it does not know it refuses.
        let _ = unsafe {
            tikv_jemalloc_sys::mallctl(purge_all_arenas.as_ptr(), null, null.cast(), null, 0)
        };
    }
}

/// What oneDNN and the layer above it remember of the convolutions they made: of 1024 of them unless told otherwise,
/// which every new size of image fills up by tens. These are of the last few sizes.
const CACHE_CAPACITIES: [(&str, &str); 2] =
    [("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256"), ("LRU_CACHE_CAPACITY", "64")];

/// Bounds what libtorch remembers of past computations, unless the environment does. It looks when it computes first: to be
/// called at the start of the process, and with a second thread running nothing is done.
pub fn limit_kernel_caches() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    for (name, value) in CACHE_CAPACITIES {
        if threads == 1 && std::env::var_os(name).is_none() {
            // Sound: no other thread is there that could read the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// Ends the process at once, with its exit code, once what was printed is out. libtorch's own end takes time and
/// pulls the ground from under a thread that still computes for a client that was cut off.
pub fn exit_process(code: u8) -> ! {
    unsafe extern "C" {
        fn _exit(status: c_int) -> !;
    }
    // Nobody is left to be told of a broken pipe.
    let _ = std::io::stdout().flush();
    // Sound: POSIX's own function; what it skips are destructors.
    unsafe { _exit(c_int::from(code)) }
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, c_void};
    use std::ptr::{null, null_mut};

    use tch::{Device, Kind, Tensor};
    use tikv_jemalloc_sys::mallctl;

    use super::*;

    /// What the allocator tells of `name`, about `of` if that is asked for.
    fn read_mallctl<T: Default>(name: &CStr, mut address: *const c_void) -> Option<T> {
        let mut value = T::default();
        let mut size = size_of::<T>();
        let input =
            if address.is_null() { (null_mut(), 0) } else { ((&raw mut address).cast(), 8) };
        // Sound: the answer has room for `size` bytes, which must be what is told, and `of` is a pointer of 8.
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
