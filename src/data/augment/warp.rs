//! Pictures and masks through a projective map, in one resampling.
//!
//! A part of the picture with all pixels that the crop can use, and no more than twice as many in
//! either direction, is cut first (from a JPEG by way of a reduced one). The map is then sampled
//! from that part, bilinear, with as many taps per pixel as the map shrinks. Only a picture that is
//! shrunk to less than a half is resampled twice, and then the first resampling leaves more detail
//! than the second can show.

use image::{GrayImage, RgbImage};

use super::homography::{Homography, MappedPoint};
use super::patch::Patch;
use crate::imaging::{DecodeError, LazyImage, Region};
use crate::metrics::IGNORE_INDEX;

/// Number of points per side that probe which part of the picture the crop uses, and how densely.
const PROBES_PER_SIDE: u32 = 9;
/// Largest number of taps per side and pixel: perspective near the horizon shrinks without bound.
const MAX_TAPS: u32 = 4;

/// Part and resolution of the picture that a map samples from.
#[derive(Debug)]
struct SamplingParams {
    /// Part in whole pixels of the source; none if no pixel of the crop shows the picture.
    region: Option<Region>,
    /// Width of that part as it is sampled, in pixels.
    width: u32,
    height: u32,
    /// Number of taps per side and pixel.
    taps: u32,
}

/// Fills a square of `crop_size` pixels by `homography`, which leads from the square to the source.
pub(super) fn warp_image_and_mask(
    homography: &Homography,
    lazy_image: &LazyImage<'_>,
    mask: &GrayImage,
    crop_size: u32,
) -> Result<Patch, DecodeError> {
    let (width, height) = mask.dimensions();
    let params = SamplingParams::new(homography, (width, height), crop_size);
    let mut patch = Patch {
        image: RgbImage::new(crop_size, crop_size),
        ids: GrayImage::from_pixel(crop_size, crop_size, image::Luma([IGNORE_INDEX])),
        outside: vec![true; (crop_size * crop_size) as usize],
    };
    let Some(region) = params.region else { return Ok(patch) };
    let cropped = lazy_image.crop_and_resize(region, params.width, params.height)?;
    let source = SampledImage {
        pixels: cropped.as_raw(),
        columns: i64::from(cropped.width()),
        rows: i64::from(cropped.height()),
        origin: [region.left, region.top],
        scale: [f64::from(params.width) / region.width, f64::from(params.height) / region.height],
    };
    let pixels = patch.image.as_chunks_mut::<3>().0.iter_mut();
    let coordinates = (0..crop_size).flat_map(|y| (0..crop_size).map(move |x| (x, y)));
    let targets = pixels.zip(patch.ids.iter_mut()).zip(&mut patch.outside);
    for (((pixel, id), outside), (x, y)) in targets.zip(coordinates) {
        let Some(point) = homography.map_point(f64::from(x) + 0.5, f64::from(y) + 0.5) else {
            continue;
        };
        if (0.0..f64::from(width)).contains(&point.x) && (0.0..f64::from(height)).contains(&point.y)
        {
            *outside = false;
            *id = mask.as_raw()[point.y as usize * width as usize + point.x as usize];
        }
        *pixel = source.sample(&point, params.taps);
    }
    Ok(patch)
}

impl SamplingParams {
    fn new(homography: &Homography, (width, height): (u32, u32), crop_size: u32) -> Self {
        let (columns, rows) = (f64::from(width), f64::from(height));
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        // Pixels of the source per pixel of the crop, at its most and least detailed place.
        let (mut finest, mut coarsest) = (f64::INFINITY, 0.0_f64);
        for probe in 0..PROBES_PER_SIDE * PROBES_PER_SIDE {
            let (x, y) = (probe % PROBES_PER_SIDE, probe / PROBES_PER_SIDE);
            let [probe_x, probe_y] = [probe_position(x, crop_size), probe_position(y, crop_size)];
            let Some(point) = homography.map_point(probe_x, probe_y) else {
                // Part of the crop is behind the horizon, so that the rest may show any part of the
                // picture.
                (low, high) = ([0.0; 2], [columns, rows]);
                continue;
            };
            let [u, v] = [point.x, point.y];
            low = [low[0].min(u), low[1].min(v)];
            high = [high[0].max(u), high[1].max(v)];
            // The middle always counts, as otherwise a crop outside the picture would have no scale
            // at all.
            let inside = (0.0..=columns).contains(&u) && (0.0..=rows).contains(&v);
            if inside || (x, y) == (PROBES_PER_SIDE / 2, PROBES_PER_SIDE / 2) {
                let scales = [point.per_x, point.per_y].map(|[x, y]| x.hypot(y));
                finest = finest.min(scales[0].min(scales[1]));
                coarsest = coarsest.max(scales[0].max(scales[1]));
            }
        }
        let scale = (2.0 / finest).min(1.0);
        // Distance that a tap can read beyond the outermost pixel's place.
        let margin = (coarsest.min(f64::from(MAX_TAPS) / scale) + 2.0 / scale).ceil();
        let (left, right) = whole_pixels(low[0] - margin, high[0] + margin, columns);
        let (top, bottom) = whole_pixels(low[1] - margin, high[1] + margin, rows);
        let (mut region, mut width, mut height) = (None, 1, 1);
        if left < right && top < bottom {
            width = (((right - left) * scale).round() as u32).max(1);
            height = (((bottom - top) * scale).round() as u32).max(1);
            region = Some(Region { left, top, width: right - left, height: bottom - top });
        }
        // A quarter of a pixel more than one per tap cannot be seen.
        let taps = ((coarsest * scale - 0.25).ceil() as u32).clamp(1, MAX_TAPS);
        Self { region, width, height, taps }
    }
}

