//! Outlines as signed distances in pixels, negative inside.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// An outline around the origin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Disc {
        radius: f32,
    },
    /// Half of each side, in pixels.
    Box {
        half_width: f32,
        half_height: f32,
    },
    /// `(nx, ny, offset)` of each side: its outward normal and its distance from the origin.
    Triangle {
        sides: [(f32, f32, f32); 3],
    },
}

impl Shape {
    /// Draws an outline of class 1 (disc), 2 (box) or 3 (triangle) with an area of `side` squared.
    pub(super) fn random(class: u8, side: f32, rng: &mut ChaCha8Rng) -> Self {
        match class {
            1 => Self::Disc { radius: side / (TAU / 2.0).sqrt() },
            2 => {
                let aspect: f32 = rng.random_range(0.75..1.35);
                Self::Box { half_width: side * aspect / 2.0, half_height: side / aspect / 2.0 }
            }
            _ => Self::random_triangle(side, rng),
        }
    }

    fn random_triangle(side: f32, rng: &mut ChaCha8Rng) -> Self {
        let corners: [(f32, f32); 3] = std::array::from_fn(|k| {
            let angle = (k as f32 + rng.random_range(-0.13..0.13)) / 3.0 * TAU;
            (angle.cos(), angle.sin())
        });
        let [a, b, c] = corners;
        let area = ((b.0 - a.0) * (c.1 - a.1) - (c.0 - a.0) * (b.1 - a.1)) / 2.0;
        let scale = side / area.sqrt();
        Self::Triangle {
            sides: std::array::from_fn(|k| {
                let (from, to) = (corners[k], corners[(k + 1) % 3]);
                let (dx, dy) = (to.0 - from.0, to.1 - from.1);
                let length = dx.hypot(dy);
                let (nx, ny) = (dy / length, -dx / length);
                (nx, ny, (nx * from.0 + ny * from.1) * scale)
            }),
        }
    }

    /// Returns the distance of (`x`, `y`) to the outline; outside a corner, somewhat less.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        match self {
            Self::Disc { radius } => x.hypot(y) - radius,
            Self::Box { half_width, half_height } => {
                (x.abs() - half_width).max(y.abs() - half_height)
            }
            Self::Triangle { sides } => {
                let mut distance = f32::NEG_INFINITY;
                for (nx, ny, offset) in sides {
                    distance = distance.max(nx * x + ny * y - offset);
                }
                distance
            }
        }
    }

    /// Returns the largest distance of the outline from the origin, or more.
    pub(super) fn outer_radius(&self) -> f32 {
        match self {
            Self::Disc { radius } => *radius,
            Self::Box { half_width, half_height } => half_width.hypot(*half_height),
            // The flattest triangle that `random_triangle` makes has its corners at 4 incircle
            // radii.
            Self::Triangle { sides } => 4.0 * sides.iter().map(|side| side.2).fold(0.0, f32::max),
        }
    }
}
