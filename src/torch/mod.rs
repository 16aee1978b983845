//! What tch does not bind of libtorch: C++ beside its Rust face, and the one room with `unsafe`.
//!
//! Every function here is safe to call, and turns C++ exceptions into errors.

mod cuda;
mod script;

pub use cuda::{compute_capability, device};
pub use script::{Named, write_torchscript};