/// Returns the place in the crop of probe `index` along one side, in pixels.
fn probe_position(index: u32, crop_size: u32) -> f64 {
    f64::from(crop_size) * f64::from(index) / f64::from(PROBES_PER_SIDE - 1)
}

/// Rounds a span outwards to whole pixels from 0 to `size`. Its end is before its start if no pixel
/// of the picture is in it.
fn whole_pixels(start: f64, end: f64, size: f64) -> (f64, f64) {
    (start.floor().max(0.0), end.ceil().min(size))
}

/// Returns the two pixels next to a place along one axis of `count` pixels, and the weight of the
/// second one, from 0 to 256.
#[inline]
fn neighbors(place: f64, count: i64) -> (usize, usize, u32) {
    // Places have a resolution of 1/256 pixel. Distant ones are clamped first, because they may not
    // fit.
    let fixed = (place.clamp(-1.0, count as f64) * 256.0 + 256.5) as i64 - 256;
    let (whole, part) = (fixed >> 8, (fixed & 255) as u32);
    (whole.clamp(0, count - 1) as usize, (whole + 1).clamp(0, count - 1) as usize, part)
}

/// The part of a picture that is sampled.
struct SampledImage<'a> {
    pixels: &'a [u8],
    columns: i64,
    rows: i64,
    /// Upper left corner in the picture, in its pixels.
    origin: [f64; 2],
    /// Pixels of the part per pixel of the picture, along x and y.
    scale: [f64; 2],
}

impl SampledImage<'_> {
    /// Returns the mean of `taps` x `taps` bilinear values, spread evenly over the pixel's
    /// footprint.
    fn sample(&self, point: &MappedPoint, taps: u32) -> [u8; 3] {
        let [sx, sy] = self.scale;
        let (x, y) = ((point.x - self.origin[0]) * sx - 0.5, (point.y - self.origin[1]) * sy - 0.5);
        let mut sum = [0_u32; 3];
        if taps == 1 {
            self.add_bilinear(x, y, &mut sum);
        } else {
            let tap_count = f64::from(taps);
            let tap_step = |slope: [f64; 2]| [slope[0] * sx / tap_count, slope[1] * sy / tap_count];
            let (right, below) = (tap_step(point.per_x), tap_step(point.per_y));
            let center = (tap_count - 1.0) / 2.0;
            for j in 0..taps {
                for i in 0..taps {
                    let (i, j) = (f64::from(i) - center, f64::from(j) - center);
                    let position =
                        [x + i * right[0] + j * below[0], y + i * right[1] + j * below[1]];
                    self.add_bilinear(position[0], position[1], &mut sum);
                }
            }
        }
        let count = (taps * taps) << 16;
        sum.map(|sum| ((sum + count / 2) / count) as u8)
    }

    /// Adds 65536 times the bilinear value at a place; the center of pixel 0 is at 0. Places beyond
    /// the edge have the value of the edge.
    #[inline]
    fn add_bilinear(&self, x: f64, y: f64, sum: &mut [u32; 3]) {
        let (x0, x1, fx) = neighbors(x, self.columns);
        let (y0, y1, fy) = neighbors(y, self.rows);
        let pixel = |x: usize, y: usize| {
            let start = (y * self.columns as usize + x) * 3;
            &self.pixels[start..start + 3]
        };
        let (a, b, c, d) = (pixel(x0, y0), pixel(x1, y0), pixel(x0, y1), pixel(x1, y1));
        for (channel, sum) in sum.iter_mut().enumerate() {
            let row = |left: &[u8], right: &[u8]| {
                u32::from(left[channel]) * (256 - fx) + u32::from(right[channel]) * fx
            };
            *sum += row(a, b) * (256 - fy) + row(c, d) * fy;
        }
    }
}
