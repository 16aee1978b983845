//! Networks, weights in torchvision's key names, and the model artifact.
//!
//! A network is described once, as a [`graph::Graph`]. The forward pass and the exports for other
//! programs read that description.

mod algorithm;
pub mod architecture;
pub mod archive;
pub mod artifact;
mod backbone;
pub mod forward;
pub mod grad_cam;
pub mod graph;
mod heads;
pub mod initial;
pub mod labels;
pub mod network;
pub mod onnx;
pub mod precision;
pub mod pth;
mod resnet;
pub mod size;
pub mod state_dict;
pub mod tensor_file;
pub mod torchscript;
pub mod weights;

pub use algorithm::Algorithm;
pub use architecture::Architecture;
pub use artifact::{Artifact, ModelConfig};
pub use backbone::Backbone;
pub use network::Network;
