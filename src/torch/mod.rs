//! What tch does not bind of libtorch: C++ beside its Rust face, and the one room with `unsafe`.
//!
//! Every function here is safe to call, and turns C++ exceptions into errors.

mod c_string;
mod convolution;
mod cuda;
mod memory;
mod module;
mod parallel;
mod process;
mod random;
mod script;
mod winograd;

pub use convolution::{ConvolutionAlgorithm, Geometry, PackedConvolution};
pub use cuda::{compute_capability, default_device};
pub use memory::{build_float_tensor, build_tensor, float_slice, to_channels_last};
pub use module::FrozenModule;
pub use parallel::parallel_map;
pub use process::{exit_process, limit_kernel_caches, release_memory};
pub use random::with_seed;
pub use script::{NamedTensor, write_torchscript};
pub use winograd::WinogradCost;
