//! The key-value store by which the processes of a job find each other (c10d's `TCPStore`).

// Calls process_group.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::IntoRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::time::Duration;

use super::ffi::{check_call, take_error, to_c_string, to_milliseconds};
use crate::error::{Error, Result};

/// C++'s `maskmaker_store`.
#[repr(C)]
pub(super) struct RawStore {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn maskmaker_connect_store(
        host: *const c_char,
        port: u16,
        listener: c_int,
        timeout_ms: i64,
        error_message: *mut *mut c_char,
    ) -> *mut RawStore;
    fn maskmaker_store_port(store: *const RawStore) -> u16;
    fn maskmaker_store_set(
        store: *const RawStore,
        key: *const c_char,
        value: *const u8,
        length: usize,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_store_check(
        store: *const RawStore,
        key: *const c_char,
        error_message: *mut *mut c_char,
    ) -> c_int;
    fn maskmaker_store_get(
        store: *const RawStore,
        key: *const c_char,
        take: extern "C" fn(*mut c_void, *const u8, usize),
        context: *mut c_void,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_store_wait(
        store: *const RawStore,
        key: *const c_char,
        timeout_ms: i64,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_store_add(
        store: *const RawStore,
        key: *const c_char,
        amount: i64,
        error_message: *mut *mut c_char,
    ) -> i64;
    fn maskmaker_drop_store(store: *mut RawStore);
}

/// Stands for a socket where the store is another process's.
const NO_LISTENER: c_int = -1;

/// A connection to the key-value store of a job (c10d's `TCPStore`). One call at a time uses it:
/// calls from other threads wait, so that a thread that must not wait has a connection of its own.
pub struct Store(NonNull<RawStore>);

// SAFETY: a TCPStore may be used from any thread, and locks around each request.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Starts the store behind a socket that listens, and connects to it. The store ends when this
    /// is dropped.
    pub fn serve(listener: TcpListener, timeout: Duration) -> Result<Self> {
        let port = match listener.local_addr() {
            Ok(address) => address.port(),
            Err(cause) => return Err(Error::internal(format!("the store's socket: {cause}"))),
        };
        // The store closes the descriptor.
        Self::open("127.0.0.1", port, listener.into_raw_fd(), timeout)
    }

    /// Starts the store on a free port of 127.0.0.1.
    pub fn serve_on_loopback(timeout: Duration) -> Result<Self> {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)) {
            Ok(listener) => Self::serve(listener, timeout),
            Err(cause) => Err(Error::internal(format!("no port of 127.0.0.1 is free: {cause}"))),
        }
    }

    /// Connects to the store of another process. Tries until `timeout` is over, which is also the
    /// longest time of each later call.
    pub fn connect(host: &str, port: u16, timeout: Duration) -> Result<Self> {
        Self::open(host, port, NO_LISTENER, timeout)
    }

    fn open(host: &str, port: u16, listener: c_int, timeout: Duration) -> Result<Self> {
        let host = to_c_string(host, "host")?;
        let timeout_ms = to_milliseconds(timeout);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the string lives until the call is over, and the descriptor is nobody else's.
        let store = unsafe {
            maskmaker_connect_store(
                host.as_ptr(),
                port,
                listener,
                timeout_ms,
                &raw mut error_message,
            )
        };
        NonNull::new(store).map(Self).ok_or_else(|| take_error(error_message))
    }

    pub(super) fn as_ptr(&self) -> *const RawStore {
        self.0.as_ptr()
    }

    /// Returns the port on which the store listens.
    pub fn port(&self) -> u16 {
        // SAFETY: the store lives as long as `self`.
        unsafe { maskmaker_store_port(self.0.as_ptr()) }
    }

