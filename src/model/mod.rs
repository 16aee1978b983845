//! Networks, weights in torchvision's key names, and the model artifact.
//!
//! A network is described once, as a [`graph::Graph`]; the forward pass and what is written for other
//! programs are read from that description.

pub mod artifact;
pub mod forward;
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

pub use artifact::{Artifact, ModelConfig};
pub use network::Network;
