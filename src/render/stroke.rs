//! Lines and dots with soft edges.

use std::ops::Range;

use image::{Rgb, RgbImage};

/// Draws the straight line between two points, `width` pixels wide and with round ends. Points are
/// in pixels from the upper left corner. Parts outside the picture are cut.
pub(super) fn draw_line(
    image: &mut RgbImage,
    from: (f64, f64),
    to: (f64, f64),
    width: f64,
    color: Rgb<u8>,
) {
    let radius = width / 2.0 + 1.0;
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length_squared = dx * dx + dy * dy;
    for y in pixel_range(from.1, to.1, radius, image.height()) {
        for x in pixel_range(from.0, to.0, radius, image.width()) {
            let (px, py) = (f64::from(x) + 0.5 - from.0, f64::from(y) + 0.5 - from.1);
            let projection = if length_squared > 0.0 {
                ((px * dx + py * dy) / length_squared).clamp(0.0, 1.0)
            } else {
                0.0
            };
            let distance = (px - projection * dx).hypot(py - projection * dy);
            let coverage = (width / 2.0 + 0.5 - distance).clamp(0.0, 1.0);
            if coverage > 0.0 {
                let pixel = image.get_pixel_mut(x, y);
                for (channel, ink) in pixel.0.iter_mut().zip(color.0) {
                    let mixed = f64::from(*channel) * (1.0 - coverage) + f64::from(ink) * coverage;
                    *channel = mixed.round() as u8;
                }
            }
        }
    }
}

/// Returns the pixels of a side of `size` pixels that lie within `radius` of the span from `a` to
/// `b`, in either order.
fn pixel_range(a: f64, b: f64, radius: f64, size: u32) -> Range<u32> {
    let (start, end) = (a.min(b) - radius, a.max(b) + radius + 1.0);
    start.clamp(0.0, f64::from(size)) as u32..end.clamp(0.0, f64::from(size)) as u32
}

/// Draws a filled circle, whose center and diameter are in pixels.
pub(super) fn draw_dot(image: &mut RgbImage, center: (f64, f64), diameter: f64, color: Rgb<u8>) {
    draw_line(image, center, center, diameter, color);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_covers_its_width_and_fades_at_the_edge_and_is_cut_at_the_picture() {
        let mut image = RgbImage::from_pixel(20, 9, Rgb([255; 3]));
        draw_line(&mut image, (-5.0, 4.5), (12.0, 4.5), 3.0, Rgb([0; 3]));
        let column = |x| (0..9).map(|y| image.get_pixel(x, y).0[0]).collect::<Vec<_>>();
        assert_eq!(column(5), [255, 255, 255, 0, 0, 0, 255, 255, 255]);
        assert_eq!(column(19), [255; 9]);
        let mut image = RgbImage::from_pixel(9, 9, Rgb([255; 3]));
        draw_line(&mut image, (0.0, 0.0), (9.0, 9.0), 1.0, Rgb([0; 3]));
        let soft = image.get_pixel(4, 5).0[0];
        assert_eq!(image.get_pixel(4, 4).0[0], 0);
        assert!((100..250).contains(&soft), "{soft}");
    }
}
