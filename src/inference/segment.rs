//! Requests to an engine, its answers, and its description. Nothing here holds tensors, so that the
//! server and its tests need none.

use image::{GrayImage, RgbImage};

use crate::colors::class_color;
use crate::error::Result;

/// Passes over an image beyond the plain one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TestTimeAugmentation {
    /// Computes the image mirrored left to right too, and averages the probabilities.
    pub flip: bool,
    /// Sizes to compute the image at, relative to its own; the probabilities are averaged. Empty
    /// means 1 alone.
    pub scales: Vec<f32>,
}

/// Largest number of scales in a request.
pub const MAX_TTA_SCALES: usize = 5;
/// Range of a scale, relative to the image's size.
pub const TTA_SCALE_RANGE: std::ops::RangeInclusive<f32> = 0.25..=4.0;

/// Amount of detail in an answer; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum OutputDetail {
    /// The most likely class of every pixel.
    #[default]
    Classes,
    /// The mean probability of each class too.
    Confidence,
    /// The probability of the most likely class in every pixel too.
    PixelConfidence,
    /// The probability of every class in every pixel too.
    Probabilities,
}

/// Options of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SegmentOptions {
    /// Computes images that exceed the limit on the longer side in overlapping tiles at full size,
    /// instead of scaled down.
    pub tile: bool,
    pub tta: TestTimeAugmentation,
    pub detail: OutputDetail,
    /// Computes [`Segmentation::pixel_entropy`] too, whatever the detail.
    pub pixel_entropy: bool,
}

/// Answer about one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Segmentation {
    /// The class id of every pixel, at the image's own size.
    pub ids: GrayImage,
    /// Mean probability of each class, 0 to 1, over the pixels where it is the most likely one; 0
    /// for a class without pixels. Empty below [`OutputDetail::Confidence`].
    pub confidence: Vec<f32>,
    /// Probability of the most likely class of every pixel, 0 to 1, row by row, at the image's own
    /// size. Empty below [`OutputDetail::PixelConfidence`].
    pub pixel_confidence: Vec<f32>,
    /// Probabilities `[classes, height, width]`, 0 to 1, at the image's own size. Empty below
    /// [`OutputDetail::Probabilities`].
    pub probabilities: Vec<f32>,
    /// Entropy of the probabilities of every pixel, row by row, at the image's own size, as a share of
    /// the largest one: 0 if the model is certain of a class, 1 if all are equally likely. Empty unless
    /// [`SegmentOptions::pixel_entropy`] asks for it.
    pub pixel_entropy: Vec<f32>,
}

/// Description of an engine and its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// Names of the classes, class 0 first.
    pub class_names: Vec<String>,
    /// Colors of the classes: red, green and blue, 0 to 255.
    pub colors: Vec<[u8; 3]>,
    /// Number format: `fp32`, `bf16` or `fp16`.
    pub precision: &'static str,
    /// Device: `cpu` or `cuda:0`.
    pub device: String,
    /// Largest side that is computed whole, in pixels.
    pub max_side: u32,
    /// Side of a tile, in pixels.
    pub tile_side: u32,
    /// Overlap of neighboring tiles, in pixels.
    pub tile_overlap: u32,
}

/// Segments images. The trait is all that the server and its tests know of an engine.
pub trait Segment: Send {
    /// Segments upright images that are all of one size, and returns the answers in their order.
    fn segment(
        &mut self,
        images: &[&RgbImage],
        options: &SegmentOptions,
    ) -> Result<Vec<Segmentation>>;

    /// Returns the engine's description, which never changes.
    fn info(&self) -> &ModelInfo;
}

impl ModelInfo {
    /// Returns the color of a class: the model's own, or the default one of other ids.
    pub fn color(&self, id: u8) -> [u8; 3] {
        self.colors.get(usize::from(id)).copied().unwrap_or_else(|| class_color(id))
    }
}

impl TestTimeAugmentation {
    /// Returns the scales to compute the image at, at least one.
    pub(super) fn scales(&self) -> &[f32] {
        if self.scales.is_empty() { &[1.0] } else { &self.scales }
    }
}

impl ModelInfo {
    /// Returns the number of pixels that the network computes for an image of `width` x `height` in
    /// all passes together. The time to compute is about proportional to it.
    pub fn network_pixels(&self, (width, height): (u32, u32), options: &SegmentOptions) -> u64 {
        let flip_passes = if options.tta.flip { 2 } else { 1 };
        let mut pixels = 0;
        for &scale in options.tta.scales() {
            let width = u64::from(scale_side(width, scale));
            let height = u64::from(scale_side(height, scale));
            pixels += self.pass_pixels(width, height, options.tile);
        }
        flip_passes * pixels
    }

    /// Returns the number of pixels that the network computes in one pass over an image of this
    /// size.
    fn pass_pixels(&self, width: u64, height: u64, tile: bool) -> u64 {
        let longer = width.max(height);
        if longer <= u64::from(self.max_side) {
            width * height
        } else if tile {
            let (side, overlap) = (u64::from(self.tile_side), u64::from(self.tile_overlap));
            count_tiles(width, side, overlap)
                * count_tiles(height, side, overlap)
                * (side.min(width) * side.min(height))
        } else {
            let max_side = u64::from(self.max_side);
            (width * max_side).div_ceil(longer).max(1) * (height * max_side).div_ceil(longer).max(1)
        }
    }
}

/// Returns a side at this scale, in pixels, at least 1.
pub(super) fn scale_side(side: u32, scale: f32) -> u32 {
    ((f64::from(side) * f64::from(scale)).round() as u32).max(1)
}

/// Returns the number of tiles of `side` pixels that cover `length` pixels, if neighbors share
/// `overlap` pixels.
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
        let options = SegmentOptions::default();
        assert_eq!(model_info().network_pixels((640, 480), &options), 640 * 480);
        assert_eq!(model_info().network_pixels((4096, 1024), &options), 2048 * 512);
        let tta = TestTimeAugmentation { flip: true, scales: vec![0.5, 1.0] };
        let both = SegmentOptions { tta, ..SegmentOptions::default() };
        assert_eq!(model_info().network_pixels((640, 480), &both), 2 * (640 * 480 + 320 * 240));
        let tiled = SegmentOptions { tile: true, ..SegmentOptions::default() };
        assert_eq!(model_info().network_pixels((640, 480), &tiled), 640 * 480);
        assert_eq!(model_info().network_pixels((4096, 1000), &tiled), 5 * 1024 * 1000);
        assert_eq!(model_info().network_pixels((0, 0), &tiled), 1);
    }

    #[test]
    fn tiles_cover_the_length_with_their_overlap() {
        assert_eq!([1, 1024, 1025, 1920, 1921].map(|l| count_tiles(l, 1024, 128)), [1, 1, 2, 2, 3]);
    }
}
