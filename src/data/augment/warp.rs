//! Pictures and masks through a projective map, in one resampling.
//!
//! A part of the picture with all pixels that the crop can use, and no more than twice as many in either
//! direction, is cut first (of a JPEG by way of a reduced one); the map is then sampled from that,
//! bilinear, with as many taps per pixel as it shrinks. Only where a picture is shrunk to less than a
//! half does this resample twice, and then the first leaves more detail than the second can show.

use image::{GrayImage, RgbImage};

use super::homography::{Homography, Spot};
use super::patch::Patch;
use crate::imaging::{DecodeError, Picture, Region};
use crate::metrics::IGNORE;

/// Points per side at which it is asked how much of the picture the crop uses, and how densely.
const PROBES: u32 = 9;
/// Taps per side and pixel at most: perspective near the horizon shrinks without bound.
const MOST_TAPS: u32 = 4;

/// What a map needs of the picture.
#[derive(Debug)]
struct Need {
    /// In whole pixels of the source; none of it is needed when nothing of it is in the crop.
    region: Option<Region>,
    /// Its size as it is sampled.
    width: u32,
    height: u32,
    /// Taps per side and pixel.
    taps: u32,
}

/// Fills a square of `side` pixels by `map`, which leads from the square to the source.
pub(super) fn warp(
    map: &Homography,
    (picture, mask): (&Picture<'_>, &GrayImage),
    side: u32,
) -> Result<Patch, DecodeError> {
    let (width, height) = mask.dimensions();
    let need = Need::of(map, (width, height), side);
    let mut patch = Patch {
        image: RgbImage::new(side, side),
        ids: GrayImage::from_pixel(side, side, image::Luma([IGNORE])),
        outside: vec![true; (side * side) as usize],
    };
    let Some(region) = need.region else { return Ok(patch) };
    let part = picture.cut(region, need.width, need.height)?;
    let source = Source {
        pixels: part.as_raw(),
        columns: i64::from(part.width()),
        rows: i64::from(part.height()),
        origin: [region.left, region.top],
        scale: [f64::from(need.width) / region.width, f64::from(need.height) / region.height],
    };
    let pixels = patch.image.as_chunks_mut::<3>().0.iter_mut();
    let places = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let targets = pixels.zip(patch.ids.iter_mut()).zip(&mut patch.outside);
    for (((pixel, id), outside), (x, y)) in targets.zip(places) {
        let Some(spot) = map.at(f64::from(x) + 0.5, f64::from(y) + 0.5) else { continue };
        if (0.0..f64::from(width)).contains(&spot.x) && (0.0..f64::from(height)).contains(&spot.y) {
            *outside = false;
            *id = mask.as_raw()[spot.y as usize * width as usize + spot.x as usize];
        }
        *pixel = source.sample(&spot, need.taps);
    }
    Ok(patch)
}

impl Need {
    fn of(map: &Homography, (width, height): (u32, u32), side: u32) -> Self {
        let (columns, rows) = (f64::from(width), f64::from(height));
        let at = |i: u32| f64::from(side) * f64::from(i) / f64::from(PROBES - 1);
        let probes = (0..PROBES).flat_map(|y| (0..PROBES).map(move |x| (x, y)));
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        // Pixels of the source per pixel of the crop, at its most and least detailed place.
        let (mut finest, mut coarsest) = (f64::INFINITY, 0.0_f64);
        for (x, y) in probes {
            let Some(spot) = map.at(at(x), at(y)) else {
                // Part of the crop is behind the horizon: anything may be in the rest.
                (low, high) = ([0.0; 2], [columns, rows]);
                continue;
            };
            let [u, v] = [spot.x, spot.y];
            low = [low[0].min(u), low[1].min(v)];
            high = [high[0].max(u), high[1].max(v)];
            // The middle is always looked at, or an odd crop would have no scale at all.
            let inside = (0.0..=columns).contains(&u) && (0.0..=rows).contains(&v);
            if inside || (x, y) == (PROBES / 2, PROBES / 2) {
                let steps = [spot.per_x, spot.per_y].map(|[x, y]| x.hypot(y));
                finest = finest.min(steps[0].min(steps[1]));
                coarsest = coarsest.max(steps[0].max(steps[1]));
            }
        }
        let scale = (2.0 / finest).min(1.0);
        // What a tap reads beyond the outermost pixel's place.
        let margin = (coarsest.min(f64::from(MOST_TAPS) / scale) + 2.0 / scale).ceil();
        let span = |low: f64, high: f64, size: f64| {
            let (start, end) = ((low - margin).floor().max(0.0), (high + margin).ceil().min(size));
            (start < end).then_some((start, end - start))
        };
        let region = match (span(low[0], high[0], columns), span(low[1], high[1], rows)) {
            (Some((left, width)), Some((top, height))) => Some(Region { left, top, width, height }),
            _ => None,
        };
        let cut = |length: f64| ((length * scale).round() as u32).max(1);
        let (width, height) = region.map_or((1, 1), |r| (cut(r.width), cut(r.height)));
        // A quarter of a pixel more than one per tap is not seen.
        let taps = ((coarsest * scale - 0.25).ceil() as u32).clamp(1, MOST_TAPS);
        Self { region, width, height, taps }
    }
}

/// The part of a picture that is sampled.
struct Source<'a> {
    pixels: &'a [u8],
    columns: i64,
    rows: i64,
    /// Where its upper left corner is in the picture, and its pixels per pixel of the picture.
    origin: [f64; 2],
    scale: [f64; 2],
}

