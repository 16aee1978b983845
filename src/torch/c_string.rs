//! Texts that the C++ side gives away.

// The border to script.cpp, which frees them: the block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn maskmaker_free(text: *mut c_char);
}

/// The text of a C string of the other side's, which is freed.
pub(super) fn take_c_string(text: *mut c_char) -> String {
    if text.is_null() {
        return "unknown failure".to_owned();
    }
    // Sound: the other side gives null or a string that ends with a zero and is freed by nobody else.
    unsafe {
        let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
        maskmaker_free(text);
        owned
    }
}
