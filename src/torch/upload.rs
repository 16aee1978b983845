//! Copies of bytes to the device while it computes.

// Calls upload.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};
use std::ptr::NonNull;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::ffi::{check_call, take_error, tensor_from_raw};
use crate::error::{Error, Result};

/// C++'s `maskmaker_upload_stream`.
#[repr(C)]
struct RawUploadStream {
    _opaque: [u8; 0],
}

/// C++'s `maskmaker_upload_event`.
#[repr(C)]
struct RawUploadEvent {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn maskmaker_make_upload_stream(
        device: c_int,
        error_message: *mut *mut c_char,
    ) -> *mut RawUploadStream;
    fn maskmaker_start_upload(
        stream: *const RawUploadStream,
        bytes: *const u8,
        size: *const i64,
        dimensions: usize,
        event: *mut *mut RawUploadEvent,
        error_message: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn maskmaker_await_upload(
        event: *const RawUploadEvent,
        tensor: *const C_tensor,
        error_message: *mut *mut c_char,
    ) -> bool;
    fn maskmaker_drop_upload_event(event: *mut RawUploadEvent);
    fn maskmaker_drop_upload_stream(stream: *mut RawUploadStream);
}

/// A queue of copies to a device, beside that of its computations. Threads may share it.
#[derive(Debug)]
pub struct UploadStream {
    /// Stream of a GPU; none on a processor, whose tensors are in host memory.
    raw: Option<NonNull<RawUploadStream>>,
}

// SAFETY: the C++ side only reads the stream's number, and CUDA's queues may be used by any thread.
unsafe impl Send for UploadStream {}
// SAFETY: as above.
unsafe impl Sync for UploadStream {}

/// A tensor whose bytes may still be on their way to the device.
#[derive(Debug)]
pub struct Upload {
    tensor: Tensor,
    /// Event at the end of the copy; none on a processor, where it is done.
    event: Option<NonNull<RawUploadEvent>>,
}

// SAFETY: an event may be used and destroyed by any thread, one at a time.
unsafe impl Send for Upload {}

impl UploadStream {
    /// Makes a queue of copies to `device`.
    pub fn new(device: Device) -> Result<Self> {
        let Device::Cuda(index) = device else { return Ok(Self { raw: None }) };
        let mut error_message = std::ptr::null_mut();
        // SAFETY: the call takes a number and a place for its message.
        let raw = unsafe { maskmaker_make_upload_stream(index as c_int, &raw mut error_message) };
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { raw: Some(raw) }),
            None => Err(take_error(error_message)),
        }
    }

    /// Starts to copy bytes to a tensor of this size. They are taken before the call ends; the copy
    /// to a GPU goes on after it.
    pub fn start_upload(&self, bytes: &[u8], size: &[i64]) -> Result<Upload> {
        if size.iter().product::<i64>() != bytes.len() as i64 {
            return Err(Error::internal("bytes for a tensor of another size"));
        }
        let Some(stream) = self.raw else {
            let tensor = Tensor::f_from_data_size(bytes, size, Kind::Uint8)?;
            return Ok(Upload { tensor, event: None });
        };
        let (mut event, mut error_message) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the stream lives as long as `self`; bytes and size live until the call is over,
        // and there are as many bytes as the size says.
        let raw = unsafe {
            maskmaker_start_upload(
                stream.as_ptr(),
                bytes.as_ptr(),
                size.as_ptr(),
                size.len(),
                &raw mut event,
                &raw mut error_message,
            )
        };
        let tensor = tensor_from_raw(raw, error_message)?;
        Ok(Upload { tensor, event: NonNull::new(event) })
    }
}

impl Upload {
    /// Returns the tensor. Computations that this thread starts from now on wait for the copy, and
    /// the thread itself does not.
    pub fn tensor(&self) -> Result<&Tensor> {
        if let Some(event) = self.event {
            let mut error_message = std::ptr::null_mut();
            // SAFETY: event and tensor live as long as `self`.
            let is_done = unsafe {
                maskmaker_await_upload(event.as_ptr(), self.tensor.as_ptr(), &raw mut error_message)
            };
            check_call(is_done, error_message)?;
        }
        Ok(&self.tensor)
    }
}

impl Drop for UploadStream {
    fn drop(&mut self) {
        if let Some(raw) = self.raw {
            // SAFETY: the pointer came from `maskmaker_make_upload_stream`, and nothing uses it
            // later. The queue itself belongs to libtorch and goes on.
            unsafe { maskmaker_drop_upload_stream(raw.as_ptr()) }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(event) = self.event {
            // SAFETY: the pointer came from `maskmaker_start_upload`, and nothing uses it later.
            unsafe { maskmaker_drop_upload_event(event.as_ptr()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_the_order_of_the_indices_or_not_at_all() {
        let stream = UploadStream::new(Device::Cpu).unwrap();
        let upload = stream.start_upload(&[1, 2, 3, 4, 5, 6], &[2, 3]).unwrap();
        let expected = Tensor::from_slice(&[1u8, 2, 3, 4, 5, 6]).reshape([2, 3]);
        assert_eq!(*upload.tensor().unwrap(), expected);
        assert!(stream.start_upload(&[1, 2], &[3]).is_err());
    }
}
