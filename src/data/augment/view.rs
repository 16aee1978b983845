//! Which part of a picture fills which part of the crop, and how it is turned there.

use rand::RngExt;

use super::Recipe;
use super::homography::Homography;
use crate::data::random::{Counters, Purpose, happens};
use crate::imaging::Region;
use crate::sagemaker::hyperparameters::Augmentation;

/// One draw: which part of the source fills which part of the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// The part of the source, in its pixels.
    pub(super) region: Region,
    /// Its size in the crop; the rest, right and below, is black in the image and ignored in the
    /// mask, as in torchvision's references.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Whether left and right are exchanged.
    pub(super) mirrored: bool,
    /// Whether top and bottom are exchanged.
    pub(super) upside_down: bool,
    /// From a pixel of the crop to the one that it would be without rotation and perspective; none
    /// when there is neither.
    pub(super) warp: Option<Homography>,
}

impl View {
    /// Draws a view of an image of `width` x `height` pixels.
    pub(super) fn draw(recipe: &Recipe, (width, height): (u32, u32), counters: Counters) -> Self {
        // Scale, place and mirroring share a generator: they were there before all else, and
        // what a seed means stays as it is.
        let random = &mut counters.generator(Purpose::Augmentation);
        let longer = f64::from(recipe.base_size) * random.random_range(0.5..2.0);
        let scale = longer / f64::from(width.max(height));
        let mut span = |source: u32| {
            let (source, place) = (f64::from(source), random.random::<f64>());
            let covered = f64::from(recipe.crop_size) / scale;
            if covered < source {
                ((source - covered) * place, covered, recipe.crop_size)
            } else {
                (0.0, source, ((source * scale).round() as u32).clamp(1, recipe.crop_size))
            }
        };
        let (left, region_width, crop_width) = span(width);
        let (top, region_height, crop_height) = span(height);
        let often = |of| recipe.augmentations.probability(of);
        let upside_down = &mut counters.generator(Purpose::Vflip);
        let size = [f64::from(crop_width), f64::from(crop_height)];
        Self {
            region: Region { left, top, width: region_width, height: region_height },
            width: crop_width,
            height: crop_height,
            mirrored: happens(often(Augmentation::Hflip), random),
            upside_down: happens(often(Augmentation::Vflip), upside_down),
            warp: warp(recipe, size, counters),
        }
    }

    /// From the crop's pixels to the source's, flips included.
    pub(super) fn to_source(self, warp: Homography) -> Homography {
        let Region { left, top, width, height } = self.region;
        let (columns, rows) = (f64::from(self.width), f64::from(self.height));
        let flip = |flipped: bool, size: f64| if flipped { (-1.0, size) } else { (1.0, 0.0) };
        let (x, y) = (flip(self.mirrored, columns), flip(self.upside_down, rows));
        let map = warp
            .then(Homography::axes([x.0, y.0], [x.1, y.1]))
            .then(Homography::axes([width / columns, height / rows], [left, top]));
        map.facing(columns / 2.0, rows / 2.0)
    }
}

/// Draws rotation and perspective of a view of `size` pixels.
fn warp(recipe: &Recipe, size: [f64; 2], counters: Counters) -> Option<Homography> {
    let Recipe { augmentations, .. } = recipe;
    let middle = size.map(|side| side / 2.0);
    let degrees = augmentations.strength(Augmentation::Rotate);
    let turned = (degrees > 0.0).then(|| {
        let degrees = counters.generator(Purpose::Rotate).random_range(-degrees..=degrees);
        Homography::rotation(degrees, middle)
    });
    let random = &mut counters.generator(Purpose::Perspective);
    let tilted = happens(augmentations.probability(Augmentation::Perspective), random);
    let tilted = tilted.then(|| {
        let most = augmentations.strength(Augmentation::Perspective);
        let mut inward = |side: f64| random.random_range(0.0..=most) * side / 2.0;
        let corners = [[false, false], [true, false], [true, true], [false, true]].map(|far| {
            [0, 1].map(|axis: usize| {
                let moved = inward(size[axis]);
                if far[axis] { size[axis] - moved } else { moved }
            })
        });
        let whole = Homography::axes(size, [0.0; 2]);
        Homography::square_to(corners).inverse().then(whole)
    });
    match (tilted, turned) {
        (Some(tilted), Some(turned)) => Some(tilted.then(turned)),
        (one, other) => one.or(other),
    }
}
