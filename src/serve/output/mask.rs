//! Class ids as a PNG: one channel, and the colours of the classes as its palette.

use image::GrayImage;

use super::colour;
use crate::imaging::encode_mask_in;
use crate::inference::About;

pub(in super::super) fn encode(ids: &GrayImage, about: &About) -> Vec<u8> {
    encode_mask_in(ids, |id| colour(about, id))
}
