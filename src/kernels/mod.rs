//! Convolutions on the processor, made for inference: packed weights, Winograd's algorithm, and the
//! choice between algorithms and layouts.

mod layouts;
mod packed;
mod tuning;
mod winograd;

pub use packed::{ConvolutionAlgorithm, PackedConvolution};
pub use tuning::WinogradCost;
