//! The random part of a picture that fills a crop, and its place and orientation there.

use rand::{Rng, RngExt};

use super::homography::Homography;
use super::{Augmentation, Transforms};
use crate::data::random::{Purpose, RngKey, bernoulli};
use crate::imaging::Region;

/// One random draw: the part of the source that fills a part of the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropParams {
    /// Part of the source, in its pixels.
    pub(super) region: Region,
    /// Size of that part in the crop, in pixels. The rest, right and below, is black in the image
    /// and ignored in the mask, as in torchvision's references.
    pub(super) width: u32,
    pub(super) height: u32,
    /// True if left and right are exchanged.
    pub(super) hflip: bool,
    /// True if top and bottom are exchanged.
    pub(super) vflip: bool,
    /// Map from a pixel of the crop to its place without rotation and perspective; none if there is
    /// neither.
    pub(super) homography: Option<Homography>,
}

impl CropParams {
    /// Draws the crop of an image of `width` x `height` pixels.
    pub(super) fn random(
        transforms: &Transforms,
        (width, height): (u32, u32),
        rng_key: RngKey,
    ) -> Self {
        // Scale, place and mirroring share a generator. They are older than all other
        // augmentations, and a seed must go on to give the same crops.
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
        let augmentations = &transforms.augmentations;
        let vflip_rng = &mut rng_key.generator(Purpose::Vflip);
        let size = [f64::from(crop_width), f64::from(crop_height)];
        Self {
            region: Region { left, top, width: region_width, height: region_height },
            width: crop_width,
            height: crop_height,
            hflip: bernoulli(augmentations.probability(Augmentation::Hflip), rng),
            vflip: bernoulli(augmentations.probability(Augmentation::Vflip), vflip_rng),
            homography: draw_homography(transforms, size, rng_key),
        }
    }

    /// Returns the map from the crop's pixels to the source's, flips included.
    pub(super) fn to_source(self, homography: Homography) -> Homography {
        let Region { left, top, width, height } = self.region;
        let (columns, rows) = (f64::from(self.width), f64::from(self.height));
        let (x, y) = (flip_axis(self.hflip, columns), flip_axis(self.vflip, rows));
        let combined = homography
            .then(Homography::scale_and_shift([x.0, y.0], [x.1, y.1]))
            .then(Homography::scale_and_shift([width / columns, height / rows], [left, top]));
        combined.oriented_toward(columns / 2.0, rows / 2.0)
    }
}

/// Draws rotation and perspective of a crop of `size` pixels.
fn draw_homography(transforms: &Transforms, size: [f64; 2], rng_key: RngKey) -> Option<Homography> {
    let Transforms { augmentations, .. } = transforms;
    let max_degrees = augmentations.strength(Augmentation::Rotate);
    let mut rotation = None;
    if max_degrees > 0.0 {
        let rng = &mut rng_key.generator(Purpose::Rotate);
        let degrees = rng.random_range(-max_degrees..=max_degrees);
        rotation = Some(Homography::rotation(degrees, [size[0] / 2.0, size[1] / 2.0]));
    }
    let rng = &mut rng_key.generator(Purpose::Perspective);
    if !bernoulli(augmentations.probability(Augmentation::Perspective), rng) {
        return rotation;
    }
    let max_strength = augmentations.strength(Augmentation::Perspective);
    let perspective = draw_perspective(size, max_strength, rng);
    match rotation {
        Some(rotation) => Some(perspective.then(rotation)),
        None => Some(perspective),
    }
}

/// Draws a map that moves each corner of a crop inwards by at most `max_strength` of half a side.
fn draw_perspective(size: [f64; 2], max_strength: f64, rng: &mut impl Rng) -> Homography {
    let mut corners = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
    for corner in &mut corners {
        for (coordinate, side) in corner.iter_mut().zip(size) {
            let inset = rng.random_range(0.0..=max_strength) * side / 2.0;
            *coordinate = if *coordinate > 0.0 { side - inset } else { inset };
        }
    }
    let unit_to_crop = Homography::scale_and_shift(size, [0.0; 2]);
    Homography::from_unit_square(corners).inverse().then(unit_to_crop)
}

/// Returns factor and shift of one axis, in pixels.
fn flip_axis(is_flipped: bool, size: f64) -> (f64, f64) {
    if is_flipped { (-1.0, size) } else { (1.0, 0.0) }
}
