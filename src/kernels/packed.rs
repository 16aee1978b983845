//! Convolutions whose weights lie in the form that computes fastest: oneDNN's own layouts or
//! Winograd's transformed filters, with ReLU and sums in the same pass. PyTorch's compiler does the
//! same for a frozen network on a processor.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use super::layouts::{InputClass, PackedLayouts};
use super::tuning::{classify_input, is_winograd_faster};
use super::winograd::WinogradConvolution;
use crate::error::{Error, Result};
use crate::torch::{Geometry, convolve_packed, pack_weight};

/// A convolution on the processor with a weight that no other code shares. The weight changes its
/// form when an input comes that another form suits better.
#[derive(Debug)]
pub struct PackedConvolution {
    weight: RefCell<WeightForm>,
    kind: Kind,
    bias: Option<Tensor>,
    geometry: Geometry,
    algorithm: ConvolutionAlgorithm,
    /// Shape of the weight: `[output channels, input channels, kernel, kernel]`.
    weight_shape: [i64; 4],
}

/// Algorithm of a convolution, by oneDNN's names (`dnnl::algorithm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConvolutionAlgorithm {
    /// The algorithm that is expected to be faster for the input
    /// ([`WinogradCost`](super::WinogradCost)).
    #[default]
    Auto,
    /// Direct convolution by oneDNN.
    Direct,
    /// Winograd's F(2x2, 3x3), for 32-bit 3x3 kernels with stride 1 and a padding equal to the
    /// dilation.
    Winograd,
}

/// Form of the weight. Only one is in memory at a time.
#[derive(Debug)]
enum WeightForm {
    /// The form until the first input comes.
    Unpacked(Tensor),
    Packed(PackedLayouts),
    /// The form from the first input on for which [`is_winograd_faster`] returns true.
    Winograd(WinogradConvolution),
}

impl PackedConvolution {
    /// Makes a convolution from a weight `[output channels, input channels, kernel, kernel]` of
    /// 32-bit floats or bfloat16 and a bias `[output channels]` of the same type. Fails where this
    /// processor or this libtorch has no such kernels.
    pub fn new(weight: &Tensor, bias: Option<Tensor>, geometry: Geometry) -> Result<Self> {
        let weight_shape = match <[i64; 4]>::try_from(weight.size()) {
            Ok(shape) if weight.device() == Device::Cpu => shape,
            _ => return Err(Error::internal("only 4-D weights on the CPU are packed")),
        };
        // One output channel is packed as a test for such kernels. The layout of the whole weight
        // is chosen when an input comes.
        let _supported = pack_weight(&weight.f_narrow(0, 0, 1)?, geometry, None)?;
        Ok(Self {
            kind: weight.kind(),
            weight: RefCell::new(WeightForm::Unpacked(weight.shallow_clone())),
            bias,
            geometry,
            algorithm: ConvolutionAlgorithm::Auto,
            weight_shape,
        })
    }

    /// Returns the same convolution by one algorithm for inputs of all sizes, for benchmarks. Fails
    /// where Winograd's algorithm cannot compute it.
    pub fn with_algorithm(self, algorithm: ConvolutionAlgorithm) -> Result<Self> {
        if algorithm == ConvolutionAlgorithm::Winograd && !self.supports_winograd() {
            return Err(Error::internal("Winograd's algorithm cannot compute this convolution"));
        }
        Ok(Self { algorithm, ..self })
    }

    /// Packs the weight for inputs of this shape now, instead of when the first input comes.
    pub fn choose_layout(&self, input_shape: [i64; 4]) -> Result<()> {
        self.convert_weight(&mut self.weight.borrow_mut(), input_shape)
    }

    /// Counts the copies of the weight in memory.
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
        classify_input(input_shape, self.weight_shape[2..] == [1, 1])
    }

    /// Returns the convolution of an input `[batch, input channels, height, width]` in
    /// channels-last memory, which is the result's memory format too. Applies ReLU last if `relu`
    /// is set.
    pub fn forward(&self, input: &Tensor, relu: bool) -> Result<Tensor> {
        self.forward_with_addend(input, relu, None)
    }

    /// Returns the sum of the convolution and `addend`, which has the result's shape and memory
    /// format and is overwritten. Applies ReLU last if `relu` is set.
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
        let input_shape = match <[i64; 4]>::try_from(input.size()) {
            Ok(shape) if shape[1] == self.weight_shape[1] => shape,
            _ => {
                let (found, channels) = (input.size(), self.weight_shape[1]);
                let message =
                    format!("a convolution of {channels} channels got an input {found:?}");
                return Err(Error::internal(message));
            }
        };
        let weight = &mut *self.weight.borrow_mut();
        self.convert_weight(weight, input_shape)?;
        match weight {
            WeightForm::Packed(layouts) => {
                let class = self.input_class(input_shape);
                let packed = layouts.weight_for(self.geometry, class, input_shape)?;
                convolve_packed(input, packed, self.bias.as_ref(), self.geometry, relu, addend)
            }
            WeightForm::Winograd(winograd) => winograd.forward(input, relu, addend),
            WeightForm::Unpacked(_) => Err(Error::internal("a weight was left as it came")),
        }
    }

    /// Brings the weight into a form that suits inputs of this shape.
    fn convert_weight(&self, weight: &mut WeightForm, input_shape: [i64; 4]) -> Result<()> {
        let unpacked = match weight {
            WeightForm::Unpacked(plain) => plain.shallow_clone(),
            WeightForm::Packed(layouts) if self.chooses_winograd(input_shape) => {
                layouts.unpacked()?
            }
            WeightForm::Packed(_) | WeightForm::Winograd(_) => return Ok(()),
        };
        // The previous form is dropped first, so that no more than the plain weight and the next
        // form are in memory at a time.
        *weight = WeightForm::Unpacked(unpacked.shallow_clone());
        *weight = if self.chooses_winograd(input_shape) {
            let (bias, dilation) = (self.bias.as_ref(), self.geometry.dilation);
            WeightForm::Winograd(WinogradConvolution::new(&unpacked, bias, dilation)?)
        } else {
            let mut layouts = PackedLayouts::default();
            let class = self.input_class(input_shape);
            layouts.add_layout(&unpacked, self.geometry, class, input_shape)?;
            WeightForm::Packed(layouts)
        };
        Ok(())
    }
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
