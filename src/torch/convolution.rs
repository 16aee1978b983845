//! Convolutions with weights in oneDNN's own layout, and ReLU and sums in the same pass: what PyTorch's compiler
//! makes of a frozen network on a processor.

// The border to convolution.cpp: each block says why it is sound.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_char, c_int};

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::c_string::take_c_string;
use super::winograd::{WinogradConvolution, is_winograd_faster};
use crate::error::{Error, Result};

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

/// A convolution on the processor whose weight nobody else can read.
#[derive(Debug)]
pub struct PackedConvolution {
    weight: RefCell<WeightForm>,
    kind: Kind,
    bias: Option<Tensor>,
    geometry: Geometry,
    algorithm: ConvolutionAlgorithm,
    /// Sides of the weight.
    weight_shape: [i64; 4],
}

/// How a convolution is computed, by oneDNN's names (`dnnl::algorithm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConvolutionAlgorithm {
    /// The one that is expected to be faster for the input at hand ([`WinogradCost`](super::WinogradCost)).
    #[default]
    Auto,
    /// All multiplications, by oneDNN.
    Direct,
    /// Winograd's F(2x2, 3x3), for 32-bit 3x3 kernels with stride 1 that are padded by their dilation.
    Winograd,
}

/// One of these at a time, so that the weight is in memory once.
#[derive(Debug)]
enum WeightForm {
    /// Until the first input comes.
    Unpacked(Tensor),
    Packed(PackedLayouts),
    /// From the first input on that is large enough for it to pay.
    Winograd(WinogradConvolution),
}

/// The same weight in the layouts of oneDNN that the inputs seen so far want: two or three are all that it asks for. Which
/// one it wants depends on the processor and the input's sides, and bringing a weight from one into another at
/// every call may take longer than a small image's whole pass.
#[derive(Debug, Default)]
struct PackedLayouts {
    /// The weight once per layout; no two hold the same bytes.
    packed_weights: Vec<Tensor>,
    /// Which one inputs of a class want.
    layout_by_class: HashMap<InputClass, usize>,
}

/// Inputs that want the same layout: those of the same sides, or all that are large.
type InputClass = Option<[i64; 4]>;

/// Classes that are remembered.
const MAX_INPUT_CLASSES: usize = 4096;

/// Pixels from which on a kernel larger than 1x1 is given one layout: oneDNN was seen to want another for smaller inputs alone
/// (libtorch 2.10.0, AVX-512 with and without bfloat16).
const MIN_LARGE_PIXELS: i64 = 128;

impl PackedConvolution {
    /// Packs a weight `[output, input, kernel, kernel]` of 32-bit floats or bfloat16; the bias `[output]` is of the
    /// same kind. Fails where this processor or this libtorch has no such kernels.
    pub fn new(weight: &Tensor, bias: Option<Tensor>, geometry: Geometry) -> Result<Self> {
        let weight_shape = <[i64; 4]>::try_from(weight.size()).ok();
        let Some(weight_shape) = weight_shape.filter(|_| weight.device() == Device::Cpu) else {
            return Err(Error::internal("only 4-D weights on the CPU are packed"));
        };
        // Whether it can at all: the layout is chosen when an input comes.
        let _supported = pack_weight(&weight.f_narrow(0, 0, 1)?, geometry, None)?;
        let (kind, weight) =
            (weight.kind(), RefCell::new(WeightForm::Unpacked(weight.shallow_clone())));
        Ok(Self {
            weight,
            kind,
            bias,
            geometry,
            algorithm: ConvolutionAlgorithm::Auto,
            weight_shape,
        })
    }

    /// The same convolution by one algorithm alone, for benchmarks. Fails where Winograd's cannot compute it.
    pub fn with_algorithm(self, algorithm: ConvolutionAlgorithm) -> Result<Self> {
        if algorithm == ConvolutionAlgorithm::Winograd && !self.supports_winograd() {
            return Err(Error::internal("Winograd's algorithm cannot compute this convolution"));
        }
        Ok(Self { algorithm, ..self })
    }

    /// Lays the weight out for inputs of these sides now and not when the first one comes, until when it is held as it
    /// came.
    pub fn choose_layout(&self, input_shape: [i64; 4]) -> Result<()> {
        self.convert_weight(&mut self.weight.borrow_mut(), input_shape)
    }

    /// How many times the weight is in memory.
    #[cfg(test)]
    pub(super) fn layout_count(&self) -> usize {
        match &*self.weight.borrow() {
            WeightForm::Packed(layouts) => layouts.packed_weights.len(),
            WeightForm::Unpacked(_) | WeightForm::Winograd(_) => 1,
        }
    }

