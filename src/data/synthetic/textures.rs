//! Surfaces of objects, which tell the classes apart, and of backgrounds.
//!
//! A surface mixes two colors. Objects and backgrounds draw theirs alike, so that only the pattern
//! is a cue: rings for discs, checks and bricks for boxes, stripes for triangles; smooth and
//! irregular patterns for backgrounds.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::noise::{fractal_noise, lerp, smooth_noise, smoothstep};
use super::shapes::Shape;

/// Red, green and blue from 0 to 255.
pub(super) type RgbColor = [f32; 3];

/// Two colors and the pattern of their alternation; lengths in pixels.
#[derive(Debug, Clone)]
pub(super) struct Surface {
    colors: [RgbColor; 2],
    pattern: Pattern,
}

#[derive(Debug, Clone, Copy)]
enum Pattern {
    /// Rings around the center, on a ball lit from (`light_x`, `light_y`).
    Rings {
        period: f32,
        phase: f32,
        radius: f32,
        light: (f32, f32),
    },
    Checks {
        cell: f32,
    },
    Bricks {
        length: f32,
        height: f32,
    },
    /// Stripes along the side whose normal is (`nx`, `ny`).
    Stripes {
        period: f32,
        phase: f32,
        nx: f32,
        ny: f32,
    },
    Gradient {
        length: f32,
        dx: f32,
        dy: f32,
    },
    Blobs {
        scale: f32,
        seed: u32,
    },
    Speckle {
        scale: f32,
        seed: u32,
    },
    Grain {
        scale: f32,
        dx: f32,
        dy: f32,
        seed: u32,
    },
}

impl Surface {
    /// Draws the surface of an object with the outline `shape`; `unit` is a 256th of the longer
    /// side.
    pub(super) fn random_for_shape(shape: &Shape, unit: f32, rng: &mut ChaCha8Rng) -> Self {
        let pattern = match *shape {
            Shape::Disc { radius } => {
                let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
                Pattern::Rings {
                    period: unit * rng.random_range(18.0..26.0),
                    phase: rng.random_range(0.0..TAU),
                    radius,
                    light: (0.5 * cos, 0.5 * sin),
                }
            }
            Shape::Box { .. } if rng.random_bool(0.5) => {
                Pattern::Checks { cell: unit * rng.random_range(4.0..6.0) }
            }
            Shape::Box { .. } => {
                let height = unit * rng.random_range(4.5..6.5);
                Pattern::Bricks { length: height * rng.random_range(1.8..2.4), height }
            }
            Shape::Triangle { sides } => {
                let (nx, ny, _) = sides[rng.random_range(0..3)];
                let phase = rng.random_range(0.0..TAU);
                Pattern::Stripes { period: unit * rng.random_range(9.0..13.0), phase, nx, ny }
            }
        };
        Self { colors: draw_color_pair(rng), pattern }
    }

    /// Draws the background of a scene of which `unit` is a 256th of the longer side.
    pub(super) fn random_background(unit: f32, rng: &mut ChaCha8Rng) -> Self {
        let (dy, dx) = rng.random_range(0.0..TAU).sin_cos();
        let seed = rng.random();
        let pattern = match rng.random_range(0..4) {
            0 => Pattern::Gradient { length: unit * rng.random_range(150.0..400.0), dx, dy },
            1 => Pattern::Blobs { scale: unit * rng.random_range(25.0..70.0), seed },
            2 => Pattern::Speckle { scale: unit * rng.random_range(2.0..4.0), seed },
            _ => Pattern::Grain { scale: unit * rng.random_range(4.0..9.0), dx, dy, seed },
        };
        Self { colors: draw_color_pair(rng), pattern }
    }

    /// Returns the color at (`x`, `y`), in the object's own axes around its center.
    pub(super) fn color_at(&self, x: f32, y: f32) -> RgbColor {
        let (weight, shade) = self.pattern.sample(x, y);
        let [a, b] = self.colors;
        std::array::from_fn(|c| lerp(a[c], b[c], weight) * shade)
    }
}

impl Pattern {
    /// Returns the share of the second color, from 0 to 1, and the brightness.
    fn sample(&self, x: f32, y: f32) -> (f32, f32) {
        match *self {
            Self::Rings { period, phase, radius, light } => {
                let rings = square_wave(x.hypot(y) / period * TAU + phase);
                let lit = (x * light.0 + y * light.1) / radius;
                (rings, 1.1 + 0.7 * lit - 0.5 * (x * x + y * y) / (radius * radius))
            }
            Self::Checks { cell } => {
                let (wave_x, wave_y) = ((x / cell * TAU / 2.0).sin(), (y / cell * TAU / 2.0).sin());
                (smoothstep(-0.15, 0.15, wave_x * wave_y), 1.0)
            }
            Self::Bricks { length, height } => {
                let row = (y / height).floor();
                let shift = if row.rem_euclid(2.0) < 1.0 { 0.0 } else { length / 2.0 };
                let joint = edge_distance(y, height).min(edge_distance(x + shift, length));
                (smoothstep(height * 0.08, height * 0.24, joint), 1.0)
            }
            Self::Stripes { period, phase, nx, ny } => {
                (square_wave((x * nx + y * ny) / period * TAU + phase), 1.0)
            }
            Self::Gradient { length, dx, dy } => {
                (smoothstep(0.0, 1.0, 0.5 + (x * dx + y * dy) / length), 1.0)
            }
            Self::Blobs { scale, seed } => {
                (smoothstep(0.25, 0.75, fractal_noise(x / scale, y / scale, seed)), 1.0)
            }
            Self::Speckle { scale, seed } => {
                let coarse = fractal_noise(x / scale / 20.0, y / scale / 20.0, seed ^ 1);
                (0.4 * smooth_noise(x / scale, y / scale, seed) + 0.6 * coarse, 1.0)
            }
            Self::Grain { scale, dx, dy, seed } => {
                let (along, across) = (x * dx + y * dy, y * dx - x * dy);
                let bend =
                    3.0 * smooth_noise(along / scale / 12.0, across / scale / 12.0, seed ^ 1);
                (fractal_noise(along / scale / 14.0, across / scale + bend, seed), 1.0)
            }
        }
    }
}

/// Returns a wave with flat tops: 0 and 1 in turn, with edges a few pixels soft.
fn square_wave(angle: f32) -> f32 {
    smoothstep(-0.4, 0.4, angle.sin())
}

/// Returns the distance to the nearest multiple of `size`.
fn edge_distance(value: f32, size: f32) -> f32 {
    value.rem_euclid(size).min(size - value.rem_euclid(size))
}

fn brightness(color: RgbColor) -> f32 {
    0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]
}

/// Draws two colors of any hue that differ in brightness enough for their pattern to be seen.
fn draw_color_pair(rng: &mut ChaCha8Rng) -> [RgbColor; 2] {
    loop {
        let pair: [RgbColor; 2] = std::array::from_fn(|_| {
            let saturated = std::array::from_fn(|_| rng.random_range(10.0..245.0));
            // Things are rarely as colorful as a random number.
            let saturation = rng.random_range(0.25..0.9);
            saturated.map(|value| lerp(brightness(saturated), value, saturation))
        });
        if (brightness(pair[0]) - brightness(pair[1])).abs() > 55.0 {
            return pair;
        }
    }
}
