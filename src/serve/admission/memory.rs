//! The memory that the models of an endpoint may take.

use crate::machine;

/// Default share of the memory for models, in percent. The rest is for requests and for the buffers
/// of a network while it computes.
const MODELS_PERCENT: u64 = 60;

/// Returns the default bound on the bytes of all models: a share of the GPU's memory where there is
/// one, else of the container's, or `u64::MAX` if the system reports no size.
pub(in crate::serve) fn default_models_bytes(gpu_memory_bytes: Option<u64>) -> u64 {
    gpu_memory_bytes
        .or_else(machine::memory_bytes)
        .map_or(u64::MAX, |bytes| bytes / 100 * MODELS_PERCENT)
}
