//! Convolutions with weights in oneDNN's own layout, and ReLU and sums in the same pass: what PyTorch's compiler
//! makes of a frozen network on a processor.

// The border to convolution.cpp: each block says why it is sound.
#![allow(unsafe_code)]

use std::ffi::c_char;

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::text::taken;
use crate::error::Result;

/// Of a square convolution, alike in both directions, as `maskmaker_geometry` in convolution.cpp.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Zeros around the image.
    pub padding: i64,
    /// Step between outputs.
    pub stride: i64,
    /// Step between the kernel's taps.
    pub dilation: i64,
}

unsafe extern "C" {
    fn maskmaker_pack_convolution(
        weight: *const C_tensor,
        geometry: *const Geometry,
        problem: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn maskmaker_convolve(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        geometry: *const Geometry,
        relu: bool,
        sum: *const C_tensor,
        problem: *mut *mut c_char,
    ) -> *mut C_tensor;
}

/// A convolution on the processor whose weight nobody else can read.
#[derive(Debug)]
pub struct PackedConvolution {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: Geometry,
}

impl PackedConvolution {
    /// Packs a weight `[output, input, kernel, kernel]` of 32-bit floats or bfloat16; the bias `[output]` is of the
    /// same kind. Fails where this processor or this libtorch has no such kernels.
    pub fn new(weight: &Tensor, bias: Option<Tensor>, geometry: Geometry) -> Result<Self> {
        if weight.device() != Device::Cpu || weight.dim() != 4 {
            return Err(crate::error::Error::internal("only 4-D weights on the CPU are packed"));
        }
        let mut problem = std::ptr::null_mut();
        // Sound: the tensor lives through the call, which keeps nothing of it that it does not own.
        let packed = unsafe {
            maskmaker_pack_convolution(weight.as_ptr(), &raw const geometry, &raw mut problem)
        };
        Ok(Self { weight: owned(packed, problem)?, bias, geometry })
    }

    /// The convolution of `[batch, input, height, width]`, in channels-last memory as its input; with `relu` its
    /// positive part.
    pub fn forward(&self, input: &Tensor, relu: bool) -> Result<Tensor> {
        self.call(input, relu, None)
    }

    /// The sum of the convolution and `sum`, which is written over and has the result's shape and memory; with
    /// `relu` its positive part.
    pub fn forward_onto(&self, input: &Tensor, sum: &Tensor, relu: bool) -> Result<Tensor> {
        self.call(input, relu, Some(sum))
    }

    fn call(&self, input: &Tensor, relu: bool, sum: Option<&Tensor>) -> Result<Tensor> {
        let optional = |tensor: Option<&Tensor>| tensor.map_or(std::ptr::null(), Tensor::as_ptr);
        let mut problem = std::ptr::null_mut();
        // Sound: all tensors live through the call, null is an absent one, and the result is a new handle.
        let out = unsafe {
            maskmaker_convolve(
                input.as_ptr(),
                self.weight.as_ptr(),
                optional(self.bias.as_ref()),
                &raw const self.geometry,
                relu,
                optional(sum),
                &raw mut problem,
            )
        };
        owned(out, problem)
    }
}

/// The tensor that the other side made, or what it said instead.
pub(super) fn owned(tensor: *mut C_tensor, problem: *mut c_char) -> Result<Tensor> {
    if tensor.is_null() {
        return Err(tch::TchError::Torch(taken(problem)).into());
    }
    // Sound: the other side gives `new at::Tensor`, which nobody else frees.
    Ok(unsafe { Tensor::from_ptr(tensor) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    const DILATED: Geometry = Geometry { padding: 2, stride: 1, dilation: 2 };

    fn waves(size: &[i64]) -> Tensor {
        let count = size.iter().product::<i64>();
        let tensor = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 12.9898).sin();
        let tensor = tensor.reshape(size);
        if size.len() == 4 {
            tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
        } else {
            tensor
        }
    }

    fn close(a: &Tensor, b: &Tensor) -> bool {
        a.size() == b.size() && (a - b).abs().max().double_value(&[]) < 1e-4
    }

    #[test]
    fn packed_convolutions_compute_what_plain_ones_do_at_any_size() {
        let (weight, bias) = (waves(&[8, 16, 3, 3]), waves(&[8]));
        let packed = PackedConvolution::new(&weight, Some(bias.shallow_clone()), DILATED).unwrap();
        for (height, width) in [(9, 12), (1, 1), (33, 7)] {
            let input = waves(&[2, 16, height, width]);
            let plain = input.conv2d(&weight, Some(&bias), [1; 2], [2; 2], [2; 2], 1);
            assert!(close(&packed.forward(&input, false).unwrap(), &plain));
            assert!(close(&packed.forward(&input, true).unwrap(), &plain.relu()));
            let sum = waves(&[2, 8, height, width]);
            let expected = (&plain + &sum).relu();
            let onto = packed.forward_onto(&input, &sum, true).unwrap();
            assert!(close(&onto, &expected));
            assert_eq!(onto.data_ptr(), sum.data_ptr(), "the sum is written over");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let packed = PackedConvolution::new(&waves(&[8, 16, 3, 3]), None, DILATED).unwrap();
        let error = packed.forward(&waves(&[1, 5, 9, 9]), false).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
        assert!(PackedConvolution::new(&waves(&[8]), None, DILATED).is_err());
    }
}
