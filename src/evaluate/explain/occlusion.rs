//! Covering of patches of an image: what falls when a place is not seen matters (Zeiler and Fergus,
//! "Visualizing and Understanding Convolutional Networks", ECCV 2014).

use image::RgbImage;

use super::Explained;
use crate::error::Result;
use crate::inference::Segmentation;

/// Largest number of covered images that are computed together.
const MAX_BATCH_IMAGES: usize = 4;

/// Largest number of probabilities in the answers about them, unless one answer has more. It bounds
/// the memory: a probability takes 4 bytes.
const MAX_BATCH_PROBABILITIES: usize = 1 << 26;

/// A grid of patches over an image.
#[derive(Debug)]
pub(super) struct Patches {
    width: u32,
    height: u32,
    columns: u32,
    rows: u32,
    /// Color of covered patches: the mean of the image.
    cover: [u8; 3],
}

impl Patches {
    /// Divides an image into `grid` x `grid` patches, or fewer where it has fewer pixels.
    pub(super) fn new(image: &RgbImage, grid: u32) -> Self {
        let (width, height) = image.dimensions();
        let mut sums = [0_u64; 3];
        for pixel in image.pixels() {
            for (sum, value) in sums.iter_mut().zip(pixel.0) {
                *sum += u64::from(value);
            }
        }
        let pixels = (u64::from(width) * u64::from(height)).max(1);
        let cover = sums.map(|sum| (sum / pixels) as u8);
        Self { width, height, columns: grid.clamp(1, width), rows: grid.clamp(1, height), cover }
    }

    pub(super) fn count(&self) -> usize {
        (self.columns * self.rows) as usize
    }

    /// Returns the patch of a pixel. Patches are counted row by row.
    fn patch_of(&self, x: u32, y: u32) -> usize {
        let column = u64::from(x) * u64::from(self.columns) / u64::from(self.width);
        let row = u64::from(y) * u64::from(self.rows) / u64::from(self.height);
        (row * u64::from(self.columns) + column) as usize
    }

    /// Copies an image with some patches covered: those that are true.
    pub(super) fn cover(&self, image: &RgbImage, is_covered: &[bool]) -> RgbImage {
        let mut covered = image.clone();
        for (x, y, pixel) in covered.enumerate_pixels_mut() {
            if is_covered[self.patch_of(x, y)] {
                pixel.0 = self.cover;
            }
        }
        covered
    }

    /// Gives each pixel the value of its patch.
    pub(super) fn spread(&self, values: &[f64]) -> Vec<f32> {
        let mut spread = Vec::with_capacity((self.width * self.height) as usize);
        for y in 0..self.height {
            for x in 0..self.width {
                spread.push(values[self.patch_of(x, y)] as f32);
            }
        }
        spread
    }

    /// Returns the mean of the pixels' values in each patch.
    pub(super) fn mean(&self, values: &[f32]) -> Vec<f64> {
        let (mut sums, mut counts) = (vec![0.0; self.count()], vec![0_u32; self.count()]);
        for (index, &value) in values.iter().enumerate() {
            let (x, y) = (index as u32 % self.width, index as u32 / self.width);
            let patch = self.patch_of(x, y);
            sums[patch] += f64::from(value);
            counts[patch] += 1;
        }
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum /= f64::from(count.max(1));
        }
        sums
    }

    /// Arranges the patches' values in rows.
    pub(super) fn rows(&self, values: &[f64]) -> Vec<Vec<f64>> {
        values.chunks(self.columns as usize).map(<[f64]>::to_vec).collect()
    }
}

/// Computes the image with each patch covered in turn, and calls `use_answer` with the answers in
/// the order of the patches.
pub(super) fn cover_patches(
    model: &mut Explained<'_>,
    image: &RgbImage,
    patches: &Patches,
    mut use_answer: impl FnMut(&Segmentation),
) -> Result<()> {
    let classes = model.engine.info().class_names.len();
    let probabilities = image.width() as usize * image.height() as usize * classes;
    let batch_size = (MAX_BATCH_PROBABILITIES / probabilities.max(1)).clamp(1, MAX_BATCH_IMAGES);
    let all: Vec<usize> = (0..patches.count()).collect();
    for batch in all.chunks(batch_size) {
        let mut covered = Vec::with_capacity(batch.len());
        for &patch in batch {
            let mut is_covered = vec![false; patches.count()];
            is_covered[patch] = true;
            covered.push(patches.cover(image, &is_covered));
        }
        let images: Vec<&RgbImage> = covered.iter().collect();
        for answer in model.segment(&images)? {
            use_answer(&answer);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn every_pixel_is_of_one_patch() {
        let image = RgbImage::from_fn(10, 7, |x, y| Rgb([x as u8, y as u8, 0]));
        let patches = Patches::new(&image, 3);
        assert_eq!(patches.count(), 9);
        let values: Vec<f64> = (0..9).map(f64::from).collect();
        let spread = patches.spread(&values);
        assert_eq!((spread[0], spread[9], spread[69]), (0.0, 2.0, 8.0));
        assert_eq!(patches.mean(&spread), values);
        assert_eq!(patches.rows(&values)[1], [3.0, 4.0, 5.0]);
        let covered =
            patches.cover(&image, &[false, false, true, false, false, false, false, false, false]);
        assert_eq!(covered.get_pixel(0, 0), image.get_pixel(0, 0));
        // The means of 0 to 9 and of 0 to 6.
        assert_eq!(covered.get_pixel(9, 0).0, [4, 3, 0]);
        assert_eq!(Patches::new(&RgbImage::new(2, 1), 8).count(), 2);
    }
}
