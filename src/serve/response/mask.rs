//! Class ids as a PNG of one channel, with the colors of the classes as its palette.

use image::GrayImage;

use super::model_class_color;
use crate::imaging::encode_mask_with_colors;
use crate::inference::ModelInfo;

pub(super) fn encode_mask_png(ids: &GrayImage, info: &ModelInfo) -> Vec<u8> {
    encode_mask_with_colors(ids, |id| model_class_color(info, id))
}
