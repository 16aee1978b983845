//! Libraries that are opened at run time, because the program starts without them, too.

// Calls the dynamic linker; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;

const RTLD_NOW: c_int = 2;
const RTLD_GLOBAL: c_int = 0x100;

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// A library that is open until the process ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct DynamicLibrary(NonNull<c_void>);

impl DynamicLibrary {
    /// Opens a library by its name, which the dynamic linker looks for. An error is the linker's own
    /// words.
    pub(super) fn open(name: &CStr) -> Result<Self, String> {
        Self::open_with(name, RTLD_NOW)
    }

    /// Opens a library whose symbols libraries that are opened later may use.
    pub(super) fn open_for_others(name: &CStr) -> Result<Self, String> {
        Self::open_with(name, RTLD_NOW | RTLD_GLOBAL)
    }

    fn open_with(name: &CStr, flags: c_int) -> Result<Self, String> {
        // SAFETY: the name ends with a zero byte. The constructors of NVIDIA's and
        // libtorch's libraries, which linking them would run as well, are safe to run once at any time;
        // ours has none.
        let library = unsafe { dlopen(name.as_ptr(), flags) };
        NonNull::new(library).map(Self).ok_or_else(last_error)
    }

    /// Returns the address of a function or variable.
    pub(super) fn find_symbol(self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the library is never closed, and the name ends with a zero byte.
        let address = unsafe { dlsym(self.0.as_ptr(), name.as_ptr()) };
        (!address.is_null()).then_some(address)
    }
}

/// Returns what the dynamic linker says about the last failure of this thread.
fn last_error() -> String {
    // SAFETY: the linker returns null or a text that ends with a zero byte and lasts until this
    // thread's next call of the linker.
    unsafe {
        let text = dlerror();
        if text.is_null() {
            return "unknown failure".to_owned();
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let error = DynamicLibrary::open(c"libnothing-of-this-name.so").unwrap_err();
        assert!(error.contains("libnothing-of-this-name.so"), "{error}");
    }

    #[test]
    fn symbols_are_found_by_name() {
        let libc = DynamicLibrary::open(c"libc.so.6").unwrap();
        assert!(libc.find_symbol(c"strlen").is_some());
        assert!(libc.find_symbol(c"no such function").is_none());
    }
}
