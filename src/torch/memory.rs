//! Looking into a tensor's memory, keeping libtorch's within bounds, and leaving without taking libtorch down.

// Each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_int;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// The elements of a dense tensor of 32-bit floats on the processor, in the order of its indices, without a copy.
pub fn floats(tensor: &Tensor) -> Result<&[f32]> {
    let fits = tensor.device() == Device::Cpu
        && tensor.kind() == Kind::Float
        && tensor.is_contiguous()
        && !tensor.is_sparse();
    if !fits {
        return Err(Error::internal("only dense 32-bit floats on the CPU can be looked into"));
    }
    let (first, count) = (tensor.data_ptr().cast::<f32>().cast_const(), tensor.numel());
    if count == 0 {
        return Ok(&[]);
    }
    // Sound: a contiguous tensor has `numel` elements one after the other from its data pointer on, they live as
    // long as the tensor that is borrowed, and nobody here writes to a tensor that others look into.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

/// What oneDNN and the layer above it remember of the convolutions they made: of 1024 of them unless told otherwise,
/// which every new size of image fills up by tens. These are of the last few sizes.
const CACHES: [(&str, &str); 2] =
    [("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256"), ("LRU_CACHE_CAPACITY", "64")];

/// Bounds what libtorch keeps of past computations, unless the environment says otherwise. To be called at the start of
/// the process: libtorch reads this when it computes first, and with a second thread running nothing is done.
pub fn bound_caches() {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    for (name, value) in CACHES {
        if threads == 1 && std::env::var_os(name).is_none() {
            // Sound: no other thread is there that could read the environment meanwhile.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// Gives memory that was freed back to the system: after a model was loaded, and after one was let go.
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> c_int;
        }
        // Sound: glibc's own function, which may be called at any time from any thread.
        let _ = unsafe { malloc_trim(0) };
    }
}

/// Ends the process at once, with its exit code. libtorch's own end pulls the ground from under a thread that still
/// computes for a client that was cut off.
pub fn leave(code: u8) -> ! {
    unsafe extern "C" {
        fn _exit(status: c_int) -> !;
    }
    // Sound: POSIX's own function; what it skips are destructors.
    unsafe { _exit(c_int::from(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_seen_in_the_order_of_their_indices() {
        let tensor = Tensor::arange(6, (Kind::Float, Device::Cpu)).reshape([2, 3]);
        assert_eq!(floats(&tensor).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(floats(&tensor.transpose(0, 1)).is_err(), "not contiguous");
        assert!(floats(&tensor.to_kind(Kind::Double)).is_err());
        assert!(floats(&Tensor::zeros([0], (Kind::Float, Device::Cpu))).unwrap().is_empty());
        give_back_memory();
    }
}
