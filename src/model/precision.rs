//! Number formats of a network's computations. Whatever the format, weights and BatchNorm's
//! statistics are 32-bit floats, and so is everything from the layers on that give the logits.

use tch::{Device, Kind};

use crate::named_enum::named_enum;
use crate::torch::compute_capability;

named_enum! {
    /// The number format in which the network is computed; weights are kept in 32 bits.
    Precision {
        /// The fastest that trains as well on the device: see [`ComputePrecision::from_setting`].
        Auto = "auto",
        /// 32-bit floats.
        Fp32 = "fp32",
        /// bfloat16: the range of 32-bit floats with 8 bits of precision.
        Bf16 = "bf16",
        /// IEEE half precision, with loss scaling.
        Fp16 = "fp16",
    }
}

/// Number format of activations, and of the convolutions that compute them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ComputePrecision {
    #[default]
    Fp32,
    /// bfloat16, which has the range of 32-bit floats.
    Bf16,
    /// Half precision, whose range is so small that losses must be scaled for their gradients.
    Fp16,
    /// 64-bit floats, in which tests compare computations without rounding in their way. No setting
    /// offers them.
    Fp64,
}

impl ComputePrecision {
    /// Returns the format that a setting asks for on a device.
    pub fn from_setting(precision: Precision, device: Device) -> Self {
        match precision {
            Precision::Auto if device == Device::Cpu && !cpu_has_bf16() => Self::Fp32,
            // V100 and T4 have half precision only; bfloat16 came with compute capability 8.0.
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

    /// Returns libtorch's name of the format.
    pub fn kind(self) -> Kind {
        match self {
            Self::Fp32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::Fp16 => Kind::Half,
            Self::Fp64 => Kind::Double,
        }
    }

    /// Returns the word for the format, that of the setting if it offers the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => Precision::Fp32.name(),
            Self::Bf16 => Precision::Bf16.name(),
            Self::Fp16 => Precision::Fp16.name(),
            Self::Fp64 => "fp64",
        }
    }

    /// Returns the format of this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Fp32, Self::Bf16, Self::Fp16, Self::Fp64];
        all.into_iter().find(|format| format.name() == name)
    }
}

/// Returns true if the CPU multiplies bfloat16 itself (`avx512_bf16`, which every CPU with
/// `amx_bf16` has too) and oneDNN may use that.
pub fn cpu_has_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    let max_isa = ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"].iter().find_map(std::env::var_os);
    has && max_isa.is_none_or(|limit| allows_bf16(&limit.to_string_lossy()))
}

/// The values of `ONEDNN_MAX_CPU_ISA` under which oneDNN has no bfloat16 multiplication
/// (<https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html>).
const ISAS_WITHOUT_BF16: [&str; 7] =
    ["SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"];

fn allows_bf16(max_cpu_isa: &str) -> bool {
    !ISAS_WITHOUT_BF16.iter().any(|isa| isa.eq_ignore_ascii_case(max_cpu_isa))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn onednns_limit_on_instructions_rules_bfloat16_out() {
        for isa in ["AVX2", "avx512_core", "AVX512_CORE_VNNI"] {
            assert!(!allows_bf16(isa), "{isa}");
        }
        for isa in ["AVX512_CORE_BF16", "AVX512_CORE_AMX", "DEFAULT", ""] {
            assert!(allows_bf16(isa), "{isa}");
        }
    }
}
