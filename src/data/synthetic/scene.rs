//! One scene: a background, two to five objects with their shadows, and the mask.

use std::f32::consts::TAU;

use image::{GrayImage, Luma, RgbImage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::camera::{self, Canvas};
use super::noise::{lerp, smoothstep};
use super::shapes::Shape;
use super::textures::Surface;
use crate::metrics::IGNORE_INDEX;

/// Aspect ratios of the scenes: those of cameras, and the square.
const ASPECTS: [f32; 4] = [1.0, 4.0 / 3.0, 3.0 / 2.0, 16.0 / 9.0];

/// One object of a class, turned by an angle and moved to its place.
struct SceneObject {
    class: u8,
    shape: Shape,
    surface: Surface,
    center: (f32, f32),
    rotation: (f32, f32),
}

impl SceneObject {
    /// Converts image coordinates to the object's own axes.
    fn to_local(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = (x - self.center.0, y - self.center.1);
        let (sin, cos) = self.rotation;
        (dx * cos + dy * sin, dy * cos - dx * sin)
    }

    fn distance(&self, x: f32, y: f32) -> f32 {
        let (u, v) = self.to_local(x, y);
        self.shape.distance(u, v)
    }
}

/// Draws a scene whose longer side is `size` pixels: the picture, the mask of the same size, and
/// the JPEG quality to save the picture with. Where outlines are ignored, the mask has a ring of 255
/// around each object.
pub(super) fn draw_scene(
    size: u32,
    has_ignored_outlines: bool,
    rng: &mut ChaCha8Rng,
) -> (RgbImage, GrayImage, u8) {
    let (width, height) = draw_size(size, rng);
    let unit = size as f32 / 256.0;
    let mut canvas = Canvas::new(width, height);
    paint_background(&mut canvas, unit, rng);
    let mut mask = GrayImage::new(width, height);
    // The ring around objects is 2 pixels wide at 160, and 3 at 320; this is half of it.
    let half_ring_px = if has_ignored_outlines { 0.5 + size as f32 / 320.0 } else { 0.0 };
    let light_direction = rng.random_range(0.0..TAU).sin_cos();
    let shadow_length = unit * rng.random_range(4.0..9.0);
    let shadow = Shadow {
        offset: (light_direction.0 * shadow_length, light_direction.1 * shadow_length),
        softness: unit * rng.random_range(3.0..8.0),
        darkness: rng.random_range(0.25..0.55),
    };
    for object in place_objects(width, height, unit, rng) {
        cast_shadow(&mut canvas, &object, &shadow);
        paint_object(&mut canvas, &mut mask, &object, half_ring_px);
    }
    let image = camera::simulate_camera(canvas, unit, rng);
    (image, mask, rng.random_range(80..=95))
}

fn draw_size(size: u32, rng: &mut ChaCha8Rng) -> (u32, u32) {
    let shorter = (size as f32 / ASPECTS[rng.random_range(0..ASPECTS.len())]).round() as u32;
    if rng.random_bool(0.5) { (size, shorter) } else { (shorter, size) }
}

/// Draws one surface, or two that meet at a horizon.
fn paint_background(canvas: &mut Canvas, unit: f32, rng: &mut ChaCha8Rng) {
    let surfaces = [Surface::random_background(unit, rng), Surface::random_background(unit, rng)];
    let tilt: f32 = rng.random_range(-0.3..0.3);
    let horizon = if rng.random_bool(0.6) { rng.random_range(0.2..0.8) } else { 2.0 };
    let level = horizon * canvas.height as f32;
    let (center_x, center_y) = (canvas.width as f32 / 2.0, canvas.height as f32 / 2.0);
    canvas.paint_area(canvas.full_area(), |x, y, pixel| {
        let (u, v) = (x - center_x, y - center_y);
        let below = smoothstep(-unit, unit, y - level - tilt * u);
        let [upper, lower] = [surfaces[0].color_at(u, v), surfaces[1].color_at(u, v)];
        *pixel = std::array::from_fn(|c| lerp(upper[c], lower[c], below));
    });
}

/// Draws two to five objects, every class as often as any other, which overlap only a little.
fn place_objects(width: u32, height: u32, unit: f32, rng: &mut ChaCha8Rng) -> Vec<SceneObject> {
    let (width, height) = (width as f32, height as f32);
    let count = rng.random_range(2..=5);
    let mut objects: Vec<SceneObject> = Vec::new();
    let mut side_lengths: Vec<f32> = Vec::new();
    let mut remaining_classes: Vec<u8> = Vec::new();
    for _ in 0..count {
        if remaining_classes.is_empty() {
            remaining_classes = vec![1, 2, 3];
        }
        let class = remaining_classes.swap_remove(rng.random_range(0..remaining_classes.len()));
        let side = (width * height).sqrt() * rng.random_range(0.27..0.5);
        let margin = 0.35 * side;
        let mut center = (width / 2.0, height / 2.0);
        let mut widest_clearance = f32::NEG_INFINITY;
        for _ in 0..8 {
            let x = rng.random_range(margin..width - margin);
            let candidate = (x, rng.random_range(margin..height - margin));
            let mut clearance: f32 = 0.6;
            for (other, other_side) in objects.iter().zip(&side_lengths) {
                let distance = (candidate.0 - other.center.0).hypot(candidate.1 - other.center.1);
                clearance = clearance.min(distance / (side + other_side));
            }
            // The last one of several equal ones counts.
            if clearance >= widest_clearance {
                widest_clearance = clearance;
                center = candidate;
            }
        }
        let shape = Shape::random(class, side, rng);
        let surface = Surface::random_for_shape(&shape, unit, rng);
        let rotation = rng.random_range(0.0..TAU).sin_cos();
        objects.push(SceneObject { class, shape, surface, center, rotation });
        side_lengths.push(side);
    }
    objects
}

struct Shadow {
    offset: (f32, f32),
    softness: f32,
    darkness: f32,
}

fn cast_shadow(canvas: &mut Canvas, object: &SceneObject, shadow: &Shadow) {
    let (x, y) = (object.center.0 + shadow.offset.0, object.center.1 + shadow.offset.1);
    let area = canvas.square_around(x, y, object.shape.outer_radius() + shadow.softness);
    canvas.paint_area(area, |x, y, pixel| {
        let distance = object.distance(x - shadow.offset.0, y - shadow.offset.1);
        let shade = 1.0 - shadow.darkness * smoothstep(shadow.softness, -shadow.softness, distance);
        *pixel = pixel.map(|value| value * shade);
    });
}

/// Paints with soft edges, and marks the mask with hard ones: the class if the pixel's center is
/// inside, and the ignored ring within `ring` pixels of the outline.
fn paint_object(
    canvas: &mut Canvas,
    mask: &mut GrayImage,
    object: &SceneObject,
    half_ring_px: f32,
) {
    let area = canvas.square_around(
        object.center.0,
        object.center.1,
        object.shape.outer_radius() + half_ring_px + 1.0,
    );
    canvas.paint_area(area, |x, y, pixel| {
        let (u, v) = object.to_local(x, y);
        let distance = object.shape.distance(u, v);
        let coverage = (0.5 - distance).clamp(0.0, 1.0);
        let color = object.surface.color_at(u, v);
        *pixel = std::array::from_fn(|c| lerp(pixel[c], color[c], coverage));
        let id = match distance {
            d if d.abs() < half_ring_px => IGNORE_INDEX,
            d if d < 0.0 => object.class,
            _ => return,
        };
        mask.put_pixel(x as u32, y as u32, Luma([id]));
    });
}