    /// Stores a value under a key, whether the key has one or not.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        let key = to_c_string(key, "key")?;
        let mut error_message = std::ptr::null_mut();
        // SAFETY: key and value live until the call is over; the C++ side copies them.
        let is_done = unsafe {
            maskmaker_store_set(
                self.0.as_ptr(),
                key.as_ptr(),
                value.as_ptr(),
                value.len(),
                &raw mut error_message,
            )
        };
        check_call(is_done, error_message)
    }

    /// Returns true if the key has a value, without waiting for one.
    pub fn has(&self, key: &str) -> Result<bool> {
        let key = to_c_string(key, "key")?;
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the key lives until the call is over.
        match unsafe {
            maskmaker_store_check(self.0.as_ptr(), key.as_ptr(), &raw mut error_message)
        } {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(take_error(error_message)),
        }
    }

    /// Waits until the key has a value. It is an error if that takes longer than `timeout`.
    pub fn wait(&self, key: &str, timeout: Duration) -> Result<()> {
        let key = to_c_string(key, "key")?;
        let timeout_ms = to_milliseconds(timeout);
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the key lives until the call is over.
        let is_done = unsafe {
            maskmaker_store_wait(self.0.as_ptr(), key.as_ptr(), timeout_ms, &raw mut error_message)
        };
        check_call(is_done, error_message)
    }

    /// Returns the value of a key, and waits for one as long as the store's timeout.
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        let key = to_c_string(key, "key")?;
        let mut value = Vec::new();
        let context = (&raw mut value).cast();
        let mut error_message = std::ptr::null_mut();
        // SAFETY: `context` is the vector above, which `copy_value` takes it for, and outlives the
        // call.
        let is_done = unsafe {
            maskmaker_store_get(
                self.0.as_ptr(),
                key.as_ptr(),
                copy_value,
                context,
                &raw mut error_message,
            )
        };
        check_call(is_done, error_message)?;
        Ok(value)
    }

    /// Adds to the whole number under a key, which is 0 at first, and returns the sum.
    pub fn add(&self, key: &str, amount: i64) -> Result<i64> {
        let key = to_c_string(key, "key")?;
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the key lives until the call is over.
        let sum = unsafe {
            maskmaker_store_add(self.0.as_ptr(), key.as_ptr(), amount, &raw mut error_message)
        };
        if sum == i64::MIN { Err(take_error(error_message)) } else { Ok(sum) }
    }
}

/// Copies a value to the vector that `context` points to.
extern "C" fn copy_value(context: *mut c_void, value: *const u8, length: usize) {
    if length == 0 {
        return;
    }
    // A panic, which only a lack of memory can cause, must not unwind through C++.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `Store::get` passes its vector, and waits for the call. The C++ side passes a
        // pointer to `length` bytes.
        unsafe {
            let target = &mut *context.cast::<Vec<u8>>();
            target.extend_from_slice(std::slice::from_raw_parts(value, length));
        }
    }));
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `maskmaker_connect_store`, and nothing uses it later.
        unsafe { maskmaker_drop_store(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("port", &self.port()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn values_of_a_store_are_seen_by_every_connection() {
        let server = Store::serve_on_loopback(Duration::from_mins(1)).unwrap();
        let other = Store::connect("127.0.0.1", server.port(), Duration::from_mins(1)).unwrap();
        assert!(!other.has("key").unwrap());
        server.set("key", b"value\0").unwrap();
        other.wait("key", Duration::from_mins(1)).unwrap();
        assert!(other.has("key").unwrap());
        assert_eq!(other.get("key").unwrap(), b"value\0");
        other.set("key", b"").unwrap();
        assert_eq!(server.get("key").unwrap(), b"");
        assert_eq!(server.add("count", 3).unwrap(), 3);
        assert_eq!(other.add("count", -1).unwrap(), 2);
        assert!(server.set("a\0b", b"").is_err());
    }

    #[test]
    fn waiting_for_what_never_comes_ends_with_an_error() {
        let start = Instant::now();
        let server = Store::serve_on_loopback(Duration::from_mins(1)).unwrap();
        assert!(server.wait("never", Duration::from_millis(50)).is_err());
        let port = server.port();
        drop(server);
        assert!(Store::connect("127.0.0.1", port, Duration::from_secs(1)).is_err());
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
