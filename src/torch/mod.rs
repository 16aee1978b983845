//! What tch does not bind of libtorch: C++ beside its Rust face, and the one room with `unsafe`.
//!
//! Every function here is safe to call, and turns C++ exceptions into errors.

mod script;

pub use script::{Named, write_torchscript};
