//! What tch does not bind of libtorch: C++ beside its Rust face, and the one room with `unsafe`.
//!
//! Every function here is safe to call, and turns C++ exceptions into errors.

mod allocator;
mod convolution;
mod cuda;
mod memory;
mod module;
mod parallel;
mod script;
mod text;
mod winograd;

pub use allocator::give_back_memory;
pub use convolution::{Geometry, PackedConvolution};
pub use cuda::{compute_capability, device};
pub use memory::{bound_caches, channels_last, filled, floats, leave, written};
pub use module::FrozenModule;
pub use parallel::map;
pub use script::{Named, write_torchscript};
