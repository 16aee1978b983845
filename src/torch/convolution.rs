//! Convolutions with weights in oneDNN's own layout, and ReLU and sums in the same pass: what PyTorch's compiler
//! makes of a frozen network on a processor.

// The border to convolution.cpp: each block says why it is sound.
#![allow(unsafe_code)]

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::c_char;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::text::taken;
use super::winograd::{Winograd, pays};
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
        input: *const i64,
        problem: *mut *mut c_char,
    ) -> *mut C_tensor;
    fn maskmaker_layout(packed: *const C_tensor, problem: *mut *mut c_char) -> *mut C_tensor;
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
    weight: Weight,
    bias: Option<Tensor>,
    geometry: Geometry,
    /// Sides of the weight.
    size: [i64; 4],
    /// Made for the first input that it pays for; none if it cannot be made.
    winograd: OnceCell<Option<Winograd>>,
}

#[derive(Debug)]
enum Weight {
    /// In the one layout that oneDNN wants whatever the input's size, or nearly so: what it does not like it brings into
    /// another at every call.
    Fixed(Tensor),
    /// In the layouts that the sizes seen so far want.
    BySize { plain: Tensor, layouts: RefCell<Layouts> },
}

/// The same weight in different layouts: two or three are all that oneDNN asks for.
#[derive(Debug, Default)]
struct Layouts {
    /// What tells each from the others, and the weight.
    packed: Vec<(Vec<u8>, Tensor)>,
    /// Which one an input of these sides wants.
    wanted: HashMap<[i64; 4], usize>,
}

/// Sizes of inputs that are remembered.
const SIZES: usize = 4096;

impl PackedConvolution {
    /// Packs a weight `[output, input, kernel, kernel]` of 32-bit floats or bfloat16; the bias `[output]` is of the
    /// same kind. Fails where this processor or this libtorch has no such kernels.
    pub fn new(weight: &Tensor, bias: Option<Tensor>, geometry: Geometry) -> Result<Self> {
        let size = <[i64; 4]>::try_from(weight.size()).ok();
        let Some(size) = size.filter(|_| weight.device() == Device::Cpu) else {
            return Err(crate::error::Error::internal("only 4-D weights on the CPU are packed"));
        };
        // Only of these does oneDNN change its mind with the size of the input, and bringing them from one of its
        // layouts into another takes longer than a small image's whole pass.
        let kind = weight.kind();
        let by_size = kind == Kind::Float && size[2..] == [1, 1];
        let weight = if by_size {
            // Whether it can at all; the layouts come with the inputs.
            let _able = pack(&weight.f_narrow(0, 0, 1)?, geometry, None)?;
            let plain = weight.shallow_clone();
            Weight::BySize { plain, layouts: RefCell::default() }
        } else {
            Weight::Fixed(pack(weight, geometry, None)?)
        };
        let winograd = OnceCell::new();
        let Geometry { padding, stride, dilation } = geometry;
        if kind != Kind::Float || size[2..] != [3, 3] || stride != 1 || padding != dilation {
            let _ = winograd.set(None);
        }
        Ok(Self { weight, bias, geometry, size, winograd })
    }

    /// The quicker way for an input of these sides, where there is one.
    fn winograd(&self, input: &Tensor) -> Option<&Winograd> {
        let sides = <[i64; 4]>::try_from(input.size()).ok()?;
        let Geometry { dilation, .. } = self.geometry;
        let Weight::Fixed(packed) = &self.weight else { return None };
        if sides[1] != self.size[1] || !pays(sides, self.size[0], dilation) {
            return None;
        }
        let made = || Winograd::new(&packed.f_to_dense(None, false).ok()?, dilation).ok();
        self.winograd.get_or_init(made).as_ref()
    }

    /// The weight in the layout for this input.
    fn weight(&self, input: &Tensor) -> Result<Tensor> {
        let (plain, layouts) = match &self.weight {
            Weight::Fixed(packed) => return Ok(packed.shallow_clone()),
            Weight::BySize { plain, layouts } => (plain, layouts),
        };
        let Ok(sides) = <[i64; 4]>::try_from(input.size()) else {
            return Err(crate::error::Error::internal("only 4-D inputs are convolved"));
        };
        let Layouts { packed, wanted } = &mut *layouts.borrow_mut();
        let index = if let Some(&index) = wanted.get(&sides) {
            index
        } else {
            let new = pack(plain, self.geometry, Some(&sides))?;
            let layout = layout(&new)?;
            let known = packed.iter().position(|(known, _)| *known == layout);
            let index = known.unwrap_or(packed.len());
            if known.is_none() {
                packed.push((layout, new));
            }
            if wanted.len() == SIZES {
                wanted.clear();
            }
            wanted.insert(sides, index);
            index
        };
        Ok(packed[index].1.shallow_clone())
    }

