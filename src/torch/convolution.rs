//! Convolutions by oneDNN with weights in its own memory layouts, and with ReLU and sums in the
//! same pass: the calls that PyTorch's compiler makes for a frozen network on a processor.

// Calls convolution.cpp; each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::{take_c_string, tensor_from_raw};
use crate::error::Result;

/// Geometry of a square convolution, the same in both directions, in pixels. The C++ side reads it
/// as `maskmaker_geometry`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Rows and columns of zeros around the image.
    pub padding: i64,
    /// Step between neighboring outputs.
    pub stride: i64,
    /// Step between neighboring taps of the kernel.
    pub dilation: i64,
}

// ffi.h asserts the same size of `maskmaker_geometry`.
const _: () = assert!(size_of::<Geometry>() == 24);

unsafe extern "C" {
    fn maskmaker_pack_convolution(
        weight: *const C_tensor,
        geometry: *const Geometry,
        input_shape: *const i64,
        error_message: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn maskmaker_packed_equal(
        a: *const C_tensor,
        b: *const C_tensor,
        error_message: *mut *mut c_char,
    ) -> c_int;
    fn maskmaker_convolve(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        geometry: *const Geometry,
        relu: bool,
        addend: *const C_tensor,
        error_message: *mut *mut c_char,
    ) -> *mut C_tensor;
}

/// Convolves `input` `[batch, input channels, height, width]` with a packed weight. Adds `addend`
/// if there is one: it has the result's shape and memory, is overwritten, and shares its memory
/// with the returned tensor. Applies ReLU last if `relu` is set.
pub(crate) fn convolve_packed(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: Geometry,
    relu: bool,
    addend: Option<&Tensor>,
) -> Result<Tensor> {
    let mut error_message = std::ptr::null_mut();
    // SAFETY: all tensors outlive the call, null stands for an absent one, and the result is a new
    // handle that this side owns.
    let out = unsafe {
        maskmaker_convolve(
            input.as_ptr(),
            weight.as_ptr(),
            ptr_or_null(bias),
            &raw const geometry,
            relu,
            ptr_or_null(addend),
            &raw mut error_message,
        )
    };
    tensor_from_raw(out, error_message)
}

fn ptr_or_null(tensor: Option<&Tensor>) -> *const C_tensor {
    tensor.map_or(std::ptr::null(), Tensor::as_ptr)
}

/// Packs a weight `[output channels, input channels, kernel, kernel]` in the layout that oneDNN
/// prefers for this geometry and, if it is given, for an input `[batch, channels, height, width]`.
/// Fails where this processor or this libtorch has no kernel for the weight's type.
pub(crate) fn pack_weight(
    weight: &Tensor,
    geometry: Geometry,
    input_shape: Option<&[i64; 4]>,
) -> Result<Tensor> {
    let shape_ptr = input_shape.map_or(std::ptr::null(), |shape| shape.as_ptr());
    let mut error_message = std::ptr::null_mut();
    // SAFETY: the tensor and the four numbers outlive the call, which copies what it keeps of them.
    let packed = unsafe {
        maskmaker_pack_convolution(
            weight.as_ptr(),
            &raw const geometry,
            shape_ptr,
            &raw mut error_message,
        )
    };
    tensor_from_raw(packed, error_message)
}

/// Returns true if two packed forms of one weight hold the same bytes.
///
/// libtorch exports no function that compares oneDNN's descriptions of layouts, and the bytes of a
/// description include padding with arbitrary values. Should two layouts ever give the same bytes,
/// oneDNN reorders the weight at each call: that is slower and not wrong, since each tensor carries
/// its own description.
pub(crate) fn packed_weights_equal(a: &Tensor, b: &Tensor) -> Result<bool> {
    let mut error_message = std::ptr::null_mut();
    // SAFETY: both tensors outlive the call, which only reads them.
    let equal = unsafe { maskmaker_packed_equal(a.as_ptr(), b.as_ptr(), &raw mut error_message) };
    if equal < 0 {
        return Err(tch::TchError::Torch(take_c_string(error_message)).into());
    }
    Ok(equal == 1)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn sine_tensor(size: &[i64]) -> Tensor {
        let count = size.iter().product::<i64>();
        (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 12.9898).sin().reshape(size)
    }

    #[test]
    fn packed_weights_are_alike_if_their_bytes_are() {
        let pointwise = Geometry { padding: 0, stride: 1, dilation: 1 };
        for kind in [Kind::Float, Kind::BFloat16] {
            let weight = sine_tensor(&[512, 64, 1, 1]).to_kind(kind);
            let Ok(one) = pack_weight(&weight, pointwise, Some(&[1, 64, 60, 60])) else { continue };
            let again = pack_weight(&weight, pointwise, Some(&[1, 64, 60, 60])).unwrap();
            assert!(packed_weights_equal(&one, &again).unwrap());
            let other = pack_weight(&(&weight + 1.0), pointwise, Some(&[1, 64, 60, 60])).unwrap();
            assert!(!packed_weights_equal(&one, &other).unwrap(), "other values");
            let half =
                pack_weight(&weight.narrow(0, 0, 256), pointwise, Some(&[1, 64, 60, 60])).unwrap();
            assert!(!packed_weights_equal(&one, &half).unwrap(), "another number of bytes");
            let plain = packed_weights_equal(&one, &weight).unwrap_err();
            assert_eq!(plain.exit_code(), 1, "{plain}");
        }
    }
}
