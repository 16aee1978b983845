//! What fills a crop before it is laid into the batch.

use image::{GrayImage, RgbImage};

use crate::metrics::IGNORE_INDEX;

/// Pixels and class ids of the same size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) image: RgbImage,
    pub(super) ids: GrayImage,
    /// Which pixels come from outside the picture; empty when none does. Until [`black_out`] they
    /// hold what lies nearest inside, so that blur and compression have no edge to smear.
    ///
    /// [`black_out`]: Self::black_out
    pub(super) outside: Vec<bool>,
}

impl Patch {
    /// The mean of each channel over the pixels that come from the picture; 0 if none does.
    pub(super) fn mean_inside(&self) -> [f32; 3] {
        let pixels = self.image.as_raw().as_chunks::<3>().0;
        let (mut sum, mut count) = ([0_u64; 3], pixels.len() as u64);
        let mut add = |pixel: &[u8; 3], weight: u64| {
            for (sum, value) in sum.iter_mut().zip(pixel) {
                *sum += u64::from(*value) * weight;
            }
        };
        if self.outside.is_empty() {
            for pixel in pixels {
                add(pixel, 1);
            }
        } else {
            count = 0;
            for (pixel, outside) in pixels.iter().zip(&self.outside) {
                add(pixel, u64::from(!outside));
                count += u64::from(!outside);
            }
        }
        sum.map(|sum| (sum as f64 / count.max(1) as f64) as f32)
    }

    /// Makes black what comes from outside the picture.
    pub(super) fn black_out(&mut self) {
        let pixels = self.image.as_chunks_mut::<3>().0.iter_mut();
        for (pixel, _) in pixels.zip(&self.outside).filter(|(_, outside)| **outside) {
            *pixel = [0; 3];
        }
    }

    /// Lays the patch into the upper left of a square crop; the rest is black and ignored.
    pub(super) fn write_crop(
        &self,
        (pixels, ids): (&mut [u8], &mut [u8]),
        crop_size: u32,
        (hflip, vflip): (bool, bool),
    ) {
        let (width, crop_size) = (self.image.width() as usize, crop_size as usize);
        write_rows::<3>((self.image.as_raw(), width), (pixels, crop_size), 0, (hflip, vflip));
        write_rows::<1>((self.ids.as_raw(), width), (ids, crop_size), IGNORE_INDEX, (hflip, vflip));
    }
}

/// Lays rows of `width` pixels of `N` bytes into the upper left of a square filled with `fill`.
fn write_rows<const N: usize>(
    (pixels, width): (&[u8], usize),
    (square, side): (&mut [u8], usize),
    fill: u8,
    (hflip, vflip): (bool, bool),
) {
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
