//! One scene: a background, two to five objects with their shadows, and the mask.

use std::f32::consts::TAU;

use image::{GrayImage, Luma, RgbImage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::camera::{self, Canvas};
use super::noise::{mix, step};
use super::shapes::Shape;
use super::textures::Surface;
use crate::metrics::IGNORE;

/// Sides of the scenes: as cameras have them, and square.
const ASPECTS: [f32; 4] = [1.0, 4.0 / 3.0, 3.0 / 2.0, 16.0 / 9.0];

/// One object of a class, turned by an angle and moved to its place.
struct Object {
    class: u8,
    shape: Shape,
    surface: Surface,
    centre: (f32, f32),
    turn: (f32, f32),
}

impl Object {
    /// Image coordinates in the object's own axes.
    fn local(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        let (sin, cos) = self.turn;
        (dx * cos + dy * sin, dy * cos - dx * sin)
    }

    fn distance(&self, x: f32, y: f32) -> f32 {
        let (u, v) = self.local(x, y);
        self.shape.distance(u, v)
    }
}

/// Draws a scene whose longer side is `size`: the picture, the mask of the same size, and the
/// JPEG quality to save the picture with.
pub(super) fn draw(size: u32, rng: &mut ChaCha8Rng) -> (RgbImage, GrayImage, u8) {
    let (width, height) = sides(size, rng);
    let unit = size as f32 / 256.0;
    let mut canvas = Canvas::new(width, height);
    paint_background(&mut canvas, unit, rng);
    let mut mask = GrayImage::new(width, height);
    // The ring around objects is 2 pixels wide at 160, and 3 at 320; this is half of it.
    let ring = 0.5 + size as f32 / 320.0;
    let light = rng.random_range(0.0..TAU).sin_cos();
    let depth = unit * rng.random_range(4.0..9.0);
    let shadow = Shadow {
        offset: (light.0 * depth, light.1 * depth),
        softness: unit * rng.random_range(3.0..8.0),
        darkness: rng.random_range(0.25..0.55),
    };
    for object in place_objects(width, height, unit, rng) {
        cast_shadow(&mut canvas, &object, &shadow);
        paint_object(&mut canvas, &mut mask, &object, ring);
    }
    let image = camera::expose(canvas, unit, rng);
    (image, mask, rng.random_range(80..=95))
}

fn sides(size: u32, rng: &mut ChaCha8Rng) -> (u32, u32) {
    let shorter = (size as f32 / ASPECTS[rng.random_range(0..ASPECTS.len())]).round() as u32;
    if rng.random_bool(0.5) { (size, shorter) } else { (shorter, size) }
}

/// One surface, or two that meet at a horizon.
fn paint_background(canvas: &mut Canvas, unit: f32, rng: &mut ChaCha8Rng) {
    let surfaces = [Surface::behind(unit, rng), Surface::behind(unit, rng)];
    let tilt: f32 = rng.random_range(-0.3..0.3);
    let horizon = if rng.random_bool(0.6) { rng.random_range(0.2..0.8) } else { 2.0 };
    let level = horizon * canvas.height as f32;
    let (middle_x, middle_y) = (canvas.width as f32 / 2.0, canvas.height as f32 / 2.0);
    canvas.change(canvas.everywhere(), |x, y, pixel| {
        let (u, v) = (x - middle_x, y - middle_y);
        let below = step(-unit, unit, y - level - tilt * u);
        let [upper, lower] = [surfaces[0].colour(u, v), surfaces[1].colour(u, v)];
        *pixel = std::array::from_fn(|c| mix(upper[c], lower[c], below));
    });
}

/// Two to five objects, every class as often as any other, not too much on top of one another.
fn place_objects(width: u32, height: u32, unit: f32, rng: &mut ChaCha8Rng) -> Vec<Object> {
    let (width, height) = (width as f32, height as f32);
    let count = rng.random_range(2..=5);
    let mut objects: Vec<Object> = Vec::new();
    let mut sides: Vec<f32> = Vec::new();
    let mut deck: Vec<u8> = Vec::new();
    for _ in 0..count {
        if deck.is_empty() {
            deck = vec![1, 2, 3];
        }
        let class = deck.swap_remove(rng.random_range(0..deck.len()));
        let side = (width * height).sqrt() * rng.random_range(0.27..0.5);
        let room = |centre: (f32, f32)| {
            let others = objects.iter().zip(&sides);
            others
                .map(|(other, its)| {
                    let away = (centre.0 - other.centre.0).hypot(centre.1 - other.centre.1);
                    away / (side + its)
                })
                .fold(0.6, f32::min)
        };
        let margin = 0.35 * side;
        let candidates: Vec<(f32, f32)> = (0..8)
            .map(|_| {
                let x = rng.random_range(margin..width - margin);
                (x, rng.random_range(margin..height - margin))
            })
            .collect();
        let best = candidates.into_iter().max_by(|a, b| room(*a).total_cmp(&room(*b)));
        let shape = Shape::draw(class, side, rng);
        let surface = Surface::of(&shape, unit, rng);
        let turn = rng.random_range(0.0..TAU).sin_cos();
        let centre = best.unwrap_or((width / 2.0, height / 2.0));
        objects.push(Object { class, shape, surface, centre, turn });
        sides.push(side);
    }
    objects
}

struct Shadow {
    offset: (f32, f32),
    softness: f32,
    darkness: f32,
}

fn cast_shadow(canvas: &mut Canvas, object: &Object, shadow: &Shadow) {
    let (x, y) = (object.centre.0 + shadow.offset.0, object.centre.1 + shadow.offset.1);
    let area = canvas.around(x, y, object.shape.reach() + shadow.softness);
    canvas.change(area, |x, y, pixel| {
        let distance = object.distance(x - shadow.offset.0, y - shadow.offset.1);
        let shade = 1.0 - shadow.darkness * step(shadow.softness, -shadow.softness, distance);
        *pixel = pixel.map(|value| value * shade);
    });
}

/// Paints with soft edges, and marks the mask with hard ones: the class where the pixel's centre
/// is inside, and the ignored ring within `ring` pixels of the outline.
fn paint_object(canvas: &mut Canvas, mask: &mut GrayImage, object: &Object, ring: f32) {
    let area = canvas.around(object.centre.0, object.centre.1, object.shape.reach() + ring + 1.0);
    canvas.change(area, |x, y, pixel| {
        let (u, v) = object.local(x, y);
        let distance = object.shape.distance(u, v);
        let cover = (0.5 - distance).clamp(0.0, 1.0);
        let colour = object.surface.colour(u, v);
        *pixel = std::array::from_fn(|c| mix(pixel[c], colour[c], cover));
        let id = match distance {
            d if d.abs() < ring => IGNORE,
            d if d < 0.0 => object.class,
            _ => return,
        };
        mask.put_pixel(x as u32, y as u32, Luma([id]));
    });
}
