//! The image with its classes painted over it and a legend, for people to look at.

use image::{GrayImage, RgbImage};

use super::model_class_color;
use crate::imaging::encode_png;
use crate::inference::ModelInfo;
use crate::render::draw_overlay_with_colors;

/// Encodes the overlay as a PNG. Large images are drawn smaller, see [`draw_overlay_with_colors`].
pub(super) fn encode_overlay(image: &RgbImage, ids: &GrayImage, info: &ModelInfo) -> Vec<u8> {
    encode_png(&draw_overlay_with_colors(image, ids, &info.class_names, |id| {
        model_class_color(info, id)
    }))
}
