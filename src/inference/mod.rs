//! Computes class ids, confidence and probabilities of upright images, for predict and serve.
//!
//! An [`Engine`] loads a model, which is either a fused network or a frozen TorchScript module
//! (`torchscript`). `fused_network` makes a fused network: `fuse` groups layers into passes, `fold`
//! folds BatchNorm into the convolutions, `conv_kernel` packs their weights, and `liveness` finds
//! when the memory of a value is free again.
//!
//! Both compute logits on a grid that is coarser than the pixels. `predictor` runs them as a
//! request asks: scaled, mirrored, or in tiles (`tiles`). `postprocess` turns logits into classes
//! (`argmax`), confidence and probabilities at the image's size.

mod argmax;
mod conv_kernel;
mod engine;
mod fold;
mod fuse;
mod fused_network;
mod liveness;
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
