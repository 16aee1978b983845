//! A convolution of the fused network, in the form that suits its device.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::kernels::PackedConvolution;
use crate::model::graph::Conv;
use crate::torch::{Geometry, to_channels_last};

/// Side of the feature maps that choose the first layout of the weights: 96 pixels, the size of the
/// server's trial image, divided by the stride of 8. Inputs of other sizes choose again.
const INITIAL_LAYOUT_SIDE: i64 = 12;

#[derive(Debug)]
pub(super) enum ConvKernel {
    Packed(PackedConvolution),
    /// Convolution by libtorch: on GPUs, in half precision, and where oneDNN's kernels are missing.
    Native {
        weight: Tensor,
        bias: Tensor,
        geometry: Geometry,
    },
}

impl ConvKernel {
    /// Prepares a convolution for the device of its weight.
    pub(super) fn new(conv: &Conv, weight: Tensor, bias: Tensor) -> Result<Self> {
        let geometry =
            Geometry { padding: conv.padding(), stride: conv.stride, dilation: conv.dilation };
        if weight.device() == Device::Cpu && weight.kind() != Kind::Half {
            // Where these kernels are missing, libtorch computes the same, slower.
            let packed = PackedConvolution::new(&weight, Some(bias.shallow_clone()), geometry);
            if let Ok(packed) = packed {
                // The plain weight is dropped first, so that the packed form does not add to it.
                drop(weight);
                let (channels, side) = (conv.in_channels, INITIAL_LAYOUT_SIDE);
                packed.choose_layout([1, channels, side, side])?;
                return Ok(Self::Packed(packed));
            }
        }
        Ok(Self::Native { weight: to_channels_last(&weight)?, bias, geometry })
    }

    pub(super) fn forward(
        &self,
        input: &Tensor,
        addend: Option<Tensor>,
        relu: bool,
    ) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => match addend {
                None => packed.forward(input, relu),
                Some(sum) => packed.forward_add_inplace(input, &sum, relu),
            },
            Self::Native { weight, bias, geometry } => {
                let Geometry { padding, stride, dilation } = *geometry;
                let (stride, padding, dilation) = ([stride; 2], [padding; 2], [dilation; 2]);
                let mut out = input.f_conv2d(weight, Some(bias), stride, padding, dilation, 1)?;
                if let Some(addend) = addend {
                    out = out.f_add_(&addend)?;
                }
                Ok(if relu { out.f_relu_()? } else { out })
            }
        }
    }
}
