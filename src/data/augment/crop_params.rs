//! Which part of a picture fills which part of the crop, and how it is turned there.

use rand::RngExt;

use super::homography::Homography;
use super::{Augmentation, Transforms};
use crate::data::random::{Purpose, RngKey, bernoulli};
use crate::imaging::Region;

/// One draw: which part of the source fills which part of the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropParams {
    /// The part of the source, in its pixels.
    pub(super) region: Region,
    /// Its size in the crop; the rest, right and below, is black in the image and ignored in the
    /// mask, as in torchvision's references.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Whether left and right are exchanged.
    pub(super) hflip: bool,
    /// Whether top and bottom are exchanged.
    pub(super) vflip: bool,
    /// From a pixel of the crop to the one that it would be without rotation and perspective; none
    /// when there is neither.
    pub(super) homography: Option<Homography>,
}

impl CropParams {
    /// Draws a view of an image of `width` x `height` pixels.
    pub(super) fn random(
        transforms: &Transforms,
        (width, height): (u32, u32),
        rng_key: RngKey,
    ) -> Self {
        // Scale, place and mirroring share a generator: they were there before all else, and
        // what a seed means stays as it is.
        let rng = &mut rng_key.generator(Purpose::Augmentation);
        let longer_side = f64::from(transforms.base_size) * rng.random_range(0.5..2.0);
        let scale = longer_side / f64::from(width.max(height));
        let mut span = |source: u32| {
            let (source, position) = (f64::from(source), rng.random::<f64>());
            let covered_px = f64::from(transforms.crop_size) / scale;
            if covered_px < source {
                ((source - covered_px) * position, covered_px, transforms.crop_size)
            } else {
                (0.0, source, ((source * scale).round() as u32).clamp(1, transforms.crop_size))
            }
        };
        let (left, region_width, crop_width) = span(width);
        let (top, region_height, crop_height) = span(height);
        let probability = |augmentation| transforms.augmentations.probability(augmentation);
        let vflip_rng = &mut rng_key.generator(Purpose::Vflip);
        let size = [f64::from(crop_width), f64::from(crop_height)];
        Self {
            region: Region { left, top, width: region_width, height: region_height },
            width: crop_width,
            height: crop_height,
            hflip: bernoulli(probability(Augmentation::Hflip), rng),
            vflip: bernoulli(probability(Augmentation::Vflip), vflip_rng),
            homography: draw_homography(transforms, size, rng_key),
        }
    }

    /// From the crop's pixels to the source's, flips included.
    pub(super) fn to_source(self, homography: Homography) -> Homography {
        let Region { left, top, width, height } = self.region;
        let (columns, rows) = (f64::from(self.width), f64::from(self.height));
        let flip_axis = |flipped: bool, size: f64| if flipped { (-1.0, size) } else { (1.0, 0.0) };
        let (x, y) = (flip_axis(self.hflip, columns), flip_axis(self.vflip, rows));
        let combined = homography
            .then(Homography::scale_and_shift([x.0, y.0], [x.1, y.1]))
            .then(Homography::scale_and_shift([width / columns, height / rows], [left, top]));
        combined.oriented_toward(columns / 2.0, rows / 2.0)
    }
}

/// Draws rotation and perspective of a view of `size` pixels.
fn draw_homography(transforms: &Transforms, size: [f64; 2], rng_key: RngKey) -> Option<Homography> {
    let Transforms { augmentations, .. } = transforms;
    let center = size.map(|side| side / 2.0);
    let degrees = augmentations.strength(Augmentation::Rotate);
    let rotation = (degrees > 0.0).then(|| {
        let degrees = rng_key.generator(Purpose::Rotate).random_range(-degrees..=degrees);
        Homography::rotation(degrees, center)
    });
    let rng = &mut rng_key.generator(Purpose::Perspective);
    let has_perspective = bernoulli(augmentations.probability(Augmentation::Perspective), rng);
    let perspective = has_perspective.then(|| {
        let max_strength = augmentations.strength(Augmentation::Perspective);
        let mut draw_inset = |side: f64| rng.random_range(0.0..=max_strength) * side / 2.0;
        let corners = [[false, false], [true, false], [true, true], [false, true]].map(|is_far| {
            [0, 1].map(|axis: usize| {
                let inset = draw_inset(size[axis]);
                if is_far[axis] { size[axis] - inset } else { inset }
            })
        });
        let unit_to_crop = Homography::scale_and_shift(size, [0.0; 2]);
        Homography::from_unit_square(corners).inverse().then(unit_to_crop)
    });
    match (perspective, rotation) {
        (Some(perspective), Some(rotation)) => Some(perspective.then(rotation)),
        (first, second) => first.or(second),
    }
}
