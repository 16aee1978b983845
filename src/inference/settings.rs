//! Settings of an engine: arithmetic, threads, sizes.

use std::collections::BTreeSet;

use tch::Device;

use crate::model::artifact::Bf16Agreement;
use crate::model::precision::{ComputePrecision, Precision};

/// Share of pixels whose class differs in bfloat16 from which on `Auto` does not choose bfloat16.
const MAX_DIFFERING_SHARE: f64 = 0.005;

/// Number format of inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum InferencePrecision {
    /// bf16 on a processor or GPU that is faster in it, if training found the masks to be the same, and then
    /// half precision on older GPUs; else fp32
    #[default]
    Auto,
    /// 32-bit floating point
    Fp32,
    /// bfloat16
    Bf16,
    /// half precision
    Fp16,
}

/// Settings of an engine. predict and serve take the same, so that both give the same masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    pub precision: InferencePrecision,
    /// Largest side that is computed whole, in pixels. A larger image is scaled down to it and its
    /// mask scaled back up, or computed in tiles.
    pub max_side: u32,
    /// Side of a tile, in pixels.
    pub tile_side: u32,
    /// Threads of the network's layers; `None` means one per core.
    pub threads: Option<usize>,
}

/// Returns the number format for a setting on a device, given how well training found bfloat16 to
/// agree with 32 bits. Where bfloat16 agrees, half precision is taken on GPUs without bfloat16: it
/// has 3 bits more, and the engine refuses answers that exceed its range.
pub(super) fn choose_precision(
    precision: InferencePrecision,
    device: Device,
    agreement: Option<&Bf16Agreement>,
) -> ComputePrecision {
    let requested = match precision {
        InferencePrecision::Auto => Precision::Auto,
        InferencePrecision::Fp32 => Precision::Fp32,
        InferencePrecision::Bf16 => Precision::Bf16,
        InferencePrecision::Fp16 => Precision::Fp16,
    };
    let supported = ComputePrecision::from_setting(requested, device);
    let agrees = agreement.is_some_and(|a| a.pixels > 0 && a.differing < MAX_DIFFERING_SHARE);
    if precision == InferencePrecision::Auto && !agrees {
        ComputePrecision::Fp32
    } else {
        supported
    }
}

/// Gives libtorch this many threads, or one per physical core: two threads on one core wait for
/// each other's vector units.
pub(super) fn set_threads(threads: Option<usize>) {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match threads {
        Some(threads) => threads,
        None => count_physical_cores().unwrap_or(available).min(available),
    };
    let threads = threads.max(1) as i32;
    // Setting the same number again would start a second pool of threads, which spins unused for a
    // while.
    if tch::get_num_threads() != threads {
        tch::set_num_threads(threads);
    }
}

/// Counts the physical cores of this machine, or returns `None` where the system does not list
/// them.
fn count_physical_cores() -> Option<usize> {
    let mut siblings = BTreeSet::new();
    for processor in std::fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        let path = processor.path().join("topology/thread_siblings_list");
        if let Ok(list) = std::fs::read_to_string(path) {
            siblings.insert(list);
        }
    }
    if siblings.is_empty() { None } else { Some(siblings.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::precision::cpu_is_faster_in_bf16;

    fn agreement(differing: f64) -> Bf16Agreement {
        Bf16Agreement { differing, images: 3, pixels: 1000 }
    }

    #[test]
    fn bfloat16_is_chosen_only_where_training_found_it_to_agree() {
        let choose_auto = |agreement: Option<Bf16Agreement>| {
            choose_precision(InferencePrecision::Auto, Device::Cpu, agreement.as_ref())
        };
        assert_eq!(choose_auto(None), ComputePrecision::Fp32);
        assert_eq!(choose_auto(Some(agreement(0.01))), ComputePrecision::Fp32);
        assert_eq!(
            choose_auto(Some(Bf16Agreement::default())),
            ComputePrecision::Fp32,
            "nothing was compared"
        );
        let on_gpu =
            choose_precision(InferencePrecision::Auto, Device::Cuda(0), Some(&agreement(0.01)));
        assert_eq!(on_gpu, ComputePrecision::Fp32);
        let on_gpu =
            choose_precision(InferencePrecision::Auto, Device::Cuda(0), Some(&agreement(0.001)));
        assert_ne!(on_gpu, ComputePrecision::Fp32);
        let expected =
            if cpu_is_faster_in_bf16() { ComputePrecision::Bf16 } else { ComputePrecision::Fp32 };
        assert_eq!(choose_auto(Some(agreement(0.001))), expected);
    }

    #[test]
    fn a_wish_is_a_wish() {
        for (precision, expected) in [
            (InferencePrecision::Fp32, ComputePrecision::Fp32),
            (InferencePrecision::Bf16, ComputePrecision::Bf16),
            (InferencePrecision::Fp16, ComputePrecision::Fp16),
        ] {
            let disagrees = agreement(0.5);
            assert_eq!(choose_precision(precision, Device::Cpu, Some(&disagrees)), expected);
        }
    }
}
