//! One code path from an upright image to its class ids, for predict, evaluate and serve.
//!
//! [`Engine`] loads a model. Its BatchNorm is folded into the convolutions (`fuse`, `prepared`), or it is a frozen
//! TorchScript module (`scripted`); either gives logits on a grid for an image that is looked at as asked (`passes`,
//! `tiles`), and `readout` makes classes, confidence and probabilities at the image's size of them.

mod argmax;
mod engine;
mod fuse;
mod fused_network;
mod postprocess;
mod predictor;
mod segment;
mod settings;
mod tiles;
mod torchscript;

pub use engine::Engine;
pub use segment::{
    MAX_TTA_SCALES, ModelInfo, OutputDetail, Segment, SegmentOptions, Segmentation,
    TTA_SCALE_RANGE, TestTimeAugmentation,
};
pub use settings::{EngineOptions, InferencePrecision};
