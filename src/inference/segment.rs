//! What is asked of an engine about images, what it answers, and what it says of itself. No tensors here, so that
//! servers and their tests need none.

use image::{GrayImage, RgbImage};

use crate::error::Result;

/// How an image is looked at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// In overlapping tiles at its full size, and not scaled down to the limit on the longer side.
    pub tile: bool,
    /// Also mirrored left to right; the probabilities are averaged.
    pub flip: bool,
    /// At each of these sizes, relative to the image's; the probabilities are averaged. Empty is 1 alone.
    pub scales: Vec<f32>,
}

/// The most scales of one view.
pub const MAX_SCALES: usize = 5;
/// What a scale may be.
pub const SCALES: std::ops::RangeInclusive<f32> = 0.25..=4.0;

/// How much is told of an image; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Detail {
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
pub struct Ask {
    /// How they are looked at.
    pub view: View,
    /// How much is told.
    pub detail: Detail,
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
pub struct About {
    /// One name per class, class 0 first.
    pub class_names: Vec<String>,
    /// Red, green and blue by class.
    pub colours: Vec<[u8; 3]>,
    /// The arithmetic: `fp32`, `bf16` or `fp16`.
    pub precision: &'static str,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// Pixels; images with a longer side are scaled down to it, or tiled.
    pub max_side: u32,
    /// Pixels; the side of a tile.
    pub tile_side: u32,
    /// Pixels that neighbouring tiles share.
    pub tile_overlap: u32,
}

/// Something that segments images; the trait is what servers and tests need to know of an engine.
pub trait Segment: Send {
    /// Answers about upright images that are all of one size, in their order.
    fn segment(&mut self, images: &[&RgbImage], ask: &Ask) -> Result<Vec<Segmentation>>;

    /// What the engine says of itself; the same as long as it lives.
    fn about(&self) -> &About;
}

impl About {
    /// How many pixels the network computes for an image of `width` x `height`, all passes together: what the
    /// time of an answer follows.
    pub fn work(&self, (width, height): (u32, u32), view: &View) -> u64 {
        let passes = if view.flip { 2 } else { 1 };
        let scales: &[f32] = if view.scales.is_empty() { &[1.0] } else { &view.scales };
        let at = |scale: f32| {
            let scaled = |side: u32| ((f64::from(side) * f64::from(scale)).round() as u64).max(1);
            let (width, height) = (scaled(width), scaled(height));
            let longer = width.max(height);
            if longer <= u64::from(self.max_side) {
                width * height
            } else if view.tile {
                let side = u64::from(self.tile_side);
                tiles(width, side, self.tile_overlap.into())
                    * tiles(height, side, self.tile_overlap.into())
                    * (side.min(width) * side.min(height))
            } else {
                let most = u64::from(self.max_side);
                (width * most).div_ceil(longer).max(1) * (height * most).div_ceil(longer).max(1)
            }
        };
        passes * scales.iter().map(|&scale| at(scale)).sum::<u64>()
    }
}

/// How many tiles of `side` that share `overlap` cover `length`.
pub(super) fn tiles(length: u64, side: u64, overlap: u64) -> u64 {
    if length <= side { 1 } else { (length - overlap).div_ceil(side - overlap) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About {
            class_names: Vec::new(),
            colours: Vec::new(),
            precision: "fp32",
            device: "cpu".into(),
            max_side: 2048,
            tile_side: 1024,
            tile_overlap: 128,
        }
    }

    #[test]
    fn work_follows_size_passes_and_tiles() {
        let view = View::default();
        assert_eq!(about().work((640, 480), &view), 640 * 480);
        assert_eq!(about().work((4096, 1024), &view), 2048 * 512);
        let both = View { flip: true, scales: vec![0.5, 1.0], ..View::default() };
        assert_eq!(about().work((640, 480), &both), 2 * (640 * 480 + 320 * 240));
        let tiled = View { tile: true, ..View::default() };
        assert_eq!(about().work((640, 480), &tiled), 640 * 480);
        assert_eq!(about().work((4096, 1000), &tiled), 5 * 1024 * 1000);
        assert_eq!(about().work((0, 0), &tiled), 1);
    }

    #[test]
    fn tiles_cover_the_length_with_their_overlap() {
        assert_eq!([1, 1024, 1025, 1920, 1921].map(|l| tiles(l, 1024, 128)), [1, 1, 2, 2, 3]);
    }
}
