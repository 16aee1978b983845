//! The border to C++: calls of libtorch, of the system and of the allocator that the crate `tch`
//! does not bind.
//!
//! This is the only room with `unsafe` (`docs/architecture.md#unsafe-code-in-one-room`). Every
//! function here is safe to call, and turns C++ exceptions into errors.

mod convolution;
mod cuda;
mod device;
mod dynamic_library;
mod error;
mod ffi;
pub mod foreach;
mod forward_compatibility;
mod gpu_math;
mod gpu_status;
mod gradient_reducer;
mod memory;
mod module;
mod nccl;
#[cfg(test)]
mod operator_counts;
mod parallel;
mod process;
mod process_group;
mod random;
mod script;
mod store;
mod sync_batch_norm;
mod upload;

pub use convolution::Geometry;
pub(crate) use convolution::{convolve_packed, pack_weight, packed_weights_equal};
pub use cuda::{Gpu, compute_capability, gpu_memory_bytes};
pub use device::{
    DeviceChoice, VISIBLE_GPUS, choose_device, default_device, device_choice, gpu_count,
    visible_gpu,
};
pub use forward_compatibility::use_newer_driver_libraries;
pub use gpu_math::{GpuMath, set_convolution_autotuning};
pub use gpu_status::{DriverProblem, GpuStatus};
pub use gradient_reducer::GradientReducer;
pub(crate) use memory::float_slice_mut;
pub use memory::{
    build_float_tensor, build_tensor, float_slice, set_channels_last_strides, to_channels_last,
};
pub use module::FrozenModule;
pub use nccl::open_nccl_library;
#[cfg(test)]
pub(crate) use operator_counts::{count_operators, count_waits};
pub(crate) use parallel::parallel_for_each;
pub use parallel::parallel_map;
pub use process::{exit_process, release_memory, set_library_variables};
pub use process_group::ProcessGroup;
#[cfg(test)]
pub(crate) use process_group::run_ranks;
pub use random::with_seed;
pub use script::{NamedTensor, write_torchscript};
pub use store::Store;
pub use sync_batch_norm::{BatchNormTensors, sync_batch_norm};
pub use upload::{Upload, UploadStream};
