//! One code path from an upright image to its class ids, for predict, evaluate and serve.

mod engine;

pub use engine::{Engine, Options, Precision};

use image::{GrayImage, RgbImage};

use crate::error::Result;

/// Something that segments images; the trait is what servers and tests need to know of an engine.
pub trait Segment: Send {
    /// The class id of every pixel of an upright image, at the image's own size.
    fn segment(&mut self, image: &RgbImage) -> Result<GrayImage>;
}
