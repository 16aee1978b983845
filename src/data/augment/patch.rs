//! The content of a crop before it is written to the batch.

use image::{GrayImage, RgbImage};

use crate::metrics::IGNORE_INDEX;

/// Pixels and class ids of the same size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) image: RgbImage,
    pub(super) ids: GrayImage,
    /// True for each pixel from outside the picture; empty if there are none. Until [`black_out`]
    /// such pixels hold the nearest color of the picture, so that blur and compression smear no
    /// edge.
    ///
    /// [`black_out`]: Self::black_out
    pub(super) outside: Vec<bool>,
}

impl Patch {
    /// Returns the mean of each channel over the pixels inside the picture, or 0 if there are none.
    pub(super) fn mean_inside(&self) -> [f32; 3] {
        let pixels = self.image.as_raw().as_chunks::<3>().0;
        let (mut sum, mut count) = ([0_u64; 3], pixels.len() as u64);
        if self.outside.is_empty() {
            for pixel in pixels {
                add_pixel(&mut sum, *pixel, 1);
            }
        } else {
            count = 0;
            for (pixel, outside) in pixels.iter().zip(&self.outside) {
                add_pixel(&mut sum, *pixel, u64::from(!outside));
                count += u64::from(!outside);
            }
        }
        sum.map(|sum| (sum as f64 / count.max(1) as f64) as f32)
    }

    /// Makes the pixels from outside the picture black.
    pub(super) fn black_out(&mut self) {
        let pixels = self.image.as_chunks_mut::<3>().0.iter_mut();
        for (pixel, is_outside) in pixels.zip(&self.outside) {
            if *is_outside {
                *pixel = [0; 3];
            }
        }
    }

    /// Writes the patch to the upper left of a square crop; the rest is black and ignored.
    pub(super) fn write_crop(
        &self,
        (pixels, ids): (&mut [u8], &mut [u8]),
        crop_size: u32,
        (hflip, vflip): (bool, bool),
    ) {
        let layout = CropLayout {
            width: self.image.width() as usize,
            side: crop_size as usize,
            hflip,
            vflip,
        };
        write_rows::<3>(self.image.as_raw(), pixels, 0, layout);
        write_rows::<1>(self.ids.as_raw(), ids, IGNORE_INDEX, layout);
    }
}

/// Layout of a patch in a square crop.
#[derive(Debug, Clone, Copy)]
struct CropLayout {
    /// Width of the patch, in pixels.
    width: usize,
    /// Side of the crop, in pixels.
    side: usize,
    hflip: bool,
    vflip: bool,
}

fn add_pixel(sum: &mut [u64; 3], pixel: [u8; 3], weight: u64) {
    for (sum, value) in sum.iter_mut().zip(pixel) {
        *sum += u64::from(value) * weight;
    }
}

/// Writes rows of pixels of `N` bytes to the upper left of a square filled with `fill`.
fn write_rows<const N: usize>(pixels: &[u8], square: &mut [u8], fill: u8, layout: CropLayout) {
    let CropLayout { width, side, hflip, vflip } = layout;
    let height = pixels.len() / (width * N);
    let (filled, rows_below) = square.split_at_mut(height * side * N);
    rows_below.fill(fill);
    for (row, target) in filled.chunks_exact_mut(side * N).enumerate() {
        let row = if vflip { height - 1 - row } else { row };
        let source = &pixels[row * width * N..][..width * N];
        let (target, rest) = target.split_at_mut(source.len());
        rest.fill(fill);
        if hflip {
            let reversed = source.as_chunks::<N>().0.iter().rev();
            for (target, source) in target.as_chunks_mut::<N>().0.iter_mut().zip(reversed) {
                *target = *source;
            }
        } else {
            target.copy_from_slice(source);
        }
    }
}
