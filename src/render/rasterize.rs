//! Pixels of a scene. Edges are smooth, and the bytes are the same on every machine: no
//! instruction is chosen at run time.

use image::RgbImage;
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash,
    Transform,
};

use super::font::outline_text;
use super::scene::{Rgb, Scene, Shape, Text};

/// Draws a scene. A scene without pixels gives an empty picture.
pub fn rasterize(scene: &Scene) -> RgbImage {
    let (width, height) = scene.size;
    let Some(mut pixmap) = Pixmap::new(width, height) else { return RgbImage::new(0, 0) };
    pixmap.fill(Color::WHITE);
    for shape in &scene.shapes {
        draw_shape(&mut pixmap, shape);
    }
    let mut picture = RgbImage::new(width, height);
    let pixels = pixmap.data().as_chunks::<4>().0;
    for (target, pixel) in picture.as_chunks_mut::<3>().0.iter_mut().zip(pixels) {
        // Every pixel is opaque, so its colors are as they were given.
        target.copy_from_slice(&pixel[..3]);
    }
    picture
}

fn draw_shape(pixmap: &mut Pixmap, shape: &Shape) {
    match shape {
        Shape::Rectangle(rectangle) => {
            let ((left, top), (width, height)) = (rectangle.left_top, rectangle.size);
            if let Some(rect) = Rect::from_xywh(left, top, width, height) {
                let paint = make_paint(rectangle.fill, 1.0);
                pixmap.fill_rect(rect, &paint, Transform::identity(), None);
            }
        }
        Shape::Polyline { points, width, color, dash } => {
            let Some(path) = connect_points(points, false) else { return };
            let dash = dash.and_then(|(on, off)| StrokeDash::new(vec![on, off], 0.0));
            let stroke = Stroke {
                width: *width,
                line_cap: LineCap::Round,
                line_join: LineJoin::Round,
                dash,
                ..Stroke::default()
            };
            let paint = make_paint(*color, 1.0);
            pixmap.stroke_path(&path, &paint, &stroke, Transform::identity(), None);
        }
        Shape::Polygon { points, fill, opacity } => {
            if let Some(path) = connect_points(points, true) {
                fill_path(pixmap, &path, *fill, *opacity);
            }
        }
        Shape::Circle { center, radius, fill } => {
            if let Some(path) = PathBuilder::from_circle(center.0, center.1, *radius) {
                fill_path(pixmap, &path, *fill, 1.0);
            }
        }
        Shape::Text(text) => draw_text(pixmap, text),
        Shape::Picture { left_top, image } => copy_picture(pixmap, *left_top, image),
    }
}

fn make_paint(color: Rgb, opacity: f32) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    let alpha = (opacity.clamp(0.0, 1.0) * 255.0).round() as u8;
    paint.set_color_rgba8(color[0], color[1], color[2], alpha);
    paint
}

fn fill_path(pixmap: &mut Pixmap, path: &Path, color: Rgb, opacity: f32) {
    let paint = make_paint(color, opacity);
    pixmap.fill_path(path, &paint, FillRule::Winding, Transform::identity(), None);
}

fn connect_points(points: &[(f32, f32)], is_closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (index, &(x, y)) in points.iter().enumerate() {
        if index == 0 {
            builder.move_to(x, y);
        } else {
            builder.line_to(x, y);
        }
    }
    if is_closed {
        builder.close();
    }
    builder.finish()
}

fn draw_text(pixmap: &mut Pixmap, text: &Text) {
    let (x, y) = text.position;
    let mut builder = PathBuilder::new();
    outline_text(&text.text, text.size_px, text.weight, (-text.shift_px(), 0.0), &mut builder);
    let Some(path) = builder.finish() else { return };
    // Turned, what went to the right goes up, and what went down goes to the right.
    let transform = if text.is_turned {
        Transform::from_row(0.0, -1.0, 1.0, 0.0, x, y)
    } else {
        Transform::from_translate(x, y)
    };
    pixmap.fill_path(&path, &make_paint(text.color, 1.0), FillRule::Winding, transform, None);
}

