//! What is asked of an engine about images, what it answers, and what it says of itself. No tensors here, so that
//! servers and their tests need none.

use image::{GrayImage, RgbImage};

use crate::error::Result;

/// How an image is looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TestTimeAugmentation {
    /// In overlapping tiles at its full size, and not scaled down to the limit on the longer side.
    pub tile: bool,
    /// Also mirrored left to right; the probabilities are averaged.
    pub flip: bool,
    /// At each of these sizes, relative to the image's; the probabilities are averaged. Empty is 1 alone.
    pub scales: Vec<f32>,
}

/// The most scales of one view.
pub const MAX_TTA_SCALES: usize = 5;
/// What a scale may be.
pub const TTA_SCALE_RANGE: std::ops::RangeInclusive<f32> = 0.25..=4.0;

/// How much is told of an image; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum OutputDetail {
    /// The most likely class of every pixel.
    #[default]
    Classes,
    /// And how sure of them the network is, by class.
    Confidence,
    /// And every class's probability in every pixel.
    Probabilities,
}

/// What is asked about images.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SegmentOptions {
    /// How they are looked at.
    pub tta: TestTimeAugmentation,
    /// How much is told.
    pub detail: OutputDetail,
}

/// What an engine answers about one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// The class id of every pixel, at the image's own size.
    pub ids: GrayImage,
    /// For each class the mean probability, 0 to 1, over the pixels where it is the most likely one; 0 for
    /// classes that occur nowhere. Empty unless [`Detail::Confidence`] or more was asked for.
    pub confidence: Vec<f32>,
    /// `[classes, height, width]`, 0 to 1, at the image's own size. Empty unless asked for.
    pub probabilities: Vec<f32>,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// One name per class, class 0 first.
    pub class_names: Vec<String>,
    /// Red, green and blue by class.
    pub colors: Vec<[u8; 3]>,
    /// The arithmetic: `fp32`, `bf16` or `fp16`.
    pub precision: &'static str,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// Pixels; images with a longer side are scaled down to it, or tiled.
    pub max_side: u32,
    /// Pixels; the side of a tile.
    pub tile_side: u32,
    /// Pixels that neighboring tiles share.
    pub tile_overlap: u32,
}

/// Something that segments images; the trait is what servers and tests need to know of an engine.
pub trait Segment: Send {
    /// Answers about upright images that are all of one size, in their order.
    fn segment(
        &mut self,
        images: &[&RgbImage],
        options: &SegmentOptions,
    ) -> Result<Vec<Segmentation>>;

    /// What the engine says of itself; the same as long as it lives.
    fn info(&self) -> &ModelInfo;
}

impl ModelInfo {
    /// How many pixels the network computes for an image of `width` x `height`, all passes together: what the
    /// time of an answer follows.
    pub fn network_pixels(&self, (width, height): (u32, u32), tta: &TestTimeAugmentation) -> u64 {
        let flip_passes = if tta.flip { 2 } else { 1 };
        let scales: &[f32] = if tta.scales.is_empty() { &[1.0] } else { &tta.scales };
        let pixels_at_scale = |scale: f32| {
            let scale_side =
                |side: u32| ((f64::from(side) * f64::from(scale)).round() as u64).max(1);
            let (width, height) = (scale_side(width), scale_side(height));
            let longer = width.max(height);
            if longer <= u64::from(self.max_side) {
                width * height
            } else if tta.tile {
                let side = u64::from(self.tile_side);
                count_tiles(width, side, self.tile_overlap.into())
                    * count_tiles(height, side, self.tile_overlap.into())
                    * (side.min(width) * side.min(height))
            } else {
                let max_side = u64::from(self.max_side);
                (width * max_side).div_ceil(longer).max(1)
                    * (height * max_side).div_ceil(longer).max(1)
            }
        };
        flip_passes * scales.iter().map(|&scale| pixels_at_scale(scale)).sum::<u64>()
    }
}

/// How many tiles of `side` that share `overlap` cover `length`.
pub(super) fn count_tiles(length: u64, side: u64, overlap: u64) -> u64 {
    if length <= side { 1 } else { (length - overlap).div_ceil(side - overlap) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model_info() -> ModelInfo {
        ModelInfo {
            class_names: Vec::new(),
            colors: Vec::new(),
            precision: "fp32",
            device: "cpu".into(),
            max_side: 2048,
            tile_side: 1024,
            tile_overlap: 128,
        }
    }

    #[test]
    fn work_follows_size_passes_and_tiles() {
        let tta = TestTimeAugmentation::default();
        assert_eq!(model_info().network_pixels((640, 480), &tta), 640 * 480);
        assert_eq!(model_info().network_pixels((4096, 1024), &tta), 2048 * 512);
        let both = TestTimeAugmentation {
            flip: true,
            scales: vec![0.5, 1.0],
            ..TestTimeAugmentation::default()
        };
        assert_eq!(model_info().network_pixels((640, 480), &both), 2 * (640 * 480 + 320 * 240));
        let tiled = TestTimeAugmentation { tile: true, ..TestTimeAugmentation::default() };
        assert_eq!(model_info().network_pixels((640, 480), &tiled), 640 * 480);
        assert_eq!(model_info().network_pixels((4096, 1000), &tiled), 5 * 1024 * 1000);
        assert_eq!(model_info().network_pixels((0, 0), &tiled), 1);
    }

    #[test]
    fn tiles_cover_the_length_with_their_overlap() {
        assert_eq!([1, 1024, 1025, 1920, 1921].map(|l| count_tiles(l, 1024, 128)), [1, 1, 2, 2, 3]);
    }
}