    fn supports_winograd(&self) -> bool {
        let Geometry { padding, stride, dilation } = self.geometry;
        self.kind == Kind::Float
            && self.weight_shape[2..] == [3, 3]
            && (stride, padding) == (1, dilation)
    }

    /// Returns true if an input of this shape is convolved by Winograd's algorithm.
    fn chooses_winograd(&self, input_shape: [i64; 4]) -> bool {
        match self.algorithm {
            ConvolutionAlgorithm::Direct => false,
            ConvolutionAlgorithm::Winograd => true,
            ConvolutionAlgorithm::Auto => {
                self.supports_winograd()
                    && is_winograd_faster(input_shape, self.weight_shape[0], self.geometry.dilation)
            }
        }
    }

    fn input_class(&self, input_shape: [i64; 4]) -> InputClass {
        let [batch, _, height, width] = input_shape;
        let pointwise = self.weight_shape[2..] == [1, 1];
        (pointwise || batch * height * width < MIN_LARGE_PIXELS).then_some(input_shape)
    }

    /// The convolution of `[batch, input, height, width]`, in channels-last memory as its input; with `relu` its
    /// positive part.
    pub fn forward(&self, input: &Tensor, relu: bool) -> Result<Tensor> {
        self.forward_with_addend(input, relu, None)
    }

    /// The sum of the convolution and `sum`, which is written over and has the result's shape and memory; with
    /// `relu` its positive part.
    pub fn forward_add_inplace(
        &self,
        input: &Tensor,
        addend: &Tensor,
        relu: bool,
    ) -> Result<Tensor> {
        self.forward_with_addend(input, relu, Some(addend))
    }

    fn forward_with_addend(
        &self,
        input: &Tensor,
        relu: bool,
        addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        let input_shape = <[i64; 4]>::try_from(input.size()).ok();
        let Some(input_shape) = input_shape.filter(|shape| shape[1] == self.weight_shape[1]) else {
            let (found, channels) = (input.size(), self.weight_shape[1]);
            let message = format!("a convolution of {channels} channels got an input {found:?}");
            return Err(Error::internal(message));
        };
        let weight = &mut *self.weight.borrow_mut();
        self.convert_weight(weight, input_shape)?;
        match weight {
            WeightForm::Packed(layouts) => {
                let packed = layouts.weight_for(
                    self.geometry,
                    self.input_class(input_shape),
                    input_shape,
                )?;
                self.convolve_packed(input, packed, relu, addend)
            }
            WeightForm::Winograd(winograd) => winograd.forward(input, relu, addend),
            WeightForm::Unpacked(_) => Err(Error::internal("a weight was left as it came")),
        }
    }

    /// Leaves the weight in a form that fits inputs of these sides.
    fn convert_weight(&self, weight: &mut WeightForm, input_shape: [i64; 4]) -> Result<()> {
        let unpacked = match weight {
            WeightForm::Unpacked(plain) => Some(plain.shallow_clone()),
            WeightForm::Packed(layouts) if self.chooses_winograd(input_shape) => {
                Some(layouts.unpacked()?)
            }
            WeightForm::Packed(_) | WeightForm::Winograd(_) => None,
        };
        if let Some(unpacked) = unpacked {
            // The form before goes first: this one and the next are enough to be in memory at a time.
            *weight = WeightForm::Unpacked(unpacked.shallow_clone());
            *weight = if self.chooses_winograd(input_shape) {
                WeightForm::Winograd(WinogradConvolution::new(
                    &unpacked,
                    self.bias.as_ref(),
                    self.geometry.dilation,
                )?)
            } else {
                let mut layouts = PackedLayouts::default();
                layouts.add_layout(
                    &unpacked,
                    self.geometry,
                    self.input_class(input_shape),
                    input_shape,
                )?;
                WeightForm::Packed(layouts)
            };
        }
        Ok(())
    }

    fn convolve_packed(
        &self,
        input: &Tensor,
        weight: &Tensor,
        relu: bool,
        addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        let ptr_or_null = |tensor: Option<&Tensor>| tensor.map_or(std::ptr::null(), Tensor::as_ptr);
        let mut error_message = std::ptr::null_mut();
        // Sound: all tensors live through the call, null is an absent one, and the result is a new handle.
        let out = unsafe {
            maskmaker_convolve(
                input.as_ptr(),
                weight.as_ptr(),
                ptr_or_null(self.bias.as_ref()),
                &raw const self.geometry,
                relu,
                ptr_or_null(addend),
                &raw mut error_message,
            )
        };
        tensor_from_raw(out, error_message)
    }
}

