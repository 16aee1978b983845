//! The image with its classes painted over it, and a legend: for people to look at.

use image::{GrayImage, RgbImage};

use super::colour;
use crate::imaging::encode_png;
use crate::inference::About;
use crate::render::overlay_in;

/// Larger images are drawn smaller, as [`overlay_in`] has it.
pub(in super::super) fn encode(image: &RgbImage, ids: &GrayImage, about: &About) -> Vec<u8> {
    encode_png(&overlay_in(image, ids, &about.class_names, |id| colour(about, id)))
}