impl Source<'_> {
    /// The mean of `taps` x `taps` bilinear values spread evenly over the pixel's footprint.
    fn sample(&self, spot: &Spot, taps: u32) -> [u8; 3] {
        let [sx, sy] = self.scale;
        let (x, y) = ((spot.x - self.origin[0]) * sx - 0.5, (spot.y - self.origin[1]) * sy - 0.5);
        let mut sum = [0_u32; 3];
        if taps == 1 {
            self.add(x, y, &mut sum);
        } else {
            let even = f64::from(taps);
            let step = |slope: [f64; 2]| [slope[0] * sx / even, slope[1] * sy / even];
            let (right, below) = (step(spot.per_x), step(spot.per_y));
            let middle = (even - 1.0) / 2.0;
            for j in 0..taps {
                for i in 0..taps {
                    let (i, j) = (f64::from(i) - middle, f64::from(j) - middle);
                    let place = [x + i * right[0] + j * below[0], y + i * right[1] + j * below[1]];
                    self.add(place[0], place[1], &mut sum);
                }
            }
        }
        let count = (taps * taps) << 16;
        sum.map(|sum| ((sum + count / 2) / count) as u8)
    }

    /// Adds 65536 times the bilinear value at a place, at which the centre of pixel 0 is 0; beyond
    /// the edge it is the edge's.
    #[inline]
    fn add(&self, x: f64, y: f64, sum: &mut [u32; 3]) {
        let split = |value: f64, count: i64| {
            // In 256ths of a pixel. Far places are cut first: they need not fit.
            let fixed = (value.clamp(-1.0, count as f64) * 256.0 + 256.5) as i64 - 256;
            let (whole, part) = (fixed >> 8, (fixed & 255) as u32);
            let index = |at: i64| at.clamp(0, count - 1) as usize;
            (index(whole), index(whole + 1), part)
        };
        let (x0, x1, fx) = split(x, self.columns);
        let (y0, y1, fy) = split(y, self.rows);
        let at = |x: usize, y: usize| {
            let start = (y * self.columns as usize + x) * 3;
            &self.pixels[start..start + 3]
        };
        let (a, b, c, d) = (at(x0, y0), at(x1, y0), at(x0, y1), at(x1, y1));
        for (channel, sum) in sum.iter_mut().enumerate() {
            let row = |left: &[u8], right: &[u8]| {
                u32::from(left[channel]) * (256 - fx) + u32::from(right[channel]) * fx
            };
            *sum += row(a, b) * (256 - fy) + row(c, d) * fy;
        }
    }
}