impl PackedLayouts {
    /// The weight in the layout that an input of these sides wants.
    fn weight_for(
        &mut self,
        geometry: Geometry,
        class: InputClass,
        input_shape: [i64; 4],
    ) -> Result<&Tensor> {
        if !self.layout_by_class.contains_key(&class) {
            let unpacked = self.unpacked()?;
            self.add_layout(&unpacked, geometry, class, input_shape)?;
        }
        let weight =
            self.layout_by_class.get(&class).and_then(|&index| self.packed_weights.get(index));
        weight.ok_or_else(|| Error::internal("no layout was chosen"))
    }

    /// Packs `plain` for an input of these sides, and keeps that unless it is there already.
    fn add_layout(
        &mut self,
        unpacked: &Tensor,
        geometry: Geometry,
        class: InputClass,
        input_shape: [i64; 4],
    ) -> Result<()> {
        let Self { packed_weights, layout_by_class } = self;
        let new_packed = pack_weight(unpacked, geometry, Some(&input_shape))?;
        let mut existing = None;
        for (index, weight) in packed_weights.iter().enumerate() {
            if packed_weights_equal(weight, &new_packed)? {
                existing = Some(index);
                break;
            }
        }
        let index = existing.unwrap_or(packed_weights.len());
        if existing.is_none() {
            packed_weights.push(new_packed);
        }
        if layout_by_class.len() == MAX_INPUT_CLASSES {
            layout_by_class.clear();
        }
        layout_by_class.insert(class, index);
        Ok(())
    }

    /// The weight as everybody can read it.
    fn unpacked(&self) -> Result<Tensor> {
        let first =
            self.packed_weights.first().ok_or_else(|| Error::internal("nothing was packed"))?;
        Ok(first.f_to_dense(None, false)?)
    }
}

