//! EXIF orientations of images, and the pictures on which annotators drew.

use clap::ValueEnum;
use image::metadata::Orientation;
use image::{DynamicImage, GrayImage};

/// Picture that a tool showed to annotators, of an image with an EXIF orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnnotatedAs {
    /// Turned upright by the orientation, as browsers show it
    Upright,
    /// As the file stores it, without the orientation
    Stored,
}

/// Picture that annotators saw of an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnnotatedPicture {
    pub geometry: ImageGeometry,
    pub annotated_as: AnnotatedAs,
}

impl AnnotatedPicture {
    /// Returns width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        match self.annotated_as {
            AnnotatedAs::Upright => self.geometry.upright_size,
            AnnotatedAs::Stored => self.geometry.stored_size,
        }
    }
}

/// Sizes and orientation of an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageGeometry {
    /// Width and height of the upright image, in pixels.
    pub upright_size: (u32, u32),
    /// Width and height of the stored image, in pixels.
    pub stored_size: (u32, u32),
    pub orientation: Orientation,
}

impl ImageGeometry {
    /// Returns true if the orientation moves pixels and the size does not show whether it was
    /// applied: half turns, mirrored images, square images, and annotations that state no size.
    pub(super) fn is_hidden_by_size(&self, is_size_stated: bool) -> bool {
        self.orientation != Orientation::NoTransforms
            && (self.upright_size == self.stored_size || !is_size_stated)
    }

    /// Turns a mask that was drawn on the stored picture as the image is turned.
    pub(super) fn turn_upright(&self, mask: GrayImage) -> GrayImage {
        let mut mask = DynamicImage::ImageLuma8(mask);
        mask.apply_orientation(self.orientation);
        mask.into_luma8()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(exif: u8, stored_size: (u32, u32)) -> ImageGeometry {
        let (width, height) = stored_size;
        let upright_size = if exif > 4 { (height, width) } else { stored_size };
        let orientation = Orientation::from_exif(exif).unwrap();
        ImageGeometry { upright_size, stored_size, orientation }
    }

    #[test]
    fn orientations_that_keep_the_size_are_hidden() {
        for (exif, size, expected) in [
            (1, (4, 4), false),
            (2, (5, 4), true),
            (3, (5, 4), true),
            (4, (5, 4), true),
            (6, (5, 4), false),
            (6, (4, 4), true),
            (5, (4, 4), true),
        ] {
            let geometry = geometry(exif, size);
            assert_eq!(geometry.is_hidden_by_size(true), expected, "{exif} {size:?}");
            assert_eq!(geometry.is_hidden_by_size(false), exif > 1, "{exif} {size:?}");
        }
    }

    #[test]
    fn stored_masks_are_turned_as_their_images() {
        let stored = GrayImage::from_raw(2, 1, vec![1, 2]).unwrap();
        for (exif, expected_size, expected) in
            [(1, (2, 1), [1, 2]), (2, (2, 1), [2, 1]), (3, (2, 1), [2, 1]), (6, (1, 2), [1, 2])]
        {
            let upright = geometry(exif, (2, 1)).turn_upright(stored.clone());
            assert_eq!(
                (upright.dimensions(), &upright.as_raw()[..]),
                (expected_size, &expected[..])
            );
        }
    }
}
