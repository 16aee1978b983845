//! A batch on the device that computes it. The loader's threads prepare it, so that the training
//! thread neither copies nor counts.

use std::ops::Range;

use tch::Tensor;

use super::criterion::BatchCounts;
use crate::data::loader::Batch;
use crate::error::Result;
use crate::torch::{Upload, UploadStream};

/// A batch whose bytes are on the device, or on their way to it.
#[derive(Debug)]
pub struct DeviceBatch {
    /// Red, green and blue, u8 `[images, crop, crop, 3]`.
    pixels: Upload,
    /// Class ids, u8 `[images, crop, crop]`.
    ids: Upload,
    /// One seed per image for its dropout masks.
    pub dropout_seeds: Vec<u64>,
    /// Counts of the parts that are computed one after the other.
    pub part_counts: Vec<BatchCounts>,
}

/// Images of a batch that are computed at a time.
#[derive(Debug)]
pub struct BatchPart<'a> {
    /// Red, green and blue, u8 `[images, crop, crop, 3]`.
    pub pixels: Tensor,
    /// Class ids, u8 `[images, crop, crop]`.
    pub ids: Tensor,
    /// One seed per image for its dropout masks.
    pub dropout_seeds: &'a [u64],
}

impl DeviceBatch {
    /// Starts to copy a batch to the device of `stream`, and counts its pixels.
    pub fn new(batch: Batch, stream: &UploadStream) -> Result<Self> {
        let Batch { pixels, ids, dropout_seeds, crop_size, part_sizes } = batch;
        let (images, side) = (dropout_seeds.len() as i64, i64::from(crop_size));
        let pixels = stream.start_upload(&pixels, &[images, side, side, 3])?;
        let id_upload = stream.start_upload(&ids, &[images, side, side])?;
        let image_area = (side * side) as usize;
        let mut part_counts = Vec::with_capacity(part_sizes.len());
        let mut rest = &ids[..];
        for part_images in part_sizes {
            let (part_ids, others) = rest.split_at(part_images * image_area);
            part_counts.push(BatchCounts::from_ids(part_images, part_ids));
            rest = others;
        }
        Ok(Self { pixels, ids: id_upload, dropout_seeds, part_counts })
    }

    /// Returns some of the images, for computations that this thread starts from now on.
    pub fn part(&self, images: Range<usize>) -> Result<BatchPart<'_>> {
        let (start, count) = (images.start as i64, images.len() as i64);
        Ok(BatchPart {
            pixels: self.pixels.tensor()?.f_narrow(0, start, count)?,
            ids: self.ids.tensor()?.f_narrow(0, start, count)?,
            dropout_seeds: &self.dropout_seeds[images],
        })
    }
}
