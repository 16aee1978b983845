//! Hands strings to the C++ side, and takes over the strings and tensors that it allocates. `ffi.h`
//! declares the functions on that side.

// Calls C++ that frees what it allocated; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::error::{Error, Result};

unsafe extern "C" {
    fn maskmaker_free(text: *mut c_char);
}

/// Returns the text of a C string from the C++ side, and frees the string. Null, which stands for
/// an exception without a message, becomes "unknown failure".
pub(super) fn take_c_string(text: *mut c_char) -> String {
    if text.is_null() {
        return "unknown failure".to_owned();
    }
    // SAFETY: the pointer is not null; the C++ side allocated the string by `strdup`, so it ends
    // with a zero byte, and hands over its ownership.
    unsafe {
        let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
        maskmaker_free(text);
        owned
    }
}

/// Returns the tensor that the C++ side made, or its error message as an error if the pointer is
/// null.
pub(super) fn tensor_from_raw(tensor: *mut C_tensor, error_message: *mut c_char) -> Result<Tensor> {
    if tensor.is_null() {
        return Err(take_error(error_message));
    }
    // SAFETY: the C++ side made the pointer by `new at::Tensor` and hands over its ownership.
    Ok(unsafe { Tensor::from_ptr(tensor) })
}

/// Returns the error of a call that set a message.
pub(super) fn take_error(error_message: *mut c_char) -> Error {
    tch::TchError::Torch(take_c_string(error_message)).into()
}

/// Returns the result of a call that returned `is_done`, and set a message if that is false.
pub(super) fn check_call(is_done: bool, error_message: *mut c_char) -> Result<()> {
    if is_done { Ok(()) } else { Err(take_error(error_message)) }
}

/// Lists the tensors' handles, which are valid as long as the tensors live.
pub(super) fn tensor_pointers(tensors: &[Tensor]) -> Vec<*const C_tensor> {
    let mut pointers = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        pointers.push(tensor.as_ptr());
    }
    pointers
}

/// Returns whole milliseconds, for the C++ side's timeouts.
pub(super) fn to_milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Copies a text for the C++ side. `subject` names it in the error for a text with a zero byte.
pub(super) fn to_c_string(text: impl Into<Vec<u8>>, subject: &str) -> Result<CString> {
    let Ok(text) = CString::new(text) else {
        return Err(Error::input(format!("the {subject} holds a zero byte")));
    };
    Ok(text)
}
