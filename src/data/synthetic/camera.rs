//! From painted light to a photograph: uneven light, blur, sensor noise, eight bits.

use std::f32::consts::TAU;
use std::ops::Range;

use image::RgbImage;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::textures::RgbColor;

/// A picture in floating point, values from 0 to 255.
pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    pixels: Vec<RgbColor>,
}

/// Number of columns and of rows.
type Area = (Range<u32>, Range<u32>);

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let count = width as usize * height as usize;
        Self { width, height, pixels: vec![[0.0; 3]; count] }
    }

    pub(super) fn full_area(&self) -> Area {
        (0..self.width, 0..self.height)
    }

    /// Returns the square of half side `reach` around (`x`, `y`), as far as it is on the canvas.
    pub(super) fn square_around(&self, x: f32, y: f32, radius: f32) -> Area {
        (span_around(x, radius, self.width), span_around(y, radius, self.height))
    }

    /// Calls `paint` for every pixel of `area` with the coordinates of its center.
    pub(super) fn paint_area(
        &mut self,
        area: Area,
        mut paint: impl FnMut(f32, f32, &mut RgbColor),
    ) {
        for y in area.1 {
            let row = y as usize * self.width as usize;
            for x in area.0.clone() {
                paint(x as f32 + 0.5, y as f32 + 0.5, &mut self.pixels[row + x as usize]);
            }
        }
    }
}

/// Returns the part of `0..size` that is within `radius` of a center.
fn span_around(center: f32, radius: f32, size: u32) -> Range<u32> {
    let start = ((center - radius).floor().max(0.0) as u32).min(size);
    let end = ((center + radius).ceil().max(0.0) as u32).min(size);
    start..end
}

/// Turns the scene into a photograph; `unit` is a 256th of the longer side, in pixels.
pub(super) fn simulate_camera(mut canvas: Canvas, unit: f32, rng: &mut ChaCha8Rng) -> RgbImage {
    apply_uneven_light(&mut canvas, rng);
    blur_canvas(&mut canvas, unit * rng.random_range(0.35..0.9));
    let gray_noise = rng.random_range(2.0..8.0);
    let color_noise = rng.random_range(0.5..3.0);
    let mut bytes = Vec::with_capacity(canvas.pixels.len() * 3);
    for pixel in &canvas.pixels {
        let gray_offset = gray_noise * draw_normal(rng);
        bytes.extend(
            pixel.map(|value| (value + gray_offset + color_noise * draw_normal(rng)) as u8),
        );
    }
    RgbImage::from_raw(canvas.width, canvas.height, bytes).unwrap_or_default()
}

/// Makes the picture brighter on one side, and darker towards the corners.
fn apply_uneven_light(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
    let slope: f32 = rng.random_range(0.0..0.4);
    let vignetting: f32 = rng.random_range(0.0..0.15);
    let (half_width, half_height) = (canvas.width as f32 / 2.0, canvas.height as f32 / 2.0);
    canvas.paint_area(canvas.full_area(), |x, y, pixel| {
        let (u, v) = (x / half_width - 1.0, y / half_height - 1.0);
        let gain = 1.0 + slope * (u * cos + v * sin) - vignetting * (u * u + v * v);
        *pixel = pixel.map(|value| value * gain);
    });
}

/// Blurs by a Gaussian of standard deviation `sigma`, in pixels, along rows and then along columns.
fn blur_canvas(canvas: &mut Canvas, sigma: f32) {
    let radius = (3.0 * sigma).ceil() as usize;
    let mut weights = Vec::with_capacity(2 * radius + 1);
    for k in 0..=2 * radius {
        let distance = k as f32 - radius as f32;
        weights.push((-distance * distance / (2.0 * sigma * sigma)).exp());
    }
    let total: f32 = weights.iter().sum();
    let (width, height) = (canvas.width as usize, canvas.height as usize);
    let rows = Lines { count: height, stride: width, length: width, pixel_stride: 1 };
    blur_lines(&mut canvas.pixels, rows, &weights, total);
    let columns = Lines { count: width, stride: 1, length: height, pixel_stride: width };
    blur_lines(&mut canvas.pixels, columns, &weights, total);
}

/// Rows or columns of a canvas. Line `k` starts at pixel `k * stride`.
#[derive(Debug, Clone, Copy)]
struct Lines {
    count: usize,
    stride: usize,
    /// Number of pixels in a line.
    length: usize,
    /// Distance from a pixel to the next one in its line.
    pixel_stride: usize,
}

/// Blurs each line; beyond its ends its last pixel counts. The weights have the sum `total`.
fn blur_lines(pixels: &mut [RgbColor], lines: Lines, weights: &[f32], total: f32) {
    let Lines { count, stride, length, pixel_stride } = lines;
    let radius = weights.len() / 2;
    let mut line = vec![[0.0; 3]; length];
    for number in 0..count {
        let start = number * stride;
        for (i, pixel) in line.iter_mut().enumerate() {
            *pixel = pixels[start + i * pixel_stride];
        }
        for i in 0..length {
            let mut sum = [0.0; 3];
            for (k, weight) in weights.iter().enumerate() {
                let source = line[(i + k).saturating_sub(radius).min(length - 1)];
                sum = std::array::from_fn(|c| sum[c] + weight / total * source[c]);
            }
            pixels[start + i * pixel_stride] = sum;
        }
    }
}

/// Returns a nearly normal random number of deviation 1: the sum of four uniform ones from one
/// draw.
fn draw_normal(rng: &mut ChaCha8Rng) -> f32 {
    let draw = rng.next_u64();
    let sum: u64 = (0..4).map(|k| (draw >> (16 * k)) & 0xffff).sum();
    (sum as f32 / 65_535.0 - 2.0) * 3.0_f32.sqrt()
}
