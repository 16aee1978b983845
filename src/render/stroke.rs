//! Lines and dots with soft edges.

use image::{Rgb, RgbImage};

/// Draws the straight line between two points, `width` pixels wide with round ends. Points are in
/// pixels from the upper left corner; what is not on the picture is cut.
pub(super) fn line(
    image: &mut RgbImage,
    (from, to): ((f64, f64), (f64, f64)),
    width: f64,
    colour: Rgb<u8>,
) {
    let reach = width / 2.0 + 1.0;
    let span = |a: f64, b: f64, size: u32| {
        let end = |value: f64| value.clamp(0.0, f64::from(size)) as u32;
        end(a.min(b) - reach)..end(a.max(b) + reach + 1.0)
    };
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx * dx + dy * dy;
    for y in span(from.1, to.1, image.height()) {
        for x in span(from.0, to.0, image.width()) {
            let (px, py) = (f64::from(x) + 0.5 - from.0, f64::from(y) + 0.5 - from.1);
            let along =
                if length > 0.0 { ((px * dx + py * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
            let distance = (px - along * dx).hypot(py - along * dy);
            let cover = (width / 2.0 + 0.5 - distance).clamp(0.0, 1.0);
            if cover > 0.0 {
                let pixel = image.get_pixel_mut(x, y);
                for (channel, ink) in pixel.0.iter_mut().zip(colour.0) {
                    let mixed = f64::from(*channel) * (1.0 - cover) + f64::from(ink) * cover;
                    *channel = mixed.round() as u8;
                }
            }
        }
    }
}

/// Draws a filled circle.
pub(super) fn dot(image: &mut RgbImage, at: (f64, f64), diameter: f64, colour: Rgb<u8>) {
    line(image, (at, at), diameter, colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_covers_its_width_and_fades_at_the_edge_and_is_cut_at_the_picture() {
        let mut image = RgbImage::from_pixel(20, 9, Rgb([255; 3]));
        line(&mut image, ((-5.0, 4.5), (12.0, 4.5)), 3.0, Rgb([0; 3]));
        let column = |x| (0..9).map(|y| image.get_pixel(x, y).0[0]).collect::<Vec<_>>();
        assert_eq!(column(5), [255, 255, 255, 0, 0, 0, 255, 255, 255]);
        assert_eq!(column(19), [255; 9]);
        let mut image = RgbImage::from_pixel(9, 9, Rgb([255; 3]));
        line(&mut image, ((0.0, 0.0), (9.0, 9.0)), 1.0, Rgb([0; 3]));
        let soft = image.get_pixel(4, 5).0[0];
        assert_eq!(image.get_pixel(4, 4).0[0], 0);
        assert!((100..250).contains(&soft), "{soft}");
    }
}
