//! Counts of libtorch's operators, by which tests see what a piece of work asks of a device.

// Calls operator_counts.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};

use super::ffi::take_error;
use crate::error::Result;

/// C++'s `maskmaker_operator_counter`.
#[repr(C)]
struct RawOperatorCounter {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn maskmaker_start_counting(error_message: *mut *mut c_char) -> *mut RawOperatorCounter;
    fn maskmaker_stop_counting(
        counter: *mut RawOperatorCounter,
        take: extern "C" fn(context: *mut c_void, name: *const c_char, count: i64),
        context: *mut c_void,
    );
}

/// Numbers of calls by the name of the operator, such as `aten::add_.Tensor`. `aten::cumsum` has its
/// type (`aten::cumsum of Float`), and `aten::nll_loss2d_forward` a suffix if it adds the losses of
/// pixels up.
pub(crate) type OperatorCounts = BTreeMap<String, i64>;

extern "C" fn take_count(context: *mut c_void, name: *const c_char, count: i64) {
    // SAFETY: `count_operators` passes a map that it does not use meanwhile, and the C++ side a
    // string that ends with a zero byte.
    let (counts, name) = unsafe { (&mut *context.cast::<OperatorCounts>(), CStr::from_ptr(name)) };
    counts.insert(name.to_string_lossy().into_owned(), count);
}

/// Counts the operators that `work` runs on this thread, those within other operators included.
/// The backward pass runs on the calling thread if its tensors are on the processor.
pub(crate) fn count_operators<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, OperatorCounts)> {
    let mut error_message = std::ptr::null_mut();
    // SAFETY: the call takes nothing but a place for its message.
    let counter = unsafe { maskmaker_start_counting(&raw mut error_message) };
    if counter.is_null() {
        return Err(take_error(error_message));
    }
    let result = work();
    let mut counts = OperatorCounts::new();
    // SAFETY: the counter came from `maskmaker_start_counting` and is used for the last time. The
    // map lives until the call is over.
    unsafe { maskmaker_stop_counting(counter, take_count, (&raw mut counts).cast::<c_void>()) };
    Ok((result?, counts))
}

/// Returns the number of times that the host waits for a GPU in work with these counts, if its
/// tensors are there: for values that are read, for results whose shape depends on values, and for
/// copies from or to the host. What a kernel of a GPU waits for inside is not seen.
pub(crate) fn count_waits(counts: &OperatorCounts) -> i64 {
    const WAITING_OPERATORS: [&str; 5] = [
        "aten::_local_scalar_dense",
        "aten::nonzero",
        "aten::masked_select",
        "aten::equal",
        "aten::to.device",
    ];
    WAITING_OPERATORS.iter().filter_map(|&name| counts.get(name)).sum()
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    fn waits(work: impl FnOnce(&Tensor)) -> i64 {
        let tensor = Tensor::arange(4, (Kind::Float, Device::Cpu));
        let ((), counts) = count_operators(|| {
            work(&tensor);
            Ok(())
        })
        .unwrap();
        count_waits(&counts)
    }

    #[test]
    fn what_waits_for_a_gpu_is_counted_and_nothing_else() {
        assert_eq!(waits(|tensor| assert!(tensor.double_value(&[1]) > 0.0)), 1);
        assert_eq!(waits(|tensor| drop(tensor.to_device(Device::Cpu))), 1);
        // On a processor this reads the number of elements besides.
        assert_eq!(waits(|tensor| drop(tensor.masked_select(&tensor.gt(1.0)))), 2);
        assert_eq!(waits(|tensor| drop(tensor.nonzero())), 1);
        assert_eq!(waits(|tensor| drop((tensor * 2.0).to_kind(Kind::Half))), 0);
        // Outside nothing is counted.
        let _ = Tensor::from(1.0f32).double_value(&[]);
        assert_eq!(waits(|_| ()), 0);
    }

    #[test]
    fn an_error_of_the_work_is_returned_and_ends_the_counting() {
        let error = count_operators(|| Err::<(), _>(crate::error::Error::input("not there")));
        assert!(error.unwrap_err().to_string().contains("not there"));
        assert_eq!(waits(|tensor| assert!(tensor.double_value(&[0]) < 1.0)), 1);
    }
}
