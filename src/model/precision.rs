//! In which number format a network is computed. Weights, BatchNorm's statistics and everything from the
//! layers that give the logits on are 32-bit floats whatever the format.

use tch::{Device, Kind};

use crate::sagemaker::hyperparameters::Precision;
use crate::torch::compute_capability;

/// The format of activations, and of the convolutions that make them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compute {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// bfloat16.
    Bf16,
    /// Half precision, whose range is so small that gradients must be scaled.
    Fp16,
}

impl Compute {
    /// What a setting asks for on a device.
    pub fn of(precision: Precision, device: Device) -> Self {
        match precision {
            Precision::Auto if device == Device::Cpu && !cpu_has_bf16() => Self::Fp32,
            // V100 and T4 have half precision alone; bfloat16 came with 8.0.
            Precision::Auto
                if device != Device::Cpu
                    && compute_capability().is_none_or(|capability| capability < (8, 0)) =>
            {
                Self::Fp16
            }
            Precision::Fp32 => Self::Fp32,
            Precision::Bf16 | Precision::Auto => Self::Bf16,
            Precision::Fp16 => Self::Fp16,
        }
    }

    /// libtorch's name.
    pub fn kind(self) -> Kind {
        match self {
            Self::Fp32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::Fp16 => Kind::Half,
        }
    }

    /// The setting's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => Precision::Fp32,
            Self::Bf16 => Precision::Bf16,
            Self::Fp16 => Precision::Fp16,
        }
        .name()
    }
}

/// Whether the processor multiplies bfloat16 itself: `avx512_bf16`, which every
/// processor with `amx_bf16` has too.
pub fn cpu_has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}
