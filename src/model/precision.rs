//! Number formats of a network's computations. Whatever the format, weights and BatchNorm's
//! statistics are 32-bit floats, and so is everything from the layers on that give the logits.

use std::sync::LazyLock;
use std::{env, fs};

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
            Precision::Auto if device == Device::Cpu && !cpu_is_faster_in_bf16() => Self::Fp32,
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

/// Returns true if this CPU computes networks faster in bfloat16 than in 32 bits, and oneDNN may use
/// the instructions for it. Linux lists them in `/proc/cpuinfo`; where there is no such file, the
/// answer is false.
pub fn cpu_is_faster_in_bf16() -> bool {
    static ANSWER: LazyLock<bool> = LazyLock::new(|| {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let max_isa = ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"].iter().find_map(env::var_os);
        let max_isa = max_isa.map(|limit| limit.to_string_lossy().into_owned());
        is_faster_in_bf16(&cpuinfo, max_isa.as_deref())
    });
    *ANSWER
}

/// The values of `ONEDNN_MAX_CPU_ISA` under which oneDNN has no bfloat16 multiplication
/// (<https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html>).
const ISAS_WITHOUT_BF16: [&str; 7] =
    ["SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"];

/// The further values under which oneDNN has no AMX.
const ISAS_WITHOUT_AMX: [&str; 3] = ["AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"];

/// Returns true for the first CPU of `/proc/cpuinfo` if it has AMX for bfloat16, or is AMD's with
/// `avx512_bf16`, and if the limit on oneDNN's instructions allows that.
///
/// AMD's `vdpbf16ps` multiplies twice as many numbers in a cycle as its instructions for 32 bits.
/// Intel's does not, and the conversions cost time: on a Xeon without AMX, PyTorch and this program
/// took longer in bfloat16 (`docs/evaluate.md`, "Speed and memory").
fn is_faster_in_bf16(cpuinfo: &str, max_cpu_isa: Option<&str>) -> bool {
    let is_limited_to = |isas: &[&str]| {
        max_cpu_isa.is_some_and(|limit| isas.iter().any(|isa| isa.eq_ignore_ascii_case(limit)))
    };
    let value = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let has = |wanted: &str| {
        value("flags").is_some_and(|flags| flags.split_whitespace().any(|flag| flag == wanted))
    };
    if is_limited_to(&ISAS_WITHOUT_BF16) {
        return false;
    }
    let has_amx = has("amx_bf16") && !is_limited_to(&ISAS_WITHOUT_AMX);
    has_amx || (has("avx512_bf16") && value("vendor_id") == Some("AuthenticAMD"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD: &str =
        "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2 avx512_bf16\n";
    const AMD_WITHOUT: &str = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx2\n";
    const XEON: &str = "vendor_id\t: GenuineIntel\nflags\t\t: avx512f avx512_bf16 amx_tile\n";
    const XEON_WITH_AMX: &str = "vendor_id\t: GenuineIntel\nflags\t\t: avx512_bf16 amx_bf16\n";

    #[test]
    fn bfloat16_is_faster_with_amx_and_on_amd() {
        assert!(is_faster_in_bf16(AMD, None));
        assert!(is_faster_in_bf16(XEON_WITH_AMX, None));
        assert!(!is_faster_in_bf16(AMD_WITHOUT, None));
        assert!(!is_faster_in_bf16(XEON, None));
        assert!(!is_faster_in_bf16("", None));
    }

    #[test]
    fn onednns_limit_on_instructions_rules_bfloat16_out() {
        for isa in ["AVX2", "avx512_core", "AVX512_CORE_VNNI"] {
            assert!(!is_faster_in_bf16(AMD, Some(isa)), "{isa}");
            assert!(!is_faster_in_bf16(XEON_WITH_AMX, Some(isa)), "{isa}");
        }
        assert!(is_faster_in_bf16(AMD, Some("AVX512_CORE_BF16")));
        assert!(!is_faster_in_bf16(XEON_WITH_AMX, Some("avx512_core_bf16")));
        for isa in ["AVX512_CORE_AMX", "DEFAULT", ""] {
            assert!(is_faster_in_bf16(AMD, Some(isa)), "{isa}");
            assert!(is_faster_in_bf16(XEON_WITH_AMX, Some(isa)), "{isa}");
        }
    }
}
