//! What tch does not bind of libtorch: C++ beside its Rust face, and the one room with `unsafe`.
//!
//! Every function here is safe to call, and turns C++ exceptions into errors.

mod convolution;
mod cuda;
mod memory;
mod module;
mod parallel;
mod process;
mod random;
mod script;
mod text;
mod winograd;

pub use convolution::{ConvolutionAlgorithm, Geometry, PackedConvolution};
pub use cuda::{compute_capability, device};
pub use memory::{channels_last, filled, floats, written};
pub use module::FrozenModule;
pub use parallel::map;
pub use process::{bound_caches, give_back_memory, leave};
pub use random::with_seed;
pub use script::{Named, write_torchscript};
pub use winograd::WinogradCost;