fn pack_weight(
    weight: &Tensor,
    geometry: Geometry,
    input_shape: Option<&[i64; 4]>,
) -> Result<Tensor> {
    let shape_ptr = input_shape.map_or(std::ptr::null(), |shape| shape.as_ptr());
    let mut error_message = std::ptr::null_mut();
    // Sound: the tensor and the four numbers live through the call, which keeps nothing of them that it does not own.
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

/// Returns true if two packed forms of one weight hold the same bytes. libtorch exports no function
/// that compares oneDNN's descriptions of layouts, and their own bytes hold padding with arbitrary
/// values. Should two layouts ever give the same bytes, oneDNN reorders the weight at each call:
/// that is slower and not wrong, since each tensor carries its own description.
fn packed_weights_equal(a: &Tensor, b: &Tensor) -> Result<bool> {
    let mut error_message = std::ptr::null_mut();
    // Sound: both tensors live through the call.
    let equal = unsafe { maskmaker_packed_equal(a.as_ptr(), b.as_ptr(), &raw mut error_message) };
    if equal < 0 {
        return Err(tch::TchError::Torch(take_c_string(error_message)).into());
    }
    Ok(equal == 1)
}

/// The tensor that the other side made, or what it said instead.
pub(super) fn tensor_from_raw(tensor: *mut C_tensor, error_message: *mut c_char) -> Result<Tensor> {
    if tensor.is_null() {
        return Err(tch::TchError::Torch(take_c_string(error_message)).into());
    }
    // Sound: the other side gives `new at::Tensor`, which nobody else frees.
    Ok(unsafe { Tensor::from_ptr(tensor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DILATED: Geometry = Geometry { padding: 2, stride: 1, dilation: 2 };

    fn sine_tensor(size: &[i64]) -> Tensor {
        let count = size.iter().product::<i64>();
        let tensor = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 12.9898).sin();
        let tensor = tensor.reshape(size);
        if size.len() == 4 {
            tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
        } else {
            tensor
        }
    }

    fn is_close(a: &Tensor, b: &Tensor) -> bool {
        a.size() == b.size() && a.allclose(b, 1e-5, 1e-4, false)
    }

    #[test]
    fn packed_convolutions_compute_what_plain_ones_do_at_any_size() {
        let (weight, bias) = (sine_tensor(&[8, 16, 3, 3]), sine_tensor(&[8]));
        let packed = PackedConvolution::new(&weight, Some(bias.shallow_clone()), DILATED).unwrap();
        for (height, width) in [(9, 12), (1, 1), (33, 7)] {
            let input = sine_tensor(&[2, 16, height, width]);
            let plain = input.conv2d(&weight, Some(&bias), [1; 2], [2; 2], [2; 2], 1);
            assert!(is_close(&packed.forward(&input, false).unwrap(), &plain));
            assert!(is_close(&packed.forward(&input, true).unwrap(), &plain.relu()));
            let sum = sine_tensor(&[2, 8, height, width]);
            let expected = (&plain + &sum).relu();
            let onto = packed.forward_add_inplace(&input, &sum, true).unwrap();
            assert!(is_close(&onto, &expected));
            assert_eq!(onto.data_ptr(), sum.data_ptr(), "the sum is written over");
        }
    }

    #[test]
    fn large_inputs_bring_the_quicker_way_and_all_get_the_same() {
        let weight = sine_tensor(&[512, 512, 3, 3]) * 0.1;
        let packed = PackedConvolution::new(&weight, Some(sine_tensor(&[512])), DILATED).unwrap();
        for (side, quicker) in [(8, false), (36, true), (8, true), (1, true)] {
            let input = sine_tensor(&[1, 512, side, side]);
            let plain =
                input.conv2d(&weight, Some(&sine_tensor(&[512])), [1; 2], [2; 2], [2; 2], 1);
            assert!(is_close(&packed.forward(&input, false).unwrap(), &plain));
            let sum = sine_tensor(&[1, 512, side, side]);
            let expected = (&plain + &sum).relu();
            let onto = packed.forward_add_inplace(&input, &sum, true).unwrap();
            assert!(is_close(&onto, &expected));
            assert_eq!(onto.data_ptr(), sum.data_ptr(), "the sum is written over");
            assert_eq!(matches!(*packed.weight.borrow(), WeightForm::Winograd(_)), quicker);
        }
        assert!(packed.forward(&sine_tensor(&[1, 5, 99, 99]), false).is_err());
    }

    #[test]
    fn a_weight_is_kept_for_each_layout_and_not_for_each_size() {
        let pointwise = Geometry { padding: 0, stride: 1, dilation: 1 };
        let mut sizes = vec![(60, 60), (15, 20), (8, 8), (60, 60), (33, 7), (61, 60), (1, 1)];
        sizes.extend((1..40).map(|height| (height, 17)));
        for (kernel, geometry, classes) in [(1, pointwise, 45), (3, DILATED, 10)] {
            let weight = sine_tensor(&[512, 64, kernel, kernel]);
            let packed = PackedConvolution::new(&weight, None, geometry).unwrap();
            for &(height, width) in &sizes {
                let input = sine_tensor(&[1, 64, height, width]);
                let (padding, dilation) = ([geometry.padding; 2], [geometry.dilation; 2]);
                let plain = input.conv2d::<Tensor>(&weight, None, [1; 2], padding, dilation, 1);
                assert!(is_close(&packed.forward(&input, false).unwrap(), &plain));
            }
            let weight = packed.weight.borrow();
            let WeightForm::Packed(layouts) = &*weight else { panic!("{weight:?}") };
            assert_eq!(layouts.layout_by_class.len(), classes);
            assert!(
                (1..=3).contains(&layouts.packed_weights.len()),
                "{:?}",
                layouts.layout_by_class
            );
        }
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

    #[test]
    fn a_weight_may_be_laid_out_before_the_first_input() {
        let weight = sine_tensor(&[512, 512, 3, 3]) * 0.1;
        for (side, winograd) in [(8, false), (36, true)] {
            let packed = PackedConvolution::new(&weight, None, DILATED).unwrap();
            packed.choose_layout([1, 512, side, side]).unwrap();
            assert!(!matches!(*packed.weight.borrow(), WeightForm::Unpacked(_)));
            assert_eq!(matches!(*packed.weight.borrow(), WeightForm::Winograd(_)), winograd);
            for side in [side, 5] {
                let input = sine_tensor(&[1, 512, side, side]);
                let plain = input.conv2d::<Tensor>(&weight, None, [1; 2], [2; 2], [2; 2], 1);
                assert!(is_close(&packed.forward(&input, false).unwrap(), &plain));
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let packed = PackedConvolution::new(&sine_tensor(&[8, 16, 3, 3]), None, DILATED).unwrap();
        let error = packed.forward(&sine_tensor(&[1, 5, 9, 9]), false).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
        assert!(PackedConvolution::new(&sine_tensor(&[8]), None, DILATED).is_err());
    }
}