/// Copies the part of a picture that lies on the scene.
fn copy_picture(pixmap: &mut Pixmap, (left, top): (u32, u32), image: &RgbImage) {
    let (width, height) = (pixmap.width(), pixmap.height());
    let columns = width.saturating_sub(left).min(image.width()) as usize;
    if columns == 0 {
        return;
    }
    let rows = height.saturating_sub(top).min(image.height());
    let image_row_bytes = 3 * image.width() as usize;
    for row in 0..rows {
        let first = ((top + row) as usize * width as usize + left as usize) * 4;
        let target = &mut pixmap.data_mut()[first..first + 4 * columns];
        let source = &image.as_raw()[row as usize * image_row_bytes..][..3 * columns];
        let (targets, sources) = (target.as_chunks_mut::<4>().0, source.as_chunks::<3>().0);
        for (target, source) in targets.iter_mut().zip(sources) {
            *target = [source[0], source[1], source[2], 255];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::scene::Anchor;

    /// Returns left, top, right and bottom of the pixels that are not white.
    fn painted_bounds(picture: &RgbImage) -> [f32; 4] {
        let mut bounds = [f32::MAX, f32::MAX, 0.0, 0.0];
        for (x, y, pixel) in picture.enumerate_pixels() {
            if pixel.0 != [255; 3] {
                let (x, y) = (x as f32, y as f32);
                bounds = [
                    bounds[0].min(x),
                    bounds[1].min(y),
                    bounds[2].max(x + 1.0),
                    bounds[3].max(y + 1.0),
                ];
            }
        }
        bounds
    }

    #[test]
    fn shapes_are_where_they_are_described() {
        let mut scene = Scene::new((40, 30), [255; 3]);
        scene.add_rectangle((2.0, 3.0), (4.0, 5.0), [1, 2, 3]);
        scene.shapes.push(Shape::Picture {
            left_top: (30, 20),
            image: RgbImage::from_pixel(100, 3, image::Rgb([9, 8, 7])),
        });
        scene.add_line((10.0, 10.5), (20.0, 10.5), 1.0, [200, 0, 0]);
        let picture = rasterize(&scene);
        assert_eq!(picture.get_pixel(2, 3).0, [1, 2, 3]);
        assert_eq!(picture.get_pixel(5, 7).0, [1, 2, 3]);
        assert_eq!(picture.get_pixel(6, 7).0, [255; 3]);
        assert_eq!(picture.get_pixel(39, 22).0, [9, 8, 7], "what reaches over the edge is cut");
        assert_eq!(picture.get_pixel(30, 23).0, [255; 3]);
        assert_eq!(picture.get_pixel(15, 10).0, [200, 0, 0]);
    }

    #[test]
    fn letters_lie_within_the_box_of_their_text() {
        for is_turned in [false, true] {
            for anchor in [Anchor::Start, Anchor::Middle, Anchor::End] {
                let mut text =
                    Text::new("HxgyßÉŠÅЙẤģṒ", (100.0, 100.0), 14.0, [0; 3]).anchored(anchor);
                text.is_turned = is_turned;
                let bounds = text.bounds();
                let mut scene = Scene::new((200, 200), [255; 3]);
                scene.add_text(text);
                let painted = painted_bounds(&rasterize(&scene));
                assert!(
                    painted[0] >= bounds[0].floor()
                        && painted[1] >= bounds[1].floor()
                        && painted[2] <= bounds[2].ceil()
                        && painted[3] <= bounds[3].ceil(),
                    "{painted:?} in {bounds:?}"
                );
                // They fill it, too.
                assert!(painted[2] - painted[0] > (bounds[2] - bounds[0]) * 0.85, "{painted:?}");
                assert!(painted[3] - painted[1] > (bounds[3] - bounds[1]) * 0.85, "{painted:?}");
            }
        }
    }

    #[test]
    fn odd_shapes_are_left_out_without_a_crash() {
        let mut scene = Scene::new((10, 10), [255; 3]);
        scene.add_rectangle((0.0, 0.0), (f32::NAN, 5.0), [0; 3]);
        scene.add_rectangle((0.0, 0.0), (0.0, -5.0), [0; 3]);
        scene.add_line((f32::INFINITY, 0.0), (1.0, f32::NAN), 1.0, [0; 3]);
        scene.shapes.push(Shape::Circle { center: (1.0, 1.0), radius: 0.0, fill: [0; 3] });
        scene.shapes.push(Shape::Polygon { points: vec![], fill: [0; 3], opacity: 2.0 });
        scene.add_text(Text::new("", (f32::NAN, 3.0), -1.0, [0; 3]));
        for left_top in [(50, 50), (50, 5), (5, 50), (u32::MAX, 0)] {
            scene.shapes.push(Shape::Picture { left_top, image: RgbImage::new(3, 3) });
        }
        assert_eq!(rasterize(&scene), RgbImage::from_pixel(10, 10, image::Rgb([255; 3])));
        assert!(rasterize(&Scene { size: (0, 5), shapes: vec![] }).is_empty());
    }
}