    /// The convolution of `[batch, input, height, width]`, in channels-last memory as its input; with `relu` its
    /// positive part.
    pub fn forward(&self, input: &Tensor, relu: bool) -> Result<Tensor> {
        if let Some(winograd) = self.winograd(input) {
            return winograd.forward(input, self.bias.as_ref(), relu);
        }
        self.call(input, relu, None)
    }

    /// The sum of the convolution and `sum`, which is written over and has the result's shape and memory; with
    /// `relu` its positive part.
    pub fn forward_onto(&self, input: &Tensor, sum: &Tensor, relu: bool) -> Result<Tensor> {
        self.call(input, relu, Some(sum))
    }

    fn call(&self, input: &Tensor, relu: bool, sum: Option<&Tensor>) -> Result<Tensor> {
        let optional = |tensor: Option<&Tensor>| tensor.map_or(std::ptr::null(), Tensor::as_ptr);
        let weight = self.weight(input)?;
        let mut problem = std::ptr::null_mut();
        // Sound: all tensors live through the call, null is an absent one, and the result is a new handle.
        let out = unsafe {
            maskmaker_convolve(
                input.as_ptr(),
                weight.as_ptr(),
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

fn pack(weight: &Tensor, geometry: Geometry, input: Option<&[i64; 4]>) -> Result<Tensor> {
    let input = input.map_or(std::ptr::null(), |sides| sides.as_ptr());
    let mut problem = std::ptr::null_mut();
    // Sound: the tensor and the four numbers live through the call, which keeps nothing of them that it does not own.
    let packed = unsafe {
        maskmaker_pack_convolution(weight.as_ptr(), &raw const geometry, input, &raw mut problem)
    };
    owned(packed, problem)
}

/// What tells one layout from another.
fn layout(packed: &Tensor) -> Result<Vec<u8>> {
    let mut problem = std::ptr::null_mut();
    // Sound: the tensor lives through the call.
    let layout = unsafe { maskmaker_layout(packed.as_ptr(), &raw mut problem) };
    Ok(owned(layout, problem)?.f_to_kind(Kind::Uint8)?.f_reshape([-1])?.try_into()?)
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
    fn large_inputs_take_the_quicker_way_and_get_the_same() {
        let weight = waves(&[256, 256, 3, 3]);
        let packed = PackedConvolution::new(&weight, Some(waves(&[256])), DILATED).unwrap();
        for (side, quicker) in [(8, false), (36, true)] {
            let input = waves(&[1, 256, side, side]);
            let plain = input.conv2d(&weight, Some(&waves(&[256])), [1; 2], [2; 2], [2; 2], 1);
            assert!(
                (packed.forward(&input, false).unwrap() - plain).abs().max().double_value(&[])
                    < 1e-2
            );
            assert_eq!(packed.winograd.get().is_some_and(Option::is_some), quicker);
        }
        assert!(packed.forward(&waves(&[1, 5, 99, 99]), false).is_err());
    }

    #[test]
    fn pointwise_convolutions_keep_a_weight_for_each_layout_and_not_for_each_size() {
        let geometry = Geometry { padding: 0, stride: 1, dilation: 1 };
        let weight = waves(&[512, 64, 1, 1]);
        let packed = PackedConvolution::new(&weight, None, geometry).unwrap();
        let sizes = [(60, 60), (15, 20), (8, 8), (60, 60), (33, 7), (61, 60), (1, 1)];
        for (height, width) in sizes {
            let input = waves(&[1, 64, height, width]);
            let plain = input.conv2d::<Tensor>(&weight, None, [1; 2], [0; 2], [1; 2], 1);
            assert!(close(&packed.forward(&input, false).unwrap(), &plain));
        }
        let Weight::BySize { layouts, .. } = &packed.weight else { panic!("{packed:?}") };
        let layouts = layouts.borrow();
        assert_eq!(layouts.wanted.len(), 6);
        assert!((1..=3).contains(&layouts.packed.len()), "{:?}", layouts.wanted);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let packed = PackedConvolution::new(&waves(&[8, 16, 3, 3]), None, DILATED).unwrap();
        let error = packed.forward(&waves(&[1, 5, 9, 9]), false).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
        assert!(PackedConvolution::new(&waves(&[8]), None, DILATED).is_err());
    }
}
